package trainer

import (
	"context"
	"fmt"
	"math/rand/v2"

	"retool/engine"
	"retool/engine/model"
	k "retool/kernels"
)

// PPO is ReTool's reinforcement learning: policy optimisation over rollouts that pause for code, by the configured Algorithm. A step
// samples, then learns; the two share nothing but the episodes. One goroutine.
type PPO struct {
	cfg    Config
	method Algorithm
	dev    k.Device
	policy *Learner
	critic *Learner     // nil: no values, or a value head on the policy
	ref    *model.Model // nil unless rl.kl
	engine *engine.Engine
	proto  Protocol
	bytes  func(int32) []byte

	rows    *rows
	fresh   func(n int) []*Problem // the next problems of the run's sequence; nil: there are none
	skipped int                    // updates in a row left out
}

// NewPPO joins the parts; critic and ref may be nil. Engine and models are the caller's to close. It panics where cfg is not valid.
func NewPPO(cfg Config, dev k.Device, policy, critic, ref *model.Model, e *engine.Engine, proto Protocol, bytes func(int32) []byte) *PPO {
	method, err := algorithm(cfg.RL.Algorithm)
	if err != nil {
		panic("trainer: NewPPO: " + err.Error())
	}
	p := &PPO{
		cfg: cfg, method: method, dev: dev, ref: ref, engine: e, proto: proto, bytes: bytes,
		policy: NewLearner(dev, policy, cfg.RL.Optimizer), rows: newRows(dev, max(cfg.SFT.Tokens, cfg.RL.Tokens)),
	}
	p.rows.allow(method, cfg.RL)
	if critic != nil {
		p.critic = NewLearner(dev, critic, cfg.RL.Optimizer)
	}
	return p
}

// Close frees what NewPPO allocated.
func (p *PPO) Close() {
	p.rows.free()
	p.policy.Close()
	if p.critic != nil {
		p.critic.Close()
	}
}

// shared reports whether the values are a head on the policy.
func (p *PPO) shared() bool { return p.method.Values && p.critic == nil }

// Protocol is what training asks of an engine.Protocol: the tokens of a question, and the part of a response that is graded.
type Protocol interface {
	Prompt(question string) ([]int32, error)
	OutsideCode(text string) string
}

// Step samples, grades and learns from one batch of problems. step counts from 0 and keys every draw.
func (p *PPO) Step(ctx context.Context, step int, problems []*Problem) (*Stats, error) {
	s := newStats(p)
	eps, use, err := p.collect(ctx, step, problems, p.fresh, s)
	if err != nil {
		return nil, err
	}
	s.rolledOut(eps)
	if err := p.Learn(use, step, s); err != nil {
		return nil, err
	}
	s.done()
	return s, nil
}

