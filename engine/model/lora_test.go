package model

import (
	"math"
	"strings"
	"testing"

	"retool/kernels"
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

func TestAdaptersThatDoNotFitAreNamed(t *testing.T) {
	for want, l := range map[string]LoRA{
		`target "w_proj" is no module`: {Rank: 2, Alpha: 4, Targets: []string{"q_proj", "w_proj"}},
		"rank 17 is larger than":       {Rank: 17, Alpha: 4, Targets: []string{"k_proj"}},
		"want a rank":                  {Rank: 2, Targets: []string{"k_proj"}},
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
