package answer

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// spellings of a rational number, all of them equal.
func spellRational(t *rapid.T, n, d int64) string {
	k := rapid.Int64Range(1, 30).Draw(t, "k")
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	name := rapid.SampledFrom([]string{`\frac`, `\dfrac`, `\tfrac`, `\cfrac`}).Draw(t, "name")
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		return fmt.Sprintf("%s%d/%d", sign, n*k, d*k)
	case 1:
		return fmt.Sprintf("%s%s{%d}{%d}", sign, name, n*k, d*k)
	case 2:
		return fmt.Sprintf(`%s{%s%d}{ %d }`, name, sign, n*k, d*k)
	case 3:
		if n < 10 && d < 10 {
			return fmt.Sprintf("%s%s%d%d", sign, name, n, d)
		}
	case 4:
		if n/d > 0 && n%d > 0 {
			if rapid.Bool().Draw(t, "plain") {
				return fmt.Sprintf("%s%d %d/%d", sign, n/d, n%d*k, d*k)
			}
			return fmt.Sprintf("%s%d%s{%d}{%d}", sign, n/d, name, n%d*k, d*k)
		}
	case 5:
		r := big.NewRat(n, d)
		if places, exact := r.FloatPrec(); exact {
			return sign + grouped(r.FloatString(places+rapid.IntRange(0, 2).Draw(t, "zeros")), rapid.SampledFrom([]string{"", ",", "{,}",
				`\,`, "\u202f"}).Draw(t, "separator"))
		}
	}
	return fmt.Sprintf("%s\\left(%d\\right) / %d", sign, n, d)
}

// grouped writes the whole part of a decimal in groups of three.
func grouped(s, separator string) string {
	whole, places, point := strings.Cut(s, ".")
	var b strings.Builder
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(separator)
		}
		b.WriteByte(whole[i])
	}
	if point {
		b.WriteString("." + places)
	}
	return b.String()
}

// around an answer, and no part of it.
func dress(t *rapid.T, s string) string {
	w := rapid.SampledFrom([][2]string{{"", ""}, {"$", "$"}, {" ", " "}, {"", "."}, {`\(`, `\)`}, {`\[ `, ` \]`}, {"{", "}"},
		{`\displaystyle `, ""}, {`\boxed{`, "}"},
		{`\text{The answer is }`, ""}, {"x = ", ""}, {`\approx `, ""}, {"", ` \text{ cm}`}}).Draw(t, "around")
	return w[0] + s + w[1]
}

func TestRationalsInAnySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, d := rapid.Int64Range(-1e7, 1e7).Draw(t, "n"), rapid.Int64Range(1, 400).Draw(t, "d")
		m, c := rapid.Int64Range(-1e7, 1e7).Draw(t, "m"), rapid.Int64Range(1, 400).Draw(t, "c")
		a, b := spellRational(t, n, d), spellRational(t, n, d)
		got, err := Math.Equal(dress(t, a), b)
		require.NoError(t, err)
		require.True(t, got, "%q and %q are %d/%d", a, b, n, d)
		b = spellRational(t, m, c)
		got, err = Math.Equal(a, b)
		require.NoError(t, err)
		require.Equal(t, big.NewRat(n, d).Cmp(big.NewRat(m, c)) == 0, got, "%q and %q", a, b)
	})
}

// polynomial is coefficients by the powers of x and y.
type polynomial map[[2]int]int64

// spell writes the terms in any order, products in any notation.
func (p polynomial) spell(t *rapid.T) string {
	var terms []string
	for _, k := range rapid.Permutation(p.powers()).Draw(t, "order") {
		c := p[k]
		sign := "+"
		if c < 0 {
			sign, c = "-", -c
		}
		parts := []string{fmt.Sprint(c)}
		if c == 1 && k != [2]int{} && rapid.Bool().Draw(t, "one") {
			parts = nil
		}
		for i, x := range []string{"x", "y"} {
			switch e := k[i]; {
			case e == 1:
				parts = append(parts, x)
			case e > 1:
				parts = append(parts, fmt.Sprintf(rapid.SampledFrom([]string{"%s^%d", "%s^{%d}", "%s**%d", "{%s}^%d", "(%s)^%d"}).Draw(t,
					"power"), x, e))
			}
		}
		terms = append(terms, sign+strings.Join(parts, rapid.SampledFrom([]string{"", " ", "*", `\cdot `, `\times `, `\,`}).Draw(t, "product")))
	}
	return strings.TrimPrefix(strings.Join(terms, rapid.SampledFrom([]string{"", " "}).Draw(t, "blank")), "+")
}

