package answer

import (
	"math/big"
	"strings"
)

const boxOpen = `\boxed{`

// dapoBox is what the last \boxed{…} of a text holds, braces inside it balanced. Of nested boxes the innermost begins last. Where the
// last one does not end there is no answer, whatever came before.
func dapoBox(text string) (content string, ok bool) {
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

// equalDAPO reports whether two answers are the same string after normalisation, or the same rational number. gradeable says whether
// anything is left of b.
func (w *work) equalDAPO(a, b string) (equal, gradeable bool) {
	x, y := w.normalise(trim(a)), w.normalise(trim(b))
	if w.err != nil || x == "" || y == "" {
		return false, y != ""
	}
	if x == y {
		return true, true
	}
	w.spend(len(x) + len(y))
	p, ok := dapoRational(x)
	if !ok {
		return false, true
	}
	q, ok := dapoRational(y)
	return ok && p.Cmp(q) == 0, true
}

// substitutions and removed are the data of the DAPO verifier (verl, math_dapo.py, Apache-2.0, after EleutherAI's
// lm-evaluation-harness). They are applied in this order, so that "\text{and}" has lost its spaces before it is looked for.
var substitutions = [][2]string{
	{"an ", ""}, {"a ", ""}, {".$", "$"}, {`\$`, ""}, {`\ `, ""}, {" ", ""},
	{"mbox", "text"}, {`,\text{and}`, ","}, {`\text{and}`, ","}, {`\text{m}`, `\text{}`},
}

var removed = []string{
	"square", "ways", "integers", "dollars", "mph", "inches", "hours", "km", "units", `\ldots`, "sue", "points", "feet", "minutes",
	"digits", "cents", "degrees", "cm", "gm", "pounds", "meters", "meals", "edges", "students", "childrentickets", "multiples",
	`\text{s}`, `\text{.}`, "\\text{\ns}", `\text{}^2`, `\text{}^3`, "\\text{\n}", `\text{}`, `\mathrm{th}`, `^\circ`, `^{\circ}`,
	`\;`, `,\!`, `{,}`, `"`, `\dots`,
}

// wrappers are removed around what they hold.
var wrappers = []string{`\text{`, `\textbf{`, `\overline{`}

// trim takes off what surrounds an answer: white space, one pair of dollar signs, one pair of equal quotes. The first and the last of
// four such signs are no pair.
func trim(s string) string {
	s = strings.TrimSpace(s)
	for _, pair := range []string{"$", `'"`} {
		if len(s) < 2 || s[0] != s[len(s)-1] || strings.IndexByte(pair, s[0]) < 0 {
			continue
		}
		if inner := s[1 : len(s)-1]; strings.IndexByte(inner, s[0]) < 0 {
			s = strings.TrimSpace(inner)
		}
	}
	return s
}

// normalise brings an answer into the form in which answers are compared.
func (w *work) normalise(s string) string {
	if i := strings.LastIndexByte(s, '='); i >= 0 {
		s = s[i+1:]
	}
	for _, sub := range substitutions {
		s = strings.ReplaceAll(s, sub[0], sub[1])
		w.spend(len(s))
	}
	for _, r := range removed {
		s = strings.ReplaceAll(s, r, "")
		w.spend(len(s))
	}
	s = eachLine(s, inDollars)
	for _, open := range wrappers {
		s = unwrap(s, open)
	}
	s = eachLine(s, unbox)
	s = braceFractions(s)
	s = braceRoots(s)
	s = strings.ReplaceAll(s, "$", "")
	w.spend(8 * len(s))
	if digits := strings.ReplaceAll(s, ",", ""); allDigits(digits) {
		s = digits
	}
	return strings.TrimSpace(s)
}

func eachLine(s string, f func(string) string) string {
	if !strings.Contains(s, "\n") {
		return f(s)
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = f(lines[i])
	}
	return strings.Join(lines, "\n")
}

// inDollars keeps of a line its first two dollar signs, if it has two, and what stands between them.
func inDollars(line string) string {
	_, rest, ok := strings.Cut(line, "$")
	if !ok {
		return line
	}
	inner, _, ok := strings.Cut(rest, "$")
	if !ok {
		return line
	}
	return "$" + inner + "$"
}

// unwrap replaces open…} by what is between, up to the first closing brace of the same line, everywhere.
func unwrap(s, open string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, open)
		if !ok {
			break
		}
		b.WriteString(before)
		end := strings.IndexAny(rest, "}\n")
		if end < 0 || rest[end] == '\n' {
			b.WriteString(open)
			s = rest
			continue
		}
		b.WriteString(rest[:end])
		s = rest[end+1:]
	}
	b.WriteString(s)
	return b.String()
}

// unbox removes the first \boxed{ of a line together with the line's last closing brace.
func unbox(line string) string {
	before, rest, ok := strings.Cut(line, boxOpen)
	if !ok {
		return line
	}
	end := strings.LastIndexByte(rest, '}')
	if end < 0 {
		return line
	}
	return before + rest[:end] + rest[end+1:]
}

// braceFractions writes \fracab, a and b single characters, as \frac{a}{b}.
func braceFractions(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "frac")
		if !ok {
			break
		}
		b.WriteString(before)
		b.WriteString("frac")
		numerator, afterN := cutRune(rest)
		denominator, afterD := cutRune(afterN)
		if numerator == "" || numerator == "{" || denominator == "" || denominator == "\n" {
			s = rest
			continue
		}
		b.WriteString("{" + numerator + "}{" + denominator + "}")
		s = afterD
	}
	b.WriteString(s)
	return b.String()
}

// braceRoots writes \sqrta, a a single character, as \sqrt{a}.
func braceRoots(s string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "sqrt")
		if !ok {
			break
		}
		b.WriteString(before)
		b.WriteString("sqrt")
		s = rest
		if radicand, after := cutRune(rest); radicand != "" && radicand != "{" {
			b.WriteString("{" + radicand + "}")
			s = after
		}
	}
	b.WriteString(s)
	return b.String()
}

// cutRune splits off the first character.
func cutRune(s string) (first, rest string) {
	for i := range s {
		if i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// dapoRational parses an integer, a decimal, a/b and \frac{a}{b}, a and b integers, each with a sign.
func dapoRational(s string) (*big.Rat, bool) {
	sign, s := cutSign(s)
	r, ok := fraction(s)
	if ok && sign < 0 {
		r.Neg(r)
	}
	return r, ok
}

// fraction parses what [dapoRational] does, without a sign in front.
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
	n, ok1 := dapoInteger(a)
	d, ok2 := dapoInteger(b)
	if !ok1 || !ok2 || d.Sign() == 0 {
		return nil, false
	}
	return new(big.Rat).SetFrac(n, d), true
}

func dapoInteger(s string) (*big.Int, bool) {
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
