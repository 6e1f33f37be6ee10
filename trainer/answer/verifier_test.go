package answer

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a row of testdata/pairs.txt.
type pair struct {
	kind, a, b string
	equal      bool
}

func readPairs(t testing.TB) []pair {
	f, err := os.Open("testdata/pairs.txt")
	require.NoError(t, err)
	defer f.Close()
	var out []pair
	kind := ""
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if k, ok := strings.CutPrefix(line, "# "); ok {
			kind = k
			continue
		}
		if a, b, ok := strings.Cut(line, " <=> "); ok {
			out = append(out, pair{kind, a, b, true})
		} else if a, b, ok := strings.Cut(line, " <!> "); ok {
			out = append(out, pair{kind, a, b, false})
		} else {
			require.Empty(t, line, "a row without <=> or <!>")
		}
	}
	require.Greater(t, len(out), 500)
	return out
}

func TestMathDecidesEveryKindOfPair(t *testing.T) {
	for _, p := range readPairs(t) {
		for _, q := range [][2]string{{p.a, p.b}, {p.b, p.a}} {
			if got, err := Math.Equal(q[0], q[1]); got != p.equal || err != nil {
				t.Errorf("%s: Equal(%q, %q) = %v, %v", p.kind, q[0], q[1], got, err)
			}
		}
		for _, s := range []string{p.a, p.b} {
			if err := Math.Check(s); err != nil && s != "" {
				t.Errorf("%s: %q does not equal itself: %v", p.kind, s, err)
			}
			for _, around := range [][2]string{{"$", "$"}, {"  ", "."}, {`\(`, `\)`}, {`\boxed{`, "}"}, {`\displaystyle `, " "}} {
				if strings.ContainsAny(s, "$€\"`*.") || s == "" || strings.Contains(s, "answer") || strings.Contains(s, "…") {
					continue
				}
				if got, err := Math.Equal(around[0]+s+around[1], s); !got || err != nil {
					t.Errorf("%s: %q with %q around it is another answer: %v", p.kind, s, around, err)
				}
			}
		}
	}
}

