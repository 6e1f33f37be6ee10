package trainer

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine"
)

// randomEpisode has policy tokens with tool output between them, values and a reward.
func randomEpisode(t *rapid.T, observations bool) *Episode {
	tr := engine.NewTrajectory(1, rapid.SliceOfN(rapid.Int32Range(0, 9), 1, 6).Draw(t, "prompt"))
	for range rapid.IntRange(1, 4).Draw(t, "turns") {
		for range rapid.IntRange(1, 8).Draw(t, "sampled") {
			tr.Sample(rapid.Int32Range(0, 9).Draw(t, "id"), -rapid.Float32Range(0, 3).Draw(t, "logp"))
		}
		if reply := rapid.SliceOfN(rapid.Int32Range(0, 9), 0, 7).Draw(t, "reply"); observations {
			tr.Calls = append(tr.Calls, engine.Call{})
			tr.Observe(len(tr.Calls)-1, reply)
		}
	}
	e := NewEpisode(tr, &Problem{}, 0)
	e.Reward = rapid.Float32Range(-1, 1).Draw(t, "reward")
	for i := range e.Steps {
		e.Steps[i].Value = rapid.Float32Range(-1, 1).Draw(t, "value")
	}
	return e
}

// without is the episode as if no tool had ever replied.
func without(e *Episode) *Episode {
	ids := make([]int32, e.Prompt)
	for i := range ids {
		ids[i] = e.Tokens()[i].ID
	}
	tr := engine.NewTrajectory(e.Key, ids)
	for _, k := range e.Tokens() {
		if k.Source == engine.Policy {
			tr.Sample(k.ID, k.LogProb)
		}
	}
	f := NewEpisode(tr, e.Problem, e.Group)
	f.Reward = e.Reward
	for i := range f.Steps {
		f.Steps[i].Value = e.Steps[i].Value
	}
	return f
}

func TestGAEStepsOverToolOutput(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := randomEpisode(rt, true)
		f := without(e)
		gamma, lambda := rapid.Float64Range(0.5, 1).Draw(rt, "gamma"), rapid.Float64Range(0, 1).Draw(rt, "lambda")
		GAE(e, gamma, lambda)
		GAE(f, gamma, lambda)
		for i := range e.Steps {
			require.Equal(rt, f.Steps[i].Advantage, e.Steps[i].Advantage)
			require.Equal(rt, f.Steps[i].Return, e.Steps[i].Return)
		}
	})
}

func TestGAEIsTheSumOfDiscountedErrors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := randomEpisode(rt, true)
		gamma, lambda := rapid.Float64Range(0.5, 1).Draw(rt, "gamma"), rapid.Float64Range(0, 1).Draw(rt, "lambda")
		GAE(e, gamma, lambda)
		n := len(e.Steps)
		for i := range e.Steps {
			sum := 0.0
			for j := i; j < n; j++ {
				next, reward := 0.0, float64(e.Reward)
				if j+1 < n {
					next, reward = float64(e.Steps[j+1].Value), 0
				}
				sum += math.Pow(gamma*lambda, float64(j-i)) * (reward + gamma*next - float64(e.Steps[j].Value))
			}
			require.InDelta(rt, sum, e.Steps[i].Advantage, 1e-5)
		}
		GAE(e, 1, 1)
		for _, s := range e.Steps {
			require.InDelta(rt, e.Reward-s.Value, s.Advantage, 1e-5, "γ = λ = 1 gives R − V")
			require.InDelta(rt, e.Reward, s.Return, 1e-5)
		}
	})
}

func TestWhitenedAdvantagesHaveMeanZeroAndDeviationOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		eps := []*Episode{randomEpisode(rt, true), randomEpisode(rt, true), randomEpisode(rt, false)}
		for i, e := range eps {
			GAE(e, 1, 1)
			e.Steps[0].Advantage += float32(i) // never all equal
		}
		Whiten(eps)
		var n, sum, squares float64
		for _, e := range eps {
			for _, s := range e.Steps {
				n++
				sum += float64(s.Advantage)
				squares += float64(s.Advantage) * float64(s.Advantage)
			}
		}
		require.InDelta(rt, 0, sum/n, 1e-4)
		require.InDelta(rt, 1, squares/n, 1e-3)
	})
}

func TestGroupBaselineComparesWithinAGroup(t *testing.T) {
	rewards := []float32{1, -1, -1, -1, 1, 1}
	groups := []int{0, 0, 0, 0, 1, 1}
	var eps []*Episode
	for i := range rewards {
		tr := engine.NewTrajectory(int64(i), []int32{1})
		tr.Sample(2, -1)
		tr.Sample(3, -1)
		e := NewEpisode(tr, &Problem{}, groups[i])
		e.Reward = rewards[i]
		eps = append(eps, e)
	}
	GroupBaseline(eps, true)
	for i, want := range []float32{1.5, -0.5, -0.5, -0.5, 0, 0} {
		for _, s := range eps[i].Steps {
			require.InDelta(t, want, s.Advantage, 1e-5)
		}
	}
}

func TestPackScoresEachChoiceOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var eps []*Episode
		for range rapid.IntRange(1, 6).Draw(rt, "episodes") {
			eps = append(eps, randomEpisode(rt, true))
		}
		budget := rapid.IntRange(60, 200).Draw(rt, "tokens")
		seen := map[*Episode]int{}
		for _, b := range Pack(eps, budget, 0.25) {
			require.LessOrEqual(rt, len(b.IDs), budget)
			require.EqualValues(rt, len(b.IDs), b.Starts[len(b.Starts)-1])
			r := 0
			for i, e := range b.Episodes {
				base := b.Starts[i]
				for j := base; j < b.Starts[i+1]; j++ {
					require.Equal(rt, e.Tokens()[j-base].ID, b.IDs[j])
				}
				for _, s := range e.Steps {
					require.Equal(rt, base+s.Index-1, b.Rows[r], "a choice is predicted from the token before it")
					require.Equal(rt, e.Tokens()[s.Index].ID, b.Target[r])
					require.Equal(rt, engine.Policy, e.Tokens()[s.Index].Source)
					require.Equal(rt, float32(0.25), b.Weight[r])
					require.Equal(rt, s.LogProb, b.OldLogProb[r])
					seen[e]++
					r++
				}
			}
			require.Len(rt, b.Rows, r)
		}
		for _, e := range eps {
			require.Equal(rt, e.Count(engine.Policy), seen[e])
		}
	})
}
