package trainer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"retool/engine"
	"retool/engine/model"
	k "retool/kernels"
	"retool/trainer/dist"
	"retool/trainer/trace"
)

// Data is what a run learns from and is judged on.
type Data struct {
	Traces []*Episode // cold start: prompts and tokens to write; graded by nobody
	Train  []*Problem
	Test   []*Problem
}

// Report hears what a run does, on the run's goroutine. Steps have one count, over both phases, which checkpoints are named by: those of a
// phase are after+1 to last.
type Report interface {
	Phase(name string, after, last int)
	Step(m trace.Metrics)
	Evaluated(e trace.Evaluation)
	Note(text string)
}

// Progress hears how far a piece of a step is: an update, or the groups that resampling has found. It is called on the run's goroutine.
type Progress func(what, unit string, done, all int)

func (p Progress) tell(what, unit string, done, all int) {
	if p != nil {
		p(what, unit, done, all)
	}
}

// Run is one training run: cold start, reinforcement learning, evaluations between, all on disk. It goes on where its directory
// says it was, and ends in the same bits as if it had never been interrupted.
type Run struct {
	Config   Config
	Dir      string
	Device   k.Device
	Policy   *model.Model
	Critic   *model.Model // with critic.trunk own, else nil
	Ref      *model.Model // with rl.kl, else nil
	Base     string       // with LoRA: the folder of the frozen base, for adapter_config.json
	Engine   *engine.Engine
	Proto    Protocol
	Tokens   trace.Vocabulary
	Data     Data
	Report   Report
	Progress Progress          // nil: nobody asks
	Leave    func() bool       // asked whether to save after this step and end with ErrSaved, on any rank; nil: never
	Comm     dist.Comm         // joins the ranks that share the run; nil: this process is alone
	Files    map[string][]byte // stored in every checkpoint: config.yaml, tokenizer.json and what else a model's folder holds

	Contract, Protocol, Tokenizer string            // see State
	Hashes                        map[string]string // State.Data

	ranks            *Ranks
	state            State
	before           float64 // seconds of earlier processes
	start            time.Time
	ppo              *PPO
	sft              *ColdStart
	watch            watch
	noted            string // fault that was said last
	metrics, records *trace.Log
	through          []float32 // moments pass through it into checkpoints; kept, so that it is not garbage beside the next one's
}

// Train runs to the end, or to the error of ctx, on any rank. It returns the state reached, the same on all of them. An error of one
// rank ends the run on the others too.
func (r *Run) Train(ctx context.Context) (*State, error) {
	if r.Comm == nil {
		r.Comm = &dist.Alone{}
	}
	state, err := r.train(ctx)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrSaved) { // which all ranks have agreed on
		r.Comm.Abort(err)
	}
	return state, err
}

func (r *Run) train(ctx context.Context) (*State, error) {
	r.start = time.Now()
	r.state = State{Phase: "sft", Contract: r.Contract, Protocol: r.Protocol, Tokenizer: r.Tokenizer, Data: r.Hashes}
	if err := r.join(); err != nil {
		return nil, err
	}
	r.ppo = NewPPO(r.Config, r.ranks, r.Device, r.Policy, r.Critic, r.Ref, r.Engine, r.Proto, r.Tokens.Bytes)
	defer r.ppo.Close()
	r.ppo.doing = r.Progress
	if err := r.ppo.rehearse(); err != nil {
		return nil, err
	}
	r.state.Revision = r.ppo.method.revision()
	r.ppo.policy.Use(r.Config.SFT.Optimizer)
	r.sft = &ColdStart{cfg: r.Config.SFT, ranks: r.ranks, dev: r.Device, policy: r.ppo.policy, rows: r.ppo.rows}
	if err := os.MkdirAll(filepath.Join(r.Dir, "checkpoints"), 0o755); err != nil {
		return nil, fmt.Errorf("trainer: run directory: %w", err)
	}
	resumed, err := r.restore()
	if err != nil {
		return nil, err
	}
	if r.ranks.leads() {
		if err := r.open(); err != nil {
			return nil, err
		}
		defer r.metrics.Close()
		defer r.records.Close()
	}
	if resumed {
		r.Report.Note(fmt.Sprintf("resumed after step %d", r.global()))
	} else if err := r.begin(ctx); err != nil {
		return nil, err
	}
	if r.state.Phase == "sft" {
		if err := r.coldStart(ctx); err != nil {
			return nil, err
		}
	}
	if r.state.Phase == "rl" {
		if err := r.reinforce(ctx); err != nil {
			return nil, err
		}
	}
	return &r.state, nil
}

