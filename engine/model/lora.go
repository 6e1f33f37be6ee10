package model

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"retool/kernels"
)

// LoRA is what is learnt beside a frozen base (Hu 2021): y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ at each target, A (Rank,M) and B (N,Rank), where s is
// Alpha/Rank, or Alpha/√Rank with RSLoRA (Kalajdzievski 2023). The zero value is none: all weights are learnt.
type LoRA struct {
	Rank    int
	Alpha   float64
	Targets []string // last parts of modules' names (q_proj), regular expressions that match whole names, or all-linear, as PEFT has them
	RSLoRA  bool
}

// scale is s.
func (l LoRA) scale() float32 {
	if l.RSLoRA {
		return float32(l.Alpha / math.Sqrt(float64(l.Rank)))
	}
	return float32(l.Alpha / float64(l.Rank))
}

// lowRank is one target's pair of matrices, or their gradients, and the rows of the projection's weight that they stand beside.
type lowRank struct {
	rows
	A, B kernels.Tensor // (r,M), (N,r)
}

// modules are the layers' projections, in the order of the forward pass.
func (w *Weights) modules() (all []module) {
	for l := range w.Blocks {
		m := w.layer(l)
		all = append(all, m[:]...)
	}
	return all
}

// matches reports whether a target names a module.
func matches(target, name string) bool {
	if name == target || strings.HasSuffix(name, "."+target) {
		return true
	}
	re, err := regexp.Compile("^(?:" + target + ")$")
	return err == nil && re.MatchString(name)
}

// allLinear is PEFT's word for every projection of the layers.
const allLinear = "all-linear"

// spelt is l with the names that its targets stand for.
func (l LoRA) spelt() LoRA {
	if slices.Contains(l.Targets, allLinear) {
		l.Targets = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
	}
	return l
}

// check names the first setting that the model cannot follow.
func (l LoRA) check(w *Weights) error {
	switch s := float64(l.scale()); {
	case l.Rank < 1:
		return fmt.Errorf("model: lora: rank is %d, must be at least 1", l.Rank)
	case !(s > 0) || math.IsInf(s, 0):
		return fmt.Errorf("model: lora: alpha is %g: what it makes of the adapter's scale, %g, must be a finite number above 0", l.Alpha, s)
	case len(l.Targets) == 0:
		return fmt.Errorf("model: lora: there is no target: want names of modules such as q_proj, regular expressions, or %s", allLinear)
	}
	for _, target := range l.Targets {
		found := false
		for _, m := range w.modules() {
			for _, part := range m.parts {
				if !matches(target, part.name) {
					continue
				}
				found = true
				if n := part.to - part.from; l.Rank > min(n, m.in) {
					return fmt.Errorf("model: lora: rank %d is larger than %s, a matrix of %d by %d", l.Rank, part.name, n, m.in)
				}
			}
		}
		if _, err := regexp.Compile(target); err != nil {
			return fmt.Errorf("model: lora: target %q is neither a module's name nor a regular expression: %w", target, err)
		}
		if !found {
			return fmt.Errorf("model: lora: target %q is no module of the model (known: q_proj, k_proj, v_proj, o_proj, gate_proj, "+
				"up_proj, down_proj, %s, or a regular expression for names such as model.layers.0.self_attn.q_proj)", target, allLinear)
		}
	}
	return nil
}

// placeAdapter takes the views of an adapter, and of the value head that is learnt with it, from a.
func (w *Weights) placeAdapter(a *arena) (split int) {
	for _, m := range w.modules() {
		m.p.low = m.p.low[:0]
		for _, part := range m.parts {
			for _, target := range w.lora.Targets {
				if matches(target, part.name) {
					m.p.low = append(m.p.low, lowRank{part, a.take(w.lora.Rank, m.in), a.take(part.to-part.from, w.lora.Rank)})
					break
				}
			}
		}
	}
	if w.cfg.ValueHead {
		w.Value.Weight = a.take(1, w.cfg.Hidden)
	}
	return a.off
}

// adopt joins an adapter to the base that it stands beside.
func (w *Weights) adopt(adapter *Weights) {
	for l := range w.Blocks {
		b, a := &w.Blocks[l], &adapter.Blocks[l]
		b.QKV.low, b.O.low, b.GateUp.low, b.Down.low = a.QKV.low, a.O.low, a.GateUp.low, a.Down.low
	}
	w.Value = adapter.Value
}

// Learned is the parameters that an optimizer moves: the adapter, with the value head, or all there are.
func (m *Model) Learned() *Weights {
	if m.Adapter != nil {
		return m.Adapter
	}
	return m.W
}

