package emu

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
)

const (
	lanes = 32
	full  = ^uint32(0)
)

// exec does one instruction for the lanes of active.
type exec func(w *warp, active uint32)

type stepKind uint8

const (
	plain   stepKind = iota
	branch           // to target
	leave            // ret, exit
	gather           // needs all live lanes of its members: shfl, vote, mma; then runs as plain
	barrier          // bar: needs the whole warp, then the block
)

// step is one compiled instruction.
type step struct {
	kind    stepKind
	guard   int // register, or none
	negate  bool
	run     exec
	target  int
	members int // gather: register of the member mask, or none for the whole warp
	bar     *barOp
	in      *instr
}

// program is one compiled entry.
type program struct {
	f      *function
	steps  []step
	consts []uint64 // values of the registers behind the special ones
	nregs  int      // declared registers; then the special ones, then the constants
	static int      // bytes of static shared memory
	dynAt  int      // where dynamic shared memory begins, from sharedBase
	shared []*variable
	dyn    *variable
	module *loaded
}

// barOp is a bar.sync, bar.arrive or bar.red.
type barOp struct {
	id, count int // registers; count none: all threads of the block
	arrive    bool
	red       string // "", "or", "and", "popc"
	dst, src  int
	negate    bool
}

// fragment is a set of lanes at one pc.
type fragment struct {
	pc      int
	mask    uint32
	waiting bool   // for the other members, or for the barrier
	need    uint32 // members that have not come
	inBar   bool   // it has arrived at a barrier
	poll    bool   // it asked an mbarrier in vain: it goes on when something has happened in the block
}

type warp struct {
	b         *block
	id        int
	first     int // its first thread
	r         [][lanes]uint64
	frags     []fragment
	groups    []uint32 // lanes of one member mask each, of the gather at work
	live      uint32
	local     []byte // localSize bytes a lane
	last      *alloc
	junk      [16]byte
	pending   []asyncCopy
	committed [lanes]int
	seen      *[lanes][lanes]uint32 // clocks of the other lanes that a bar.warp.sync made visible
	count     uint64
	pc        int32  // of the instruction at work
	polled    bool   // the instruction at work asked an mbarrier in vain
	apart     uint32 // lanes that asked an mbarrier, since the warp last came together
	proxy     bool   // the access at work is one of the asynchronous proxy: a bulk copy or a wgmma
	wg        []wgmmaOp
	wgGroup   int
	acc       map[int]*accumulator // by their first register
}

