package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/trace"
)

// Evaluator is what an evaluation samples with and is judged by.
type Evaluator struct {
	Engine *engine.Engine
	Proto  Protocol
	Tokens trace.Vocabulary
	Seed   uint64
	Reward Reward
	Eval   Eval
	Ranks  *Ranks // that share the problems; each is given all trajectories. nil: one

	Done   int            // problems, the first ones, that were sampled and judged before, for the same bits
	Before []trace.Record // theirs, on a rank whose summary counts
	Part   int            // trajectories that are sampled before keep is given them and Stored is called; 0: all
	Stored func() error   // may be nil
}

// Evaluate samples eval.samples responses to each problem, grades them and hands each record to keep. index distinguishes the
// evaluations of a run: it keys the draws.
func Evaluate(ctx context.Context, v Evaluator, name string, index, step int, problems []*Problem,
	keep func(trace.Record) error) (trace.Evaluation, error) {
	start := time.Now()
	groups := make([]engine.Group, len(problems))
	for i, q := range problems {
		ids, err := v.Proto.Prompt(q.Question)
		if err != nil {
			return trace.Evaluation{}, fmt.Errorf("trainer: problem %s: %w", q.ID, err)
		}
		groups[i].Prompt = ids
		for s := range v.Eval.Samples {
			groups[i].Keys = append(groups[i].Keys, Key(evalKeys, index, i*v.Eval.Samples+s))
		}
	}
	ranks := v.Ranks
	if ranks == nil {
		ranks = NewRanks(nil, 1)
	}
	sampling := engine.Sampling{Seed: v.Seed,
		Temperature: float32(v.Eval.Temperature), TopP: float32(v.Eval.TopP), TopK: v.Eval.TopK, MinP: float32(v.Eval.MinP)}
	part := len(problems)
	if v.Part > 0 {
		part = max(v.Part/v.Eval.Samples, 1)
	}
	records := slices.Clone(v.Before)
	for from := v.Done; from < len(problems); from += part {
		to := min(from+part, len(problems))
		trs, _, err := ranks.rollouts(ctx, v.Engine, "evaluation "+name, groups[from:to], sampling)
		if err != nil {
			return trace.Evaluation{}, fmt.Errorf("evaluation %s: %w", name, err)
		}
		for _, e := range gradeAll(trs, problems[from:to], v.Eval.Samples, v.Reward, v.Tokens.Bytes, v.Proto.OutsideCode) {
			r := e.Record(step, name, v.Tokens)
			records = append(records, r)
			if err := keep(r); err != nil {
				return trace.Evaluation{}, err
			}
		}
		if v.Stored != nil {
			if err := v.Stored(); err != nil {
				return trace.Evaluation{}, err
			}
		}
	}
	ev := Summarise(records, v.Reward.Verifier)
	ev.Name, ev.Step, ev.Samples = name, step, v.Eval.Samples
	ev.Rules = fmt.Sprintf("temperature %g, top-p %g, top-k %d", v.Eval.Temperature, v.Eval.TopP, v.Eval.TopK)
	if v.Eval.MinP > 0 {
		ev.Rules += fmt.Sprintf(", min-p %g", v.Eval.MinP)
	}
	ev.Seconds = time.Since(start).Seconds()
	return ev, nil
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

// votes are the answers to one problem, those that the verifier takes for equal under the first of them.
type votes []vote

type vote struct {
	answer  string
	n       int
	correct bool // of the first
}

func (vs *votes) add(v answer.Verifier, given string, correct bool) {
	for i := range *vs {
		w := &(*vs)[i]
		if w.answer != given {
			if w.correct != correct {
				continue // one equals the truth and the other does not
			}
			if same, err := v.Equal(w.answer, given); !same || err != nil {
				continue
			}
		}
		w.n++
		return
	}
	*vs = append(*vs, vote{given, 1, correct})
}

// right reports whether the answer given most often is correct, of several the one given first.
func (vs votes) right() bool {
	best := vote{}
	for _, w := range vs {
		if w.n > best.n {
			best = w
		}
	}
	return best.correct
}
