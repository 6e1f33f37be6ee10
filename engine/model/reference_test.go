package model

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels"
)

// reference is the model in float64, one token at a time and one number at a time, by Hugging Face's names. It knows nothing of
// packing, of stacked matrices or of kernels.
type reference struct {
	c Config
	w map[string][]float64
}

// linear is W·x + b, W (n, len(x)).
func (r reference) linear(name string, x []float64) []float64 {
	w, b := r.w[name+".weight"], r.w[name+".bias"]
	y := make([]float64, len(w)/len(x))
	for i := range y {
		for j, v := range x {
			y[i] += w[i*len(x)+j] * v
		}
		if b != nil {
			y[i] += b[i]
		}
	}
	return y
}

func (r reference) norm(name string, x []float64) []float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	scale := 1 / math.Sqrt(sum/float64(len(x))+r.c.RMSEps)
	y := make([]float64, len(x))
	for i, w := range r.w[name+".weight"] {
		y[i] = w * x[i] * scale
	}
	return y
}

func (r reference) rotate(x []float64, pos int) {
	freq, scale := ropeFrequencies(r.c) // compared with transformers' in the golden files
	half := len(x) / 2
	for i, f := range freq {
		sin, cos := math.Sincos(float64(float32(pos) * f))
		sin, cos = sin*float64(scale), cos*float64(scale)
		x[i], x[i+half] = x[i]*cos-x[i+half]*sin, x[i+half]*cos+x[i]*sin
	}
}

// run is the final hidden states of one sequence.
func (r reference) run(ids []int32) [][]float64 {
	c := r.c
	x := make([][]float64, len(ids))
	for t, id := range ids {
		x[t] = slices.Clone(r.w["model.embed_tokens.weight"][int(id)*c.Hidden:][:c.Hidden])
	}
	for l := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		var keys, values [][]float64
		for t := range x {
			n := r.norm(p+"input_layernorm", x[t])
			q, k, v := r.linear(p+"self_attn.q_proj", n), r.linear(p+"self_attn.k_proj", n), r.linear(p+"self_attn.v_proj", n)
			turn := func(kind string, y []float64) {
				for h := 0; h < len(y); h += c.HeadDim {
					head := y[h : h+c.HeadDim]
					if c.QKNorm {
						copy(head, r.norm(p+"self_attn."+kind+"_norm", head))
					}
					r.rotate(head, t)
				}
			}
			turn("q", q)
			turn("k", k)
			keys, values = append(keys, k), append(values, v)
			o := make([]float64, c.Heads*c.HeadDim)
			for h := range c.Heads {
				qh, kv := q[h*c.HeadDim:][:c.HeadDim], h/(c.Heads/c.KVHeads)*c.HeadDim
				score, sum, top := make([]float64, t+1), 0.0, math.Inf(-1)
				for u := range score {
					for i, v := range qh {
						score[u] += v * keys[u][kv+i]
					}
					score[u] /= math.Sqrt(float64(c.HeadDim))
					top = max(top, score[u])
				}
				for u := range score {
					score[u] = math.Exp(score[u] - top)
					sum += score[u]
				}
				for u, s := range score {
					for i := range qh {
						o[h*c.HeadDim+i] += s / sum * values[u][kv+i]
					}
				}
			}
			for i, v := range r.linear(p+"self_attn.o_proj", o) {
				x[t][i] += v
			}
			n = r.norm(p+"post_attention_layernorm", x[t])
			gate, up := r.linear(p+"mlp.gate_proj", n), r.linear(p+"mlp.up_proj", n)
			for i, g := range gate {
				up[i] *= g / (1 + math.Exp(-g))
			}
			for i, v := range r.linear(p+"mlp.down_proj", up) {
				x[t][i] += v
			}
		}
	}
	for t := range x {
		x[t] = r.norm("model.norm", x[t])
	}
	return x
}

// heads is the logits and the value of a hidden state.
func (r reference) heads(x []float64) (logits []float64, value float64) {
	switch {
	case !r.c.LMHead:
	case r.c.Tied:
		r.w["tied.weight"] = r.w["model.embed_tokens.weight"]
		logits = r.linear("tied", x)
	default:
		logits = r.linear("lm_head", x)
	}
	if r.c.ValueHead {
		value = r.linear("value_head", x)[0]
	}
	return logits, value
}

// problem is a batch with targets of its rows, and losses weighted by Weight: cross-entropy and half a squared error of values.
type problem struct {
	Inputs
	Target []int32
	Weight []float32
	Return []float32
	Sets   Sets // of its rows; a row without one is scored over the whole vocabulary
}

