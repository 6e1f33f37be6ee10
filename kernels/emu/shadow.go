package emu

import (
	"bytes"
	"fmt"
)

// access is one remembered access to a cell. A thread is numbered through all blocks, from 1; 0 is nobody.
type access struct {
	thread int32
	clock  uint32
	pc     int32
	bytes  uint8 // which of the cell's 4
	atomic bool
	proxy  bool // by the asynchronous proxy
}

// cell remembers the last write and some reads of 4 bytes. It is empty unless its stamp is the current one.
type cell struct {
	stamp uint32
	turn  uint8
	w     access
	r     [3]access
}

// clocks are those of the threads of a cluster: a thread's clock moves on when it publishes what it did. What each has seen of the others,
// beside what all of its block have, is a matrix, matrix[me·n+t], which is made when it is needed.
type clocks struct {
	n      int
	clock  []uint32
	matrix []uint32
	fenced []uint32 // up to which clock a thread's stores are visible to the asynchronous proxy
}

func newClocks(n int) *clocks {
	return &clocks{n: n, clock: make([]uint32, n), fenced: make([]uint32, n)}
}

func (k *clocks) reset() {
	clear(k.fenced)
	for i := range k.clock {
		k.clock[i] = 1
	}
	k.matrix = nil
}

// sharedShadow is what the checker knows about one block.
//
// floor[t] is the clock of thread t of the cluster that the last barrier of the whole block made visible to everyone in it. A barrier of
// some warps makes the full matrix.
type sharedShadow struct {
	*clocks
	cells []cell
	flags []uint8 // of bytes
	stamp uint32
	floor []uint32
}

const (
	initialised = 1 << iota
	inFlight
	isBarrier // part of an mbarrier
)

func newSharedShadow(bytes int, k *clocks) *sharedShadow {
	return &sharedShadow{clocks: k, cells: make([]cell, (bytes+3)/4), flags: make([]uint8, bytes), floor: make([]uint32, k.n)}
}

// reset forgets a block; the clocks are the cluster's to reset.
func (s *sharedShadow) reset() {
	s.stamp++
	clear(s.flags)
	clear(s.floor)
}

// join makes what the participants of a barrier did visible to all of them.
func (s *sharedShadow) join(b *block, who []arrival, whole bool) {
	if whole {
		own := s.clock[b.base : b.base+b.threads]
		if s.n > b.threads && s.matrix != nil { // what any of them has seen of other blocks
			for t := b.base; t < b.base+b.threads; t++ {
				maxInto(s.floor, s.matrix[t*s.n:(t+1)*s.n])
			}
		}
		copy(s.floor[b.base:], own)
		for i := range own {
			own[i]++
		}
		return
	}
	if s.matrix == nil {
		s.matrix = make([]uint32, s.n*s.n)
	}
	joined := make([]uint32, s.n)
	each := func(f func(t int, waits bool)) {
		for _, a := range who {
			for l := range lanes {
				if a.mask>>l&1 != 0 {
					f(a.w.t0+l, a.wait)
				}
			}
		}
	}
	each(func(t int, _ bool) {
		maxInto(joined, s.matrix[t*s.n:(t+1)*s.n])
		if w := b.warps[(t-b.base)/lanes]; w.seen != nil {
			maxInto(joined[w.t0:], w.seen[t-w.t0][:min(lanes, s.n-w.t0)])
		}
		joined[t] = max(joined[t], s.clock[t])
	})
	each(func(t int, waits bool) {
		if waits {
			copy(s.matrix[t*s.n:(t+1)*s.n], joined)
		}
		s.clock[t]++
	})
}

