package engine

import (
	"context"
	"fmt"

	"retool/kernels"
)

// Supply gives a rollout its groups one by one, as it has room for them.
type Supply struct {
	Next func() (g Group, ok bool, err error) // false: there are no more. On the rollout's goroutine, between two steps
	Most int                                  // trajectories in flight; 0: as many as have pages
	All  int                                  // trajectories that are expected, for Progress
	Step func(done, live int)                 // when set, called before every step
}

// Rollouts samples every trajectory of every group to its end and returns them in the order of groups and keys. It runs one
// call at a time. The error is that of the device or of ctx, a prompt that cannot fit, or too many trajectories lost to the
// sandbox; single lost trajectories are returned with Finish Lost.
func (e *Engine) Rollouts(ctx context.Context, groups []Group, s Sampling) ([]*Trajectory, error) {
	stream := e.Stream(s)
	defer stream.Close()
	if err := stream.Add(groups...); err != nil {
		return nil, err
	}
	trs, err := stream.run(ctx, Supply{All: len(stream.live)})
	if err == nil {
		err = e.TooManyLost(trs)
	}
	if err != nil {
		return nil, err
	}
	return trs, nil
}

// RolloutsFrom is Rollouts of the groups that a source gives, in its order, without the judgement of TooManyLost: where several engines
// share the groups it is for all their trajectories together.
func (e *Engine) RolloutsFrom(ctx context.Context, from Supply, s Sampling) ([]*Trajectory, error) {
	stream := e.Stream(s)
	defer stream.Close()
	return stream.run(ctx, from)
}

// TooManyLost is an error where the sandbox lost more of the trajectories than engine.max_lost allows.
func (e *Engine) TooManyLost(trs []*Trajectory) error {
	var lost []*Trajectory
	for _, t := range trs {
		if t.Finish == Lost {
			lost = append(lost, t)
		}
	}
	if float64(len(lost)) <= e.cfg.MaxLost*float64(len(trs)) {
		return nil
	}
	return fmt.Errorf(
		"engine: %d of %d trajectories were lost to the interpreter, engine.max_lost allows a share of %g: %w", len(lost), len(trs),
		e.cfg.MaxLost, lost[0].Err,
	)
}

// run steps until what is in flight, and what the source gives, has ended.
func (r *Stream) run(ctx context.Context, from Supply) (trs []*Trajectory, err error) {
	for _, q := range r.live {
		trs = append(trs, q.tr)
	}
	sampled := r.stats.Sampled
	for {
		if trs, err = r.fill(&from, trs); err != nil {
			return nil, err
		}
		if r.Live() == 0 {
			r.progress(len(trs), len(trs), sampled) // of those expected, others may have taken some
			return trs, nil
		}
		r.progress(len(trs)-r.Live(), max(len(trs), from.All), sampled)
		if from.Step != nil {
			from.Step(len(trs)-r.Live(), r.Live())
		}
		if _, err := r.Step(ctx); err != nil {
			return nil, err
		}
	}
}

// progress says how far the rollouts are: before anything was drawn beyond so many tokens, how far their prompts.
func (r *Stream) progress(done, all int, sampled int64) {
	if r.Prefilling != nil {
		if r.prefilling = r.prefilling && r.stats.Sampled == sampled; r.prefilling {
			done := 0
			done, r.prompts = r.fed()
			r.Prefilling(done, r.prompts)
			return
		}
		if r.prompts > 0 {
			r.Prefilling(r.prompts, r.prompts)
			r.prompts = 0
		}
	}
	if r.Progress != nil {
		r.Progress(done, all)
	}
}

// fed is how many tokens of the prompts in flight have been fed, of all.
func (r *Stream) fed() (done, all int) {
	for _, q := range r.live {
		if q.state != waiting { // the others of its group share its first sample's
			done, all = done+min(q.cached, q.tr.Prompt), all+q.tr.Prompt
		}
	}
	return done, all
}

// fill takes groups while there is room for one like the last: pages for what is in flight as long as it is, and within Supply.Most.
func (r *Stream) fill(from *Supply, trs []*Trajectory) ([]*Trajectory, error) {
	for from.Next != nil {
		if n := len(r.live); n > 0 {
			last := r.live[n-1]
			if from.Most > 0 && n+r.grouped > from.Most || r.needed()+kernels.PagesOf(last.tr.Prompt+1)+r.grouped-1 > r.Pages()-1 {
				break
			}
		}
		g, ok, err := from.Next()
		if err != nil {
			return nil, err
		}
		if !ok {
			from.Next = nil
			break
		}
		before := len(r.live)
		if err := r.Add(g); err != nil {
			return nil, err
		}
		r.grouped = len(g.Keys)
		for _, q := range r.live[before:] {
			trs = append(trs, q.tr)
		}
	}
	return trs, nil
}

// needed is the pages that what is in flight has, or needs for its next token.
func (r *Stream) needed() int {
	n := 0
	for _, q := range r.live {
		if q.state == waiting {
			n++ // the others of its group have those of the prompt
			continue
		}
		n += max(len(q.pages), kernels.PagesOf(len(q.ids)+1))
	}
	return n
}
