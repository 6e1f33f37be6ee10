package answer

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Outcome is what the verifier makes of a response.
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

// Limits bound the work on one pair of answers.
type Limits struct {
	Bytes int           // of either side
	Depth int           // of nested braces
	Steps int           // bytes looked at, over all passes, the search for the box included
	Clock time.Duration // wall clock
}

// DefaultLimits are far above what answers need. The clock is generous because a busy machine must not decide rewards.
var DefaultLimits = Limits{Bytes: 4 << 10, Depth: 200, Steps: 32 << 20, Clock: 2 * time.Second}

// ErrLimit is wrapped by the error of [Equal] when a limit was exceeded.
var ErrLimit = errors.New("limit exceeded")

// Grade judges a response by its last box: text is what the policy wrote, without its code, without observations and the prompt, which
// holds a box of its own.
func Grade(text, truth string) Outcome { return DefaultLimits.Grade(text, truth) }

// Equal reports whether two answers are the same: the same string after normalisation, or the same rational number. An answer of which
// nothing is left equals nothing. The error wraps [ErrLimit].
func Equal(a, b string) (bool, error) { return DefaultLimits.Equal(a, b) }

// Grade is the function of that name, with other limits.
func (l Limits) Grade(text, truth string) Outcome {
	w := l.begin()
	w.spend(len(text))
	content, ok := Box(text)
	if w.err == nil && !ok {
		return NoAnswer
	}
	equal := w.equal(content, truth)
	switch {
	case w.err != nil || w.right == "":
		return VerifierError
	case equal:
		return Correct
	}
	return Wrong
}

// Equal is the function of that name, with other limits.
func (l Limits) Equal(a, b string) (bool, error) {
	w := l.begin()
	equal := w.equal(a, b)
	return equal && w.err == nil, w.err
}

const boxOpen = `\boxed{`

// Box returns what the last \boxed{…} of a text holds, braces inside it balanced. Of nested boxes the innermost begins last. Where the last
// one does not end there is no answer, whatever came before.
func Box(text string) (content string, ok bool) {
	start := strings.LastIndex(text, boxOpen)
	if start < 0 {
		return "", false
	}
	rest := text[start+len(boxOpen):]
	depth := 1
	for i := range len(rest) {
		switch rest[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return rest[:i], true
			}
		}
	}
	return "", false
}

// work is one judgement under its limits. After the first limit exceeded, err is set and every result is void.
type work struct {
	Limits
	steps int
	end   time.Time
	err   error
	right string // the normalised right-hand side
}

func (l Limits) begin() *work { return &work{Limits: l, end: time.Now().Add(l.Clock)} }

func (w *work) exceed(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("answer: "+format+": %w", append(args, ErrLimit)...)
	}
}

// spend counts n steps more.
func (w *work) spend(n int) {
	if w.steps += n; w.steps > w.Steps {
		w.exceed("more than %d steps", w.Steps)
	}
}

func (w *work) equal(a, b string) bool {
	if !w.admit(a) || !w.admit(b) {
		return false
	}
	x, y := w.normalise(trim(a)), w.normalise(trim(b))
	w.right = y
	if time.Now().After(w.end) {
		w.exceed("more than %v", w.Clock)
	}
	if w.err != nil || x == "" || y == "" {
		return false
	}
	if x == y {
		return true
	}
	w.spend(len(x) + len(y))
	p, ok := rational(x)
	if !ok {
		return false
	}
	q, ok := rational(y)
	return ok && p.Cmp(q) == 0
}

// admit checks size and nesting of one side.
func (w *work) admit(s string) bool {
	if w.err != nil {
		return false
	}
	if len(s) > w.Bytes {
		w.exceed("an answer of %d bytes, at most %d", len(s), w.Bytes)
		return false
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			if depth++; depth > w.Depth {
				w.exceed("braces nested more than %d deep", w.Depth)
				return false
			}
		case '}':
			depth--
		}
	}
	w.spend(len(s))
	return w.err == nil
}

// rational parses an integer, a decimal, a/b and \frac{a}{b}, a and b integers, each with a sign.
func rational(s string) (*big.Rat, bool) {
	sign, s := cutSign(s)
	r, ok := fraction(s)
	if ok && sign < 0 {
		r.Neg(r)
	}
	return r, ok
}

// fraction parses what [rational] does, without a sign in front.
func fraction(s string) (*big.Rat, bool) {
	for _, name := range []string{`\frac{`, `\dfrac{`, `\tfrac{`} {
		inner, ok := strings.CutPrefix(s, name)
		if !ok {
			continue
		}
		if inner, ok = strings.CutSuffix(inner, "}"); !ok {
			return nil, false
		}
		a, b, ok := strings.Cut(inner, "}{")
		if !ok {
			return nil, false
		}
		return quotient(a, b)
	}
	if a, b, ok := strings.Cut(s, "/"); ok {
		return quotient(a, b)
	}
	whole, part, _ := strings.Cut(s, ".")
	if !allDigits(whole + part) {
		return nil, false
	}
	// whole.part = (whole part) / 10^len(part)
	n, _ := new(big.Int).SetString(whole+part, 10)
	if part == "" {
		return new(big.Rat).SetInt(n), true
	}
	d := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(part))), nil)
	return new(big.Rat).SetFrac(n, d), true
}

func quotient(a, b string) (*big.Rat, bool) {
	n, ok1 := integer(a)
	d, ok2 := integer(b)
	if !ok1 || !ok2 || d.Sign() == 0 {
		return nil, false
	}
	return new(big.Rat).SetFrac(n, d), true
}

func integer(s string) (*big.Int, bool) {
	sign, digits := cutSign(s)
	if !allDigits(digits) {
		return nil, false
	}
	n, _ := new(big.Int).SetString(digits, 10)
	if sign < 0 {
		n.Neg(n)
	}
	return n, true
}

func cutSign(s string) (sign int, rest string) {
	switch {
	case strings.HasPrefix(s, "-"):
		return -1, s[1:]
	case strings.HasPrefix(s, "+"):
		return 1, s[1:]
	}
	return 1, s
}
