package trainer

import (
	"fmt"
	"math"
	"slices"
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
	name  string     // of the model, as messages have it
	parts dist.Parts // of a model that is not divided
	own   []piece    // of the weights' flat order: what this rank has
	n     int        // numbers of it
	all   int        // of all ranks

	state *adamState // of own: moments, and the master copy, unless the weights themselves are float32
	tiles k.Tensor   // sums of squares of own
	step  int        // updates made; the next is step+1
	seed  uint64     // of how moments are rounded
}

// piece is numbers of the flat order that a rank has.
type piece struct {
	dist.Range
	origin int // where tiles are counted from
	at     int // the first of them, in what the rank has
	g      int // and in the gradient that update is given
}

// part picks the numbers that an update moves. Their norm is the one that is clipped.
type part func(*model.Model) dist.Range

func everything(m *model.Model) dist.Range { return dist.Range{From: 0, To: numbers(m)} }
func valueHead(m *model.Model) dist.Range {
	v := m.Learned().Value.Weight
	from := v.Offset()
	if u := m.Units(); u != nil {
		from = u[len(u)-1].From // the rest begins with it
	}
	return dist.Range{From: from, To: from + v.Len()}
}

// numbers is how many a model learns, gaps that align them included.
func numbers(m *model.Model) int {
	if u := m.Units(); u != nil {
		return u[len(u)-1].To
	}
	return m.Learned().All.Len()
}

// newAdamW panics where a model of several ranks has a whole master copy, which nobody would keep true, and where one that is to be
// offloaded has it on the device.
func newAdamW(dev k.Device, m *model.Model, cfg Optimizer, ranks *Ranks, name string, offload bool) *adamW {
	if m.Master != nil && (ranks.Size() > 1 || offload) || m.Options.Halves && offload {
		panic("trainer: a bf16 model whose optimizer is divided or offloaded is to be made with Options.Sharded, and not of halves on the host")
	}
	a := &adamW{cfg: cfg, dev: dev, model: m, ranks: ranks, name: name, all: numbers(m)}
	if units := m.Units(); units != nil {
		a.divided(units, offload)
	} else {
		a.parts = dist.Divide(a.all, ranks.Size())
		own := a.parts[ranks.Rank()]
		a.own, a.n = []piece{{Range: own, g: own.From}}, own.Len()
		a.state = newAdamState(dev, a.n, offload, m.Options.Sharded, m.Options.Halves, m.MasterAll(), nil)
	}
	tiles := 0
	for _, p := range a.own {
		tiles += k.SumTiles(p.Len()) + 1
	}
	a.tiles = dev.Alloc(k.F32, tiles)
	a.adopt()
	return a
}

// divided is of a model whose units are.
func (a *adamW) divided(units []model.Unit, offload bool) {
	for _, u := range units {
		a.own = append(a.own, piece{Range: dist.Range{From: u.OwnFrom, To: u.OwnTo}, origin: u.From, at: u.At, g: u.At})
		a.n += u.Len()
	}
	exact, host, read := a.model.Own()
	if exact == read {
		exact = k.Tensor{} // of float32: what passes read is what is updated
	}
	a.state = newAdamState(a.dev, a.n, offload, host != nil, false, exact, host)
}

func (a *adamW) free() {
	a.state.free(a.model.Options.Sharded || a.model.Options.HostCopy)
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
		own := a.own[0].Range
		a.state.take(view(a.model.G.All, own), view(a.model.W.All, own))
	}
}

// whole puts the master copy of a sharded model where what copies or saves the model looks for it.
func (a *adamW) whole() error {
	if !a.model.Options.Sharded {
		return nil
	}
	all := a.model.G.All
	own := view(all, a.own[0].Range)
	if err := a.state.put(own, view(a.model.W.All, a.own[0].Range)); err != nil {
		return err
	}
	return a.ranks.wait(time.Now(), a.ranks.AllGather(a.name+": master copy", all, own, a.parts))
}

// view is a range of a flat tensor.
func view(t k.Tensor, r dist.Range) k.Tensor { return t.Rows(r.From, r.To) }

// common is what two ranges have in common; empty, where they have nothing.
func common(a, b dist.Range) dist.Range {
	from := max(a.From, b.From)
	return dist.Range{From: from, To: max(from, min(a.To, b.To))}
}

