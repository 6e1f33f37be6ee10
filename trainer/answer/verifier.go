package answer

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verifier is a set of rules by which an answer is right.
type Verifier string

const (
	// Math compares what answers mean: numbers, expressions, sets, intervals, equations, in any spelling. It trains by default.
	Math Verifier = "math"
	// DAPO compares strings, as published figures were graded; its false positives are part of it.
	DAPO Verifier = "dapo"
)

// Verifiers are all there are.
func Verifiers() []string {
	return []string{string(Math), string(DAPO), string(Strict), string(Lenient)}
}

// Outcome is what a verifier makes of a response.
type Outcome int

const (
	VerifierError Outcome = iota // not judged: a limit was exceeded, or the ground truth is none. Never a reward
	Correct
	Wrong
	NoAnswer // no box, or one that does not end
)

func (o Outcome) String() string {
	switch o {
	case VerifierError:
		return "verifier_error"
	case Correct:
		return "correct"
	case Wrong:
		return "wrong"
	case NoAnswer:
		return "no_answer"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// limits bound the work on one pair of answers.
type limits struct {
	bytes int           // of either side
	depth int           // of nested braces
	steps int           // bytes looked at and terms multiplied, the search for the box included
	clock time.Duration // wall clock
}

// defaultLimits are far above what answers need. The clock is generous because a busy machine must not decide rewards.
var defaultLimits = limits{bytes: 4 << 10, depth: maxDepth, steps: 32 << 20, clock: 2 * time.Second}

// ErrLimit is wrapped by the error of [Verifier.Equal] when a limit was exceeded.
var ErrLimit = errors.New("limit exceeded")

// Grade judges a response by its last box: text is what the policy wrote, without its code, without observations and the prompt, which
// holds a box of its own.
func (v Verifier) Grade(text, truth string) Outcome { return v.grade(defaultLimits, text, truth) }

// Equal reports whether two answers are the same. It is symmetric, and an answer of which nothing is left equals nothing. The error wraps
// [ErrLimit].
func (v Verifier) Equal(a, b string) (bool, error) { return v.equal(defaultLimits, a, b) }

// Box is what the last box of a text holds by the verifier's rules: DAPO knows \boxed{…} alone, Strict that of the last 100 characters,
// the others the forms of [Box].
func (v Verifier) Box(text string) (content string, ok bool) {
	switch v {
	case DAPO:
		return dapoBox(text)
	case Strict:
		return dapoBox(last(text, 100))
	}
	return Box(text)
}

// Check reports why a ground truth cannot be graded by: it is empty, or beyond a limit. Any other truth equals itself.
func (v Verifier) Check(truth string) error {
	equal, err := v.Equal(truth, truth)
	switch {
	case err != nil:
		return err
	case !equal:
		return fmt.Errorf("answer: the ground truth %q: nothing of it is left to compare with", truth)
	}
	return nil
}

// LooksLikeSolution reports whether a ground truth looks like a whole solution rather than an answer, so that no response could equal it:
// GSM8K's #### mark, several lines, several sentences, one of six words that are no formula.
func LooksLikeSolution(truth string) bool {
	truth = strings.TrimSpace(truth)
	if strings.Contains(truth, "####") {
		return true
	}
	lines := 0
	for line := range strings.Lines(truth) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, `\\`) && !strings.HasPrefix(line, `\`) {
			lines++
		}
	}
	sentences, prose := 0, 0
	words := strings.Fields(truth)
	for i, w := range words {
		if len(w) > 2 && letter(w[0]) && letter(w[1]) && letter(w[2]) {
			prose++
		}
		if i == len(words)-1 {
			break
		}
		next := words[i+1][0]
		if len(w) > 2 && strings.HasSuffix(w, ".") && letter(w[len(w)-2]) && (next >= 'A' && next <= 'Z' || next == '$' || next == '\\') {
			sentences++
		}
	}
	return lines > 1 || sentences > 0 && len(words) > 7 || prose > 5
}

func (v Verifier) grade(l limits, text, truth string) Outcome {
	switch v {
	case Strict:
		return gradeStrict(text, truth)
	case Lenient:
		return gradeLenient(l, text, truth)
	}
	w := l.begin()
	w.spend(len(text))
	content, ok := v.Box(text)
	if w.err == nil && !ok {
		return NoAnswer
	}
	equal, gradeable := w.compare(v, content, truth)
	switch {
	case w.err != nil || !gradeable:
		return VerifierError
	case equal:
		return Correct
	}
	return Wrong
}

func (v Verifier) equal(l limits, a, b string) (bool, error) {
	w := l.begin()
	equal, _ := w.compare(v, a, b)
	return equal && w.err == nil, w.err
}

// work is one judgement under its limits. After the first limit exceeded, err is set and every result is void.
type work struct {
	limits
	spent int
	end   time.Time
	err   error
}

func (l limits) begin() *work { return &work{limits: l, end: time.Now().Add(l.clock)} }

func (w *work) exceed(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("answer: "+format+": %w", append(args, ErrLimit)...)
	}
}

// spend counts n steps more.
func (w *work) spend(n int) {
	if w.spent += n; w.spent > w.steps {
		w.exceed("more than %d steps", w.steps)
	}
}

func (w *work) checkClock() {
	if time.Now().After(w.end) {
		w.exceed("more than %v", w.clock)
	}
}

// compare reports whether a equals b, and whether b is anything to be compared with.
func (w *work) compare(v Verifier, a, b string) (equal, gradeable bool) {
	if !w.admit(a) || !w.admit(b) {
		return false, true
	}
	switch v {
	case DAPO:
		equal, gradeable = w.equalDAPO(a, b)
	case Strict:
		equal, gradeable = a == b && a != "", b != ""
	default:
		equal, gradeable = w.equalMath(a, b)
	}
	w.checkClock()
	return equal, gradeable
}

// admit checks size and nesting of one side.
func (w *work) admit(s string) bool {
	if w.err != nil {
		return false
	}
	if len(s) > w.bytes {
		w.exceed("an answer of %d bytes, at most %d", len(s), w.bytes)
		return false
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			if depth++; depth > w.depth {
				w.exceed("braces nested more than %d deep", w.depth)
				return false
			}
		case '}':
			depth--
		}
	}
	w.spend(len(s))
	return w.err == nil
}
