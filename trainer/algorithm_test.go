package trainer

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
)

// Another algorithm is one value: REINFORCE with the batch's mean as its baseline (Williams 1992) learns the tests' task, and nothing
// else of the package has heard of it.
func TestAnAlgorithmIsOneValue(t *testing.T) {
	losses := 0
	scored := Algorithm{
		Name: "scored", Paper: "Williams 1992", MinGroup: 1,
		Advantages: func(_ RL, eps []*Episode) {
			mean := float32(0)
			for _, e := range eps {
				mean += e.Reward / float32(len(eps))
			}
			for _, e := range eps {
				for i := range e.Steps {
					e.Steps[i].Advantage = e.Reward - mean
				}
			}
		},
		Clip: func(RL) k.Clip {
			losses++ // a ratio that no clip reaches has the gradient of −A·logp on its own policy
			return k.Clip{Low: 0.99, High: 1e9}
		},
	}
	algorithms = append(algorithms, scored)
	t.Cleanup(func() { algorithms = algorithms[:len(algorithms)-1] })

	l := newLab(t, func(c *Config) { c.RL.Algorithm, c.RL.Minibatch, c.RL.Steps = "scored", 32, 80 })
	run, heard := l.run(t.TempDir())
	_, err := run.Train(context.Background())
	require.NoError(t, err)
	require.Positive(t, losses)
	require.Less(t, heard.steps[l.cfg.SFT.Steps].Reward, -0.3)
	require.Greater(t, heard.steps[len(heard.steps)-1].Reward, 0.8)
	require.Contains(t, AlgorithmNames(), "scored")

	c := l.cfg
	c.RL.Algorithm = "sarsa"
	require.ErrorContains(t, c.Validate(), `rl.algorithm: "sarsa" is not known (known: `+strings.Join(AlgorithmNames(), ", ")+")")
}
