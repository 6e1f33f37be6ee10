package trainer

import (
	"context"
	"fmt"
	"math"
	"sort"
	"time"

	"retool/engine"
	"retool/trainer/trace"
)

// Evaluation is avg@k over a set of problems, with the behaviour of the responses.
type Evaluation struct {
	Name     string  `json:"name"`
	Step     int     `json:"step"`
	Problems int     `json:"problems"`
	Samples  int     `json:"samples"` // k
	Accuracy float64 `json:"accuracy"`

	// Sampling is the deviation of Accuracy if the same problems were sampled again, √(Σ p(1−p)/(k−1))/N; 0 for k = 1, where one
	// sample says nothing of it. Population is that of drawing other problems, sd(p)/√N.
	Sampling   float64 `json:"sampling_error"`
	Population float64 `json:"population_error"`
	// Low and High are Wilson's 95 % interval for Accuracy over the choice of problems. It does not shrink to a point at 0 or 1.
	Low  float64 `json:"low"`
	High float64 `json:"high"`

	PassAt       map[int]float64 `json:"pass_at"` // 1, 2, 4, … k
	Majority     float64         `json:"majority"`
	AccuracyCode float64         `json:"accuracy_with_code"`
	Lost         int             `json:"lost"` // samples without a verdict
	Behaviour    trace.Behaviour `json:"behaviour"`
	Seconds      float64         `json:"seconds"`
	Rules        string          `json:"sampling"`
}

// Evaluator is what an evaluation samples with and is judged by.
type Evaluator struct {
	Engine *engine.Engine
	Prompt Prompter
	Tokens trace.Vocabulary
	Seed   uint64
	Reward Reward
	Eval   Eval
}

// Evaluate samples eval.samples responses to each problem, grades them and hands each record to keep. index distinguishes the
// evaluations of a run: it keys the draws.
func Evaluate(ctx context.Context, v Evaluator, name string, index, step int, problems []*Problem, keep func(trace.Record) error) (Evaluation, error) {
	start := time.Now()
	groups := make([]engine.Group, len(problems))
	for i, q := range problems {
		ids, err := v.Prompt.Prompt(q.Question)
		if err != nil {
			return Evaluation{}, fmt.Errorf("trainer: problem %s: %w", q.ID, err)
		}
		groups[i].Prompt = ids
		for s := range v.Eval.Samples {
			groups[i].Keys = append(groups[i].Keys, Key(evalKeys, index, i*v.Eval.Samples+s))
		}
	}
	trs, err := v.Engine.Rollouts(ctx, groups, engine.Sampling{Seed: v.Seed, Temperature: float32(v.Eval.Temperature), TopP: float32(v.Eval.TopP), TopK: v.Eval.TopK})
	if err != nil {
		return Evaluation{}, fmt.Errorf("evaluation %s: %w", name, err)
	}
	records := make([]trace.Record, len(trs))
	for i, e := range gradeAll(trs, problems, v.Eval.Samples, v.Reward, v.Tokens.Bytes) {
		records[i] = e.Record(step, name, v.Tokens)
		if err := keep(records[i]); err != nil {
			return Evaluation{}, err
		}
	}
	ev := Summarise(records)
	ev.Name, ev.Step, ev.Samples = name, step, v.Eval.Samples
	ev.Rules = fmt.Sprintf("temperature %g, top-p %g, top-k %d", v.Eval.Temperature, v.Eval.TopP, v.Eval.TopK)
	ev.Seconds = time.Since(start).Seconds()
	return ev, nil
}

// Summarise computes an evaluation from records alone; those of one problem share its id. Samples is the largest k seen.
func Summarise(records []trace.Record) Evaluation {
	type tally struct {
		n, correct int
		votes      map[string]int
		right      map[string]bool
	}
	byProblem := map[string]*tally{}
	var order []string
	ev := Evaluation{PassAt: map[int]float64{}, Behaviour: trace.Behave(records)}
	withCode, correctCode := 0, 0
	for _, r := range records {
		t := byProblem[r.Problem]
		if t == nil {
			t = &tally{votes: map[string]int{}, right: map[string]bool{}}
			byProblem[r.Problem] = t
			order = append(order, r.Problem)
		}
		if r.Finish == engine.Lost.String() || r.Outcome == string(VerifierError) {
			ev.Lost++
			continue
		}
		t.n++
		correct := r.Outcome == string(Correct)
		if correct {
			t.correct++
		}
		if r.Answer != "" {
			t.votes[r.Answer]++
			t.right[r.Answer] = correct
		}
		if len(r.Calls) > 0 {
			withCode++
			if correct {
				correctCode++
			}
		}
	}
	var n, sum, squares, noise float64
	for _, id := range order {
		t := byProblem[id]
		if t.n == 0 {
			continue
		}
		ev.Samples = max(ev.Samples, t.n)
		p := float64(t.correct) / float64(t.n)
		n++
		sum += p
		squares += p * p
		if t.n > 1 {
			noise += p * (1 - p) / float64(t.n-1)
		}
		if t.right[mostVoted(t.votes)] {
			ev.Majority++
		}
		for j := 1; j <= t.n; j *= 2 {
			ev.PassAt[j] += passAt(t.n, t.correct, j)
		}
	}
	ev.Problems = int(n)
	if n == 0 {
		return ev
	}
	ev.Accuracy = sum / n
	ev.Sampling = math.Sqrt(noise) / n
	if n > 1 {
		ev.Population = math.Sqrt(max(0, squares-sum*sum/n)/(n-1)) / math.Sqrt(n)
	}
	ev.Low, ev.High = wilson(ev.Accuracy, ev.Population, n)
	ev.Majority /= n
	for j := range ev.PassAt {
		ev.PassAt[j] /= n
	}
	if withCode > 0 {
		ev.AccuracyCode = float64(correctCode) / float64(withCode)
	}
	return ev
}

// wilson is the score interval for a mean p of n problems whose standard error is se: the binomial one for as many draws as would
// give that error (Wilson 1927).
func wilson(p, se, n float64) (low, high float64) {
	if se > 0 {
		n = max(n, p*(1-p)/(se*se))
	}
	const z = 1.96
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, centre-half), min(1, centre+half)
}

// passAt is the chance that at least one of j samples is correct, 1 − C(n−c, j)/C(n, j) (Chen 2021, eq. 1).
func passAt(n, c, j int) float64 {
	miss := 1.0
	for i := range j {
		miss *= float64(max(0, n-c-i)) / float64(n-i)
	}
	return 1 - miss
}

// mostVoted is the answer given most often, the first in order among equals.
func mostVoted(votes map[string]int) string {
	answers := make([]string, 0, len(votes))
	for a := range votes {
		answers = append(answers, a)
	}
	sort.Slice(answers, func(i, j int) bool {
		if votes[answers[i]] != votes[answers[j]] {
			return votes[answers[i]] > votes[answers[j]]
		}
		return answers[i] < answers[j]
	})
	if len(answers) == 0 {
		return ""
	}
	return answers[0]
}
