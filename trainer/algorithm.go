package trainer

import (
	"fmt"
	"slices"

	k "retool/kernels"
)

// An Algorithm is one way to learn from graded trajectories. Each is a value; nothing else in this package knows its name.
type Algorithm struct {
	Name  string
	Paper string // where it is from

	Values   bool // it learns a value function beside the policy, from Step.Return
	MinGroup int  // fewest trajectories of a prompt that it can compare

	// Advantages fills Step.Advantage of a step's episodes, and Step.Return with Values. Their Value is filled where there is one.
	Advantages func(rl RL, eps []*Episode)

	// Loss leaves ∂loss/∂logp of a pass's rows in dlogp and adds to stats, as Device.PolicyLoss says; nil: that operation, clipped.
	Loss func(dev k.Device, dlogp, stats, logp k.Tensor, t k.Targets, rl RL)
}

// algorithms are those that rl.algorithm can name.
var algorithms = []Algorithm{ppo, grpo}

// ppo is ReTool's: the clipped objective with a learnt baseline.
var ppo = Algorithm{
	Name: "ppo", Paper: "Schulman 2017, arXiv 1707.06347; GAE: Schulman 2016, arXiv 1506.02438", Values: true, MinGroup: 1,
	Advantages: func(rl RL, eps []*Episode) {
		for _, e := range eps {
			GAE(e, rl.Gamma, rl.Lambda)
		}
		if rl.Whiten {
			Whiten(eps)
		}
	},
}

// grpo compares the trajectories of one prompt instead.
var grpo = Algorithm{
	Name: "grpo", Paper: "Shao 2024, arXiv 2402.03300", MinGroup: 2,
	Advantages: func(_ RL, eps []*Episode) { GroupBaseline(eps) },
}

// algorithm is the one of that name.
func algorithm(name string) (Algorithm, error) {
	i := slices.IndexFunc(algorithms, func(a Algorithm) bool { return a.Name == name })
	if i < 0 {
		return Algorithm{}, unknown("rl.algorithm", name, AlgorithmNames()...)
	}
	return algorithms[i], nil
}

// AlgorithmNames lists them.
func AlgorithmNames() []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = a.Name
	}
	return names
}

// Values reports whether the configured algorithm learns a value function.
func (r RL) Values() bool {
	a, err := algorithm(r.Algorithm)
	return err == nil && a.Values
}

// loss is the algorithm's, or the clipped objective of PPO with DAPO's two bounds.
func (a Algorithm) loss(dev k.Device, dlogp, stats, logp k.Tensor, t k.Targets, rl RL) {
	if a.Loss != nil {
		a.Loss(dev, dlogp, stats, logp, t, rl)
		return
	}
	dev.PolicyLoss(dlogp, stats, logp, t, k.Clip{
		Low: float32(rl.ClipLow), High: float32(rl.ClipHigh), Dual: float32(rl.DualClip), KL: float32(rl.KL),
	})
}

func (a Algorithm) validate(rl RL) error {
	if rl.Group < a.MinGroup {
		return fmt.Errorf("rl.group: %s compares the trajectories of one prompt and needs at least %d, got %d", a.Name, a.MinGroup, rl.Group)
	}
	return nil
}
