package model

import "retool/kernels"

// forward computes layer l for the tokens of the pass: y from x, both (T,C), leaving in a what backward reads.
//
//	mid = x   + O · attention(rotate(QKV · norm(x)))
//	y   = mid + Down · swiglu(GateUp · norm(mid))
//
// y may be x's own memory. Where y is absent, forward stops before Down: recomputation has no use for the layer's output.
func (m *Model) forward(l int, y, x kernels.Tensor, a *activations) {
	dev, c, w := m.dev, &m.Config, &m.W.Blocks[l]
	eps := float32(c.RMSEps)

	dev.RMSNorm(a.attnNorm, a.attnRstd, x, w.AttnNorm, eps)
	dev.Linear(a.qkv, a.attnNorm, w.QKV, w.QKVBias)
	q, k, v := m.heads(a)
	if c.QKNorm {
		rawQ, rawK, _ := m.split(a.qkv)
		dev.RMSNorm(q.Split(c.HeadDim), a.qRstd, rawQ.Split(c.HeadDim), w.QNorm, eps)
		dev.RMSNorm(k.Split(c.HeadDim), a.kRstd, rawK.Split(c.HeadDim), w.KNorm, eps)
	}
	dev.RoPE(m.rotated(a.qkv, a.qk), m.pos, m.table, +1)
	if m.paged.on {
		dev.AppendKV(m.kv[l], k, v, m.paged.slots)
		dev.PagedAttention(a.o, q, m.kv[l], m.paged.table, c.heads())
	} else {
		dev.Attention(a.o, a.lse, q, k, v, m.starts, c.heads())
	}
	dev.Linear(a.mid, a.o, w.O, w.OBias)
	dev.Add(a.mid, x)

	dev.RMSNorm(a.mlpNorm, a.mlpRstd, a.mid, w.MLPNorm, eps)
	dev.Linear(a.gateUp, a.mlpNorm, w.GateUp, w.GateUpBias)
	dev.SwiGLU(a.act, a.gateUp.Cols(0, c.FFN), a.gateUp.Cols(c.FFN, 2*c.FFN))
	if y.Absent() {
		return
	}
	dev.Linear(y, a.act, w.Down, w.DownBias)
	dev.Add(y, a.mid)
}

// split is the columns of queries, keys and values of a matrix that holds all three, or of its gradient.
func (m *Model) split(qkv kernels.Tensor) (q, k, v kernels.Tensor) {
	nq, nkv := m.Config.Heads*m.Config.HeadDim, m.Config.KVHeads*m.Config.HeadDim
	return qkv.Cols(0, nq), qkv.Cols(nq, nq+nkv), qkv.Cols(nq+nkv, nq+2*nkv)
}

// heads is the queries, keys and values that attention reads: with QK-norm, queries and keys stand apart, because the norm's
// backward needs what it was given.
func (m *Model) heads(a *activations) (q, k, v kernels.Tensor) {
	q, k, v = m.split(a.qkv)
	if m.Config.QKNorm {
		nq, nkv := m.Config.Heads*m.Config.HeadDim, m.Config.KVHeads*m.Config.HeadDim
		q, k = a.qk.Cols(0, nq), a.qk.Cols(nq, nq+nkv)
	}
	return q, k, v
}

// rotated is the heads (T,H+K,D) that RoPE turns: queries and keys are neighbours, so one call turns both.
func (m *Model) rotated(qkv, qk kernels.Tensor) kernels.Tensor {
	if m.Config.QKNorm {
		return qk.Split(m.Config.HeadDim)
	}
	return qkv.Cols(0, (m.Config.Heads+m.Config.KVHeads)*m.Config.HeadDim).Split(m.Config.HeadDim)
}

// head computes rows [from, to) of the pass's rows: gathered from x (T,C), normalised, through whichever heads the model has.
func (m *Model) head(x kernels.Tensor, from, to int, keep bool) Head {
	dev, b, r := m.dev, &m.b, to-from
	rows, norm := b.rows.Rows(0, r), b.rowsNorm.Rows(0, r)
	var rstd kernels.Tensor
	if keep {
		rstd = b.rowsRstd.Rows(0, r)
	}
	dev.Embed(rows, x, m.rows.Rows(from, to))
	dev.RMSNorm(norm, rstd, rows, m.W.Norm, float32(m.Config.RMSEps))
	h := Head{From: from, To: to}
	if m.Config.LMHead {
		h.Logits = b.logits.Rows(0, r)
		dev.Linear(h.Logits, norm, m.W.Head, kernels.Tensor{})
	}
	if m.Config.ValueHead && !m.paged.on { // nobody asks a sampler what it expects
		values := b.values.Rows(0, r)
		dev.Linear(values, norm, m.W.Value, kernels.Tensor{})
		h.Values = values.Reshape(r)
	}
	return h
}
