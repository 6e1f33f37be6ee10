package answer

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDAPOBox(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{`so \boxed{42}.`, "42", true},
		{`\boxed{1} or \boxed{2}`, "2", true},
		{`\boxed{\boxed{5}}`, "5", true},
		{`\boxed{\frac{1}{2}} and on`, `\frac{1}{2}`, true},
		{`\boxed{}`, "", true},
		{`\boxed{5`, "", false},
		{`\boxed{5} then \boxed{6`, "", false},
		{`\boxed{\frac{1}{2}`, "", false},
		{`\boxed 5`, "", false},
		{`boxed{5}`, "", false},
		{"", "", false},
	} {
		if got, ok := dapoBox(c.text); got != c.want || ok != c.ok {
			t.Errorf("Box(%q) = %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestDAPOOutcomes(t *testing.T) {
	for _, c := range []struct {
		text, truth string
		want        Outcome
	}{
		{`<answer>\boxed{42}</answer>`, "42", Correct},
		{`\boxed{'42'}`, "42", Correct}, // the prompt itself shows quotes in the box
		{`\boxed{042}`, "42", Correct},
		{`\boxed{ 42.0 }`, "42", Correct},
		{`\boxed{43}`, "42", Wrong},
		{`\boxed{42} no: \boxed{43}`, "42", Wrong},
		{`\boxed{\boxed{5}}`, "5", Correct},
		{`the answer is 42`, "42", NoAnswer},
		{`\boxed{42`, "42", NoAnswer},
		{`\boxed{}`, "42", Wrong},
		{`\boxed{}`, "", VerifierError}, // no ground truth: nothing to be judged by
		{`\boxed{42}`, `\text{}`, VerifierError},
		{`\boxed{` + strings.Repeat("1", 5000) + `}`, "42", VerifierError},
		{`\boxed{` + strings.Repeat("{", 201) + strings.Repeat("}", 201) + `}`, "42", VerifierError},
	} {
		if got := DAPO.Grade(c.text, c.truth); got != c.want {
			t.Errorf("Grade(%.60q, %q) = %v, want %v", c.text, c.truth, got, c.want)
		}
	}
}

// dapoPairs are one row and more for each rule of the verifier. The middle column is what the answer must equal.
var dapoPairs = []struct{ rule, a, b string }{
	{"white space", "  42\n", "42"},
	{"dollars", "$42$", "42"},
	{"single quotes", "'42'", "42"},
	{"double quotes", `"x y"`, "xy"},
	{"dollars around quotes", "$'42'$", "42"},
	{"last equals sign", "x = y = 5", "5"},
	{"sub an", "an apple", "apple"},
	{"sub a", "a b", "b"},
	{"sub .$", "it is $x.$", "x"},
	{"sub escaped dollar", `\$5`, "5"},
	{"sub escaped space", `5\ 000`, "5000"},
	{"sub space", "1 0", "10"},
	{"sub mbox", `\mbox{abc}`, "abc"},
	{"sub comma text and", `x,\text{and}y`, "x,y"},
	{"sub text and", `1\text{ and }2`, "1,2"},
	{"sub text m", `5\text{ m}`, "5"},
	{"removed square with units", `12\text{ square cm}`, "12"},
	{"removed text newline s", "5\\text{\ns}", "5"},
	{"removed text newline", "5\\text{\n}", "5"},
	{"removed text squared", `5\text{ m}^2`, "5"},
	{"removed text cubed", `5\text{ m}^3`, "5"},
	{"removed text s", `5\text{s}`, "5"},
	{"removed text dot", `5\text{.}`, "5"},
	{"removed ordinal", `5^{\mathrm{th}}`, "5^{}"},
	{"removed degree", `90^\circ`, "90"},
	{"removed degree in braces", `90^{\circ}`, "90"},
	{"removed thin space", `1\;000`, "1000"},
	{"removed comma thin", `1,\!000`, "1000"},
	{"removed braced comma", "1{,}000", "1000"},
	{"removed ldots", `1,2,\ldots`, "1,2,"},
	{"removed dots", `1,2,\dots`, "1,2,"},
	{"unwrap dollars inside", "the answer is $5$ of them", "5"},
	{"unwrap dollars, first pair", "$5$ or $6$", "5"},
	{"unwrap dollars line by line", "so\n$5$ it is", "so\n5"},
	{"unwrap text", `\text{Monday}`, "Monday"},
	{"unwrap textbf", `\textbf{B}`, "B"},
	{"unwrap overline", `0.\overline{3}`, "0.3"},
	{"unwrap box", `\boxed{7}`, "7"},
	{"short fraction", `\frac12`, `\frac{1}{2}`},
	{"short root", `\sqrt2`, `\sqrt{2}`},
	{"thousands", "1,234,567", "1234567"},
	{"leading zeros", "007", "7"},
	{"trailing zeros", "2.50", "2.5"},
	{"decimal and integer", "42.0", "42"},
	{"a final point", "42.", "42"},
	{"a leading point", ".5", "0.5"},
	{"decimal and fraction", "0.125", "1/8"},
	{"decimal and LaTeX fraction", "-0.125", `-\frac{1}{8}`},
	{"reduced", "6/8", "3/4"},
	{"LaTeX reduced", `\frac{6}{8}`, `\frac{3}{4}`},
	{"LaTeX and slash", `\frac{3}{4}`, "3/4"},
	{"dfrac", `\dfrac{3}{4}`, `\frac{3}{4}`},
	{"tfrac", `\tfrac34`, "3/4"},
	{"sign in numerator", `\frac{-3}{4}`, `-\frac{3}{4}`},
	{"sign in denominator", "3/-4", "-3/4"},
	{"plus", "+5", "5"},
	{"minus zero", "-0", "0"},
	{"fraction and integer", `\frac{84}{2}`, "42"},
	{"big", "1" + strings.Repeat("0", 300) + ".0", "1" + strings.Repeat("0", 300)},
}

func TestDAPOEqualByEveryRule(t *testing.T) {
	for _, c := range dapoPairs {
		for _, p := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			if got, err := DAPO.Equal(p[0], p[1]); !got || err != nil {
				t.Errorf("%s: Equal(%q, %q) = %v, %v", c.rule, p[0], p[1], got, err)
			}
		}
	}
	for _, r := range removed {
		if got, err := DAPO.Equal("x"+r, "x"); !got || err != nil {
			t.Errorf("removal of %q: Equal = %v, %v", r, got, err)
		}
	}
	// the data is as long as published, and without repetition
	if len(substitutions) != 10 || len(removed) != 41 {
		t.Errorf("%d substitutions and %d removed expressions, want 10 and 41", len(substitutions), len(removed))
	}
	for i, sub := range substitutions {
		if slices.Contains(substitutions[:i], sub) {
			t.Errorf("substitution %q occurs twice", sub)
		}
	}
	for i, r := range removed {
		if slices.Contains(removed[:i], r) {
			t.Errorf("removal %q occurs twice", r)
		}
	}
}

func TestEdgesOfTheReferenceAreKept(t *testing.T) {
	w := defaultLimits.begin()
	for _, c := range []struct{ in, want string }{
		{`\frac1{2}`, `\frac{1}{{}2}`}, // the reference takes two characters, whatever they are
		{`\frac1`, `\frac1`},
		{`\sqrt`, `\sqrt`},
		{`\text{a`, `\text{a`},
		{"\\text{a\nb}", "\\text{a\nb}"}, // no construct spans lines
		{"1,2", "12"},
		{"(1,2)", "(1,2)"},
		{`\boxed{a}b}c`, "a}bc"}, // up to the last brace
		{"$5", "5"},
	} {
		if got := w.normalise(c.in); got != c.want {
			t.Errorf("normalise(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestDAPODifferentAnswersDiffer(t *testing.T) {
	pairs := [][2]string{
		{"7", "8"}, {"(1,2)", "(2,1)"}, {"[0,1)", "(0,1)"}, {"[0,1]", "[0,1)"}, {"1/3", "0.333"}, {"1/3", "0.3333333333333333"},
		{"10^{100}", "10^{100}+1"}, {"x", "y"}, {"-5", "5"}, {"1/2", "2/1"}, {"1/0", "2/0"}, {"0/0", "0"}, {"", ""}, {" ", ""},
		{"$", "$$"}, {`\text{}`, `\text{}`}, {"\\frac{1}{2}3", "3/2"}, {"1e3", "1000"}, {"5%", "0.05"}, {`\sqrt{4}`, "2"}, {"--5", "5"},
		{"1.2.3", "1.23"},
		{"1/2/3", "1/6"}, {".", "0"}, {"-", "0"}, {"\\frac{}{}", "0"},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for len(pairs) < 1000 {
		n, m, d := r.IntN(2000)-1000, r.IntN(2000)-1000, 1+r.IntN(99)
		switch r.IntN(7) {
		case 0:
			pairs = append(pairs, [2]string{fmt.Sprint(n), fmt.Sprint(n + 1 - 2*r.IntN(2))})
		case 1: // fractions that differ by as little as they can
			pairs = append(pairs, [2]string{fmt.Sprintf("%d/%d", n, d), fmt.Sprintf(`\frac{%d}{%d}`, n*d+1, d*d)})
		case 2:
			if n != m {
				pairs = append(pairs, [2]string{fmt.Sprintf("(%d,%d)", n, m), fmt.Sprintf("(%d,%d)", m, n)})
			}
		case 3:
			pairs = append(pairs, [2]string{fmt.Sprintf("[%d,%d)", n, n+d), fmt.Sprintf("(%d,%d]", n, n+d)})
		case 4: // a decimal cut short
			if d%2 != 0 && d%5 != 0 && n%d != 0 {
				pairs = append(pairs, [2]string{fmt.Sprintf("%d/%d", n, d), big.NewRat(int64(n), int64(d)).FloatString(12)})
			}
		case 5:
			if n != 0 {
				pairs = append(pairs, [2]string{fmt.Sprint(n), fmt.Sprint(-n)})
			}
		case 6:
			pairs = append(pairs, [2]string{fmt.Sprintf("%d.%03d", m, d), fmt.Sprintf("%d.%03d", m, d+1)})
		}
	}
	for _, p := range pairs {
		for _, q := range [][2]string{p, {p[1], p[0]}} {
			if got, err := DAPO.Equal(q[0], q[1]); got || err != nil {
				t.Errorf("Equal(%q, %q) = %v, %v: these differ", q[0], q[1], got, err)
			}
		}
	}
}

func TestDAPONumbersEqualAsRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(-1e9, 1e9).Draw(t, "n")
		d := rapid.Int64Range(1, 1e6).Draw(t, "d")
		k := rapid.Int64Range(1, 1000).Draw(t, "k")
		m := rapid.Int64Range(-1e9, 1e9).Draw(t, "m")
		want := big.NewRat(n, d).Cmp(big.NewRat(m, k)) == 0
		if got, err := DAPO.Equal(fmt.Sprintf("%d/%d", n, d), fmt.Sprintf(`\frac{%d}{%d}`, m, k)); got != want || err != nil {
			t.Fatalf("%d/%d = %d/%d: %v, %v", n, d, m, k, got, err)
		}
		if got, err := DAPO.Equal(fmt.Sprintf("%d/%d", n, d), fmt.Sprintf(`\frac{%d}{%d}`, n*k, d*k)); !got || err != nil {
			t.Fatalf("%d/%d, expanded by %d: %v, %v", n, d, k, got, err)
		}
		p := rapid.IntRange(0, 12).Draw(t, "places")
		tenth := new(big.Rat).SetFrac(big.NewInt(n), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil))
		if got, err := DAPO.Equal(tenth.FloatString(p)+strings.Repeat("0", min(p, 3)), tenth.RatString()); !got || err != nil {
			t.Fatalf("%s = %s: %v, %v", tenth.FloatString(p), tenth.RatString(), got, err)
		}
	})
}
