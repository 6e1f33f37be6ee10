package trainer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"retool/trainer/answer"
)

// Optimizer is AdamW and its schedule. Steps are updates.
type Optimizer struct {
	LR          float64 `yaml:"lr"`
	Schedule    string  `yaml:"schedule"` // constant | linear | cosine, down to floor × lr at the last step
	Floor       float64 `yaml:"floor"`
	Warmup      int     `yaml:"warmup"` // steps of linear rise
	Beta1       float64 `yaml:"beta1"`
	Beta2       float64 `yaml:"beta2"`
	Eps         float64 `yaml:"eps"`
	WeightDecay float64 `yaml:"weight_decay"`
	Clip        float64 `yaml:"clip"` // bound on the gradient's norm; 0: none
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
	Steps     int `yaml:"steps"`  // 0: no cold start, or what epochs says
	Epochs    int `yaml:"epochs"` // passes over a file of traces; used when steps is 0
	Batch     int `yaml:"batch"`  // traces a step
	Tokens    int `yaml:"tokens"` // of one pass through the model: a batch is cut into passes of at most so many
	Optimizer `yaml:",inline"`
}

// RL is the reinforcement learning. Batch sizes count trajectories.
type RL struct {
	Algorithm   string  `yaml:"algorithm"` // see algorithm.go
	Steps       int     `yaml:"steps"`
	Prompts     int     `yaml:"prompts"`   // a step
	Group       int     `yaml:"group"`     // trajectories a prompt
	Minibatch   int     `yaml:"minibatch"` // trajectories an update
	Epochs      int     `yaml:"epochs"`    // passes over the step's trajectories
	Tokens      int     `yaml:"tokens"`    // of one pass through the model
	Temperature float64 `yaml:"temperature"`
	TopP        float64 `yaml:"top_p"`
	TopK        int     `yaml:"top_k"`
	ClipLow     float64 `yaml:"clip_low"`
	ClipHigh    float64 `yaml:"clip_high"`
	DualClip    float64 `yaml:"dual_clip"` // bound on the loss of a negative advantage, in |A|; 0: none
	KL          float64 `yaml:"kl"`        // weight of the penalty against the policy that RL began with
	Entropy     float64 `yaml:"entropy"`   // weight of the entropy bonus
	Gamma       float64 `yaml:"gamma"`
	Lambda      float64 `yaml:"lambda"`
	Whiten      bool    `yaml:"whiten"`       // advantages to mean 0, deviation 1 over the step's policy tokens (ppo)
	MaxSkipped  int     `yaml:"max_skipped"`  // updates in a row that may be left out because loss or gradient was not finite
	VerifyEvery int     `yaml:"verify_every"` // steps between full comparisons of rollout and training log-probabilities; 0: never
	Optimizer   `yaml:",inline"`
}

// Critic is the value function of PPO.
type Critic struct {
	Trunk       string  `yaml:"trunk"`       // shared: a head on the policy; own: a model of its own, begun from the policy's weights
	LR          float64 `yaml:"lr"`          // of an own trunk; a shared one follows rl.lr
	Warmup      int     `yaml:"warmup"`      // RL steps that train the critic alone (of a shared trunk: its head)
	WarmupLR    float64 `yaml:"warmup_lr"`   // of the head in those steps, shared trunk
	ValueClip   float64 `yaml:"value_clip"`  // 0: none
	Coefficient float64 `yaml:"coefficient"` // weight of the value loss beside the policy's, shared trunk
}

// Reward selects what trains; all three rewards and the verdicts of both verifiers are computed and logged.
type Reward struct {
	Verifier answer.Verifier `yaml:"verifier"` // math | dapo: what is right, in reward paper and in evaluation
	Use      string          `yaml:"use"`      // paper | dapo-strict | tool-shaped
	Strict   bool            `yaml:"strict"`   // dapo-strict: false also accepts "Answer: …"
	Count    string          `yaml:"count"`    // tool-shaped: turns | calls
}

