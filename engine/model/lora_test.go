package model

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"retool/engine/safetensors"
	"retool/kernels"
	"retool/kernels/emu"
)

var everyTarget = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// The gradient of an adapter is that of the merged weights, by the chain rule: ∂A = s·Bᵀ·∂W, ∂B = s·∂W·Aᵀ. The merged folder, trained
// whole, gives the same numbers by another way.
func TestAdapterGradientsFollowFromTheMergedWeights(t *testing.T) {
	dev := device(t)
	l := LoRA{Rank: 3, Alpha: 5, Targets: everyTarget, RSLoRA: true}
	m := tiny(t, dev, Options{MaxTokens: 16, Train: true, LoRA: l})
	r := newRand(5)
	all := make([]float32, m.Adapter.All.Len())
	for i := range all {
		all[i] = float32(r.NormFloat64() * 0.1)
	}
	dev.Upload(m.Adapter.All, all)
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	full, err := loadFolder(dev, dir, Options{MaxTokens: 16, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	in := Inputs{IDs: []int32{1, 5, 9, 2, 7, 3, 8}, Starts: []int32{0, 4, 7}, Rows: []int32{0, 1, 2, 4, 5}}
	var logits [2][]float32
	for i, x := range []*Model{m, full} {
		if err := x.Train(in, func(h Head) {
			logits[i] = make([]float32, h.Logits.Len())
			dev.Download(logits[i], h.Logits) // the loss is half the sum of squares: its gradient is the logits
		}); err != nil {
			t.Fatal(err)
		}
	}
	near(t, "logits", logits[0], logits[1])
	s := float64(l.scale())
	grads := full.G.modules()
	of := m.G.modules()
	for i, mod := range m.Adapter.modules() {
		w := download(full, grads[i].p.Weight)
		for j, low := range mod.p.low {
			a, b := download(m, low.A), download(m, low.B)
			da, db := make([]float32, len(a)), make([]float32, len(b))
			for n := range low.to - low.from {
				for k := range l.Rank {
					var sum float64
					for x := range mod.in {
						g := s * float64(w[(low.from+n)*mod.in+x])
						sum += g * float64(a[k*mod.in+x])
						da[k*mod.in+x] += float32(g * float64(b[n*l.Rank+k]))
					}
					db[n*l.Rank+k] = float32(sum)
				}
			}
			near(t, low.name+" A", download(m, of[i].p.low[j].A), da)
			near(t, low.name+" B", download(m, of[i].p.low[j].B), db)
		}
	}
}

// near compares within a thousandth of the largest number.
func near(t *testing.T, what string, got, want []float32) {
	t.Helper()
	var most, off float64
	for i := range want {
		most = max(most, math.Abs(float64(want[i])))
		off = max(off, math.Abs(float64(got[i]-want[i])))
	}
	if most == 0 || !(off <= 1e-3*most) {
		t.Errorf("%s: off by %g of %g", what, off, most)
	}
}

// Beside bf16 weights, on a CPU and on a GPU, an adapter is float32, without a master copy: log-probabilities and gradients are those of
// the float32 model with the same numbers, within what bf16 rounds, and Step has the bits of a packed pass. A rank of 3 has rows that no
// kernel copies in whole pieces.
func TestAdaptersBesideBF16Weights(t *testing.T) {
	wgmma, err := kernels.NewGPU(emu.New(emu.Options{Capability: 90, NoCheck: true, Queued: true, Multiprocessors: 132}))
	if err != nil {
		t.Fatal(err)
	}
	defer wgmma.Close()
	c := Config{
		Arch: Qwen2, Layers: 1, Hidden: 64, Heads: 2, KVHeads: 1, HeadDim: 64, FFN: 48, Vocab: 61, QKVBias: true, LMHead: true, ValueHead: true,
		MaxPositions: 256, RMSEps: 1e-6, RopeTheta: 10000, KVChunk: 64,
	}
	for name, dev := range map[string]kernels.Device{"cpu": device(t), "emulated": emulated(t), "Hopper": wgmma} {
		for _, rank := range []int{3, 8} {
			t.Run(fmt.Sprintf("%s, rank %d", name, rank), func(t *testing.T) { adapterAgrees(t, dev, c, rank) })
		}
	}
}

func adapterAgrees(t *testing.T, dev kernels.Device, c Config, rank int) {
	opt := Options{MaxTokens: 75, Train: true, HeadRows: 24, LoRA: LoRA{Rank: rank, Alpha: 7, Targets: everyTarget, RSLoRA: true}}
	exact, err := New(device(t), c, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer exact.Close()
	opt.DType = kernels.BF16
	m, err := New(dev, c, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Adapter.All.DType() != kernels.F32 || m.Master != nil || m.G.All.Len() != m.Adapter.All.Len() {
		t.Fatalf("adapter %v, master copy %v, gradient %v", m.Adapter.All, m.Master, m.G.All)
	}
	randomize(m, 3)
	to := map[string]kernels.Tensor{}
	for name, w := range exact.W.Named() {
		to[name] = w
	}
	for name, w := range m.W.Named() {
		exact.dev.Upload(to[name], download(m, w))
	}
	r := newRand(6)
	adapter := make([]float32, m.Adapter.All.Len())
	for i := range adapter {
		adapter[i] = float32(r.NormFloat64() * 0.1)
	}
	dev.Upload(m.Adapter.All, adapter)
	exact.dev.Upload(exact.Adapter.All, adapter)
	if m.BaseHash() != exact.BaseHash() {
		t.Error("the base's hash depends on the type in memory")
	}

	p := problem{Inputs: Inputs{Starts: []int32{0, 66, 75}}}
	for i := range 75 {
		p.IDs = append(p.IDs, int32(r.IntN(c.Vocab)))
		if i%66 < 60 {
			p.Rows = append(p.Rows, int32(i))
			p.Target, p.Weight = append(p.Target, int32(r.IntN(c.Vocab))), append(p.Weight, 1.0/64)
			p.Return = append(p.Return, float32(r.NormFloat64()))
		}
	}
	got, want := newLearner(m), newLearner(exact)
	for _, l := range []*learner{got, want} {
		if err := l.train(p); err != nil {
			t.Fatal(err)
		}
	}
	if e := relative(got.logps, want.logps); !(e < 0.01) {
		t.Errorf("log-probabilities are off by %.3g", e)
	}
	worst, of := 0.0, exact.G.modules()
	for i, mod := range m.G.modules() {
		for j, low := range mod.p.low {
			for kind, g := range map[string][2]kernels.Tensor{"A": {low.A, of[i].p.low[j].A}, "B": {low.B, of[i].p.low[j].B}} {
				e := relative(download(m, g[0]), download(exact, g[1]))
				if worst = max(worst, e); !(e < 0.08) {
					t.Errorf("gradient of %s %s is off by %.3g", low.name, kind, e)
				}
			}
		}
	}
	t.Logf("worst gradient is off by %.3g", worst)
	stepsAreScored(t, m, p.IDs[:62])
}

func TestAdaptersThatDoNotFitAreNamed(t *testing.T) {
	for want, l := range map[string]LoRA{
		`target "w_proj" is no module`: {Rank: 2, Alpha: 4, Targets: []string{"q_proj", "w_proj"}},
		"rank 17 is larger than":       {Rank: 17, Alpha: 4, Targets: []string{"k_proj"}},
		"alpha is 0":                   {Rank: 2, Targets: []string{"k_proj"}},
		"alpha is -1":                  {Rank: 2, Alpha: -1, Targets: []string{"k_proj"}},
		"alpha is 1e+300":              {Rank: 2, Alpha: 1e300, Targets: []string{"k_proj"}},
		"alpha is 1e-300":              {Rank: 2, Alpha: 1e-300, Targets: []string{"k_proj"}},
		"there is no target":           {Rank: 2, Alpha: 4},
		"nor a regular expression":     {Rank: 2, Alpha: 4, Targets: []string{"(?!k_proj).*"}},
		`target "layers.9.*" is no`:    {Rank: 2, Alpha: 4, Targets: []string{"layers.9.*"}},
	} {
		dev := device(t)
		c, err := Shape("d128")
		if err != nil {
			t.Fatal(err)
		}
		c.HeadDim, c.Heads, c.KVHeads, c.KVChunk = 8, 4, 2, kernels.PageTokens
		if _, err := New(dev, c, Options{MaxTokens: 4, Train: true, LoRA: l}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// An adapter belongs to the weights that the base has now: given others, whoever shares them refuses an adapter of those before, and what
// it writes then names the new ones.
func TestAnAdapterBelongsToTheWeightsThatAreThere(t *testing.T) {
	dev := device(t)
	l := LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}}
	policy := tiny(t, dev, Options{MaxTokens: 4, Train: true, LoRA: l})
	critic, err := New(dev, policy.Config, Options{MaxTokens: 4, Train: true, LoRA: l, Base: policy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(critic.Close)
	others := tiny(t, dev, Options{MaxTokens: 4})
	others.Init(9)
	folder := t.TempDir()
	if err := others.Save(folder); err != nil {
		t.Fatal(err)
	}
	for name, fill := range map[string]func() error{
		"Init": func() error { policy.Init(8); return nil }, "ReadWeights": func() error { return policy.ReadWeights(folder) },
		"CopyFrom": func() error { others.Init(10); return policy.CopyFrom(others) },
	} {
		for who, m := range map[string]*Model{"the base": policy, "a sharer": critic} {
			before, after := t.TempDir(), t.TempDir()
			policy.Init(7)
			if err := m.SaveAdapter(before, "base"); err != nil {
				t.Fatal(err)
			}
			if err := m.ReadAdapter(before); err != nil {
				t.Errorf("%s: its own adapter: %v", who, err)
			}
			if err := fill(); err != nil {
				t.Fatal(err)
			}
			if err := m.ReadAdapter(before); err == nil || !strings.Contains(err.Error(), "another base") {
				t.Errorf("%s after %s: an adapter of other weights is read: %v", who, name, err)
			}
			if err := m.SaveAdapter(after, "base"); err != nil {
				t.Fatal(err)
			}
			f, err := safetensors.Open(filepath.Join(after, adapterFile))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Metadata()[baseHashKey]; got != m.BaseHash() {
				t.Errorf("%s after %s: writes the hash %.12s, its base has %.12s", who, name, got, m.BaseHash())
			}
			f.Close()
		}
	}
}
