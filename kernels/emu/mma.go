package emu

import (
	"math"
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
		return
	case c.has("wait_group"):
		if len(c.in.args) != 1 || c.in.args[0].kind != immOperand {
			c.fail("want the number of groups")
			return
		}
		n := int(c.in.args[0].imm)
		s.run = func(w *warp, m uint32) { w.finishCopies(m, n) }
		return
	case c.has("wait_all"):
		s.run = func(w *warp, m uint32) { w.finishCopies(m, -1) }
		return
	}
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
		size = c.src(3, typ{name: "u32", size: 4})
	}
	s.run = func(w *warp, m uint32) {
		if w.b.shadow != nil {
			w.traffic(global, &w.r[src], srcOff, m, n)
			w.traffic(shared, &w.r[dst], dstOff, m, n)
		}
		each(m, func(l int) {
			cp := asyncCopy{lane: l, group: w.committed[l], dst: w.r[dst][l] + uint64(dstOff), src: w.r[src][l] + uint64(srcOff), n: n, read: min(int(w.r[size][l]&0xffffffff), n), pc: w.pc}
			w.issue(cp)
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
					cl.w.clock = s.clock[w.first+cp.lane]
				}
			}
		}
		return true
	})
}

func (c *compiler) ldmatrix(s *step) {
	c.has("sync")
	c.has("aligned")
	c.has("m8n8")
	n := map[string]int{"x1": 1, "x2": 2, "x4": 4}[c.one("x1", "x2", "x4")]
	trans := c.has("trans")
	c.has("shared", "shared::cta")
	c.has("b16")
	if n == 0 || len(c.in.args) != 2 {
		c.fail("not emulated")
		return
	}
	dsts := make([]int, n)
	for i := range n {
		o := c.in.args[0]
		if o.kind == vecOperand && len(o.list) == n {
			o = o.list[i]
		} else if n > 1 {
			c.fail("the result is not a vector of %d", n)
			return
		}
		dsts[i] = c.target(o)
	}
	base, off := c.addr(1)
	s.kind = gather
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			cnt := &w.b.l.counters
			cnt.SharedRequests++
			for i := range n {
				var rows [8]uint64
				for r := range rows {
					rows[r] = a[8*i+r] + uint64(off)
				}
				extra := uint64(extraPasses(rows[:], 0xff, 16))
				cnt.Wavefronts += 1 + extra
				cnt.Conflicts += extra
			}
		}
		for i, d := range dsts {
			var x [8][8]uint16
			for r := range 8 {
				row := w.mem(shared, a[8*i+r]+uint64(off), 16, 8*i+r, false, false, nil)
				for e := range 8 {
					x[r][e] = uint16(row[2*e]) | uint16(row[2*e+1])<<8
				}
			}
			to := &w.r[d]
			for l := range lanes {
				g, t := l/4, l%4*2
				if trans {
					to[l] = uint64(x[t][g]) | uint64(x[t+1][g])<<16
				} else {
					to[l] = uint64(x[g][t]) | uint64(x[g][t+1])<<16
				}
			}
		}
	}
}

// mma is m16n8k16 and m16n8k8 of bf16 or f16 with fp32 sums, in ascending order of k. The hardware's order is not specified: equal bits here
// show an equal order, not equal hardware bits.
func (c *compiler) mma(s *step) {
	c.has("sync")
	c.has("aligned")
	shape := c.one("m16n8k16", "m16n8k8")
	c.has("row")
	c.has("col")
	ts := c.types(4)
	if shape == "" || c.err != nil || ts[0].name != "f32" || ts[3].name != "f32" || ts[1].name != ts[2].name || ts[1].name != "bf16" && ts[1].name != "f16" {
		c.fail("not emulated")
		return
	}
	k := map[string]int{"m16n8k16": 16, "m16n8k8": 8}[shape]
	if !c.args(4) {
		return
	}
	vec := func(i, n int) []int {
		o := c.in.args[i]
		if o.kind != vecOperand || len(o.list) != n {
			c.fail("operand %d is not a vector of %d", i, n)
			return make([]int, n)
		}
		rs := make([]int, n)
		for j := range n {
			if i == 0 {
				rs[j] = c.target(o.list[j])
			} else {
				rs[j] = c.value(o.list[j], typ{name: "f32", size: 4, float: i == 3})
			}
		}
		return rs
	}
	rd, ra, rb, rc := vec(0, 4), vec(1, k/4), vec(2, k/8), vec(3, 4)
	conv := bf16f
	if ts[1].name == "f16" {
		conv = fromF16
	}
	s.kind = gather
	s.run = func(w *warp, m uint32) {
		w.b.l.counters.MMA++
		var a [16][16]float32
		var b [8][16]float32 // by column
		for l := range lanes {
			g, t := l/4, l%4*2
			for i, r := range ra {
				row, col := g+i%2*8, t+i/2*8
				v := w.r[r][l]
				a[row][col], a[row][col+1] = conv(v&0xffff), conv(v>>16&0xffff)
			}
			for i, r := range rb {
				v := w.r[r][l]
				b[g][t+i*8], b[g][t+i*8+1] = conv(v&0xffff), conv(v>>16&0xffff)
			}
		}
		var out [4][lanes]uint64
		for l := range lanes {
			g, t := l/4, l%4*2
			for e := range 4 {
				x, y := &a[g+e/2*8], &b[t+e%2]
				sum := f32(w.r[rc[e]][l])
				for i := range k {
					// The product of two 16-bit floats is exact in fp32, so this is a fused step.
					sum += float32(x[i] * y[i])
				}
				out[e][l] = uint64(math.Float32bits(sum))
			}
		}
		for e := range 4 {
			w.r[rd[e]] = out[e]
		}
	}
}