// open continues the logs where the checkpoint left them.
func (r *Run) open() (err error) {
	if r.metrics, err = trace.Open(filepath.Join(r.Dir, "metrics.jsonl"), r.state.Metrics); err != nil {
		return err
	}
	r.records, err = trace.Open(filepath.Join(r.Dir, "trajectories.jsonl"), r.state.Records)
	return err
}

func (r *Run) begin(ctx context.Context) error {
	if r.Config.Eval.Untrained && r.Config.SFT.Steps > 0 {
		if err := r.evaluate(ctx, "untrained"); err != nil {
			return err
		}
	}
	return r.save(false)
}

// coldStart fine-tunes on traces; every pass over them has its own order.
func (r *Run) coldStart(ctx context.Context) error {
	n := r.Config.SFT.Steps
	r.Report.Phase("sft", 0, n)
	for r.state.Step < n {
		i := r.state.Step
		if err := r.ranks.stopped(ctx, fmt.Sprintf("sft step %d", i+1)); err != nil {
			return err
		}
		start, booked := time.Now(), r.ranks.booked
		s, err := r.sft.Step(pick(r.Data.Traces, r.Config.Seed, i*r.Config.SFT.Batch, r.Config.SFT.Batch), i, n)
		if err != nil {
			return err
		}
		if err := r.guard(s, i); err != nil {
			return err
		}
		r.state.Step++
		took := time.Since(start).Seconds()
		m := trace.Metrics{Step: r.global(), Phase: "sft", Loss: s.Loss, LR: s.LR, Norm: s.Norm, Tokens: s.Tokens, Policy: s.Policy,
			Speed: float64(s.Tokens) / took, Time: took, Since: r.elapsed(), Ranks: r.ranks.since(booked, took)}
		if s.Skipped {
			m.Skip = 1
		}
		if err := r.stepped(m, n, r.Config.Checkpoint.Every); err != nil {
			return err
		}
	}
	if err := r.evaluate(ctx, "cold_start"); err != nil {
		return err
	}
	if err := r.ppo.policy.Restart(r.Config.RL.Optimizer); err != nil {
		return err
	}
	if err := r.beginCritic(); err != nil {
		return err
	}
	r.state.Reference = r.global()
	r.state.Phase, r.state.Step = "rl", 0
	if r.Config.RL.Steps == 0 {
		r.state.Phase = "done"
	}
	return r.save(true)
}

// guard ends a run whose cold start has diverged.
func (r *Run) guard(s SFTStats, step int) error {
	if !s.Skipped {
		r.ppo.skipped = 0
		return nil
	}
	if r.ppo.skipped++; r.ppo.skipped > r.Config.RL.MaxSkipped {
		return notFinite(fmt.Sprintf("sft step %d", step+1), s.Loss, s.Norm, r.ppo.skipped, r.Config.RL.MaxSkipped, s.Fault)
	}
	r.noteFault(s.Fault)
	return nil
}

// noteFault says once where the updates that are left out were first not finite.
func (r *Run) noteFault(fault string) {
	if fault != "" && fault != r.noted {
		r.Report.Note("an update was left out: the first number that is not finite was, on " + fault)
	}
	r.noted = fault
}

// reinforce runs PPO's steps.
func (r *Run) reinforce(ctx context.Context) error {
	rl := r.Config.RL
	if r.Ref != nil {
		if err := r.readReference(); err != nil {
			return err
		}
	}
	r.ppo.policy.Use(rl.Optimizer)
	r.Report.Phase("rl", r.Config.SFT.Steps, r.Config.SFT.Steps+rl.Steps)
	for r.state.Step < rl.Steps {
		i := r.state.Step
		s, err := r.ppo.Step(ctx, i, r.problems(rl.Prompts))
		if err != nil {
			return err
		}
		r.state.Step++
		r.state.Fresh += s.Resampled
		r.watch.step(s, r.Report.Note)
		r.noteFault(s.Fault)
		for _, e := range s.Episodes {
			if err := r.record(e.Record(r.global(), "train", r.Tokens)); err != nil {
				return err
			}
		}
		if e := r.Config.Eval.Every; e > 0 && r.state.Step%e == 0 && r.state.Step < rl.Steps {
			if err := r.evaluate(ctx, "rl"); err != nil {
				return err
			}
		}
		every, refresh := r.Config.Checkpoint.Every, r.refreshes()
		if refresh {
			every, r.state.Reference = 1, r.global()
		}
		if err := r.stepped(s.Metrics(r.global(), r.elapsed()), rl.Steps, every); err != nil {
			return err
		}
		if s.Difference != 0 && rl.VerifyEvery > 0 {
			return r.broken(s)
		}
		if refresh {
			if err := r.readReference(); err != nil {
				return err
			}
		}
	}
	if err := r.evaluate(ctx, "rl"); err != nil {
		return err
	}
	r.state.Phase = "done"
	return r.save(true)
}

