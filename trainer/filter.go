package trainer

import (
	"fmt"

	"retool/engine"
	"retool/trainer/trace"
)

// Filter keeps trajectories out of the loss. They stay in their groups' baselines: their rewards are as real as the others'.
type Filter struct {
	VoidTurns  bool    `yaml:"void_turns" doc:"leave out trajectories with a turn that has neither code nor an answer (SimpleTIR)"`
	Overlong   bool    `yaml:"overlong" doc:"leave out trajectories that a budget cut off (DAPO)"`
	Repetition float64 `yaml:"repetition" doc:"leave out trajectories with a larger share of repeated 8-grams of the policy's tokens; 0: none"`
	Spread     float64 `yaml:"spread" doc:"leave out groups whose rewards differ by less; fresh prompts of rl.resample replace them; 0: none"`
}

func (f Filter) validate() error {
	switch {
	case f.Repetition < 0 || f.Repetition >= 1:
		return fmt.Errorf("rl.filter.repetition: want 0 (no filter) or a share below 1, got %g", f.Repetition)
	case f.Spread < 0:
		return fmt.Errorf("rl.filter.spread: want 0 (no filter) or more, got %g", f.Spread)
	}
	return nil
}

// keep is the episodes that f leaves in the loss, in order, and how many each rule left out; an episode counts with the first.
func (f Filter) keep(eps []*Episode) (kept []*Episode, out trace.Filtered) {
	flat := map[int]bool{}
	if f.Spread > 0 {
		flat = flatGroups(eps, f.Spread)
	}
	for _, e := range eps {
		switch {
		case f.VoidTurns && e.voidTurn():
			out.VoidTurns++
		case f.Overlong && e.overlong():
			out.Overlong++
		case f.Repetition > 0 && e.repetition() > f.Repetition:
			out.Repetition++
		case flat[e.Group]:
			out.Spread++
		default:
			kept = append(kept, e)
		}
	}
	return kept, out
}

// voidTurn reports whether a turn has neither a snippet nor an answer (Xue 2025, SimpleTIR, arXiv 2509.02479). Only the last turn can
// end without a call.
func (e *Episode) voidTurn() bool {
	for _, c := range e.Calls {
		if c.Result.Status == "no_code" || c.Result.Status == "empty_code" {
			return true
		}
	}
	return (e.Finish == engine.Answer || e.Finish == engine.Length) && e.Grade.Outcome == NoAnswer
}

// overlong reports whether a budget ended the trajectory.
func (e *Episode) overlong() bool { return e.Finish == engine.Length || e.Finish == engine.Context }

// grams is how many tokens the repetition filter compares at a time.
const grams = 8

// repetition is the share of the policy's runs of 8 tokens that it had written before, 0 for a response shorter than that.
func (e *Episode) repetition() float64 {
	n := len(e.Steps) - grams + 1
	if n < 1 {
		return 0
	}
	seen := make(map[[grams]int32]bool, n)
	for i := range n {
		var g [grams]int32
		for j := range g {
			g[j] = e.Steps[i+j].ID
		}
		seen[g] = true
	}
	return 1 - float64(len(seen))/float64(n)
}

// flatGroups are those whose rewards are all equal, or differ by less than spread.
func flatGroups(eps []*Episode, spread float64) map[int]bool {
	type bounds struct{ low, high float64 }
	groups := map[int]bounds{}
	for _, e := range eps {
		r := float64(e.Reward)
		b, ok := groups[e.Group]
		if !ok {
			b = bounds{r, r}
		}
		groups[e.Group] = bounds{min(b.low, r), max(b.high, r)}
	}
	flat := map[int]bool{}
	for g, b := range groups {
		if b.high == b.low || b.high-b.low < spread {
			flat[g] = true
		}
	}
	return flat
}