type block struct {
	l       *launch
	id      [3]uint32
	number  int
	threads int
	warps   []*warp
	shared  []byte
	bars    [16]barState
	shadow  *sharedShadow
	dead    bool // a report stopped it
	mbars   map[uint64]*mbarrier
	bulk    []bulkCopy
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

type launch struct {
	d        *Device
	p        *program
	params   []byte
	grid     [3]uint32
	block    [3]uint32
	dynamic  int
	check    bool
	rng      *rand.Rand
	stamp    uint32
	reports  []Report
	seen     map[reportKey]bool
	counters Counters
	touched  []*alloc
}

// run executes all blocks, one after the other, in an order the schedule chooses.
func (l *launch) run() error {
	n := int(l.grid[0]) * int(l.grid[1]) * int(l.grid[2])
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if l.rng != nil {
		l.rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	b := newBlock(l)
	for _, i := range order {
		b.start(i)
		b.run()
		if len(l.reports) >= maxReports {
			break
		}
	}
	return l.verdict()
}

func newBlock(l *launch) *block {
	b := &block{l: l, threads: int(l.block[0]) * int(l.block[1]) * int(l.block[2])}
	b.shared = make([]byte, l.p.dynAt+l.dynamic)
	if l.check {
		b.shadow = newSharedShadow(len(b.shared), b.threads)
	}
	p := l.p
	nw := (b.threads + lanes - 1) / lanes
	total := p.nregs + specialCount + len(p.consts)
	for i := range nw {
		w := &warp{b: b, id: i, first: i * lanes, r: make([][lanes]uint64, total), local: make([]byte, p.f.localSize*lanes)}
		for c, v := range p.consts {
			for lane := range lanes {
				w.r[p.nregs+specialCount+c][lane] = v
			}
		}
		b.warps = append(b.warps, w)
	}
	return b
}

func (b *block) start(number int) {
	l := b.l
	b.number = number
	gx, gy := int(l.grid[0]), int(l.grid[1])
	b.id = [3]uint32{uint32(number % gx), uint32(number / gx % gy), uint32(number / gx / gy)}
	b.dead = false
	b.bars = [16]barState{}
	b.mbars, b.bulk = map[uint64]*mbarrier{}, nil
	for i := range b.shared {
		b.shared[i] = 0xff
	}
	if b.shadow != nil {
		b.shadow.reset()
	}
	for _, w := range b.warps {
		n := min(b.threads-w.first, lanes)
		w.live = full >> (lanes - n)
		w.frags = append(w.frags[:0], fragment{mask: w.live})
		w.pending = w.pending[:0]
		w.committed = [lanes]int{}
		w.count = 0
		w.seen = nil
		w.last = nil
		w.polled, w.wg, w.wgGroup, w.acc = false, nil, 0, map[int]*accumulator{}
		for i := range w.local {
			w.local[i] = 0xff
		}
		s := w.r[l.p.nregs:]
		for lane := range lanes {
			t := w.first + lane
			bx, by := int(l.block[0]), int(l.block[1])
			for i, v := range [specialCount]uint64{
				uint64(t % bx), uint64(t / bx % by), uint64(t / bx / by),
				uint64(l.block[0]), uint64(l.block[1]), uint64(l.block[2]),
				uint64(b.id[0]), uint64(b.id[1]), uint64(b.id[2]),
				uint64(l.grid[0]), uint64(l.grid[1]), uint64(l.grid[2]),
				uint64(lane), uint64(w.id), uint64(len(b.warps)),
				1 << lane, 1<<lane - 1, 1<<(lane+1) - 1, uint64(^uint32(1<<(lane+1) - 1)), uint64(^uint32(1<<lane - 1)),
				0, 0, uint64(number % l.d.info.Multiprocessors), uint64(l.d.info.Multiprocessors), uint64(l.dynamic),
			} {
				s[i][lane] = v
			}
		}
	}
}

// run executes the block's warps until all have ended. The default schedule is round robin, each warp as far as it comes; a random one
// takes any warp, any of its fragments, for 1 to 200 instructions.
func (b *block) run() {
	rng := b.l.rng
	for {
		ran, alive := false, false
		if rng != nil && len(b.bulk) > 0 && rng.IntN(8) == 0 {
			b.completeBulk(rng.IntN(len(b.bulk)))
		}
		if rng == nil {
			for _, w := range b.warps {
				if w.live != 0 && !b.dead {
					ran = w.run(1<<30) || ran
				}
				alive = alive || w.live != 0
			}
		} else {
			var ready []*warp
			for _, w := range b.warps {
				alive = alive || w.live != 0
				if w.ready() {
					ready = append(ready, w)
				}
			}
			if len(ready) > 0 {
				ran = ready[rng.IntN(len(ready))].run(1 + rng.IntN(200))
			}
		}
		if !alive || b.dead {
			break
		}
		if !ran {
			if len(b.bulk) > 0 { // as late as the program allows
				b.completeBulk(0)
				continue
			}
			b.stuck()
			break
		}
	}
	for _, w := range b.warps {
		w.finishCopies(full, 0)
		b.l.counters.Instructions += w.count
	}
}

func (w *warp) ready() bool {
	for i := range w.frags {
		if !w.frags[i].waiting {
			return true
		}
	}
	return false
}

// stuck reports a block in which nobody can go on.
func (b *block) stuck() {
	var text string
	var at *step
	for _, w := range b.warps {
		for _, f := range w.frags {
			s := &b.l.p.steps[f.pc]
			at = s
			text += fmt.Sprintf("; warp %d, lanes %#x wait at %s (%s)", w.id, f.mask, s.in.at, s.in.op)
		}
	}
	b.dead = true
	if at != nil {
		b.l.report(Report{Kind: Deadlock, At: at.in.at, Line: at.in.line, Block: b.number, Thread: none, Other: none, Detail: "nobody can go on" + text})
	}
}

const hang = 1 << 31 // instructions of one warp in one block

// pick chooses a fragment to run: one that is about to leave (lanes that return early do not count for those that stay), else the one
// furthest behind, or with a random schedule any.
func (w *warp) pick() int {
	best := none
	steps := w.b.l.p.steps
	n := 0
	for i := range w.frags {
		f := &w.frags[i]
		if f.waiting {
			continue
		}
		if s := &steps[f.pc]; s.kind == leave && s.guard == none {
			return i
		}
		n++
		if rng := w.b.l.rng; rng != nil {
			if rng.IntN(n) == 0 {
				best = i
			}
		} else if best == none || f.pc < w.frags[best].pc {
			best = i
		}
	}
	return best
}

// run executes up to quantum instructions and reports whether it did any.
func (w *warp) run(quantum int) bool {
	steps := w.b.l.p.steps
	ran := false
	for quantum > 0 && !w.b.dead {
		fi := w.pick()
		if fi < 0 {
			break
		}
		f := &w.frags[fi]
		limit := len(steps)
		for i := range w.frags {
			if pc := w.frags[i].pc; i != fi && pc > f.pc && pc < limit {
				limit = pc
			}
		}
		// A fragment behind the limit runs up to it, then merges.
		for first := true; quantum > 0 && (first || f.pc < limit); first = false {
			s := &steps[f.pc]
			quantum--
			w.count++
			w.pc = int32(f.pc)
			active := f.mask
			if s.guard >= 0 {
				active &= w.predicate(s.guard)
				if s.negate {
					active = f.mask &^ w.predicate(s.guard)
				}
			}
			if s.kind == plain {
				if active != 0 {
					s.run(w, active)
				}
				f.pc++
				ran = true
				if w.polled {
					w.polled = false
					f.waiting, f.poll, f.need = true, true, 0
					break
				}
				continue
			}
			if s.kind == branch {
				ran = true
				if active == f.mask {
					back := s.target <= f.pc
					f.pc = s.target
					if back {
						break // look again who is behind
					}
					continue
				}
				if active == 0 {
					f.pc++
					continue
				}
				f.mask &^= active
				f.pc++
				w.frags = append(w.frags, fragment{pc: s.target, mask: active})
				break
			}
			if s.kind == leave {
				ran = true
				if active == 0 {
					f.pc++
					continue
				}
				w.exit(active, s)
				if active == f.mask {
					w.frags = slices.Delete(w.frags, fi, fi+1)
				} else {
					f.mask &^= active
					f.pc++
				}
				w.wake()
				w.b.recheckBarriers()
				break
			}
			if active != f.mask && active != 0 && s.kind == barrier {
				w.report(Report{Kind: DivergentBarrier, Detail: fmt.Sprintf("%s under a predicate that only lanes %#x of %#x pass", s.in.op, active, f.mask)}, s.in)
				w.b.dead = true
				return true
			}
			if active == 0 {
				f.pc++
				ran = true
				continue
			}
			want := w.live
			if s.kind == gather {
				want = w.gather(s, active)
			}
			if missing := want &^ active; missing != 0 {
				f.waiting, f.need = true, missing
				ran = true // it came to this point now
				break
			}
			ran = true
			w.apart &^= active
			if s.kind == gather {
				for _, lanes := range w.groups {
					s.run(w, lanes)
				}
				f.pc++
				continue
			}
			if w.arrive(s, f) {
				f.pc++
				continue
			}
			break
		}
		w.count = min(w.count, hang)
		if w.count == hang {
			w.report(Report{Kind: Deadlock, Detail: fmt.Sprintf("still running after %d instructions", hang)}, steps[min(int(w.pc), len(steps)-1)].in)
			w.b.dead = true
			return true
		}
		w.merge()
	}
	// All wait, none at a barrier: members that will never meet.
	if w.live != 0 && !w.ready() && !w.b.dead {
		for i := range w.frags {
			if w.frags[i].inBar || w.frags[i].poll {
				return ran
			}
		}
		f, g := &w.frags[0], &w.frags[len(w.frags)-1]
		a, b := steps[f.pc].in, steps[g.pc].in
		kind := Mask
		if steps[f.pc].kind == barrier && steps[g.pc].kind == barrier {
			kind = DivergentBarrier
		}
		w.report(Report{Kind: kind, OtherAt: b.at, Detail: fmt.Sprintf("lanes %#x wait at %s for lanes %#x, which wait at %s (%s)", f.mask, a.op, f.need, b.at, b.op)}, a)
		w.b.dead = true
	}
	return ran
}

// gather divides the active lanes into groups of one member mask, and returns all lanes that they wait for. A group that its mask does not
// name, or that names lanes with another mask, is a report.
func (w *warp) gather(s *step, active uint32) (want uint32) {
	w.groups = w.groups[:0]
	if s.members == none {
		w.groups = append(w.groups, active)
		return w.live
	}
	masks := &w.r[s.members]
	for rest := active; rest != 0; {
		mask, group := uint32(masks[bits.TrailingZeros32(rest)]), uint32(0)
		for mm := rest; mm != 0; mm &= mm - 1 {
			if lane := bits.TrailingZeros32(mm); uint32(masks[lane]) == mask {
				group |= 1 << lane
			}
		}
		members := mask & w.live
		if group&^members != 0 {
			w.report(Report{Kind: Mask, Detail: fmt.Sprintf("%s by lanes %#x, which its mask %#x does not name", s.in.op, group, members)}, s.in)
		}
		if other := members & active &^ group; other != 0 {
			w.report(Report{Kind: Mask, Detail: fmt.Sprintf("%s by lanes %#x names lanes %#x, which come with another mask", s.in.op, group, other)}, s.in)
		}
		w.groups = append(w.groups, group)
		want |= members | group
		rest &^= group
	}
	return want
}

// merge joins fragments that stand at one pc. One that waited looks again.
func (w *warp) merge() {
	for i := 0; i < len(w.frags); i++ {
		for j := i + 1; j < len(w.frags); j++ {
			if w.frags[i].pc == w.frags[j].pc && !w.frags[i].inBar && !w.frags[j].inBar {
				w.frags[i].mask |= w.frags[j].mask
				w.frags[i].waiting, w.frags[i].poll = false, false
				w.frags = slices.Delete(w.frags, j, j+1)
				j--
			}
		}
	}
}

func (w *warp) wake() {
	for i := range w.frags {
		if !w.frags[i].inBar {
			w.frags[i].waiting, w.frags[i].poll = false, false
		}
	}
}

// progress lets everyone who polls look again.
func (b *block) progress() {
	for _, w := range b.warps {
		for i := range w.frags {
			if w.frags[i].poll {
				w.frags[i].waiting, w.frags[i].poll = false, false
			}
		}
	}
}

// exit ends lanes. A fragment that waits for one of them waits in vain.
func (w *warp) exit(mask uint32, s *step) {
	for i := range w.frags {
		f := &w.frags[i]
		if lost := f.need & mask; f.waiting && !f.inBar && lost != 0 {
			at := &w.b.l.p.steps[f.pc]
			kind := Mask
			if at.kind == barrier {
				kind = DivergentBarrier
			}
			w.report(Report{Kind: kind, OtherAt: s.in.at, Detail: fmt.Sprintf("lanes %#x wait at %s for lanes %#x, which ended", f.mask, at.in.op, lost)}, at.in)
			f.need &^= mask
		}
	}
	w.live &^= mask
	w.finishCopies(mask, 0)
}

func (w *warp) predicate(r int) uint32 {
	var m uint32
	p := &w.r[r]
	for l := range lanes {
		m |= uint32(p[l]&1) << l
	}
	return m
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

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
