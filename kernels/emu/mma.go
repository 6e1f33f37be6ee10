package emu

import (
	"math"
)

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
