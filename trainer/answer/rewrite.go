package answer

import (
	"regexp"
	"slices"
)

// lines writes equations below each other, or parted by a wide blank, as a list with commas: x = 1 \quad y = 2.
func lines(toks []token) []token {
	var out []token
	depth, equations, parts := 0, 0, 0
	for i, t := range toks {
		switch {
		case t.kind == commandToken && len(t.text) > 5 && t.text[:6] == "begin:", t.is(","), t.is(";"):
			return toks // rows of its own, or a list already
		case t.is("(") || t.is("[") || t.is("{") || t.is(`\{`):
			depth++
		case t.is(")") || t.is("]") || t.is("}") || t.is(`\}`):
			depth--
		case t.is("=") && depth == 0:
			equations++
		}
		if i > 0 && depth == 0 && (t.is(`\\`) || t.gap && !toks[i-1].is(`\\`)) {
			if equations != 1 {
				return toks
			}
			out = append(out, token{kind: opToken, text: ",", space: true})
			parts, equations = parts+1, 0
			if t.is(`\\`) {
				continue
			}
		}
		out = append(out, t)
	}
	if parts == 0 || equations != 1 {
		return toks
	}
	return out
}

// infix writes {a \over b} as \frac{a}{b} and {n \choose k} as \binom{n}{k}. Two of them in one group are an error in LaTeX, and stay.
func infix(toks []token) []token {
	for range maxInfix {
		at := lastInfix(toks)
		if at < 0 {
			return toks
		}
		from, to := groupAround(toks, at)
		if from == at || to == at+1 {
			return toks
		}
		op := func(s string) token { return token{kind: opToken, text: s} }
		out := append(slices.Clone(toks[:from]), token{kind: commandToken, text: infixes[toks[at].text], space: true}, op("{"))
		out = append(append(out, toks[from:at]...), op("}"), op("{"))
		out = append(append(out, toks[at+1:to]...), op("}"))
		toks = append(out, toks[to:]...)
	}
	return toks
}

// lastInfix is the place of the last command between its arguments, -1 if there is none or its group holds another one.
func lastInfix(toks []token) int {
	for at := len(toks) - 1; at >= 0; at-- {
		if toks[at].kind != commandToken || infixes[toks[at].text] == "" {
			continue
		}
		from, _ := groupAround(toks, at)
		depth := 0
		for _, t := range toks[from:at] {
			switch {
			case t.is("{"):
				depth++
			case t.is("}"):
				depth--
			case depth == 0 && t.kind == commandToken && infixes[t.text] != "":
				return -1
			}
		}
		return at
	}
	return -1
}

// infixes are commands that stand between their arguments, by those that stand before them.
var infixes = map[string]string{"over": "frac", "choose": "binom"}

// maxInfix bounds the fractions of this form in one answer.
const maxInfix = 16

// groupAround is the inside of the braces that token at stands in; without braces it is all tokens.
func groupAround(toks []token, at int) (from, to int) {
	depth := 0
	for from = at; from > 0; from-- {
		if t := toks[from-1]; t.is("}") {
			depth++
		} else if t.is("{") {
			if depth == 0 {
				break
			}
			depth--
		}
	}
	depth = 0
	for to = at + 1; to < len(toks); to++ {
		if t := toks[to]; t.is("{") {
			depth++
		} else if t.is("}") {
			if depth == 0 {
				break
			}
			depth--
		}
	}
	return from, to
}

// python rewrites complex numbers as Python prints them: in 3+4j, a number on either side of the sign, j is i. Where anything else holds a
// j, or an i or a k, it may be a unit vector, a quaternion or an index, and stays what it is.
func python(toks []token) []token {
	var at []int
	for n, t := range toks {
		switch {
		case t.kind == wordToken && (t.text == "i" || t.text == "k"):
			return toks
		case t.kind != wordToken && t.kind != commandToken || t.text != "j":
		case n >= 3 && !t.space && toks[n-1].kind == numberToken && (toks[n-2].is("+") || toks[n-2].is("-")) && toks[n-3].kind == numberToken:
			at = append(at, n)
		default:
			return toks
		}
	}
	if len(at) == 0 {
		return toks
	}
	toks = slices.Clone(toks)
	for _, n := range at {
		toks[n].text = "i"
	}
	return toks
}

// displayed are environments that only lay formulas out.
var displayed = set("aligned align align* alignat alignat* gathered gather gather* split multline multline* equation equation* " +
	"eqnarray eqnarray*")

// display takes environments of display apart: alignment goes, and rows are parted by commas, but one that goes on with a relation.
func display(toks []token) []token {
	var out []token
	inside := 0
	for n, t := range toks {
		command, name := t.kind == commandToken && len(t.text) > 4, ""
		begins := command && len(t.text) > 6 && t.text[:6] == "begin:"
		ends := command && t.text[:4] == "end:"
		if begins {
			name = t.text[6:]
		} else if ends {
			name = t.text[4:]
		}
		switch {
		case displayed[name] && begins:
			inside++
		case displayed[name] && inside > 0:
			inside--
		case inside > 0 && t.is("&"):
		case inside > 0 && t.is(`\\`):
			next := n + 1
			for next < len(toks) && toks[next].is("&") {
				next++
			}
			last := next == len(toks) || toks[next].kind == commandToken && len(toks[next].text) > 4 && toks[next].text[:4] == "end:"
			if !last && !toks[next].is("=") && !toks[next].is("≤") && !toks[next].is("≥") {
				out = append(out, token{kind: opToken, text: ","})
			}
		default:
			out = append(out, t)
		}
	}
	return out
}

// printed are numbers as libraries of Python print them: NumPy's scalars, mpmath's and decimal's.
var printed = regexp.MustCompile(`\b(?:(?:np|numpy)\.(?:float|int|uint|longlong|longdouble)\d*|mpf|Decimal)` +
	`\(['"]?(-?[\d.]+(?:[eE][-+]?\d+)?)['"]?\)`)