// syncLanes is bar.warp.sync.
func (w *warp) syncLanes(mask uint32) {
	s := w.b.shadow
	if s == nil {
		return
	}
	if w.seen == nil {
		w.seen = new([lanes][lanes]uint32)
	}
	var joined [lanes]uint32
	for i := range lanes {
		if mask>>i&1 != 0 {
			for j := range lanes {
				joined[j] = max(joined[j], w.seen[i][j])
			}
			joined[i] = max(joined[i], s.clock[w.t0+i])
		}
	}
	var row []uint32
	if s.matrix != nil {
		row = make([]uint32, s.n)
		for i := range lanes {
			if mask>>i&1 != 0 {
				for o := range row {
					row[o] = max(row[o], s.matrix[(w.t0+i)*s.n+o])
				}
			}
		}
	}
	for i := range lanes {
		if mask>>i&1 != 0 {
			w.seen[i] = joined
			if row != nil {
				copy(s.matrix[(w.t0+i)*s.n:], row)
			}
			s.clock[w.t0+i]++
		}
	}
}

// ordered says whether an access of another thread of this cluster happened before what lane does now.
func (w *warp) ordered(a *access, thread, lane int) bool {
	s := w.b.shadow
	if a.clock <= s.floor[thread] {
		return true
	}
	if w.seen != nil && thread >= w.t0 && thread < w.t0+lanes && a.clock <= w.seen[lane][thread-w.t0] {
		return true
	}
	return s.matrix != nil && a.clock <= s.matrix[(w.t0+lane)*s.n+thread]
}

// conflict says whether a is neither mine nor ordered before me.
func (w *warp) conflict(a *access, me int32, bytes uint8, lane int, atomic bool) bool {
	return a.thread != 0 && a.thread != me && a.bytes&bytes != 0 && !(atomic && a.atomic) && w.unordered(a, lane)
}

// unordered says whether an access of another thread may happen at the same time as what lane does now.
func (w *warp) unordered(a *access, lane int) bool {
	t := w.threadOf(a)
	return t < 0 || t >= w.b.shadow.n || !w.ordered(a, t, lane) // a thread of another cluster is never ordered
}

// check holds one access against what the cells remember, and remembers it. Its n bytes lie on a border of n. data is what a write stores:
// equal values do not race.
func (w *warp) check(
	cells []cell, stamp uint32, off, n, lane int, write, atomic bool, old, data []byte, name func() string,
) {
	me := w.me(lane)
	now := access{thread: me, clock: w.b.shadow.clock[w.t0+lane], pc: w.pc, atomic: atomic, proxy: w.proxy}
	touched := uint8(15)
	if n < 4 {
		touched = (1<<n - 1) << (off & 3)
	}
	cells = cells[off/4 : (off+n+3)/4]
	for i := range cells {
		c := &cells[i]
		now.bytes = touched
		if c.stamp != stamp {
			*c = cell{stamp: stamp}
			if write {
				c.w = now
			} else {
				c.r[0] = now
			}
			continue
		}
		if w.conflict(&c.w, me, touched, lane, atomic) {
			if !write {
				w.race(ReadAfterWrite, &c.w, lane, name)
			} else if !bytes.Equal(old, data) {
				w.race(WriteAfterWrite, &c.w, lane, name)
			}
		}
		if w.proxy && c.w.thread != 0 && !c.w.proxy && c.w.bytes&touched != 0 {
			w.crossing(&c.w, lane, name)
		}
		if !write {
			w.remember(c, &now, lane)
			continue
		}
		for i := range c.r {
			if c.r[i].thread == 0 {
				break // they are filled in turn
			}
			if w.conflict(&c.r[i], me, touched, lane, atomic) {
				w.race(WriteAfterRead, &c.r[i], lane, name)
			}
		}
		if c.w.thread == me && c.w.clock == now.clock {
			now.bytes |= c.w.bytes
		}
		c.w = now
		c.r = [3]access{}
	}
}

