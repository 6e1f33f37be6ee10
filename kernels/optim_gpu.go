package kernels

// SumSquares is a block of threads a tile.
func (g *GPU) SumSquares(out, x Tensor) {
	g.begin("SumSquares")
	defer g.end()
	n := checkSumSquares(out, x)
	if n == 0 {
		return
	}
	g.launch("sum_squares", [3]int{SumTiles(n), 1, 1}, 256, 0, g.out(out).p, g.in(x), int64(n))
}

// AdamW computes its constants in float64 on the host.
func (g *GPU) AdamW(w, master, gr, m, v Tensor, s AdamWStep) {
	g.begin("AdamW")
	defer g.end()
	n := checkAdamW(w, master, gr, m, v, s)
	c := adamConstants(s)
	if master.mem != nil && master.dtype == BF16 {
		key := roundingKey(s)
		g.launch("adamw_halves", [3]int{ceil(n, 256*8), 1, 1}, 256, 0, g.out(w).p, g.out(master).p, g.in(gr), g.out(m).p, g.out(v).p, int64(n),
			c.scale, c.b1, c.b1c, c.b2, c.b2c, c.rate, c.root, c.eps, c.decay, int32(key[0]), int32(key[1]), int64(s.First))
		return
	}
	g.launch("adamw", [3]int{ceil(n, 256*8), 1, 1}, 256, 0, g.out(w), g.out(master), g.in(gr), g.out(m), g.out(v), int64(n),
		c.scale, c.b1, c.b1c, c.b2, c.b2c, c.rate, c.root, c.eps, c.decay)
}

// Split and Join are eight numbers a thread.
func (g *GPU) Split(w, low, x Tensor) {
	g.begin("Split")
	defer g.end()
	if n := checkSplit("Split", x, w, low, true); n > 0 {
		g.launch("split_master", [3]int{ceil(n, 256*8), 1, 1}, 256, 0, g.out(w).p, g.out(low).p, g.in(x).p, int64(n))
	}
}

func (g *GPU) Join(x, w, low Tensor) {
	g.begin("Join")
	defer g.end()
	if n := checkSplit("Join", x, w, low, false); n > 0 {
		g.launch("join_master", [3]int{ceil(n, 256*8), 1, 1}, 256, 0, g.out(x).p, g.in(w).p, g.in(low).p, int64(n))
	}
}
