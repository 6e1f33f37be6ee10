package trainer

import (
	"fmt"
	"math"
	"time"

	"retool/engine/model"
	k "retool/kernels"
	"retool/trainer/dist"
)

// adamW updates a model's weights from its gradients (Loshchilov 2019), on one rank or several: each has the moments, and of a sharded
// model the master copy, of its own numbers alone, updates those, and is given the others' weights.
type adamW struct {
	cfg   Optimizer
	dev   k.Device
	model *model.Model
	ranks *Ranks
	name  string // of the model, as messages have it
	parts dist.Parts
	own   dist.Range // of the weights' flat order: this rank's part

	state *adamState // of own: moments, and the master copy, unless the weights themselves are float32
	tiles k.Tensor   // sums of squares of own
	step  int        // updates made; the next is step+1
}

// part picks the numbers that an update moves. Their norm is the one that is clipped.
type part func(*model.Weights) dist.Range

func everything(w *model.Weights) dist.Range { return dist.Range{From: 0, To: w.All.Len()} }
func valueHead(w *model.Weights) dist.Range {
	from := w.Value.Weight.Offset()
	return dist.Range{From: from, To: from + w.Value.Weight.Len()}
}

// newAdamW panics where a model of several ranks has a whole master copy, which nobody would keep true, and where one that is to be
// offloaded has it on the device.
func newAdamW(dev k.Device, m *model.Model, cfg Optimizer, ranks *Ranks, name string, offload bool) *adamW {
	if m.Master != nil && (ranks.Size() > 1 || offload) {
		panic("trainer: a bf16 model whose optimizer is divided or offloaded is to be made with Options.Sharded")
	}
	parts := dist.Divide(m.Learned().All.Len(), ranks.Size())
	a := &adamW{cfg: cfg, dev: dev, model: m, ranks: ranks, name: name, parts: parts, own: parts[ranks.Rank()]}
	a.state = newAdamState(dev, a.own.Len(), offload, m.Options.Sharded, m.MasterAll())
	a.tiles = dev.Alloc(k.F32, k.SumTiles(a.own.Len())+1)
	a.adopt()
	return a
}

func (a *adamW) free() {
	a.state.free(a.model.Options.Sharded)
	a.dev.Free(a.tiles)
}

// reset forgets the moments: a new phase begins.
func (a *adamW) reset(cfg Optimizer) error {
	a.cfg, a.step = cfg, 0
	return a.state.forget()
}

// adopt takes this rank's part of the master copy of a sharded model that was just given weights.
func (a *adamW) adopt() {
	if a.model.Options.Sharded {
		a.state.take(view(a.model.G.All, a.own))
	}
}

// whole puts the master copy of a sharded model where what copies or saves the model looks for it.
func (a *adamW) whole() error {
	if !a.model.Options.Sharded {
		return nil
	}
	all := a.model.G.All
	if err := a.state.put(view(all, a.own)); err != nil {
		return err
	}
	return a.ranks.wait(time.Now(), a.ranks.AllGather(a.name+": master copy", all, view(all, a.own), a.parts))
}

// view is a range of a flat tensor.
func view(t k.Tensor, r dist.Range) k.Tensor { return t.Rows(r.From, r.To) }

// common is what two ranges have in common; empty, where they have nothing.
func common(a, b dist.Range) dist.Range {
	from := max(a.From, b.From)
	return dist.Range{From: from, To: max(from, min(a.To, b.To))}
}

// gradNorm is the Euclidean norm of the numbers of g that an update moves, mine being this rank's; not a number, or infinite, if any of
// it is. Tiles are those of all numbers, so the sums' bits do not show what is whose.
func (a *adamW) gradNorm(g k.Tensor, mine dist.Range) (float64, error) {
	sums := make([]float64, 0, k.SumTiles(mine.Len())+1)
	if mine.Len() > 0 {
		first := min(mine.To, k.SumTiles(mine.From)*k.SumTile) // of the next tile
		n := min(1, first-mine.From) + k.SumTiles(mine.To-first)
		err := a.dev.Do(func() {
			if first > mine.From {
				a.dev.SumSquares(a.tiles.Rows(0, 1), g.Rows(mine.From, first))
			}
			if mine.To > first {
				a.dev.SumSquares(a.tiles.Rows(n-k.SumTiles(mine.To-first), n), g.Rows(first, mine.To))
			}
		})
		if err != nil {
			return 0, fmt.Errorf("trainer: gradient norm: %w", err)
		}
		read := make([]float32, n)
		a.dev.Download(read, a.tiles.Rows(0, n))
		for _, x := range read {
			sums = append(sums, float64(x))
		}
	}
	sums, err := a.ranks.numbers(a.name+": gradient norm", sums)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, s := range sums {
		sum += s
	}
	return math.Sqrt(sum), nil
}

// update makes one step with this rank's gradient g, which becomes all ranks' sum where the rank's own numbers are; of the numbers over,
// whose norm is clipped. One that is not finite leaves weights and moments untouched and returns false, on every rank.
func (a *adamW) update(g k.Tensor, over dist.Range, lr, decay float64) (norm float64, ok bool, err error) {
	if err := a.ranks.wait(time.Now(), a.ranks.ReduceScatter(a.name+": gradient", view(g, a.own), g, a.parts)); err != nil {
		return 0, false, err
	}
	mine := common(a.own, over)
	norm, err = a.gradNorm(g, mine)
	if err != nil || !finite(norm) {
		return norm, false, err
	}
	scale := 1.0
	if a.cfg.Clip > 0 && norm > a.cfg.Clip {
		scale = a.cfg.Clip / norm
	}
	a.step++
	first := a.own.From
	err = a.state.each(mine.From-first, mine.To-first, func(from, to int, m, v, master k.Tensor) {
		r := dist.Range{From: first + from, To: first + to}
		a.dev.AdamW(view(a.model.Learned().All, r), master, view(g, r), m, v, k.AdamWStep{
			LR: float32(lr), Beta1: float32(a.cfg.Beta1), Beta2: float32(a.cfg.Beta2), Eps: float32(a.cfg.Eps),
			WeightDecay: float32(decay), Scale: float32(scale), Step: a.step,
		})
	})
	if err != nil {
		return norm, false, fmt.Errorf("trainer: update: %w", err)
	}
	weights := a.model.Learned().All
	err = a.ranks.wait(time.Now(), a.ranks.AllGather(a.name+": weights", weights, view(weights, a.own), a.parts))
	return norm, err == nil, err
}