func (p polynomial) powers() [][2]int {
	var out [][2]int
	for i := range 4 {
		for j := range 4 {
			if p[[2]int{i, j}] != 0 {
				out = append(out, [2]int{i, j})
			}
		}
	}
	return out
}

func TestPolynomialsInAnySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := polynomial{}
		for range rapid.IntRange(1, 5).Draw(t, "terms") {
			k := [2]int{rapid.IntRange(0, 3).Draw(t, "i"), rapid.IntRange(0, 3).Draw(t, "j")}
			if p[k] += rapid.Int64Range(-20, 20).Draw(t, "c"); p[k] == 0 {
				p[k] = 1
			}
		}
		a, b := p.spell(t), p.spell(t)
		got, err := Math.Equal(a, b)
		require.NoError(t, err)
		require.True(t, got, "%q and %q", a, b)
		k := rapid.Int64Range(2, 9).Draw(t, "k")
		got, err = Math.Equal(fmt.Sprintf(`\frac{%d(%s)}{%d}`, k, a, k), b)
		require.NoError(t, err)
		require.True(t, got, "(%s)·%d/%d", a, k, k)
		p[[2]int{rapid.IntRange(0, 3).Draw(t, "i"), 0}]++
		got, err = Math.Equal(a, p.spell(t))
		require.NoError(t, err)
		require.False(t, got, "%q and %q", a, p)
	})
}

func TestTuplesSetsAndListsInAnySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SliceOfNDistinct(rapid.Int64Range(-50, 50), 2, 5, rapid.ID[int64]).Draw(t, "items")
		spell := func(n []int64, open, shut string) string {
			var items []string
			for _, x := range n {
				items = append(items, spellInBrackets(t, x))
			}
			return open + strings.Join(items, rapid.SampledFrom([]string{",", ", ", `,\ `, " , "}).Draw(t, "comma")) + shut
		}
		other := rapid.Permutation(n).Draw(t, "other")
		moved := false
		for i := range n {
			moved = moved || n[i] != other[i]
		}
		for _, c := range []struct {
			open, shut string
			ordered    bool
		}{{"(", ")", true}, {`\left[`, `\right)`, true}, {`\{`, `\}`, false}} {
			a := spell(n, c.open, c.shut)
			got, err := Math.Equal(a, spell(n, c.open, c.shut))
			require.NoError(t, err)
			require.True(t, got, a)
			b := spell(other, c.open, c.shut)
			got, err = Math.Equal(a, b)
			require.NoError(t, err)
			require.Equal(t, !moved || !c.ordered, got, "%q and %q", a, b)
			changed := append([]int64{n[0] + 101}, n[1:]...)
			b = spell(changed, c.open, c.shut)
			got, err = Math.Equal(a, b)
			require.NoError(t, err)
			require.False(t, got, "%q and %q", a, b)
		}
	})
}

func spellInBrackets(t *rapid.T, n int64) string {
	return rapid.SampledFrom([]string{fmt.Sprint(n), fmt.Sprintf("%d.0", n), fmt.Sprintf(`\frac{%d}{2}`, 2*n), fmt.Sprintf("%d/3",
		3*n), fmt.Sprintf("{%d}", n)}).Draw(t, "item")
}

func TestRootsInAnySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, r := rapid.Int64Range(1, 30).Draw(t, "k"), rapid.Int64Range(2, 300).Draw(t, "r")
		outside := fmt.Sprintf(`%d\sqrt{%d}`, k, r)
		for _, s := range []string{
			fmt.Sprintf(`\sqrt{%d}`, k*k*r), fmt.Sprintf(`%d√%d`, k, r), fmt.Sprintf(`%d*sqrt(%d)`, k, r),
			fmt.Sprintf(`\frac{%d}{\sqrt{%d}}`, k*r, r),
			fmt.Sprintf(`%d^{1/2}\cdot %d`, r, k), fmt.Sprintf(`\sqrt[4]{%d}`, k*k*r*k*k*r), fmt.Sprintf(`%d(%d)**0.5`, k, r),
		} {
			got, err := Math.Equal(s, outside)
			require.NoError(t, err)
			require.True(t, got, "%q and %q", s, outside)
			got, err = Math.Equal(s, fmt.Sprintf(`%d\sqrt{%d}`, k, r+1))
			require.NoError(t, err)
			require.False(t, got, "%q and √%d", s, r+1)
		}
	})
}

// Pairs that differ by as little as they can, 2000 of them, in both orders.
func TestDifferentAnswersDiffer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var pairs [][2]string
	add := func(format string, a []any, other string, b []any) {
		pairs = append(pairs, [2]string{fmt.Sprintf(format, a...), fmt.Sprintf(other, b...)})
	}
	for len(pairs) < 2000 {
		n, m, d := int64(r.IntN(2000)-1000), int64(r.IntN(2000)-1000), int64(2+r.IntN(98))
		if n == m || n == 0 || m == 0 {
			continue
		}
		a, b := []any{n, m}, []any{m, n}
		add("%d", []any{n}, "%d", []any{n + 1})
		add("%d", []any{n}, "%d", []any{-n})
		add("%d/%d", []any{n, d}, `\frac{%d}{%d}`, []any{n*d + 1, d * d})
		add("(%d,%d)", a, "(%d,%d)", b)
		add("[%d,%d)", a, "(%d,%d]", a)
		add("[%d,%d]", a, "[%d,%d)", a)
		if n%d != 0 && (d%7 == 0 || d%3 == 0) && new(big.Rat).Mul(big.NewRat(n, d), big.NewRat(1e12, 1)).IsInt() == false {
			add("%d/%d", []any{n, d}, "%s", []any{big.NewRat(n, d).FloatString(12)})
		}
		add("%d.%03d", []any{m, d}, "%d.%03d", []any{m, d + 1})
		add("%dx+%d", []any{d, d + 1}, "%dx+%d", []any{d + 1, d})
		add(`%d\sqrt{%d}`, []any{d, 2}, `%d\sqrt{%d}`, []any{d, 3})
		add("x=%d", []any{n}, "y=%d", []any{n})
		add(`%d \text{ km}`, []any{d}, `%d \text{ cm}`, []any{d})
		add(`\{%d,%d\}`, a, `\{%d\}`, []any{n})
		add("%d, %d", []any{d, 10 + d}, "%d%d", []any{d, 10 + d})
		add("x<%d", []any{n}, `x\le %d`, []any{n})
		add("%d:%d", []any{d, d + 1}, "%d/%d", []any{d, d + 1})
		add("%d^{%d}", []any{d, 70}, "%d^{%d}+1", []any{d, 70})
		add("%d e^{%d}", []any{d, 3}, "%d e^{%d}", []any{d, 4})
		add("%dx-%dy+%d=0", []any{d, 3, 1}, "%dx-%dy+%d=0", []any{d, 3, 2})
		add("%d+%di", []any{d, 3}, "%d-%di", []any{d, 3})
		add("%d %d/%d", []any{d, 1, 2}, "%d%d/%d", []any{d, 1, 2})
		add(`%d\%%`, []any{d}, `%d\%%`, []any{d + 1})
		add(`x\equiv %d \pmod{%d}`, []any{1, 100 + d}, `x\equiv %d \pmod{%d}`, []any{2, 100 + d})
	}
	for _, p := range pairs {
		for _, q := range [][2]string{p, {p[1], p[0]}} {
			if got, err := Math.Equal(q[0], q[1]); got || err != nil {
				t.Errorf("Equal(%q, %q) = %v, %v: these differ", q[0], q[1], got, err)
			}
		}
	}
}
