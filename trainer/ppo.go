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
	ranks  *Ranks
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
	doing   Progress               // nil: nobody asks
	skipped int                    // updates in a row left out
	fault   string                 // where the first of them was not finite; "": not known
	shares  []share                // of a step's rollouts, by rank
}

// NewPPO joins the parts; critic and ref may be nil. Engine and models are the caller's to close. It panics where cfg is not valid.
func NewPPO(cfg Config, ranks *Ranks, dev k.Device, policy, critic, ref *model.Model, e *engine.Engine, proto Protocol,
	bytes func(int32) []byte) *PPO {
	method, err := algorithm(cfg.RL.Algorithm)
	if err != nil {
		panic("trainer: NewPPO: " + err.Error())
	}
	offload := cfg.Dist.Offload == "optimizer"
	p := &PPO{
		cfg: cfg, ranks: ranks, method: method, dev: dev, ref: ref, engine: e, proto: proto, bytes: bytes,
		policy: NewLearner(dev, policy, cfg.RL.Optimizer, ranks, "policy", offload), rows: newRows(dev, max(cfg.SFT.Tokens, cfg.RL.Tokens)),
	}
	p.rows.allow(method, cfg.RL)
	if critic != nil {
		p.critic = NewLearner(dev, critic, cfg.RL.Optimizer, ranks, "critic", offload)
	}
	for _, l := range p.learners() {
		l.opt.seed = cfg.Seed
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
	p.shares = nil
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

// named is how messages call a step of reinforcement learning: by the run's count, which goes on from the cold start's.
func (p *PPO) named(step int) string { return fmt.Sprintf("step %d", p.cfg.SFT.Steps+step+1) }

// Learn makes a step's updates on its episodes and books them.
func (p *PPO) Learn(eps []*Episode, step int, s *Stats) error {
	if err := p.Learns(); err != nil {
		return err
	}
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
	learnt, all := 0, p.cfg.RL.Epochs*len(eps)
	for epoch := range p.cfg.RL.Epochs {
		// The order is a function of the step alone: a resumed run repeats it.
		draw := rand.New(rand.NewPCG(p.cfg.Seed, uint64(step)<<8|uint64(epoch)))
		order := shuffled(eps, draw.IntN)
		for _, mini := range minibatches(order, p.cfg.RL.Minibatch) {
			p.method.weigh(p.cfg.RL, mini, draw)
			told := func(share float64) { p.doing.tell("update", "trajectories", learnt+int(share*float64(len(mini))), all) }
			if err := p.update(mini, step, s, told); err != nil {
				return err
			}
			learnt += len(mini)
			p.doing.tell("update", "trajectories", learnt, all)
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
	if err := p.Generates(); err != nil {
		return nil, err
	}
	trs, shares, err := p.ranks.rollouts(ctx, p.engine, p.named(step), groups, engine.Sampling{
		Seed: p.cfg.Seed, Temperature: float32(p.cfg.RL.Temperature), TopP: float32(p.cfg.RL.TopP), TopK: p.cfg.RL.TopK,
		MinP: float32(p.cfg.RL.MinP), Sets: true, Version: int32(step),
	})
	if err != nil {
		return nil, err
	}
	p.shares = addShares(p.shares, shares)
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

// score fills Value and Ref, and compares the log-probabilities of a training forward with the rollout's, in the rounds that are to be
// verified. The episodes are divided among the ranks by their tokens: what a model says of one does not show which others are in its
// pass. Each rank hands what its passes say to the others.
func (p *PPO) score(eps []*Episode, step int, s *Stats) error {
	plans := make([][]*Batch, p.ranks.Size())
	rounds := 0
	for r, part := range slicesOf(eps, len(plans)) {
		plans[r] = Pack(part, p.cfg.RL.Tokens, 1)
		rounds = max(rounds, len(plans[r]))
	}
	mine := plans[p.ranks.Rank()]
	said := make([]scores, len(mine))
	for round := range rounds {
		verify := p.cfg.RL.verifies(step, round)
		if round >= len(mine) {
			if err := p.idleScore(verify); err != nil {
				return err
			}
			continue
		}
		p.ranks.did("%s: scoring pass %d of %d", p.named(step), round+1, len(mine))
		var err error
		if said[round], err = p.scorePass(mine[round], verify); err != nil {
			return err
		}
	}
	all, err := p.ranks.shareScores("scores of "+p.named(step), plans, said)
	if err != nil {
		return err
	}
	for r, plan := range plans {
		for i, b := range plan {
			b.scored(all[r][i].logp, all[r][i].value, all[r][i].ref)
		}
	}
	return nil
}

// idleScore goes along with the other ranks' scorePass, of models that are divided.
func (p *PPO) idleScore(verify bool) error {
	if verify || p.shared() {
		if err := p.policy.Model.Idle(false); err != nil {
			return err
		}
	}
	if p.critic != nil {
		return p.critic.Model.Idle(false)
	}
	return nil
}

// scorePass is what the models say of a pass's rows.
func (p *PPO) scorePass(b *Batch, verify bool) (s scores, err error) {
	read := func(h model.Head) {
		if !h.Values.Absent() {
			p.dev.Copy(h.Of(p.rows.value), h.Values)
		}
		if !h.Logits.Absent() {
			p.rows.ScoreTargets(h, float32(p.cfg.RL.Temperature))
		}
	}
	p.rows.load(b, 0, 0)
	if verify || p.shared() {
		if err := p.policy.Model.Score(b.inputs(), read); err != nil {
			return s, fmt.Errorf("trainer: score: %w", err)
		}
		s.logp = p.rows.LogProbs()
	}
	if p.critic != nil {
		if err := p.critic.Model.Score(b.inputs(), read); err != nil {
			return s, fmt.Errorf("trainer: critic: %w", err)
		}
	}
	if p.method.Values {
		s.value = p.rows.read(p.rows.value)
	}
	if p.ref != nil {
		if err := p.ref.Score(b.inputs(), read); err != nil {
			return s, fmt.Errorf("trainer: reference: %w", err)
		}
		s.ref = p.rows.LogProbs()
	}
	return s, nil
}

// update makes one optimizer step on a minibatch. Each prediction weighs 1/N, N being the predictions of the whole minibatch, so
// that the cut into slices and passes does not show. told hears, before each pass, which share of this rank's passes is done.
func (p *PPO) update(mini []*Episode, step int, s *Stats, told func(share float64)) error {
	warmup := p.method.Values && step < p.cfg.Critic.Warmup // the critic alone learns
	weight := 1 / float32(predictions(mini))
	for _, l := range p.learners() {
		if err := l.Begin(); err != nil {
			return err
		}
	}
	sums, err := p.ranks.passes("losses of "+p.named(step), mini, p.cfg.RL.Tokens, weight, len(passSums{}),
		func(b *Batch, where string, share float64) ([]float64, error) {
			p.ranks.did("%s: update, %s", p.named(step), where)
			told(share)
			sum, err := p.pass(b, warmup)
			return sum[:], err
		}, p.sliced)
	if err != nil {
		return err
	}
	loss, ok, err := p.apply(step, warmup, sums, s)
	switch {
	case err != nil:
		return err
	case !ok:
		return p.skip(mini, step, warmup, loss, s)
	}
	p.skipped, p.fault = 0, ""
	return nil
}

// sliced ends a slice of all that learn.
func (p *PPO) sliced() error {
	for _, l := range p.learners() {
		if err := l.Sliced(); err != nil {
			return err
		}
	}
	return nil
}

// seen is what a pass does with all its log-probabilities before its loss: nothing, or the ratio of whole responses.
func (p *PPO) seen(b *Batch) *model.Seen {
	if !p.method.Sequence {
		return nil
	}
	read := func(h model.Head) {
		if !h.Logits.Absent() {
			p.rows.ScoreTargets(h, float32(p.cfg.RL.Temperature))
		}
	}
	return &model.Seen{Read: read, Done: func() {
		p.dev.Upload(p.rows.logRatio.Rows(0, p.rows.n), b.logRatios(p.rows.LogProbs()))
	}}
}

// learners are those that learn: the policy, and a critic with a trunk of its own.
func (p *PPO) learners() []*Learner {
	if p.critic == nil {
		return []*Learner{p.policy}
	}
	return []*Learner{p.policy, p.critic}
}

// idle goes along with the other ranks' pass, of models that are divided.
func (p *PPO) idle(warmup bool) error {
	for _, l := range p.learners() {
		if l == p.policy && warmup && p.critic != nil {
			continue
		}
		if err := l.Accumulate(nil, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// pass adds the gradients of one pass and returns its sums.
func (p *PPO) pass(b *Batch, warmup bool) (sum passSums, err error) {
	if b == nil {
		return sum, p.idle(warmup)
	}
	valueScale := float32(1)
	if p.shared() {
		valueScale = float32(p.cfg.Critic.Coefficient)
	}
	err = p.dev.Do(func() {
		p.dev.Zero(p.rows.stats)
		p.dev.Zero(p.rows.valueStats)
	})
	if err != nil {
		return sum, err
	}
	p.rows.load(b, valueScale, -float32(p.cfg.RL.Entropy))
	if !warmup || p.critic == nil {
		if err := p.policy.Accumulate(b, p.seen(b), p.loss); err != nil {
			return sum, fmt.Errorf("trainer: policy: %w", err)
		}
		for i, h := range p.rows.Entropies() {
			sum[sumEntropy] += float64(h) * float64(b.Weight[i])
			sum[sumWeight] += float64(b.Weight[i])
		}
	}
	if p.critic != nil {
		if err := p.critic.Accumulate(b, nil, p.loss); err != nil {
			return sum, fmt.Errorf("trainer: critic: %w", err)
		}
	}
	sum[sumTokens] = float64(len(b.IDs))
	p.rows.sums(&sum)
	return sum, nil
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

// apply moves the weights, unless loss or gradient is not finite: then nothing moves.
func (p *PPO) apply(step int, warmup bool, sums []float64, s *Stats) (loss float64, ok bool, err error) {
	rl := p.cfg.RL
	loss = s.losses(sums)
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
	return loss, ok, err
}

// skip counts an update that was left out. Of several in a row it looks into the first, which takes one more update's time; after too many
// the run ends.
func (p *PPO) skip(mini []*Episode, step int, warmup bool, loss float64, s *Stats) (err error) {
	s.Skipped++
	p.skipped++
	if p.fault == "" {
		p.fault, err = p.ranks.firstFault(mini, 1/float32(predictions(mini)), p.learners(), func(b *Batch) (float64, error) {
			sum, err := p.pass(b, warmup)
			return sum[k.StatLoss] + sum[sumValue+k.StatLoss], err
		})
		if err != nil {
			return err
		}
	}
	s.Fault = p.fault
	if most := p.cfg.RL.MaxSkipped; p.skipped > most {
		return notFinite(p.named(step), loss, s.Norm, p.skipped, most, p.fault)
	}
	return nil
}

// notFinite is the error that ends a run that has diverged.
func notFinite(where string, loss, norm float64, skipped, most int, first string) error {
	return Diverged(fmt.Sprintf("trainer: %s: loss %g and gradient norm %g: %d updates in a row were not finite, rl.max_skipped allows %d; "+
		"first was, on %s; weights and optimizer are those before them", where, loss, norm, skipped, most, first))
}

// Diverged is why a run ended whose losses or gradients were no numbers.
type Diverged string

func (d Diverged) Error() string { return string(d) }
