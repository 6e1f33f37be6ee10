package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
)

// A plan counts what the program allocates: 8 bytes of moments for each published parameter, and for a policy without a critic 10 more of
// weights, gradients and masters.
func TestPlansCountWhatIsAllocated(t *testing.T) {
	cfg, err := loadConfig("demo", []string{"critic.trunk=own", "engine.max_tokens=160"})
	require.NoError(t, err)
	for name, billions := range map[string]float64{"q05": 0.494, "q15": 1.544, "q3": 3.086, "q7": 7.616, "q32": 32.764} {
		shape, err := model.Shape(name)
		require.NoError(t, err)
		shape.MaxPositions = 1024
		p, err := planned(cfg, shape, 1<<41)
		require.NoError(t, err)
		require.Len(t, p.Parts, 4)
		of := map[string]int64{}
		sum := int64(0)
		for _, x := range p.Parts {
			of[x.Name] = x.Bytes
			sum += x.Bytes
		}
		head := float64(shape.Vocab*shape.Hidden) / 1e9 // the critic has none of its own
		if shape.Tied {
			head = 0
		}
		require.InEpsilon(t, 8*(2*billions-head), float64(of["moments of AdamW, rows of a pass"])/1e9, 0.005, name)
		require.Greater(t, float64(of["policy: weights, gradients, activations"])/1e9, 10*billions, name)
		require.InEpsilon(t, p.Peak, sum, 0.01, name)
	}
}

// A run fits into exactly what its plan says, and not into less.
func TestPlansAreExact(t *testing.T) {
	cfg, err := loadConfig("tiny", nil)
	require.NoError(t, err)
	shape, err := plannedShape(cfg, "")
	require.NoError(t, err)
	p, err := planned(cfg, shape, 1<<33)
	require.NoError(t, err)
	_, err = planned(cfg, shape, p.Peak)
	require.NoError(t, err)
	_, err = planned(cfg, shape, p.Peak-256)
	require.ErrorContains(t, err, "out of memory")
	require.Contains(t, p.Batch, "4 prompts")
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"plan", "tiny", "--memory", "much"}, `--memory "much": want a size such as 80GiB`},
		{[]string{"plan", "tiny", "--memory", "1MiB"}, "plan: it does not fit 1MiB: policy: weights, gradients, activations"},
		{[]string{"plan", "tiny", "--shape", "q8"}, `unknown shape "q8" (known: d128,`},
		{[]string{"plan", "tiny", "--set", "model.path=/no/such"}, "/no/such"},
	} {
		require.Contains(t, refused(t, c.args...), c.want)
	}
	require.Contains(t, retool(t, "plan", "demo", "--json"), `"kv_pages"`)
}
