package trainer

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	k "retool/kernels"
)

// spoilt is a device whose gradients of the first of two layers are not numbers, from the feed-forward on.
type spoilt struct {
	k.Device
	calls int
}

func (d *spoilt) SwiGLUBackward(dgate, dup, dact, gate, up k.Tensor) {
	if d.calls++; d.calls%2 == 0 { // the second layer comes first
		row := make([]float32, dact.Dim(1))
		row[0] = float32(math.NaN())
		d.Upload(dact.Rows(0, 1), row)
	}
	d.Device.SwiGLUBackward(dgate, dup, dact, gate, up)
}

// The end of a run that has diverged names the rank, the slice, the sequence and the parameter that were first not finite: a gradient of
// one rank's, with weights whole or divided, in both phases; a weight that all ranks have.
func TestFaultsAreNamed(t *testing.T) {
	rl := func(c *Config) { c.SFT.Steps, c.Critic.Warmup = 0, 0 }
	spoil := func(rank int, slice, sequence string) func(t *testing.T, ranks int, edits ...func(*Config)) {
		return func(t *testing.T, ranks int, edits ...func(*Config)) {
			made := 0
			device := func() k.Device {
				if made++; made == rank+1 {
					return &spoilt{Device: k.NewCPU(1)}
				}
				return k.NewCPU(1)
			}
			_, _, err := togetherOn(t, device, model.Options{}, wide, t.TempDir(), ranks, 0, edits...)
			require.ErrorContains(t, err, "1 updates in a row were not finite, rl.max_skipped allows 0; first was, on rank "+fmt.Sprint(rank)+" (")
			require.ErrorContains(t, err, ", slice "+slice+" of 4, "+sequence)
			require.ErrorContains(t, err, ": the gradient of model.layers.0.mlp.up_proj.weight (policy); weights and optimizer")
		}
	}
	none := func(c *Config) { c.RL.MaxSkipped, c.RL.VerifyEvery = 0, 0 }
	for name, c := range map[string]struct {
		ranks int
		test  func(t *testing.T, ranks int, edits ...func(*Config))
		edits []func(*Config)
	}{
		"sft, 1 rank":           {1, spoil(0, "1", "trace "), nil},
		"sft, 2 ranks":          {2, spoil(1, "3", "trace "), nil},
		"sft, 2 ranks, divided": {2, spoil(1, "2", "trace "), []func(*Config){divide}},
		"rl, 1 rank":            {1, spoil(0, "1", "trajectory "), []func(*Config){rl}},
		"rl, 2 ranks":           {2, spoil(1, "3", "trajectory "), []func(*Config){rl}},
		"rl, 2 ranks, divided":  {2, spoil(1, "2", "trajectory "), []func(*Config){rl, divide}},
	} {
		t.Run(name, func(t *testing.T) { c.test(t, c.ranks, append(c.edits, none)...) })
	}
	elsewhere = func(rank int, r *Run) { // this rank's numbers begin where the layer's do
		if exact, _, _ := r.Policy.Own(); rank == 0 {
			r.Policy.Device().Upload(exact.Rows(r.Policy.Units()[1].At, r.Policy.Units()[1].At+1), []float32{float32(math.NaN())})
		}
	}
	_, _, err := together(t, t.TempDir(), 2, 0, none, divide, func(c *Config) { c.Eval.Problems = 0 })
	elsewhere = nil
	require.ErrorContains(t, err, ", slice 1 of 4, trace ")
	require.ErrorContains(t, err, ": the weight of model.layers.0.self_attn.q_proj.weight (policy)")
	for _, ranks := range []int{1, 2} {
		elsewhere = func(_ int, r *Run) {
			w := r.Policy.W.Blocks[1].Down.Weight
			row := make([]float32, w.Dim(1))
			row[3] = float32(math.Inf(1))
			r.Policy.Device().Upload(w.Rows(5, 6), row)
		}
		_, heard, err := together(t, t.TempDir(), ranks, 0, func(c *Config) { c.RL.MaxSkipped, c.Eval.Problems = 1, 0 })
		elsewhere = nil
		for _, says := range []string{"on rank 0 (", ", slice 1 of 4, trace ", ": the weight of model.layers.1.mlp.down_proj.weight (policy)"} {
			require.ErrorContains(t, err, says)
			require.Contains(t, fmt.Sprint(heard.notes), says)
		}
	}
}
