package model

import "retool/kernels"

// A walk is a pass of a divided model: through its units, in an order that is the same on every rank. Each stretch is a Do of its
// own. A rank that has no batch in a round goes along, and adds zeros.
type walk struct {
	m    *Model
	idle bool
	err  error
}

// do is a stretch of the pass.
func (w *walk) do(f func()) {
	if !w.idle && w.err == nil {
		w.err = w.m.dev.Do(f)
	}
}

func (w *walk) need(u int) {
	if w.err == nil {
		w.err = w.m.div.need(u)
	}
}

// ahead begins to gather a unit whose turn comes next.
func (w *walk) ahead(u int) {
	if w.err == nil && u >= 0 {
		w.err = w.m.div.begin(u)
	}
}

// clear makes a unit's gradient zeros, unless its products will write all of it.
func (w *walk) clear(u int, written bool) {
	if w.err == nil && (w.idle || !written) {
		w.err = w.m.dev.Do(func() { w.m.dev.Zero(w.m.div.gradient(u)) })
	}
}

// done gives a unit's gradient away.
func (w *walk) done(u int) {
	if w.err == nil {
		w.err = w.m.div.settle()
	}
	if w.err == nil {
		w.err = w.m.div.done(u, w.m.div.gradient(u))
	}
}

// forwardUnits takes a batch up to the heads, which it gives the stream.
func (w *walk) forwardUnits(t int, keep bool, heads func(x kernels.Tensor)) {
	m, d, layers := w.m, w.m.div, w.m.Config.Layers
	var x, rest kernels.Tensor
	w.need(d.rest())
	w.need(0)
	w.ahead(1)
	w.do(func() {
		m.in.upload()
		m.b.cutTo(t, keep)
		x = m.b.x[0].Rows(0, t)
		m.dev.Embed(x, m.W.Embed, m.ids)
	})
	for l := range layers {
		w.need(1 + l)
		if l+1 < layers {
			w.ahead(2 + l)
		} else {
			w.ahead(d.head())
		}
		w.do(func() {
			y, a := x, &m.b.cut[0]
			if keep {
				y, a = m.b.x[l+1].Rows(0, t), m.kept(l)
			}
			rest = m.forward(l, y, x, rest, a)
			x = y
		})
	}
	if h := d.head(); h >= 0 {
		w.need(h)
	}
	w.do(func() {
		m.dev.Add(x, rest)
		heads(x)
	})
}

// backwardUnits is the way down. The gradients of heads and rest were begun before the loss.
func (w *walk) backwardUnits(t int) {
	m, d := w.m, w.m.div
	if h := d.head(); h > 0 {
		w.done(h)
		w.clear(0, false)
	}
	for l := m.Config.Layers - 1; l >= 0; l-- {
		w.need(1 + l)
		if l > 0 {
			w.ahead(l)
		}
		w.clear(1+l, true)
		w.do(func() { m.backwardFrom(l, m.b.dx.Rows(0, t), t) })
		w.done(1 + l)
	}
	w.do(func() { m.dev.EmbedBackward(m.G.Embed, m.b.dx.Rows(0, t), m.ids) })
	w.done(0)
	w.done(d.rest())
}

// trainDivided is TrainSeen of a divided model: without rows, that of a rank that has no batch.
func (m *Model) trainDivided(in Inputs, seen *Seen, loss func(Head)) error {
	w, t := &walk{m: m, idle: len(in.Rows) == 0}, len(in.IDs)
	m.fresh = true
	w.clear(0, m.Config.LMHead)
	w.clear(m.div.rest(), false)
	w.forwardUnits(t, true, func(x kernels.Tensor) { m.lossBackward(m.b.dx.Rows(0, t), x, len(in.Rows), seen, loss) })
	w.backwardUnits(t)
	return w.err
}

// scoreDivided is Score of a divided model.
func (m *Model) scoreDivided(in Inputs, read func(Head)) error {
	w := &walk{m: m, idle: len(in.Rows) == 0}
	w.forwardUnits(len(in.IDs), false, func(x kernels.Tensor) { m.eachHead(x, len(in.Rows), false, read) })
	if w.err == nil {
		w.err = m.div.settle()
	}
	return w.err
}

// Idle goes along with the other ranks' Train, or Score, of a divided model, where this rank has no batch. Of others it does nothing.
func (m *Model) Idle(train bool) error {
	switch {
	case m.div == nil:
		return nil
	case train:
		return m.trainDivided(Inputs{}, nil, nil)
	}
	return m.scoreDivided(Inputs{}, nil)
}
