package model

import "retool/kernels"

// ForgetGrad empties the gradients without a walk through their memory: the next Train writes where it would add, in the bits of adding to
// zeros. Who reads or fills G before calls SettleGrad first. A divided model's are forgotten before each pass in any case.
func (m *Model) ForgetGrad() { m.forgot = true }

// SettleGrad makes gradients that were forgotten, and not written since, zeros.
func (m *Model) SettleGrad() error {
	if !m.forgot || m.G == nil || m.div != nil {
		return nil
	}
	m.forgot = false
	return m.dev.Do(func() { m.dev.Zero(m.G.All) })
}

// beginGrad is called by a pass before its first gradient. What products write whole is left to them (see Projection.backward); vectors and
// a table of embeddings that is no head are sums over tokens, and begin as zeros. Gaps between views are never written.
func (m *Model) beginGrad() {
	m.fresh, m.forgot = m.forgot, false
	if !m.fresh {
		return
	}
	if m.G.Vectors.Len() > 0 {
		m.dev.Zero(m.G.Vectors)
	}
	if !m.G.Embed.Absent() && !m.headIsEmbed() {
		m.dev.Zero(m.G.Embed)
	}
}

// headIsEmbed reports whether the head's product writes the gradient of the embedding.
func (m *Model) headIsEmbed() bool { return m.Config.LMHead && m.Config.Tied }

// of is g as the gradient of the pass's tokens, or the head's rows, from the given one on: the first are written over what was there.
func (m *Model) of(g *Projection, from int) gradient { return gradient{g, m.fresh && from == 0} }

// gradient is where a Projection's backward leaves what it finds.
type gradient struct {
	*Projection
	first bool // what matrices hold is of no account
}

// matrix is one of them, or of its adapters', as an output.
func (g gradient) matrix(t kernels.Tensor) kernels.Tensor {
	if g.first {
		return t.Fresh()
	}
	return t
}
