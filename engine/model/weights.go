package model

import (
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"
	"strings"

	"retool/kernels"
)

// Weights are the parameters of a model, or their gradients: one allocation, of which every other field is a view.
//
// Matrices come first and vectors (norms and biases) after them, so that an optimizer can decay one and not the other. Gaps that
// align the views hold zeros and keep them under any update.
type Weights struct {
	All      kernels.Tensor // flat
	Matrices kernels.Tensor // flat: the first part of All
	Vectors  kernels.Tensor // flat: the rest

	Embed  kernels.Tensor // (V,C)
	Blocks []Block        // L
	Norm   kernels.Tensor // (C)
	Head   Projection     // (V,C): Embed where tied; absent in a critic
	Value  Projection     // (1,C); absent without a value head

	cfg  *Config
	lora LoRA // of an adapter, or its gradient: what is not its own is absent
}

// Block is one layer's part of Weights. Head norms are absent where the model has none.
type Block struct {
	AttnNorm     kernels.Tensor // (C)
	QKV          Projection     // ((H+2K)·D, C): rows of queries, then keys, then values
	QNorm, KNorm kernels.Tensor // (D)
	O            Projection     // (C, H·D)
	MLPNorm      kernels.Tensor // (C)
	GateUp       Projection     // (2F, C): rows of gate, then up
	Down         Projection     // (C, F)
}

// newWeights allocates zeros of a type in the layout of c.
func newWeights(dev kernels.Device, c *Config, dtype kernels.DType, lora LoRA) *Weights {
	w := &Weights{Blocks: make([]Block, c.Layers), cfg: c, lora: lora}
	var a arena
	w.place(&a)
	w.in(dev.Alloc(dtype, a.off))
	return w
}

// arrange lets the device keep the matrices of products as its products read them, and not beside that as they stand in files. It is for
// weights that nothing updates.
func (w *Weights) arrange(dev kernels.Device) {
	for l := range w.Blocks {
		b := &w.Blocks[l]
		for _, p := range [...]*Projection{&b.QKV, &b.O, &b.GateUp, &b.Down} {
			dev.Arrange(p.Weight)
		}
	}
	if !w.Head.Weight.Absent() {
		dev.Arrange(w.Head.Weight)
	}
}

// in makes all views views of t.
func (w *Weights) in(t kernels.Tensor) {
	w.All = t
	a := arena{t: t}
	split := w.place(&a)
	w.Matrices, w.Vectors = t.Rows(0, split), t.Rows(split, a.off)
}

// Gradients makes room for n gradients beside one another, the rows of all (n, numbers), in place of the one that G was: it is the first,
// and the caller may set G to any of them. What they hold is lost. They are the model's to free.
func (m *Model) Gradients(n int) (each []*Weights, all kernels.Tensor) {
	size := m.G.All.Len()
	m.dev.Free(m.G.All)
	all = m.dev.Alloc(kernels.F32, n, size)
	for i := range n {
		w := &Weights{Blocks: make([]Block, m.Config.Layers), cfg: &m.Config, lora: m.Options.LoRA}
		w.in(all.Rows(i, i+1).Reshape(size))
		each = append(each, w)
	}
	m.G = each[0]
	return each, all
}

// place takes every view from a and returns where matrices end. Units are the embedding, each layer's matrices, a head that is not the
// embedding, and all that is small: the value head and the vectors.
func (w *Weights) place(a *arena) (split int) {
	if w.lora.Rank > 0 {
		return w.placeAdapter(a)
	}
	c := w.cfg
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	a.begin()
	w.Embed = a.take(c.Vocab, c.Hidden)
	for l := range w.Blocks {
		a.begin()
		b := &w.Blocks[l]
		b.QKV.Weight = a.take(q+2*kv, c.Hidden)
		b.O.Weight = a.take(c.Hidden, q)
		b.GateUp.Weight = a.take(2*c.FFN, c.Hidden)
		b.Down.Weight = a.take(c.Hidden, c.FFN)
	}
	switch {
	case c.LMHead && c.Tied:
		w.Head.Weight = w.Embed
	case c.LMHead:
		a.begin()
		w.Head.Weight = a.take(c.Vocab, c.Hidden)
	}
	a.begin()
	if c.ValueHead {
		w.Value.Weight = a.take(1, c.Hidden)
	}
	split = a.off
	for l := range w.Blocks {
		b := &w.Blocks[l]
		b.AttnNorm = a.take(c.Hidden)
		if c.QKVBias {
			b.QKV.Bias = a.take(q + 2*kv)
		}
		if c.QKNorm {
			b.QNorm, b.KNorm = a.take(c.HeadDim), a.take(c.HeadDim)
		}
		if c.OBias {
			b.O.Bias = a.take(c.Hidden)
		}
		b.MLPNorm = a.take(c.Hidden)
		if c.MLPBias {
			b.GateUp.Bias, b.Down.Bias = a.take(2*c.FFN), a.take(c.Hidden)
		}
	}
	w.Norm = a.take(c.Hidden)
	return split
}