// loss is the problem's loss under the reference.
func (r reference) loss(p problem) float64 {
	var hidden [][]float64
	for s := range len(p.Starts) - 1 {
		hidden = append(hidden, r.run(p.IDs[p.Starts[s]:p.Starts[s+1]])...)
	}
	sum := 0.0
	for i, row := range p.Rows {
		logits, value := r.heads(hidden[row])
		if r.c.LMHead {
			z, top := 0.0, slices.Max(logits)
			for id, v := range logits {
				var set []int32
				if len(p.Sets.IDs) > 0 {
					set = p.Sets.IDs[p.Sets.Starts[i]:p.Sets.Starts[i+1]]
				}
				if len(set) == 0 || slices.Contains(set, int32(id)) {
					z += math.Exp(v - top)
				}
			}
			sum += float64(p.Weight[i]) * (math.Log(z) + top - logits[p.Target[i]])
		}
		if r.c.ValueHead {
			d := value - float64(p.Return[i])
			sum += 0.5 * float64(p.Weight[i]) * d * d
		}
	}
	return sum
}

// referenceOf downloads a model's weights.
func referenceOf(m *Model) reference {
	r := reference{c: m.Config, w: map[string][]float64{}}
	for name, t := range m.W.Named() {
		for _, v := range download(m, t) {
			r.w[name] = append(r.w[name], float64(v))
		}
	}
	return r
}

func download(m *Model, t kernels.Tensor) []float32 {
	x := make([]float32, t.Len())
	m.dev.Download(x, t)
	return x
}

// randomConfig draws shapes that are small and awkward: widths that are no multiple of anything, groups of 1, 2, 4 and 7.
func randomConfig(t *rapid.T) Config {
	c := Config{
		Arch:         rapid.SampledFrom([]string{Llama, Qwen2, Qwen3}).Draw(t, "arch"),
		Layers:       rapid.IntRange(1, 3).Draw(t, "layers"),
		Hidden:       rapid.IntRange(3, 20).Draw(t, "hidden"),
		KVHeads:      rapid.IntRange(1, 2).Draw(t, "kv heads"),
		HeadDim:      2 * rapid.IntRange(1, 5).Draw(t, "head dim/2"),
		FFN:          rapid.IntRange(1, 20).Draw(t, "ffn"),
		Vocab:        rapid.IntRange(2, 23).Draw(t, "vocab"),
		MaxPositions: 300, RMSEps: 1e-5, RopeTheta: 100,
		Tied:      rapid.Bool().Draw(t, "tied"),
		LMHead:    true,
		ValueHead: rapid.Bool().Draw(t, "value head"),
	}
	c.Heads = c.KVHeads * rapid.SampledFrom([]int{1, 2, 4, 7}).Draw(t, "group")
	if c.ValueHead {
		c.LMHead = rapid.Bool().Draw(t, "lm head")
	}
	switch c.Arch {
	case Qwen2:
		c.QKVBias = true
	default:
		c.QKNorm = c.Arch == Qwen3
		c.QKVBias = rapid.Bool().Draw(t, "bias")
		c.OBias = c.QKVBias
		c.MLPBias = c.Arch == Llama && rapid.Bool().Draw(t, "mlp bias")
	}
	switch c.Rope.Type = rapid.SampledFrom([]string{"", "linear", "llama3", "yarn"}).Draw(t, "rope"); c.Rope.Type {
	case "linear":
		c.Rope.Factor = 3
	case "llama3":
		c.Rope = RopeScaling{Type: "llama3", Factor: 4, OriginalMaxPositions: 40, LowFreqFactor: 1, HighFreqFactor: 4}
	case "yarn":
		c.Rope = RopeScaling{Type: "yarn", Factor: 4, OriginalMaxPositions: 40}
	}
	return c
}

// randomize gives every parameter, norms and biases too, a value that matters.
func randomize(m *Model, seed uint64) {
	m.Init(seed)
	r := newRand(seed)
	for name, t := range m.W.Named() {
		x := download(m, t)
		for i := range x {
			switch parameterKind(name) {
			case normParameter:
				x[i] = float32(1 + 0.3*r.NormFloat64())
			case biasParameter:
				x[i] = float32(0.5 * r.NormFloat64())
			default:
				x[i] = float32(r.NormFloat64() / math.Sqrt(float64(max(m.Config.Hidden, 4))))
			}
		}
		m.dev.Upload(t, x)
	}
}

// randomProblem packs sequences of the given lengths and scores a random subset of their tokens, some of them over random sets.
func randomProblem(t *rapid.T, c Config, lengths []int) problem {
	var p problem
	r := newRand(rapid.Uint64().Draw(t, "data"))
	p.Starts, p.Sets.Starts = []int32{0}, []int32{0}
	truncated := rapid.Bool().Draw(t, "truncated")
	for _, n := range lengths {
		for range n {
			if r.IntN(3) > 0 {
				target := int32(r.IntN(c.Vocab))
				for id := range int32(c.Vocab) {
					if truncated && len(p.Rows)%4 > 0 && (id == target || r.IntN(3) > 0) {
						p.Sets.IDs = append(p.Sets.IDs, id)
					}
				}
				p.Sets.Starts = append(p.Sets.Starts, int32(len(p.Sets.IDs)))
				p.Rows = append(p.Rows, int32(len(p.IDs)))
				p.Target = append(p.Target, target)
				p.Weight = append(p.Weight, float32(r.Float64()))
				p.Return = append(p.Return, float32(r.NormFloat64()))
			}
			p.IDs = append(p.IDs, int32(r.IntN(c.Vocab)))
		}
		p.Starts = append(p.Starts, int32(len(p.IDs)))
	}
	return p
}