// Eval is avg@k over held-out problems.
type Eval struct {
	Problems    int     `yaml:"problems"`
	Samples     int     `yaml:"samples"` // k
	Temperature float64 `yaml:"temperature"`
	TopP        float64 `yaml:"top_p"`
	TopK        int     `yaml:"top_k"`
	Every       int     `yaml:"every"` // RL steps between evaluations; 0: only at the end of a phase
	Untrained   bool    `yaml:"untrained"`
}

// Checkpoints says how often to save, and how many to keep; the ends of phases are always kept.
type Checkpoints struct {
	Every int `yaml:"every"` // steps
	Keep  int `yaml:"keep"`
}

// Config is everything the trainer itself reads.
type Config struct {
	Seed       uint64      `yaml:"seed"`
	SFT        SFT         `yaml:"sft"`
	RL         RL          `yaml:"rl"`
	Critic     Critic      `yaml:"critic"`
	Reward     Reward      `yaml:"reward"`
	Eval       Eval        `yaml:"eval"`
	Checkpoint Checkpoints `yaml:"checkpoint"`
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
			MaxSkipped: 3, VerifyEvery: 1, Optimizer: adam,
		},
		Critic:     Critic{Trunk: "own", LR: 2e-6, Warmup: 20, WarmupLR: 1e-3, ValueClip: 0.5, Coefficient: 0.5},
		Reward:     Reward{Verifier: answer.Math, Use: "paper", Strict: true, Count: "turns"},
		Eval:       Eval{Problems: 60, Samples: 32, Temperature: 1, TopP: 0.7, Every: 40},
		Checkpoint: Checkpoints{Every: 10, Keep: 2},
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
	}
	return sampling("eval", c.Eval.Temperature, c.Eval.TopP, c.Eval.TopK)
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
		return fmt.Errorf("rl.minibatch: %d trajectories do not divide the %d of a step (rl.prompts %d × rl.group %d)", r.Minibatch, r.Prompts*r.Group, r.Prompts, r.Group)
	case r.Epochs < 1:
		return fmt.Errorf("rl.epochs: want at least 1, got %d", r.Epochs)
	case r.Tokens < 2:
		return fmt.Errorf("rl.tokens: want at least 2, got %d", r.Tokens)
	case !(r.Temperature > 0):
		return fmt.Errorf("rl.temperature: want a positive number, got %g: a greedy policy has no gradient", r.Temperature)
	case r.TopP != 1 || r.TopK != 0:
		return fmt.Errorf("rl.top_p, rl.top_k: want 1 and 0, got %g and %d: truncated sampling draws from another policy than the one that is trained", r.TopP, r.TopK)
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
		return fmt.Errorf("rl.verify_every: want 0 (never) or more steps, got %d", r.VerifyEvery)
	}
	return r.Optimizer.validate("rl")
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

func sampling(section string, temperature, topP float64, topK int) error {
	switch {
	case temperature < 0:
		return fmt.Errorf("%s.temperature: want 0 (greedy) or more, got %g", section, temperature)
	case topP <= 0 || topP > 1:
		return fmt.Errorf("%s.top_p: want a share in (0, 1], got %g", section, topP)
	case topK < 0:
		return fmt.Errorf("%s.top_k: want 0 (all) or more, got %d", section, topK)
	}
	return nil
}

func unknown(key, value string, known ...string) error {
	return fmt.Errorf("%s: %q is not known (known: %s)", key, value, strings.Join(known, ", "))
}

// Updates is the number of optimizer steps of an RL step.
func (r RL) Updates() int { return r.Prompts * r.Group / r.Minibatch * r.Epochs }

// Batches says in one line what the batch sizes come to.
func (r RL) Batches() string {
	return fmt.Sprintf("%d prompts × %d = %d trajectories, mini-batch %d × %d epochs → %d updates a step", r.Prompts, r.Group, r.Prompts*r.Group, r.Minibatch, r.Epochs, r.Updates())
}
