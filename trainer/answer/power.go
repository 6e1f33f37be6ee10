package answer

import (
	"math/big"
	"slices"
)

// Atoms with a meaning of their own.
var (
	atomI  = &atom{key: "i", kind: imag, constant: true}
	atomPi = &atom{key: "π", positive: true, constant: true}
	atomE  = &atom{key: "e", positive: true, constant: true}
)

// primes holds those that radicands are searched for.
var primes = func() []uint64 {
	const limit = 5000
	var out []uint64
	composite := make([]bool, limit)
	for i := 2; i < limit; i++ {
		if composite[i] {
			continue
		}
		out = append(out, uint64(i))
		for j := i * i; j < limit; j += i {
			composite[j] = true
		}
	}
	return out
}()

type primePower struct {
	n   *big.Int
	exp int64
}

// factorise splits n > 0 into prime powers. What is left after the small primes stays whole, unless it is a square or a cube.
func factorise(n *big.Int) []primePower {
	var out []primePower
	rest := new(big.Int).Set(n)
	search := primes
	if rest.BitLen() > 64 {
		search = primes[:168] // below 1000
	}
	q, r, p := new(big.Int), new(big.Int), new(big.Int)
	for _, prime := range search {
		if rest.IsUint64() {
			small := rest.Uint64()
			if prime*prime > small {
				break
			}
			var k int64
			for small%prime == 0 {
				small /= prime
				k++
			}
			if k > 0 {
				out = append(out, primePower{new(big.Int).SetUint64(prime), k})
				rest.SetUint64(small)
			}
			continue
		}
		p.SetUint64(prime)
		var k int64
		for q.QuoRem(rest, p, r); r.Sign() == 0; q.QuoRem(rest, p, r) {
			rest.Set(q)
			k++
		}
		if k > 0 {
			out = append(out, primePower{new(big.Int).Set(p), k})
		}
	}
	if rest.IsInt64() && rest.Int64() == 1 {
		return out
	}
	if s := new(big.Int).Sqrt(rest); new(big.Int).Mul(s, s).Cmp(rest) == 0 {
		return append(out, primePower{s, 2})
	}
	return append(out, primePower{rest, 1})
}

// radicals is c^e for c > 0, as a product of roots of primes.
func (al *algebra) radicals(c *big.Rat, e ratio) (form, error) {
	if e.d == 1 {
		return powRational(c, e.n)
	}
	t := term{coef: ratOne}
	for i, n := range []*big.Int{c.Num(), c.Denom()} {
		if n.IsInt64() && n.Int64() == 1 {
			continue
		}
		for _, p := range factorise(n) {
			exp := e.mul(newRatio(p.exp, 1))
			if i == 1 {
				exp.n = -exp.n
			}
			t.factors = append(t.factors, factor{&atom{key: p.n.String(), kind: radix, positive: true, constant: true, n: p.n}, exp})
		}
	}
	slices.SortFunc(t.factors, func(a, b factor) int { return compareStrings(a.atom.key, b.atom.key) })
	p, err := al.scale(onePoly, t)
	return form{p, onePoly}, err
}

