package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
	stale   bool      // keys and values in its pages are of weights before those it is drawn from
}

type outcome struct {
	s      *sequence
	call   int
	result Result
	err    error
}

// A Stream is rollouts in flight: groups come in at any time, trajectories go out as they finish, and both go on when the weights
// change between two steps. One goroutine owns the stream, the model and the pages; an engine has one stream at a time.
type Stream struct {
	*Engine
	sampling Sampling
	live     []*sequence // oldest first
	finished []*Trajectory
	results  mailbox
	out      int // calls whose result has not come back
	grouped  int // trajectories of the group that a Supply gave last
	batch    []*sequence
	feeds    []model.Feed
	caches   int // Model.Caches, when pages were last written
	last     time.Time

	prefilling bool // nothing was drawn yet
	prompts    int  // tokens of those that Prefilling was told of
}

// Stream begins one. Close gives its pages back.
func (e *Engine) Stream(s Sampling) *Stream {
	return &Stream{Engine: e, sampling: s, prefilling: true, results: mailbox{ready: make(chan struct{}, 1)}, last: time.Now()}
}

// Add takes groups in, behind those that are there. The error is a prompt that is empty or too long; then none was taken.
func (r *Stream) Add(groups ...Group) error {
	for g, group := range groups {
		if n := len(group.Prompt); n == 0 || n > r.cfg.MaxPrompt {
			return fmt.Errorf("engine: prompt %d of %d has %d tokens, want 1 to %d (engine.max_prompt, engine.max_tokens)",
				g+1, len(groups), n, r.cfg.MaxPrompt)
		}
	}
	for _, group := range groups {
		var first *sequence
		for _, key := range group.Keys {
			q := &sequence{tr: NewTrajectory(key, group.Prompt), ids: slices.Clone(group.Prompt), begin: len(group.Prompt)}
			if first == nil {
				first, q.state = q, ready
			} else {
				first.others = append(first.others, q)
			}
			r.live = append(r.live, q)
		}
	}
	return nil
}

// Live is the number of trajectories in flight.
func (r *Stream) Live() int { return len(r.live) }

// NewWeights says that the model's weights have changed: every token drawn from here on carries the version. What is in the pages
// belongs to the weights before. With keep it stays, and tokens drawn over it are counted as Stats.Stale; else every sequence feeds
// its tokens again.
func (r *Stream) NewWeights(version int32, keep bool) {
	r.sampling.Version = version
	for _, q := range r.live {
		if !keep {
			r.drop(q)
		} else if q.cached > 0 {
			q.stale = true
		}
	}
}

// Close drops what is in flight. Calls that are running come back to nobody.
func (r *Stream) Close() {
	for _, q := range r.live {
		r.drop(q)
	}
	r.live = nil
}

