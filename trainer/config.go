package trainer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	k "retool/kernels"
	"retool/trainer/answer"
	"retool/trainer/dist"
)

// Optimizer is AdamW and its schedule. Steps are updates.
type Optimizer struct {
	LR          float64 `yaml:"lr" doc:"learning rate (rl: paper, 1e-6; sft: recipe)"`
	Schedule    string  `yaml:"schedule" doc:"constant, linear, cosine, down to floor × lr at the last step (recipe)"`
	Floor       float64 `yaml:"floor" doc:"share of lr at the end of a schedule"`
	Warmup      int     `yaml:"warmup" doc:"steps of linear rise"`
	Beta1       float64 `yaml:"beta1" doc:"AdamW (paper)"`
	Beta2       float64 `yaml:"beta2" doc:"AdamW (sft: recipe)"`
	Eps         float64 `yaml:"eps" doc:"AdamW"`
	WeightDecay float64 `yaml:"weight_decay" doc:"AdamW, all parameters (rl: recipe)"`
	Clip        float64 `yaml:"clip" doc:"bound on the gradient's norm (rl: recipe); 0: none"`
}

func (o Optimizer) validate(section string) error {
	switch {
	case !(o.LR > 0) || math.IsInf(o.LR, 0):
		return fmt.Errorf("%s.lr: want a positive number, got %g", section, o.LR)
	case !slices.Contains([]string{"constant", "linear", "cosine"}, o.Schedule):
		return unknown(section+".schedule", o.Schedule, "constant", "linear", "cosine")
	case o.Floor < 0 || o.Floor > 1:
		return fmt.Errorf("%s.floor: want a share of lr between 0 and 1, got %g", section, o.Floor)
	case o.Warmup < 0:
		return fmt.Errorf("%s.warmup: want 0 or more steps, got %d", section, o.Warmup)
	case o.Beta1 < 0 || o.Beta1 >= 1 || o.Beta2 < 0 || o.Beta2 >= 1:
		return fmt.Errorf("%s.beta1, beta2: want numbers in [0, 1), got %g and %g", section, o.Beta1, o.Beta2)
	case o.Eps <= 0:
		return fmt.Errorf("%s.eps: want a positive number, got %g", section, o.Eps)
	case o.WeightDecay < 0:
		return fmt.Errorf("%s.weight_decay: want 0 or more, got %g", section, o.WeightDecay)
	case o.Clip < 0:
		return fmt.Errorf("%s.clip: want 0 (no clipping) or more, got %g", section, o.Clip)
	}
	return nil
}

// Rate is the learning rate of step i of n, both counted from 0.
func (o Optimizer) Rate(i, n int) float64 {
	if i < o.Warmup {
		return o.LR * float64(i+1) / float64(o.Warmup)
	}
	if o.Schedule == "constant" || n <= o.Warmup {
		return o.LR
	}
	done := float64(i-o.Warmup) / float64(max(1, n-1-o.Warmup))
	fall := 1 - done
	if o.Schedule == "cosine" {
		fall = (1 + math.Cos(math.Pi*done)) / 2
	}
	return o.LR * (o.Floor + (1-o.Floor)*fall)
}

// SFT is the cold start.
type SFT struct {
	Steps     int `yaml:"steps" doc:"0: epochs passes over the traces"`
	Epochs    int `yaml:"epochs" doc:"passes over the traces (paper: 2), used when steps is 0"`
	Batch     int `yaml:"batch" doc:"traces a step (recipe)"`
	Tokens    int `yaml:"tokens" doc:"of one pass through the model; a batch is cut into passes of at most so many"`
	Optimizer `yaml:",inline"`
}

