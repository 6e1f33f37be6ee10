package trainer

import (
	"fmt"
	"math"

	"retool/engine/model"
	k "retool/kernels"
)

// adam updates a model's weights from its gradients. m and v are its moments, as long as the weights.
type adam struct {
	cfg   Optimizer
	dev   k.Device
	model *model.Model
	m, v  k.Tensor
	norm  k.Tensor // (1)
	step  int      // updates made; the next is step+1
}

func newAdam(dev k.Device, m *model.Model, cfg Optimizer) *adam {
	n := m.W.All.Len()
	return &adam{cfg: cfg, dev: dev, model: m, m: dev.Alloc(k.F32, n), v: dev.Alloc(k.F32, n), norm: dev.Alloc(k.F32, 1)}
}

func (a *adam) free() {
	for _, t := range []k.Tensor{a.m, a.v, a.norm} {
		a.dev.Free(t)
	}
}

// reset forgets the moments: a new phase begins.
func (a *adam) reset(cfg Optimizer) error {
	a.cfg, a.step = cfg, 0
	return a.dev.Do(func() { a.dev.Zero(a.m); a.dev.Zero(a.v) })
}

// gradNorm is the Euclidean norm of the gradient; not a number, or infinite, if any part of it is.
func (a *adam) gradNorm() (float64, error) {
	err := a.dev.Do(func() {
		a.dev.Zero(a.norm)
		a.dev.SumSquares(a.norm, a.model.G.All)
	})
	if err != nil {
		return 0, fmt.Errorf("trainer: gradient norm: %w", err)
	}
	var sum [1]float32
	a.dev.Download(sum[:], a.norm)
	return math.Sqrt(float64(sum[0])), nil
}

// update makes one step with the gradient in model.G, its norm clipped. A gradient that is not finite leaves weights and moments
// untouched and returns false.
func (a *adam) update(lr, decay float64) (norm float64, ok bool, err error) {
	norm, err = a.gradNorm()
	if err != nil || !finite(norm) {
		return norm, false, err
	}
	scale := 1.0
	if a.cfg.Clip > 0 && norm > a.cfg.Clip {
		scale = a.cfg.Clip / norm
	}
	a.step++
	err = a.dev.Do(func() {
		a.dev.AdamW(a.model.W.All, a.model.MasterAll(), a.model.G.All, a.m, a.v, k.AdamWStep{
			LR: float32(lr), Beta1: float32(a.cfg.Beta1), Beta2: float32(a.cfg.Beta2), Eps: float32(a.cfg.Eps),
			WeightDecay: float32(decay), Scale: float32(scale), Step: a.step,
		})
	})
	if err != nil {
		return norm, false, fmt.Errorf("trainer: update: %w", err)
	}
	return norm, true, nil
}

// keepOnly zeroes the gradient outside one view of it. With moments that are zero there too, and no decay, update then moves only
// the parameters of the view.
func (a *adam) keepOnly(view k.Tensor) error {
	kept := a.dev.Alloc(k.F32, view.Shape()...)
	defer a.dev.Free(kept)
	err := a.dev.Do(func() {
		a.dev.Copy(kept, view)
		a.dev.Zero(a.model.G.All)
		a.dev.Copy(view, kept)
	})
	if err != nil {
		return fmt.Errorf("trainer: gradient of the value head: %w", err)
	}
	return nil
}

// rows holds, on the device, what the loss of a batch's predictions is made of. It is allocated once, for the largest batch.
type rows struct {
	dev                                                  k.Device
	target, weight, old, ref, advantage, ret, value      k.Tensor
	valueWeight, entropyWeight                           k.Tensor
	lse, logp, entropy, dlogp, dvalue, stats, valueStats k.Tensor
	n                                                    int // predictions of the batch in place
}

func newRows(dev k.Device, n int) *rows {
	r := &rows{dev: dev, target: dev.Alloc(k.I32, n), stats: dev.Alloc(k.F32, k.Stats), valueStats: dev.Alloc(k.F32, k.Stats)}
	for _, t := range r.floats() {
		*t = dev.Alloc(k.F32, n)
	}
	return r
}

func (r *rows) floats() []*k.Tensor {
	return []*k.Tensor{&r.weight, &r.old, &r.ref, &r.advantage, &r.ret, &r.value, &r.valueWeight, &r.entropyWeight, &r.lse, &r.logp, &r.entropy, &r.dlogp, &r.dvalue}
}

func (r *rows) free() {
	for _, t := range append(r.floats(), &r.target, &r.stats, &r.valueStats) {
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
	r.dev.Upload(r.target.Rows(0, r.n), b.Target)
	put(r.weight, b.Weight)
	put(r.old, b.OldLogProb)
	put(r.ref, b.Ref)
	put(r.advantage, b.Advantage)
	put(r.ret, b.Return)
	put(r.value, b.OldValue)
	put(r.valueWeight, scaled(valueScale))
	put(r.entropyWeight, scaled(entropyScale))
}

// logProbs computes, for the rows a head holds, the log-probability of each target and the entropy at a temperature.
func (r *rows) logProbs(h model.Head, temperature float32) {
	lse := r.lse.Rows(h.From, h.To)
	r.dev.LogSumExp(lse, h.Logits, temperature)
	r.dev.LogProb(r.logp.Rows(h.From, h.To), r.entropy.Rows(h.From, h.To), h.Logits, lse, r.target.Rows(h.From, h.To), temperature)
}

// read copies one of the row vectors to the host.
func (r *rows) read(t k.Tensor) []float32 {
	out := make([]float32, r.n)
	r.dev.Download(out, t.Rows(0, r.n))
	return out
}
