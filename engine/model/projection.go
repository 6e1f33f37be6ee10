package model

import "retool/kernels"

// Projection is a linear map with learned parameters, y = x·wᵀ + b, or the gradient of one. Every product of activations with weights
// is one of these: the layers' and the heads'.
type Projection struct {
	Weight kernels.Tensor // (N,M)
	Bias   kernels.Tensor // (N); absent where the model has none

	low []lowRank // what LoRA adds, target by target
}

// forward computes y (T,N) of x (T,M).
func (p *Projection) forward(dev kernels.Device, s *lowScratch, y, x kernels.Tensor) {
	dev.Linear(y, x, p.Weight, p.Bias)
	p.add(dev, s, y, x)
}

// plain reports whether forward is the product with Weight, and nothing else.
func (p *Projection) plain() bool { return p.Bias.Absent() && len(p.low) == 0 }

// product is forward less the bias, for an operation behind it that adds the bias itself, as RoPE does. backward is the same.
func (p *Projection) product(dev kernels.Device, s *lowScratch, y, x kernels.Tensor) {
	dev.Linear(y, x, p.Weight, kernels.Tensor{})
	p.add(dev, s, y, x)
}

// backward adds the gradients that dy (T,N) gives: to dx (T,M), which may be Fresh, that of x, to g that of the parameters.
func (p *Projection) backward(dev kernels.Device, s *lowScratch, g gradient, dx, dy, x kernels.Tensor) {
	dev.LinearBackward(dx, g.matrix(g.Weight), g.Bias, dy, x, p.Weight)
	p.addBackward(dev, s, g, dx.Written(), dy, x)
}

// rows are the rows [from, to) of a projection and the name that files give them.
type rows struct {
	name     string
	from, to int
}

// named gives the projection's parameters under the names of parts, in this order: the weight of each part, then the bias of each. It
// returns whether yield wants more.
func (p *Projection) named(yield func(string, kernels.Tensor) bool, parts ...rows) bool {
	for _, parameter := range [...]struct {
		kind string
		t    kernels.Tensor
	}{{".weight", p.Weight}, {".bias", p.Bias}} {
		for _, part := range parts {
			if !parameter.t.Absent() && !yield(part.name+parameter.kind, parameter.t.Rows(part.from, part.to)) {
				return false
			}
		}
	}
	return true
}
