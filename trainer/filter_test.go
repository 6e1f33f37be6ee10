package trainer

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine"
	"retool/trainer/trace"
)

// written is a graded episode with the given tokens of the policy and a call of each status between them.
func written(group int, reward float32, finish engine.Finish, outcome Outcome, ids []int32, statuses ...string) *Episode {
	tr := engine.NewTrajectory(1, []int32{1})
	tr.Finish = finish
	for _, id := range ids {
		tr.Sample(id, -1)
	}
	for i, status := range statuses {
		tr.Calls = append(tr.Calls, engine.Call{Result: engine.Result{Status: status}})
		tr.Observe(i, []int32{9})
	}
	e := NewEpisode(tr, &Problem{}, group)
	e.Reward, e.Grade.Outcome = reward, outcome
	return e
}

func TestFiltersLeaveOutWhatTheyName(t *testing.T) {
	void := written(0, -1, engine.Answer, Wrong, []int32{1, 2}, "no_code")
	silent := written(0, -1, engine.Answer, NoAnswer, []int32{1, 2}, "ok")
	cut := written(0, -1, engine.Length, NoAnswer, []int32{1, 2})
	full := written(1, 1, engine.Context, Correct, []int32{1, 2}, "ok")
	turns := written(1, -1, engine.Turns, NoAnswer, []int32{1, 2}, "ok", "ok")
	var loop []int32
	for range 8 {
		loop = append(loop, 1, 2, 3, 4)
	}
	again := written(2, -1, engine.Answer, Wrong, loop)
	fine := written(2, 1, engine.Answer, Correct, []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	flat := written(3, 0.5, engine.Answer, Correct, []int32{1})
	nearly := written(3, 0.4, engine.Answer, Correct, []int32{1})
	all := []*Episode{void, silent, cut, full, turns, again, fine, flat, nearly}
	for _, c := range []struct {
		filter Filter
		kept   []*Episode
		out    trace.Filtered
	}{
		{Filter{}, all, trace.Filtered{}},
		{Filter{VoidTurns: true}, []*Episode{full, turns, again, fine, flat, nearly}, trace.Filtered{VoidTurns: 3}},
		{Filter{Overlong: true}, []*Episode{void, silent, turns, again, fine, flat, nearly}, trace.Filtered{Overlong: 2}},
		{Filter{Repetition: 0.5}, []*Episode{void, silent, cut, full, turns, fine, flat, nearly}, trace.Filtered{Repetition: 1}},
		{Filter{Spread: 0.2}, []*Episode{full, turns, again, fine}, trace.Filtered{Spread: 5}},
		{Filter{VoidTurns: true, Overlong: true, Repetition: 0.5, Spread: 0.2}, []*Episode{turns, fine},
			trace.Filtered{VoidTurns: 3, Overlong: 1, Repetition: 1, Spread: 2}},
	} {
		kept, out := c.filter.keep(all)
		require.Equal(t, c.kept, kept, "%+v", c.filter)
		require.Equal(t, c.out, out, "%+v", c.filter)
	}
}

func TestThePenaltyOfLengthRisesOverTheCache(t *testing.T) {
	o := Overlong{Budget: 100, Cache: 20, Penalty: 0.5}
	for n, want := range map[int]float64{0: 0, 80: 0, 85: 0.125, 90: 0.25, 100: 0.5, 101: 0.5, 500: 0.5} {
		require.InDelta(t, want, o.of(n), 1e-12, "%d tokens", n)
	}
	require.Zero(t, Overlong{}.of(1000))
	r := DefaultConfig().Reward
	r.Overlong = o
	tr := engine.NewTrajectory(1, []int32{2})
	for range 90 {
		tr.Sample(1, -1)
	}
	g, reward := r.Grade(tr, "1", func(int32) []byte { return []byte(`\boxed{1}`) }, engine.OutsideCode)
	require.Equal(t, float32(1), g.Rewards.Paper, "what is logged has no penalty")
	require.InDelta(t, 0.75, reward, 1e-6)
}

// The weights of a minibatch are those of its average, sum to 1 but for a constant divisor, and see neither tool output nor order.
func TestWeightsAreOfTheWholeMinibatch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		eps, _ := drawEpisodes(rt)
		rl := settingsOf(rt, "{algorithm: grpo}")
		rl.Aggregate = rapid.SampledFrom(averages).Draw(rt, "aggregate")
		rl.Horizon = rapid.IntRange(1, 30).Draw(rt, "horizon")
		grpo.weigh(rl, eps, nil)
		n, groups := float64(predictions(eps)), map[int]float64{}
		sum, sums := 0.0, map[int]float64{}
		for _, e := range eps {
			groups[e.Group] += float64(len(e.Steps))
		}
		for _, e := range eps {
			of := 0.0
			for _, s := range e.Steps {
				of += float64(s.Share) / n
			}
			sum, sums[e.Group] = sum+of, sums[e.Group]+of
			want := map[string]float64{
				"token": float64(len(e.Steps)) / n, "sequence": 1 / float64(len(eps)),
				"group":    float64(len(e.Steps)) / groups[e.Group] / float64(len(groups)),
				"constant": float64(len(e.Steps)) / float64(rl.Horizon*len(eps)),
			}[rl.Aggregate]
			require.InDelta(rt, want, of, 1e-5)
		}
		if rl.Aggregate == "constant" {
			return
		}
		require.InDelta(rt, 1, sum, 1e-5)
		if rl.Aggregate == "group" {
			for _, of := range sums {
				require.InDelta(rt, 1/float64(len(groups)), of, 1e-5)
			}
		}
	})
}