// remember keeps a read in its cell: in the place of an older one by the same thread, or of one that is ordered before it and so implied
// by it, or else of the reads in turn.
func (w *warp) remember(c *cell, now *access, lane int) {
	slot := none
	for i := range c.r {
		r := &c.r[i]
		if r.thread == 0 || r.thread == now.thread {
			slot = i
			break
		}
		if slot == none && !w.unordered(r, lane) {
			slot = i
		}
	}
	if slot == none {
		slot = int(c.turn) % len(c.r)
		c.turn++
	}
	if r := &c.r[slot]; r.thread == now.thread && r.clock == now.clock {
		now.bytes |= r.bytes
	}
	c.r[slot] = *now
}

// crossing reports an access of the asynchronous proxy to what a thread stored without fence.proxy.async behind it. A fence by another
// thread than the one that stored does not count.
func (w *warp) crossing(a *access, lane int, name func() string) {
	t := w.threadOf(a)
	if s := w.b.shadow; t < 0 || t >= s.n || a.clock <= s.fenced[t] {
		return
	}
	in, other := w.b.l.p.steps[w.pc].in, w.b.l.p.steps[a.pc].in
	if w.b.l.known(Proxy, in.at) {
		return
	}
	w.b.l.report(Report{
		Kind: Proxy, At: in.at, Line: in.line, OtherAt: other.at, Block: w.b.number, Thread: w.first + lane, Other: int(a.thread - 1),
		Detail: fmt.Sprintf("%s touches %s, which thread %d stored at %s, and no fence.proxy.async by it came between",
			in.op, name(), t, other.at),
	})
}

func (w *warp) race(kind Kind, a *access, lane int, name func() string) {
	l := w.b.l
	in, other := l.p.steps[w.pc].in, l.p.steps[a.pc].in
	t := int(a.thread - 1)
	what := kind
	if t/w.b.threads != w.b.number {
		what = BlockRace
	}
	if l.known(what, in.at) {
		return // one bug is met millions of times: no text is made for it again
	}
	who := fmt.Sprintf("thread %d", t%w.b.threads)
	if what == BlockRace {
		who += fmt.Sprintf(" of block %d", t/w.b.threads)
	}
	verb := map[Kind][2]string{
		ReadAfterWrite: {"read", "a write"}, WriteAfterRead: {"write", "a read"}, WriteAfterWrite: {"write", "a write"},
	}[kind]
	l.report(Report{Kind: what, At: in.at, Line: in.line, OtherAt: other.at, Block: w.b.number, Thread: w.first + lane, Other: t,
		Detail: fmt.Sprintf("%s of %s races with %s at %s by %s", verb[0], name(), verb[1], other.at, who)})
}

// row is what a thread has seen, itself and what __syncwarp showed it included.
func (w *warp) row(lane int) []uint32 {
	s, t := w.b.shadow, w.t0+lane
	v := make([]uint32, s.n)
	if s.n > w.b.threads {
		copy(v, s.floor) // another block has not seen it
	}
	if s.matrix != nil {
		maxInto(v, s.matrix[t*s.n:(t+1)*s.n])
	}
	if w.seen != nil {
		maxInto(v[w.t0:], w.seen[lane][:min(lanes, s.n-w.t0)])
	}
	v[t] = s.clock[t]
	return v
}

// threadOf is the thread of this cluster that an access was by; one of another is below 0 or past the last.
func (w *warp) threadOf(a *access) int { return int(a.thread-1) - w.b.number*w.b.threads + w.b.base }

// me numbers a thread through all blocks, from 1.
func (w *warp) me(lane int) int32 { return int32(w.b.number*w.b.threads+w.first+lane) + 1 }

func maxInto(to, from []uint32) {
	for i, v := range from {
		to[i] = max(to[i], v)
	}
}

// acquire lets a thread see what v holds.
func (s *sharedShadow) acquire(t int, v []uint32) {
	if s.matrix == nil {
		s.matrix = make([]uint32, s.n*s.n)
	}
	maxInto(s.matrix[t*s.n:(t+1)*s.n], v)
}
