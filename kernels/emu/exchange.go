package emu

import (
	"fmt"
	"math/bits"
)

func (c *compiler) shfl(s *step) {
	c.has("sync")
	mode := c.one("up", "down", "bfly", "idx")
	b32 := c.typ()
	d, p := none, none
	if len(c.in.args) != 5 || mode == "" {
		c.fail("want shfl.sync.mode.b32 d[|p], a, b, c, members")
		return
	}
	if o := c.in.args[0]; o.kind == pairOperand {
		d, p = c.target(o.list[0]), c.target(o.list[1])
	} else {
		d = c.target(o)
	}
	a, b, cl := c.src(1, b32), c.src(2, b32), c.src(3, b32)
	s.kind, s.members = gather, c.src(4, b32)
	in := c.in
	s.run = func(w *warp, m uint32) {
		from := w.r[a]
		for mm := m; mm != 0; mm &= mm - 1 {
			lane := bits.TrailingZeros32(mm)
			bv, cv := int(w.r[b][lane]&31), int(w.r[cl][lane])
			clamp, seg := cv&31, cv>>8&31
			maxLane, minLane := lane&seg|clamp&^seg, lane&seg
			j, ok := lane, false
			switch mode {
			case "up":
				j = lane - bv
				ok = j >= maxLane
			case "down":
				j = lane + bv
				ok = j <= maxLane
			case "bfly":
				j = lane ^ bv
				ok = j <= maxLane
			case "idx":
				j = minLane | bv&^seg
				ok = j <= maxLane
			}
			if !ok {
				j = lane
			}
			v := from[j]
			if m>>j&1 == 0 {
				w.report(Report{Kind: Mask, Detail: fmt.Sprintf("lane %d reads lane %d, which does not take part (%#x do)", lane, j, m)}, in)
				v = 0xffffffff
			}
			w.r[d][lane] = v
			if p != none {
				w.r[p][lane] = b2u(ok)
			}
		}
	}
}

// vote is vote, match and redux.
func (c *compiler) vote(s *step) {
	c.has("sync")
	b32 := typ{name: "b32", size: 4}
	s.kind = gather
	n := len(c.in.args)
	if n != 3 {
		c.fail("%d operands, want 3", n)
		return
	}
	s.members = c.src(2, b32)
	switch c.in.op {
	case "vote":
		mode := c.one("all", "any", "uni", "ballot")
		c.typ()
		d, o := c.dst(0), c.in.args[1]
		if o.kind == immOperand {
			o = operand{kind: regOperand, reg: c.constant(o.imm & 1)}
		}
		if o.kind != regOperand {
			c.fail("the predicate is not a register")
			return
		}
		s.run = func(w *warp, m uint32) {
			p := w.predicate(o.reg)
			if o.negate {
				p = ^p
			}
			p &= m
			v := uint64(p)
			switch mode {
			case "all":
				v = b2u(p == m)
			case "any":
				v = b2u(p != 0)
			case "uni":
				v = b2u(p == m || p == 0)
			}
			each(m, func(l int) { w.r[d][l] = v })
		}
	case "match":
		mode := c.one("any", "all")
		t := c.typ()
		a := c.src(1, t)
		d, p := none, none
		if o := c.in.args[0]; o.kind == pairOperand {
			d, p = c.target(o.list[0]), c.target(o.list[1])
		} else {
			d = c.target(o)
		}
		s.run = func(w *warp, m uint32) {
			v := w.r[a]
			each(m, func(l int) {
				var same uint32
				each(m, func(k int) {
					if v[k] == v[l] {
						same |= 1 << k
					}
				})
				if mode == "all" && same != m {
					same = 0
				}
				w.r[d][l] = uint64(same)
				if p != none {
					w.r[p][l] = b2u(same == m)
				}
			})
		}
	case "redux":
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
}

func (c *compiler) elect(s *step) {
	c.has("sync")
	s.kind = gather
	o := c.in.args[0]
	if o.kind != pairOperand && !(o.kind == sinkOperand) || len(c.in.args) != 2 {
		c.fail("want d|p, members")
		return
	}
	d, p := c.target(o.list[0]), c.target(o.list[1])
	s.members = c.src(1, typ{name: "b32", size: 4})
	s.run = func(w *warp, m uint32) {
		first := bits.TrailingZeros32(m)
		each(m, func(l int) {
			w.r[d][l] = uint64(first)
			w.r[p][l] = b2u(l == first)
		})
	}
}
