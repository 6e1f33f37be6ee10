package kernels

import (
	"fmt"
	"math"
)

type headJob struct {
	logits             Tensor
	lse, logp, entropy []float32
	dlogp, dentropy    []float32
	ids                []int32
	keys               []int32
	scale              float32 // 1 / temperature
	V, N               int
	s                  Sampling
}

// Keep demands sets that ascend within the vocabulary.
func (d *cpu) Keep(logits, starts, ids Tensor) {
	const op = "Keep"
	d.begin(op)
	R, V := checkKeep(logits, starts, ids)
	d.writes(op, logits)
	d.reads(op, starts)
	d.reads(op, ids)
	d.head = headJob{logits: logits, keys: starts.ints(), ids: ids.ints()}
	for r, from := range d.head.keys[:R] {
		to := d.head.keys[r+1]
		if from < 0 || to < from || int(to) > len(d.head.ids) {
			panic(fmt.Sprintf("kernels: %s: the set of row %d is ids %d to %d of %v", op, r, from, to, ids))
		}
		for i := from; i < to; i++ {
			if id := d.head.ids[i]; id < 0 || int(id) >= V || i > from && id <= d.head.ids[i-1] {
				panic(fmt.Sprintf("kernels: %s: id %d of the set of row %d is %d: sets ascend, below %d", op, i-from, r, id, V))
			}
		}
	}
	d.each(R, 1, R*V/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.head
		for r := from; r < to; r++ {
			if set := j.ids[j.keys[r]:j.keys[r+1]]; len(set) > 0 {
				only(j.logits.row(r), set)
			}
		}
	})
}

// only makes all of x but the ids of a set, which ascend, −Inf.
func only(x []float32, set []int32) {
	out := func(x []float32) {
		for i := range x {
			x[i] = float32(math.Inf(-1))
		}
	}
	from := 0
	for _, id := range set {
		out(x[from:id])
		from = int(id) + 1
	}
	out(x[from:])
}

func (d *cpu) LogSumExp(lse, logits Tensor, temperature float32) {
	const op = "LogSumExp"
	d.begin(op)
	R, V := checkLogSumExp(lse, logits, temperature)
	d.reads(op, logits)
	d.writes(op, lse)
	d.head = headJob{logits: logits, lse: lse.vec(), scale: 1 / temperature}
	d.each(R, 1, R*V/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.head
		for r := from; r < to; r++ {
			x := j.logits.row(r)
			top := d.v.max(x) * j.scale
			j.lse[r] = top + ln32(d.v.sumExp(x, j.scale, top))
		}
	})
}

// entropy of the row x: −Σ p·ln p.
func (d *cpu) entropy(x []float32, scale, lse float32) float32 { return -d.v.sumPL(x, scale, lse) }

func (d *cpu) LogProb(logp, entropy, logits, lse, ids Tensor, temperature float32) {
	const op = "LogProb"
	d.begin(op)
	R, V := checkLogProb(logp, entropy, logits, lse, ids, temperature)
	d.reads(op, logits)
	d.reads(op, lse)
	d.writes(op, logp)
	d.writes(op, entropy)
	d.head = headJob{logits: logits, lse: lse.vec(), logp: logp.vec(), entropy: entropy.vec(), ids: ids.ints(), scale: 1 / temperature}
	cost := R * 10
	if entropy.mem != nil {
		cost = R * V / 3
	}
	if logp.mem != nil {
		d.checkIDs(op, d.head.ids, V)
	}
	d.each(R, 1, cost, func(d *cpu, _ *worker, from, to int) {
		j := &d.head
		for r := from; r < to; r++ {
			x := j.logits.row(r)
			if j.logp != nil {
				j.logp[r] = float32(x[j.ids[r]]*j.scale) - j.lse[r]
			}
			if j.entropy != nil {
				j.entropy[r] = d.entropy(x, j.scale, j.lse[r])
			}
		}
	})
}

func (d *cpu) LogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy Tensor, temperature float32) {
	const op = "LogProbBackward"
	d.begin(op)
	R, V := checkLogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy, temperature)
	d.writes(op, logits)
	d.reads(op, lse)
	d.head = headJob{
		logits: logits, lse: lse.vec(), ids: ids.ints(), dlogp: dlogp.vec(), dentropy: dentropy.vec(), scale: 1 / temperature,
	}
	if dlogp.mem != nil {
		d.checkIDs(op, d.head.ids, V)
	}
	d.each(R, 1, R*V/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.head
		for r := from; r < to; r++ {
			x := j.logits.row(r)
			var dl, de, h float32
			if j.dlogp != nil {
				dl = j.dlogp[r]
			}
			if j.dentropy != nil && j.dentropy[r] != 0 {
				de = j.dentropy[r]
				h = d.entropy(x, j.scale, j.lse[r])
			}
			if dl == 0 && de == 0 {
				clear(x)
				continue
			}
			d.v.logGrad(x, j.scale, j.lse[r], dl, de, h)
			if j.dlogp != nil {
				x[j.ids[r]] += float32(dl * j.scale)
			}
		}
	})
}
