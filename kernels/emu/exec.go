package emu

import (
	"fmt"
	"math/bits"
	"slices"
)

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
	first     int // its first thread, in the block
	t0        int // and in the cluster
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
	pc        int32      // of the instruction at work
	polled    bool       // the instruction at work asked an mbarrier in vain
	again     bool       // and is to be done again
	arrivals  [lanes]int // at the cluster's barrier, not yet waited for: the phase, plus one
	apart     uint32     // lanes that asked an mbarrier, since the warp last came together
	proxy     bool       // the access at work is one of the asynchronous proxy: a bulk copy or a wgmma
	wg        []wgmmaOp
	wgGroup   int
	acc       map[int]*accumulator // by their first register
	right     *[256][16]float32    // room for the right factor of a wgmma
}

func (w *warp) ready() bool {
	for i := range w.frags {
		if !w.frags[i].waiting {
			return true
		}
	}
	return false
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
	ran := false
	for quantum > 0 && !w.b.dead {
		i := w.pick()
		if i == none {
			break
		}
		quantum = w.advance(i, quantum)
		ran = true
		if w.count >= hang {
			in := w.b.l.p.steps[w.pc].in
			w.report(Report{Kind: Deadlock, Detail: fmt.Sprintf("still running after %d instructions", hang)}, in)
			w.b.dead = true
			return true
		}
		w.merge()
	}
	if w.live != 0 && !w.ready() && !w.b.dead {
		w.stranded()
	}
	return ran
}

// advance runs fragment i until it waits, ends, divides or jumps back, stands where another fragment does, or quantum is used up. It
// returns what is left of that.
func (w *warp) advance(i, quantum int) int {
	steps := w.b.l.p.steps
	f := &w.frags[i]
	limit := len(steps)
	for j := range w.frags {
		if pc := w.frags[j].pc; j != i && pc > f.pc && pc < limit {
			limit = pc
		}
	}
	for first := true; quantum > 0 && (first || f.pc < limit); first = false {
		s := &steps[f.pc]
		quantum--
		w.count++
		w.pc = int32(f.pc)
		active := f.mask
		if s.guard >= 0 {
			active &= w.predicate(s.guard)
			if s.negate {
				active = f.mask &^ active
			}
		}
		if s.kind != plain {
			if !w.control(i, s, active) {
				break
			}
			continue
		}
		if active != 0 {
			s.run(w, active)
		}
		f.pc++
		if w.polled {
			if w.again {
				w.again = false
				f.pc--
			}
			w.polled = false
			f.waiting, f.poll, f.need = true, true, 0
			break
		}
	}
	return quantum
}

// control executes a step that is not plain by the active lanes of fragment i, and says whether the fragment goes on at once.
func (w *warp) control(i int, s *step, active uint32) bool {
	f := &w.frags[i]
	switch {
	case active == 0:
		f.pc++
		return true
	case s.kind == branch:
		return w.branch(f, s, active)
	case s.kind == leave:
		w.leave(i, s, active)
		return false
	case s.kind == barrier && active != f.mask:
		w.report(Report{Kind: DivergentBarrier, Detail: fmt.Sprintf(
			"%s under a predicate that only lanes %#x of %#x pass", s.in.op, active, f.mask)}, s.in)
		w.b.dead = true
		return false
	}
	want := w.live
	if s.kind == gather {
		want = w.gather(s, active)
	}
	if missing := want &^ active; missing != 0 {
		f.waiting, f.need = true, missing
		return false
	}
	w.apart &^= active
	if s.kind == barrier {
		if !w.arrive(s, f) {
			return false
		}
	} else {
		for _, members := range w.groups {
			s.run(w, members)
		}
	}
	f.pc++
	return true
}

// branch jumps, or divides a fragment of which only some lanes do. After a jump back one looks again who is behind.
func (w *warp) branch(f *fragment, s *step, active uint32) bool {
	if active == f.mask {
		back := s.target <= f.pc
		f.pc = s.target
		return !back
	}
	f.mask &^= active
	f.pc++
	w.frags = append(w.frags, fragment{pc: s.target, mask: active})
	return false
}

// leave ends lanes of fragment i.
func (w *warp) leave(i int, s *step, active uint32) {
	w.exit(active, s)
	if f := &w.frags[i]; active == f.mask {
		w.frags = slices.Delete(w.frags, i, i+1)
	} else {
		f.mask &^= active
		f.pc++
	}
	w.wake()
	w.b.recheckBarriers()
	if len(w.b.cluster.blocks) > 1 {
		w.b.cluster.turn()
	}
}

// stranded reports fragments that all wait, none of them at a barrier or for an mbarrier: for members that will never meet.
func (w *warp) stranded() {
	for i := range w.frags {
		if w.frags[i].inBar || w.frags[i].poll {
			return
		}
	}
	steps := w.b.l.p.steps
	f, g := &w.frags[0], &w.frags[len(w.frags)-1]
	a, b := steps[f.pc].in, steps[g.pc].in
	kind := Mask
	if steps[f.pc].kind == barrier && steps[g.pc].kind == barrier {
		kind = DivergentBarrier
	}
	w.report(Report{Kind: kind, OtherAt: b.at, Detail: fmt.Sprintf(
		"lanes %#x wait at %s for lanes %#x, which wait at %s (%s)", f.mask, a.op, f.need, b.at, b.op)}, a)
	w.b.dead = true
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
			w.report(Report{Kind: Mask, Detail: fmt.Sprintf(
				"%s by lanes %#x, which its mask %#x does not name", s.in.op, group, members)}, s.in)
		}
		if other := members & active &^ group; other != 0 {
			w.report(Report{Kind: Mask, Detail: fmt.Sprintf(
				"%s by lanes %#x names lanes %#x, which come with another mask", s.in.op, group, other)}, s.in)
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
			w.report(Report{Kind: kind, OtherAt: s.in.at, Detail: fmt.Sprintf(
				"lanes %#x wait at %s for lanes %#x, which ended", f.mask, at.in.op, lost)}, at.in)
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
