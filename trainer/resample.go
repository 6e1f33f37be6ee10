package trainer

import (
	"context"
	"fmt"

	"retool/engine"
)

// Dynamic sampling (Yu 2025, DAPO, §3.2): a group whose rewards are all equal has advantages of 0 and teaches nothing. Fresh prompts take
// its place, round after round, until a step has as many groups that teach as it has prompts, or rl.resample rounds are over. What was
// sampled in vain is counted, graded and recorded like the rest; it is in no loss.

// collect samples a step: problems first, then fresh ones for groups that are flat. eps is all that was sampled, use what the step learns
// from, in the order of their groups. fresh gives the next n problems of the run's sequence; nil: there are none.
func (p *PPO) collect(
	ctx context.Context, step int, problems []*Problem, fresh func(n int) []*Problem, s *Stats,
) (eps, use []*Episode, err error) {
	groups := 0
	for round := 0; ; round++ {
		more, err := p.sample(ctx, step, groups, problems)
		if err != nil {
			return nil, nil, err
		}
		groups += len(problems)
		eps = append(eps, more...)
		if p.cfg.RL.Resample == 0 || fresh == nil {
			return eps, trainable(eps), nil
		}
		flat := flatGroups(trainable(more), p.cfg.RL.Filter.Spread)
		for _, e := range trainable(more) {
			if !flat[e.Group] {
				use = append(use, e)
			}
		}
		missing := p.cfg.RL.Prompts - taught(use)
		p.doing.tell("resample", fmt.Sprintf("groups that teach, after round %d of %d", round, p.cfg.RL.Resample), p.cfg.RL.Prompts-missing,
			p.cfg.RL.Prompts)
		if missing <= 0 || round == p.cfg.RL.Resample {
			s.Flat = max(0, missing)
			s.unused(eps, use)
			return eps, use, nil
		}
		problems = fresh(missing)
		s.Resampled += missing
	}
}

// addShares adds what the ranks did in another round of a step's rollouts.
func addShares(a, b []share) []share {
	if a == nil {
		return b
	}
	for i := range a {
		a[i].seconds += b[i].seconds
		a[i].stats = a[i].stats.Sub(engine.Stats{}.Sub(b[i].stats))
	}
	return a
}

// taught is the number of groups that episodes are of.
func taught(eps []*Episode) int {
	groups := map[int]bool{}
	for _, e := range eps {
		groups[e.Group] = true
	}
	return len(groups)
}

// unused books what was sampled and is not used.
func (s *Stats) unused(eps, use []*Episode) {
	for _, e := range eps {
		s.ResampledIn += int64(len(e.Steps))
	}
	for _, e := range use {
		s.ResampledIn -= int64(len(e.Steps))
	}
}
