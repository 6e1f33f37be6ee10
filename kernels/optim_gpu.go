package kernels

import "math"

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
	b1, b2 := float64(s.Beta1), float64(s.Beta2)
	g.launch("adamw", [3]int{ceil(n, 256*8), 1, 1}, 256, 0, g.out(w), g.out(master), g.in(gr), g.out(m), g.out(v), int64(n),
		s.Scale, s.Beta1, float32(1-b1), s.Beta2, float32(1-b2),
		float32(float64(s.LR)/(1-math.Pow(b1, float64(s.Step)))), float32(1/(1-math.Pow(b2, float64(s.Step)))), s.Eps,
		float32(1-float64(s.LR)*float64(s.WeightDecay)))
}
