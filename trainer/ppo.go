package trainer

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"retool/engine"
	"retool/engine/model"
	k "retool/kernels"
)

// PPO is ReTool's algorithm: proximal policy optimisation over rollouts that pause for code (Schulman 2017; the clip of DAPO). GRPO
// is the same but for the baseline. One goroutine.
type PPO struct {
	cfg    Config
	dev    k.Device
	policy *model.Model
	critic *model.Model // nil: grpo, or a value head on the policy
	ref    *model.Model // nil unless rl.kl
	engine *engine.Engine
	proto  Prompter
	bytes  func(int32) []byte

	opt, criticOpt *adam
	rows           *rows
	skipped        int // updates in a row left out
}

// NewPPO joins the parts; critic and ref may be nil. Engine, policy and critic are the caller's to close.
func NewPPO(cfg Config, dev k.Device, policy, critic, ref *model.Model, e *engine.Engine, prompt Prompter, bytes func(int32) []byte) *PPO {
	p := &PPO{
		cfg: cfg, dev: dev, policy: policy, critic: critic, ref: ref, engine: e, proto: prompt, bytes: bytes,
		opt: newAdam(dev, policy, cfg.RL.Optimizer), rows: newRows(dev, max(cfg.SFT.Tokens, cfg.RL.Tokens)),
	}
	if critic != nil {
		p.criticOpt = newAdam(dev, critic, cfg.RL.Optimizer)
	}
	return p
}

// Close frees what NewPPO allocated.
func (p *PPO) Close() {
	p.rows.free()
	p.opt.free()
	if p.criticOpt != nil {
		p.criticOpt.free()
	}
}

// Prompter renders a question into tokens.
type Prompter interface {
	Prompt(question string) ([]int32, error)
}

// Step samples, grades and learns from one batch of problems. step counts from 0 and keys every draw.
func (p *PPO) Step(ctx context.Context, step int, problems []*Problem) (*Stats, error) {
	s := newStats(p)
	eps, err := p.rollout(ctx, step, problems)
	if err != nil {
		return nil, err
	}
	s.rolledOut(eps)
	eps = trainable(eps)
	if p.critic == nil && step == p.cfg.Critic.Warmup && p.cfg.RL.Algorithm == "ppo" {
		if err := p.opt.reset(p.cfg.RL.Optimizer); err != nil { // the head's warm-up counted steps that the trunk has not made
			return nil, err
		}
	}
	if err := p.score(eps, step, s); err != nil { // values and reference; old log-probabilities came with the rollout
		return nil, err
	}
	s.scored(eps)
	p.advantages(eps) // GAE over the policy's tokens, or the group's baseline
	for epoch := range p.cfg.RL.Epochs {
		// The order is a function of the step alone: a resumed run repeats it.
		order := shuffled(eps, rand.New(rand.NewPCG(p.cfg.Seed, uint64(step)<<8|uint64(epoch))).IntN)
		for from := 0; from < len(order); from += p.cfg.RL.Minibatch {
			mini := order[from:min(from+p.cfg.RL.Minibatch, len(order))]
			if err := p.update(mini, step, s); err != nil {
				return nil, err
			}
		}
	}
	s.done()
	return s, nil
}

// rollout samples a group of trajectories for each problem and grades them.
func (p *PPO) rollout(ctx context.Context, step int, problems []*Problem) ([]*Episode, error) {
	groups := make([]engine.Group, len(problems))
	for i, q := range problems {
		ids, err := p.proto.Prompt(q.Question)
		if err != nil {
			return nil, fmt.Errorf("trainer: problem %s: %w", q.ID, err)
		}
		groups[i].Prompt = ids
		for g := range p.cfg.RL.Group {
			groups[i].Keys = append(groups[i].Keys, Key(trainKeys, step, i*p.cfg.RL.Group+g))
		}
	}
	trs, err := p.engine.Rollouts(ctx, groups, engine.Sampling{Seed: p.cfg.Seed, Temperature: float32(p.cfg.RL.Temperature), TopP: 1})
	if err != nil {
		return nil, err
	}
	return gradeAll(trs, problems, p.cfg.RL.Group, p.cfg.Reward, p.bytes), nil
}

