package answer

import (
	"math/big"
	"strings"
	"unicode/utf8"
)

// sum reads terms with + − ± ∓ between them.
func (p *parser) sum() (*value, error) {
	defer func() { p.depth-- }()
	if err := p.enter(); err != nil {
		return nil, err
	}
	var total *value
	for first := true; ; first = false {
		sign, found := p.signToken(first)
		if !found {
			if !first {
				return total, nil
			}
			sign = 1
		}
		v, err := p.term()
		if err != nil {
			return nil, err
		}
		if first && !found {
			total = v
			continue
		}
		f, err := v.plain()
		if err != nil {
			if !first || sign > 0 {
				return nil, err
			}
			total, err = negated(v) // −5 cm is read with its unit only by side; this is −(…) of what has none
			if err != nil {
				return nil, err
			}
			continue
		}
		if first {
			if sign < 0 {
				f = f.neg()
			}
			total = expr(f)
			continue
		}
		g, err := total.plain()
		if err != nil {
			return nil, err
		}
		if f, err = p.al.add(g, f, sign); err != nil {
			return nil, err
		}
		total = expr(f)
	}
}

// negated is −v of a vector or a matrix.
func negated(v *value) (*value, error) {
	if v.kind != matrixValue && v.kind != groupValue || v.name != "" {
		return nil, errForm
	}
	w := *v
	w.items = make([]*value, len(v.items))
	for i, x := range v.items {
		if f, err := x.plain(); err == nil {
			w.items[i] = expr(f.neg())
			continue
		}
		y, err := negated(x)
		if err != nil {
			return nil, err
		}
		w.items[i] = y
	}
	return &w, nil
}

// signToken reads an additive sign. A dash is a minus only in front: 3–5 is a range.
func (p *parser) signToken(first bool) (sign int, found bool) {
	t := p.peek()
	if t.kind != opToken {
		return 0, false
	}
	switch t.text {
	case "+":
		sign = 1
	case "-":
		sign = -1
	case "–":
		if !first {
			return 0, false
		}
		sign = -1
	case "±":
		p.pm++
		sign = p.sign
	case "∓":
		p.mp++
		sign = -p.sign
	default:
		return 0, false
	}
	p.pos++
	return sign, true
}

// term reads factors with ·, / or nothing between them. What follows a/b without a sign has no certain place: 1/2x is text.
func (p *parser) term() (*value, error) {
	v, err := p.factor()
	slash := false
	for err == nil {
		var op func(f, g form) (form, error)
		switch {
		case p.peek().is("*"):
			p.pos++
			op, slash = p.al.mul, false
		case p.peek().is("/"):
			if p.bareEnd == p.pos {
				return nil, errForm // sin x / 2
			}
			p.pos++
			op, slash = p.al.div, true
		case p.startsFactor():
			if slash {
				return nil, errForm
			}
			op = p.al.mul
		default:
			return v, nil
		}
		var w *value
		if w, err = p.factor(); err != nil {
			break
		}
		v, err = combine(op, v, w)
	}
	return nil, err
}

// startsFactor reports whether a factor follows without a sign. A number does not: what stands before it is no factor of it.
func (p *parser) startsFactor() bool {
	t := p.peek()
	switch t.kind {
	case wordToken:
		if p.end(p.pos) || t.text == "mod" {
			return false
		}
		_, _, n := p.unitAt(p.pos)
		return n == 0
	case commandToken:
		return !strings.HasPrefix(t.text, "end:") && t.text != "pmod" && t.text != "bmod" && t.text != "mod"
	case opToken:
		if t.is("(") && p.at(p.pos+1).text == "mod" {
			return false
		}
		return t.is("(") || t.is("{") || t.is("√") || t.is("∛") || t.is("∜") || t.is("⌊") || t.is("⌈") || t.is("|") && p.bars == 0
	}
	return false
}

