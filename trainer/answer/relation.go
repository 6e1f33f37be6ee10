package answer

import (
	"math/big"
	"slices"
	"unicode"
	"unicode/utf8"
)

// relate makes a value of two and more sides.
func (p *parser) relate(sides []side, ops []string) (*value, error) {
	all := func(these ...string) bool {
		for _, op := range ops {
			if !slices.Contains(these, op) {
				return false
			}
		}
		return true
	}
	switch {
	case all("=", "≈"):
		return p.equation(sides, ops)
	case all("<", "≤"):
		return order(sides, ops)
	case all(">", "≥"):
		slices.Reverse(sides)
		slices.Reverse(ops)
		for i, op := range ops {
			ops[i] = map[string]string{">": "<", "≥": "≤"}[op]
		}
		return order(sides, ops)
	case len(ops) == 1 && ops[0] == "∈" && p.isName(sides[0]):
		return named(sides[1].v, p.name(sides[0]), nil), nil
	case len(ops) == 1:
		return &value{kind: relationValue, items: []*value{sides[0].v, sides[1].v}, ops: ops}, nil
	}
	return nil, errForm
}

func named(v *value, name string, equation *value) *value {
	w := *v
	w.name, w.whole = name, equation
	return &w
}

// equation reads a chain of equations. One side may be a name, of which the others are the value; they must be equal to each other. What is
// only approximate after an exact value is left out.
func (p *parser) equation(sides []side, ops []string) (*value, error) {
	name, rest, ops := "", sides, slices.Clone(ops)
	switch last := len(sides) - 1; {
	case p.isName(sides[0]):
		name, rest, ops = p.name(sides[0]), sides[1:], ops[1:]
	case p.isName(sides[last]) && ops[last-1] == "=":
		name, rest, ops = p.name(sides[last]), sides[:last], ops[:last-1]
	}
	if i := slices.Index(ops, "≈"); i >= 0 {
		rest = rest[:i+1]
	}
	if name == "" {
		rest = slices.Clone(rest)
		for i := range rest {
			rest[i].v = calculated(rest[i].v)
		}
	}
	v := rest[0].v
	for _, s := range rest[1:] {
		if !equalValues(p.al, v, s.v) {
			if name != "" || len(rest) != 2 {
				return nil, errForm
			}
			return p.difference(v, s.v)
		}
	}
	if name == "" {
		if len(rest) > 1 && (!v.constant() || !p.computed(rest)) {
			return nil, errForm // an identity
		}
		return v, nil
	}
	if v.name != "" || v.kind == exprValue && v.key() == name {
		return nil, errForm
	}
	if w := p.components(sides[0], v, len(rest)); w != nil {
		return w, nil
	}
	left := sides[0].v
	if rest[0] == sides[0] {
		left = sides[len(sides)-1].v
	}
	equation, err := p.difference(left, v)
	if err != nil {
		equation = nil
	}
	return named(v, name, equation), nil
}

// computed reports whether one of some equal sides is a calculation, as in 10/4 = 2.5. 0 = 0 says nothing of 0.
func (p *parser) computed(sides []side) bool {
	long := false
	first := fold(p.toks[sides[0].from:sides[0].to])
	differ := false
	for _, s := range sides {
		toks := p.toks[s.from:s.to]
		if slices.ContainsFunc(toks, func(t token) bool {
			return isSymbol(t) && !t.inText && (t.kind == commandToken || utf8.RuneCountInString(t.text) == 1) && !constantName(t)
		}) {
			return false // x - x = 0
		}
		long = long || len(toks) > 2
		differ = differ || fold(toks) != first
	}
	return long && differ
}

func (p *parser) difference(a, b *value) (*value, error) {
	f, err1 := a.plain()
	g, err2 := b.plain()
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	d, err := p.al.add(f, g, -1)
	if err != nil || len(d.num) == 0 {
		return nil, errForm
	}
	return &value{kind: equationValue, form: d}, nil
}

// components reads (x, y) = (1, 2) as x = 1, y = 2.
func (p *parser) components(names side, v *value, sides int) *value {
	if names.v == nil || names.v.kind != groupValue || v.kind != groupValue || len(names.v.items) != len(v.items) || sides != 1 {
		return nil
	}
	out := &value{kind: listValue, whole: v}
	for i, x := range v.items {
		equation, err := p.difference(names.v.items[i], x)
		if err != nil {
			equation = nil
		}
		out.items = append(out.items, named(x, names.v.items[i].key(), equation))
	}
	return out
}

// name spells the name on a side.
func (p *parser) name(s side) string {
	if s.v != nil && s.v.kind == exprValue {
		return s.v.key()
	}
	return fold(p.toks[s.from:s.to])
}