// RL is the reinforcement learning. Batch sizes count trajectories.
type RL struct {
	Algorithm   string  `yaml:"algorithm" doc:"ppo (paper), or another that explain rl.algorithm lists"`
	Steps       int     `yaml:"steps" doc:"paper: 400" resume:"extends"`
	Prompts     int     `yaml:"prompts" doc:"a step (recipe)"`
	Group       int     `yaml:"group" doc:"trajectories a prompt (recipe: 1 for ppo, 16 for grpo)"`
	Minibatch   int     `yaml:"minibatch" doc:"trajectories an update (paper: 512, its unit not given)"`
	Epochs      int     `yaml:"epochs" doc:"passes over a step's trajectories"`
	Tokens      int     `yaml:"tokens" doc:"of one pass through the model"`
	Temperature float64 `yaml:"temperature" doc:"recipe"`
	TopP        float64 `yaml:"top_p" doc:"1: all; below, the policy that is trained is softmax over each token's recorded set"`
	TopK        int     `yaml:"top_k" doc:"0: all; else likewise"`
	MinP        float64 `yaml:"min_p" doc:"share of the likeliest token's probability; 0: all; else likewise"`
	ClipLow     float64 `yaml:"clip_low" doc:"lower clip; the paper's equation 1 has one ε (recipe)"`
	ClipHigh    float64 `yaml:"clip_high" doc:"upper clip, DAPO's clip-higher (recipe)"`
	DualClip    float64 `yaml:"dual_clip" doc:"bound on the loss of a negative advantage, in |A| (recipe); 0: none"`
	KL          float64 `yaml:"kl" doc:"weight of the penalty against a reference, the policy RL began with (paper: 0)"`
	KLIn        string  `yaml:"kl_in" doc:"where the penalty stands: loss, or reward (of each token)"`
	KLEstimator string  `yaml:"kl_estimator" doc:"k1, k2, k3: −x, x²/2, eˣ−1−x of x = ln(reference/policy)"`
	KLRefresh   int     `yaml:"kl_refresh" doc:"RL steps after which the reference becomes the policy; 0: never"`
	Entropy     float64 `yaml:"entropy" doc:"weight of the entropy bonus"`
	Aggregate   string  `yaml:"aggregate" doc:"what a loss is the mean over: token, sequence, group, constant; empty: the algorithm's own"`
	Horizon     int     `yaml:"horizon" doc:"aggregate constant: tokens that a response's sum is divided by; 0: engine.max_tokens"`
	Gamma       float64 `yaml:"gamma" doc:"discount a policy token (recipe)"`
	Lambda      float64 `yaml:"lambda" doc:"of GAE (recipe)"`

	LambdaLength float64 `yaml:"lambda_length" doc:"α: the policy's λ is 1 − 1/(α·tokens of the response) (VAPO: 0.05); 0: rl.lambda"`
	CriticLambda float64 `yaml:"critic_lambda" doc:"λ of the critic's targets (VAPO: 1); −1: the policy's"`
	Imitate      float64 `yaml:"imitate" doc:"weight of −log π of correct responses (VAPO: 0.1)"`

	Whiten      bool `yaml:"whiten" doc:"advantages of a step to mean 0 and deviation 1 (recipe)"`
	Deviation   bool `yaml:"deviation" doc:"advantages of a group in its deviations (GRPO)"`
	Resample    int  `yaml:"resample" doc:"rounds of fresh prompts a step for groups whose rewards are all equal (DAPO); 0: none"`
	Revision    int  `yaml:"revision" doc:"of the algorithm that a run begun by an older program goes on by; 0: it is refused" resume:"free"`
	MaxSkipped  int  `yaml:"max_skipped" doc:"updates in a row that may be left out as not finite" resume:"free"`
	VerifyEvery int  `yaml:"verify_every" doc:"scoring passes of which one is compared with rollout, in turn; 0: none (choice)" resume:"free"`
	Optimizer   `yaml:",inline"`

	Filter     Filter     `yaml:"filter"`
	Covariance Covariance `yaml:"covariance"`
}

// verifies reports whether a step compares a round of its scoring passes, one of each rank, with the rollout. A round's turn comes in one
// of VerifyEvery steps, and that of one in VerifyEvery rounds in each: to compare is a forward pass of the policy. What training says
// before the first update of each step is compared for nothing (Stats.losses).
func (r RL) verifies(step, round int) bool {
	return r.VerifyEvery > 0 && (step+round)%r.VerifyEvery == 0
}

