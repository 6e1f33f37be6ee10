package model

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels"
)

// Gradients that were forgotten may hold anything: the first pass writes every one of them, in the bits of adding to zeros, and the second
// adds. Where no pass comes, or one without rows, they are zeros.
func TestForgottenGradientsAreWritten(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		lengths := randomLengths(t, 150)
		opt := Options{MaxTokens: sum(lengths), HeadRows: rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "head rows"), Train: true, DType: stored(t)}
		if rapid.Bool().Draw(t, "adapter") {
			opt.LoRA = LoRA{Rank: 1, Alpha: 2, Targets: []string{"q_proj", "v_proj", "down_proj"}}
		}
		block := rapid.SampledFrom([]int{0, 64}).Draw(t, "block")
		writtenAsAdded(t, dev, c, opt, block, randomProblem(t, c, lengths), rapid.Uint64().Draw(t, "weights"))
	})
	gpu := emulated(t)
	c := Config{
		Arch: Qwen2, Layers: 2, Hidden: 32, Heads: 2, KVHeads: 1, HeadDim: 32, FFN: 40, Vocab: 24, MaxPositions: 64, RMSEps: 1e-5, RopeTheta: 100,
		QKVBias: true, LMHead: true, ValueHead: true,
	}
	p := problem{
		Inputs: Inputs{IDs: []int32{1, 2, 3, 4, 5, 6}, Starts: []int32{0, 4, 6}, Rows: []int32{0, 2, 3, 4}}, Target: []int32{7, 8, 9, 10},
		Weight: []float32{0.5, 0.5, 1, 0.25}, Return: []float32{1, -1, 0, 2},
	}
	writtenAsAdded(t, gpu, c, Options{MaxTokens: 16, HeadRows: 3, Train: true, DType: kernels.BF16}, 0, p, 1)
}

// writtenAsAdded trains twice from zeros and from forgotten gradients, and once without rows.
func writtenAsAdded(t rapid.TB, dev kernels.Device, c Config, opt Options, block int, p problem, seed uint64) {
	m, err := New(dev, c, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.block = block
	randomize(m, seed)
	m.InitAdapter(seed)
	fill := func(x float32) {
		for _, g := range m.G.parameters() {
			numbers := make([]float32, g.Len())
			for i := range numbers {
				numbers[i] = x
			}
			m.dev.Upload(g, numbers)
		}
	}
	l := newLearner(m)
	passes := func() (sums [2][]float32) {
		for i := range sums {
			if err := l.train(p); err != nil {
				t.Fatal(err)
			}
			if err := m.SettleGrad(); err != nil { // a problem may have no rows
				t.Fatal(err)
			}
			sums[i] = download(m, m.G.All)
		}
		return sums
	}
	fill(0)
	added := passes()
	fill(float32(math.NaN()))
	m.ForgetGrad()
	for i, written := range passes() {
		for j := range written {
			if math.Float32bits(added[i][j]) != math.Float32bits(written[j]) {
				t.Fatalf("number %d of the gradients is %g after pass %d where they were forgotten, %g where they were cleared",
					j, written[j], i+1, added[i][j])
			}
		}
	}
	m.ForgetGrad()
	none := problem{Inputs: Inputs{IDs: p.IDs, Starts: p.Starts}}
	none.Sets.Starts = []int32{0}
	if err := l.train(none); err != nil {
		t.Fatal(err)
	}
	if err := m.SettleGrad(); err != nil {
		t.Fatal(err)
	}
	for i, g := range download(m, m.G.All) {
		if g != 0 {
			t.Fatalf("gradient %d is %g where no pass came", i, g)
		}
	}
}
