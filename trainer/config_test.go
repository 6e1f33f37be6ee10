package trainer

import (
	"encoding/json"
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
			rs = append(rs, trace.Record{Problem: problem, Outcome: outcome, Answer: answer, Finish: "answer",
				Sources: "pm", IDs: []int32{1, 2}, Prompt: 1})
		}
	}
	add("a", 4, 0)
	add("b", 1, 3)
	add("c", 0, 4)
	rs = append(rs, trace.Record{Problem: "c", Outcome: "verifier_error", Finish: "answer", Prompt: 1},
		trace.Record{Problem: "d", Finish: engine.Lost.String()})
	e := Summarise(rs, answer.Math)
	require.Equal(t, 3, e.Problems)
	require.Equal(t, 2, e.Lost)
	require.Equal(t, 1, e.Unjudged, "the other one was lost by the sandbox")
	require.Equal(t, 1, e.NoVerdict, "problem d has no verdict at all")
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

func TestMajorityIsByEqualityAndNotBySpelling(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string
		truth   string
		v       answer.Verifier
		want    float64
	}{
		{"one value, three spellings", []string{`\frac{1}{2}`, "2", "1/2", "2", "0.5"}, "1/2", answer.Math, 1},
		{"so for the wrong one", []string{`\frac{1}{2}`, "2", "1/2", "2", "0.5"}, "2", answer.Math, 0},
		{"strings, to the published rules", []string{"x+1", "2", "1+x", "2", "1 + x"}, "x+1", answer.DAPO, 0},
		{"the first of two", []string{"3", "4", "4.0", "3.0"}, "3", answer.Math, 1},
		{"the first of two, wrong", []string{"4", "3", "4.0", "3.0"}, "3", answer.Math, 0},
		{"no answers", []string{"", ""}, "3", answer.Math, 0},
		{"what equals the truth is not with what does not", []string{"12 km", "12", "12"}, "12 cm", answer.Math, 1},
	} {
		var rs []trace.Record
		for _, a := range c.answers {
			rs = append(rs, trace.Record{Problem: "a", Outcome: c.v.Grade(`\boxed{`+a+`}`, c.truth).String(), Answer: a, Finish: "answer",
				Sources: "pm", IDs: []int32{1, 2}, Prompt: 1})
		}
		require.Equal(t, c.want, Summarise(rs, c.v).Majority, c.name)
	}
}

func TestVerifierErrorsAreCountedAndInNoAverage(t *testing.T) {
	words := map[int32]string{1: `\boxed{1}`, 2: `\boxed{2}`}
	var eps []*Episode
	for i, truth := range []string{"1", "1", `\text{ }`, "1"} {
		tr := engine.NewTrajectory(int64(i), []int32{2})
		tr.Sample(1, -1)
		e := NewEpisode(tr, &Problem{Answer: truth}, i)
		e.Grade, e.Reward = DefaultConfig().Reward.Grade(tr, truth, func(id int32) []byte { return []byte(words[id]) }, engine.OutsideCode)
		eps = append(eps, e)
	}
	eps[3].Finish = engine.Lost
	s := &Stats{Seconds: 1}
	s.rolledOut(eps)
	require.Equal(t, 1, s.Unjudged)
	require.InDelta(t, 1/3., s.UnjudgedShare, 1e-12, "of those that the sandbox did not lose")
	require.Equal(t, 1., s.Accuracy)
	require.Equal(t, 1., s.Reward)
	b, err := json.Marshal(s.Metrics(1, 0))
	require.NoError(t, err)
	require.Contains(t, string(b), `"verifier_errors":1,"verifier_error_share":0.33`)
}

func TestBothVerdictsAreRecordedAndOneCounts(t *testing.T) {
	tr := engine.NewTrajectory(1, []int32{1})
	tr.Sample(1, -1)
	bytes := func(int32) []byte { return []byte(`\boxed{12, 3}`) } // the published rules drop the comma
	for _, c := range []struct {
		v      answer.Verifier
		want   Outcome
		reward float32
	}{{answer.Math, Wrong, -1}, {answer.DAPO, Correct, 1}} {
		r := DefaultConfig().Reward
		r.Verifier = c.v
		g, reward := r.Grade(tr, "1, 23", bytes, engine.OutsideCode)
		require.Equal(t, c.want, g.Outcome)
		require.Equal(t, c.reward, reward)
		var rec trace.Record
		g.Into(&rec)
		require.Equal(t, string(c.want), rec.Outcome)
		require.Equal(t, trace.Verdicts{Math: "wrong", DAPO: "correct", Strict: "wrong", Lenient: "wrong"}, rec.Verdicts)
	}
	c := DefaultConfig()
	c.Reward.Verifier = "sympy"
	require.ErrorContains(t, c.Validate(), `reward.verifier: "sympy" is not known (known: math, dapo, dapo-strict, lenient)`)
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
	g, reward := r.Grade(build([]int32{3, 5, 4}, []int32{2}, []int32{9}), "2", bytes, engine.OutsideCode)
	require.Equal(t, NoAnswer, g.Outcome, "neither prompt, nor code, nor tool output is an answer")
	require.Equal(t, float32(-1), reward)
	g, reward = r.Grade(build([]int32{3, 5, 4}, []int32{1}, []int32{2, 9}), "2", bytes, engine.OutsideCode)
	require.Equal(t, Correct, g.Outcome)
	require.Equal(t, float32(1), reward)
	require.Equal(t, float32(1), g.Rewards.DAPOStrict)
	g, _ = r.Grade(build([]int32{5}, nil, []int32{9}), "2", bytes, engine.OutsideCode)
	require.Equal(t, Wrong, g.Outcome)
	require.InDelta(t, -0.9, g.Rewards.ToolShaped, 1e-6, "one call, counted as turns")
	r.Count = "calls"
	g, _ = r.Grade(build([]int32{5}, nil, []int32{9}), "2", bytes, engine.OutsideCode)
	require.InDelta(t, -1.05, g.Rewards.ToolShaped, 1e-6)
	g, _ = r.Grade(build([]int32{2}, nil, nil), "", bytes, engine.OutsideCode)
	require.Equal(t, VerifierError, g.Outcome)
	require.False(t, (&Episode{Trajectory: build(nil, nil, nil), Grade: g}).Trains(), "an unjudged trajectory is in no loss")
}