// Step feeds one batch to the model, or waits for an interpreter where none can be fed, and returns the trajectories that ended. The
// error is that of the device or of ctx.
func (r *Stream) Step(ctx context.Context) ([]*Trajectory, error) {
	r.finished = nil
	for _, o := range r.results.take() {
		r.resume(o)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.forget()
	if len(r.live) == 0 {
		return r.finished, nil
	}
	if n := r.model.Caches(); n != r.caches { // the model has learnt in the memory of the pages: what was in them is fed again
		for _, q := range r.live {
			r.drop(q)
		}
		r.caches = n
	}
	if err := r.schedule(); err != nil {
		return nil, err
	}
	start := time.Now()
	r.stats.Idle += start.Sub(r.last)
	if len(r.batch) == 0 {
		r.await(ctx)
		r.last = time.Now()
		r.stats.ToolWait += r.last.Sub(start)
	} else if err := r.feed(ctx, start); err != nil {
		return nil, err
	}
	r.forget()
	return r.finished, nil
}

// forget takes the sequences that ended out of the list.
func (r *Stream) forget() {
	r.live = slices.DeleteFunc(r.live, func(q *sequence) bool { return q.state == done })
}

// feed gives the batch to the model and advances what drew a token.
func (r *Stream) feed(ctx context.Context, start time.Time) error {
	ids, logps, sets, err := r.draw()
	if err != nil {
		return fmt.Errorf("engine: a step of %d sequences: %w", len(r.feeds), err)
	}
	r.last = time.Now()
	r.account(r.last.Sub(start))
	for i, q := range r.batch {
		q.cached += len(r.feeds[i].IDs)
		q.seen = max(q.seen, q.cached)
		if r.feeds[i].Draw {
			r.share(q)
			if sets != nil {
				q.tr.SampleOf(sets[i], ids[i], logps[i])
			} else {
				q.tr.Sample(ids[i], logps[i])
			}
			r.advance(ctx, q, ids[i])
		}
	}
	return nil
}

// draw is the model's step; sets are nil unless they are recorded.
func (r *Stream) draw() (ids []int32, logps []float32, sets [][]int32, err error) {
	s := r.sampling
	how := kernels.Sampling{Seed: s.Seed, Temperature: s.Temperature, TopP: s.TopP, TopK: s.TopK, MinP: s.MinP, Vocab: r.tok.Size()}
	if s.Sets && how.Truncated() {
		return r.model.StepKept(r.feeds, how)
	}
	ids, logps, err = r.model.Step(r.feeds, how)
	return ids, logps, nil, err
}

// account books the tokens of the step's feeds, and its time in proportion to them.
func (r *Stream) account(took time.Duration) {
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
func (r *Stream) share(q *sequence) {
	if len(q.others) == 0 {
		return
	}
	n := q.tr.Prompt - 1
	for _, o := range q.others {
		o.pages = append(o.pages, q.pages[:kernels.PagesOf(n)]...)
		r.pages.share(o.pages)
		o.cached, o.seen, o.state = n, n, ready
		r.stats.Shared += int64(n)
	}
	q.others = nil
}

// advance decides how q goes on after its trajectory got a token.
func (r *Stream) advance(ctx context.Context, q *sequence, id int32) {
	tr := q.tr
	tr.tokens[len(tr.tokens)-1].Version = r.sampling.Version
	if q.stale {
		r.stats.Stale++
	}
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
func (r *Stream) tokenAt(q *sequence, at int) int {
	for n, t := 0, q.begin; t < len(q.ids); t++ {
		if n += len(r.tok.Bytes(q.ids[t])); n > at {
			return t
		}
	}
	return q.begin
}

// pause sends the code away. The pages stay: that is all that keeping the KV cache across a tool call takes.
func (r *Stream) pause(ctx context.Context, q *sequence, request Request) {
	q.state, q.request, q.since = paused, request, time.Now()
	call := len(q.tr.Calls) - 1
	r.stats.Calls++
	r.out++
	if request.Invalid != "" {
		r.results.put(outcome{s: q, call: call, result: Result{Status: request.Invalid}})
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.CallLimit)
		defer cancel()
		result, err := r.interp.Run(ctx, q.tr.Key, request.Code)
		r.results.put(outcome{q, call, result, err})
	}()
}

// resume appends the reply to a call; what is not yet cached is fed by the next step.
func (r *Stream) resume(o outcome) {
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
func (r *Stream) await(ctx context.Context) {
	first := time.Now()
	for _, q := range r.live {
		if q.state == paused && q.since.Before(first) {
			first = q.since
		}
	}
	timer := time.NewTimer(time.Until(first.Add(r.cfg.CallLimit + r.grace)))
	defer timer.Stop()
	select {
	case <-r.results.ready:
		for _, o := range r.results.take() {
			r.resume(o)
		}
	case <-ctx.Done():
	case <-timer.C:
		for _, q := range r.live {
			if waited := time.Since(q.since); q.state == paused && waited > r.cfg.CallLimit {
				q.tr.Err = fmt.Errorf("engine: call %d of trajectory %d has not come back after %v",
					len(q.tr.Calls), q.tr.Key, waited.Round(time.Millisecond))
				r.out--
				r.finish(q, Lost)
			}
		}
	}
}

func (r *Stream) grown(t *Trajectory, from int) {
	if r.Watch != nil {
		r.Watch(t, from)
	}
}

// finish ends a trajectory and frees its pages at once.
func (r *Stream) finish(q *sequence, why Finish) {
	q.tr.Finish, q.state = why, done
	r.finished = append(r.finished, q.tr)
	if why == Lost {
		r.stats.Lost++
	}
	r.drop(q)
	if r.interp != nil {
		r.interp.Forget(q.tr.Key)
	}
	r.grown(q.tr, q.tr.Len())
}

// A mailbox holds results until the stream's goroutine takes them: no sender ever blocks, however many calls there are.
type mailbox struct {
	mu    sync.Mutex
	list  []outcome
	ready chan struct{} // holds one element while the list is not empty
}

func (m *mailbox) put(o outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, o)
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.ready:
	default:
	}
	list := m.list
	m.list = nil
	return list
}
