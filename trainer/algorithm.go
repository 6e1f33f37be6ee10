package trainer

import (
	"fmt"
	"math/rand/v2"
	"slices"

	k "retool/kernels"
)

// An Algorithm is one way to learn from graded trajectories. Each is a value in a file algorithm_*.go of its own; nothing else in this
// package knows its name. All share one kernel, Device.PolicyLoss: an algorithm says what a token's advantage is, how the ratio is
// clipped, how losses are averaged, and what else a row carries.
type Algorithm struct {
	Name  string
	Paper string // where it is from
	Claim string // what the paper claims
	Needs string // of a configuration
	Cost  string // beside sampling and one pass of training

	Values    bool   // it learns a value function beside the policy, from Step.Return
	MinGroup  int    // fewest trajectories of a prompt that it can compare
	Aggregate string // how its paper averages losses; see weigh
	Sequence  bool   // its ratio is that of a whole response
	OnPolicy  bool   // it has no ratio: only a step's first update is what it says

	// Uses lists the settings, of those that not all algorithms share, that it reads.
	Uses []string
	// Published holds the paper's values of settings whose defaults are others, as YAML; what a user gives goes before them.
	Published map[string]string

	// Advantages fills Step.Advantage of a step's episodes, and Step.Return with Values. Their Value is filled where there is one, and
	// Step.Reward with rl.kl_in reward.
	Advantages func(rl RL, eps []*Episode)

	// Clip is the form of the loss; nil: clipped, with the bounds of DAPO and the dual clip.
	Clip func(rl RL) k.Clip

	// Mark changes what a minibatch's rows carry, once it is drawn and before any pass; nil: nothing. Its draws are its own.
	Mark func(rl RL, mini []*Episode, draw *rand.Rand)
}

// algorithms are those that rl.algorithm can name.
var algorithms = []Algorithm{
	ppo, vapo, grpo, drGRPO, dapo, gspo, cispo, clipCov, klCov, rloo, reinforce, reinforcePP, reinforcePPBaseline,
}

// Settings that some algorithms use, as Uses names them.
const (
	usesGamma           = "rl.gamma"
	usesLambda          = "rl.lambda"
	usesLambdaLength    = "rl.lambda_length"
	usesCriticLambda    = "rl.critic_lambda"
	usesWhiten          = "rl.whiten"
	usesDeviation       = "rl.deviation"
	usesClipLow         = "rl.clip_low"
	usesClipHigh        = "rl.clip_high"
	usesDual            = "rl.dual_clip"
	usesImitate         = "rl.imitate"
	usesCovarianceShare = "rl.covariance.share"
	usesCovarianceLow   = "rl.covariance.low"
	usesCovarianceHigh  = "rl.covariance.high"
	usesCovarianceKL    = "rl.covariance.kl"
	usesResample        = "rl.resample"
	usesSpread          = "rl.filter.spread"
)

// special is every setting that not all algorithms use.
var special = []string{
	usesGamma, usesLambda, usesLambdaLength, usesCriticLambda, usesWhiten, usesDeviation, usesClipLow, usesClipHigh, usesDual, usesImitate,
	usesCovarianceShare, usesCovarianceLow, usesCovarianceHigh, usesCovarianceKL, usesResample, usesSpread,
}

// What families of algorithms use: a clipped ratio, and groups of one prompt.
var (
	clipUses  = []string{usesClipLow, usesClipHigh, usesDual}
	groupUses = []string{usesResample, usesSpread}
)

// Unused lists the settings that other algorithms have and this does not.
func (a Algorithm) Unused() []string {
	return slices.DeleteFunc(slices.Clone(special), func(key string) bool { return slices.Contains(a.Uses, key) })
}

// Algorithms lists them, for those who explain.
func Algorithms() []Algorithm { return slices.Clone(algorithms) }

// algorithm is the one of that name.
func algorithm(name string) (Algorithm, error) {
	i := slices.IndexFunc(algorithms, func(a Algorithm) bool { return a.Name == name })
	if i < 0 {
		return Algorithm{}, unknown("rl.algorithm", name, AlgorithmNames()...)
	}
	return algorithms[i], nil
}

// AlgorithmNames lists their names.
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

// Unused lists the settings that the configured algorithm does not use.
func (r RL) Unused() []string {
	a, err := algorithm(r.Algorithm)
	if err != nil {
		return nil
	}
	return a.Unused()
}

// Published holds the configured algorithm's values of settings, as YAML, where its paper has others than the defaults.
func (r RL) Published() map[string]string {
	a, _ := algorithm(r.Algorithm)
	return a.Published
}

// Averages is how the configured algorithm's losses are averaged: rl.aggregate, or its paper's way.
func (r RL) Averages() string {
	a, _ := algorithm(r.Algorithm)
	if r.Aggregate != "" {
		return r.Aggregate
	}
	return a.Aggregate
}

// clip is the form of the algorithm's loss.
func (a Algorithm) clip(rl RL) k.Clip {
	c := k.Clip{Low: float32(rl.ClipLow), High: float32(rl.ClipHigh), Dual: float32(rl.DualClip)}
	if a.Clip != nil {
		c = a.Clip(rl)
	}
	if rl.KLIn == "loss" {
		c.KL, c.Estimator = float32(rl.KL), estimators[rl.KLEstimator]
	}
	return c
}

// notClipped is the form of a loss that weighs A·log π by nothing: REINFORCE.
func notClipped(RL) k.Clip { return k.Clip{Constant: true} }

func (a Algorithm) validate(rl RL) error {
	if rl.Group < a.MinGroup {
		return fmt.Errorf("rl.group: %s compares the trajectories of one prompt and needs at least %d, got %d", a.Name, a.MinGroup, rl.Group)
	}
	if a.OnPolicy && rl.Minibatch > 0 && rl.Epochs > 0 && rl.Updates() > 1 {
		return fmt.Errorf("rl.minibatch: %s weighs nothing by how far the policy has moved: want one update a step (rl.minibatch %d, "+
			"rl.epochs 1), got %d", a.Name, rl.Prompts*rl.Group, rl.Updates())
	}
	return nil
}