// Critic is the value function of PPO.
type Critic struct {
	Trunk       string  `yaml:"trunk" doc:"own: a model begun from the policy (recipe); shared: a head on the policy"`
	LR          float64 `yaml:"lr" doc:"of an own trunk (recipe); a shared one follows rl.lr"`
	Warmup      int     `yaml:"warmup" doc:"RL steps that train the critic alone (recipe)"`
	WarmupLR    float64 `yaml:"warmup_lr" doc:"of a shared trunk's head in those steps"`
	ValueClip   float64 `yaml:"value_clip" doc:"recipe; 0: none"`
	Coefficient float64 `yaml:"coefficient" doc:"weight of the value loss beside the policy's, shared trunk"`
}

// Reward selects what trains; all three rewards and the verdicts of every verifier are computed and logged.
type Reward struct {
	Verifier answer.Verifier `yaml:"verifier" doc:"math (choice): values; dapo: published strings; to evaluate: dapo-strict (verl), lenient"`
	Use      string          `yaml:"use" doc:"which trains: paper (±1), dapo-strict, tool-shaped; all are logged"`
	Strict   bool            `yaml:"strict" doc:"dapo-strict: false also accepts a last line Answer: …"`
	Count    string          `yaml:"count" doc:"tool-shaped: what is use of the tool, turns (verl) or calls (slime)"`
	Overlong Overlong        `yaml:"overlong"`
}

// Eval is avg@k over held-out problems.
type Eval struct {
	Problems    int     `yaml:"problems" doc:"held-out problems; 0: no evaluation"`
	Samples     int     `yaml:"samples" doc:"k of avg@k (paper: 32)"`
	Temperature float64 `yaml:"temperature" doc:"paper: 1.0; 0: greedy"`
	TopP        float64 `yaml:"top_p" doc:"paper: 0.7"`
	TopK        int     `yaml:"top_k" doc:"0: all"`
	MinP        float64 `yaml:"min_p" doc:"share of the likeliest token's probability; 0: all"`
	Every       int     `yaml:"every" doc:"RL steps between evaluations; 0: ends of phases only (paper's figures: 40)"`
	Untrained   bool    `yaml:"untrained" doc:"also before the cold start"`
}

// Checkpoints says how often to save, and how many to keep; the ends of phases are always kept.
type Checkpoints struct {
	Every int `yaml:"every" doc:"steps between checkpoints"`
	Keep  int `yaml:"keep" doc:"checkpoints kept, ends of phases not counted"`
}

// Config is everything the trainer itself reads.
type Config struct {
	Seed       uint64      `yaml:"seed" doc:"of weights, order, draws and generated data"`
	SFT        SFT         `yaml:"sft"`
	RL         RL          `yaml:"rl"`
	Critic     Critic      `yaml:"critic"`
	Reward     Reward      `yaml:"reward"`
	Eval       Eval        `yaml:"eval" resume:"free"`
	Checkpoint Checkpoints `yaml:"checkpoint" resume:"free"`
	Dist       Dist        `yaml:"dist"`
}