// learner runs problems on a model.
type learner struct {
	m                               *Model
	scorer                          *Scorer
	weight, ret, dlogp, dval, stats kernels.Tensor
	loss                            float64 // of the last problem
	logps, values                   []float32
}

func newLearner(m *Model) *learner {
	n := m.Options.MaxTokens
	f := func(n int) kernels.Tensor { return m.dev.Alloc(kernels.F32, n) }
	return &learner{m: m, scorer: NewScorer(m.dev, n), weight: f(n), ret: f(n), dlogp: f(n), dval: f(n), stats: f(kernels.Stats)}
}

// train leaves the problem's gradients in G, added to what is there.
func (l *learner) train(p problem) error { return l.pass(p, true) }

func (l *learner) score(p problem) error { return l.pass(p, false) }

func (l *learner) pass(p problem, train bool) error {
	dev, n := l.m.dev, len(p.Rows)
	l.loss, l.values = 0, make([]float32, n)
	dlogp := make([]float32, n)
	for i, w := range p.Weight {
		dlogp[i] = -w
	}
	if n > 0 {
		dev.Upload(l.weight.Rows(0, n), p.Weight)
		dev.Upload(l.ret.Rows(0, n), p.Return)
		dev.Upload(l.dlogp.Rows(0, n), dlogp)
	}
	l.scorer.Load(p.Target)
	l.scorer.Keep(p.Sets)
	visit := func(h Head) {
		if !h.Logits.Absent() {
			l.scorer.Score(h, 1)
			if train {
				l.scorer.Backward(h, l.dlogp, kernels.Tensor{}, 1)
			}
		}
		if !h.Values.Absent() {
			dev.Download(l.values[h.From:h.To], h.Values)
			if train {
				dev.ValueLoss(h.Of(l.dval), l.stats, h.Values, kernels.Targets{Weight: h.Of(l.weight), Return: h.Of(l.ret)}, 0)
				dev.Copy(h.Values, h.Of(l.dval))
			}
		}
	}
	var err error
	if train {
		err = l.m.Train(p.Inputs, visit)
	} else {
		err = l.m.Score(p.Inputs, visit)
	}
	l.logps = l.scorer.LogProbs()
	for i, w := range p.Weight {
		if l.m.Config.LMHead {
			l.loss -= float64(w) * float64(l.logps[i])
		}
		if l.m.Config.ValueHead {
			d := float64(l.values[i]) - float64(p.Return[i])
			l.loss += 0.5 * float64(w) * d * d
		}
	}
	return err
}

func randomLengths(t *rapid.T, longest int) []int {
	return rapid.SliceOfN(rapid.IntRange(1, longest), 1, 4).Draw(t, "lengths")
}

func sum(x []int) (n int) {
	for _, v := range x {
		n += v
	}
	return n
}

// Every gradient of every parameter against central differences of the float64 model, which shares no code with the kernels.
func TestGradientsMatchFiniteDifferences(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		lengths := randomLengths(t, 7)
		m, err := New(dev, c, Options{MaxTokens: sum(lengths), Train: true, HeadRows: rapid.IntRange(0, 5).Draw(t, "head rows")})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, rapid.Uint64().Draw(t, "weights"))
		p := randomProblem(t, c, lengths)
		l := newLearner(m)
		if err := l.train(p); err != nil {
			t.Fatal(err)
		}
		ref := referenceOf(m)
		want := ref.loss(p)
		if math.Abs(l.loss-want) > 1e-4*(1+math.Abs(want)) {
			t.Fatalf("loss %.6f, float64 says %.6f", l.loss, want)
		}
		pick := newRand(1)
		for name, g := range m.G.Named() {
			got, w := download(m, g), ref.w[name]
			top := 0.0
			for _, v := range got {
				top = max(top, math.Abs(float64(v)))
			}
			for range min(len(got), 12) { // every entry of small tensors is hit over the cases
				i := pick.IntN(len(got))
				const h = 1e-5
				old := w[i]
				w[i] = old + h
				up := ref.loss(p)
				w[i] = old - h
				down := ref.loss(p)
				w[i] = old
				want := (up - down) / (2 * h)
				// Rounding to float32 alone makes 2.5e-4 in a draw whose rows are much smaller than what is taken from them.
				if math.Abs(float64(got[i])-want) > 1e-3*top+2e-5 {
					t.Fatalf("∂loss/∂%s[%d] = %g, differences say %g (largest of the tensor %g)", name, i, got[i], want, top)
				}
			}
		}
	})
}
