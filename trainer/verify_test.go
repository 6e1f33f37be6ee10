package trainer

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// In as many steps as verify_every says, every round of passes is compared with the rollout once, and in each step its share of them.
func TestEveryPassIsVerifiedInTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rl := RL{VerifyEvery: rapid.IntRange(1, 12).Draw(t, "verify_every")}
		first, rounds := rapid.IntRange(0, 1000).Draw(t, "step"), rapid.IntRange(1, 40).Draw(t, "rounds")
		times := make([]int, rounds)
		for step := first; step < first+rl.VerifyEvery; step++ {
			n := 0
			for round := range rounds {
				if rl.verifies(step, round) {
					times[round]++
					n++
				}
			}
			require.InDelta(t, float64(rounds)/float64(rl.VerifyEvery), n, 1)
		}
		require.Equal(t, slices.Repeat([]int{1}, rounds), times)
		require.False(t, RL{}.verifies(first, 0))
	})
}

// A log-probability of the rollout that training does not find again is seen in one of verify_every steps, whichever trajectory has it and
// though it may be no number; the others are not compared in each step.
func TestSampledVerificationFindsAPlantedDifference(t *testing.T) {
	const every = 3
	l := newLab(t, func(c *Config) {
		c.RL.Algorithm, c.RL.Prompts, c.RL.Group = "grpo", 8, 8
		c.RL.VerifyEvery, c.RL.Tokens = every, 48
	})
	p := NewPPO(l.cfg, NewRanks(nil, 1), l.dev, l.policy, nil, nil, l.engine, l, l.tok.Bytes)
	t.Cleanup(p.Close)
	eps, err := p.Sample(context.Background(), 0, slices.Repeat(l.data.Train, 2))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(Pack(eps, l.cfg.RL.Tokens, 1)), every)
	for i, planted := range map[int]float32{0: 1, len(eps) / 2: -0.25, len(eps) - 1: float32(math.NaN())} {
		step := &eps[i].Steps[len(eps[i].Steps)-1]
		was := step.LogProb
		step.LogProb += planted
		found, checked := 0, 0
		for at := range every {
			for _, e := range eps {
				e.Difference = float32(math.NaN())
			}
			s := newStats(p)
			require.NoError(t, p.score(eps, at, s))
			s.scored(eps)
			require.Less(t, s.Checked, predictions(eps))
			checked += s.Checked
			if s.Difference > 0 {
				require.Greater(t, s.Difference, 0.2)
				require.Positive(t, eps[i].Difference)
				found++
			}
		}
		require.Equal(t, 1, found)
		require.Equal(t, predictions(eps), checked)
		step.LogProb = was
	}
}
