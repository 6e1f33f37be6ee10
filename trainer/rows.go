package trainer

import (
	"retool/engine/model"
	k "retool/kernels"
)

// rows holds, on the device, what the loss of a batch's predictions is made of. It is allocated once, for the largest batch.
type rows struct {
	*model.Scorer
	dev                                     k.Device
	weight, old, ref, advantage, ret, value k.Tensor
	valueWeight, entropyWeight              k.Tensor
	dlogp, dvalue, stats, valueStats        k.Tensor
	logRatio, stay, imitate                 k.Tensor // absent unless an algorithm has them
	n                                       int      // predictions of the batch in place
	sets                                    bool     // the policy is that of truncated sampling
}

func newRows(dev k.Device, n int) *rows {
	r := &rows{Scorer: model.NewScorer(dev, n), dev: dev, stats: dev.Alloc(k.F32, k.Stats), valueStats: dev.Alloc(k.F32, k.Stats)}
	for _, t := range r.floats() {
		*t = dev.Alloc(k.F32, n)
	}
	return r
}

// allow makes room for the columns that an algorithm has beside those of all, and scores rows over the sets of rl's sampling.
func (r *rows) allow(a Algorithm, rl RL) {
	r.sets = rl.Truncated()
	n := r.weight.Len()
	if a.Sequence {
		r.logRatio = r.dev.Alloc(k.F32, n)
	}
	if a.Mark != nil {
		r.stay = r.dev.Alloc(k.F32, n)
	}
	if rl.Imitate > 0 {
		r.imitate = r.dev.Alloc(k.F32, n)
	}
}

// policyLoss leaves ∂loss/∂logp of a head's scored rows in dlogp and adds to stats.
func (r *rows) policyLoss(h model.Head, c k.Clip) {
	t := k.Targets{Weight: h.Of(r.weight), OldLogProb: h.Of(r.old), Advantage: h.Of(r.advantage), Ref: h.Of(r.ref)}
	for _, also := range []struct {
		to   *k.Tensor
		from k.Tensor
	}{{&t.LogRatio, r.logRatio}, {&t.Stay, r.stay}, {&t.Imitate, r.imitate}} {
		if !also.from.Absent() {
			*also.to = h.Of(also.from)
		}
	}
	r.dev.PolicyLoss(h.Of(r.dlogp), r.stats, h.Of(r.LogProb), t, c)
}

func (r *rows) floats() []*k.Tensor {
	return []*k.Tensor{
		&r.weight, &r.old, &r.ref, &r.advantage, &r.ret, &r.value, &r.valueWeight, &r.entropyWeight, &r.dlogp, &r.dvalue,
	}
}

func (r *rows) free() {
	r.Scorer.Close()
	for _, t := range append(r.floats(), &r.stats, &r.valueStats, &r.logRatio, &r.stay, &r.imitate) {
		r.dev.Free(*t)
	}
}

// load puts a batch's targets on the device. valueScale and entropyScale multiply Weight into the weights of those two terms.
func (r *rows) load(b *Batch, valueScale, entropyScale float32) {
	r.n = len(b.Rows)
	put := func(dst k.Tensor, src []float32) { r.dev.Upload(dst.Rows(0, r.n), src) }
	scaled := func(by float32) []float32 {
		out := make([]float32, r.n)
		for i, w := range b.Weight {
			out[i] = by * w
		}
		return out
	}
	r.Load(b.Target)
	if r.sets {
		r.Keep(b.Sets)
	}
	put(r.weight, b.Weight)
	put(r.old, b.OldLogProb)
	put(r.ref, b.Ref)
	put(r.advantage, b.Advantage)
	put(r.ret, b.Return)
	put(r.value, b.OldValue)
	if !r.stay.Absent() {
		put(r.stay, b.Stay)
	}
	if !r.imitate.Absent() {
		put(r.imitate, b.Imitate)
	}
	put(r.valueWeight, scaled(valueScale))
	put(r.entropyWeight, scaled(entropyScale))
}

// read copies one of the row vectors to the host.
func (r *rows) read(t k.Tensor) []float32 {
	out := make([]float32, r.n)
	r.dev.Download(out, t.Rows(0, r.n))
	return out
}