// problems are the next n of the run's sequence. Those after them wait for groups that teach nothing.
func (r *Run) problems(n int) []*Problem {
	at := r.state.Step*n + r.state.Fresh
	r.ppo.fresh = func(m int) []*Problem {
		at += m
		return pick(r.Data.Train, r.Config.Seed, at-m, m)
	}
	return r.ppo.fresh(n)
}

// refreshes reports whether the policy becomes the reference after the step that was just made, by rl.kl_refresh. A reference is a
// checkpoint, so a run that goes on has it too.
func (r *Run) refreshes() bool {
	every := r.Config.RL.KLRefresh
	return r.Ref != nil && every > 0 && r.state.Step%every == 0 && r.state.Step < r.Config.RL.Steps
}

func (r *Run) readReference() error {
	if r.Policy.Adapter != nil { // the base without its adapter: there is nothing to read
		return nil
	}
	return r.Ref.ReadWeights(filepath.Join(r.Dir, "checkpoints", fmt.Sprint(r.state.Reference)))
}

// broken names the first trajectory whose training log-probabilities are not the rollout's.
func (r *Run) broken(s *Stats) error {
	for _, e := range s.Episodes {
		if e.Difference > 0 {
			return fmt.Errorf("trainer: step %d: trajectory %d (problem %s): rollout and training log-probabilities differ by up to %g; the "+
				"numerics contract of %s is broken", r.global(), e.Key, e.Problem.ID, e.Difference, r.Contract)
		}
	}
	return fmt.Errorf("trainer: step %d: rollout and training log-probabilities differ by up to %g in the first update; the numerics "+
		"contract of %s is broken", r.global(), s.Difference, r.Contract)
}

// stepped logs a step and saves when one is due.
func (r *Run) stepped(m trace.Metrics, of, every int) error {
	r.Report.Step(m)
	if r.ranks.leads() {
		if err := r.metrics.Write(m); err != nil {
			return err
		}
		if _, err := r.metrics.Flush(); err != nil {
			return err
		}
	}
	leave, err := r.leaves()
	if err != nil || r.state.Step == of { // the phase's end saves
		return err
	}
	if r.state.Step%every == 0 || leave {
		if err := r.save(false); err != nil {
			return err
		}
	}
	if leave {
		return ErrSaved
	}
	return nil
}

// ErrSaved is the end of a run that was asked to save and end: the same command goes on.
var ErrSaved = errors.New("trainer: saved and ended, as asked")

// leaves reports whether any rank was asked to save and end.
func (r *Run) leaves() (bool, error) {
	if r.Leave == nil {
		return false, nil
	}
	if r.ranks.Size() == 1 {
		return r.Leave(), nil
	}
	var mine []byte
	if r.Leave() {
		mine = []byte{1}
	}
	all, err := r.ranks.gather(fmt.Sprintf("end of step %d", r.global()), mine)
	return slices.ContainsFunc(all, func(b []byte) bool { return len(b) > 0 }), err
}

// record logs a trajectory, on the rank that does.
func (r *Run) record(t trace.Record) error {
	if !r.ranks.leads() {
		return nil
	}
	return r.records.Write(t)
}

// evaluate measures the policy on the held-out problems.
func (r *Run) evaluate(ctx context.Context, name string) error {
	if r.Config.Eval.Problems == 0 {
		return nil
	}
	if err := r.ppo.Generates(); err != nil {
		return err
	}
	e, err := Evaluate(ctx, Evaluator{
		Engine: r.Engine, Proto: r.Proto, Tokens: r.Tokens, Seed: r.Config.Seed, Reward: r.Config.Reward, Eval: r.Config.Eval,
		Ranks: r.ranks,
	}, name, r.state.Evaluated, r.global(), r.Data.Test, r.record)
	if err != nil {
		return err
	}
	r.state.Evaluated++
	r.state.Evaluations = append(r.state.Evaluations, e)
	r.Report.Evaluated(e)
	return nil
}

// global counts steps over both phases.
func (r *Run) global() int {
	if r.state.Phase == "sft" {
		return r.state.Step
	}
	return r.Config.SFT.Steps + r.state.Step
}

func (r *Run) elapsed() float64 { return r.before + time.Since(r.start).Seconds() }

// pick takes items [from, from+n) of an endless sequence: the items again and again, each time in another order, which the seed and
// the number of the pass determine.
func pick[T any](items []T, seed uint64, from, n int) []T {
	out := make([]T, 0, n)
	var order []int
	pass := -1
	for i := from; i < from+n; i++ {
		if q := i / len(items); q != pass {
			pass = q
			order = rand.New(rand.NewPCG(seed, uint64(pass))).Perm(len(items))
		}
		out = append(out, items[order[i%len(items)]])
	}
	return out
}
