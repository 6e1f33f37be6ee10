package model

import "retool/kernels"

// Moments allocates zeros in float32 that lie as the weights do: what an optimizer keeps for each parameter. Whatever part of the
// weights is a view of them is the same view here. The caller frees All.
func (m *Model) Moments() *Weights { return newWeights(m.dev, &m.Config, kernels.F32) }