// gradNorm is the Euclidean norm of the numbers of g that an update moves; not a number, or infinite, if any of it is. Tiles are those of
// all numbers, or of a unit's, so the sums' bits do not show what is whose.
func (a *adamW) gradNorm(g k.Tensor, over dist.Range) (float64, error) {
	counts, all := make([]int, len(a.own)), 0
	err := a.dev.Do(func() {
		for i, p := range a.own {
			mine := common(p.Range, over)
			at := mine.From - p.From + p.g
			from := all
			for left := mine.Len(); left > 0; all++ {
				n := left
				if into := (mine.To - left - p.origin) % k.SumTile; into > 0 { // to the next tile
					n = min(left, k.SumTile-into)
					a.dev.SumSquares(a.tiles.Rows(all, all+1), g.Rows(at, at+n))
				} else {
					all += k.SumTiles(n) - 1
					a.dev.SumSquares(a.tiles.Rows(all+1-k.SumTiles(n), all+1), g.Rows(at, at+n))
				}
				at, left = at+n, left-n
			}
			counts[i] = all - from
		}
	})
	if err != nil {
		return 0, fmt.Errorf("trainer: gradient norm: %w", err)
	}
	read := make([]float32, all)
	if all > 0 {
		a.dev.Download(read, a.tiles.Rows(0, all))
	}
	var said []float64 // of each piece how many, and they
	for _, n := range counts {
		said = append(said, float64(n))
		for _, x := range read[:n] {
			said = append(said, float64(x))
		}
		read = read[n:]
	}
	if said, err = a.ranks.numbers(a.name+": gradient norm", said); err != nil {
		return 0, err
	}
	sums := make([][]float64, len(a.own)) // by piece, then by rank: the order of numbers
	for i := 0; len(said) > 0; i = (i + 1) % len(sums) {
		n := 1 + int(said[0])
		sums[i] = append(sums[i], said[1:n]...)
		said = said[n:]
	}
	var sum float64
	for _, s := range slices.Concat(sums...) {
		sum += s
	}
	return math.Sqrt(sum), nil
}

// update makes one step with this rank's gradient g, which becomes all ranks' sum where the rank's own numbers are; of the numbers over,
// whose norm is clipped. One that is not finite leaves weights and moments untouched and returns false, on every rank. Of a divided model g
// is the sum of the rank's own numbers.
func (a *adamW) update(g k.Tensor, over dist.Range, lr, decay float64) (norm float64, ok bool, err error) {
	if a.parts != nil {
		own := view(g, a.own[0].Range)
		if err := a.ranks.wait(time.Now(), a.ranks.ReduceScatter(a.name+": gradient", own, g, a.parts)); err != nil {
			return 0, false, err
		}
	}
	norm, err = a.gradNorm(g, over)
	if err != nil || !finite(norm) {
		return norm, false, err
	}
	scale := 1.0
	if a.cfg.Clip > 0 && norm > a.cfg.Clip {
		scale = a.cfg.Clip / norm
	}
	a.step++
	for _, p := range a.own {
		if err := a.move(g, p, over, lr, decay, scale); err != nil {
			return norm, false, fmt.Errorf("trainer: update: %w", err)
		}
	}
	if a.parts == nil {
		a.model.Updated()
		return norm, true, nil
	}
	weights := a.model.Learned().All
	own := view(weights, a.own[0].Range)
	err = a.ranks.wait(time.Now(), a.ranks.AllGather(a.name+": weights", weights, own, a.parts))
	return norm, err == nil, err
}

// move updates what an update moves of a piece.
func (a *adamW) move(g k.Tensor, p piece, over dist.Range, lr, decay, scale float64) error {
	mine := common(p.Range, over)
	from := mine.From - p.From + p.at
	weights, w := a.model.Learned().All, p.From
	if a.parts == nil {
		_, _, weights = a.model.Own()
		w = p.at
	}
	return a.state.each(from, from+mine.Len(), func(from, to int, m, v, master k.Tensor) {
		in := func(t k.Tensor, at int) k.Tensor { return t.Rows(from-p.at+at, to-p.at+at) }
		a.dev.AdamW(in(weights, w), master, in(g, p.g), m, v, k.AdamWStep{
			LR: float32(lr), Beta1: float32(a.cfg.Beta1), Beta2: float32(a.cfg.Beta2), Eps: float32(a.cfg.Eps),
			WeightDecay: float32(decay), Scale: float32(scale), Step: a.step, Seed: a.seed, First: p.From + from - p.at,
		})
	})
}