// Learn makes a step's updates on its episodes and books them.
func (p *PPO) Learn(eps []*Episode, step int, s *Stats) error {
	if p.shared() && step == p.cfg.Critic.Warmup {
		if err := p.policy.Restart(p.cfg.RL.Optimizer); err != nil { // the head's warm-up counted steps that the trunk has not made
			return err
		}
	}
	if err := p.score(eps, step, s); err != nil { // values and reference; old log-probabilities came with the rollout
		return err
	}
	s.scored(eps)
	if p.method.MinGroup > 1 && p.cfg.RL.Resample == 0 {
		s.Flat = len(flatGroups(eps, p.cfg.RL.Filter.Spread))
	}
	if p.ref != nil && p.cfg.RL.KLIn == "reward" {
		s.Reference = penalise(eps, p.cfg.RL)
	}
	p.method.Advantages(p.cfg.RL, eps) // GAE over the policy's tokens, or the group's baseline
	eps, s.Filtered = p.cfg.RL.Filter.keep(eps)
	for epoch := range p.cfg.RL.Epochs {
		// The order is a function of the step alone: a resumed run repeats it.
		draw := rand.New(rand.NewPCG(p.cfg.Seed, uint64(step)<<8|uint64(epoch)))
		order := shuffled(eps, draw.IntN)
		for from := 0; from < len(order); from += p.cfg.RL.Minibatch {
			mini := order[from:min(from+p.cfg.RL.Minibatch, len(order))]
			p.method.weigh(p.cfg.RL, mini, draw)
			if err := p.update(mini, step, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sample rolls out a group of trajectories for each problem and grades them.
func (p *PPO) Sample(ctx context.Context, step int, problems []*Problem) ([]*Episode, error) {
	return p.sample(ctx, step, 0, problems)
}

// sample is Sample after so many groups of the step.
func (p *PPO) sample(ctx context.Context, step, before int, problems []*Problem) ([]*Episode, error) {
	groups := make([]engine.Group, len(problems))
	for i, q := range problems {
		ids, err := p.proto.Prompt(q.Question)
		if err != nil {
			return nil, fmt.Errorf("trainer: problem %s: %w", q.ID, err)
		}
		groups[i].Prompt = ids
		for g := range p.cfg.RL.Group {
			groups[i].Keys = append(groups[i].Keys, Key(trainKeys, step, (before+i)*p.cfg.RL.Group+g))
		}
	}
	trs, err := p.engine.Rollouts(ctx, groups, engine.Sampling{
		Seed: p.cfg.Seed, Temperature: float32(p.cfg.RL.Temperature), TopP: 1, Version: int32(step),
	})
	if err != nil {
		return nil, err
	}
	eps := gradeAll(trs, problems, p.cfg.RL.Group, p.cfg.Reward, p.bytes, p.proto.OutsideCode)
	for _, e := range eps {
		e.Group += before
	}
	return eps, nil
}

// Key numbers a trajectory uniquely in a run: purpose, step (or evaluation) and place in it.
func Key(purpose, step, i int) int64 { return int64(purpose)<<56 | int64(step)<<24 | int64(i) }

// Purposes of a Key.
const trainKeys, evalKeys, ShowKeys = 1, 2, 3

// gradeAll pairs trajectories, which come problem by problem, with their problems.
func gradeAll(
	trs []*engine.Trajectory, problems []*Problem, group int, r Reward, bytes func(int32) []byte, outside func(string) string,
) []*Episode {
	eps := make([]*Episode, len(trs))
	for i, t := range trs {
		e := NewEpisode(t, problems[i/group], i/group)
		e.Grade, e.Reward = r.Grade(t, e.Problem.Answer, bytes, outside)
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
	verify := p.cfg.RL.VerifyEvery > 0 && step%p.cfg.RL.VerifyEvery == 0
	read := func(h model.Head) {
		if !h.Values.Absent() {
			p.dev.Copy(h.Of(p.rows.value), h.Values)
		}
		if !h.Logits.Absent() {
			p.rows.Score(h, float32(p.cfg.RL.Temperature))
		}
	}
	for _, b := range Pack(eps, p.cfg.RL.Tokens, 1) {
		var value, logp, ref []float32
		p.rows.load(b, 0, 0)
		if verify || p.shared() {
			if err := p.policy.Model.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: score: %w", err)
			}
			logp = p.rows.LogProbs()
		}
		if p.critic != nil {
			if err := p.critic.Model.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: critic: %w", err)
			}
		}
		if p.method.Values {
			value = p.rows.read(p.rows.value)
		}
		if p.ref != nil {
			if err := p.ref.Score(b.inputs(), read); err != nil {
				return fmt.Errorf("trainer: reference: %w", err)
			}
			ref = p.rows.LogProbs()
		}
		b.scored(logp, value, ref)
	}
	return nil
}

// update makes one optimizer step on a minibatch. Each prediction weighs 1/N, N being the predictions of the whole minibatch, so
// that the cut into passes does not show.
func (p *PPO) update(mini []*Episode, step int, s *Stats) error {
	rl := p.cfg.RL
	warmup := p.method.Values && step < p.cfg.Critic.Warmup // the critic alone learns
	if err := p.begin(); err != nil {
		return err
	}
	valueScale := float32(1)
	if p.shared() {
		valueScale = float32(p.cfg.Critic.Coefficient)
	}
	for _, b := range Pack(mini, rl.Tokens, 1/float32(predictions(mini))) {
		p.rows.load(b, valueScale, -float32(rl.Entropy))
		if !warmup || p.critic == nil {
			if err := p.policy.Accumulate(b, p.seen(b), p.loss); err != nil {
				return fmt.Errorf("trainer: policy: %w", err)
			}
			s.entropy(p.rows.Entropies(), b.Weight)
		}
		if p.critic != nil {
			if err := p.critic.Accumulate(b, nil, p.loss); err != nil {
				return fmt.Errorf("trainer: critic: %w", err)
			}
		}
		s.Tokens += len(b.IDs)
	}
	return p.apply(step, warmup, s)
}

// seen is what a pass does with all its log-probabilities before its loss: nothing, or the ratio of whole responses.
func (p *PPO) seen(b *Batch) *model.Seen {
	if !p.method.Sequence {
		return nil
	}
	read := func(h model.Head) {
		if !h.Logits.Absent() {
			p.rows.Score(h, float32(p.cfg.RL.Temperature))
		}
	}
	return &model.Seen{Read: read, Done: func() {
		p.dev.Upload(p.rows.logRatio.Rows(0, p.rows.n), b.logRatios(p.rows.LogProbs()))
	}}
}

// begin forgets gradients and sums.
func (p *PPO) begin() error {
	for _, l := range []*Learner{p.policy, p.critic} {
		if l == nil {
			continue
		}
		if err := l.Begin(); err != nil {
			return err
		}
	}
	return p.dev.Do(func() {
		p.dev.Zero(p.rows.stats)
		p.dev.Zero(p.rows.valueStats)
	})
}

// loss leaves the gradients of the rows that a head holds: of the policy by the algorithm's loss, of the values by their own.
func (p *PPO) loss(h model.Head) {
	r, temperature := p.rows, float32(p.cfg.RL.Temperature)
	if !h.Logits.Absent() {
		r.Score(h, temperature)
		r.policyLoss(h, p.method.clip(p.cfg.RL))
		dentropy := k.Tensor{}
		if p.cfg.RL.Entropy > 0 {
			dentropy = r.entropyWeight
		}
		r.Backward(h, r.dlogp, dentropy, temperature)
	}
	if !h.Values.Absent() {
		targets := k.Targets{Weight: h.Of(r.valueWeight), Return: h.Of(r.ret), OldValue: h.Of(r.value)}
		p.dev.ValueLoss(h.Of(r.dvalue), r.valueStats, h.Values, targets, float32(p.cfg.Critic.ValueClip))
		p.dev.Copy(h.Values, h.Of(r.dvalue))
	}
}

// apply moves the weights, unless loss or gradient is not finite: then nothing moves, and after too many of those in a row the
// run ends.
func (p *PPO) apply(step int, warmup bool, s *Stats) error {
	rl := p.cfg.RL
	loss := s.losses(p.rows)
	var err error
	ok := false
	s.LR = rl.Rate(step, rl.Steps)
	switch {
	case !finite(loss):
	case warmup && p.shared():
		s.LR = p.cfg.Critic.WarmupLR
		s.Norm, ok, err = p.policy.Apply(valueHead, s.LR, 0)
	case warmup:
		ok = true
	default:
		s.Norm, ok, err = p.policy.Apply(everything, s.LR, rl.WeightDecay)
	}
	if err == nil && ok && p.critic != nil {
		_, ok, err = p.critic.Apply(everything, p.cfg.Critic.LR, rl.WeightDecay)
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
		return notFinite(fmt.Sprintf("step %d", step+1), loss, s.Norm, p.skipped, rl.MaxSkipped)
	}
	return nil
}

// notFinite is the error that ends a run that has diverged.
func notFinite(where string, loss, norm float64, skipped, most int) error {
	return fmt.Errorf("trainer: %s: loss %g and gradient norm %g: %d updates in a row were not finite, rl.max_skipped allows %d; "+
		"weights and optimizer are those before them", where, loss, norm, skipped, most)
}
