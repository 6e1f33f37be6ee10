package model

import "retool/kernels"

// body embeds the pass's t tokens and takes them through all layers. It returns what comes out, (T,C). With keep, every layer's input and
// activations stay for its backward. The pass's integers were uploaded.
func (m *Model) body(t int, keep bool) kernels.Tensor {
	m.b.cutTo(t, keep)
	x := m.b.x[0].Rows(0, t)
	m.dev.Embed(x, m.W.Embed, m.ids)
	var rest kernels.Tensor
	for l := range m.Config.Layers {
		y, a := x, &m.b.cut[0]
		if keep {
			y, a = m.b.x[l+1].Rows(0, t), m.kept(l)
		}
		rest = m.forward(l, y, x, rest, a)
		x = y
	}
	m.dev.Add(x, rest)
	return x
}

// forward computes layer l for the tokens of the pass, leaving in a what backward reads.
//
//	x  += rest
//	mid = x + O · attention(rotate(QKV · norm(x)))
//	y   = Down · swiglu(GateUp · norm(mid))
//
// x, y and rest are (T,C). The layer's output is y + mid: the next layer's norm adds them, so mid is what it takes for rest, absent where
// x is complete. y may be x's own memory, and a's the layer's before. Where y is absent, forward stops before Down: recomputation has no
// use for the layer's output.
func (m *Model) forward(l int, y, x, rest kernels.Tensor, a *activations) (mid kernels.Tensor) {
	dev, c, w := m.dev, &m.Config, &m.W.Blocks[l]
	eps := float32(c.RMSEps)
	var room activations

	m.eachBlock(func(b *block) {
		a := a.part(b.from, b.to, &room)
		dev.RMSNorm(a.attnNorm, a.attnRstd, x.Rows(b.from, b.to), part(rest, b.from, b.to), w.AttnNorm, eps)
		w.QKV.product(dev, m.low, a.qkv, a.attnNorm)
		dev.RoPE(m.turned(a), a.qRstd, a.kRstd, a.qkv, kernels.Rotary{
			Bias: w.QKV.Bias, QNorm: w.QNorm, KNorm: w.KNorm, Eps: eps, Pos: m.pos.Rows(b.from, b.to), Table: m.table,
		}, c.heads())
	}, func(b *block) {
		a := a.part(b.since, b.ended, &room)
		q, k, v := m.heads(a)
		if m.paged.on {
			dev.AppendKV(m.kv[l], k, v, m.paged.slots)
			dev.PagedAttention(a.o, q, m.kv[l], m.paged.table, c.heads())
		} else {
			dev.Attention(a.o, a.lse, q, k, v, b.starts, c.heads())
		}
	}, func(b *block) {
		a := a.part(b.from, b.to, &room)
		w.O.forward(dev, m.low, a.mid, a.o)
		dev.RMSNorm(a.mlpNorm, a.mlpRstd, a.mid, x.Rows(b.from, b.to), w.MLPNorm, eps)
		w.GateUp.forward(dev, m.low, a.gateUp, a.mlpNorm)
		dev.SwiGLU(a.act, a.gateUp.Cols(0, c.FFN), a.gateUp.Cols(c.FFN, 2*c.FFN))
		if !y.Absent() {
			w.Down.forward(dev, m.low, y.Rows(b.from, b.to), a.act)
		}
	})
	return a.mid
}

// split is the columns of queries, keys and values of a matrix that holds all three, or of its gradient.
func (m *Model) split(qkv kernels.Tensor) (q, k, v kernels.Tensor) {
	nq, nkv := m.Config.Heads*m.Config.HeadDim, m.Config.KVHeads*m.Config.HeadDim
	return qkv.Cols(0, nq), qkv.Cols(nq, nq+nkv), qkv.Cols(nq+nkv, nq+2*nkv)
}

// turned is the queries and keys (T,(H+K)·D) that attention reads: with QK-norm they stand apart from the product, because the norm's
// backward needs what it was given.
func (m *Model) turned(a *activations) kernels.Tensor {
	if m.Config.QKNorm {
		return a.qk
	}
	return a.qkv.Cols(0, (m.Config.Heads+m.Config.KVHeads)*m.Config.HeadDim)
}

// heads is the queries, keys and values that attention reads.
func (m *Model) heads(a *activations) (q, k, v kernels.Tensor) {
	qk, nq := m.turned(a), m.Config.Heads*m.Config.HeadDim
	_, _, v = m.split(a.qkv)
	return qk.Cols(0, nq), qk.Cols(nq, qk.Dim(1)), v
}

// headRows gathers rows [from, to) of the pass's rows from x (T,C), and normalises them.
func (m *Model) headRows(x kernels.Tensor, from, to int, keep bool) (norm kernels.Tensor) {
	b, r := &m.b, to-from
	rows, norm := b.rows.Rows(0, r), b.rowsNorm.Rows(0, r)
	var rstd kernels.Tensor
	if keep {
		rstd = b.rowsRstd.Rows(0, r)
	}
	m.dev.Embed(rows, x, m.rows.Rows(from, to))
	m.dev.RMSNorm(norm, rstd, rows, kernels.Tensor{}, m.W.Norm, float32(m.Config.RMSEps))
	return norm
}

// head computes rows [from, to) of the pass's rows through whichever heads the model has.
func (m *Model) head(x kernels.Tensor, from, to int, keep bool) Head {
	dev, b, r := m.dev, &m.b, to-from
	norm := m.headRows(x, from, to, keep)
	h := Head{From: from, To: to}
	if m.Config.LMHead {
		h.Logits = b.logits.Rows(0, r)
		m.W.Head.forward(dev, m.low, h.Logits, norm)
		if h.Gradient = h.Logits; m.narrow {
			h.Gradient = h.Logits.Halved()
		}
	}
	if m.Config.ValueHead && !m.paged.on { // nobody asks a sampler what it expects
		values := b.values.Rows(0, r)
		m.W.Value.forward(dev, m.low, values, norm)
		h.Values = values.Reshape(r)
	}
	return h
}
