package bench

import (
	"math"
	"slices"

	"retool/trainer/trace"
)

// Learned is what one run of an algorithm came to.
type Learned struct {
	Algorithm string  `json:"algorithm"`
	Seed      uint64  `json:"seed"`
	Before    float64 `json:"accuracy_before"` // held out, after the cold start
	Accuracy  float64 `json:"accuracy"`        // held out, after the last step
	Problems  int     `json:"problems"`
	Steps     int     `json:"steps"`
	Tokens    int64   `json:"tokens"`      // sampled by the policy, those of groups left out among them
	Resampled int64   `json:"resampled"`   // of those, of groups left out
	Seconds   float64 `json:"seconds"`     // of the steps, evaluations not counted
	Steps90   int     `json:"steps_to_90"` // first evaluation of at least 90 %; 0: none
	Tokens90  int64   `json:"tokens_to_90"`
	Error     string  `json:"error,omitempty"` // why it ended before its end
}

// Goal is the held-out accuracy that Steps90 and Tokens90 wait for.
const Goal = 0.9

// Learn reads a run from its evaluations and its metrics.jsonl.
func Learn(algorithm string, seed uint64, evaluations []trace.Evaluation, metrics string) (l Learned, err error) {
	l = Learned{Algorithm: algorithm, Seed: seed}
	first, reached := -1, -1 // global steps: RL began after the first, the goal was reached at the second
	for _, e := range evaluations {
		switch e.Name {
		case "cold_start":
			l.Before, first = e.Accuracy, e.Step
		case "rl":
			l.Accuracy, l.Problems = e.Accuracy, e.Problems
			if reached < 0 && e.Accuracy >= Goal {
				reached = e.Step
			}
		}
	}
	_, err = trace.Read(metrics, func(m trace.Metrics) error {
		if m.RL == nil {
			return nil
		}
		l.Steps++
		l.Seconds += m.Time
		l.Tokens += m.Sampled
		l.Resampled += m.ResampledIn
		if m.Step == reached {
			l.Steps90, l.Tokens90 = reached-max(first, 0), l.Tokens
		}
		return nil
	})
	return l, err
}

// Compared is an algorithm over seeds. Of the runs that reached the goal: their median; all others are means.
type Compared struct {
	Algorithm           string
	Seeds, Reached      int
	Accuracy, Low, High float64 // of all held-out problems of all seeds, with Wilson's 95 % interval
	Least, Most         float64 // of the seeds
	Steps90, Tokens90   float64 // 0: no run reached the goal
	Tokens, Resampled   float64
	Seconds             float64
	Failed              []string
}

// Compare joins runs by algorithm, in the order in which algorithms come.
func Compare(runs []Learned) (rows []Compared) {
	for _, r := range runs {
		if !slices.ContainsFunc(rows, func(c Compared) bool { return c.Algorithm == r.Algorithm }) {
			rows = append(rows, compared(r.Algorithm, runs))
		}
	}
	return rows
}

func compared(algorithm string, runs []Learned) Compared {
	c := Compared{Algorithm: algorithm, Least: 1}
	var steps, tokens []float64
	right, problems := 0.0, 0.0
	for _, r := range runs {
		if r.Algorithm != algorithm {
			continue
		}
		if r.Error != "" {
			c.Failed = append(c.Failed, r.Error)
			continue
		}
		c.Seeds++
		right, problems = right+r.Accuracy*float64(r.Problems), problems+float64(r.Problems)
		c.Least, c.Most = min(c.Least, r.Accuracy), max(c.Most, r.Accuracy)
		c.Tokens, c.Resampled, c.Seconds = c.Tokens+float64(r.Tokens), c.Resampled+float64(r.Resampled), c.Seconds+r.Seconds
		if r.Steps90 > 0 {
			c.Reached++
			steps, tokens = append(steps, float64(r.Steps90)), append(tokens, float64(r.Tokens90))
		}
	}
	if c.Seeds == 0 {
		return c
	}
	c.Accuracy = right / max(1, problems)
	c.Low, c.High = wilson(c.Accuracy, problems)
	c.Steps90, c.Tokens90 = median(steps), median(tokens)
	for _, x := range []*float64{&c.Tokens, &c.Resampled, &c.Seconds} {
		*x /= float64(c.Seeds)
	}
	return c
}

// wilson is the 95 % interval of a share p of n.
func wilson(p, n float64) (low, high float64) {
	const z = 1.959964
	if n == 0 {
		return 0, 1
	}
	mid, half := p+z*z/(2*n), z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, (mid-half)/(1+z*z/n)), min(1, (mid+half)/(1+z*z/n))
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
