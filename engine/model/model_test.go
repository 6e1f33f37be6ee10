package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels"
)

// device is a CPU of two threads for one test.
func device(t *testing.T) kernels.Device {
	dev := kernels.NewCPU(2)
	t.Cleanup(func() { dev.Close() })
	return dev
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 17)) }

// stored draws what a model's weights and activations are.
func stored(t *rapid.T) kernels.DType {
	return rapid.SampledFrom([]kernels.DType{kernels.F32, kernels.BF16}).Draw(t, "stored")
}

// tiny is a fixed model for tests that are not about shapes.
func tiny(t testing.TB, dev kernels.Device, opt Options) *Model {
	m, err := New(dev, Config{
		Arch: Qwen3, Layers: 2, Hidden: 24, Heads: 4, KVHeads: 2, HeadDim: 8, FFN: 40, Vocab: 61, MaxPositions: 512,
		RMSEps: 1e-6, RopeTheta: 10000, QKNorm: true, LMHead: true, KVChunk: 64,
	}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	randomize(m, 3)
	return m
}

func equalBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// Neither recomputation nor the blocks that tokens go through a layer in change a gradient's bits.
func TestRecomputedGradientsAreEqual(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		lengths := randomLengths(t, 150)
		p := randomProblem(t, c, lengths)
		seed, dtype := rapid.Uint64().Draw(t, "weights"), stored(t)
		var grads [3][]float32
		for i := range grads {
			m, err := New(dev, c, Options{MaxTokens: sum(lengths), Train: true, Recompute: i == 1, DType: dtype})
			if err != nil {
				t.Fatal(err)
			}
			if m.block = 0; i == 2 {
				m.block = 64
			}
			randomize(m, seed)
			if err := newLearner(m).train(p); err != nil {
				t.Fatal(err)
			}
			grads[i] = download(m, m.G.All)
			m.Close()
		}
		if !equalBits(grads[0], grads[1]) {
			t.Fatal("gradients differ with recomputation")
		}
		if !equalBits(grads[0], grads[2]) {
			t.Fatal("gradients differ with blocks of tokens")
		}
	})
}

// A token's log-probability and value are the same bits alone and packed, whatever the number of head rows and MaxTokens, with and
// without a backward.
func TestLogProbsIgnorePacking(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		lengths := randomLengths(t, 150)
		p := randomProblem(t, c, lengths)
		seed, dtype := rapid.Uint64().Draw(t, "weights"), stored(t)
		together, err := New(dev, c, Options{MaxTokens: sum(lengths) + 5, Train: true, DType: dtype})
		if err != nil {
			t.Fatal(err)
		}
		defer together.Close()
		randomize(together, seed)
		alone, err := New(dev, c, Options{MaxTokens: slices.Max(lengths), HeadRows: rapid.IntRange(1, 9).Draw(t, "head rows"), DType: dtype})
		if err != nil {
			t.Fatal(err)
		}
		defer alone.Close()
		randomize(alone, seed)

		a, b, scored := newLearner(together), newLearner(alone), newLearner(together)
		if err := a.train(p); err != nil {
			t.Fatal(err)
		}
		if err := scored.score(p); err != nil {
			t.Fatal(err)
		}
		if !equalBits(a.logps, scored.logps) || !equalBits(a.values, scored.values) {
			t.Fatal("Train and Score differ")
		}
		row := 0
		for s := range lengths {
			one := problem{Inputs: Inputs{IDs: p.IDs[p.Starts[s]:p.Starts[s+1]], Starts: []int32{0, int32(lengths[s])}}}
			from := row
			one.Sets.Starts = []int32{0}
			for ; row < len(p.Rows) && p.Rows[row] < p.Starts[s+1]; row++ {
				one.Rows = append(one.Rows, p.Rows[row]-p.Starts[s])
				one.Sets.IDs = append(one.Sets.IDs, p.Sets.IDs[p.Sets.Starts[row]:p.Sets.Starts[row+1]]...)
				one.Sets.Starts = append(one.Sets.Starts, int32(len(one.Sets.IDs)))
			}
			one.Target, one.Weight, one.Return = p.Target[from:row], p.Weight[from:row], p.Return[from:row]
			if err := b.score(one); err != nil {
				t.Fatal(err)
			}
			if !equalBits(a.logps[from:row], b.logps) || !equalBits(a.values[from:row], b.values) {
				t.Fatalf("sequence %d of %v scores otherwise when alone", s, lengths)
			}
		}
	})
}