// factor reads a power with signs in front.
func (p *parser) factor() (*value, error) {
	if t := p.peek(); t.is("-") || t.is("+") {
		defer func() { p.depth-- }()
		if err := p.enter(); err != nil {
			return nil, err
		}
		p.pos++
		v, err := p.factor()
		if err != nil {
			return nil, err
		}
		f, err := v.plain()
		if err != nil {
			return nil, err
		}
		if t.is("-") {
			f = f.neg()
		}
		return expr(f), nil
	}
	return p.power()
}

// currencies are the units that signs stand for, in front of a number or behind it; ¢ stands behind.
var currencies = map[string]string{"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "¢": "cent"}

// power reads a primary with what follows it: !, %, °, exponents.
func (p *parser) power() (*value, error) {
	v, err := p.primary()
	raised := false
	for err == nil {
		switch t := p.peek(); {
		case t.is("!") && !raised:
			p.pos++
			if v, err = p.apply("factorial", v); p.peek().is("!") {
				err = errForm // a double factorial is another function
			}
		case t.is("%"):
			p.pos++
			v, err = p.percent(v)
		case t.is("°"):
			p.pos++
			v, err = p.degrees(v)
		case t.kind == opToken && currencies[t.text] != "" && p.end(p.pos+1) && p.unit == "" && v.kind == exprValue:
			p.pos++
			p.unit = currencies[t.text]
		case t.is("^"):
			if raised {
				return nil, errForm // a^b^c
			}
			p.pos++
			v, raised, err = p.raise(v)
		default:
			return v, nil
		}
	}
	return nil, err
}

func (p *parser) percent(v *value) (*value, error) {
	f, err := v.plain()
	if err != nil {
		return nil, err
	}
	if p.end(p.pos) && p.unit == "" && p.sines == 0 {
		p.unit = "%"
		return v, nil
	}
	f, err = p.al.mul(f, rational(big.NewRat(1, 100)))
	return expr(f), err
}

func (p *parser) degrees(v *value) (*value, error) {
	f, err := v.plain()
	switch {
	case err != nil:
		return nil, err
	case p.sines > 0:
		if f, err = p.al.mul(f, fromAtom(atomPi)); err == nil {
			f, err = p.al.mul(f, rational(big.NewRat(1, 180)))
		}
		return expr(f), err
	case p.peek().kind == wordToken && (p.peek().text == "C" || p.peek().text == "F") && p.end(p.pos+1):
		p.unit = "°" + p.peek().text
		p.pos++
		return v, nil
	case p.end(p.pos) && p.unit == "":
		p.unit = "°"
		return v, nil
	}
	return nil, errForm
}

// raise reads what stands behind ^. Degrees and ordinals are written there too.
func (p *parser) raise(v *value) (*value, bool, error) {
	t := p.peek()
	at := func(i int) bool { return p.at(i).is("∘") || p.at(i).is("°") }
	switch {
	case at(p.pos):
		p.pos++
		v, err := p.degrees(v)
		return v, false, err
	case t.is("{") && at(p.pos+1) && p.at(p.pos+2).is("}"):
		p.pos += 3
		v, err := p.degrees(v)
		return v, false, err
	case t.kind == wordToken && ordinals[t.text]:
		p.pos++
		return p.ordinal(v)
	case t.is("{") && ordinals[p.at(p.pos+1).text] && p.at(p.pos+2).is("}"):
		p.pos += 3
		return p.ordinal(v)
	}
	f, err := v.plain()
	if err != nil {
		return nil, false, err
	}
	g, err := p.exponent()
	if err != nil {
		return nil, false, err
	}
	f, err = p.al.pow(f, g, false)
	return expr(f), true, err
}

var ordinals = set("th st nd rd")

func (p *parser) ordinal(v *value) (*value, bool, error) {
	if !p.end(p.pos) || p.unit != "" {
		return nil, false, errForm
	}
	p.unit = "ordinal"
	return v, false, nil
}

// exponent reads a group, or a sign and one primary: x^-1, 2^10.
func (p *parser) exponent() (form, error) {
	negative := p.accept("-")
	if t := p.peek(); t.kind == wordToken && utf8.RuneCountInString(t.text) > 1 && t.text != "pi" {
		return form{}, errForm // x^ab
	}
	v, err := p.primary()
	if err != nil {
		return form{}, err
	}
	f, err := v.plain()
	if negative {
		f = f.neg()
	}
	return f, err
}

// primary reads a number, a symbol, a bracket, a command with its arguments.
func (p *parser) primary() (*value, error) {
	defer func() { p.depth-- }()
	if err := p.enter(); err != nil {
		return nil, err
	}
	t := p.peek()
	switch t.kind {
	case numberToken:
		return p.number()
	case wordToken:
		return p.wordPrimary()
	case commandToken:
		return p.commandPrimary()
	}
	if p.pos >= len(p.toks) {
		return nil, errForm
	}
	p.pos++
	switch t.text {
	case "(", "[", "]", "⟨":
		return p.brackets(t.text)
	case "{":
		return p.braces()
	case `\{`:
		return p.set()
	case "∅":
		return &value{kind: setValue}, nil
	case "$", "€", "£", "¥", "₹":
		if p.unit != "" {
			return nil, errForm
		}
		p.unit = currencies[t.text]
		return p.primary()
	case "√":
		v, err := p.primary()
		if err != nil {
			return nil, err
		}
		return p.apply("sqrt", v)
	case "∛", "∜":
		v, err := p.primary()
		if err != nil {
			return nil, err
		}
		f, err := v.plain()
		if err != nil {
			return nil, err
		}
		f, err = p.al.pow(f, rational(big.NewRat(1, map[string]int64{"∛": 3, "∜": 4}[t.text])), true)
		return expr(f), err
	case "|":
		return p.between("|", "abs")
	case "⌊":
		return p.between("⌋", "floor")
	case "⌈":
		return p.between("⌉", "ceil")
	}
	return nil, errForm
}

func (p *parser) between(shut, function string) (*value, error) {
	if shut == "|" {
		p.bars++
		defer func() { p.bars-- }()
	}
	v, err := p.sum()
	if err == nil && !p.accept(shut) {
		err = errForm
	}
	if err != nil {
		return nil, err
	}
	return p.apply(function, v)
}

// number reads a number token, a mixed number, or digits with their base.
func (p *parser) number() (*value, error) {
	t := p.peek()
	p.pos++
	if t.num == nil {
		return nil, errForm
	}
	if p.peek().is("_") {
		p.pos++
		base, err := p.script()
		return expr(symbolConstant("#" + strings.TrimLeft(t.text, "0") + "_" + base)), err
	}
	if !whole(t) {
		return expr(rational(t.num)), nil
	}
	var n, d token
	var to int
	switch {
	case p.peek().kind == commandToken && p.peek().text == "frac":
		var ok bool
		if n, d, to, ok = p.plainFraction(p.pos + 1); !ok {
			return expr(rational(t.num)), nil
		}
	case p.peek().kind == numberToken && p.peek().space && p.at(p.pos+1).is("/") && whole(p.peek()) && whole(p.at(p.pos+2)):
		n, d, to = p.peek(), p.at(p.pos+2), p.pos+3
		if p.at(to).is("/") {
			return nil, errForm
		}
	default:
		return expr(rational(t.num)), nil
	}
	if d.num.Sign() == 0 || n.num.Cmp(d.num) >= 0 { // 2 3/2 is neither a mixed number nor certainly a product
		return nil, errForm
	}
	p.pos = to
	r := new(big.Rat).Quo(n.num, d.num)
	return expr(rational(r.Add(r, t.num))), nil
}

// whole reports whether a token is a whole number, all digits.
func whole(t token) bool {
	return t.kind == numberToken && t.num != nil && t.num.IsInt() && strings.Trim(t.text, "0123456789") == ""
}

// plainFraction looks at the arguments of \frac from token i, and returns them if they are whole numbers.
func (p *parser) plainFraction(i int) (n, d token, to int, ok bool) {
	arg := func() (token, bool) {
		t := p.at(i)
		if depth := 0; t.is("{") {
			for p.at(i).is("{") {
				i++
				depth++
			}
			t = p.at(i)
			i++
			for ; depth > 0; depth-- {
				if !p.at(i).is("}") {
					return t, false
				}
				i++
			}
			return t, whole(t)
		}
		i++
		return t, whole(t)
	}
	first := p.at(i)
	if whole(first) && len(first.text) == 2 { // \frac12
		digit := func(j int) token {
			return token{kind: numberToken, text: first.text[j : j+1], num: big.NewRat(int64(first.text[j]-'0'), 1)}
		}
		return digit(0), digit(1), i + 1, true
	}
	if n, ok = arg(); !ok || !first.is("{") && len(first.text) > 1 {
		return n, d, i, false
	}
	second := p.at(i)
	if d, ok = arg(); !ok || !second.is("{") && len(second.text) > 1 {
		return n, d, i, false
	}
	return n, d, i, true
}

// script reads what is behind _, as text.
func (p *parser) script() (string, error) {
	from := p.pos
	if !p.accept("{") {
		if t := p.peek(); t.kind == opToken || t.kind == commandToken && !greek[t.text] {
			return "", errForm
		}
		p.pos++
		return fold(p.toks[from:p.pos]), nil
	}
	for depth := 1; depth > 0; p.pos++ {
		switch t := p.peek(); {
		case p.pos >= len(p.toks):
			return "", errForm
		case t.is("{"):
			depth++
		case t.is("}"):
			depth--
		}
	}
	return strings.ReplaceAll(fold(p.toks[from+1:p.pos-1]), " ", "~"), nil
}

// brackets reads what stands in ( ), [ ], ( ], ⟨ ⟩ or ]a, b[. One item in round brackets is that item.
func (p *parser) brackets(open string) (*value, error) {
	bars := p.bars
	p.bars = 0
	v, err := p.list(false)
	p.bars = bars
	if err != nil {
		return nil, err
	}
	t := p.peek()
	if t.kind != opToken {
		return nil, errForm
	}
	p.pos++
	shut := t.text
	switch {
	case open == "⟨" && shut == "⟩":
	case open != "⟨" && (shut == ")" || shut == "]" || shut == "["):
		if open == "]" {
			open = "("
		}
		if shut == "[" {
			shut = ")"
		}
	default:
		return nil, errForm
	}
	if v.kind == listValue && v.text == "" && v.whole == nil {
		return &value{kind: groupValue, text: open + shut, items: v.items}, nil
	}
	if open == "(" && shut == ")" || v.kind == matrixValue && open == "[" && shut == "]" {
		return v, nil
	}
	return &value{kind: groupValue, text: open + shut, items: []*value{v}}, nil
}

// braces reads a group that LaTeX does not show.
func (p *parser) braces() (*value, error) {
	if p.accept("}") {
		if len(p.toks) == 2 { // {} alone is the empty set, as in Python's set notation
			return &value{kind: setValue}, nil
		}
		return nil, errForm
	}
	bars := p.bars
	p.bars = 0
	v, err := p.list(false)
	p.bars = bars
	if err == nil && !p.accept("}") {
		err = errForm
	}
	return v, err
}

func (p *parser) set() (*value, error) {
	if p.accept(`\}`) {
		return &value{kind: setValue}, nil
	}
	bars := p.bars
	p.bars = 0
	v, err := p.list(true)
	p.bars = bars
	if err == nil && !p.accept(`\}`) {
		err = errForm
	}
	if err != nil {
		return nil, err
	}
	if v.kind == listValue && v.whole == nil {
		return &value{kind: setValue, items: v.items}, nil
	}
	return &value{kind: setValue, items: []*value{v}}, nil
}