// Key numbers a trajectory uniquely in a run: purpose, step (or evaluation) and place in it.
func Key(purpose, step, i int) int64 { return int64(purpose)<<56 | int64(step)<<24 | int64(i) }

// Purposes of a Key.
const trainKeys, evalKeys, ShowKeys = 1, 2, 3

// gradeAll pairs trajectories, which come problem by problem, with their problems.
func gradeAll(trs []*engine.Trajectory, problems []*Problem, group int, r Reward, bytes func(int32) []byte) []*Episode {
	eps := make([]*Episode, len(trs))
	for i, t := range trs {
		e := NewEpisode(t, problems[i/group], i/group)
		e.Grade, e.Reward = r.Grade(t, e.Problem.Answer, bytes)
		eps[i] = e
	}
	return eps
}

// trainable leaves out episodes that the sandbox lost and those the verifier could not judge.
func trainable(eps []*Episode) []*Episode {
	var out []*Episode
	for _, e := range eps {
		if e.Trains() && len(e.Steps) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// score fills Value and Ref, and compares the log-probabilities of a training forward with the rollout's.
func (p *PPO) score(eps []*Episode, step int, s *Stats) error {
	values := p.policy
	if p.critic != nil {
		values = p.critic
	}
	ppo := p.cfg.RL.Algorithm == "ppo"
	verify := p.cfg.RL.VerifyEvery > 0 && step%p.cfg.RL.VerifyEvery == 0
	for _, b := range Pack(eps, p.cfg.RL.Tokens, 1) {
		var value, logp, ref []float32
		read := func(h model.Head) {
			if !h.Values.Absent() {
				p.dev.Copy(p.rows.value.Rows(h.From, h.To), h.Values)
			}
			if !h.Logits.Absent() {
				p.rows.logProbs(h, float32(p.cfg.RL.Temperature))
			}
		}
		p.rows.load(b, 0, 0)
		if verify || ppo && p.critic == nil {
			if err := p.policy.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: score: %w", err)
			}
			logp = p.rows.read(p.rows.logp)
		}
		if p.critic != nil {
			if err := values.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: critic: %w", err)
			}
		}
		if ppo {
			value = p.rows.read(p.rows.value)
		}
		if p.ref != nil {
			if err := p.ref.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: reference: %w", err)
			}
			ref = p.rows.read(p.rows.logp)
		}
		r := 0
		for _, e := range b.Episodes {
			if logp != nil {
				e.Difference = 0
			}
			for i := range e.Steps {
				if logp != nil {
					e.Difference = max(e.Difference, distance(logp[r], e.Steps[i].LogProb))
				}
				if value != nil {
					e.Steps[i].Value = value[r]
				}
				if ref != nil {
					e.Steps[i].Ref = ref[r]
				}
				r++
			}
		}
	}
	return nil
}

// advantages fills Advantage and Return.
func (p *PPO) advantages(eps []*Episode) {
	if p.cfg.RL.Algorithm == "grpo" {
		GroupBaseline(eps)
		return
	}
	for _, e := range eps {
		GAE(e, p.cfg.RL.Gamma, p.cfg.RL.Lambda)
	}
	if p.cfg.RL.Whiten {
		Whiten(eps)
	}
}