func TestGradientsAddUp(t *testing.T) {
	dev := device(t)
	m := tiny(t, dev, Options{MaxTokens: 64, Train: true})
	p := problem{
		Inputs: Inputs{IDs: []int32{1, 2, 3, 4}, Starts: []int32{0, 4}, Rows: []int32{1, 2}}, Target: []int32{7, 8},
		Weight: []float32{0.5, 0.5}, Return: []float32{0, 0},
	}
	l := newLearner(m)
	if err := l.train(p); err != nil {
		t.Fatal(err)
	}
	once := download(m, m.G.All)
	if err := l.train(p); err != nil {
		t.Fatal(err)
	}
	for i, g := range download(m, m.G.All) {
		if d := math.Abs(float64(g - 2*once[i])); d > 1e-5 {
			t.Fatalf("gradient %d is %g after two passes, %g after one", i, g, once[i])
		}
	}
}

// A token that is no row still conditions the ones after it, but what its head would say is never computed.
func TestOnlyRowsReachTheHead(t *testing.T) {
	dev := device(t)
	m := tiny(t, dev, Options{MaxTokens: 64, Train: true, HeadRows: 4})
	in := Inputs{IDs: make([]int32, 40), Starts: []int32{0, 30, 40}, Rows: []int32{3, 4, 5, 17, 29, 31}}
	var seen []int
	none := func(h Head) {
		if h.Logits.Dim(0) != h.To-h.From || h.Logits.Dim(1) != m.Config.Vocab || !h.Values.Absent() {
			t.Errorf("rows %d to %d: logits %v, values %v", h.From, h.To, h.Logits, h.Values)
		}
		seen = append(seen, h.From, h.To)
		dev.Zero(h.Logits)
	}
	if err := m.Train(in, none); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 4, 4, 6}; !slices.Equal(seen, want) {
		t.Errorf("heads of rows %v, want %v", seen, want)
	}
	for i, g := range download(m, m.G.All) {
		if g != 0 {
			t.Fatalf("gradient %d is %g, the loss left zeros", i, g)
		}
	}
	in.Rows = nil
	if err := m.Train(in, func(Head) { t.Error("loss called without rows") }); err != nil {
		t.Error(err)
	}
}

func TestInitDependsOnTheSeedAlone(t *testing.T) {
	c, err := Shape("d128")
	if err != nil {
		t.Fatal(err)
	}
	c.ValueHead = true
	build := func(c Config, threads int, seed uint64) *Model {
		dev := kernels.NewCPU(threads)
		t.Cleanup(func() { dev.Close() })
		m, err := New(dev, c, Options{MaxTokens: 1 + threads})
		if err != nil {
			t.Fatal(err)
		}
		m.Init(seed)
		return m
	}
	a, b, other := build(c, 1, 5), build(c, 2, 5), build(c, 1, 6)
	if !equalBits(download(a, a.W.All), download(b, b.W.All)) {
		t.Error("weights differ with another number of threads")
	}
	if equalBits(download(a, a.W.All), download(other, other.W.All)) {
		t.Error("two seeds give the same weights")
	}
	if n := a.Parameters(); n != 918656+128 {
		t.Errorf("d128 with a value head has %d parameters, want 918784", n)
	}
	deviation := func(m *Model, t kernels.Tensor) float64 {
		sum, x := 0.0, download(m, t)
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		return math.Sqrt(sum / float64(len(x)))
	}
	for _, x := range []struct {
		name string
		t    kernels.Tensor
		want float64
	}{
		{"embedding", a.W.Embed, 0.02}, {"qkv", a.W.Blocks[1].QKV.Weight, 0.02}, {"gate, up", a.W.Blocks[3].GateUp.Weight, 0.02},
		{"o", a.W.Blocks[1].O.Weight, 0.02 / math.Sqrt(8)}, {"down", a.W.Blocks[2].Down.Weight, 0.02 / math.Sqrt(8)},
		{"norm", a.W.Norm, 1}, {"value head", a.W.Value.Weight, 0},
	} {
		if got := deviation(a, x.t); math.Abs(got-x.want) > 0.02*x.want {
			t.Errorf("deviation of %s is %.5f, want %.5f", x.name, got, x.want)
		}
	}
	// A critic has the trunk of the policy of its seed.
	c.LMHead = false
	critic := build(c, 1, 5)
	if !equalBits(download(a, a.W.Blocks[0].Down.Weight), download(critic, critic.W.Blocks[0].Down.Weight)) {
		t.Error("a model without a language-model head has another trunk")
	}
}

