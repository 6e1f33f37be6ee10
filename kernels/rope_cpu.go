package kernels

import (
	"fmt"
	"math"
)

type ropeJob struct {
	qk, qkv    Tensor
	bias       []float32
	norm, rstd [2][]float32 // of queries, of keys
	x, table   Tensor
	pos        []int32
	eps        float32
	h          Heads
}

func (d *cpu) RoPE(qk, qRstd, kRstd, qkv Tensor, r Rotary, h Heads) {
	const op = "RoPE"
	d.begin(op)
	T := checkRoPE(qk, qRstd, kRstd, qkv, r, h)
	for _, t := range [...]Tensor{r.Bias, r.QNorm, r.KNorm, r.Table} {
		d.reads(op, t)
	}
	for _, t := range [...]Tensor{qk, qRstd, kRstd, qkv} {
		d.writes(op, t)
	}
	d.rope = ropeJob{qk: qk, qkv: qkv, bias: d.wideVec(0, r.Bias), norm: [2][]float32{d.wideVec(1, r.QNorm), d.wideVec(2, r.KNorm)},
		rstd: [2][]float32{qRstd.vec(), kRstd.vec()}, table: r.Table, eps: r.Eps, h: h}
	d.angles(op, r.Pos)
	d.each(T, 16, T*(h.Q+2*h.KV)*h.Dim/4, ropeRows)
}

// angles keeps the positions of a job, all of them rows of its table.
func (d *cpu) angles(op string, pos Tensor) {
	j := &d.rope
	j.pos = pos.ints()
	for t, p := range j.pos {
		if uint(p) >= uint(j.table.dims[0]) {
			panic(fmt.Sprintf("kernels: %s: pos[%d] is %d, table is %v", op, t, p, j.table))
		}
	}
}

func ropeRows(d *cpu, w *worker, from, to int) {
	j := &d.rope
	D, Q := j.h.Dim, j.h.Q
	for t := from; t < to; t++ {
		turn := j.table.row(int(j.pos[t]))
		x := w.loadRow(d.v, 0, j.qkv, t)
		if j.bias != nil {
			d.v.add(x, j.bias)
		}
		own := j.qk.mem != j.qkv.mem || j.qk.off != j.qkv.off // memory of its own
		if j.bias != nil && (own || j.norm[0] != nil) {
			storeRow(d.v, j.qkv, t, x)
			if j.norm[0] != nil { // what is normed is what was stored
				x = w.loadRow(d.v, 0, j.qkv, t)
			}
		}
		y := x[:j.qk.dims[1]]
		if own {
			if y = w.roomRow(1, j.qk, t); j.norm[0] == nil {
				copy(y, x)
			}
		}
		for i := range Q + j.h.KV {
			head := y[i*D : (i+1)*D]
			if j.norm[0] != nil {
				kind, at, n := 0, i, Q
				if i >= Q {
					kind, at, n = 1, i-Q, j.h.KV
				}
				raw := x[i*D : (i+1)*D]
				r := float32(1 / math.Sqrt(float64(d.v.dot(raw, raw)/float32(D)+j.eps)))
				d.v.norm(head, raw, j.norm[kind], r)
				if j.rstd[kind] != nil {
					j.rstd[kind][t*n+at] = r
				}
			}
			d.v.rope(head[:D/2], head[D/2:], turn[:D/2], turn[D/2:], 1)
		}
		if own {
			storeRow(d.v, j.qk, t, y)
		} else {
			storeRow(d.v, j.qkv, t, x)
		}
	}
}

func (d *cpu) RoPEBackward(dx, pos, table Tensor) {
	const op = "RoPEBackward"
	d.begin(op)
	T, H, D := checkRoPEBackward(dx, pos, table)
	d.reads(op, table)
	d.writes(op, dx)
	d.rope = ropeJob{x: dx, table: table}
	d.angles(op, pos)
	d.each(T, 16, T*H*D/4, func(d *cpu, w *worker, from, to int) {
		j := &d.rope
		D := j.x.dims[2]
		for t := from; t < to; t++ {
			turn, row := j.table.row(int(j.pos[t])), w.loadRow(d.v, 0, j.x, t)
			for h := 0; h < len(row); h += D {
				d.v.rope(row[h:h+D/2], row[h+D/2:h+D], turn[:D/2], turn[D/2:], -1)
			}
			storeRow(d.v, j.x, t, row)
		}
	})
}
