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

// barrier is bar, barrier and bar.warp.
func (c *compiler) barrier(s *step) {
	if c.has("warp") {
		c.has("sync")
		c.has("aligned")
		s.kind = gather
		s.members = c.src(0, b32Type)
		s.run = func(w *warp, m uint32) { w.syncLanes(m) }
		return
	}
	if c.has("cluster") {
		c.clusterBarrier(s)
		return
	}
	c.has("cta")
	op := &barOp{count: none, dst: none, src: none}
	s.kind, s.bar = barrier, op
	at, n := 0, len(c.in.args) // the operands between a result and a predicate
	switch c.one("sync", "arrive", "red") {
	case "sync":
	case "arrive":
		op.arrive = true
	case "red":
		op.red = c.one("popc", "and", "or")
		c.typ()
		op.dst = c.dst(0)
		at, n = 1, n-1
		op.src, op.negate = c.predicate(n)
	default:
		c.fail("not emulated")
	}
	c.has("aligned")
	op.id = c.src(at, b32Type)
	if at+1 < n {
		op.count = c.src(at+1, b32Type)
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
	want, whole := b.expected(&st.who[0])
	if st.arrived < want {
		return
	}
	b.meeting(id, st.who)
	if b.shadow != nil {
		b.shadow.join(b, st.who, whole)
	}
	if st.who[0].op.red != "" {
		reduce(st.who)
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

// expected is how many threads a barrier waits for, warps counted whole, and whether these are all that live.
func (b *block) expected(a *arrival) (want int, whole bool) {
	for _, w := range b.warps {
		if w.live != 0 {
			want += lanes
		}
	}
	if a.op.count == none {
		return want, true
	}
	n := int(a.w.r[a.op.count][bits.TrailingZeros32(a.mask)])
	return n, n == want
}

// meeting reports warps that wait at one barrier in different places.
func (b *block) meeting(id int, who []arrival) {
	steps := b.l.p.steps
	a := who[0]
	x := steps[a.pc].in
	for _, o := range who[1:] {
		y := steps[o.pc].in
		if a.wait && o.wait && x.at != y.at && x.at.String() != y.at.String() {
			a.w.report(Report{Kind: DivergentBarrier, OtherAt: y.at, Detail: fmt.Sprintf(
				"warps %d and %d meet at barrier %d from %s and %s", a.w.id, o.w.id, id, x.at, y.at)}, x)
			return
		}
	}
}

// reduce gives everyone at a bar.red what the predicates of all come to.
func reduce(who []arrival) {
	total, threads := 0, 0
	for _, o := range who {
		m := o.w.predicate(o.op.src)
		if o.op.negate {
			m = ^m
		}
		total += bits.OnesCount32(m & o.mask)
		threads += bits.OnesCount32(o.mask)
	}
	v := uint64(total)
	switch who[0].op.red {
	case "or":
		v = b2u(total > 0)
	case "and":
		v = b2u(total == threads)
	}
	for _, o := range who {
		each(o.mask, func(l int) { o.w.r[o.op.dst][l] = v })
	}
}