// Views cover the parameters once, decay can tell matrices from vectors, and gradients have the same layout.
func TestWeightsAreOneAllocation(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(dev, randomConfig(t), Options{MaxTokens: 3, Train: true})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.W.Matrices.Len()+m.W.Vectors.Len() != m.W.All.Len() || m.G.All.Len() != m.W.All.Len() {
			t.Fatalf("all %v, matrices %v, vectors %v, gradients %v", m.W.All, m.W.Matrices, m.W.Vectors, m.G.All)
		}
		seen := map[string]bool{}
		for name, w := range m.W.Named() {
			if seen[name] {
				t.Fatalf("%s comes twice", name)
			}
			seen[name] = true
			ones := make([]float32, w.Len())
			for i := range ones {
				ones[i] = 1
			}
			m.dev.Upload(w, ones)
			vector := strings.HasSuffix(name, ".bias") || strings.HasSuffix(name, "norm.weight")
			if vector != (w.Rank() == 1) {
				t.Fatalf("%s is %v", name, w)
			}
		}
		count := func(x []float32) (n int) {
			for _, v := range x {
				n += int(v)
			}
			return n
		}
		all, vectors := count(download(m, m.W.All)), count(download(m, m.W.Vectors))
		if all != m.Parameters() {
			t.Fatalf("the views cover %d numbers, there are %d parameters", all, m.Parameters())
		}
		want := 0
		for _, w := range m.W.Named() {
			if w.Rank() == 1 {
				want += w.Len()
			}
		}
		if vectors != want {
			t.Fatalf("the vectors' view holds %d numbers, want %d", vectors, want)
		}
	})
}

