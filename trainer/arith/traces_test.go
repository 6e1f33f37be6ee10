package arith

import (
	"bytes"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"retool/trainer/data"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// snippets returns the calls of a trace, and what the trace says they return.
func snippets(t *testing.T, tr data.Trace) (codes, outputs []string) {
	t.Helper()
	for i, s := range tr.Segments {
		if s.Source != data.Tool {
			continue
		}
		text := tr.Segments[i-1].Text
		code, ok := strings.CutSuffix(text[strings.LastIndex(text, codeOpen)+len(codeOpen):], codeClose)
		output, ok2 := strings.CutPrefix(s.Text, feedbackOpen)
		output, ok3 := strings.CutSuffix(output, feedbackClose)
		if !ok || !ok2 || !ok3 || !strings.Contains(text, codeOpen) {
			t.Fatalf("%q is followed by %q: not a call and its observation", text, s.Text)
		}
		codes, outputs = append(codes, code), append(outputs, output)
	}
	return codes, outputs
}

// kind says what a trace is, from its text alone.
func kind(t *testing.T, tr data.Trace) string {
	codes, outputs := snippets(t, tr)
	last := tr.Segments[len(tr.Segments)-1].Text
	failed := false
	for _, o := range outputs {
		failed = failed || o == "" || strings.Contains(o, "Error") && o != noInverse
	}
	switch {
	case len(codes) == 0:
		return "text"
	case !failed:
		return "working"
	case strings.HasPrefix(last, giveUp):
		return "given up"
	}
	return "corrected"
}

// A python process per snippet, as in a run; python3 and not a mock decides what is printed.
func TestObservationsAreWhatPythonReturns(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the traces hold what Python printed: this test needs python3 in the PATH")
	}
	// A version manager's python3 is a script that looks for the real one at every start.
	if real, err := exec.Command(python, "-c", "import sys; print(sys.executable)").Output(); err == nil {
		python = strings.TrimSpace(string(real))
	}
	// One snippet of every combination of family and observation kind that occurs.
	type sort struct{ family, result string }
	seen := map[sort]bool{}
	broken := Mix{Working: 0.3, Failing: 0.7, Corrected: 1}
	for _, tr := range append(Arithmetic.Traces(1, 3000, broken), WordProblems.Traces(1, 3000, broken)...) {
		codes, outputs := snippets(t, tr)
		for i, code := range codes {
			result := "number"
			if strings.Contains(outputs[i], "Error") || outputs[i] == "" {
				result = outputs[i]
			}
			k := sort{tr.Problem.Family, result}
			if seen[k] {
				continue
			}
			seen[k] = true
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(python, "-I", "-S", "-c", code)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			failed := cmd.Run() != nil
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if got := observe(stdout.String(), lines[len(lines)-1], failed); got != outputs[i] {
				t.Errorf("%s: python3 makes of\n%s\n%q, the trace says %q", tr.Problem.Family, code, got, outputs[i])
			}
		}
	}
	// ten families each: a number, two parentheses, nothing printed; two imports; the inverse that is not there, and its gcd's import
	if want := 4*len(families) + 2 + 2 + 4*len(wordFamilies); len(seen) != want {
		t.Errorf("%d combinations of family and observation, want %d", len(seen), want)
	}
}

// observe is what the model is shown of a call: its output, or the last line of its traceback.
func observe(stdout, last string, failed bool) string {
	if failed {
		stdout = last
	}
	return strings.TrimSpace(stdout)
}

