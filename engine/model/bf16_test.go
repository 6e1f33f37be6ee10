package model

import (
	"fmt"
	"math"
	"testing"

	"retool/kernels"
	"retool/kernels/emu"
)

// emulated is a GPU in Go: the kernels that ship. Their memory and races are checked in package kernels.
func emulated(t *testing.T) kernels.Device {
	dev, err := kernels.NewGPU(emu.New(emu.Options{Capability: 80, NoCheck: true, Queued: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// relative is ‖a − b‖ / ‖b‖.
func relative(a, b []float32) float64 {
	var d, n float64
	for i := range b {
		d += math.Pow(float64(a[i])-float64(b[i]), 2)
		n += math.Pow(float64(b[i]), 2)
	}
	if n == 0 {
		return math.Sqrt(d)
	}
	return math.Sqrt(d / n)
}

// What a GPU trains, and a CPU if told to: bf16 weights and activations. Logits, values, loss and all gradients are those of the CPU's
// float32 model with the same weights, within what bf16 rounds; and what Step records for a token is what a packed pass computes for it,
// bit for bit.
func TestBF16ModelsAgreeWithFloat32(t *testing.T) {
	devices := map[string]kernels.Device{"emulated": emulated(t), "cpu": device(t)} // one emulated: it compiles its kernels on first use
	for _, variant := range []string{"sm80", "sm90a"} {
		g, err := kernels.OpenGPU(0)
		if err != nil {
			break
		}
		t.Cleanup(func() { g.Close() })
		if variant == "sm80" || g.Hopper() == nil {
			devices["hardware "+variant] = g
		}
	}
	for _, c := range []Config{
		{Arch: Qwen3, Layers: 2, Hidden: 32, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 48, Vocab: 61, QKNorm: true, LMHead: true, ValueHead: true},
		{Arch: Qwen2, Layers: 1, Hidden: 48, Heads: 3, KVHeads: 1, HeadDim: 16, FFN: 40, Vocab: 50, QKVBias: true, LMHead: true, Tied: true},
	} {
		c.MaxPositions, c.RMSEps, c.RopeTheta, c.KVChunk = 256, 1e-6, 10000, 64
		t.Run(c.Arch, func(t *testing.T) {
			for name, gpu := range devices {
				t.Run(name, func(t *testing.T) { bf16Agrees(t, gpu, c) })
			}
		})
	}
}

func bf16Agrees(t *testing.T, dev kernels.Device, c Config) {
	lengths := []int{66, 9}
	opt := Options{MaxTokens: sum(lengths), Train: true, HeadRows: 24}
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
	if m.W.All.DType() != kernels.BF16 || m.Master.All.DType() != kernels.F32 || m.G.All.DType() != kernels.F32 ||
		m.b.acts[0].gateUp.DType() != kernels.BF16 {
		t.Fatalf("weights %v, master %v, gradients %v, activations %v", m.W.All, m.Master.All, m.G.All, m.b.acts[0].gateUp)
	}
	randomize(m, 3) // W alone: its numbers are bf16's
	for name, w := range m.W.Named() {
		for other, to := range exact.W.Named() {
			if other == name {
				exact.dev.Upload(to, download(m, w))
			}
		}
	}

	p := problem{Inputs: Inputs{Starts: []int32{0, 66, 75}}}
	r := newRand(5)
	for i := range 75 {
		p.IDs = append(p.IDs, int32(r.IntN(c.Vocab)))
		if i%66 < 60 {
			p.Rows = append(p.Rows, int32(i))
			p.Target = append(p.Target, int32(r.IntN(c.Vocab)))
			p.Weight = append(p.Weight, 1.0/64)
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
	if math.Abs(got.loss-want.loss) > 0.005*math.Abs(want.loss) {
		t.Errorf("loss %v, float32 says %v", got.loss, want.loss)
	}
	if c.ValueHead {
		if e := relative(got.values, want.values); !(e < 0.03) {
			t.Errorf("values are off by %.3g", e)
		}
	}
	grads := map[string]kernels.Tensor{}
	for name, g := range m.G.Named() {
		grads[name] = g
	}
	worst := 0.0
	for name, g := range exact.G.Named() {
		e := relative(download(m, grads[name]), download(exact, g))
		worst = max(worst, e)
		if !(e < 0.08) {
			t.Errorf("gradient of %s is off by %.3g", name, e)
		}
	}
	t.Logf("worst gradient is off by %.3g", worst)

	stepsAreScored(t, m, p.IDs[:62])

	// A step too small for bf16 to show is not lost: the master copy moves, and is what a folder keeps.
	if err := m.CopyFrom(finer(t, m)); err != nil {
		t.Fatal(err)
	}
	n := m.W.All.Len()
	m1, m2 := dev.Alloc(kernels.F32, n), dev.Alloc(kernels.F32, n)
	before := download(m, m.Master.All)
	if err := dev.Do(func() {
		dev.AdamW(m.W.All, m.MasterAll(), m.G.All, m1, m2, kernels.AdamWStep{LR: 1e-6, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: 1})
	}); err != nil {
		t.Fatal(err)
	}
	after := download(m, m.Master.All)
	moved := 0
	for i := range after {
		if after[i] != before[i] {
			moved++
		}
	}
	if moved < n/4 {
		t.Errorf("%d of %d master weights moved", moved, n)
	}
	for i, w := range download(m, m.W.All) {
		if bits := math.Float32bits(after[i]); math.Abs(float64(w-after[i])) > math.Ldexp(math.Abs(float64(after[i])), -8) {
			t.Fatalf("weight %d is %v, its master %v (%08x)", i, w, after[i], bits)
		}
	}
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	back, err := loadFolder(dev, dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if !equalBits(download(back, back.Master.All), after) || !equalBits(download(back, back.W.All), download(m, m.W.All)) {
		t.Error("a folder does not give master copy and weights back")
	}
}

// finer is a float32 model on m's device with weights that bf16 does not have.
func finer(t *testing.T, m *Model) *Model {
	x, err := New(m.dev, m.Config, Options{MaxTokens: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	randomize(x, 4)
	return x
}

func TestModelsOfOtherTypesAreRefused(t *testing.T) {
	dev := device(t)
	_, err := New(dev, tiny(t, dev, Options{MaxTokens: 8}).Config, Options{MaxTokens: 8, DType: kernels.I32})
	if err == nil || err.Error() != "model: weights of i32: must be f32 or bf16" {
		t.Error(fmt.Sprint(err))
	}
}

// stepsAreScored draws four tokens behind a prompt, into a second page, and holds the log-probabilities that were recorded against those
// of one pass over all.
func stepsAreScored(t *testing.T, m *Model, prompt []int32) {
	t.Helper()
	if err := m.OpenKV(2); err != nil {
		t.Fatal(err)
	}
	ids := append([]int32(nil), prompt...)
	var recorded []float32
	feed := Feed{IDs: ids, Pages: []int32{1, 0}, Key: 9, Draw: true}
	for range 4 {
		next, logp, err := m.Step([]Feed{feed}, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1})
		if err != nil {
			t.Fatal(err)
		}
		recorded = append(recorded, logp[0])
		feed.Pos, feed.IDs = len(ids), []int32{next[0]}
		ids = append(ids, next[0])
	}
	scored, err := scoreLogProbs(m, ids, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !equalBits(scored[len(prompt)-1:], recorded) {
		t.Errorf("recorded %v\nscored   %v", recorded, scored[len(prompt)-1:])
	}
}
