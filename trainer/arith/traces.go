package arith

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"retool/trainer/data"
)

// A Mix is what cold-start traces consist of: fractions of the traces, which add up to 1.
type Mix struct {
	Working float64 `yaml:"working" doc:"share of generated traces whose code works, to the right answer"`
	Failing float64 `yaml:"failing" doc:"share of generated traces whose code fails at first"`
	Text    float64 `yaml:"text" doc:"share of generated traces without code: guesses (arithmetic), or worked by hand (word-problems)"`

	Corrected float64 `yaml:"corrected" doc:"share of failing traces that mend their code; the others give up and guess"`
}

// DefaultMix starts a policy that uses code in about half of its responses and knows that a failed call can be mended. Reinforcement
// learning is left something to find.
func DefaultMix() Mix { return Mix{Working: 0.35, Failing: 0.20, Text: 0.45, Corrected: 0.5} }

// Validate reports a mix whose fractions are not fractions, or do not add up.
func (m Mix) Validate() error {
	for _, f := range []struct {
		name  string
		value float64
	}{{"working", m.Working}, {"failing", m.Failing}, {"text", m.Text}, {"corrected", m.Corrected}} {
		if !(f.value >= 0 && f.value <= 1) {
			return fmt.Errorf("arith: mix: %s is %v: want a fraction between 0 and 1", f.name, f.value)
		}
	}
	if sum := m.Working + m.Failing + m.Text; math.Abs(sum-1) > 1e-6 {
		return fmt.Errorf("arith: mix: working %v + failing %v + text %v = %v: want 1", m.Working, m.Failing, m.Text, sum)
	}
	return nil
}

// Traces returns n traces of training problems. The mix must be valid. The same seed gives other problems than [Task.Problems] does,
// though in a long list some coincide.
func (t *Task) Traces(seed uint64, n int, mix Mix) []data.Trace {
	if err := mix.Validate(); err != nil {
		panic(err)
	}
	traces := make([]data.Trace, 0, n)
	t.each(seed^0x7472616365, Train, n, func(d drawn, r *rand.Rand) {
		w := writer{r: r, inHead: t.inHead}
		switch u := r.Float64(); {
		case u < mix.Working:
			w.solve(d, -1, false)
		case u < mix.Working+mix.Failing:
			w.solve(d, r.IntN(len(d.calls)), r.Float64() < mix.Corrected)
		default:
			w.say(textLeads[r.IntN(len(textLeads))])
			t.inHead(&w, d)
		}
		traces = append(traces, data.Trace{Problem: d.Problem, Segments: w.segments})
	})
	return traces
}

const (
	codeOpen    = "<code>\n```python\n"
	codeClose   = "\n```\n</code>"
	answerOpen  = "<answer>\n\\boxed{"
	answerClose = "}\n</answer>"
)

// What a response may begin with. Half of those with code begin with the code itself, so that greedy decoding, too, prefers a tool
// in all families alike and not by the last per cent of a tie.
var (
	textLeads = []string{"", "I can do this in my head.\n", "By hand.\n"}
	codeLeads = []string{"", "", "Let me compute this.\n", "I use Python.\n"}
)

const (
	nextRemark = "Now the second step.\n"     // after the first of two results
	askInstead = "There is no inverse.\n"     // after an error that is part of the solution
	giveUp     = "I do it in my head then.\n" // after an error of the model's own
)

// A mistake is a way of writing a call wrongly.
type mistake struct {
	name   string
	remark string // what the model says about it once it has seen the observation
	// apply returns the wrong code and what the interpreter says to it, or no code where the mistake cannot be made.
	apply func(c call) (code, output string)
}

var mistakes = []mistake{
	{"unclosed parenthesis", "A parenthesis is missing.\n", func(c call) (string, string) {
		return c.setup + "print(" + c.expr, "SyntaxError: '(' was never closed"
	}},
	{"unmatched parenthesis", "That is one parenthesis too many.\n", func(c call) (string, string) {
		return c.code() + ")", "SyntaxError: unmatched ')'"
	}},
	{"nothing printed", "Nothing was printed.\n", func(c call) (string, string) {
		if c.fails { // it would fail in the same way
			return "", ""
		}
		return c.setup + c.expr, ""
	}},
	{"no import", "The import is missing.\n", func(c call) (string, string) {
		switch c.setup {
		case importGCD:
			return "print(" + c.expr + ")", "NameError: name 'gcd' is not defined"
		case importLCM:
			return "print(" + c.expr + ")", "NameError: name 'lcm' is not defined"
		}
		return "", ""
	}},
}

// A writer builds the segments of one response. Neighbouring texts of one author become one segment.
type writer struct {
	r        *rand.Rand
	inHead   func(w *writer, d drawn)
	segments []data.Segment
}

// solve makes the calls of d and answers. Call number wrong is first written with a mistake (-1: none is), which is then corrected, or
// else the response ends with a guess.
func (w *writer) solve(d drawn, wrong int, corrected bool) {
	w.say(codeLeads[w.r.IntN(len(codeLeads))])
	for i, c := range d.calls {
		if i == wrong {
			remark := w.fail(c)
			if !corrected {
				w.say(giveUp)
				w.inHead(w, d)
				return
			}
			w.say(remark)
		}
		w.call(c.code(), c.output)
		switch {
		case c.fails:
			w.say(askInstead)
		case i < len(d.calls)-1:
			w.say(nextRemark)
		}
	}
	w.answer(d.Answer)
}

// fail writes c with a mistake, and returns what there is to say about it.
func (w *writer) fail(c call) string {
	for {
		m := mistakes[w.r.IntN(len(mistakes))]
		if code, output := m.apply(c); code != "" {
			w.call(code, output)
			return m.remark
		}
	}
}

func (w *writer) call(code, output string) {
	w.say(codeOpen + code + codeClose)
	w.segments = append(w.segments, data.Segment{Text: feedback(output), Source: data.Tool})
}

func (w *writer) say(text string) {
	if text == "" {
		return
	}
	if n := len(w.segments); n > 0 && w.segments[n-1].Source == data.Policy {
		w.segments[n-1].Text += text
		return
	}
	w.segments = append(w.segments, data.Segment{Text: text, Source: data.Policy})
}

// guessed answers at once, usually wrong.
func guessed(w *writer, d drawn) { w.answer(w.guess(d.Answer)) }

// worked writes the steps of a solution by hand, and its answer, all of them right.
func worked(w *writer, d drawn) {
	w.say(strings.Join(d.steps, "\n") + "\n")
	w.answer(d.Answer)
}

func (w *writer) answer(a string) { w.say(answerOpen + a + answerClose) }

// guess returns an integer of the same length as the answer, each digit of which is wrong with probability one half.
func (w *writer) guess(answer string) string {
	b := []byte(answer)
	for i, c := range b {
		if c < '0' || c > '9' || w.r.IntN(2) == 0 {
			continue
		}
		first := i == 0 || b[i-1] == '-'
		for b[i] == c || first && b[i] == '0' {
			b[i] = '0' + byte(w.r.IntN(10))
		}
	}
	return string(b)
}