// Factors are the matrices that the products of a pass read, an adapter's too, less those that are Options.Base's.
func (m *Model) Factors() (all []kernels.Tensor) {
	own := m.Options.Base == nil
	for _, mod := range m.W.modules() {
		if own {
			all = append(all, mod.p.Weight)
		}
		for _, low := range mod.p.low {
			all = append(all, low.A, low.B)
		}
	}
	if own && !m.W.Head.Weight.Absent() {
		all = append(all, m.W.Head.Weight)
	}
	if !m.W.Value.Weight.Absent() {
		all = append(all, m.W.Value.Weight)
	}
	return all
}

// module is a projection as files name its parts, with the size of what it is given.
type module struct {
	p     *Projection
	in    int
	parts []rows
}

// layer is a layer's projections, in the order of the forward pass: QKV, O, GateUp, Down.
func (w *Weights) layer(l int) [4]module {
	c, b, p := w.cfg, &w.Blocks[l], fmt.Sprintf("model.layers.%d.", l)
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return [4]module{
		{&b.QKV, c.Hidden, []rows{
			{p + "self_attn.q_proj", 0, q}, {p + "self_attn.k_proj", q, q + kv}, {p + "self_attn.v_proj", q + kv, q + 2*kv},
		}},
		{&b.O, q, []rows{{p + "self_attn.o_proj", 0, c.Hidden}}},
		{&b.GateUp, c.Hidden, []rows{{p + "mlp.gate_proj", 0, c.FFN}, {p + "mlp.up_proj", c.FFN, 2 * c.FFN}}},
		{&b.Down, c.FFN, []rows{{p + "mlp.down_proj", 0, c.Hidden}}},
	}
}

// Named iterates over the parameters under Hugging Face's names, in the order of the forward pass. Those that share a matrix here
// (q_proj, k_proj, v_proj; gate_proj, up_proj) come as ranges of its rows, so every tensor is contiguous. A tied head comes once, as
// the embedding.
func (w *Weights) Named() iter.Seq2[string, kernels.Tensor] {
	return func(yield func(string, kernels.Tensor) bool) {
		ok := true
		give := func(name string, t kernels.Tensor) {
			if ok && !t.Absent() {
				ok = yield(name, t)
			}
		}
		project := func(m module) { ok = ok && m.p.named(yield, m.parts...) }
		give(embedName, w.Embed)
		for l := range w.Blocks {
			b, p, m := &w.Blocks[l], fmt.Sprintf("model.layers.%d.", l), w.layer(l)
			give(p+"input_layernorm.weight", b.AttnNorm)
			project(m[0])
			give(p+"self_attn.q_norm.weight", b.QNorm)
			give(p+"self_attn.k_norm.weight", b.KNorm)
			project(m[1])
			give(p+"post_attention_layernorm.weight", b.MLPNorm)
			project(m[2])
			project(m[3])
		}
		give(normName, w.Norm)
		if !w.cfg.Tied {
			give(headName, w.Head.Weight)
		}
		give(valueName, w.Value.Weight)
	}
}

// Kinds of parameters, by what their first values are.
const (
	matrixParameter   = iota
	residualParameter // a matrix that writes to the residual stream
	normParameter
	biasParameter
)