// isName reports whether a side only names something: x, a_1, f(x), f(2), P(A), AB, |AB|, ∠ABC, (x, y), Area.
func (p *parser) isName(s side) bool {
	toks := p.toks[s.from:s.to]
	if len(toks) > 2 && toks[0].is("|") && toks[len(toks)-1].is("|") {
		toks = toks[1 : len(toks)-1]
		return len(toks) > 0 && allWords(toks)
	}
	if len(toks) > 2 && toks[0].is("(") && toks[len(toks)-1].is(")") {
		for i, t := range toks[1 : len(toks)-1] {
			if i%2 == 0 && (!isSymbol(t) || constantName(t)) || i%2 == 1 && !t.is(",") {
				return false
			}
		}
		return len(toks)%2 == 1
	}
	if len(toks) > 1 && toks[0].kind == commandToken &&
		slices.Contains([]string{"angle", "triangle", "overline", "vec", "hat", "measuredangle"}, toks[0].text) {
		return true
	}
	if len(toks) > 2 && toks[0].text == "m" && toks[1].kind == commandToken && toks[1].text == "angle" {
		return true // the measure of an angle
	}
	if len(toks) == 0 || !isSymbol(toks[0]) || constantName(toks[0]) {
		return false
	}
	if len(toks) > 1 && allWords(toks) { // A B, or words
		for _, t := range toks {
			if !t.inText && utf8.RuneCountInString(t.text) == 1 && !upper(t.text) {
				return false
			}
		}
		return true
	}
	if len(toks) == 1 && !toks[0].inText && toks[0].kind == wordToken {
		return utf8.RuneCountInString(toks[0].text) == 1 || upper(toks[0].text) || utf8.RuneCountInString(toks[0].text) > 3
	}
	i := 1
	for i < len(toks) && toks[i].is("'") {
		i++
	}
	if i < len(toks) && toks[i].is("_") {
		i++
		if i < len(toks) && toks[i].is("{") {
			for i < len(toks) && !toks[i].is("}") {
				i++
			}
		}
		i++
	}
	if i == 1 && i < len(toks) && toks[i].kind == numberToken && !toks[i].space {
		i++
	}
	if i < len(toks) && toks[i].is("(") {
		return toks[len(toks)-1].is(")") && !slices.ContainsFunc(toks[i+1:len(toks)-1], func(t token) bool { return t.is("(") || t.is(")") })
	}
	return i >= len(toks)
}

func isSymbol(t token) bool { return t.kind == wordToken || t.kind == commandToken && greek[t.text] }

// constantName reports whether a token is a number by another name.
func constantName(t token) bool {
	return !t.inText && (t.text == "e" || t.text == "i" || t.text == "pi") || functions[t.text] || plainNames[t.text] != ""
}

func allWords(toks []token) bool {
	for _, t := range toks {
		if t.kind != wordToken {
			return false
		}
	}
	return true
}

func upper(s string) bool {
	for _, r := range s {
		if !unicode.IsUpper(r) {
			return false
		}
	}
	return true
}

func order(sides []side, ops []string) (*value, error) {
	v := &value{kind: orderValue, ops: ops}
	for _, s := range sides {
		s.v = calculated(s.v)
		if s.v.kind != exprValue || s.v.name != "" {
			return nil, errForm
		}
		v.items = append(v.items, s.v)
	}
	return v, nil
}

// interval returns the interval that an inequality leaves to a symbol, with the symbol as its name.
func (v *value) interval() (*value, bool) {
	if v.kind != orderValue || len(v.items) > 3 {
		return nil, false
	}
	middle := -1
	for i, x := range v.items {
		if x.unit != "" {
			return nil, false
		}
		if !x.form.constant() {
			if middle >= 0 {
				return nil, false
			}
			middle = i
		}
	}
	if middle < 0 || len(v.items) == 3 && middle != 1 {
		return nil, false
	}
	t, ok := v.items[middle].form.single()
	if !ok || t.coef.Cmp(ratOne) != 0 || len(t.factors) != 1 || t.factors[0].exp != one {
		return nil, false
	}
	low, high := expr(symbolConstant(infinity).neg()), expr(symbolConstant(infinity))
	brackets := []byte("()")
	if middle > 0 {
		low = v.items[middle-1]
		if v.ops[middle-1] == "≤" {
			brackets[0] = '['
		}
	}
	if middle < len(v.items)-1 {
		high = v.items[middle+1]
		if v.ops[middle] == "≤" {
			brackets[1] = ']'
		}
	}
	return &value{kind: groupValue, text: string(brackets), items: []*value{low, high}, name: v.items[middle].key()}, true
}

func symbolConstant(key string) form { return fromAtom(&atom{key: key, constant: true}) }

// congruence is a ≡ b (mod m), or b (mod m) alone. Whole b is reduced by whole m.
func congruence(sides []side, ops []string, m *value) (*value, error) {
	f, err := m.plain()
	if err != nil || len(sides) > 2 || len(ops) == 1 && ops[0] != "≡" && ops[0] != "=" {
		return nil, errForm
	}
	v := &value{kind: relationValue, ops: []string{"≡"}}
	for _, s := range sides {
		g, err := s.v.plain()
		if err != nil {
			return nil, err
		}
		n, whole := g.rational()
		if mod, ok := f.small(); ok && mod > 0 && whole && n.IsInt() {
			g = rational(new(big.Rat).SetInt(new(big.Int).Mod(n.Num(), big.NewInt(mod))))
		}
		v.items = append(v.items, expr(g))
	}
	if len(v.items) == 2 {
		if t, ok := v.items[0].form.single(); ok && len(t.factors) == 1 && t.factors[0].exp == one && t.coef.Cmp(ratOne) == 0 {
			v.name, v.items = v.items[0].key(), v.items[1:]
		}
	}
	v.items = append(v.items, m)
	return v, nil
}
