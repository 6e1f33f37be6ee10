package emu

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
	dsts := c.targets(0, n)
	base, off := c.addr(1)
	s.kind = gather
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			w.matrixTraffic(a[:8*n], off)
		}
		for i, d := range dsts {
			var x [8][8]uint16
			w.matrix(&x, a[8*i:8*i+8], off, 8*i)
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

// matrix reads the 8 rows of 16 bytes at addr+off in shared memory, each for its lane, from first on.
func (w *warp) matrix(x *[8][8]uint16, addr []uint64, off int64, first int) {
	for r := range x {
		row := w.mem(shared, addr[r]+uint64(off), 16, first+r, false, false, nil)
		for e := range x[r] {
			x[r][e] = uint16(row[2*e]) | uint16(row[2*e+1])<<8
		}
	}
}

// mma is m16n8k16 and m16n8k8 of bf16 or f16 with fp32 sums, in ascending order of k. The hardware's order is not specified: equal bits
// here show an equal order, not equal hardware bits.
func (c *compiler) mma(s *step) {
	c.has("sync")
	c.has("aligned")
	k := map[string]int{"m16n8k16": 16, "m16n8k8": 8}[c.one("m16n8k16", "m16n8k8")]
	c.has("row")
	c.has("col")
	ts := c.types(4)
	factor := ts[1].name
	if k == 0 || ts[0].name != "f32" || ts[3].name != "f32" || ts[2].name != factor || factor != "bf16" && factor != "f16" {
		c.fail("not emulated")
		return
	}
	if !c.args(4) {
		return
	}
	rd, ra, rb, rc := c.targets(0, 4), c.srcs(1, k/4, b32Type), c.srcs(2, k/8, b32Type), c.srcs(3, 4, f32Type)
	conv := bf16f
	if factor == "f16" {
		conv = fromF16
	}
	s.kind = gather
	s.run = func(w *warp, m uint32) {
		w.b.l.counters.MMA++
		var a [16][16]float32
		var b [8][16]float32 // by column
		w.leftFactor(&a, ra, conv)
		for i, r := range rb {
			for l, v := range &w.r[r] {
				col, row := l/4, l%4*2+i*8
				b[col][row], b[col][row+1] = conv(v&0xffff), conv(v>>16&0xffff)
			}
		}
		var out [4][lanes]uint64
		for e := range 4 {
			from, to := &w.r[rc[e]], &out[e]
			for l := 0; l < lanes; l += 4 { // four lanes of one row
				x := [4]float32{f32(from[l]), f32(from[l+1]), f32(from[l+2]), f32(from[l+3])}
				dots(&x, &a[l/4+e/2*8], (*[7][16]float32)(b[e%2:]), k)
				to[l], to[l+1], to[l+2], to[l+3] = u32(x[0]), u32(x[1]), u32(x[2]), u32(x[3])
			}
		}
		for e := range 4 {
			w.r[rd[e]] = out[e]
		}
	}
}

// leftFactor spreads registers of two 16-bit floats each, as mma.m16n8k16 and wgmma have them, over the 16 rows they stand for.
func (w *warp) leftFactor(a *[16][16]float32, regs []int, conv func(uint64) float32) {
	for i, r := range regs {
		for l, v := range &w.r[r] {
			row, col := l/4+i%2*8, l%4*2+i/2*8
			a[row][col], a[row][col+1] = conv(v&0xffff), conv(v>>16&0xffff)
		}
	}
}

// dots adds x·y to sum for four columns, every other of y: k products in order. A product of two 16-bit floats is exact in fp32, so that
// each step is a fused one.
func dots(sum *[4]float32, x *[16]float32, y *[7][16]float32, k int) {
	s0, s1, s2, s3 := sum[0], sum[1], sum[2], sum[3]
	for i, f := range x[:k] {
		s0 += float32(f * y[0][i])
		s1 += float32(f * y[2][i])
		s2 += float32(f * y[4][i])
		s3 += float32(f * y[6][i])
	}
	*sum = [4]float32{s0, s1, s2, s3}
}
