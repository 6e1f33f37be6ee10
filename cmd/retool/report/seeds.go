package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"retool/trainer/trace"
)

// Seed is one repetition of a demo: the same recipe with another seed.
type Seed struct {
	Name string
	Arms [2]Arm // with the tool, text only
}

// Arm is one run of a repetition.
type Arm struct {
	Evaluations []trace.Evaluation
	Steps       []trace.Metrics
}

// Names of arms, as pages and tables have them.
var armNames = [2]string{"with Python", "text only"}

// Comparison is what repetitions come to.
type Comparison struct {
	Seeds  []string
	Bars   []Bar   // accuracy after the cold start and after RL, with the tool and without
	Gains  []Bar   // by RL, with the tool and without, and the difference of the two
	Curves []Curve // over RL steps: accuracy of evaluations and of training rollouts, then the six metrics of the paper's figure 3
	Step   [2]Cost // of an RL step, with the tool and without
}

// Bar is one figure over the seeds.
type Bar struct {
	Name  string
	Text  bool
	Value Estimate

	Code, Length      float64 // share of responses with code, tokens of a response; means over the seeds
	Problems, Samples int     // of each seed; 0: a difference
}

// Curve is one quantity over RL steps.
type Curve struct {
	Name, Help string
	Share      bool // shown in per cent
	Lines      []Line
}

// Line is one curve's values in one arm.
type Line struct {
	Name   string
	Class  string // tool, text, third
	Points []Point
}

// Point is the value after X steps of RL.
type Point struct {
	X int
	Estimate
}

// Cost is what RL steps took: seconds, over all steps of all seeds.
type Cost struct {
	Median, Least, Most float64
	Steps               int
}

// Estimate is a mean over seeds. Half is half its 95 % interval: Student's t over the seeds, or what sampling the problems leaves open, if
// that is wider; so seeds that happen to agree do not shrink it to a point, and one seed has one.
type Estimate struct {
	Values     []float64
	Mean, Half float64
}

// student are the 97.5 % points of Student's t for 1, 2, … degrees of freedom.
var student = []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}

// estimate takes a value of each seed and half the interval that the choice of problems gives it.
func estimate(values, halves []float64) Estimate {
	e := Estimate{Values: values}
	n := float64(len(values))
	sampling := 0.0
	for i := range values {
		e.Mean += values[i] / n
		sampling += halves[i] * halves[i]
	}
	e.Half = math.Sqrt(sampling) / n
	if len(values) > 1 {
		squares := 0.0
		for _, v := range values {
			squares += (v - e.Mean) * (v - e.Mean)
		}
		t := student[min(len(values)-1, len(student))-1]
		e.Half = max(e.Half, t*math.Sqrt(squares/(n-1)/n))
	}
	return e
}

// Low and High bound the interval.
func (e Estimate) Low() float64  { return e.Mean - e.Half }
func (e Estimate) High() float64 { return e.Mean + e.Half }

// spread is an estimate whose interval is the range of its values.
func spread(values []float64) Estimate {
	e := estimate(values, make([]float64, len(values)))
	e.Half = 0
	return e
}

// Compare puts repetitions side by side. It fails with one sentence where a seed lacks what the others have.
func Compare(seeds []Seed) (*Comparison, error) {
	c := &Comparison{}
	for _, s := range seeds {
		c.Seeds = append(c.Seeds, s.Name)
	}
	var stages [2][2][]trace.Evaluation // arm, stage: an evaluation of each seed
	for arm := range 2 {
		for stage, name := range []string{"cold_start", "rl"} {
			for _, s := range seeds {
				e := lastOf(s.Arms[arm].Evaluations, name)
				if e == nil {
					return nil, fmt.Errorf("report: %s has no evaluation %s %s: want a finished `retool demo`", s.Name, name, armNames[arm])
				}
				stages[arm][stage] = append(stages[arm][stage], *e)
			}
			c.Bars = append(c.Bars, bar(arm, stage, stages[arm][stage]))
		}
	}
	c.gains(stages)
	c.curves(seeds)
	for arm := range 2 {
		c.Step[arm] = cost(seeds, arm)
	}
	return c, nil
}

func lastOf(all []trace.Evaluation, name string) (e *trace.Evaluation) {
	for i := range all {
		if all[i].Name == name {
			e = &all[i]
		}
	}
	return e
}

func half(e trace.Evaluation) float64 { return (e.High - e.Low) / 2 }

func bar(arm, stage int, all []trace.Evaluation) Bar {
	b := Bar{Name: [2]string{"after cold start", "after RL"}[stage], Text: arm == 1}
	if b.Text {
		b.Name = "text only, " + b.Name
	}
	var values, halves []float64
	for _, e := range all {
		values, halves = append(values, e.Accuracy), append(halves, half(e))
		b.Code += e.Behaviour.CodeRatio / float64(len(all))
		b.Length += e.Behaviour.ResponseLength / float64(len(all))
		b.Problems, b.Samples = max(b.Problems, e.Problems), max(b.Samples, e.Samples)
	}
	b.Value = estimate(values, halves)
	return b
}

