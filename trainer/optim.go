package trainer

import (
	"fmt"
	"math"

	"retool/engine/model"
	k "retool/kernels"
)

// adamW updates a model's weights from its gradients (Loshchilov 2019). Its moments lie as the weights do, so that a part of the
// parameters, such as a head, an adapter or a rank's shard, is one view of all of them.
type adamW struct {
	cfg   Optimizer
	dev   k.Device
	model *model.Model
	m, v  *model.Weights // moments
	norm  k.Tensor       // (tiles)
	step  int            // updates made; the next is step+1
}

// part picks what an update moves, from weights, gradients and moments alike. Its norm is the one that is clipped.
type part func(*model.Weights) k.Tensor

func everything(w *model.Weights) k.Tensor { return w.All }
func valueHead(w *model.Weights) k.Tensor  { return w.Value.Weight }

func newAdamW(dev k.Device, m *model.Model, cfg Optimizer) *adamW {
	return &adamW{cfg: cfg, dev: dev, model: m, m: m.Moments(), v: m.Moments(), norm: dev.Alloc(k.F32, k.SumTiles(m.W.All.Len()))}
}

func (a *adamW) free() {
	for _, t := range []k.Tensor{a.m.All, a.v.All, a.norm} {
		a.dev.Free(t)
	}
}

// reset forgets the moments: a new phase begins.
func (a *adamW) reset(cfg Optimizer) error {
	a.cfg, a.step = cfg, 0
	return a.dev.Do(func() { a.dev.Zero(a.m.All); a.dev.Zero(a.v.All) })
}

// gradNorm is the Euclidean norm of a part of the gradient; not a number, or infinite, if any of it is.
func (a *adamW) gradNorm(over part) (float64, error) {
	g := over(a.model.G)
	tiles := a.norm.Rows(0, k.SumTiles(g.Len()))
	err := a.dev.Do(func() { a.dev.SumSquares(tiles, g) })
	if err != nil {
		return 0, fmt.Errorf("trainer: gradient norm: %w", err)
	}
	sums := make([]float32, tiles.Len())
	a.dev.Download(sums, tiles)
	var sum float64
	for _, s := range sums {
		sum += float64(s)
	}
	return math.Sqrt(sum), nil
}

// update makes one step with a part of the gradient in model.G, its norm clipped. One that is not finite leaves weights and moments
// untouched and returns false.
func (a *adamW) update(over part, lr, decay float64) (norm float64, ok bool, err error) {
	norm, err = a.gradNorm(over)
	if err != nil || !finite(norm) {
		return norm, false, err
	}
	scale := 1.0
	if a.cfg.Clip > 0 && norm > a.cfg.Clip {
		scale = a.cfg.Clip / norm
	}
	a.step++
	var master k.Tensor // absent where the weights themselves are float32
	if a.model.Master != nil {
		master = over(a.model.Master)
	}
	err = a.dev.Do(func() {
		a.dev.AdamW(over(a.model.W), master, over(a.model.G), over(a.m), over(a.v), k.AdamWStep{
			LR: float32(lr), Beta1: float32(a.cfg.Beta1), Beta2: float32(a.cfg.Beta2), Eps: float32(a.cfg.Eps),
			WeightDecay: float32(decay), Scale: float32(scale), Step: a.step,
		})
	})
	if err != nil {
		return norm, false, fmt.Errorf("trainer: update: %w", err)
	}
	return norm, true, nil
}
