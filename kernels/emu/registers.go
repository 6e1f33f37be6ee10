package emu

import (
	"cmp"
	"math/bits"
	"slices"
)

// PTX writes nearly every register once, so that a kernel declares thousands: too many to keep at hand for each warp. Here two share a row
// of a warp's registers where no lane can need both at the same time.

// touches calls f for every register that an instruction reads or writes.
func (in *instr) touches(f func(r int, written bool)) {
	if in.guard != none {
		f(in.guard, false)
	}
	for i := range in.args {
		in.args[i].touches(f, i == 0 && in.writes())
	}
}

func (o *operand) touches(f func(r int, written bool), written bool) {
	switch o.kind {
	case regOperand:
		f(o.reg, written)
	case addrOperand:
		written = false
	}
	for i := range o.list {
		o.list[i].touches(f, written)
	}
}

// writes says whether the first operand, if it is registers, is what the instruction writes.
func (in *instr) writes() bool {
	switch in.op {
	case "bar", "barrier":
		return slices.Contains(in.parts, "red")
	case "nanosleep":
		return false
	}
	return true
}

// held says that an instruction's registers are touched after it too, while it is under way: they share their rows with none.
func (in *instr) held() bool { return in.op == "wgmma" || in.op == "bar" || in.op == "barrier" }

// stretch is instructions that are only entered at the first and left at the last.
type stretch struct {
	first, last int
	next        []int     // stretches
	reads       registers // before it writes them
	writes      registers
	in, out     registers // what may still be read, where it begins and after it
}

// registers is a set of registers.
type registers []uint64

func (s registers) add(r int)      { s[r/64] |= 1 << (r % 64) }
func (s registers) has(r int) bool { return s[r/64]>>(r%64)&1 != 0 }

func (s registers) each(f func(r int)) {
	for i, v := range s {
		for ; v != 0; v &= v - 1 {
			f(64*i + bits.TrailingZeros64(v))
		}
	}
}

// stretches divides code, and says of each stretch which of n registers it reads first, and which it writes whoever comes.
func stretches(code []instr, n int) []stretch {
	begins := make([]bool, len(code)+1)
	begins[0] = true
	for i := range code {
		switch code[i].op {
		case "bra":
			begins[code[i].target], begins[i+1] = true, true
		case "ret", "exit":
			begins[i+1] = true
		}
	}
	var ss []stretch
	of := make([]int, len(code)) // the stretch that begins here
	for i := range code {
		if begins[i] {
			of[i] = len(ss)
			ss = append(ss, stretch{first: i})
		}
		ss[len(ss)-1].last = i
	}
	words := (n + 63) / 64
	room := make(registers, 4*words*len(ss))
	set := func() (s registers) {
		s, room = room[:words], room[words:]
		return s
	}
	for k := range ss {
		s := &ss[k]
		s.reads, s.writes, s.in, s.out = set(), set(), set(), set()
		for i := s.first; i <= s.last; i++ {
			in := &code[i]
			in.touches(func(r int, written bool) {
				if !written && !s.writes.has(r) {
					s.reads.add(r)
				}
			})
			if in.guard != none {
				continue // some may not write
			}
			in.touches(func(r int, written bool) {
				if written {
					s.writes.add(r)
				}
			})
		}
		last := &code[s.last]
		if last.op == "bra" {
			s.next = append(s.next, of[last.target])
		}
		if ends := last.op == "bra" || last.op == "ret" || last.op == "exit"; (!ends || last.guard != none) && k+1 < len(ss) {
			s.next = append(s.next, k+1)
		}
	}
	return ss
}

// follow finds what may still be read at the borders of stretches.
func follow(ss []stretch) {
	for changed := true; changed; {
		changed = false
		for k := len(ss) - 1; k >= 0; k-- {
			s := &ss[k]
			for _, next := range s.next {
				for i, v := range ss[next].in {
					s.out[i] |= v
				}
			}
			for i := range s.in {
				if v := s.reads[i] | s.out[i]&^s.writes[i]; v != s.in[i] {
					s.in[i], changed = v, true
				}
			}
		}
	}
}

// span is from where to where a register is needed, in the order of the text.
type span struct {
	reg, from, to int
	held          bool
}

func (s *span) reach(i int) { s.from, s.to = min(s.from, i), max(s.to, i) }

// spans of n registers; of one that nothing touches from is past to.
func spans(code []instr, n int) []span {
	all := make([]span, n)
	for r := range all {
		all[r] = span{reg: r, from: len(code), to: -1}
	}
	for i := range code {
		in := &code[i]
		in.touches(func(r int, _ bool) {
			all[r].reach(i)
			all[r].held = all[r].held || in.held()
		})
	}
	ss := stretches(code, n)
	follow(ss)
	for k := range ss {
		ss[k].in.each(func(r int) { all[r].reach(ss[k].first) })
		ss[k].out.each(func(r int) { all[r].reach(ss[k].last) })
	}
	return all
}

// rows gives each of n registers a row, and says how many rows there are. What an instruction writes never shares with what it reads.
func rows(code []instr, n int) (row []int, count int) {
	row = make([]int, n)
	all := slices.DeleteFunc(spans(code, n), func(s span) bool { return s.from > s.to })
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.reg, b.reg)) })
	ending := make([][]int, len(code)+1) // rows that are free from here on
	var free []int
	at := 0
	for _, s := range all {
		for ; at <= s.from; at++ {
			free = append(free, ending[at]...)
		}
		if s.held || len(free) == 0 {
			row[s.reg] = count
			count++
		} else {
			row[s.reg] = free[len(free)-1]
			free = free[:len(free)-1]
		}
		if !s.held {
			ending[s.to+1] = append(ending[s.to+1], row[s.reg])
		}
	}
	return row, count
}
