package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"retool/engine/model"
	"retool/kernels"
)

type state uint8

const (
	waiting state = iota // for the pages of its group's first sample
	ready                // has tokens to feed
	paused               // its code is running
	done
)

// sequence is a trajectory in flight. tokens[:cached] have their keys and values in pages.
type sequence struct {
	tr      *Trajectory
	ids     []int32 // of tr's tokens
	cached  int
	seen    int // tokens[:seen] were fed before, in these pages or in evicted ones
	pages   []int32
	state   state
	others  []*sequence // of its group, until its prompt is in pages
	turn    []byte      // bytes of the assistant's turn so far
	begin   int         // token the turn began at
	turns   int
	request Request
	since   time.Time // paused
}

type outcome struct {
	s      *sequence
	call   int
	result Result
	err    error
}

// Rollouts samples every trajectory of every group to its end and returns them in the order of groups and keys. It runs one
// call at a time. The error is that of the device or of ctx, a prompt that cannot fit, or too many trajectories lost to the
// sandbox; single lost trajectories are returned with Finish Lost.
func (e *Engine) Rollouts(ctx context.Context, groups []Group, s Sampling) ([]*Trajectory, error) {
	r := &rollout{Engine: e, sampling: s}
	for g, group := range groups {
		if n := len(group.Prompt); n == 0 || n > e.cfg.MaxPrompt {
			return nil, fmt.Errorf("engine: prompt %d of %d has %d tokens, want 1 to %d (engine.max_prompt, engine.max_tokens)", g+1, len(groups), n, e.cfg.MaxPrompt)
		}
		var first *sequence
		for _, key := range group.Keys {
			q := &sequence{tr: NewTrajectory(key, group.Prompt), ids: slices.Clone(group.Prompt), begin: len(group.Prompt)}
			if first == nil {
				first, q.state = q, ready
			} else {
				first.others = append(first.others, q)
			}
			r.all = append(r.all, q)
		}
	}
	r.live = slices.Clone(r.all)
	r.results = make(chan outcome, len(r.all)) // room for one result of every sequence: no sender ever blocks
	defer func() {
		for _, q := range r.all {
			r.drop(q)
		}
	}()
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	trs := make([]*Trajectory, len(r.all))
	lost := 0
	for i, q := range r.all {
		if trs[i] = q.tr; q.tr.Finish == Lost {
			lost++
		}
	}
	e.stats.Lost += int64(lost)
	if float64(lost) > e.cfg.MaxLost*float64(len(trs)) {
		i := slices.IndexFunc(trs, func(t *Trajectory) bool { return t.Finish == Lost })
		return nil, fmt.Errorf("engine: %d of %d trajectories were lost to the interpreter, engine.max_lost allows a share of %g: %w", lost, len(trs), e.cfg.MaxLost, trs[i].Err)
	}
	return trs, nil
}

// rollout is one call of Rollouts. Its slices are reused from step to step.
type rollout struct {
	*Engine
	sampling Sampling
	all      []*sequence // oldest first
	live     []*sequence // those not done, in the same order
	results  chan outcome
	out      int // calls whose result has not come back
	batch    []*sequence
	feeds    []model.Feed
}

func (r *rollout) run(ctx context.Context) error {
	last := time.Now()
	for {
		for len(r.results) > 0 {
			r.resume(<-r.results)
		}
		r.live = slices.DeleteFunc(r.live, func(q *sequence) bool { return q.state == done })
		if len(r.live) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.schedule(); err != nil {
			return err
		}
		start := time.Now()
		r.stats.Idle += start.Sub(last)
		if len(r.batch) == 0 {
			r.await(ctx)
			last = time.Now()
			r.stats.ToolWait += last.Sub(start)
			continue
		}
		ids, logps, err := r.model.Step(r.feeds, kernels.Sampling{
			Seed: r.sampling.Seed, Temperature: r.sampling.Temperature, TopP: r.sampling.TopP, TopK: r.sampling.TopK, Vocab: r.tok.Size(),
		})
		if err != nil {
			return fmt.Errorf("engine: a step of %d sequences: %w", len(r.feeds), err)
		}
		last = time.Now()
		r.account(last.Sub(start))
		for i, q := range r.batch {
			q.cached += len(r.feeds[i].IDs)
			q.seen = max(q.seen, q.cached)
			if r.feeds[i].Draw {
				r.share(q)
				r.advance(ctx, q, ids[i], logps[i])
			}
		}
	}
}

// account books the tokens of the step's feeds, and its time in proportion to them.
func (r *rollout) account(took time.Duration) {
	prefill, total := 0, 0
	for i, q := range r.batch {
		n := len(r.feeds[i].IDs)
		total += n
		again := min(n, max(0, q.seen-q.cached))
		r.stats.Recomputed += int64(again)
		for t := q.cached + again; t < q.cached+n; t++ {
			switch q.tr.tokens[t].Source {
			case Tool:
				q.tr.Calls[len(q.tr.Calls)-1].Prefilled++
				prefill++
			case Prompt:
				prefill++
			}
		}
	}
	r.stats.Prefilled += int64(prefill)
	share := time.Duration(float64(took) * float64(prefill) / float64(total))
	r.stats.Prefill += share
	r.stats.Decode += took - share
}

