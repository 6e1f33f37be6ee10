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

// head is row i of x (T·H rows of C).
func (j *normJob) head(x Tensor, i int) []float32 {
	from := x.off + i/j.H*x.ld + i%j.H*j.C
	return x.mem.f32[from : from+j.C : from+j.C]
}

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
	d.norm = normJob{y: y, x: x, add: add, w: w.vec(), rstd: rstd.vec(), T: T, H: H, C: C, eps: eps, partial: d.norm.partial}
	d.each(T*H, 16, T*H*C/8, normRows)
}

func normRows(d *cpu, _ *worker, from, to int) {
	j := &d.norm
	for i := from; i < to; i++ {
		x := j.head(j.x, i)
		if j.add.mem != nil {
			d.v.add(x, j.head(j.add, i))
		}
		r := float32(1 / math.Sqrt(float64(d.v.dot(x, x)/float32(j.C)+j.eps)))
		d.v.norm(j.head(j.y, i), x, j.w, r)
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
	for _, t := range [...]Tensor{dy, x, w, rstd} {
		d.reads(op, t)
	}
	d.writes(op, dx)
	d.writes(op, dw)
	j := &d.norm
	*j = normJob{x: x, dx: dx, dy: dy, w: w.vec(), rstd: rstd.vec(), T: T, H: H, C: C, partial: j.partial}
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
		sum := dw.vec()
		for b := range blocks {
			d.v.add(sum, j.partial[b*C:][:C])
		}
	}
}

func normBackRows(d *cpu, _ *worker, from, to int) {
	j := &d.norm
	for b := from; b < to; b++ {
		for i := b * normBlock; i < min((b+1)*normBlock, j.T*j.H); i++ {
			x, dy, r := j.head(j.x, i), j.head(j.dy, i), j.rstd[i]
			if j.dx.mem != nil {
				k := d.v.dot3(dy, j.w, x) * r * r * r / float32(j.C)
				d.v.normBack(j.head(j.dx, i), dy, x, j.w, r, k)
			}
			if len(j.partial) > 0 {
				d.v.normBackW(j.partial[b*j.C:][:j.C], dy, x, r)
			}
		}
	}
}
