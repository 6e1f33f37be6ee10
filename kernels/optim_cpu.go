package kernels

import "math"

// squareBlock is how many squares are added before they join those of the tile's other blocks, in ascending order.
const squareBlock = 4096

type adamJob struct {
	w, g, m, v []float32
	rounded    []uint16 // of w, where that is a master copy
	c          adamConst
	partial    []float64
}

func (d *cpu) SumSquares(out, x Tensor) {
	const op = "SumSquares"
	d.begin(op)
	n := checkSumSquares(out, x)
	d.reads(op, x)
	d.writes(op, out)
	x = d.wide(0, x)
	j := &d.adam
	blocks := (n + squareBlock - 1) / squareBlock
	if cap(j.partial) < blocks {
		j.partial = make([]float64, blocks)
	}
	j.partial = j.partial[:blocks]
	j.g = x.vec()
	d.each(blocks, 8, n/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.adam
		for b := from; b < to; b++ {
			j.partial[b] = d.v.sumSquares(j.g[b*squareBlock : min((b+1)*squareBlock, len(j.g))])
		}
	})
	sums := out.vec()
	for t := range sums {
		var sum float64
		for _, x := range j.partial[t*SumTile/squareBlock : min((t+1)*SumTile/squareBlock, blocks)] {
			sum += x
		}
		sums[t] = float32(sum)
	}
}

func (d *cpu) AdamW(w, master, g, m, v Tensor, s AdamWStep) {
	const op = "AdamW"
	d.begin(op)
	n := checkAdamW(w, master, g, m, v, s)
	d.reads(op, g)
	d.writes(op, w)
	d.writes(op, master)
	d.writes(op, m)
	d.writes(op, v)
	j := &d.adam
	whole := w
	if j.rounded = nil; master.mem != nil {
		whole, j.rounded = master, w.mem.b16[w.off:w.off+n]
	}
	j.w, j.g, j.m, j.v = whole.vec(), g.vec(), m.vec(), v.vec()
	b1, b2 := float64(s.Beta1), float64(s.Beta2)
	j.c = adamConst{
		scale: s.Scale,
		b1:    s.Beta1, b1c: float32(1 - b1), b2: s.Beta2, b2c: float32(1 - b2),
		rate:  float32(float64(s.LR) / (1 - math.Pow(b1, float64(s.Step)))),
		root:  float32(1 / (1 - math.Pow(b2, float64(s.Step)))),
		eps:   s.Eps,
		decay: float32(1 - float64(s.LR)*float64(s.WeightDecay)),
	}
	d.each((n+1023)/1024, 8, n/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.adam
		a, b := from*1024, min(to*1024, len(j.w))
		d.v.adam(j.w[a:b], j.g[a:b], j.m[a:b], j.v[a:b], &j.c)
		if j.rounded != nil {
			d.v.narrow(j.rounded[a:b], j.w[a:b])
		}
	})
}
