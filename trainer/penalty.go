package trainer

import (
	"fmt"
	"math"
)

// penalise gives each step the negative, weighted divergence from the reference as a reward: rl.kl_in reward (Ouyang 2022, Stiennon 2020).
// It is of the policy that sampled, so a constant of the update. mean is that of the divergence, over steps.
func penalise(eps []*Episode, rl RL) (mean float64) {
	n := float64(predictions(eps))
	for _, e := range eps {
		for i := range e.Steps {
			s := &e.Steps[i]
			d := divergence(rl.KLEstimator, float64(s.Ref)-float64(s.LogProb))
			s.Reward = float32(-rl.KL * d)
			mean += d / n
		}
	}
	return mean
}

// divergence is an estimate of it from x = ln(reference/policy) of a token that the policy drew (Schulman 2020).
func divergence(estimator string, x float64) float64 {
	switch estimator {
	case "k1":
		return -x
	case "k2":
		return x * x / 2
	}
	return math.Exp(x) - 1 - x
}

// Overlong lowers the reward of a response before a budget cuts it off (Yu 2025, DAPO, eq. 13).
type Overlong struct {
	Budget  int     `yaml:"budget" doc:"tokens of a response, the tool's among them, at which the penalty is whole; 0: no penalty"`
	Cache   int     `yaml:"cache" doc:"tokens before the budget over which it rises from 0"`
	Penalty float64 `yaml:"penalty" doc:"what it takes off the reward"`
}

// of is the penalty of a response of n tokens: 0 up to Budget − Cache, then rising linearly to Penalty.
func (o Overlong) of(n int) float64 {
	over := n - (o.Budget - o.Cache)
	switch {
	case o.Budget == 0 || over <= 0:
		return 0
	case n > o.Budget:
		return o.Penalty
	}
	return o.Penalty * float64(over) / float64(o.Cache)
}

func (o Overlong) validate() error {
	switch {
	case o.Budget < 0:
		return fmt.Errorf("reward.overlong.budget: want 0 (no penalty) or a number of tokens, got %d", o.Budget)
	case o.Budget > 0 && (o.Cache < 1 || o.Cache > o.Budget):
		return fmt.Errorf("reward.overlong.cache: want 1 to the %d tokens of reward.overlong.budget, got %d", o.Budget, o.Cache)
	case o.Budget > 0 && o.Penalty <= 0:
		return fmt.Errorf("reward.overlong.penalty: want a positive number, got %g", o.Penalty)
	}
	return nil
}
