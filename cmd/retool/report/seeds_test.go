package report

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/trainer/trace"
)

// demoSeed is a repetition with these accuracies after the cold start and after RL, evaluated every two steps between.
func demoSeed(name string, tool, text [2]float64) Seed {
	s := Seed{Name: name}
	for arm, ends := range [2][2]float64{tool, text} {
		a := &s.Arms[arm]
		a.Steps = append(a.Steps, trace.Metrics{Step: 1, Phase: "sft"})
		for x := 0; x <= 4; x++ {
			p := ends[0] + (ends[1]-ends[0])*float64(x)/4
			if x > 0 {
				a.Steps = append(a.Steps, trace.Metrics{Step: 1 + x, Phase: "rl", Time: float64(x), RL: &trace.RL{Accuracy: p}})
			}
			if x%2 == 1 {
				continue
			}
			e := trace.Evaluation{Name: "rl", Step: 1 + x, Problems: 100, Samples: 1, Accuracy: p, Low: p - .1, High: p + .1}
			if x == 0 {
				e.Name = "cold_start"
			}
			if arm == 0 {
				e.Behaviour = trace.Behaviour{CodeRatio: p, ResponseLength: 50, CodeTiming: .1, Snippets: 7, CodePassCorrect: .9, CodePassWrong: .4}
			}
			a.Evaluations = append(a.Evaluations, e)
		}
	}
	return s
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9 {
		t.Errorf("%s: %g, want %g", what, got, want)
	}
}

func TestComparisonOfThreeSeeds(t *testing.T) {
	c, err := Compare([]Seed{
		demoSeed("a", [2]float64{.4, .8}, [2]float64{.2, .3}), demoSeed("b", [2]float64{.5, .9}, [2]float64{.3, .3}),
		demoSeed("c", [2]float64{.6, .7}, [2]float64{.1, .3}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{.5, .8, .2, .3} {
		near(t, c.Bars[i].Name, c.Bars[i].Value.Mean, want)
	}
	near(t, "t interval of .8 .9 .7", c.Bars[1].Value.Half, 4.303*.1/math.Sqrt(3))
	near(t, "interval of three equal values", c.Bars[3].Value.Half, .1/math.Sqrt(3)) // what the problems leave open
	for i, want := range []float64{.3, .1, .2} {
		near(t, c.Gains[i].Name, c.Gains[i].Value.Mean, want)
	}
	near(t, "code ratio", c.Bars[1].Code, .8)
	if text := strings.Join(c.Bars[0].Cells(), " | "); text != "40.0 | 50.0 | 60.0 | 50.0 | 25.2 – 74.8 | 50.0 % | 50.0 | 100 × 1" {
		t.Error(text)
	}
	if text := strings.Join(c.Gains[1].Cells()[:4], " | "); text != "+10.0 | +0.0 | +20.0 | +10.0" {
		t.Error(text)
	}
	if len(c.Curves) != 2+6 {
		t.Fatalf("%d curves", len(c.Curves))
	}
	for i, xs := range []string{"0 2 4", "1 2 3 4"} {
		for arm, l := range c.Curves[i].Lines {
			var got []string
			for _, p := range l.Points {
				got = append(got, fmt.Sprint(p.X))
			}
			if strings.Join(got, " ") != xs {
				t.Errorf("%s, arm %d: points at %v, want %s", c.Curves[i].Name, arm, got, xs)
			}
		}
	}
	near(t, "accuracy after two steps", c.Curves[0].Lines[0].Points[1].Mean, .65)
	near(t, "accuracy of the first step's rollouts", c.Curves[1].Lines[1].Points[0].Mean, .225)
	if s := c.Step[0]; s.Steps != 12 || s.Median != 3 || s.Least != 1 || s.Most != 4 {
		t.Errorf("%+v", s)
	}
	var page strings.Builder
	if err := WriteComparison(&page, "<title>", c); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, want := range []string{"&lt;title&gt;", ">80.0 %<", "text only, after cold start", "code invocation timing"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"<script", "NaN", "Inf", "ZgotmplZ", "http:"} {
		if strings.Contains(text, not) {
			t.Errorf("the page holds %q", not)
		}
	}
	if got := strings.Count(text, "<svg"); got != 1+8 {
		t.Errorf("%d drawings", got)
	}
}

// An interval holds its mean, never shrinks to a point while the evaluations' do not, and more spread widens it.
func TestEstimates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 14).Draw(t, "values")
		halves := make([]float64, len(values))
		for i := range halves {
			halves[i] = rapid.Float64Range(.01, .2).Draw(t, "half")
		}
		e := estimate(values, halves)
		if e.Half <= 0 || e.Mean < e.bottom()-1e-12 || e.Mean > e.top()+1e-12 {
			t.Fatalf("%+v", e)
		}
		if len(values) == 1 && e.Half != halves[0] {
			t.Fatalf("one seed: half an interval is %g, want %g", e.Half, halves[0])
		}
		wider := append([]float64(nil), values...)
		for i := range wider {
			wider[i] = e.Mean + 2*(values[i]-e.Mean)
		}
		if w := estimate(wider, halves); w.Half < e.Half-1e-12 {
			t.Fatalf("twice the spread, half %g after %g", w.Half, e.Half)
		}
	})
}

func TestComparisonNamesWhatIsMissing(t *testing.T) {
	s := demoSeed("second", [2]float64{.4, .8}, [2]float64{.2, .3})
	s.Arms[1].Evaluations = s.Arms[1].Evaluations[:1]
	_, err := Compare([]Seed{demoSeed("first", [2]float64{.4, .8}, [2]float64{.2, .3}), s})
	if err == nil || !strings.Contains(err.Error(), "second has no evaluation rl text only") {
		t.Error(err)
	}
}