// InitAdapter draws A as PEFT does, uniform within ±1/√M (He 2015 with a = √5), and leaves B zero: training begins at the base.
func (m *Model) InitAdapter(seed uint64) {
	if m.Adapter == nil {
		return
	}
	for _, mod := range m.Adapter.modules() {
		for _, low := range mod.p.low {
			h := fnv.New64a()
			h.Write([]byte(low.name + ".lora_A"))
			r := rand.New(rand.NewPCG(seed, h.Sum64()))
			a, bound := make([]float32, low.A.Len()), 1/math.Sqrt(float64(mod.in))
			for i := range a {
				a[i] = float32((2*r.Float64() - 1) * bound)
			}
			m.dev.Upload(low.A, a)
			m.dev.Upload(low.B, make([]float32, low.B.Len()))
		}
	}
}

// lowScratch is what adapters compute in: h = x·Aᵀ, s·h, their gradients (T,r each), and what is added to a product, (T,N).
type lowScratch struct {
	eye          kernels.Tensor // (r,r): s on the diagonal; a product with it multiplies by s and rounds once
	h, sh, d, ds kernels.Tensor
	out          kernels.Tensor // flat
}

func newLowScratch(dev kernels.Device, c *Config, opt Options) *lowScratch {
	r, t := opt.LoRA.Rank, opt.MaxTokens
	s := &lowScratch{eye: dev.Alloc(kernels.F32, r, r)}
	eye := make([]float32, r*r)
	for i := range r {
		eye[i*r+i] = opt.LoRA.scale()
	}
	dev.Upload(s.eye, eye)
	for _, x := range []*kernels.Tensor{&s.h, &s.sh, &s.d, &s.ds} {
		*x = dev.Alloc(kernels.F32, t, r)
	}
	s.out = dev.Alloc(kernels.F32, t*max(c.Heads*c.HeadDim, c.Hidden, c.FFN))
	return s
}

func (s *lowScratch) close(dev kernels.Device) {
	if s != nil {
		for _, t := range []kernels.Tensor{s.eye, s.h, s.sh, s.d, s.ds, s.out} {
			dev.Free(t)
		}
	}
}

// inner computes h and s·h of x.
func (s *lowScratch) inner(dev kernels.Device, low *lowRank, x kernels.Tensor) (h, sh kernels.Tensor) {
	t := x.Dim(0)
	h, sh = s.h.Rows(0, t), s.sh.Rows(0, t)
	dev.Linear(h, x, low.A, kernels.Tensor{})
	dev.Linear(sh, h, s.eye, kernels.Tensor{})
	return h, sh
}

// add adds the adapters' part to y (T,N).
func (p *Projection) add(dev kernels.Device, s *lowScratch, y, x kernels.Tensor) {
	for i := range p.low {
		low := &p.low[i]
		_, sh := s.inner(dev, low, x)
		t, n := x.Dim(0), low.to-low.from
		out := s.out.Reshape(t, n)
		dev.Linear(out, sh, low.B, kernels.Tensor{})
		dev.Add(y.Cols(low.from, low.to), out)
	}
}

// addBackward adds the adapters' gradients to g, and to dx what passes through them.
func (p *Projection) addBackward(dev kernels.Device, s *lowScratch, g gradient, dx, dy, x kernels.Tensor) {
	for i := range p.low {
		low, of := &p.low[i], &g.low[i]
		_, sh := s.inner(dev, low, x)
		t := x.Dim(0)
		d, ds, dy := s.d.Rows(0, t), s.ds.Rows(0, t), dy.Cols(low.from, low.to)
		dev.LinearBackward(ds.Fresh(), g.matrix(of.B), kernels.Tensor{}, dy, sh, low.B)
		dev.LinearBackward(d.Fresh(), kernels.Tensor{}, kernels.Tensor{}, ds, kernels.Tensor{}, s.eye)
		dev.LinearBackward(dx, g.matrix(of.A), kernels.Tensor{}, d, x, low.A)
	}
}

// base is the weights of m as another model of the same shape shares them: without the adapter, and without a value head.
func (m *Model) base(c *Config) *Weights {
	w := *m.W
	w.cfg, w.Blocks, w.Value = c, append([]Block(nil), m.W.Blocks...), Projection{}
	if !c.LMHead {
		w.Head = Projection{}
	}
	for l := range w.Blocks {
		b := &w.Blocks[l]
		b.QKV.low, b.O.low, b.GateUp.low, b.Down.low = nil, nil, nil, nil
	}
	return &w
}

// copyAdapter makes the adapter that of src, which has the same base and targets.
func (m *Model) copyAdapter(src *Model) error {
	from := src.Adapter.modules()
	return m.dev.Do(func() {
		for i, mod := range m.Adapter.modules() {
			for j, low := range mod.p.low {
				m.dev.Copy(low.A, from[i].p.low[j].A)
				m.dev.Copy(low.B, from[i].p.low[j].B)
			}
		}
	})
}
