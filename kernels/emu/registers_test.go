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

const scribed = 160 // registers

// act does what a statement does to the registers of one lane.
type act func(v *[scribed]uint32)

func (s *scribe) line(format string, args ...any) { fmt.Fprintf(&s.text, "\n\t"+format, args...) }

// known is a register that every lane has written.
func (s *scribe) known() int {
	all := slices.Sorted(maps.Keys(s.set))
	if s.rng.IntN(4) == 0 { // one of few, which are read and written again and again
		all = all[:4]
	}
	return all[s.rng.IntN(len(all))]
}

// ask sets a new predicate to the lowest bit of a register.
func (s *scribe) ask(r int) string {
	s.labels++
	p := fmt.Sprintf("%%ask%d", s.labels)
	s.line(".reg .pred %s;\n\t.reg .b32 %%bit%d;", p, s.labels)
	s.line("and.b32 %%bit%d, %%v%d, 1;", s.labels, r)
	s.line("setp.ne.s32 %s, %%bit%d, 0;", p, s.labels)
	return p
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
			all = append(all, s.assign(kind < 4))
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
	ask := ""
	first := func(*[scribed]uint32) {}
	if guarded {
		ask = s.ask(g)
		first = s.assign(false)
		d, guard = s.known(), "@"+ask+" "
	}
	add, both := s.rng.IntN(2) == 0, guarded && s.rng.IntN(2) == 0
	s.line("%s%s %%v%d, %%v%d, %%v%d;", guard, map[bool]string{true: "add.s32", false: "xor.b32"}[add], d, a, b)
	if both {
		s.line("@!%s or.b32 %%v%d, %%v%d, %%v%d;", ask, d, a, b)
	}
	s.set[d] = true
	return func(v *[scribed]uint32) {
		pass := v[g]&1 != 0
		first(v)
		switch {
		case guarded && !pass && both:
			v[d] = v[a] | v[b]
		case guarded && !pass:
		case add:
			v[d] = v[a] + v[b]
		default:
			v[d] = v[a] ^ v[b]
		}
	}
}

func (s *scribe) fork(depth int) act {
	g := s.known()
	ask := s.ask(g)
	n := s.labels
	s.line("@!%s bra $else%d;", ask, n)
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
		seed := rapid.Uint64().Draw(r, "programs")
		for n := range uint64(15) {
			runScribed(t, r, rand.New(rand.NewPCG(seed, n)))
		}
	})
}

func runScribed(t *testing.T, r *rapid.T, rng *rand.Rand) {
	s := &scribe{rng: rng, set: map[int]bool{}}
	s.line(".reg .b32 %%v<%d>;", scribed)
	for i, from := range []string{"%ra", "%rb", "%rc", "%re"} {
		s.line("mov.u32 %%v%d, %s;", i, from)
		s.set[i] = true
	}
	run := s.block(4)
	var out []int
	for _, v := range slices.Sorted(maps.Keys(s.set)) {
		if s.rng.IntN(4) == 0 { // what nobody asks for need not be kept
			s.line("add.s32 %%r10, %%r10, %%r10;\n\txor.b32 %%r10, %%r10, %%v%d;", v)
			out = append(out, v)
		}
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
		want := uint32(0)
		for _, r := range out {
			want = 2*want ^ v[r]
		}
		if uint32(got[l]) != want {
			r.Fatalf("lane %d: %#x, want %#x\n%s", l, got[l], want, &s.text)
		}
	}
}
