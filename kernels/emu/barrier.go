package emu

import (
	"fmt"
	"math/bits"
)

// barOp is a bar.sync, bar.arrive or bar.red.
type barOp struct {
	id, count int // registers; count none: all threads of the block
	arrive    bool
	red       string // "", "or", "and", "popc"
	dst, src  int
	negate    bool
}

type barState struct {
	arrived int // threads
	who     []arrival
}

type arrival struct {
	w    *warp
	pc   int
	op   *barOp
	mask uint32
	wait bool
}

func (c *compiler) barrier(s *step) {
	if c.has("warp") {
		c.has("sync")
		c.has("aligned")
		s.kind = gather
		s.members = c.src(0, b32Type)
		s.run = func(w *warp, m uint32) { w.syncLanes(m) }
		return
	}
	c.has("cta")
	op := &barOp{count: none, dst: none, src: none}
	s.kind, s.bar = barrier, op
	b32 := b32Type
	at := 0
	switch c.one("sync", "arrive", "red") {
	case "sync":
	case "arrive":
		op.arrive = true
	case "red":
		op.red = c.one("popc", "and", "or")
		c.typ()
		op.dst = c.dst(0)
		at = 1
	default:
		c.fail("not emulated")
	}
	c.has("aligned")
	op.id = c.src(at, b32)
	at++
	n := len(c.in.args)
	if op.red != "" {
		n--
		o := c.in.args[n]
		if o.kind != regOperand {
			c.fail("the predicate is not a register")
			return
		}
		op.src, op.negate = o.reg, o.negate
	}
	if at < n {
		op.count = c.src(at, b32)
	}
}

// arrive brings a warp to a barrier; true if it need not wait.
func (w *warp) arrive(s *step, f *fragment) bool {
	lane := bits.TrailingZeros32(f.mask)
	id := int(w.r[s.bar.id][lane])
	if id > 15 {
		w.report(Report{Kind: DivergentBarrier, Detail: fmt.Sprintf("barrier %d, want 0 to 15", id)}, s.in)
		w.b.dead = true
		return false
	}
	st := &w.b.bars[id]
	st.arrived += lanes
	st.who = append(st.who, arrival{w, f.pc, s.bar, f.mask, !s.bar.arrive})
	if !s.bar.arrive {
		f.waiting, f.inBar, f.need = true, true, 0
	}
	w.b.complete(id)
	return s.bar.arrive
}

func (b *block) recheckBarriers() {
	for id := range b.bars {
		if b.bars[id].arrived > 0 {
			b.complete(id)
		}
	}
}

// complete opens a barrier at which all have arrived.
func (b *block) complete(id int) {
	st := &b.bars[id]
	a := st.who[0]
	want, whole := 0, a.op.count == none
	for _, w := range b.warps {
		if w.live != 0 {
			want += lanes
		}
	}
	if !whole {
		n := int(a.w.r[a.op.count][bits.TrailingZeros32(a.mask)])
		whole = n == want
		want = n
	}
	if st.arrived < want {
		return
	}
	steps := b.l.p.steps
	for _, o := range st.who[1:] {
		x, y := steps[a.pc].in, steps[o.pc].in
		if a.wait && o.wait && x.at != y.at && x.at.String() != y.at.String() {
			a.w.report(Report{Kind: DivergentBarrier, OtherAt: y.at, Detail: fmt.Sprintf("warps %d and %d meet at barrier %d from %s and %s", a.w.id, o.w.id, id, x.at, y.at)}, x)
			break
		}
	}
	if b.shadow != nil {
		b.shadow.join(b, st.who, whole)
	}
	if a.op.red != "" {
		total, threads := 0, 0
		for _, o := range st.who {
			m := o.w.predicate(o.op.src)
			if o.op.negate {
				m = ^m
			}
			total += bits.OnesCount32(m & o.mask)
			threads += bits.OnesCount32(o.mask)
		}
		v := uint64(total)
		switch a.op.red {
		case "or":
			v = b2u(total > 0)
		case "and":
			v = b2u(total == threads)
		}
		for _, o := range st.who {
			for l := range lanes {
				if o.mask>>l&1 != 0 {
					o.w.r[o.op.dst][l] = v
				}
			}
		}
	}
	for _, o := range st.who {
		if o.wait {
			f := &o.w.frags[0]
			f.waiting, f.inBar = false, false
			f.pc++
		}
	}
	st.arrived, st.who = 0, st.who[:0]
}
