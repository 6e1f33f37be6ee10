package trainer

import "fmt"

// watch says, once for each time it begins, what makes a run learn nothing or lose its way, and why. It changes nothing.
type watch struct {
	first float64 // entropy of the first step seen
	said  map[string]bool
}

// Bounds that the watch speaks up at.
const (
	collapsedEntropy = 0.01 // of the first step's
	solved           = 0.95 // an accuracy at which a sure policy is no collapse
	mostClipped      = 0.5
	farAway          = 1.0 // nats of divergence from the rollout's policy within a step
)

// step looks at a step that was made.
func (w *watch) step(s *Stats, note func(string)) {
	if w.first == 0 && s.entropyWeight > 0 {
		w.first = s.Entropy
	}
	groups := taught(s.Episodes)
	out := s.Filtered.VoidTurns + s.Filtered.Overlong + s.Filtered.Repetition + s.Filtered.Spread
	idle := s.updates == 0 && s.Skipped == 0
	for _, c := range []struct {
		name string
		when bool
		text string
	}{
		{"flat", s.Flat > 0 && (idle || 10*s.Flat >= 9*groups), fmt.Sprintf("the rewards of %d of %d groups are equal at an accuracy of "+
			"%.0f %%: they have no advantages; want easier or harder prompts, a larger rl.group, or rl.resample", s.Flat, groups, 100*s.Accuracy)},
		{"filtered", idle && out > 0, fmt.Sprintf("nothing was learnt: rl.filter left out %d trajectories (void turns %d, overlong %d, "+
			"repetition %d, spread %d)", out, s.Filtered.VoidTurns, s.Filtered.Overlong, s.Filtered.Repetition, s.Filtered.Spread)},
		{"entropy", s.entropyWeight > 0 && s.Entropy < collapsedEntropy*w.first && s.Accuracy < solved, fmt.Sprintf("entropy fell from %.3g to "+
			"%.3g nats a token at an accuracy of %.0f %%: the policy explores no more; want rl.entropy, a higher rl.clip_high, clip-cov, kl-cov, "+
			"or a lower rl.lr", w.first, s.Entropy, 100*s.Accuracy)},
		{"clip", s.Clip > mostClipped, fmt.Sprintf("the ratio of %.0f %% of tokens was clipped: want a lower rl.lr, fewer updates a step, "+
			"or wider rl.clip_low and rl.clip_high", 100*s.Clip)},
		{"far", s.KL > farAway, fmt.Sprintf("the policy moved %.3g nats a token away from its rollout within a step: want a lower rl.lr, or "+
			"fewer updates a step", s.KL)},
	} {
		if c.when && !w.said[c.name] {
			note(c.text)
		}
		if w.said == nil {
			w.said = map[string]bool{}
		}
		w.said[c.name] = c.when
	}
}