func TestBox(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{`so \boxed{42}.`, "42", true},
		{`\boxed{1} or \boxed{2}`, "2", true},
		{`\fbox{8}`, "8", true},
		{`\boxed{1}, no: \fbox{2}`, "2", true},
		{`\fbox{1}, no: \boxed{2}`, "2", true},
		{`\boxed {7}`, "7", true},
		{"\\boxed\n{7}", "7", true},
		{`\boxed 7`, "7", true},
		{`so \boxed 42.`, "42", true},
		{`\boxed7$`, "7", true},
		{`\boxed -3/4 is it`, "-3/4", true},
		{`\boxed 1,250.5.`, "1,250.5", true},
		{`\boxed x`, "x", true},
		{`\boxed{\boxed{5}}`, "5", true},
		{`\boxed{\frac{1}{2}} and on`, `\frac{1}{2}`, true},
		{`\boxed{\{1,2\}}`, `\{1,2\}`, true},
		{`\boxed{\left\{1,2\right.}`, `\left\{1,2\right.`, true},
		{`\boxed{a\\}`, `a\\`, true},
		{`\boxed{5}, as \boxed asks`, "5", true},
		{`\boxed{5} with \boxed`, "5", true},
		{`\boxed{}`, "", true},
		{`\boxed{5`, "", false},
		{`\boxed{5} then \boxed{6`, "", false},
		{`\boxed{\frac{1}{2}`, "", false},
		{`\boxedx`, "", false},
		{`boxed{5}`, "", false},
		{`\boxed a result`, "", false},
		{"", "", false},
	} {
		if got, ok := Box(c.text); got != c.want || ok != c.ok {
			t.Errorf("Box(%q) = %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestOutcomes(t *testing.T) {
	nines := strings.Repeat("9", 5000)
	for _, c := range []struct {
		text, truth string
		math, dapo  Outcome
	}{
		{`<answer>\boxed{42}</answer>`, "42", Correct, Correct},
		{`\boxed{43}`, "42", Wrong, Wrong},
		{`\boxed{42} no: \boxed{43}`, "42", Wrong, Wrong},
		{`the answer is 42`, "42", NoAnswer, NoAnswer},
		{`\boxed{42`, "42", NoAnswer, NoAnswer},
		{`\boxed{}`, "42", Wrong, Wrong},
		{`\boxed{\text{ }}`, "42", Wrong, Wrong},
		{`\boxed{42}`, "", VerifierError, VerifierError},
		{`\boxed{}`, "", VerifierError, VerifierError},
		{`\boxed{42}`, `\text{ }`, VerifierError, VerifierError},
		{`\boxed{?}`, "?", VerifierError, Correct},
		{`\boxed 7`, "7", Correct, NoAnswer},
		{`\fbox{7}`, "7", Correct, NoAnswer},
		{`\boxed{square}`, "square", Correct, VerifierError},
		{`\boxed{\text{points}}`, `\text{points}`, Correct, VerifierError},
		// what the published rules take for right
		{`\boxed{0}`, "3x-y=0", Wrong, Correct},
		{`\boxed{12, 3}`, "1, 23", Wrong, Correct},
		{`\boxed{30 minutes}`, "30 hours", Wrong, Correct},
		{`\boxed{3 1/2}`, "31/2", Wrong, Correct},
		{`\boxed{g(5)=7}`, "f(2)=7", Wrong, Correct},
		{`\boxed{` + nines + `}`, "42", VerifierError, VerifierError},
		{`\boxed{` + strings.Repeat("{", 201) + strings.Repeat("}", 201) + `}`, "42", VerifierError, VerifierError},
	} {
		if got := Math.Grade(c.text, c.truth); got != c.math {
			t.Errorf("Math.Grade(%.60q, %q) = %v, want %v", c.text, c.truth, got, c.math)
		}
		if got := DAPO.Grade(c.text, c.truth); got != c.dapo {
			t.Errorf("DAPO.Grade(%.60q, %q) = %v, want %v", c.text, c.truth, got, c.dapo)
		}
	}
}

func TestTruthsAreChecked(t *testing.T) {
	for _, s := range []string{"17", "square", `\text{points}`, `\emptyset`, `\{\}`, "{}", "-5", `\$5`, "π", "是", `\int_0^1 x\,dx`,
		"1/0", "A"} {
		require.NoError(t, Math.Check(s), s)
	}
	for _, s := range []string{"", " ", `\text{ }`, "$$", `\boxed{}`, `\quad`, "...", strings.Repeat("x", 5000)} {
		require.Error(t, Math.Check(s), s)
	}
	require.ErrorContains(t, DAPO.Check("square"), `the ground truth "square": nothing of it is left`)
	for _, s := range []string{"She has 3+4=7 apples.\n#### 7", "#### 17", "First we add.\nThen we stop.",
		"Add 3 and 4 to get 7 apples. She has 7 of them."} {
		require.True(t, LooksLikeSolution(s), s)
	}
	for _, s := range []string{"17\n", "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}", `\text{Mr. Smith}`, "x = 1, y = 2", "3.5"} {
		require.False(t, LooksLikeSolution(s), s)
	}
}

func TestLimitsAreErrorsAndNotAnswers(t *testing.T) {
	tight := func(change func(*limits)) limits { l := defaultLimits; change(&l); return l }
	for _, v := range []Verifier{Math, DAPO} {
		for name, l := range map[string]limits{
			"bytes": tight(func(l *limits) { l.bytes = 4 }),
			"depth": tight(func(l *limits) { l.depth = 1 }),
			"steps": tight(func(l *limits) { l.steps = 15 }),
			"clock": tight(func(l *limits) { l.clock = -time.Second }),
		} {
			const a = `{{12345}}`
			if got, err := v.equal(l, a, a); got || !errors.Is(err, ErrLimit) {
				t.Errorf("%s, %s: Equal = %v, %v; want a limit", v, name, got, err)
			}
			if got := v.grade(l, `\boxed{`+a+`}`, a); got != VerifierError {
				t.Errorf("%s, %s: Grade = %v", v, name, got)
			}
		}
		if got := v.grade(tight(func(l *limits) { l.steps = 10 }), "a long text without any box", "1"); got != VerifierError {
			t.Errorf("a text that was not read to its end is %v", got)
		}
		if _, err := v.Equal(strings.Repeat("x", 4097), "1"); err == nil ||
			err.Error() != "answer: an answer of 4097 bytes, at most 4096: limit exceeded" {
			t.Errorf("error %v", err)
		}
	}
}

// hostile is the worst that fits into the limits.
func hostile() []string {
	nines := strings.Repeat("9", 2040)
	fill := func(s string) string { return strings.Repeat(s, 4096/len(s)) }
	return []string{
		nines + "/" + nines[1:], fill(`\frac1`), fill("a"), fill("$"), strings.Repeat(`\text{`, 190) + strings.Repeat("}", 190), fill("frac12"),
		"9^{9^{9^{9}}}", "2^{1000000000000}", "(x+y+z+w+u+v)^{4000}", fill("(x+y)(z+w)(u+v)(a+b)(c+d)(f+g)"),
		"(" + fill("x+")[:4000] + "x)^{3}", fill("((((")[:199],
		fill("1,"), "{" + fill("1,")[:4000] + "1}", `\{` + fill("x,y,")[:4000] + `z\}`, fill("ab "), fill(`\pm`), fill("-"), fill("|"),
		fill("√"), fill("x^"), fill("x_"),
		"\\sqrt{" + nines + "}", fill("1e1999 "), fill("1e1999*"), nines + "!", fill("!"), fill(`\sin`), fill(`\begin{pmatrix}`),
		fill("1 "), fill("1 000 "), fill(`x=`), fill("1<"),
		"(1+\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11})^{400}", "(" + nines[:600] + "x+1)^{60}",
		fill(`\frac{1}{1+`)[:2000] + "x" + strings.Repeat("}", 181),
		fill(`\text{ cm/`), fill("cm "), "5 " + fill(`\text{cm} `)[:4000], fill(`\left.`), fill(`\boxed`), fill("\\"), "\xff\xfe",
		fill("½"), fill("²"),
		`\{` + fill("(x+1)^9,")[:4000] + `1\}`,
	}
}

func TestTheLargestAnswersAreQuick(t *testing.T) {
	for _, a := range hostile() {
		for _, b := range []string{a, strings.Repeat("9", 2040) + "/7"} {
			start := time.Now()
			if _, err := Math.Equal(a, b); err != nil && !errors.Is(err, ErrLimit) {
				t.Errorf("%.20s…: %v", a, err)
			}
			if d := time.Since(start); d > 4*defaultLimits.clock {
				t.Errorf("%.20s… took %v", a, d)
			}
		}
	}
}

func TestGradingIsSafeAtOnce(t *testing.T) {
	pairs := readPairs(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, p := range pairs {
				if got, err := Math.Equal(p.a, p.b); got != p.equal || err != nil {
					t.Errorf("%s: Equal(%q, %q) = %v, %v", p.kind, p.a, p.b, got, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzEqual(f *testing.F) {
	for _, p := range readPairs(f) {
		f.Add(p.a, p.b)
	}
	f.Add(`\boxed{`, "}")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, v := range []Verifier{Math, DAPO} {
			ab, err1 := v.Equal(a, b)
			ba, err2 := v.Equal(b, a)
			if err1 == nil && err2 == nil && ab != ba {
				t.Fatalf("%s: Equal(%q, %q) = %v, but the other way round %v", v, a, b, ab, ba)
			}
			for _, err := range []error{err1, err2} {
				if err != nil && !errors.Is(err, ErrLimit) {
					t.Fatal(err)
				}
			}
			v.Grade(a, b)
			v.Check(a)
		}
		if len(a) <= defaultLimits.bytes && read(a).says() {
			if same, err := Math.Equal(a, a); !same && err == nil {
				t.Fatalf("%q says something and is not itself", a)
			}
		}
		Box(a)
		DAPOStrict(a, b, true)
		DAPOStrict(a, b, false)
		LooksLikeSolution(a)
	})
}

// BenchmarkEqual reports the 99th percentile over the pairs of the table beside the mean.
func BenchmarkEqual(b *testing.B) {
	pairs := readPairs(b)
	for _, v := range []Verifier{Math, DAPO} {
		b.Run(string(v), func(b *testing.B) {
			times := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				p := pairs[i%len(pairs)]
				start := time.Now()
				if _, err := v.Equal(p.a, p.b); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}