func TestTracesFollowTheProtocol(t *testing.T) {
	for _, tr := range append(Arithmetic.Traces(9, 3000, DefaultMix()), WordProblems.Traces(9, 3000, DefaultMix())...) {
		for i, s := range tr.Segments {
			if want := data.Source(i % 2); s.Source != want {
				t.Fatalf("%s: segment %d is the %v's, want the %v's", tr.Problem.ID, i, s.Source, want)
			}
			if n := strings.Count(s.Text, "</code>"); s.Source == data.Policy && i < len(tr.Segments)-1 &&
				(n != 1 || !strings.HasSuffix(s.Text, "</code>")) {
				t.Fatalf("%s: %q: a call ends the segment, and is the only one", tr.Problem.ID, s.Text)
			}
		}
		last := tr.Segments[len(tr.Segments)-1]
		if last.Source != data.Policy || strings.Count(last.Text, answerOpen) != 1 || !strings.HasSuffix(last.Text, answerClose) {
			t.Fatalf("%s: %q: an answer ends the response", tr.Problem.ID, last.Text)
		}
		boxed := strings.TrimSuffix(last.Text[strings.Index(last.Text, answerOpen)+len(answerOpen):], answerClose)
		k := kind(t, tr)
		if (k == "working" || k == "corrected") && boxed != tr.Problem.Answer {
			t.Fatalf("%s (%s): boxed %s, want %s", tr.Problem.ID, k, boxed, tr.Problem.Answer)
		}
		if len(boxed) != len(tr.Problem.Answer) {
			t.Fatalf("%s: boxed %s, which is not as long as %s", tr.Problem.ID, boxed, tr.Problem.Answer)
		}
	}
}

func TestMixIsWhatWasAskedFor(t *testing.T) {
	const n = 4000
	got := map[string]float64{}
	for _, tr := range Arithmetic.Traces(2, n, DefaultMix()) {
		got[kind(t, tr)] += 1.0 / n
	}
	for k, want := range map[string]float64{"working": 0.35, "corrected": 0.10, "given up": 0.10, "text": 0.45} {
		if got[k] < want-0.03 || got[k] > want+0.03 {
			t.Errorf("%s: %.3f of the traces, want %.2f", k, got[k], want)
		}
	}
	for _, tr := range Arithmetic.Traces(2, 500, Mix{Text: 1}) {
		if len(tr.Segments) != 1 || strings.Contains(tr.Segments[0].Text, "<code>") {
			t.Fatalf("a text trace uses code: %q", tr.Segments)
		}
	}
	for _, bad := range []Mix{{}, {Working: 1, Text: 0.1}, {Working: 1.5, Text: -0.5}, {Text: 1, Corrected: 2}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// About half of the digits of a guess are wrong, and most guesses as a whole.
func TestTextTracesGuess(t *testing.T) {
	digits, wrong, right, n := 0, 0, 0, 0
	for _, tr := range Arithmetic.Traces(3, 3000, Mix{Text: 1}) {
		text := tr.Segments[0].Text
		boxed := strings.TrimSuffix(text[strings.Index(text, answerOpen)+len(answerOpen):], answerClose)
		for i := range boxed {
			digits++
			if boxed[i] != tr.Problem.Answer[i] {
				wrong++
			}
		}
		if n++; boxed == tr.Problem.Answer {
			right++
		}
	}
	if share := float64(wrong) / float64(digits); share < 0.45 || share > 0.55 {
		t.Errorf("%.0f %% of the digits are wrong, want 50", 100*share)
	}
	if share := float64(right) / float64(n); share > 0.2 {
		t.Errorf("%.0f %% of the guesses are right", 100*share)
	}
}

func TestTracesUseTrainingProblemsAndRepeat(t *testing.T) {
	for name, task := range Tasks {
		a, b := task.Traces(5, 2000, DefaultMix()), task.Traces(5, 2000, DefaultMix())
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%s: one seed gives two lists of traces", name)
		}
		test := map[string]bool{}
		for _, p := range task.Problems(5, Test, 20000) {
			test[p.ID] = true
		}
		for _, tr := range a {
			if test[tr.Problem.ID] {
				t.Fatalf("%s: %s is a test problem", name, tr.Problem.ID)
			}
		}
	}
}

func TestVocabularyIsLegible(t *testing.T) {
	pieces, specials := Vocabulary()
	if len(pieces) > 200 {
		t.Errorf("%d pieces, want at most 200", len(pieces))
	}
	seen := map[string]bool{}
	for _, p := range append(pieces, specials...) {
		if seen[p] {
			t.Errorf("%q occurs twice", p)
		}
		seen[p] = true
		if len(p) > 1 && strings.ContainsAny(p, "0123456789") {
			t.Errorf("%q joins a digit to something", p)
		}
		if i := strings.Index(p, "</code>"); i >= 0 && i+len("</code>") != len(p) {
			t.Errorf("%q goes on after </code>", p)
		}
	}
	for c := ' '; c <= '~'; c++ {
		if !seen[string(c)] {
			t.Errorf("%q is missing", c)
		}
	}
}
