package emu

import (
	"fmt"
	"math/bits"
)

// mbarrier is a barrier in shared memory that also counts bytes. A phase is complete when all have arrived and all bytes have.
//
// vc is the clocks of those who arrived in this phase, or whose copies did; done those of all complete phases. A successful wait acquires done.
type mbarrier struct {
	count, pending, tx, phase int
	vc, done                  []uint32
	made                      access // its initialisation
}

func (c *compiler) mbarrier(s *step) {
	c.hopper()
	op := c.one("init", "inval", "arrive", "expect_tx", "try_wait", "test_wait")
	expect := op == "arrive" && c.has("expect_tx")
	parity := c.has("parity")
	c.one("release", "acquire", "relaxed")
	c.has("cta", "cluster")
	c.has("shared", "shared::cta")
	c.has("b64")
	u32 := typ{name: "u32", size: 4}
	switch op {
	case "init":
		base, off := c.addr(0)
		n := c.src(1, u32)
		s.run = func(w *warp, m uint32) {
			each(m, func(l int) {
				addr := w.r[base][l] + uint64(off)
				if addr&7 != 0 {
					w.reportLane(Misaligned, l, fmt.Sprintf("an mbarrier at shared address %d", addr))
					return
				}
				count := int(w.r[n][l])
				bar := &mbarrier{count: count, pending: count, vc: make([]uint32, w.b.threads), done: make([]uint32, w.b.threads)}
				w.mem(shared, addr, 8, l, true, false, nil)
				w.b.mbars[addr] = bar
				if sh := w.b.shadow; sh != nil {
					bar.made = access{thread: w.me(l), clock: sh.clock[w.first+l], pc: w.pc, bytes: 15}
					for i := range 8 {
						if at := int(addr) - sharedBase + i; at < len(sh.flags) {
							sh.flags[at] |= isBarrier
						}
					}
				}
			})
		}
	case "arrive", "expect_tx":
		at := 0
		if op == "arrive" {
			if c.in.args[0].kind != sinkOperand {
				c.fail("the state that it returns is not emulated: want _")
				return
			}
			at = 1
		}
		base, off := c.addr(at)
		arg := none
		if len(c.in.args) > at+1 {
			arg = c.src(at+1, u32)
		}
		s.run = func(w *warp, m uint32) {
			if rest := w.apart &^ m; rest != 0 && w.apart&m != 0 && w.b.shadow != nil {
				w.reportLane(MBarrier, bits.TrailingZeros32(m), fmt.Sprintf(
					"it arrives for its warp, and lanes %#x, which asked an mbarrier as it did, may still be asking: nothing brought them together", rest))
			}
			each(m, func(l int) {
				bar := w.mbar(w.r[base][l]+uint64(off), l)
				if bar == nil {
					return
				}
				n := 1
				if arg != none {
					n = int(w.r[arg][l] & 0xffffffff)
				}
				if expect || op == "expect_tx" {
					bar.tx += n
					n = 1
				}
				if op == "arrive" {
					w.arriveAt(bar, l, n)
				}
			})
		}
	case "try_wait", "test_wait":
		if !parity {
			c.fail("only the parity form is emulated")
			return
		}
		d := c.dst(0)
		base, off := c.addr(1)
		p := c.src(2, u32)
		s.run = func(w *warp, m uint32) {
			w.apart |= m
			each(m, func(l int) {
				bar := w.mbar(w.r[base][l]+uint64(off), l)
				ok := bar == nil || uint64(bar.phase&1) != w.r[p][l]&1
				w.r[d][l] = b2u(ok)
				if !ok {
					w.polled = true
				} else if bar != nil && w.b.shadow != nil {
					w.b.shadow.acquire(w.first+l, bar.done)
				}
			})
		}
	default:
		c.fail("not emulated")
	}
}

func (w *warp) mbar(addr uint64, lane int) *mbarrier {
	m := w.b.mbars[addr&^windowMask]
	if m == nil {
		w.reportLane(MBarrier, lane, fmt.Sprintf("shared byte %d is used as an mbarrier, and nobody initialised one there", int(addr&^windowMask)-sharedBase))
		return nil
	}
	if w.b.shadow != nil && w.conflict(&m.made, w.me(lane), 15, lane, false) {
		w.reportLane(MBarrier, lane, fmt.Sprintf("its initialisation by thread %d is not ordered before", int(m.made.thread-1)%w.b.threads))
	}
	return m
}

// arrive counts n arrivals of a thread.
func (w *warp) arriveAt(m *mbarrier, lane, n int) {
	if m.pending < n {
		w.reportLane(MBarrier, lane, fmt.Sprintf("more arrivals than the %d expected: its phase %d is still open", m.count, m.phase))
		return
	}
	if s := w.b.shadow; s != nil {
		t := w.first + lane
		maxInto(m.vc, w.row(lane))
		s.clock[t]++
	}
	m.pending -= n
	w.b.turn(m)
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
			s.fenced[w.first+l] = s.clock[w.first+l]
			s.clock[w.first+l]++
		})
	}
}

// hopper refuses instructions of sm_90a in a module for less.
func (c *compiler) hopper() {
	if target := c.p.module.mod.target; target != "sm_90a" {
		c.fail("needs .target sm_90a, the module says %s", target)
	}
}
