package emu

import (
	"fmt"
	"math/bits"
	"strings"
)

// Addresses of the shared memory of another block of the cluster, as mapa gives them: its rank + 1 above the address in that block. Without
// a rank they are the block's own.
const (
	rankShift = 24
	rankMask  = 0xff << rankShift
)

// cluster is blocks with neighbouring numbers that run at the same time and reach into each other's shared memory. A launch without
// clusters is one of clusters of one block.
//
// gate is its barrier: barrier.cluster. A phase is complete when all threads that have not ended have arrived.
type cluster struct {
	l      *launch
	blocks []*block
	gate   struct {
		phase    int
		came     []bool   // in this phase, by thread of the cluster
		vc, done []uint32 // clocks: of those who arrived in this phase, of all complete phases
	}
}

func newCluster(l *launch, n int) *cluster {
	c := &cluster{l: l}
	threads := int(l.block[0]) * int(l.block[1]) * int(l.block[2])
	var k *clocks
	if l.check {
		k = newClocks(n * threads)
	}
	for rank := range n {
		b := newBlock(l, k)
		b.rank, b.base, b.cluster = rank, rank*threads, c
		for _, w := range b.warps {
			w.t0 = b.base + w.first
		}
		c.blocks = append(c.blocks, b)
	}
	c.gate.came = make([]bool, n*threads)
	c.gate.vc, c.gate.done = make([]uint32, n*threads), make([]uint32, n*threads)
	return c
}

// start makes the cluster ready to run as the one of this number.
func (c *cluster) start(number int) {
	c.gate.phase = 0
	clear(c.gate.came)
	clear(c.gate.vc)
	clear(c.gate.done)
	if s := c.blocks[0].shadow; s != nil {
		s.clocks.reset()
	}
	for i, b := range c.blocks {
		b.start(number*len(c.blocks) + i)
	}
}

// run executes the blocks' warps until all have ended. A bulk copy is carried out when nobody can go on without it, as late as the program
// allows, or with a random schedule at any time.
func (c *cluster) run() {
	for {
		ran, alive, dead := false, false, false
		for _, b := range c.blocks {
			r, a := b.pass()
			ran, alive, dead = ran || r, alive || a, dead || b.dead
		}
		if !alive || dead {
			break
		}
		if !ran && !c.copied() {
			c.stuck()
			break
		}
	}
	for _, b := range c.blocks {
		for _, w := range b.warps {
			w.finishCopies(full, 0)
			c.l.counters.Instructions += w.count
		}
	}
}

// copied carries out the first copy under way.
func (c *cluster) copied() bool {
	for _, b := range c.blocks {
		if len(b.bulk) > 0 {
			b.completeBulk(0)
			return true
		}
	}
	return false
}

// stuck reports a cluster in which nobody can go on.
func (c *cluster) stuck() {
	var text strings.Builder
	var at *step
	for _, b := range c.blocks {
		b.dead = true
		for _, w := range b.warps {
			for _, f := range w.frags {
				at = &c.l.p.steps[f.pc]
				text.WriteString("; ")
				if len(c.blocks) > 1 {
					fmt.Fprintf(&text, "block %d, ", b.number)
				}
				fmt.Fprintf(&text, "warp %d, lanes %#x wait at %s (%s)", w.id, f.mask, at.in.at, at.in.op)
			}
		}
	}
	if at != nil {
		c.l.report(Report{
			Kind: Deadlock, At: at.in.at, Line: at.in.line, Block: c.blocks[0].number, Thread: none, Other: none,
			Detail: "nobody can go on" + text.String(),
		})
	}
}

// ended says that no thread of the block is left, and with it its shared memory.
func (b *block) ended() bool {
	for _, w := range b.warps {
		if w.live != 0 {
			return false
		}
	}
	return true
}

// peer is the block of a rank of the cluster whose shared memory a lane touches. What is none, or has ended, is reported.
func (w *warp) peer(rank, lane int) *block {
	of := w.b.cluster.blocks
	if rank < 0 || rank >= len(of) {
		w.reportLane(Cluster, lane, fmt.Sprintf("rank %d of a cluster of %d blocks", rank, len(of)))
		return nil
	}
	if b := of[rank]; !b.ended() {
		return b
	}
	w.reportLane(Cluster, lane, fmt.Sprintf("block %d of the cluster has ended, and its shared memory with it", rank))
	return nil
}

// clusterAddress divides an address of shared::cluster into the block and the address there.
func (w *warp) clusterAddress(addr uint64, lane int) (*block, uint64) {
	rank := int(addr&rankMask>>rankShift) - 1
	if rank < 0 {
		return w.b, addr
	}
	return w.peer(rank, lane), addr &^ rankMask
}

// mapa is where an address of this block's shared memory lies in the block of a rank.
func (c *compiler) mapa() exec {
	c.hopper()
	if !c.has("shared::cluster") {
		c.fail("only mapa.shared::cluster is emulated")
		return nil
	}
	c.typ()
	d, a, rank := c.dst(0), c.src(1, u32Type), c.src(2, u32Type)
	return func(w *warp, m uint32) {
		each(m, func(l int) { w.r[d][l] = w.r[a][l]&^rankMask | (w.r[rank][l]+1)<<rankShift })
	}
}

// clusterBarrier is barrier.cluster.arrive and wait.
func (c *compiler) clusterBarrier(s *step) {
	c.hopper()
	op := c.one("arrive", "wait")
	relaxed := c.one("release", "acquire", "relaxed") == "relaxed"
	if c.has("aligned") {
		s.kind = gather
	}
	switch op {
	case "arrive":
		s.run = func(w *warp, m uint32) { each(m, func(l int) { w.arriveAtGate(l, relaxed) }) }
	case "wait":
		if s.kind == gather {
			c.fail("only without .aligned is it emulated")
		}
		s.run = func(w *warp, m uint32) { w.waitAtGate(m) }
	default:
		c.fail("not emulated")
	}
}

func (w *warp) arriveAtGate(lane int, relaxed bool) {
	g, t := &w.b.cluster.gate, w.t0+lane
	if g.came[t] {
		w.reportLane(Cluster, lane, "it arrives twice in one phase of the cluster's barrier")
		return
	}
	g.came[t] = true
	w.arrivals[lane] = g.phase + 1
	if s := w.b.shadow; s != nil && !relaxed {
		maxInto(g.vc, w.row(lane))
		s.clock[t]++
	}
	w.b.cluster.turn()
}

// turn completes a phase at which all have arrived who have not ended.
func (c *cluster) turn() {
	any := false
	for _, b := range c.blocks {
		for _, w := range b.warps {
			for rest := w.live; rest != 0; rest &= rest - 1 {
				if !c.gate.came[w.t0+bits.TrailingZeros32(rest)] {
					return
				}
				any = true
			}
		}
	}
	if !any {
		return
	}
	c.gate.phase++
	clear(c.gate.came)
	maxInto(c.gate.done, c.gate.vc)
	for _, b := range c.blocks {
		b.progress()
	}
}

// waitAtGate lets lanes pass whose phase is complete; else all come again.
func (w *warp) waitAtGate(m uint32) {
	g := &w.b.cluster.gate
	each(m, func(l int) {
		switch {
		case w.arrivals[l] == 0:
			w.reportLane(Cluster, l, "it waits at the cluster's barrier, at which it has not arrived")
		case w.arrivals[l] > g.phase:
			w.polled, w.again = true, true
		}
	})
	if w.again {
		return
	}
	each(m, func(l int) {
		w.arrivals[l] = 0
		if s := w.b.shadow; s != nil {
			s.acquire(w.t0+l, g.done)
		}
	})
}
