package answer

import (
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// errForm says that an expression has no exact form here: it is too large, undefined, or outside of what forms hold. Such an answer is
// compared as text.
var errForm = errors.New("no exact form")

// Bounds of a form. They are far above answers, and keep the worst within milliseconds.
const (
	maxBits     = 1 << 13 // of a numerator or denominator
	maxTerms    = 512     // of a polynomial
	maxExponent = 1 << 12 // of a power that is multiplied out
	maxProducts = 1 << 14 // of terms, in one expression
)

// ratio is a small exact fraction, the exponent of an atom. d is positive, n and d have no common divisor.
type ratio struct{ n, d int64 }

var one = ratio{1, 1}

func newRatio(n, d int64) ratio {
	if d < 0 {
		n, d = -n, -d
	}
	a, b := n, d
	if a < 0 {
		a = -a
	}
	for b != 0 {
		a, b = b, a%b
	}
	return ratio{n / a, d / a}
}

func (r ratio) add(s ratio) ratio { return newRatio(r.n*s.d+s.n*r.d, r.d*s.d) }
func (r ratio) mul(s ratio) ratio { return newRatio(r.n*s.n, r.d*s.d) }

// floor splits r into a whole number and a rest in [0, 1).
func (r ratio) floor() (whole int64, rest ratio) {
	whole = r.n / r.d
	if r.n%r.d < 0 {
		whole--
	}
	return whole, newRatio(r.n-whole*r.d, r.d)
}

// small reports whether products of such exponents stay far from overflow.
func (r ratio) small() bool { return max(r.n, -r.n, r.d) < 1<<20 }

// atomKind says which identities an atom obeys. Everything else about it is its key.
type atomKind uint8

const (
	free   atomKind = iota // a symbol, π, e, a function's value: any rational exponent
	radix                  // a positive integer: an exponent's whole part goes to the coefficient
	imag                   // i: i² = −1
	root                   // a polynomial under a root: an exponent's whole part multiplies it out
	circle                 // e^{iπ}: exponents count half turns
)

// atom is what a form does not look into. Equal keys are equal values.
type atom struct {
	key      string
	kind     atomKind
	positive bool // a positive real number
	constant bool // a number
	n        *big.Int
	base     poly
}

type factor struct {
	atom *atom
	exp  ratio
}

// term is a rational coefficient times a product of atoms, sorted by key, none with exponent 0.
type term struct {
	coef    *big.Rat
	factors []factor
}

func (t term) key() string {
	if len(t.factors) == 0 {
		return ""
	}
	var b strings.Builder
	for _, f := range t.factors {
		b.WriteString(f.atom.key)
		if f.exp != one {
			b.WriteByte('^')
			b.WriteString(strconv.FormatInt(f.exp.n, 10))
			if f.exp.d != 1 {
				b.WriteByte('/')
				b.WriteString(strconv.FormatInt(f.exp.d, 10))
			}
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// poly is a sum of terms by their keys, none with coefficient 0. It is never changed once made.
type poly map[string]term

// form is the normal form of an expression: a quotient of two polynomials over the rationals in atoms. Two forms are equal if the
// products across are the same polynomial. That is exact: no identity is used that does not hold, and a pair that only a missing
// identity would make equal stays different.
type form struct{ num, den poly }

// algebra multiplies forms, under a budget of products for one expression and under the limits of the judgement.
type algebra struct {
	w        *work
	products int
}

// productSteps is what a product of two terms costs beside the look at a byte.
const productSteps = 64

func (al *algebra) spend(n int) error {
	if al.products += n; al.products > maxProducts {
		return errForm
	}
	if al.w.spend(n * productSteps); al.w.spent&0x3ffff < n*productSteps {
		al.w.checkClock()
	}
	if al.w.err != nil {
		return errForm
	}
	return nil
}

func rational(r *big.Rat) form {
	return form{constantPoly(r), onePoly}
}

var (
	ratOne  = big.NewRat(1, 1)
	onePoly = poly{"": term{coef: ratOne}}
)

func integer(n int64) form { return rational(big.NewRat(n, 1)) }

func constantPoly(r *big.Rat) poly {
	if r.Sign() == 0 {
		return poly{}
	}
	return poly{"": term{coef: r}}
}

func fromAtom(a *atom) form { return fromTerm(term{ratOne, []factor{{a, one}}}) }

func fromTerm(t term) form { return form{poly{t.key(): t}, onePoly} }

func symbol(name string) form { return fromAtom(&atom{key: name}) }

// one reports whether p is 1.
func (p poly) isOne() bool {
	t, ok := p[""]
	return ok && len(p) == 1 && t.coef.Cmp(ratOne) == 0
}

// rational returns the value of a form that is a rational number.
func (f form) rational() (*big.Rat, bool) {
	if !f.den.isOne() || len(f.num) > 1 {
		return nil, false
	}
	if len(f.num) == 0 {
		return new(big.Rat), true
	}
	t, ok := f.num[""]
	return t.coef, ok
}

// small returns the value of a form that is a whole number of at most a few digits.
func (f form) small() (int64, bool) {
	r, ok := f.rational()
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	n := r.Num().Int64()
	return n, max(n, -n) < 1<<20
}

// single returns the only term of a form without denominator.
func (f form) single() (term, bool) {
	if len(f.num) == 1 && f.den.isOne() {
		for _, t := range f.num {
			return t, true
		}
	}
	return term{}, false
}

// constant reports whether a form is a number: no symbol occurs in it.
func (f form) constant() bool {
	for _, p := range []poly{f.num, f.den} {
		for _, t := range p {
			for _, x := range t.factors {
				if !x.atom.constant {
					return false
				}
			}
		}
	}
	return true
}

func (p poly) keys() []string {
	keys := make([]string, 0, len(p))
	for k := range p {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (p poly) String() string {
	if len(p) == 0 {
		return "0"
	}
	var b strings.Builder
	for i, k := range p.keys() {
		if i > 0 {
			b.WriteByte('+')
		}
		b.WriteString(p[k].coef.RatString())
		if k != "" {
			b.WriteByte(' ')
			b.WriteString(strings.TrimSuffix(k, " "))
		}
	}
	return b.String()
}

// String is the form's spelling, by which it is part of an atom's key. Forms with equal spellings are equal.
func (f form) String() string {
	if f.den.isOne() {
		return "(" + f.num.String() + ")"
	}
	return "(" + f.num.String() + ")/(" + f.den.String() + ")"
}

func add(p, q poly, sign int) (poly, error) {
	out := make(poly, len(p)+len(q))
	for k, t := range p {
		out[k] = t
	}
	for k, t := range q {
		out.put(k, t, sign)
	}
	return out, out.check()
}

// put adds sign times a term. Only polynomials under construction are changed.
func (p poly) put(k string, t term, sign int) {
	c := new(big.Rat)
	if old, ok := p[k]; ok {
		c.Set(old.coef)
	}
	if sign < 0 {
		c.Sub(c, t.coef)
	} else {
		c.Add(c, t.coef)
	}
	if c.Sign() == 0 {
		delete(p, k)
		return
	}
	p[k] = term{c, t.factors}
}

func (p poly) check() error {
	if len(p) > maxTerms {
		return errForm
	}
	for _, t := range p {
		if t.coef.Num().BitLen() > maxBits || t.coef.Denom().BitLen() > maxBits {
			return errForm
		}
	}
	return nil
}

func (al *algebra) mulPoly(p, q poly) (poly, error) {
	if p.isOne() {
		return q, nil
	}
	if q.isOne() {
		return p, nil
	}
	if err := al.spend(len(p) * len(q)); err != nil {
		return nil, err
	}
	out := make(poly, len(p)*len(q))
	for _, s := range p {
		for _, t := range q {
			u, rest, err := al.mulTerm(s, t)
			if err != nil {
				return nil, err
			}
			if rest == nil {
				out.put(u.key(), u, 1)
				continue
			}
			product, err := al.mulPoly(poly{u.key(): u}, rest)
			if err != nil {
				return nil, err
			}
			for k, v := range product {
				out.put(k, v, 1)
			}
		}
		if len(out) > maxTerms {
			return nil, errForm
		}
	}
	return out, out.check()
}

// mulTerm multiplies two terms; rest, where there is one, is a polynomial that the product has to be multiplied by as well.
func (al *algebra) mulTerm(s, t term) (u term, rest poly, err error) {
	u.coef = new(big.Rat).Mul(s.coef, t.coef)
	if words := (u.coef.Num().BitLen() + u.coef.Denom().BitLen()) / 64; words > 8 { // a fraction is reduced in quadratic time
		if err := al.spend(words * words / 64); err != nil {
			return u, nil, err
		}
	}
	i, j := 0, 0
	for i < len(s.factors) || j < len(t.factors) {
		var f factor
		switch {
		case j == len(t.factors) || i < len(s.factors) && s.factors[i].atom.key < t.factors[j].atom.key:
			f = s.factors[i]
			i++
		case i == len(s.factors) || s.factors[i].atom.key > t.factors[j].atom.key:
			f = t.factors[j]
			j++
		default:
			f = factor{s.factors[i].atom, s.factors[i].exp.add(t.factors[j].exp)}
			i, j = i+1, j+1
		}
		if !f.exp.small() {
			return u, nil, errForm
		}
		keep, out, err := al.settle(f, u.coef)
		if err != nil {
			return u, nil, err
		}
		if keep.n != 0 {
			u.factors = append(u.factors, factor{f.atom, keep})
		}
		if out != nil {
			if rest == nil {
				rest = out
			} else if rest, err = al.mulPoly(rest, out); err != nil {
				return u, nil, err
			}
		}
	}
	return u, rest, nil
}

// settle applies an atom's identity to a power of it: what remains as its exponent, what multiplies the coefficient, in place, and what
// polynomial comes out.
func (al *algebra) settle(f factor, coef *big.Rat) (keep ratio, out poly, err error) {
	whole, rest := f.exp.floor()
	switch f.atom.kind {
	case radix:
		if whole != 0 {
			n, err := powRat(new(big.Rat).SetInt(f.atom.n), whole)
			if err != nil {
				return keep, nil, err
			}
			coef.Mul(coef, n)
		}
		return rest, nil, nil
	case imag:
		switch whole & 3 {
		case 0:
			return ratio{0, 1}, nil, nil
		case 2:
			coef.Neg(coef)
			return ratio{0, 1}, nil, nil
		case 3:
			coef.Neg(coef)
		}
		return one, nil, nil
	case circle:
		if whole&1 != 0 {
			coef.Neg(coef)
		}
		return rest, nil, nil
	case root:
		if whole > 0 {
			out, err = al.powPoly(f.atom.base, whole)
			return rest, out, err
		}
	}
	return f.exp, nil, nil
}

// powRat is r^n, in bounds.
func powRat(r *big.Rat, n int64) (*big.Rat, error) {
	bits := int64(max(r.Num().BitLen(), r.Denom().BitLen()))
	switch {
	case n < 0 && r.Sign() == 0:
		return nil, errForm
	case bits > 1 && max(n, -n) > maxBits/bits+1 || bits <= 1 && max(n, -n) > 1<<40:
		return nil, errForm
	}
	m := big.NewInt(max(n, -n))
	p := new(big.Rat).SetFrac(new(big.Int).Exp(r.Num(), m, nil), new(big.Int).Exp(r.Denom(), m, nil))
	if n < 0 {
		p.Inv(p)
	}
	return p, nil
}

// powPoly is p^n for n ≥ 0, by squaring.
func (al *algebra) powPoly(p poly, n int64) (poly, error) {
	if n > maxExponent {
		return nil, errForm
	}
	out := onePoly
	var err error
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			if out, err = al.mulPoly(out, p); err != nil {
				return nil, err
			}
		}
		if n > 1 {
			if p, err = al.mulPoly(p, p); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (al *algebra) add(f, g form, sign int) (form, error) {
	if a, ok := f.rational(); ok && a.Num().BitLen() < 64 {
		if b, ok := g.rational(); ok && b.Num().BitLen() < 64 {
			if sign < 0 {
				return rational(new(big.Rat).Sub(a, b)), nil
			}
			return rational(new(big.Rat).Add(a, b)), nil
		}
	}
	if f.den.isOne() && g.den.isOne() {
		num, err := add(f.num, g.num, sign)
		return form{num, f.den}, err
	}
	a, err1 := al.mulPoly(f.num, g.den)
	b, err2 := al.mulPoly(g.num, f.den)
	den, err3 := al.mulPoly(f.den, g.den)
	if err := errors.Join(err1, err2, err3); err != nil {
		return form{}, errForm
	}
	num, err := add(a, b, sign)
	if err != nil {
		return form{}, err
	}
	return al.quotient(num, den)
}

func (al *algebra) mul(f, g form) (form, error) {
	num, err1 := al.mulPoly(f.num, g.num)
	den, err2 := al.mulPoly(f.den, g.den)
	if err1 != nil || err2 != nil {
		return form{}, errForm
	}
	return al.quotient(num, den)
}

func (al *algebra) div(f, g form) (form, error) {
	num, err1 := al.mulPoly(f.num, g.den)
	den, err2 := al.mulPoly(f.den, g.num)
	if err1 != nil || err2 != nil {
		return form{}, errForm
	}
	return al.quotient(num, den)
}

func (f form) neg() form {
	num := make(poly, len(f.num))
	for k, t := range f.num {
		num[k] = term{new(big.Rat).Neg(t.coef), t.factors}
	}
	return form{num, f.den}
}

// quotient makes num/den a form. A denominator of one term becomes negative exponents; of any other, the first coefficient is 1, so that
// most quotients have one spelling.
func (al *algebra) quotient(num, den poly) (form, error) {
	if len(den) == 0 {
		return form{}, errForm // a division by zero
	}
	if den.isOne() {
		return form{num, den}, nil
	}
	if len(num) == len(den) { // c·den / den
		c := new(big.Rat)
		for k, t := range den {
			u, ok := num[k]
			if !ok || c.Sign() != 0 && c.Cmp(new(big.Rat).Quo(u.coef, t.coef)) != 0 {
				c = nil
				break
			}
			c.Quo(u.coef, t.coef)
		}
		if c != nil {
			return rational(c), nil
		}
	}
	if len(den) == 1 {
		var err error
		if num, den, err = al.rationalise(num, den); err != nil {
			return form{}, errForm
		}
	}
	first := den[slices.Min(den.keys())]
	inverse := term{coef: new(big.Rat).Inv(first.coef)}
	if len(den) == 1 {
		for _, f := range first.factors {
			inverse.factors = append(inverse.factors, factor{f.atom, ratio{-f.exp.n, f.exp.d}})
		}
	}
	scaled, err1 := al.scale(num, inverse)
	unit, err2 := al.scale(den, inverse)
	if err1 != nil || err2 != nil {
		return form{}, errForm
	}
	return form{scaled, unit}, nil
}

// rationalise takes roots of polynomials out of a denominator of one term.
func (al *algebra) rationalise(num, den poly) (poly, poly, error) {
	for _, t := range den {
		up := term{coef: ratOne}
		for _, f := range t.factors {
			if f.atom.kind == root {
				up.factors = append(up.factors, factor{f.atom, newRatio(f.exp.d-f.exp.n, f.exp.d)})
			}
		}
		if len(up.factors) == 0 {
			break
		}
		num, err := al.scale(num, up)
		if err != nil {
			return nil, nil, err
		}
		den, err := al.scale(den, up)
		return num, den, err
	}
	return num, den, nil
}

// scale multiplies a polynomial by a term whose factors may have any exponents.
func (al *algebra) scale(p poly, t term) (poly, error) {
	if err := al.spend(len(p)); err != nil {
		return nil, err
	}
	out := make(poly, len(p))
	for _, s := range p {
		u, rest, err := al.mulTerm(s, t)
		if err != nil {
			return nil, err
		}
		product := poly{u.key(): u}
		if rest != nil {
			if product, err = al.mulPoly(product, rest); err != nil {
				return nil, err
			}
		}
		for k, v := range product {
			out.put(k, v, 1)
		}
	}
	return out, out.check()
}

// equal reports whether two forms are the same.
func (al *algebra) equal(f, g form) (bool, error) {
	a, err1 := al.mulPoly(f.num, g.den)
	b, err2 := al.mulPoly(g.num, f.den)
	if err1 != nil || err2 != nil {
		return false, errForm
	}
	return a.equal(b), nil
}

func (p poly) equal(q poly) bool {
	if len(p) != len(q) {
		return false
	}
	for k, t := range p {
		if u, ok := q[k]; !ok || t.coef.Cmp(u.coef) != 0 {
			return false
		}
	}
	return true
}

// proportional returns c where p = c·q, rational and not 0.
func (p poly) proportional(q poly) (*big.Rat, bool) {
	if len(p) != len(q) || len(p) == 0 {
		return nil, false
	}
	var c *big.Rat
	for k, t := range p {
		u, ok := q[k]
		if !ok {
			return nil, false
		}
		r := new(big.Rat).Quo(t.coef, u.coef)
		if c == nil {
			c = r
		} else if c.Cmp(r) != 0 {
			return nil, false
		}
	}
	return c, true
}