func TestCopyFromTakesTheTrunk(t *testing.T) {
	dev := device(t)
	c := Config{Arch: Llama, Layers: 2, Hidden: 8, Heads: 2, KVHeads: 1, HeadDim: 4, FFN: 12, Vocab: 11, MaxPositions: 32,
		RMSEps: 1e-6, RopeTheta: 10000, LMHead: true}
	build := func(c Config) *Model {
		m, err := New(dev, c, Options{MaxTokens: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		return m
	}
	policy := build(c)
	randomize(policy, 9)
	reference := build(c)
	if err := reference.CopyFrom(policy); err != nil {
		t.Fatal(err)
	}
	if !equalBits(download(policy, policy.W.All), download(reference, reference.W.All)) {
		t.Error("a reference differs from its policy")
	}
	c.LMHead, c.ValueHead = false, true
	critic := build(c)
	if err := critic.CopyFrom(policy); err != nil {
		t.Fatal(err)
	}
	if !equalBits(download(policy, policy.W.Blocks[1].GateUp.Weight), download(critic, critic.W.Blocks[1].GateUp.Weight)) {
		t.Error("a critic's trunk differs from its policy's")
	}
	c.FFN++
	if err := build(c).CopyFrom(policy); err == nil || !strings.Contains(err.Error(), "gate_proj") {
		t.Errorf("another feed-forward size: error %v", err)
	}
}

func TestBadBatchesAreNamed(t *testing.T) {
	dev := device(t)
	m := tiny(t, dev, Options{MaxTokens: 8, Positions: 6, Train: true})
	for _, c := range []struct {
		want string
		in   Inputs
	}{
		{"9 tokens, must be 1 to 8", Inputs{IDs: make([]int32, 9), Starts: []int32{0, 9}}},
		{"0 tokens", Inputs{Starts: []int32{0}}},
		{"starts [0 3]", Inputs{IDs: make([]int32, 4), Starts: []int32{0, 3}}},
		{"starts []", Inputs{IDs: make([]int32, 4)}},
		{"sequence 1 starts at 2 and ends at 2", Inputs{IDs: make([]int32, 4), Starts: []int32{0, 2, 2, 4}}},
		{"sequence 0 has 7 tokens, the model has 6 positions", Inputs{IDs: make([]int32, 7), Starts: []int32{0, 7}}},
		{"token 1 has id 61, outside the vocabulary of 61", Inputs{IDs: []int32{0, 61}, Starts: []int32{0, 2}}},
		{"id -1", Inputs{IDs: []int32{-1}, Starts: []int32{0, 1}}},
		{"row 0 is token 2 of a batch of 2", Inputs{IDs: []int32{0, 1}, Starts: []int32{0, 2}, Rows: []int32{2}}},
		{"rows must ascend", Inputs{IDs: []int32{0, 1}, Starts: []int32{0, 2}, Rows: []int32{1, 1}}},
	} {
		for name, err := range map[string]error{"Train": m.Train(c.in, func(Head) {}), "Score": m.Score(c.in, func(Head) {})} {
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "model: "+name) {
				t.Errorf("%s: error %v, want %q", name, err, c.want)
			}
		}
	}
	if err := tiny(t, dev, Options{MaxTokens: 8}).Train(Inputs{IDs: []int32{1}, Starts: []int32{0, 1}}, nil); err == nil {
		t.Error("Train without gradients is no error")
	}
}

func TestBadConfigsAreNamed(t *testing.T) {
	good, err := Shape("d128")
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"num_hidden_layers is 0":  func(c *Config) { c.Layers = 0 },
		"hidden_size is -4":       func(c *Config) { c.Hidden = -4 },
		"hidden_layers is 5000, ": func(c *Config) { c.Layers = 5000 },
		"4 heads are no multiple": func(c *Config) { c.KVHeads = 3 },
		"head size 7 is odd":      func(c *Config) { c.HeadDim = 7 },
		"unknown architecture":    func(c *Config) { c.Arch = "GPT2LMHeadModel" },
		"KV chunk 100":            func(c *Config) { c.KVChunk = 100 },
		"no head":                 func(c *Config) { c.LMHead = false },
		`unknown rope type "ntk"`: func(c *Config) { c.Rope.Type = "ntk" },
		"factor is 0.5":           func(c *Config) { c.Rope = RopeScaling{Type: "linear", Factor: 0.5} },
		"low_freq_factor 4": func(c *Config) {
			c.Rope = RopeScaling{Type: "llama3", Factor: 2, OriginalMaxPositions: 8, LowFreqFactor: 4, HighFreqFactor: 1}
		},
		"has no QK-norm":           func(c *Config) { c.QKNorm = true },
		"nowhere else":             func(c *Config) { c.Arch = Qwen2 },
		"epsilon is 0":             func(c *Config) { c.RMSEps = 0 },
		"original_max_position_em": func(c *Config) { c.Rope = RopeScaling{Type: "yarn", Factor: 2} },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// Ten steps of a small model on fixed data, AdamW and all. A change of the numbers is a change of the mathematics: the tolerance
// covers the order of sums on other processors and nothing else.
func TestLossesOfTheEmbeddedRun(t *testing.T) {
	want := []float64{5.02577, 4.68089, 4.51334, 4.48102, 4.27596, 4.34362, 4.04525, 3.93604, 3.80320, 3.71837}
	for _, variant := range []string{"go", "avx2", "avx512", "avx512bf16"} {
		t.Run(variant, func(t *testing.T) {
			dev, err := kernels.NewCPUVariant(2, variant)
			if err != nil {
				t.Skip(err)
			}
			defer dev.Close()
			got := embeddedRun(t, dev)
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-3 {
					t.Fatalf("losses %.5f, want %.5f", got, want)
				}
			}
		})
	}
}

// embeddedRun is the losses of ten steps.
func embeddedRun(t *testing.T, dev kernels.Device) (losses []float64) {
	c, err := Shape("d128")
	if err != nil {
		t.Fatal(err)
	}
	c.Layers, c.Hidden, c.HeadDim, c.FFN, c.Vocab, c.Tied = 2, 64, 16, 192, 150, false
	m, err := New(dev, c, Options{MaxTokens: 256, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Init(1)
	l := newLearner(m)
	n := m.W.All.Len()
	m1, m2 := dev.Alloc(kernels.F32, n), dev.Alloc(kernels.F32, n)

	// Sequences that repeat themselves: what follows a token is learnt first, then copying.
	r := newRand(2)
	for step := range 10 {
		var p problem
		p.Starts = []int32{0}
		for len(p.IDs) < 256 {
			period := 3 + r.IntN(6)
			base := int32(r.IntN(40))
			for i := range 32 {
				id := base + 7*int32(i%period)
				if i > 0 {
					p.Rows, p.Target = append(p.Rows, int32(len(p.IDs)-1)), append(p.Target, id)
				}
				p.IDs = append(p.IDs, id)
			}
			p.Starts = append(p.Starts, int32(len(p.IDs)))
		}
		for range p.Rows {
			p.Weight, p.Return = append(p.Weight, 1/float32(len(p.Rows))), append(p.Return, 0)
		}
		m.ForgetGrad()
		if err := l.train(p); err != nil {
			t.Fatal(err)
		}
		losses = append(losses, l.loss)
		step := kernels.AdamWStep{LR: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Scale: 1, Step: step + 1}
		if err := dev.Do(func() { dev.AdamW(m.W.All, kernels.Tensor{}, m.G.All, m1, m2, step) }); err != nil {
			t.Fatal(err)
		}
	}
	return losses
}
