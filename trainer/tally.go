package trainer

import (
	"math"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/trace"
)

// verdictBy is the outcome that a verifier gave.
func verdictBy(v trace.Verdicts, by answer.Verifier) string {
	switch by {
	case answer.DAPO:
		return v.DAPO
	case answer.Strict:
		return v.Strict
	case answer.Lenient:
		return v.Lenient
	}
	return v.Math
}

// A tally is what was found of one problem.
type tally struct {
	n, correct int // responses with a verdict
	votes      votes
}

// Summarise computes an evaluation from records alone; those of one problem share its id. Samples is the largest k seen. v says which
// answers are the same in a majority vote.
func Summarise(records []trace.Record, v answer.Verifier) trace.Evaluation {
	byProblem := map[string]*tally{}
	var order []*tally
	ev := trace.Evaluation{PassAt: map[int]float64{}, Behaviour: trace.Behave(records), Verifier: string(v)}
	withCode, correctCode := 0, 0
	for _, r := range records {
		t := byProblem[r.Problem]
		if t == nil {
			t = &tally{}
			byProblem[r.Problem] = t
			order = append(order, t)
		}
		if r.Finish == engine.Lost.String() || r.Outcome == string(VerifierError) {
			ev.Lost++
			if r.Finish != engine.Lost.String() {
				ev.Unjudged++
			}
			continue
		}
		t.n++
		correct := r.Outcome == string(Correct)
		if correct {
			t.correct++
		}
		if r.Answer != "" {
			t.votes.add(v, r.Answer, correct)
		}
		if len(r.Calls) > 0 {
			withCode++
			if correct {
				correctCode++
			}
		}
	}
	ev.AccuracyBy = accuracies(records)
	if withCode > 0 {
		ev.AccuracyCode = float64(correctCode) / float64(withCode)
	}
	average(&ev, order)
	return ev
}

// average fills in what is a mean over problems, and its intervals.
func average(ev *trace.Evaluation, problems []*tally) {
	var n, sum, squares, noise float64
	responses, right := 0, 0
	for _, t := range problems {
		if t.n == 0 {
			ev.NoVerdict++
			continue
		}
		ev.Samples = max(ev.Samples, t.n)
		responses, right = responses+t.n, right+t.correct
		p := float64(t.correct) / float64(t.n)
		n++
		sum += p
		squares += p * p
		if t.n > 1 {
			noise += p * (1 - p) / float64(t.n-1)
		}
		if t.votes.right() {
			ev.Majority++
		}
	}
	ev.Problems = int(n)
	if n == 0 {
		return
	}
	ev.Accuracy = sum / n
	ev.Sampling = math.Sqrt(noise) / n
	if n > 1 {
		ev.Population = math.Sqrt(max(0, squares-sum*sum/n)/(n-1)) / math.Sqrt(n)
	}
	ev.Low, ev.High = wilson(ev.Accuracy, ev.Population, n)
	ev.SampledLow, ev.SampledHigh = wilson(float64(right)/float64(responses), 0, float64(responses))
	ev.Majority /= n
	for _, j := range attempts(ev.Samples) {
		if p, ok := meanPassAt(problems, j); ok {
			ev.PassAt[j] = p
		}
	}
}

// attempts are the j of pass@j for k samples: 1, 2, 4, … and k.
func attempts(k int) (js []int) {
	for j := 1; j < k; j *= 2 {
		js = append(js, j)
	}
	return append(js, k)
}

// meanPassAt is pass@j over the problems with at least j verdicts; false if there are none.
func meanPassAt(problems []*tally, j int) (float64, bool) {
	sum, n := 0.0, 0
	for _, t := range problems {
		if t.n >= j {
			sum += passAt(t.n, t.correct, j)
			n++
		}
	}
	return sum / float64(max(n, 1)), n > 0
}

// accuracies are avg@k by each verifier, over the responses that it judged.
func accuracies(records []trace.Record) map[string]float64 {
	out := map[string]float64{}
	for _, name := range answer.Verifiers() {
		type count struct{ n, correct int }
		of := map[string]count{}
		for _, r := range records {
			outcome := verdictBy(r.Verdicts, answer.Verifier(name))
			if r.Finish == engine.Lost.String() || outcome == "" || outcome == string(VerifierError) {
				continue
			}
			c := of[r.Problem]
			c.n++
			if outcome == string(Correct) {
				c.correct++
			}
			of[r.Problem] = c
		}
		var sum float64
		for _, r := range records { // in their order: a sum of floats depends on it
			if c, ok := of[r.Problem]; ok {
				sum += float64(c.correct) / float64(c.n)
				delete(of, r.Problem)
				out[name]++
			}
		}
		if n := out[name]; n > 0 {
			out[name] = sum / n
		}
	}
	return out
}
