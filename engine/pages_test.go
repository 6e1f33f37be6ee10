package engine

import (
	"testing"

	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/emu"
)

// vocabulary is a tokenizer whose texts nobody reads.
type vocabulary int

func (n vocabulary) Size() int        { return int(n) }
func (vocabulary) Bytes(int32) []byte { return nil }

// A GPU's pages are bf16, the CPU's float32: the same memory holds twice as many.
func TestKVMemoryHoldsTwiceAsManyPagesOnAGPU(t *testing.T) {
	gpu, err := kernels.NewGPU(emu.New(emu.Options{Capability: 80}))
	if err != nil {
		t.Fatal(err)
	}
	cpu := kernels.NewCPU(1)
	c := model.Config{
		Arch: model.Qwen2, Layers: 3, Hidden: 64, Heads: 2, KVHeads: 1, HeadDim: 32, FFN: 16, Vocab: 40, MaxPositions: 64,
		RMSEps: 1e-6, RopeTheta: 10000, QKVBias: true, LMHead: true, Tied: true,
	}
	cfg := DefaultConfig()
	cfg.MaxTokens, cfg.StepTokens, cfg.KVMemory = 64, 64, 1
	pages := func(dev kernels.Device, dtype kernels.DType) int {
		defer dev.Close()
		m, err := model.New(dev, c, model.Options{MaxTokens: 64, Positions: 64, DType: dtype})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		e, err := New(m, cfg, vocabulary(c.Vocab), nil, nil, nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.Pages() - 1 // page 0 is never given out
	}
	const layer = 2 * kernels.PageTokens * 32 // numbers of a page: keys and values of one head
	want := 1 << 20 / (3 * layer * 4)
	if got := pages(cpu, kernels.F32); got != want {
		t.Errorf("%d pages on the CPU, want %d", got, want)
	}
	if got := pages(gpu, kernels.BF16); got != 1<<20/(3*layer*2) {
		t.Errorf("%d pages on a GPU, want %d, twice the CPU's", got, 1<<20/(3*layer*2))
	}
}