func powRational(c *big.Rat, n int64) (form, error) {
	r, err := powRat(c, n)
	if err != nil {
		return form{}, err
	}
	return rational(r), nil
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// pow is f^g. radical says that it was written with a root sign, by which ∛−8 is −2.
func (al *algebra) pow(f, g form, radical bool) (form, error) {
	r, ok := g.rational()
	if !ok {
		return al.powSymbolic(f, g)
	}
	if !r.Num().IsInt64() || !r.Denom().IsInt64() {
		return form{}, errForm
	}
	e := ratio{r.Num().Int64(), r.Denom().Int64()}
	if c, ok := f.rational(); ok && e.d == 1 {
		if c.Sign() == 0 && e.n <= 0 {
			return form{}, errForm
		}
		return powRational(c, e.n)
	}
	if !e.small() {
		return form{}, errForm
	}
	if e.d == 1 {
		return al.powWhole(f, e.n)
	}
	if len(f.num) == 0 {
		if e.n < 0 {
			return form{}, errForm
		}
		return f, nil
	}
	return al.powRoot(f, e, radical)
}

func (al *algebra) powWhole(f form, n int64) (form, error) {
	if t, ok := f.single(); ok { // of one term: any exponent, without multiplying
		c, err := powRat(t.coef, n)
		if err != nil {
			return form{}, err
		}
		u := term{coef: c}
		for _, x := range t.factors {
			u.factors = append(u.factors, factor{x.atom, x.exp.mul(ratio{n, 1})})
			if x.atom.kind == root && n < 0 {
				return al.powQuotient(f, n)
			}
		}
		p, err := al.scale(onePoly, u)
		return form{p, onePoly}, err
	}
	return al.powQuotient(f, n)
}

func (al *algebra) powQuotient(f form, n int64) (form, error) {
	num, den := f.num, f.den
	if n < 0 {
		num, den, n = den, num, -n
	}
	a, err1 := al.powPoly(num, n)
	b, err2 := al.powPoly(den, n)
	if err1 != nil || err2 != nil {
		return form{}, errForm
	}
	return al.quotient(a, b)
}

// powRoot is f^e, e not whole, f not 0. Positive factors of f come out of the root; the rest stays under it.
func (al *algebra) powRoot(f form, e ratio, radical bool) (form, error) {
	content, rest := f.content()
	out, err := al.radicals(content, e)
	if err != nil {
		return form{}, err
	}
	if t, ok := rest.single(); ok {
		under := term{coef: t.coef}
		outside := term{coef: ratOne}
		for _, x := range t.factors {
			if x.atom.positive {
				outside.factors = append(outside.factors, factor{x.atom, x.exp.mul(e)})
			} else {
				under.factors = append(under.factors, x)
			}
		}
		p, err := al.scale(onePoly, outside)
		if err != nil {
			return form{}, err
		}
		if out, err = al.mul(out, form{p, onePoly}); err != nil {
			return form{}, err
		}
		switch {
		case len(under.factors) == 0 && t.coef.Sign() > 0:
			return out, nil
		case len(under.factors) == 0 && e.d == 2: // (−1)^{n/2} = i^n
			i, err := al.powWhole(fromAtom(atomI), e.n)
			if err != nil {
				return form{}, err
			}
			return al.mul(out, i)
		case len(under.factors) == 0 && e.d&1 == 1 && radical:
			if e.n&1 != 0 {
				out = out.neg()
			}
			return out, nil
		case len(under.factors) == 0:
			return form{}, errForm // (−8)^{1/3} has three values, and people mean different ones
		case len(under.factors) == 1 && under.factors[0].exp == one && t.coef.Sign() > 0 && under.factors[0].atom.kind == free:
			x := under.factors[0]
			return al.mul(out, fromTerm(term{ratOne, []factor{{x.atom, e}}}))
		}
		rest = fromTerm(under)
	}
	if g, ok, err := al.denest(rest, e); ok || err != nil {
		if err != nil {
			return form{}, err
		}
		return al.mul(out, g)
	}
	a := &atom{key: "√" + rest.String(), kind: root, base: rest.num, constant: rest.constant()}
	if !rest.den.isOne() {
		a.kind = free
	}
	whole, part := e.floor()
	if a.kind == free {
		whole, part = 0, e
	}
	if out, err = al.mul(out, fromTerm(term{ratOne, []factor{{a, part}}})); err != nil || whole == 0 {
		return out, err
	}
	p, err := al.powWhole(rest, whole)
	if err != nil {
		return form{}, err
	}
	return al.mul(out, p)
}

// content splits f ≠ 0 into a positive rational and the rest, whose coefficients are whole and have no common divisor.
func (f form) content() (*big.Rat, form) {
	num, den := new(big.Int), big.NewInt(1)
	for _, t := range f.num {
		num.GCD(nil, nil, num, new(big.Int).Abs(t.coef.Num()))
		g := new(big.Int).GCD(nil, nil, den, t.coef.Denom())
		den.Mul(den, g.Quo(t.coef.Denom(), g))
	}
	c := new(big.Rat).SetFrac(num, den)
	inverse := new(big.Rat).Inv(c)
	p := make(poly, len(f.num))
	for k, t := range f.num {
		p[k] = term{new(big.Rat).Mul(t.coef, inverse), t.factors}
	}
	return c, form{p, f.den}
}

// denest is √(a + b√c) = √((a+d)/2) ± √((a−d)/2), where a² − b²c is the square of a rational d.
func (al *algebra) denest(f form, e ratio) (g form, ok bool, err error) {
	if e != (ratio{1, 2}) || !f.den.isOne() || len(f.num) != 2 {
		return g, false, nil
	}
	var a, b *big.Rat
	square := new(big.Rat)
	for _, t := range f.num {
		if len(t.factors) == 0 {
			a = t.coef
			continue
		}
		c := new(big.Rat).Set(t.coef)
		c.Mul(c, c)
		for _, x := range t.factors {
			if x.atom.kind != radix || x.exp != (ratio{1, 2}) {
				return g, false, nil
			}
			c.Mul(c, new(big.Rat).SetInt(x.atom.n))
		}
		b, square = t.coef, c
	}
	if a == nil || b == nil || a.Sign() <= 0 {
		return g, false, nil
	}
	d, ok := rootOf(new(big.Rat).Sub(new(big.Rat).Mul(a, a), square))
	if !ok {
		return g, false, nil
	}
	half := ratio{1, 2}
	x := new(big.Rat).Mul(new(big.Rat).Add(a, d), big.NewRat(1, 2))
	y := new(big.Rat).Mul(new(big.Rat).Sub(a, d), big.NewRat(1, 2))
	if y.Sign() <= 0 {
		return g, false, nil
	}
	u, err1 := al.radicals(x, half)
	v, err2 := al.radicals(y, half)
	if err1 != nil || err2 != nil {
		return g, false, errForm
	}
	g, err = al.add(u, v, b.Sign())
	return g, true, err
}

// rootOf is the square root of a rational that has a rational one.
func rootOf(r *big.Rat) (*big.Rat, bool) {
	if r.Sign() < 0 {
		return nil, false
	}
	n, d := new(big.Int).Sqrt(r.Num()), new(big.Int).Sqrt(r.Denom())
	if new(big.Int).Mul(n, n).Cmp(r.Num()) != 0 || new(big.Int).Mul(d, d).Cmp(r.Denom()) != 0 {
		return nil, false
	}
	return new(big.Rat).SetFrac(n, d), true
}

// powSymbolic is f^g where g holds more than a rational number: b^{m+n} = b^m·b^n, b^{3m} = (b^m)³, 6^m = 2^m·3^m, e^{ln 2} = 2.
func (al *algebra) powSymbolic(f, g form) (form, error) {
	if !g.den.isOne() {
		return fromAtom(&atom{key: "pow" + f.String() + g.String(), constant: f.constant() && g.constant()}), nil
	}
	bases, err := al.bases(f)
	if err != nil {
		return form{}, err
	}
	out := integer(1)
	for _, k := range g.num.keys() {
		t := g.num[k]
		for _, b := range bases {
			p, err := al.powTerm(b, t)
			if err != nil {
				return form{}, err
			}
			if out, err = al.mul(out, p); err != nil {
				return form{}, err
			}
		}
	}
	return out, nil
}

// base is a factor of the base of a power: value^exp.
type base struct {
	value form
	exp   ratio
}

// bases splits the base of a power into factors that powers may be taken of one by one: primes and −1, positive atoms, and the rest.
func (al *algebra) bases(f form) ([]base, error) {
	if len(f.num) == 0 {
		return nil, errForm
	}
	content, rest := f.content()
	var out []base
	for i, n := range []*big.Int{content.Num(), content.Denom()} {
		if n.IsInt64() && n.Int64() == 1 {
			continue
		}
		for _, p := range factorise(n) {
			out = append(out, base{rational(new(big.Rat).SetInt(p.n)), newRatio(p.exp*int64(1-2*i), 1)})
		}
	}
	t, ok := rest.single()
	if !ok {
		return append(out, base{rest, one}), nil
	}
	under := term{coef: t.coef}
	for _, x := range t.factors {
		if x.atom.positive {
			v := fromAtom(x.atom)
			if x.atom.kind == radix {
				v = rational(new(big.Rat).SetInt(x.atom.n))
			}
			out = append(out, base{v, x.exp})
		} else {
			under.factors = append(under.factors, x)
		}
	}
	if len(under.factors) > 0 || under.coef.Sign() < 0 {
		out = append(out, base{fromTerm(under), one})
	}
	return out, nil
}

// powTerm is b^t.
func (al *algebra) powTerm(b base, t term) (form, error) {
	c := t.coef
	if !c.Num().IsInt64() || !c.Denom().IsInt64() {
		return form{}, errForm
	}
	exp := newRatio(c.Num().Int64(), c.Denom().Int64())
	if !exp.small() {
		return form{}, errForm
	}
	exp = exp.mul(b.exp)
	if len(t.factors) == 0 {
		return al.pow(b.value, rational(big.NewRat(exp.n, exp.d)), false)
	}
	if b.value.String() == "(1 e)" {
		if len(t.factors) == 1 && t.factors[0].exp == one && t.factors[0].atom.n != nil && t.factors[0].atom.kind == free { // ln n
			return al.radicals(new(big.Rat).SetInt(t.factors[0].atom.n), exp)
		}
		if len(t.factors) == 2 && t.factors[0].atom == atomI && t.factors[1] == (factor{atomPi, one}) { // i before π
			if exp.d == 2 || exp.d == 3 || exp.d == 4 || exp.d == 6 { // cos and sin are known
				return al.onCircle(exp)
			}
			a := &atom{key: "e^iπ", kind: circle, constant: true}
			p, err := al.scale(onePoly, term{ratOne, []factor{{a, exp}}})
			return form{p, onePoly}, err
		}
	}
	m := term{ratOne, t.factors}
	a := &atom{key: "pow" + b.value.String() + "[" + m.key() + "]", constant: b.value.constant() && fromTerm(m).constant()}
	return fromTerm(term{ratOne, []factor{{a, exp}}}), nil
}

// onCircle is e^{iπ·turns} = cos π·turns + i sin π·turns.
func (al *algebra) onCircle(turns ratio) (form, error) {
	angle, err := al.mul(rational(big.NewRat(turns.n, turns.d)), fromAtom(atomPi))
	if err != nil {
		return form{}, err
	}
	cosine, err1 := al.sine(angle, true)
	sine, err2 := al.sine(angle, false)
	if err1 != nil || err2 != nil {
		return form{}, errForm
	}
	if sine, err = al.mul(sine, fromAtom(atomI)); err != nil {
		return form{}, err
	}
	return al.add(cosine, sine, 1)
}

// ln is the natural logarithm of f, or name's: that of 12 is 2 ln 2 + ln 3, that of e³ is 3.
func (al *algebra) ln(name string, f form) (form, error) {
	if len(f.num) == 0 {
		return form{}, errForm
	}
	if r, ok := f.rational(); ok && r.Sign() > 0 {
		out := form{poly{}, onePoly}
		for i, n := range []*big.Int{r.Num(), r.Denom()} {
			if n.IsInt64() && n.Int64() == 1 {
				continue
			}
			for _, p := range factorise(n) {
				t := term{big.NewRat(p.exp*int64(1-2*i), 1), []factor{{&atom{key: name + ":" + p.n.String(), constant: true, n: p.n}, one}}}
				if name != "ln" {
					t.factors[0].atom.n = nil
				}
				out.num.put(t.key(), t, 1)
			}
		}
		return out, out.num.check()
	}
	if t, ok := f.single(); ok && name == "ln" && t.coef.Cmp(ratOne) == 0 && len(t.factors) == 1 && t.factors[0].atom == atomE {
		return rational(big.NewRat(t.factors[0].exp.n, t.factors[0].exp.d)), nil
	}
	return fromAtom(&atom{key: name + ":" + f.String(), constant: f.constant()}), nil
}
