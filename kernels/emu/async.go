package emu

import (
	"slices"
)

// asyncCopy is a cp.async under way. It is carried out when its thread waits for it, as late as the program allows.
type asyncCopy struct {
	lane, group int
	dst         uint64
	src         uint64
	n, read     int // bytes written; bytes read, the rest is zero
	pc          int32
}

// async is cp.async.
func (c *compiler) async(s *step) {
	if !c.has("async") {
		c.fail("not emulated")
		return
	}
	if c.has("bulk") {
		c.bulk(s)
		return
	}
	switch {
	case c.has("commit_group"):
		s.run = func(w *warp, m uint32) { each(m, func(l int) { w.committed[l]++ }) }
	case c.has("wait_group"):
		n := c.groups()
		s.run = func(w *warp, m uint32) { w.finishCopies(m, n) }
	case c.has("wait_all"):
		s.run = func(w *warp, m uint32) { w.finishCopies(m, -1) }
	default:
		c.asyncCopy(s)
	}
}

// groups is the operand of a wait: how many groups may still be under way.
func (c *compiler) groups() int {
	if len(c.in.args) != 1 || c.in.args[0].kind != immOperand {
		c.fail("want the number of groups")
		return 0
	}
	return int(c.in.args[0].imm)
}

func (c *compiler) asyncCopy(s *step) {
	c.one("ca", "cg")
	if !c.has("shared", "shared::cta") || !c.has("global") {
		c.fail("only copies from global to shared memory are emulated")
		return
	}
	c.has("L2::128B", "L2::256B", "L2::64B")
	if len(c.in.args) < 3 || c.in.args[2].kind != immOperand {
		c.fail("want [dst], [src], size")
		return
	}
	dst, dstOff := c.addr(0)
	src, srcOff := c.addr(1)
	n := int(c.in.args[2].imm)
	size := c.constant(uint64(n))
	if len(c.in.args) > 3 {
		size = c.src(3, u32Type)
	}
	s.run = func(w *warp, m uint32) {
		if w.b.shadow != nil {
			w.traffic(global, &w.r[src], srcOff, m, n)
			w.traffic(shared, &w.r[dst], dstOff, m, n)
		}
		each(m, func(l int) {
			w.issue(asyncCopy{
				lane: l, group: w.committed[l], dst: w.r[dst][l] + uint64(dstOff), src: w.r[src][l] + uint64(srcOff),
				n: n, read: min(int(uint32(w.r[size][l])), n), pc: w.pc,
			})
		})
	}
}

// issue checks the source, and treats the destination as written now: whoever reads it before the copy is complete, reads too early.
func (w *warp) issue(cp asyncCopy) {
	if cp.src&uint64(cp.n-1) != 0 {
		w.reportLane(Misaligned, cp.lane, "source of a cp.async")
		return
	}
	// Only the bytes that are read must exist.
	for at := 0; at < cp.read; {
		n := 1
		for n*2 <= cp.read-at && at%(n*2) == 0 {
			n *= 2
		}
		w.mem(global, cp.src+uint64(at), n, cp.lane, false, false, nil)
		at += n
	}
	w.mem(shared, cp.dst, cp.n, cp.lane, true, false, nil)
	if s := w.b.shadow; s != nil {
		if off := int(cp.dst) - sharedBase; off >= 0 && off+cp.n <= len(s.flags) {
			for i := range cp.n {
				s.flags[off+i] |= inFlight
			}
		}
	}
	w.pending = append(w.pending, cp)
}

// finishCopies completes the copies of the lanes but for the newest groups: keep −1 takes those not committed too.
func (w *warp) finishCopies(m uint32, keep int) {
	if len(w.pending) == 0 {
		return
	}
	w.pending = slices.DeleteFunc(w.pending, func(cp asyncCopy) bool {
		if m>>cp.lane&1 == 0 || keep >= 0 && cp.group >= w.committed[cp.lane]-keep {
			return false
		}
		off := int(cp.dst) - sharedBase
		if off < 0 || off+cp.n > len(w.b.shared) {
			return true // reported when it was issued
		}
		to := w.b.shared[off : off+cp.n]
		clear(to)
		if a := w.b.l.d.find(cp.src); a != nil && !a.dead && cp.read > 0 && cp.src-a.base+uint64(cp.read) <= uint64(len(a.data)) {
			copy(to, a.data[cp.src-a.base:][:cp.read])
		}
		if s := w.b.shadow; s != nil {
			for i := range cp.n {
				s.flags[off+i] = s.flags[off+i]&^inFlight | initialised
			}
			// From here on it is a write of this thread at this time.
			me := w.me(cp.lane)
			for at := off / 4; at < (off+cp.n)/4; at++ {
				if cl := &s.cells[at]; cl.stamp == s.stamp && cl.w.thread == me {
					cl.w.clock = s.clock[w.t0+cp.lane]
				}
			}
		}
		return true
	})
}