// DefaultConfig is the paper's where it says, else the choice that `retool config explain` prints.
func DefaultConfig() Config {
	adam := Optimizer{Schedule: "constant", Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Clip: 1}
	c := Config{
		Seed: 1,
		SFT:  SFT{Epochs: 2, Batch: 32, Tokens: 16384, Optimizer: adam},
		RL: RL{
			Algorithm: "ppo", Steps: 400, Prompts: 1024, Group: 1, Minibatch: 512, Epochs: 1, Tokens: 16384,
			Temperature: 1, TopP: 1, ClipLow: 0.2, ClipHigh: 0.28, DualClip: 10, Gamma: 1, Lambda: 1, Whiten: true,
			KLIn: "loss", KLEstimator: "k3", CriticLambda: -1, Deviation: true, Covariance: Covariance{Share: 2e-4, Low: 1, High: 5, KL: 1},
			MaxSkipped: 3, VerifyEvery: 8, Optimizer: adam,
		},
		Critic:     Critic{Trunk: "own", LR: 2e-6, Warmup: 20, WarmupLR: 1e-3, ValueClip: 0.5, Coefficient: 0.5},
		Reward:     Reward{Verifier: answer.Math, Use: "paper", Strict: true, Count: "turns", Overlong: Overlong{Penalty: 1}},
		Eval:       Eval{Problems: 60, Samples: 32, Temperature: 1, TopP: 0.7, Every: 40},
		Checkpoint: Checkpoints{Every: 10, Keep: 2},
		Dist:       Dist{Settings: dist.DefaultSettings(), Shard: "optimizer", Offload: "none"},
	}
	c.SFT.LR, c.SFT.Schedule, c.SFT.Beta2 = 1e-5, "cosine", 0.95
	c.RL.LR = 1e-6
	return c
}

// Validate checks every field and how they fit; an error names the setting, what it should be and what it is.
func (c Config) Validate() error {
	if err := c.SFT.validate(); err != nil {
		return err
	}
	if err := c.RL.validate(); err != nil {
		return err
	}
	if c.RL.Steps > 0 && c.RL.Values() {
		if err := c.Critic.validate(); err != nil {
			return err
		}
	}
	switch {
	case !slices.Contains(answer.Verifiers(), string(c.Reward.Verifier)):
		return unknown("reward.verifier", string(c.Reward.Verifier), answer.Verifiers()...)
	case !slices.Contains([]string{"paper", "dapo-strict", "tool-shaped"}, c.Reward.Use):
		return unknown("reward.use", c.Reward.Use, "paper", "dapo-strict", "tool-shaped")
	case c.Reward.Count != "turns" && c.Reward.Count != "calls":
		return unknown("reward.count", c.Reward.Count, "turns", "calls")
	case c.Eval.Problems < 0:
		return fmt.Errorf("eval.problems: want 0 (no evaluation) or more, got %d", c.Eval.Problems)
	case c.Eval.Problems > 0 && c.Eval.Samples < 1:
		return fmt.Errorf("eval.samples: want at least 1, got %d", c.Eval.Samples)
	case c.Eval.Every < 0:
		return fmt.Errorf("eval.every: want 0 (never) or more steps, got %d", c.Eval.Every)
	case c.Checkpoint.Every < 1:
		return fmt.Errorf("checkpoint.every: want at least 1 step, got %d", c.Checkpoint.Every)
	case c.Checkpoint.Keep < 1:
		return fmt.Errorf("checkpoint.keep: want at least 1, got %d", c.Checkpoint.Keep)
	case c.Dist.Slices > maxSlices:
		return fmt.Errorf("dist.slices: want at most %d, got %d", maxSlices, c.Dist.Slices)
	case c.Dist.Slices < 0:
		return fmt.Errorf("dist.slices: want 0 (the ranks a run began with) or more, got %d", c.Dist.Slices)
	}
	if c.Dist.Shard != "optimizer" && c.Dist.Shard != "all" {
		return unknown("dist.shard", c.Dist.Shard, "optimizer", "all")
	}
	if c.Dist.Offload != "none" && c.Dist.Offload != "optimizer" {
		return unknown("dist.offload", c.Dist.Offload, "none", "optimizer")
	}
	if err := c.Dist.Settings.Validate(); err != nil {
		return err
	}
	if err := c.Reward.Overlong.validate(); err != nil {
		return err
	}
	return sampling("eval", c.Eval.Temperature, c.Eval.TopP, c.Eval.TopK, c.Eval.MinP)
}

func (s SFT) validate() error {
	switch {
	case s.Steps < 0:
		return fmt.Errorf("sft.steps: want 0 or more, got %d", s.Steps)
	case s.Epochs < 0:
		return fmt.Errorf("sft.epochs: want 0 or more, got %d", s.Epochs)
	case s.Batch < 1:
		return fmt.Errorf("sft.batch: want at least 1 trace, got %d", s.Batch)
	case s.Tokens < 2:
		return fmt.Errorf("sft.tokens: want at least 2, got %d", s.Tokens)
	}
	return s.Optimizer.validate("sft")
}

