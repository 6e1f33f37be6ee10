package kernels

import "math"

// normBlock is how many rows' contributions to dw are added before they join those of other blocks, in ascending order.
const normBlock = 64

type normJob struct {
	y, x, add, dx, dy Tensor
	w, rstd           []float32
	partial           []float32 // a row of C for each block
	T, H, C           int
	eps               float32
}

// head is where row i of x (T·H rows of C) begins.
func (j *normJob) head(x Tensor, i int) int { return x.off + i/j.H*x.ld + i%j.H*j.C }

func (d *cpu) RMSNorm(y, rstd, x, add, w Tensor, eps float32) {
	const op = "RMSNorm"
	d.begin(op)
	T, H, C := checkRMSNorm(y, rstd, x, add, w)
	if add.mem != nil {
		d.reads(op, add)
		d.writes(op, x)
	} else {
		d.reads(op, x)
	}
	d.reads(op, w)
	d.writes(op, y)
	d.writes(op, rstd)
	d.norm = normJob{y: y, x: x, add: add, w: d.wideVec(0, w), rstd: rstd.vec(), T: T, H: H, C: C, eps: eps, partial: d.norm.partial}
	d.each(T*H, 16, T*H*C/8, normRows)
}

func normRows(d *cpu, w *worker, from, to int) {
	j := &d.norm
	for i := from; i < to; i++ {
		at := j.head(j.x, i)
		x := w.load(d.v, 0, j.x, at, j.C)
		if j.add.mem != nil {
			d.v.add(x, w.load(d.v, 1, j.add, j.head(j.add, i), j.C))
			if store(d.v, j.x, at, x); j.x.dtype == BF16 { // what is normed is what was stored
				x = w.load(d.v, 0, j.x, at, j.C)
			}
		}
		r := float32(1 / math.Sqrt(float64(d.v.dot(x, x)/float32(j.C)+j.eps)))
		at = j.head(j.y, i)
		y := w.room(1, j.y, at, j.C)
		d.v.norm(y, x, j.w, r)
		store(d.v, j.y, at, y)
		if j.rstd != nil {
			j.rstd[i] = r
		}
	}
}

// RMSNormBackward, with n = x·r, r = rstd: dw += Σ dy·n and dx += r·(w·dy − n·mean(w·dy·n)).
func (d *cpu) RMSNormBackward(dx, dw, dy, x, w, rstd Tensor) {
	const op = "RMSNormBackward"
	d.begin(op)
	T, H, C := checkNormBackward(dx, dw, dy, x, w, rstd)
	dx = d.cleared(op, dx)
	for _, t := range [...]Tensor{dy, x, w, rstd} {
		d.reads(op, t)
	}
	d.writes(op, dx)
	d.writes(op, dw)
	j := &d.norm
	*j = normJob{x: x, dx: dx, dy: dy, w: d.wideVec(0, w), rstd: rstd.vec(), T: T, H: H, C: C, partial: j.partial}
	blocks := (T*H + normBlock - 1) / normBlock
	if dw.mem != nil {
		if cap(j.partial) < blocks*C {
			j.partial = floats(blocks * C)
		}
		j.partial = j.partial[:blocks*C]
		clear(j.partial)
	} else {
		j.partial = j.partial[:0]
	}
	d.each(blocks, 1, T*H*C/4, normBackRows)
	if dw.mem != nil {
		sum := d.wide(1, dw)
		for b := range blocks {
			d.v.add(sum.vec(), j.partial[b*C:][:C])
		}
		d.settle(dw, sum)
	}
}

func normBackRows(d *cpu, w *worker, from, to int) {
	j := &d.norm
	for b := from; b < to; b++ {
		for i := b * normBlock; i < min((b+1)*normBlock, j.T*j.H); i++ {
			x, dy, r := w.load(d.v, 0, j.x, j.head(j.x, i), j.C), w.load(d.v, 1, j.dy, j.head(j.dy, i), j.C), j.rstd[i]
			if j.dx.mem != nil {
				k := d.v.dot3(dy, j.w, x) * r * r * r / float32(j.C)
				at := j.head(j.dx, i)
				dx := w.load(d.v, 2, j.dx, at, j.C)
				d.v.normBack(dx, dy, x, j.w, r, k)
				store(d.v, j.dx, at, dx)
			}
			if len(j.partial) > 0 {
				d.v.normBackW(j.partial[b*j.C:][:j.C], dy, x, r)
			}
		}
	}
}
