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
// leaves for the operation behind lies where the block before it left its own, in the caches.
func (m *Model) backward(l int, dx, x kernels.Tensor, a *activations) {
	dev, c, w, g, b, t := m.dev, &m.Config, &m.W.Blocks[l], &m.G.Blocks[l], &m.b, x.Dim(0)
	do, dqkv := b.do.Rows(0, t), b.dqkv.Rows(0, t)
	var room activations
	for from, to := range m.blocks(t) {
		a, dx, do := a.part(from, to, &room), dx.Rows(from, to), do.Rows(from, to)
		dnorm, dact, dgateUp := b.dnorm.Rows(0, to-from), b.dact.Rows(0, to-from), b.dgateUp.Rows(0, to-from)
		w.Down.backward(dev, m.low, m.of(&g.Down, from), dact.Fresh(), dx, a.act)
		into := dgateUp.Fresh()
		dev.SwiGLUBackward(into.Cols(0, c.FFN), into.Cols(c.FFN, 2*c.FFN), dact, a.gateUp.Cols(0, c.FFN), a.gateUp.Cols(c.FFN, 2*c.FFN))
		w.GateUp.backward(dev, m.low, m.of(&g.GateUp, from), dnorm.Fresh(), dgateUp, a.mlpNorm)
		dev.RMSNormBackward(dx, g.MLPNorm, dnorm, a.mid, w.MLPNorm, a.mlpRstd)
		w.O.backward(dev, m.low, m.of(&g.O, from), do.Fresh(), dx, a.o)
	}

	q, k, v := m.heads(a)
	dq, dk, dv := m.split(dqkv)
	if c.QKNorm {
		dqk, nq := b.dqk.Rows(0, t), c.Heads*c.HeadDim
		dq, dk = dqk.Cols(0, nq), dqk.Cols(nq, dqk.Dim(1))
	}
	dev.AttentionBackward(dq.Fresh(), dk.Fresh(), dv.Fresh(), do, a.o, a.lse, q, k, v, m.starts, c.heads())
	for from, to := range m.blocks(t) {
		a, dnorm, dqkv := a.part(from, to, &room), b.dnorm.Rows(0, to-from), dqkv.Rows(from, to)
		m.turnBack(l, from, dqkv, a)
		w.QKV.backward(dev, m.low, m.of(&g.QKV, from), dnorm.Fresh(), dqkv, a.attnNorm)
		dev.RMSNormBackward(dx.Rows(from, to), g.AttnNorm, dnorm, x.Rows(from, to), w.AttnNorm, a.attnRstd)
	}
}

// turnBack takes the gradients of queries and keys of the tokens from the given one on back through their rotation, and their norms, to
// dqkv (n,(H+2K)·D).
func (m *Model) turnBack(l, from int, dqkv kernels.Tensor, a *activations) {
	dev, c, w, g, d := m.dev, &m.Config, &m.W.Blocks[l], &m.G.Blocks[l], m.Config.HeadDim
	to := from + dqkv.Dim(0)
	pos, nqk := m.pos.Rows(from, to), (c.Heads+c.KVHeads)*d
	if !c.QKNorm {
		dev.RoPEBackward(dqkv.Cols(0, nqk).Split(d), pos, m.table)
		return
	}
	dqk, nq := m.b.dqk.Rows(from, to), c.Heads*d
	dev.RoPEBackward(dqk.Split(d), pos, m.table)
	dq, dk, _ := m.split(dqkv)
	rawQ, rawK, _ := m.split(a.qkv)
	dev.RMSNormBackward(dk.Split(d).Fresh(), g.KNorm, dqk.Cols(nq, nqk).Split(d), rawK.Split(d), w.KNorm, a.kRstd)
	dev.RMSNormBackward(dq.Split(d).Fresh(), g.QNorm, dqk.Cols(0, nq).Split(d), rawQ.Split(d), w.QNorm, a.qRstd)
}
