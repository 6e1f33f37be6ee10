package trainer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/trace"
)

func TestSchedules(t *testing.T) {
	o := Optimizer{LR: 1, Schedule: "linear", Warmup: 4, Floor: 0.1}
	for i, want := range []float64{0.25, 0.5, 0.75, 1, 1} {
		require.InDelta(t, want, o.Rate(i, 20), 1e-12)
	}
	require.InDelta(t, 0.1, o.Rate(19, 20), 1e-12, "the last step is at the floor")
	o.Schedule = "cosine"
	require.InDelta(t, 1, o.Rate(4, 21), 1e-12)
	require.InDelta(t, 0.1+0.9/2, o.Rate(12, 21), 1e-12, "half way down")
	require.InDelta(t, 0.1, o.Rate(20, 21), 1e-12)
	o.Schedule = "constant"
	require.Equal(t, 1., o.Rate(19, 20))
}

func TestEvaluationOfKnownTallies(t *testing.T) {
	var rs []trace.Record
	add := func(problem string, correct, wrong int) {
		for i := range correct + wrong {
			outcome, answer := "correct", "7"
			if i >= correct {
				outcome, answer = "wrong", "8"
			}
			rs = append(rs, trace.Record{Problem: problem, Outcome: outcome, Answer: answer, Finish: "answer", Sources: "pm", IDs: []int32{1, 2}, Prompt: 1})
		}
	}
	add("a", 4, 0)
	add("b", 1, 3)
	add("c", 0, 4)
	rs = append(rs, trace.Record{Problem: "c", Outcome: "verifier_error", Finish: "answer", Prompt: 1}, trace.Record{Problem: "d", Finish: engine.Lost.String()})
	e := Summarise(rs, answer.Math)
	require.Equal(t, 3, e.Problems)
	require.Equal(t, 2, e.Lost)
	require.InDelta(t, (1+0.25+0)/3, e.Accuracy, 1e-12)
	require.InDelta(t, 0.25/3, e.Sampling, 1e-12, "√(¼·¾/3)/3")
	require.InDelta(t, 0.30046, e.Population, 1e-4, "sd(1, ¼, 0)/√3")
	require.InDelta(t, (1+0.5+0)/3, e.PassAt[2], 1e-12, "1 − C(3,2)/C(4,2) = ½")
	require.InDelta(t, 2/3., e.PassAt[4], 1e-12)
	require.InDelta(t, 1/3., e.Majority, 1e-12)
	require.Less(t, e.Low, e.Accuracy)
	require.Greater(t, e.High, e.Accuracy)
	low, high := wilson(0, 0, 100)
	require.Zero(t, low)
	require.InDelta(t, 0.037, high, 1e-3, "no success in a hundred does not prove zero")
}

func TestWrapperIsStrippedWhole(t *testing.T) {
	require.Equal(t, "What?", StripWrapper(wrapperBefore+"What?"+wrapperAfter))
	require.Equal(t, "What?"+wrapperAfter, StripWrapper("What?"+wrapperAfter))
	require.Equal(t, "What?", StripWrapper("What?"))
}

func TestGradeSeesOnlyWhatThePolicyWroteOutsideCode(t *testing.T) {
	words := map[int32]string{1: `\boxed{1}`, 2: `\boxed{2}`, 3: "<code>", 4: "</code>", 5: `\boxed{5}`}
	bytes := func(id int32) []byte {
		if s, ok := words[id]; ok {
			return []byte(s)
		}
		return nil // a special token
	}
	build := func(policy []int32, tool []int32, after []int32) *engine.Trajectory {
		tr := engine.NewTrajectory(1, []int32{1}) // the prompt holds a box too
		for _, id := range policy {
			tr.Sample(id, -1)
		}
		tr.Calls = append(tr.Calls, engine.Call{})
		tr.Observe(0, tool)
		for _, id := range after {
			tr.Sample(id, -1)
		}
		return tr
	}
	r := DefaultConfig().Reward
	g, reward := r.Grade(build([]int32{3, 5, 4}, []int32{2}, []int32{9}), "2", bytes)
	require.Equal(t, NoAnswer, g.Outcome, "neither prompt, nor code, nor tool output is an answer")
	require.Equal(t, float32(-1), reward)
	g, reward = r.Grade(build([]int32{3, 5, 4}, []int32{1}, []int32{2, 9}), "2", bytes)
	require.Equal(t, Correct, g.Outcome)
	require.Equal(t, float32(1), reward)
	require.Equal(t, float32(1), g.Rewards.DAPOStrict)
	g, _ = r.Grade(build([]int32{5}, nil, []int32{9}), "2", bytes)
	require.Equal(t, Wrong, g.Outcome)
	require.InDelta(t, -0.9, g.Rewards.ToolShaped, 1e-6, "one call, counted as turns")
	r.Count = "calls"
	g, _ = r.Grade(build([]int32{5}, nil, []int32{9}), "2", bytes)
	require.InDelta(t, -1.05, g.Rewards.ToolShaped, 1e-6)
	g, _ = r.Grade(build([]int32{2}, nil, nil), "", bytes)
	require.Equal(t, VerifierError, g.Outcome)
	require.False(t, (&Episode{Trajectory: build(nil, nil, nil), Grade: g}).Trains(), "an unjudged trajectory is in no loss")
}
