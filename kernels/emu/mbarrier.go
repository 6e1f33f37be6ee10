package emu

import (
	"fmt"
	"math/bits"
)

// mbarrier is a barrier in shared memory that also counts bytes. A phase is complete when all have arrived and all bytes have.
//
// vc is the clocks of those who arrived in this phase, or whose copies did; done those of all complete phases. A successful wait acquires
// done.
type mbarrier struct {
	count, pending, tx, phase int
	vc, done                  []uint32
	made                      access // its initialisation
}

func (c *compiler) mbarrier(s *step) {
	c.hopper()
	op := c.one("init", "inval", "arrive", "expect_tx", "try_wait", "test_wait")
	expect := op == "expect_tx" || op == "arrive" && c.has("expect_tx")
	parity := c.has("parity")
	c.one("release", "acquire", "relaxed")
	c.has("cta", "cluster")
	remote := op == "arrive" && c.has("shared::cluster")
	c.has("shared", "shared::cta")
	c.has("b64")
	switch op {
	case "init":
		c.mbarrierInit(s)
	case "arrive":
		if len(c.in.args) == 0 || c.in.args[0].kind != sinkOperand {
			c.fail("the state that it returns is not emulated: want _")
			return
		}
		c.mbarrierArrive(s, 1, true, expect, remote)
	case "expect_tx":
		c.mbarrierArrive(s, 0, false, true, false)
	case "try_wait", "test_wait":
		if !parity {
			c.fail("only the parity form is emulated")
			return
		}
		c.mbarrierWait(s)
	default:
		c.fail("not emulated")
	}
}

func (c *compiler) mbarrierInit(s *step) {
	base, off := c.addr(0)
	n := c.src(1, u32Type)
	s.run = func(w *warp, m uint32) {
		each(m, func(l int) {
			addr := w.r[base][l] + uint64(off)
			if addr&7 != 0 {
				w.reportLane(Misaligned, l, fmt.Sprintf("an mbarrier at shared address %d", addr))
				return
			}
			w.initialise(addr, l, int(w.r[n][l]))
		})
	}
}

// initialise makes an mbarrier of count arrivals.
func (w *warp) initialise(addr uint64, lane, count int) {
	n := len(w.b.cluster.gate.came)
	bar := &mbarrier{count: count, pending: count, vc: make([]uint32, n), done: make([]uint32, n)}
	w.mem(shared, addr, 8, lane, true, false, nil)
	w.b.mbars[addr] = bar
	if sh := w.b.shadow; sh != nil {
		bar.made = access{thread: w.me(lane), clock: sh.clock[w.t0+lane], pc: w.pc, bytes: 15}
		for i := range 8 {
			if at := int(addr) - sharedBase + i; at < len(sh.flags) {
				sh.flags[at] |= isBarrier
			}
		}
	}
}

// mbarrierArrive is arrive and expect_tx, and both at once. Its address is operand at; the next, if there is one, says how many arrivals,
// or with expect how many bytes. A remote one may stand in another block of the cluster.
func (c *compiler) mbarrierArrive(s *step, at int, arrive, expect, remote bool) {
	base, off := c.addr(at)
	arg := none
	if len(c.in.args) > at+1 {
		arg = c.src(at+1, u32Type)
	}
	s.run = func(w *warp, m uint32) {
		if rest := w.apart &^ m; rest != 0 && w.apart&m != 0 && w.b.shadow != nil {
			w.reportLane(MBarrier, bits.TrailingZeros32(m), fmt.Sprintf("it arrives for its warp, and lanes %#x, "+
				"which asked an mbarrier as it did, may still be asking: nothing brought them together", rest))
		}
		each(m, func(l int) {
			of, addr := w.b, w.r[base][l]+uint64(off)
			if remote {
				if of, addr = w.clusterAddress(addr, l); of == nil {
					return
				}
			}
			bar := w.mbarOf(of, addr, l)
			if bar == nil {
				return
			}
			n := 1
			if arg != none {
				n = int(uint32(w.r[arg][l]))
			}
			if expect {
				bar.tx += n
				n = 1
			}
			if arrive {
				w.arriveAt(of, bar, l, n)
			}
		})
	}
}

// mbarrierWait is try_wait and test_wait: neither blocks, the program asks again.
func (c *compiler) mbarrierWait(s *step) {
	d := c.dst(0)
	base, off := c.addr(1)
	p := c.src(2, u32Type)
	s.run = func(w *warp, m uint32) {
		w.apart |= m
		each(m, func(l int) {
			bar := w.mbar(w.r[base][l]+uint64(off), l)
			ok := bar == nil || uint64(bar.phase&1) != w.r[p][l]&1
			w.r[d][l] = b2u(ok)
			if !ok {
				w.polled = true
			} else if bar != nil && w.b.shadow != nil {
				w.b.shadow.acquire(w.t0+l, bar.done)
			}
		})
	}
}

func (w *warp) mbar(addr uint64, lane int) *mbarrier { return w.mbarOf(w.b, addr, lane) }

// mbarOf is the mbarrier at an address of a block of the cluster.
func (w *warp) mbarOf(b *block, addr uint64, lane int) *mbarrier {
	m := b.mbars[addr&^windowMask]
	if m == nil {
		w.reportLane(MBarrier, lane, fmt.Sprintf(
			"shared byte %d is used as an mbarrier, and nobody initialised one there", int(addr&^windowMask)-sharedBase))
		return nil
	}
	if w.b.shadow != nil && w.conflict(&m.made, w.me(lane), 15, lane, false) {
		w.reportLane(MBarrier, lane, fmt.Sprintf("its initialisation by thread %d is not ordered before", int(m.made.thread-1)%w.b.threads))
	}
	return m
}

// arriveAt counts n arrivals of a thread at an mbarrier of block b.
func (w *warp) arriveAt(b *block, m *mbarrier, lane, n int) {
	if m.pending < n {
		w.reportLane(MBarrier, lane, fmt.Sprintf("more arrivals than the %d expected: its phase %d is still open", m.count, m.phase))
		return
	}
	if s := w.b.shadow; s != nil {
		t := w.t0 + lane
		maxInto(m.vc, w.row(lane))
		s.clock[t]++
	}
	m.pending -= n
	b.turn(m)
}

// turn completes a phase that has all it waits for.
func (b *block) turn(m *mbarrier) {
	if m.pending != 0 || m.tx != 0 {
		return
	}
	m.phase++
	m.pending = m.count
	maxInto(m.done, m.vc)
	b.progress()
}

// fenceProxy is fence.proxy.async: what the lanes stored before may be touched by the asynchronous proxy.
func (w *warp) fenceProxy(m uint32) {
	if s := w.b.shadow; s != nil {
		each(m, func(l int) {
			s.fenced[w.t0+l] = s.clock[w.t0+l]
			s.clock[w.t0+l]++
		})
	}
}

// hopper refuses instructions of sm_90a in a module for less.
func (c *compiler) hopper() {
	if target := c.p.module.mod.target; target != "sm_90a" {
		c.fail("needs .target sm_90a, the module says %s", target)
	}
}