// share gives the others of a group the pages of its prompt, but for the last token: each feeds that one itself, for the logits
// it draws its first token from.
func (r *rollout) share(q *sequence) {
	if len(q.others) == 0 {
		return
	}
	n := q.tr.Prompt - 1
	for _, o := range q.others {
		o.pages = append(o.pages, q.pages[:pagesFor(n)]...)
		r.pages.share(o.pages)
		o.cached, o.seen, o.state = n, n, ready
		r.stats.Shared += int64(n)
	}
	q.others = nil
}

// advance appends the token drawn for q and decides how q goes on.
func (r *rollout) advance(ctx context.Context, q *sequence, id int32, logp float32) {
	tr := q.tr
	tr.Sample(id, logp)
	q.ids = append(q.ids, id)
	r.stats.Sampled++
	defer r.grown(tr, len(q.ids)-1)
	ended := slices.Contains(r.eos, id)
	piece := r.tok.Bytes(id)
	q.turn = append(q.turn, piece...)
	var request Request
	closed := false
	if r.proto != nil {
		request, closed = r.proto.Call(q.turn, len(piece), ended)
	}
	if closed {
		q.turns++
		tr.Calls = append(tr.Calls, Call{Code: request.Code, From: r.tokenAt(q, request.From), To: len(q.ids), Result: Result{Status: "not_run"}})
	}
	switch {
	case ended && !closed:
		r.finish(q, Answer)
	case len(q.ids) >= r.cfg.MaxTokens:
		r.finish(q, Length)
	case closed && q.turns >= r.cfg.Turns:
		r.finish(q, Turns)
	case closed:
		r.pause(ctx, q, request)
	case r.cfg.TurnTokens > 0 && len(q.ids)-q.begin >= r.cfg.TurnTokens:
		r.finish(q, Length)
	}
}

// tokenAt is the token of the turn in which its byte at lies, or the turn's first.
func (r *rollout) tokenAt(q *sequence, at int) int {
	for n, t := 0, q.begin; t < len(q.ids); t++ {
		if n += len(r.tok.Bytes(q.ids[t])); n > at {
			return t
		}
	}
	return q.begin
}

// pause sends the code away. The pages stay: that is all that keeping the KV cache across a tool call takes.
func (r *rollout) pause(ctx context.Context, q *sequence, request Request) {
	q.state, q.request, q.since = paused, request, time.Now()
	call := len(q.tr.Calls) - 1
	r.stats.Calls++
	r.out++
	if request.Invalid != "" {
		r.results <- outcome{s: q, call: call, result: Result{Status: request.Invalid}}
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.CallLimit)
		defer cancel()
		result, err := r.interp.Run(ctx, q.tr.Key, request.Code)
		r.results <- outcome{q, call, result, err}
	}()
}

// resume appends the reply to a call; what is not yet cached is fed by the next step.
func (r *rollout) resume(o outcome) {
	q := o.s
	if q.state != paused || o.call != len(q.tr.Calls)-1 {
		return // given up by overdue
	}
	r.out--
	call := &q.tr.Calls[o.call]
	call.Wait = time.Since(q.since)
	if o.err != nil {
		q.tr.Err = o.err
		r.finish(q, Lost)
		return
	}
	call.Result = o.result
	reply, seamless := r.proto.Reply(q.request, o.result)
	if !seamless {
		q.tr.Overshoot++
	}
	if len(q.ids)+len(reply) > r.cfg.MaxTokens {
		call.ReplyFrom, call.ReplyTo = len(q.ids), len(q.ids)
		r.finish(q, Context)
		return
	}
	from := len(q.ids)
	q.tr.Observe(o.call, reply)
	q.ids = append(q.ids, reply...)
	r.stats.Observed += int64(len(reply))
	q.turn, q.begin, q.state = q.turn[:0], len(q.ids), ready
	r.grown(q.tr, from)
	if len(q.ids) >= r.cfg.MaxTokens {
		r.finish(q, Length)
	}
}

// await blocks until a result comes, ctx ends, or the oldest call is overdue: an interpreter that breaks its promise to return
// costs its trajectory, never the step.
func (r *rollout) await(ctx context.Context) {
	first := time.Now()
	for _, q := range r.live {
		if q.state == paused && q.since.Before(first) {
			first = q.since
		}
	}
	timer := time.NewTimer(time.Until(first.Add(r.cfg.CallLimit + r.grace)))
	defer timer.Stop()
	select {
	case o := <-r.results:
		r.resume(o)
	case <-ctx.Done():
	case <-timer.C:
		for _, q := range r.live {
			if waited := time.Since(q.since); q.state == paused && waited > r.cfg.CallLimit {
				q.tr.Err = fmt.Errorf("engine: call %d of trajectory %d has not come back after %v", len(q.tr.Calls), q.tr.Key, waited.Round(time.Millisecond))
				r.out--
				r.finish(q, Lost)
			}
		}
	}
}

func (r *rollout) grown(t *Trajectory, from int) {
	if r.Watch != nil {
		r.Watch(t, from)
	}
}

// finish ends a trajectory and frees its pages at once.
func (r *rollout) finish(q *sequence, why Finish) {
	q.tr.Finish, q.state = why, done
	r.drop(q)
	if r.interp != nil {
		r.interp.Forget(q.tr.Key)
	}
	r.grown(q.tr, q.tr.Len())
}
