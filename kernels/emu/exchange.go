package emu

import (
	"fmt"
	"math/bits"
)

// source says which lane a shfl reads in each mode, and whether that is inside of its segment. b is the instruction's lane or distance, its
// first and last the ends of the segment; up ends at last too, from above.
var source = map[string]func(lane, b, first, last, segment int) (int, bool){
	"up":   func(lane, b, _, last, _ int) (int, bool) { return lane - b, lane-b >= last },
	"down": func(lane, b, _, last, _ int) (int, bool) { return lane + b, lane+b <= last },
	"bfly": func(lane, b, _, last, _ int) (int, bool) { return lane ^ b, lane^b <= last },
	"idx": func(_, b, first, last, segment int) (int, bool) {
		j := first | b&^segment
		return j, j <= last
	},
}

func (c *compiler) shfl(s *step) {
	c.has("sync")
	from := source[c.one("up", "down", "bfly", "idx")]
	b32 := c.typ()
	if len(c.in.args) != 5 || from == nil {
		c.fail("want shfl.sync.mode.b32 d[|p], a, b, c, members")
		return
	}
	d, p := c.pair(0)
	a, b, cl := c.src(1, b32), c.src(2, b32), c.src(3, b32)
	s.kind, s.members = gather, c.src(4, b32)
	s.run = func(w *warp, m uint32) {
		value := w.r[a]
		for rest := m; rest != 0; rest &= rest - 1 {
			lane := bits.TrailingZeros32(rest)
			cv := int(w.r[cl][lane])
			clamp, segment := cv&31, cv>>8&31
			j, ok := from(lane, int(w.r[b][lane]&31), lane&segment, lane&segment|clamp&^segment, segment)
			if !ok {
				j = lane
			}
			v := value[j]
			if m>>j&1 == 0 {
				w.report(Report{Kind: Mask, Detail: fmt.Sprintf("lane %d reads lane %d, which does not take part (%#x do)", lane, j, m)}, s.in)
				v = 0xffffffff
			}
			w.r[d][lane] = v
			if p != none {
				w.r[p][lane] = b2u(ok)
			}
		}
	}
}

// voted makes the result of a vote of the predicates p by the lanes m.
var voted = map[string]func(p, m uint32) uint64{
	"all":    func(p, m uint32) uint64 { return b2u(p == m) },
	"any":    func(p, _ uint32) uint64 { return b2u(p != 0) },
	"uni":    func(p, m uint32) uint64 { return b2u(p == m || p == 0) },
	"ballot": func(p, _ uint32) uint64 { return uint64(p) },
}

func (c *compiler) vote(s *step) {
	if !c.members(s) {
		return
	}
	f := voted[c.one("all", "any", "uni", "ballot")]
	if f == nil {
		c.fail("want all, any, uni or ballot")
		return
	}
	c.typ()
	d, r, negate := c.dst(0), 0, false
	if o := c.in.args[1]; o.kind == immOperand {
		r = c.constant(o.imm & 1)
	} else {
		r, negate = c.predicate(1)
	}
	s.run = func(w *warp, m uint32) {
		p := w.predicate(r)
		if negate {
			p = ^p
		}
		v := f(p&m, m)
		each(m, func(l int) { w.r[d][l] = v })
	}
}

// members makes an instruction of three operands one of the lanes that the last of them names.
func (c *compiler) members(s *step) bool {
	c.has("sync")
	s.kind = gather
	if !c.args(3) {
		return false
	}
	s.members = c.src(2, b32Type)
	return true
}

func (c *compiler) match(s *step) {
	if !c.members(s) {
		return
	}
	all := c.one("any", "all") == "all"
	t := c.typ()
	a := c.src(1, t)
	d, p := c.pair(0)
	s.run = func(w *warp, m uint32) {
		v := w.r[a]
		each(m, func(l int) {
			var same uint32
			each(m, func(k int) {
				if v[k] == v[l] {
					same |= 1 << k
				}
			})
			if all && same != m {
				same = 0
			}
			w.r[d][l] = uint64(same)
			if p != none {
				w.r[p][l] = b2u(same == m)
			}
		})
	}
}

func (c *compiler) redux(s *step) {
	if !c.members(s) {
		return
	}
	op := c.one("add", "min", "max", "and", "or", "xor")
	t := c.typ()
	d, a, f := c.dst(0), c.src(1, t), integer(op, t)
	if f == nil {
		c.fail("the operation is not emulated")
		return
	}
	s.run = func(w *warp, m uint32) {
		v := w.r[a][bits.TrailingZeros32(m)]
		each(m&(m-1), func(l int) { v = f(v, w.r[a][l]) & t.mask() })
		each(m, func(l int) { w.r[d][l] = v })
	}
}

// elect chooses the lowest lane of its members.
func (c *compiler) elect(s *step) {
	c.has("sync")
	s.kind = gather
	if len(c.in.args) != 2 || c.in.args[0].kind != pairOperand {
		c.fail("want d|p, members")
		return
	}
	d, p := c.pair(0)
	s.members = c.src(1, b32Type)
	s.run = func(w *warp, m uint32) {
		first := bits.TrailingZeros32(m)
		each(m, func(l int) {
			w.r[d][l] = uint64(first)
			w.r[p][l] = b2u(l == first)
		})
	}
}
