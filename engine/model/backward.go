package model

import "retool/kernels"

// headBackward takes ∂loss/∂logits and ∂loss/∂values, which the loss left in h, through head into dx (T,C).
func (m *Model) headBackward(dx kernels.Tensor, h Head) {
	dev, b, r := m.dev, &m.b, h.To-h.From
	norm, dnorm, drows := b.rowsNorm.Rows(0, r), b.drowsNorm.Rows(0, r), b.drows.Rows(0, r)
	dev.Zero(drows)
	to := dnorm.Fresh() // of one head at least
	if m.Config.ValueHead {
		m.W.Value.backward(dev, m.low, &m.G.Value, to, h.Values.Reshape(r, 1), norm)
		to = dnorm
	}
	if m.Config.LMHead {
		m.W.Head.backward(dev, m.low, &m.G.Head, to, h.Logits, norm)
	}
	dev.RMSNormBackward(drows, m.G.Norm, dnorm, b.rows.Rows(0, r), m.W.Norm, b.rowsRstd.Rows(0, r))
	dev.EmbedBackward(dx, drows, m.rows.Rows(h.From, h.To))
}

// backward is forward's list upwards. dx (T,C) comes in as the gradient of the layer's output and leaves as that of its input x:
// both residual connections are the identity, and every Backward adds, so the stream's own gradient needs no line.
func (m *Model) backward(l int, dx, x kernels.Tensor, a *activations) {
	dev, c, w, g, b, t := m.dev, &m.Config, &m.W.Blocks[l], &m.G.Blocks[l], &m.b, x.Dim(0)
	dnorm, dact, dgateUp := b.dnorm.Rows(0, t), b.dact.Rows(0, t), b.dgateUp.Rows(0, t)
	do, dqkv := b.do.Rows(0, t), b.dqkv.Rows(0, t)

	w.Down.backward(dev, m.low, &g.Down, dact.Fresh(), dx, a.act)
	into := dgateUp.Fresh()
	dev.SwiGLUBackward(into.Cols(0, c.FFN), into.Cols(c.FFN, 2*c.FFN), dact, a.gateUp.Cols(0, c.FFN), a.gateUp.Cols(c.FFN, 2*c.FFN))
	w.GateUp.backward(dev, m.low, &g.GateUp, dnorm.Fresh(), dgateUp, a.mlpNorm)
	dev.RMSNormBackward(dx, g.MLPNorm, dnorm, a.mid, w.MLPNorm, a.mlpRstd)

	w.O.backward(dev, m.low, &g.O, do.Fresh(), dx, a.o)
	dev.Zero(dqkv)
	q, k, v := m.heads(a)
	dq, dk, dv := m.split(dqkv)
	if !c.QKNorm {
		dev.AttentionBackward(dq, dk, dv, do, a.o, a.lse, q, k, v, m.starts, c.heads())
		dev.RoPEBackward(dqkv.Cols(0, (c.Heads+c.KVHeads)*c.HeadDim).Split(c.HeadDim), m.pos, m.table)
	} else {
		dqk := b.dqk.Rows(0, t)
		nq, nqk := c.Heads*c.HeadDim, (c.Heads+c.KVHeads)*c.HeadDim
		turnedQ, turnedK := dqk.Cols(0, nq), dqk.Cols(nq, nqk)
		dev.Zero(dqk)
		dev.AttentionBackward(turnedQ, turnedK, dv, do, a.o, a.lse, q, k, v, m.starts, c.heads())
		dev.RoPEBackward(dqk.Split(c.HeadDim), m.pos, m.table)
		rawQ, rawK, _ := m.split(a.qkv)
		d := c.HeadDim
		dev.RMSNormBackward(dk.Split(d), g.KNorm, turnedK.Split(d), rawK.Split(d), w.KNorm, a.kRstd)
		dev.RMSNormBackward(dq.Split(d), g.QNorm, turnedQ.Split(d), rawQ.Split(d), w.QNorm, a.qRstd)
	}
	w.QKV.backward(dev, m.low, &g.QKV, dnorm.Fresh(), dqkv, a.attnNorm)
	dev.RMSNormBackward(dx, g.AttnNorm, dnorm, x, w.AttnNorm, a.attnRstd)
}