func parameterKind(name string) int {
	switch {
	case strings.HasSuffix(name, ".bias"):
		return biasParameter
	case strings.HasSuffix(name, "norm.weight"):
		return normParameter
	case strings.HasSuffix(name, "o_proj.weight"), strings.HasSuffix(name, "down_proj.weight"):
		return residualParameter
	}
	return matrixParameter
}

// Init draws the weights: matrices normal with deviation 0.02, those that write to the residual stream divided by √(2L) (Radford
// 2019 §2.3), norms 1, biases and value head 0. Every tensor has its own stream of (seed, name): the numbers depend neither on the
// device nor on which other tensors there are.
func (m *Model) Init(seed uint64) {
	deep := 0.02 / math.Sqrt(2*float64(m.Config.Layers))
	var buf []float32
	into := m.filler(false)
	for name, t := range m.full().Named() {
		buf = append(buf[:0], make([]float32, t.Len())...)
		switch kind := parameterKind(name); {
		case name == valueName || kind == biasParameter:
		case kind == normParameter:
			for i := range buf {
				buf[i] = 1
			}
		default:
			dev := 0.02
			if kind == residualParameter {
				dev = deep
			}
			h := fnv.New64a()
			h.Write([]byte(name))
			r := rand.New(rand.NewPCG(seed, h.Sum64()))
			for i := range buf {
				buf[i] = float32(r.NormFloat64() * dev)
			}
		}
		into.at(name)
		m.dev.Upload(t, buf)
	}
	_ = into.end() // a failure of the device is the next pass's to report
}

// full is the parameters in the precision that training keeps: the master copy where there is one. That of a sharded model lies in the
// gradients' memory, which holds nothing between two updates: what fills the model leaves it there, and what reads it has put it there.
// That of a divided one does so unit by unit: see filler and reader.
func (m *Model) full() *Weights {
	switch {
	case m.Master != nil:
		return m.Master
	case m.Options.Sharded, m.div != nil:
		return m.G
	}
	return m.W
}

// round makes W the master copy, rounded.
func (m *Model) round() error {
	f := m.full()
	switch {
	case m.Options.Halves:
		return m.dev.Do(func() { m.dev.Split(m.W.All, kernels.Tensor{}, f.All) })
	case f != m.W:
		return m.dev.Do(func() { m.dev.Copy(m.W.All, f.All) })
	}
	return nil
}

// MasterAll is the flat master copy as AdamW takes it: absent where W itself is float32.
func (m *Model) MasterAll() kernels.Tensor {
	if m.Master == nil {
		return kernels.Tensor{}
	}
	return m.Master.All
}

// Parameters is how many numbers the model learns; a tied head counts once.
func (m *Model) Parameters() int {
	n := 0
	for _, t := range m.W.Named() {
		n += t.Len()
	}
	return n
}

// CopyFrom copies every parameter of src that m has too: a reference from a policy, a critic's trunk from the policy it judges.
// Heads that src lacks keep what they hold; a trunk of another shape is an error. Both models are on one device.
func (m *Model) CopyFrom(src *Model) error {
	if m.Adapter != nil && m.Options.Base == src {
		return m.copyAdapter(src)
	}
	from := map[string]kernels.Tensor{}
	for name, t := range src.full().Named() {
		from[name] = t
	}
	if src.Config.Tied && m.Config.LMHead && !m.Config.Tied {
		from[headName] = src.full().Embed
	}
	for name, t := range m.full().Named() {
		s, ok := from[name]
		if !ok && name != headName && name != valueName {
			return fmt.Errorf("model: copy: the source has no %s", name)
		}
		if ok && !sameShape(s, t) {
			return fmt.Errorf("model: copy: %s is %v in the source and %v here", name, s, t)
		}
	}
	into, of := m.filler(!src.Config.ValueHead), src.reader(nil)
	for name, t := range m.full().Named() {
		s, ok := from[name]
		if !ok {
			continue
		}
		of.at(name)
		into.at(name)
		if err := m.dev.Do(func() { m.dev.Copy(t, s) }); err != nil {
			return err
		}
	}
	return errors.Join(of.err, into.end())
}

func sameShape(a, b kernels.Tensor) bool {
	return a.Rank() == b.Rank() && a.Dim(0) == b.Dim(0) && a.Dim(1) == b.Dim(1) && a.Dim(2) == b.Dim(2)
}