// λ of VAPO lets the reward reach a constant share of a response; the critic's targets have a λ of their own.
func TestPolicyAndCriticHaveTheirOwnLambda(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := randomEpisode(rt, true)
		rl := settingsOf(rt, "{algorithm: vapo, whiten: false, critic_lambda: 1}")
		rl.LambdaLength = rapid.Float64Range(0.01, 2).Draw(rt, "alpha")
		estimateGAE(rl, []*Episode{e})
		f := without(e)
		GAE(f, 1, max(0, 1-1/(rl.LambdaLength*float64(len(e.Steps)))))
		for i, s := range e.Steps {
			require.Equal(rt, f.Steps[i].Advantage, s.Advantage)
			require.InDelta(rt, e.Reward, s.Return, 1e-5, "λ = 1 of the critic: its target is the whole return")
		}
	})
}

// A penalty in the reward falls on the step that earned it, and on all before it by the algorithm's own credit.
func TestPenaltiesInTheRewardAreEachStepsOwn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := randomEpisode(rt, true)
		for i := range e.Steps {
			e.Steps[i].Ref = e.Steps[i].LogProb + rapid.Float32Range(-1, 1).Draw(rt, "away")
		}
		estimator := rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(rt, "estimator")
		mean := penalise([]*Episode{e}, RL{KL: 0.3, KLEstimator: estimator})
		RewardsToCome([]*Episode{e})
		sum := 0.0
		for i := len(e.Steps) - 1; i >= 0; i-- {
			s := e.Steps[i]
			x := float64(s.Ref) - float64(s.LogProb)
			d := map[string]float64{"k1": -x, "k2": x * x / 2, "k3": math.Exp(x) - 1 - x}[estimator]
			sum += d
			require.InDelta(rt, -0.3*d, s.Reward, 1e-5)
			require.InDelta(rt, float64(e.Reward)-0.3*sum, s.Advantage, 1e-4)
		}
		require.InDelta(rt, sum/float64(len(e.Steps)), mean, 1e-5)
		GAE(e, 1, 1)
		require.InDelta(rt, float64(e.Reward)-0.3*sum-float64(e.Steps[0].Value), e.Steps[0].Advantage, 1e-4)
	})
}

func TestMinibatchesAreOfAboutOneSize(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		eps := make([]*Episode, rapid.IntRange(0, 300).Draw(rt, "episodes"))
		for i := range eps {
			eps[i] = &Episode{Group: i}
		}
		size := rapid.IntRange(1, 100).Draw(rt, "size")
		var all []*Episode
		least, most := len(eps), 0
		for _, mini := range minibatches(eps, size) {
			all = append(all, mini...)
			least, most = min(least, len(mini)), max(most, len(mini))
		}
		require.Equal(rt, len(eps), len(all))
		for i := range all {
			require.Same(rt, eps[i], all[i])
		}
		require.LessOrEqual(rt, most, size)
		require.LessOrEqual(rt, most-least, 1)
		require.Len(rt, minibatches(eps, size), (len(eps)+size-1)/size)
	})
}
