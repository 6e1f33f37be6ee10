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

	// Revision counts what it has come to compute: 1 at first, 0 stands for it. Changed is what the last one changed. A run that one revision
	// began does not go on by another unless rl.revision says so.
	Revision int
	Changed  string

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

// revision is Revision, counted from 1.
func (a Algorithm) revision() int { return max(1, a.Revision) }

// goesOn decides about a run whose steps of reinforcement learning were made by another revision; 0 is one that was not counted: the first,
// or any since. note says what changes from here on.
func (a Algorithm) goesOn(rl RL, there int) (note string, err error) {
	here := a.revision()
	if there == here || there == 0 && here == 1 {
		return "", nil
	}
	why := fmt.Sprintf("revision %d of %s", there, a.Name)
	if there == 0 {
		why = fmt.Sprintf("a program that did not count the revisions of %s", a.Name)
	}
	why += fmt.Sprintf(", where this one has revision %d", here)
	if there < here {
		why += ": " + a.Changed
	}
	if rl.Revision != here {
		return "", fmt.Errorf("was made by %s; want rl.revision %d to go on by that, the program that began the run, or another run=", why, here)
	}
	return fmt.Sprintf("the run was begun by %s; from here on it goes on by that", why), nil
}

func (a Algorithm) validate(rl RL) error {
	if here := a.revision(); rl.Revision != 0 && rl.Revision != here {
		return fmt.Errorf("rl.revision: want 0, or %d, which this program has of %s, got %d", here, a.Name, rl.Revision)
	}
	if rl.Group < a.MinGroup {
		return fmt.Errorf("rl.group: %s compares the trajectories of one prompt and needs at least %d, got %d", a.Name, a.MinGroup, rl.Group)
	}
	if a.OnPolicy && rl.Minibatch > 0 && rl.Epochs > 0 && rl.Updates() > 1 {
		return fmt.Errorf("rl.minibatch: %s weighs nothing by how far the policy has moved: want one update a step (rl.minibatch %d, "+
			"rl.epochs 1), got %d", a.Name, rl.Prompts*rl.Group, rl.Updates())
	}
	return nil
}
