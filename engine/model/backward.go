package model

import "retool/kernels"

// headBackward takes ∂loss/∂logits and ∂loss/∂values, which the loss left in h, through head into dx (T,C).
func (m *Model) headBackward(dx kernels.Tensor, h Head) {
	dev, b, r := m.dev, &m.b, h.To-h.From
	norm, dnorm, drows := b.rowsNorm.Rows(0, r), b.drowsNorm.Rows(0, r), b.drows.Rows(0, r)
	to := dnorm.Fresh() // of one head at least
	if m.Config.ValueHead {
		m.W.Value.backward(dev, m.low, m.of(&m.G.Value, h.From), to, h.Values.Reshape(r, 1), norm)
		to = dnorm
	}
	if m.Config.LMHead {
		m.W.Head.backward(dev, m.low, m.of(&m.G.Head, h.From), to, h.Gradient, norm)
	}
	dev.RMSNormBackward(drows.Fresh(), m.G.Norm, dnorm, b.rows.Rows(0, r), m.W.Norm, b.rowsRstd.Rows(0, r))
	dev.EmbedBackward(dx, drows, m.rows.Rows(h.From, h.To))
}

// backward is forward's list upwards. dx (T,C) comes in as the gradient of the layer's output and leaves as that of its input x:
// both residual connections are the identity, and every Backward adds, so the stream's own gradient needs no line. What a block of tokens
// leaves for the operation behind lies where the block before it left its own, in the caches; that is so of attention's gradients too as
// long as sequences end where blocks do.
func (m *Model) backward(l int, dx, x kernels.Tensor, a *activations) {
	dev, c, w, g, b := m.dev, &m.Config, &m.W.Blocks[l], &m.G.Blocks[l], &m.b
	var room activations
	origin := 0 // the token whose gradients are the first rows of do, dqkv and dqk
	rows := func(t kernels.Tensor, from, to int) kernels.Tensor { return t.Rows(from-origin, to-origin) }
	through := 0
	m.eachBlock(func(at *block) {
		if through == at.from {
			origin = through
		}
		a, dx, n := a.part(at.from, at.to, &room), dx.Rows(at.from, at.to), at.to-at.from
		dnorm, dact, dgateUp := b.dnorm.Rows(0, n), b.dact.Rows(0, n), b.dgateUp.Rows(0, n)
		w.Down.backward(dev, m.low, m.of(&g.Down, at.from), dact.Fresh(), dx, a.act)
		into := dgateUp.Fresh()
		dev.SwiGLUBackward(into.Cols(0, c.FFN), into.Cols(c.FFN, 2*c.FFN), dact, a.gateUp.Cols(0, c.FFN), a.gateUp.Cols(c.FFN, 2*c.FFN))
		w.GateUp.backward(dev, m.low, m.of(&g.GateUp, at.from), dnorm.Fresh(), dgateUp, a.mlpNorm)
		dev.RMSNormBackward(dx, g.MLPNorm, dnorm, a.mid, w.MLPNorm, a.mlpRstd)
		w.O.backward(dev, m.low, m.of(&g.O, at.from), rows(b.do, at.from, at.to).Fresh(), dx, a.o)
	}, func(at *block) {
		a, dqkv := a.part(at.since, at.ended, &room), rows(b.dqkv, at.since, at.ended)
		q, k, v := m.heads(a)
		dq, dk, dv := m.split(dqkv)
		if c.QKNorm {
			dqk, nq := rows(b.dqk, at.since, at.ended), c.Heads*c.HeadDim
			dq, dk = dqk.Cols(0, nq), dqk.Cols(nq, dqk.Dim(1))
		}
		dev.AttentionBackward(dq.Fresh(), dk.Fresh(), dv.Fresh(), rows(b.do, at.since, at.ended), a.o, a.lse, q, k, v, at.starts, c.heads())
	}, func(at *block) {
		a, dnorm, dqkv := a.part(at.from, at.to, &room), b.dnorm.Rows(0, at.to-at.from), rows(b.dqkv, at.from, at.to)
		m.turnBack(l, at, dqkv, part(b.dqk, at.from-origin, at.to-origin), a)
		w.QKV.backward(dev, m.low, m.of(&g.QKV, at.from), dnorm.Fresh(), dqkv, a.attnNorm)
		dev.RMSNormBackward(dx.Rows(at.from, at.to), g.AttnNorm, dnorm, x.Rows(at.from, at.to), w.AttnNorm, a.attnRstd)
		through = at.to
	})
}

// turnBack takes the gradients of a block's queries and keys, in dqk (n,(H+K)·D) where they are normed, back through their rotation, and
// their norms, to dqkv (n,(H+2K)·D).
func (m *Model) turnBack(l int, at *block, dqkv, dqk kernels.Tensor, a *activations) {
	dev, c, w, g, d := m.dev, &m.Config, &m.W.Blocks[l], &m.G.Blocks[l], m.Config.HeadDim
	pos, nq, nqk := m.pos.Rows(at.from, at.to), c.Heads*d, (c.Heads+c.KVHeads)*d
	if !c.QKNorm {
		dev.RoPEBackward(dqkv.Cols(0, nqk).Split(d), pos, m.table)
		return
	}
	dev.RoPEBackward(dqk.Split(d), pos, m.table)
	dq, dk, _ := m.split(dqkv)
	rawQ, rawK, _ := m.split(a.qkv)
	dev.RMSNormBackward(dk.Split(d).Fresh(), g.KNorm, dqk.Cols(nq, nqk).Split(d), rawK.Split(d), w.KNorm, a.kRstd)
	dev.RMSNormBackward(dq.Split(d).Fresh(), g.QNorm, dqk.Cols(0, nq).Split(d), rawQ.Split(d), w.QNorm, a.qRstd)
}
