package kernels

import "math"

// squareBlock is how many squares are added before they join those of the tile's other blocks, in ascending order.
const squareBlock = 4096

// adamBlock is how many numbers are updated at a time.
const adamBlock = 1024

type adamJob struct {
	w, g, m, v []float32
	rounded    []uint16 // of w, where that is a master copy
	c          adamConst
	partial    []float64

	halves [4][]uint16 // w, its low half, m, v, where they are halves
	key    [2]uint32
	first  int
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
	j.c = adamConstants(s)
	if master.mem != nil && master.dtype == BF16 {
		j.key, j.first = roundingKey(s), s.First
		for i, t := range []Tensor{w, master, m, v} {
			j.halves[i] = t.mem.b16[t.off : t.off+n]
		}
		j.g = d.wideVec(0, g)
		d.each((n+adamBlock-1)/adamBlock, 8, n, func(d *cpu, w *worker, from, to int) {
			for b := from; b < to; b++ {
				d.adamHalves(w, b*adamBlock, min((b+1)*adamBlock, len(d.adam.g)))
			}
		})
		return
	}
	whole := w
	if j.rounded = nil; master.mem != nil {
		whole, j.rounded = master, w.mem.b16[w.off:w.off+n]
	}
	j.w, j.g, j.m, j.v = whole.vec(), g.vec(), m.vec(), v.vec()
	d.each((n+adamBlock-1)/adamBlock, 8, n/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.adam
		a, b := from*adamBlock, min(to*adamBlock, len(j.w))
		d.v.adam(j.w[a:b], j.g[a:b], j.m[a:b], j.v[a:b], &j.c)
		if j.rounded != nil {
			d.v.narrow(j.rounded[a:b], j.w[a:b])
		}
	})
}

// adamConstants are computed in float64.
func adamConstants(s AdamWStep) adamConst {
	b1, b2 := float64(s.Beta1), float64(s.Beta2)
	return adamConst{
		scale: s.Scale,
		b1:    s.Beta1, b1c: float32(1 - b1), b2: s.Beta2, b2c: float32(1 - b2),
		rate:  float32(float64(s.LR) / (1 - math.Pow(b1, float64(s.Step)))),
		root:  float32(1 / (1 - math.Pow(b2, float64(s.Step)))),
		eps:   s.Eps,
		decay: float32(1 - float64(s.LR)*float64(s.WeightDecay)),
	}
}

// adamHalves updates numbers [a, b) whose state is halves.
func (d *cpu) adamHalves(w *worker, a, b int) {
	j, n := &d.adam, b-a
	buf := w.scratch(3 * adamBlock)
	x, m, v := buf[:n], buf[adamBlock:adamBlock+n], buf[2*adamBlock:2*adamBlock+n]
	high, low, mm, vv := j.halves[0][a:b], j.halves[1][a:b], j.halves[2][a:b], j.halves[3][a:b]
	for i := range x {
		x[i] = joinMaster(high[i], low[i])
	}
	d.v.widen(m, mm)
	d.v.widen(v, vv)
	d.v.adam(x, j.g[a:b], m, v, &j.c)
	for i := range x {
		high[i], low[i] = splitMaster(x[i])
		chance := roundingBits(j.key, uint64(j.first+a+i))
		mm[i], vv[i] = roundByChance(m[i], chance), roundByChance(v[i], chance>>16)
	}
}

func (d *cpu) Split(w, low, x Tensor) {
	const op = "Split"
	d.begin(op)
	n := checkSplit(op, x, w, low, true)
	d.reads(op, x)
	d.writes(op, w)
	j := &d.adam
	j.w, j.halves[0], j.halves[1] = x.vec(), w.mem.b16[w.off:w.off+n], nil
	if low.mem != nil {
		d.writes(op, low)
		j.halves[1] = low.mem.b16[low.off : low.off+n]
	}
	d.each((n+adamBlock-1)/adamBlock, 8, n/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.adam
		for i := from * adamBlock; i < min(to*adamBlock, len(j.w)); i++ {
			high, low := splitMaster(j.w[i])
			if j.halves[0][i] = high; j.halves[1] != nil {
				j.halves[1][i] = low
			}
		}
	})
}

func (d *cpu) Join(x, w, low Tensor) {
	const op = "Join"
	d.begin(op)
	n := checkSplit(op, x, w, low, false)
	d.reads(op, w)
	d.reads(op, low)
	d.writes(op, x)
	j := &d.adam
	j.w, j.halves[0], j.halves[1] = x.vec(), w.mem.b16[w.off:w.off+n], low.mem.b16[low.off:low.off+n]
	d.each((n+adamBlock-1)/adamBlock, 8, n/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.adam
		for i := from * adamBlock; i < min(to*adamBlock, len(j.w)); i++ {
			j.w[i] = joinMaster(j.halves[0][i], j.halves[1][i])
		}
	})
}