func (r RL) validate() error {
	a, err := algorithm(r.Algorithm)
	if err == nil && r.Group > 0 {
		err = a.validate(r)
	}
	if err != nil {
		return err
	}
	switch {
	case r.Steps < 0:
		return fmt.Errorf("rl.steps: want 0 or more, got %d", r.Steps)
	case r.Prompts < 1 || r.Group < 1:
		return fmt.Errorf("rl.prompts, rl.group: want at least 1 of each, got %d and %d", r.Prompts, r.Group)
	case r.Minibatch < 1:
		return fmt.Errorf("rl.minibatch: want at least 1 trajectory, got %d", r.Minibatch)
	case r.Prompts*r.Group%r.Minibatch != 0:
		return fmt.Errorf("rl.minibatch: %d trajectories do not divide the %d of a step (rl.prompts %d × rl.group %d)", r.Minibatch,
			r.Prompts*r.Group, r.Prompts, r.Group)
	case r.Epochs < 1:
		return fmt.Errorf("rl.epochs: want at least 1, got %d", r.Epochs)
	case r.Tokens < 2:
		return fmt.Errorf("rl.tokens: want at least 2, got %d", r.Tokens)
	case !(float32(r.Temperature) > 0):
		return fmt.Errorf("rl.temperature: want a positive number, got %g: a greedy policy has no gradient", r.Temperature)
	case r.TopK == 1:
		return fmt.Errorf("rl.top_k: want 0 (all) or at least 2, got 1: a greedy policy has no gradient")
	case r.MinP == 1:
		return fmt.Errorf("rl.min_p: want a share in [0, 1), got 1: a greedy policy has no gradient")
	case r.ClipLow <= 0 || r.ClipLow >= 1 || r.ClipHigh <= 0:
		return fmt.Errorf("rl.clip_low, rl.clip_high: want a share in (0, 1) and a positive number, got %g and %g", r.ClipLow, r.ClipHigh)
	case r.DualClip != 0 && r.DualClip <= 1:
		return fmt.Errorf("rl.dual_clip: want 0 (off) or more than 1, got %g", r.DualClip)
	case r.KL < 0 || r.Entropy < 0:
		return fmt.Errorf("rl.kl, rl.entropy: want 0 or more, got %g and %g", r.KL, r.Entropy)
	case r.Gamma <= 0 || r.Gamma > 1 || r.Lambda < 0 || r.Lambda > 1:
		return fmt.Errorf("rl.gamma, rl.lambda: want numbers in (0, 1] and [0, 1], got %g and %g", r.Gamma, r.Lambda)
	case r.MaxSkipped < 0:
		return fmt.Errorf("rl.max_skipped: want 0 or more, got %d", r.MaxSkipped)
	case r.VerifyEvery < 0:
		return fmt.Errorf("rl.verify_every: want 0 (never), 1 (all passes) or more, got %d", r.VerifyEvery)
	}
	if err := sampling("rl", r.Temperature, r.TopP, r.TopK, r.MinP); err != nil {
		return err
	}
	if err := r.validateAlgorithm(); err != nil {
		return err
	}
	return r.Optimizer.validate("rl")
}

