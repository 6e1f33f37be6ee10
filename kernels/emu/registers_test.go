package emu

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// scribe writes a random program of many registers, branches and loops, and computes what each of its lanes comes to.
type scribe struct {
	rng    *rand.Rand
	text   strings.Builder
	labels int
	set    map[int]bool // registers that every lane has written
}

const scribed = 48 // registers

// act does what a statement does to the registers of one lane.
type act func(v *[scribed]uint32)

func (s *scribe) line(format string, args ...any) { fmt.Fprintf(&s.text, "\n\t"+format, args...) }

// known is a register that every lane has written.
func (s *scribe) known() int {
	all := slices.Sorted(maps.Keys(s.set))
	return all[s.rng.IntN(len(all))]
}

// ask sets %q to the lowest bit of a register.
func (s *scribe) ask(r int) {
	s.line("and.b32 %%r20, %%v%d, 1;", r)
	s.line("setp.ne.s32 %%q, %%r20, 0;")
}

func (s *scribe) block(depth int) act {
	var all []act
	for range 2 + s.rng.IntN(6) {
		kind := s.rng.IntN(8)
		switch {
		case depth > 0 && kind == 0:
			all = append(all, s.fork(depth))
		case depth > 0 && kind == 1:
			all = append(all, s.loop(depth))
		default:
			all = append(all, s.assign(kind == 2))
		}
	}
	return func(v *[scribed]uint32) {
		for _, f := range all {
			f(v)
		}
	}
}

func (s *scribe) assign(guarded bool) act {
	a, b, g, d, guard := s.known(), s.known(), s.known(), s.rng.IntN(scribed), ""
	if guarded {
		s.ask(g)
		d, guard = s.known(), "@%q "
	}
	add := s.rng.IntN(2) == 0
	s.line("%s%s %%v%d, %%v%d, %%v%d;", guard, map[bool]string{true: "add.s32", false: "xor.b32"}[add], d, a, b)
	s.set[d] = true
	return func(v *[scribed]uint32) {
		switch {
		case guarded && v[g]&1 == 0:
		case add:
			v[d] = v[a] + v[b]
		default:
			v[d] = v[a] ^ v[b]
		}
	}
}

func (s *scribe) fork(depth int) act {
	g := s.known()
	s.labels++
	n := s.labels
	s.ask(g)
	s.line("@!%%q bra $else%d;", n)
	before := maps.Clone(s.set)
	yes := s.block(depth - 1)
	s.line("bra $end%d;\n$else%d:", n, n)
	after := s.set
	s.set = before
	no := s.block(depth - 1)
	s.line("\n$end%d:", n)
	maps.DeleteFunc(s.set, func(r int, _ bool) bool { return !after[r] })
	return func(v *[scribed]uint32) {
		if v[g]&1 != 0 {
			yes(v)
		} else {
			no(v)
		}
	}
}

// loop runs one to four times, as a register of each lane says.
func (s *scribe) loop(depth int) act {
	g := s.known()
	s.labels++
	n := s.labels
	s.line(".reg .b32 %%times%d, %%turn%d;", n, n)
	s.line("and.b32 %%times%d, %%v%d, 3;", n, g)
	s.line("mov.u32 %%turn%d, 0;\n$loop%d:", n, n)
	body := s.block(depth - 1)
	s.line("add.s32 %%turn%d, %%turn%d, 1;", n, n)
	s.line("setp.le.u32 %%q, %%turn%d, %%times%d;", n, n)
	s.line("@%%q bra $loop%d;", n)
	return func(v *[scribed]uint32) {
		for range v[g]&3 + 1 {
			body(v)
		}
	}
}

// Registers that share rows hold what they would alone, wherever lanes go.
func TestSharedRowsShowNowhere(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := &scribe{rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "program"), 1)), set: map[int]bool{}}
		s.line(".reg .b32 %%v<%d>;", scribed)
		for i, from := range []string{"%ra", "%rb", "%rc", "%re"} {
			s.line("mov.u32 %%v%d, %s;", i, from)
			s.set[i] = true
		}
		run := s.block(3)
		var out [2]int // of the eight that it stores
		for i := range out {
			out[i] = s.known()
			s.line("mov.u32 %%r1%d, %%v%d;", i, out[i])
		}
		var in [lanes][4]uint64
		for l := range in {
			for i := range in[l] {
				in[l][i] = uint64(s.rng.Uint32())
			}
		}
		got, _, err := lane(t, s.text.String(), in)
		if err != nil {
			r.Fatalf("%v\n%s", err, &s.text)
		}
		for l := range in {
			var v [scribed]uint32
			for i, x := range in[l] {
				v[i] = uint32(x)
			}
			run(&v)
			if want := uint64(v[out[1]])<<32 | uint64(v[out[0]]); got[l] != want {
				r.Fatalf("lane %d: %#x, want %#x\n%s", l, got[l], want, &s.text)
			}
		}
	})
}