// update makes one optimizer step on a minibatch. Each prediction weighs 1/N, N being the predictions of the whole minibatch, so
// that the cut into passes does not show.
func (p *PPO) update(mini []*Episode, step int, s *Stats) error {
	rl := p.cfg.RL
	warmup := rl.Algorithm == "ppo" && step < p.cfg.Critic.Warmup // the critic alone learns
	shared := rl.Algorithm == "ppo" && p.critic == nil
	clip := k.Clip{Low: float32(rl.ClipLow), High: float32(rl.ClipHigh), Dual: float32(rl.DualClip), KL: float32(rl.KL)}
	temperature := float32(rl.Temperature)
	r := p.rows

	err := p.dev.Do(func() {
		p.dev.Zero(p.policy.G.All)
		if p.critic != nil {
			p.dev.Zero(p.critic.G.All)
		}
		p.dev.Zero(r.stats)
		p.dev.Zero(r.valueStats)
	})
	if err != nil {
		return err
	}
	for _, b := range Pack(mini, rl.Tokens, 1/float32(predictions(mini))) {
		valueScale := float32(1)
		if shared {
			valueScale = float32(p.cfg.Critic.Coefficient)
		}
		r.load(b, valueScale, -float32(rl.Entropy))
		loss := func(h model.Head) {
			row := func(t k.Tensor) k.Tensor { return t.Rows(h.From, h.To) }
			if !h.Logits.Absent() {
				r.logProbs(h, temperature)
				p.dev.PolicyLoss(row(r.dlogp), r.stats, row(r.logp), k.Targets{Weight: row(r.weight), OldLogProb: row(r.old), Advantage: row(r.advantage), Ref: row(r.ref)}, clip)
				dentropy := k.Tensor{}
				if rl.Entropy > 0 {
					dentropy = row(r.entropyWeight)
				}
				p.dev.LogProbBackward(h.Logits, row(r.lse), row(r.target), row(r.dlogp), dentropy, temperature)
			}
			if !h.Values.Absent() {
				p.dev.ValueLoss(row(r.dvalue), r.valueStats, h.Values, k.Targets{Weight: row(r.valueWeight), Return: row(r.ret), OldValue: row(r.value)}, float32(p.cfg.Critic.ValueClip))
				p.dev.Copy(h.Values, row(r.dvalue))
			}
		}
		if !warmup || p.critic == nil {
			if err := p.policy.Train(b.inputs(), loss); err != nil {
				return fmt.Errorf("trainer: policy: %w", err)
			}
			s.entropy(r.read(r.entropy), b.Weight)
		}
		if p.critic != nil {
			if err := p.critic.Train(b.inputs(), loss); err != nil {
				return fmt.Errorf("trainer: critic: %w", err)
			}
		}
		s.Tokens += len(b.IDs)
	}
	return p.apply(step, warmup, s)
}

// apply moves the weights, unless loss or gradient is not finite: then nothing moves, and after too many of those in a row the
// run ends.
func (p *PPO) apply(step int, warmup bool, s *Stats) error {
	rl := p.cfg.RL
	loss := s.losses(p.rows)
	var err error
	var ok bool
	s.LR = rl.Rate(step, rl.Steps)
	switch {
	case !finite(loss):
	case warmup && p.critic == nil:
		s.LR = p.cfg.Critic.WarmupLR
		if err = p.opt.keepOnly(p.policy.G.Value); err == nil {
			s.Norm, ok, err = p.opt.update(s.LR, 0)
		}
	case warmup:
		ok = true
	default:
		s.Norm, ok, err = p.opt.update(s.LR, rl.WeightDecay)
	}
	if err == nil && ok && p.critic != nil {
		_, ok, err = p.criticOpt.update(p.cfg.Critic.LR, rl.WeightDecay)
	}
	if err != nil {
		return err
	}
	if ok {
		p.skipped = 0
		return nil
	}
	s.Skipped++
	if p.skipped++; p.skipped > rl.MaxSkipped {
		return fmt.Errorf("trainer: step %d: loss %g and gradient norm %g: %d updates in a row were not finite, rl.max_skipped allows %d; weights and optimizer are those before them", step+1, loss, s.Norm, p.skipped, rl.MaxSkipped)
	}
	return nil
}

// distance is |a − b|. Two log-probabilities that are both no number are the same: the policy has diverged, not the contract. Of one
// alone the NaN stays, and max keeps it.
func distance(a, b float32) float32 {
	if a == b || a != a && b != b {
		return 0
	}
	return float32(math.Abs(float64(a - b)))
}