// gains are differences on the same problems. Their intervals take the samplings for independent, which makes them too wide if anything.
func (c *Comparison) gains(stages [2][2][]trace.Evaluation) {
	var values, halves [3][]float64
	for i := range stages[0][0] {
		for arm := range 2 {
			before, after := stages[arm][0][i], stages[arm][1][i]
			values[arm] = append(values[arm], after.Accuracy-before.Accuracy)
			halves[arm] = append(halves[arm], math.Hypot(half(before), half(after)))
		}
		values[2] = append(values[2], values[0][i]-values[1][i])
		halves[2] = append(halves[2], math.Hypot(halves[0][i], halves[1][i]))
	}
	for k, name := range []string{"gain by RL", "text only, gain by RL", "difference of the gains"} {
		c.Gains = append(c.Gains, Bar{Name: name, Text: k == 1, Value: estimate(values[k], halves[k])})
	}
}

// curves are those of evaluations that every seed has, and of training rollouts.
func (c *Comparison) curves(seeds []Seed) {
	evaluated := Curve{Name: "accuracy on held-out problems", Share: true, Help: "mean over the seeds, 95 % interval"}
	trained := Curve{Name: "accuracy of training rollouts", Share: true, Help: "mean over the seeds, of one step's trajectories"}
	for arm := range 2 {
		class := [2]string{"tool", "text"}[arm]
		evaluated.Lines = append(evaluated.Lines, Line{armNames[arm], class, evaluations(seeds, arm, func(all []trace.Evaluation) Estimate {
			return bar(arm, 0, all).Value
		})})
		trained.Lines = append(trained.Lines, Line{armNames[arm], class, rollouts(seeds, arm)})
	}
	c.Curves = append(c.Curves, evaluated, trained)
	for _, m := range figure3 {
		curve := Curve{Name: m.name, Share: m.share, Help: m.help}
		for arm := range 2 {
			for k, f := range m.of {
				name, class := armNames[arm], [2]string{"tool", "text"}[arm]
				if k == 1 {
					class = "third"
				}
				if m.lines != nil {
					name = m.lines[k]
				}
				points := evaluations(seeds, arm, func(all []trace.Evaluation) Estimate {
					var values []float64
					for _, e := range all {
						values = append(values, f(e.Behaviour))
					}
					return spread(values)
				})
				if arm == 1 && (m.code || len(m.of) > 1) {
					continue // without a tool there is no code to measure
				}
				curve.Lines = append(curve.Lines, Line{name, class, points})
			}
		}
		c.Curves = append(c.Curves, curve)
	}
}

// figure3 are the paper's six metrics.
var figure3 = []struct {
	name, help  string
	share, code bool
	lines       []string
	of          []func(trace.Behaviour) float64
}{
	{"response length", "tokens of a response, the interpreter's included", false, false, nil,
		[]func(trace.Behaviour) float64{func(b trace.Behaviour) float64 { return b.ResponseLength }}},
	{"code ratio", "share of responses with code", true, false, nil,
		[]func(trace.Behaviour) float64{func(b trace.Behaviour) float64 { return b.CodeRatio }}},
	{"code lines", "non-blank lines of code, mean over responses", false, true, nil,
		[]func(trace.Behaviour) float64{func(b trace.Behaviour) float64 { return b.CodeLines }}},
	{"correct code", "snippets that ran to their end, of the test set", false, true, nil,
		[]func(trace.Behaviour) float64{func(b trace.Behaviour) float64 { return float64(b.CorrectCodeCount) }}},
	{"code pass rate", "last snippet ran, among responses with code", true, true, []string{"right answers", "wrong answers"},
		[]func(trace.Behaviour) float64{
			func(b trace.Behaviour) float64 { return b.CodePassCorrect }, func(b trace.Behaviour) float64 { return b.CodePassWrong }}},
	{"code invocation timing", "place of the code in the response, 0 begin, 1 end", false, true, nil,
		[]func(trace.Behaviour) float64{func(b trace.Behaviour) float64 { return b.CodeTiming }}},
}

// evaluations are the points of an arm at which every seed was evaluated, from the end of the cold start on.
func evaluations(seeds []Seed, arm int, of func([]trace.Evaluation) Estimate) (points []Point) {
	at := map[int][]trace.Evaluation{}
	for _, s := range seeds {
		a := s.Arms[arm]
		start := 0
		if e := lastOf(a.Evaluations, "cold_start"); e != nil {
			start = e.Step
		}
		for _, e := range a.Evaluations {
			if e.Name == "cold_start" || e.Name == "rl" {
				at[e.Step-start] = append(at[e.Step-start], e)
			}
		}
	}
	for x, all := range at {
		if len(all) == len(seeds) {
			points = append(points, Point{x, of(all)})
		}
	}
	slices.SortFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	return points
}

// rollouts are the accuracies of an arm's training trajectories at the steps that every seed has made.
func rollouts(seeds []Seed, arm int) (points []Point) {
	for x := 0; ; x++ {
		var values []float64
		for _, s := range seeds {
			if _, rl := split(s.Arms[arm].Steps); x < len(rl) {
				values = append(values, rl[x].Accuracy)
			}
		}
		if len(values) < len(seeds) || len(seeds) == 0 {
			return points
		}
		points = append(points, Point{x + 1, spread(values)})
	}
}

func cost(seeds []Seed, arm int) (c Cost) {
	var all []float64
	for _, s := range seeds {
		_, rl := split(s.Arms[arm].Steps)
		for _, m := range rl {
			all = append(all, m.Time)
		}
	}
	if len(all) == 0 {
		return c
	}
	slices.Sort(all)
	return Cost{Median: all[len(all)/2], Least: all[0], Most: all[len(all)-1], Steps: len(all)}
}