// validateAlgorithm checks what only some algorithms use.
func (r RL) validateAlgorithm() error {
	c := r.Covariance
	switch {
	case r.KLIn != "loss" && r.KLIn != "reward":
		return unknown("rl.kl_in", r.KLIn, "loss", "reward")
	case r.KLEstimator != "k1" && r.KLEstimator != "k2" && r.KLEstimator != "k3":
		return unknown("rl.kl_estimator", r.KLEstimator, "k1", "k2", "k3")
	case r.KLRefresh < 0:
		return fmt.Errorf("rl.kl_refresh: want 0 (never) or more steps, got %d", r.KLRefresh)
	case r.Aggregate != "" && !slices.Contains(averages, r.Aggregate):
		return unknown("rl.aggregate", r.Aggregate, averages...)
	case r.Horizon < 0:
		return fmt.Errorf("rl.horizon: want 0 (engine.max_tokens) or a number of tokens, got %d", r.Horizon)
	case r.LambdaLength < 0:
		return fmt.Errorf("rl.lambda_length: want 0 (rl.lambda) or more, got %g", r.LambdaLength)
	case r.CriticLambda != -1 && (r.CriticLambda < 0 || r.CriticLambda > 1):
		return fmt.Errorf("rl.critic_lambda: want a number in [0, 1], or -1 (the policy's), got %g", r.CriticLambda)
	case r.Imitate < 0:
		return fmt.Errorf("rl.imitate: want 0 or more, got %g", r.Imitate)
	case r.Resample < 0:
		return fmt.Errorf("rl.resample: want 0 (none) or more rounds, got %d", r.Resample)
	case c.Share <= 0 || c.Share >= 1:
		return fmt.Errorf("rl.covariance.share: want a share in (0, 1), got %g", c.Share)
	case c.Low >= c.High:
		return fmt.Errorf("rl.covariance.low, high: want the first below the second, got %g and %g", c.Low, c.High)
	case c.KL <= 0:
		return fmt.Errorf("rl.covariance.kl: want a positive number, got %g", c.KL)
	}
	return r.Filter.validate()
}

func (c Critic) validate() error {
	switch {
	case c.Trunk != "shared" && c.Trunk != "own":
		return unknown("critic.trunk", c.Trunk, "shared", "own")
	case c.Trunk == "own" && !(c.LR > 0):
		return fmt.Errorf("critic.lr: want a positive number, got %g", c.LR)
	case c.Trunk == "shared" && !(c.Coefficient > 0):
		return fmt.Errorf("critic.coefficient: want a positive number, got %g", c.Coefficient)
	case c.Trunk == "shared" && c.Warmup > 0 && !(c.WarmupLR > 0):
		return fmt.Errorf("critic.warmup_lr: want a positive number, got %g", c.WarmupLR)
	case c.Warmup < 0:
		return fmt.Errorf("critic.warmup: want 0 or more steps, got %d", c.Warmup)
	case c.ValueClip < 0:
		return fmt.Errorf("critic.value_clip: want 0 (none) or more, got %g", c.ValueClip)
	}
	return nil
}

func sampling(section string, temperature, topP float64, topK int, minP float64) error {
	switch {
	case temperature < 0:
		return fmt.Errorf("%s.temperature: want 0 (greedy) or more, got %g", section, temperature)
	case !(float32(topP) > 0) || topP > 1:
		return fmt.Errorf("%s.top_p: want a share in (0, 1], got %g", section, topP)
	case topK < 0:
		return fmt.Errorf("%s.top_k: want 0 (all) or more, got %d", section, topK)
	case minP < 0 || minP > 1:
		return fmt.Errorf("%s.min_p: want a share in [0, 1], got %g", section, minP)
	}
	return nil
}

func unknown(key, value string, known ...string) error {
	return fmt.Errorf("%s: %q is not known (known: %s)", key, value, strings.Join(known, ", "))
}

// Truncated reports whether rollouts draw from less than the whole vocabulary.
func (r RL) Truncated() bool {
	return k.Sampling{Temperature: float32(r.Temperature), TopP: float32(r.TopP), TopK: r.TopK, MinP: float32(r.MinP)}.Truncated()
}

// Updates is the number of optimizer steps of an RL step.
func (r RL) Updates() int { return r.Prompts * r.Group / r.Minibatch * r.Epochs }

// Batches says in one line what the batch sizes come to.
func (r RL) Batches() string {
	return fmt.Sprintf("%d prompts × %d = %d trajectories, mini-batch %d × %d epochs → %d updates a step", r.Prompts, r.Group,
		r.Prompts*r.Group, r.Minibatch, r.Epochs, r.Updates())
}
