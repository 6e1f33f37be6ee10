package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/emu"
)

func emulated(t *testing.T) *kernels.GPU {
	dev, err := kernels.NewGPU(emu.New(emu.Options{Capability: 80}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// What is measured on a GPU is run on the emulated one, under its checker, and compared with the CPU.
func TestSmokeComparesEveryOperation(t *testing.T) {
	rows, err := Smoke(emulated(t), SmokeCases(), GPUOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(SmokeCases()) {
		t.Errorf("%d rows of %d cases", len(rows), len(SmokeCases()))
	}
	for _, r := range rows {
		if !r.OK {
			t.Errorf("%s %s is off by %v", r.Op, r.Shape, r.Error)
		}
	}
	have := map[string]bool{"append kv": true} // paged attention reads what it wrote
	for _, c := range SmokeCases() {
		have[c.Op] = true
	}
	for _, c := range GPUCases() {
		if !have[c.Op] {
			t.Errorf("%s is measured and not checked", c.Op)
		}
	}
}

// What is measured end to end on a GPU runs on the emulated one: bf16 weights, sequences that share a prompt.
func TestRolloutAndTrainRunOnAGPU(t *testing.T) {
	dev := emulated(t)
	c := model.Config{
		Arch: model.Qwen2, Layers: 1, Hidden: 32, Heads: 2, KVHeads: 1, HeadDim: 16, FFN: 48, Vocab: 40, MaxPositions: 64,
		RMSEps: 1e-6, RopeTheta: 10000, QKVBias: true, LMHead: true, Tied: true,
	}
	l := load{dtype: kernels.BF16, tokens: 32, prefill: 24, prompt: 9, sampled: 3, shared: 2, batches: []int{1, 3}, pass: 64}
	o := Options{Budget: 1, Floor: &Floor{Threads: 4, FLOPs: 1e12, Read: 1e12}}
	l.lengths = []int{16}
	trained, err := trainRows(t.Context(), dev, "tiny", c, l, o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.New(dev, c, model.Options{MaxTokens: l.pass, Positions: 64, DType: l.dtype})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Init(1)
	rows, err := rolloutRows(t.Context(), m, "tiny", l, o)
	if err != nil {
		t.Fatal(err)
	}
	var shapes []string
	for _, r := range append(rows, trained...) {
		shapes = append(shapes, r.Op+" "+r.Shape)
		if !(r.Value > 0) || !(r.OfPeak > 0) {
			t.Errorf("implausible row %+v", r)
		}
	}
	if want := []string{"prefill tiny pp24", "decode tiny B1 ctx10", "decode tiny B3 ctx10", "train tiny T32 S16"}; !slices.Equal(shapes, want) {
		t.Errorf("rows are %q, want %q", shapes, want)
	}
}

// Measuring, from the ceilings to the table, on a GPU whose events mean nothing.
func TestGPUKernelsMakesRows(t *testing.T) {
	was := gpuSizes
	gpuSizes.flush, gpuSizes.copied = 1<<12, 1<<12
	defer func() { gpuSizes = was }()
	cases := []Case{newCase("h1", "linear", dims{"T": 16, "N": 16, "M": 16}), newCase("f1", "add", dims{"T": 4, "C": 16})}
	var peers Peers
	if err := json.Unmarshal([]byte(`{"torch":"2.11","matrix_tflop_s":700,"rows":[
		{"op":"add","shape":"T 4 C 16","peer":"slow","us":3e9},{"op":"add","shape":"T 4 C 16","peer":"torch","us":2e9},{"op":"add","shape":"T 5 C 16","peer":"other","us":1}]}`), &peers); err != nil {
		t.Fatal(err)
	}
	ceil, rows, err := GPUKernels(emulated(t), cases, GPUOptions{Peers: &peers})
	if err != nil {
		t.Fatal(err)
	}
	if ceil.Matrix != 700 || !(ceil.Copy > 0) || ceil.GPU == "" || ceil.Driver == "" {
		t.Errorf("ceilings are %+v", ceil)
	}
	if len(rows) != 2 || rows[1].Peer != "torch" || !(rows[1].Ratio > 1) || rows[0].Peer != "" {
		t.Fatalf("rows are %+v", rows)
	}
	for _, r := range rows {
		if !(r.Low <= r.Median && r.Median <= r.High && r.Low > 0) || !(r.OfPeak > 0) || r.OfPeak != r.Floor/r.Median {
			t.Errorf("implausible row %+v", r)
		}
	}
	text, err := json.Marshal(rows[0])
	if err != nil || !strings.HasPrefix(string(text), `{"op":"linear","shape":"T 16 N 16 M 16","value":`) || !strings.Contains(string(text), `"of_peak":`) {
		t.Errorf("%s, %v", text, err)
	}
	var out bytes.Buffer
	PrintGPU(&out, rows)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "× torch") }) {
		t.Errorf("table:\n%s", out.String())
	}
	for _, l := range lines {
		if strings.Count(l, "|") != 12 {
			t.Errorf("%d cells in %q", strings.Count(l, "|")-1, l)
		}
	}
}

// Work is counted by hand for two cases, and every case has some.
func TestCasesCountTheirWork(t *testing.T) {
	for _, c := range GPUCases() {
		if c.FLOP+c.Bytes <= 0 || math.IsNaN(c.FLOP+c.Bytes) || c.Shape() == "" || c.Goal == "" {
			t.Errorf("%+v", c)
		}
	}
	// One sequence of two tokens, one head of size 1: three pairs, two products of one multiply-add each.
	if c := newCase("", "attention", dims{"S": 1, "L": 2, "H": 1, "K": 1, "D": 1}); c.FLOP != 12 || c.Bytes != 2*2*4 {
		t.Errorf("attention: %v flop, %v bytes", c.FLOP, c.Bytes)
	}
	// Two new tokens after one: they look at 2 and 3 keys.
	if c := newCase("", "paged attention", dims{"B": 1, "L": 3, "new": 2, "H": 1, "K": 1, "D": 1}); c.FLOP != 4*5 {
		t.Errorf("paged attention: %v flop", c.FLOP)
	}
	if got := newCase("", "linear", dims{"M": 3, "T": 1, "N": 2}).Shape(); got != "T 1 N 2 M 3" {
		t.Errorf("shape is %q", got)
	}
}
