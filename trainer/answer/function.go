package answer

import (
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// wordPrimary reads letters: a function, a constant, a symbol, or two or three symbols beside each other.
func (p *parser) wordPrimary() (*value, error) {
	t := p.peek()
	p.pos++
	if name := t.text; functions[name] || plainNames[name] != "" {
		if to := plainNames[name]; to != "" {
			name = to
		}
		switch {
		case name == "pi":
			return expr(fromAtom(atomPi)), nil
		case name == "infty":
			return expr(symbolConstant(infinity)), nil
		case name == "∅":
			return &value{kind: setValue}, nil
		case functions[name] || name == "factorial" || name == "binom" || name == "quotient":
			return p.call(name)
		}
		return p.symbol(name)
	}
	n := utf8.RuneCountInString(t.text)
	switch {
	case n == 1 || greek[t.text] && !t.inText:
		return p.symbol(t.text)
	case t.inText:
		if next := p.peek(); next.is("=") || next.is("≈") { // Area = 5
			return p.symbol(strings.ToLower(t.text))
		}
		return nil, errForm
	case n > 3:
		return p.symbol(t.text)
	}
	p.pos--
	first := p.firstLetter()
	if first == "i" || first == "e" {
		return p.constant(first), nil
	}
	return expr(symbol(first)), nil
}

// firstLetter steps over the first letter of a word; the others become a word of their own.
func (p *parser) firstLetter() string {
	t := p.peek()
	_, size := utf8.DecodeRuneInString(t.text)
	if size < len(t.text) {
		rest := t
		rest.text, rest.space = t.text[size:], false
		p.al.w.spend(len(p.toks))
		p.toks = slices.Insert(slices.Clip(p.toks), p.pos+1, rest)
		p.toks[p.pos].text = t.text[:size]
	}
	p.pos++
	return t.text[:size]
}

func (p *parser) constant(name string) *value {
	if name == "i" {
		return expr(fromAtom(atomI))
	}
	return expr(fromAtom(atomE))
}

// symbol reads what belongs to a name: primes, an index, an argument of f, g or h.
func (p *parser) symbol(name string) (*value, error) {
	plain := name
	for p.accept("'") {
		name += "'"
	}
	if p.accept("_") {
		index, err := p.script()
		if err != nil {
			return nil, err
		}
		name += "_" + index
	} else if t := p.peek(); t.kind == numberToken && !t.space && t.num != nil && p.toks[p.pos-1].kind == wordToken && whole(t) {
		p.pos++ // x1 is x_1
		name += "_" + t.num.RatString()
	}
	if name == "i" || name == "e" {
		return p.constant(name), nil
	}
	if !p.peek().is("(") || p.peek().space || !slices.Contains([]string{"f", "g", "h", "F", "G", "P"}, plain) || p.at(p.pos+1).text == "mod" {
		return expr(symbol(name)), nil
	}
	p.pos++
	v, err := p.brackets("(")
	if err != nil {
		return nil, err
	}
	return expr(fromAtom(&atom{key: name + "(" + v.key() + ")"})), nil
}

func (p *parser) commandPrimary() (*value, error) {
	t := p.peek()
	p.pos++
	switch name := t.text; {
	case name == "pi":
		return expr(fromAtom(atomPi)), nil
	case greek[name]:
		return p.symbol(name)
	case name == "infty":
		return expr(symbolConstant(infinity)), nil
	case name == "frac" || name == "binom":
		return p.two(name)
	case name == "sqrt":
		return p.radical()
	case functions[name]:
		return p.call(name)
	case name == "overline":
		return p.overline()
	case slices.Contains([]string{"vec", "hat", "widehat", "tilde", "dot", "mathbb", "mathscr", "mathfrak"}, name):
		from := p.pos
		if _, err := p.argument(); err != nil {
			return nil, err
		}
		if strings.Trim(fold(p.toks[from:p.pos]), "{} ") == "R" && name == "mathbb" {
			return reals(), nil
		}
		return expr(symbol(name + "(" + fold(p.toks[from:p.pos]) + ")")), nil
	case name == "angle" || name == "measuredangle" || name == "triangle":
		from := p.pos
		for p.peek().kind == wordToken && !p.end(p.pos) {
			p.pos++
		}
		if p.pos == from {
			return nil, errForm
		}
		return expr(symbol("∠" + strings.ReplaceAll(fold(p.toks[from:p.pos]), " ", ""))), nil
	case strings.HasPrefix(name, "begin:"):
		return p.environment(strings.TrimPrefix(name, "begin:"))
	}
	return nil, errForm
}

// argument reads the argument of a command: a group, a digit, a letter or a command.
func (p *parser) argument() (form, error) {
	t := p.peek()
	switch {
	case t.is("{"):
		p.pos++
		v, err := p.braces()
		if err != nil {
			return form{}, err
		}
		return v.plain()
	case t.kind == numberToken:
		if !whole(t) || t.num == nil || len(t.text) > 2 {
			return form{}, errForm
		}
		if len(t.text) == 2 { // \frac12: one digit is the argument, the next one stays
			digit := func(i int) token {
				return token{kind: numberToken, text: t.text[i : i+1], num: big.NewRat(int64(t.text[i]-'0'), 1)}
			}
			p.al.w.spend(len(p.toks))
			p.toks = slices.Replace(slices.Clone(p.toks), p.pos, p.pos+1, digit(0), digit(1))
			p.pos++
			return rational(p.toks[p.pos-1].num), nil
		}
		p.pos++
		return rational(t.num), nil
	case t.kind == wordToken: // \frac xy: one letter
		if functions[t.text] || t.text == "pi" || t.inText && utf8.RuneCountInString(t.text) > 1 {
			return form{}, errForm
		}
		first := p.firstLetter()
		if first == "i" || first == "e" {
			return p.constant(first).form, nil
		}
		return symbol(first), nil
	case t.kind == opToken:
		return form{}, errForm
	}
	v, err := p.primary()
	if err != nil {
		return form{}, err
	}
	return v.plain()
}

// two reads \frac and \binom.
func (p *parser) two(name string) (*value, error) {
	f, err := p.argument()
	if err != nil {
		return nil, err
	}
	g, err := p.argument()
	if err != nil {
		return nil, err
	}
	if name == "frac" {
		f, err = p.al.div(f, g)
		return expr(f), err
	}
	return p.binomial(f, g)
}

func (p *parser) binomial(f, g form) (*value, error) {
	n, ok1 := f.small()
	k, ok2 := g.small()
	if !ok1 || !ok2 {
		return expr(fromAtom(&atom{key: "binom" + f.String() + g.String(), constant: f.constant() && g.constant()})), nil
	}
	if k < 0 || n < k || n > 2000 {
		return nil, errForm
	}
	return expr(rational(new(big.Rat).SetInt(new(big.Int).Binomial(n, k)))), nil
}

// radical reads the arguments of \sqrt: [3]{x}, {x}, 5, (x).
func (p *parser) radical() (*value, error) {
	index := integer(2)
	if p.accept("[") {
		v, err := p.sum()
		if err == nil && !p.accept("]") {
			err = errForm
		}
		if err != nil {
			return nil, err
		}
		if index, err = v.plain(); err != nil {
			return nil, err
		}
	}
	var f form
	var err error
	if p.accept("(") {
		var v *value
		if v, err = p.brackets("("); err == nil {
			f, err = v.plain()
		}
	} else {
		if t := p.peek(); t.kind == numberToken && len(t.text) > 1 {
			return nil, errForm // \sqrt12 shows √1 2
		}
		f, err = p.argument()
	}
	if err != nil {
		return nil, err
	}
	e, err := p.al.div(integer(1), index)
	if err != nil {
		return nil, err
	}
	f, err = p.al.pow(f, e, true)
	return expr(f), err
}

// overline reads a bar: over the name of a segment it says nothing; over digits or one letter it does.
func (p *parser) overline() (*value, error) {
	if !p.accept("{") {
		return nil, errForm
	}
	to := p.pos
	for to < len(p.toks) && !p.toks[to].is("}") {
		to++
	}
	inner := p.toks[p.pos:min(to, len(p.toks))]
	letters := fold(inner)
	if to < len(p.toks) && allWords(inner) && len(strings.ReplaceAll(letters, " ", "")) > 1 && upper(strings.ReplaceAll(letters, " ", "")) {
		p.pos = to + 1
		q := &parser{toks: slices.Clone(inner), al: p.al, sign: 1, bareEnd: -1}
		v, err := q.term()
		if err == nil && q.pos < len(q.toks) {
			err = errForm
		}
		return v, err
	}
	p.pos = to + 1
	if to >= len(p.toks) || slices.ContainsFunc(inner, func(t token) bool { return t.is("{") }) {
		return nil, errForm
	}
	return expr(fromAtom(&atom{key: "overline(" + letters + ")"})), nil
}

// environment reads \begin{…} to \end{…}.
func (p *parser) environment(name string) (*value, error) {
	v := &value{kind: matrixValue}
	switch name {
	case "pmatrix", "bmatrix", "matrix", "smallmatrix", "Bmatrix":
	case "array":
		for p.accept("{"); !p.accept("}"); p.pos++ {
			if p.pos >= len(p.toks) {
				return nil, errForm
			}
		}
	case "vmatrix":
		v.text = "det"
	case "cases":
		v.kind = listValue
	default:
		return nil, errForm
	}
	end := func() bool { return p.peek().kind == commandToken && p.peek().text == "end:"+name }
	for !end() {
		row := &value{kind: groupValue}
		for {
			x, err := p.item()
			if err != nil {
				return nil, err
			}
			row.items = append(row.items, x)
			if v.kind == listValue {
				p.accept(",")
			}
			if !p.accept("&") {
				break
			}
		}
		if v.kind == listValue {
			if len(row.items) > 1 {
				return nil, errForm // cases with conditions
			}
			v.items = append(v.items, row.items[0])
		} else {
			if len(v.items) > 0 && len(row.items) != len(v.items[0].items) {
				return nil, errForm
			}
			v.items = append(v.items, row)
		}
		if !p.accept(`\\`) && !end() {
			return nil, errForm
		}
	}
	p.pos++
	if len(v.items) == 0 {
		return nil, errForm
	}
	return v, nil
}

// call reads the argument of a function: a bracket, or the factors that follow.
func (p *parser) call(name string) (*value, error) {
	p.sines++
	defer func() { p.sines-- }()
	var power, base form
	var err error
	if p.accept("^") {
		if power, err = p.exponent(); err != nil {
			return nil, err
		}
		if n, ok := power.small(); ok && n < 0 {
			inverse := map[string]string{"sin": "asin", "cos": "acos", "tan": "atan"}[name]
			if n != -1 || inverse == "" {
				return nil, errForm
			}
			name, power = inverse, form{}
		}
	}
	if p.peek().is("_") {
		p.pos++
		if name != "log" {
			return nil, errForm
		}
		if p.accept("{") {
			var v *value
			if v, err = p.braces(); err == nil {
				base, err = v.plain()
			}
		} else {
			base, err = p.argument()
		}
		if err != nil {
			return nil, err
		}
	}
	arg, err := p.functionArgument()
	if err != nil {
		return nil, err
	}
	var v *value
	if base.num != nil {
		v, err = p.logarithm(arg, base)
	} else {
		v, err = p.apply(name, arg)
	}
	if err != nil || power.num == nil {
		return v, err
	}
	f, err := v.plain()
	if err == nil {
		f, err = p.al.pow(f, power, false)
	}
	return expr(f), err
}

func (p *parser) functionArgument() (*value, error) {
	if p.accept("(") {
		bars := p.bars
		p.bars = 0
		v, err := p.list(false)
		p.bars = bars
		if err == nil && !p.accept(")") {
			err = errForm
		}
		return v, err
	}
	v, err := p.factor()
	for err == nil && p.startsFactor() && !p.peek().is("(") && !p.atFunction() {
		var w *value
		if w, err = p.factor(); err != nil {
			break
		}
		v, err = combine(p.al.mul, v, w)
	}
	p.bareEnd = p.pos
	return v, err
}

func (p *parser) atFunction() bool {
	t := p.peek()
	return functions[t.text] && t.text != "sqrt" && t.kind != numberToken
}

func (p *parser) logarithm(v *value, base form) (*value, error) {
	f, err := v.plain()
	if err != nil {
		return nil, err
	}
	a, err1 := p.al.ln("ln", f)
	b, err2 := p.al.ln("ln", base)
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	f, err = p.al.div(a, b)
	return expr(f), err
}

// apply is the value of a function. What has no exact value is an atom.
func (p *parser) apply(name string, v *value) (*value, error) {
	if v.kind == listValue && v.text == "" {
		return p.applyMany(name, v)
	}
	f, err := v.plain()
	if err != nil {
		return nil, err
	}
	switch name {
	case "sqrt":
		f, err = p.al.pow(f, rational(big.NewRat(1, 2)), true)
	case "cbrt":
		f, err = p.al.pow(f, rational(big.NewRat(1, 3)), true)
	case "exp":
		f, err = p.al.pow(fromAtom(atomE), f, false)
	case "ln", "log":
		f, err = p.al.ln(name, f)
	case "lg":
		return p.logarithm(v, integer(10))
	case "factorial":
		if n, ok := f.small(); ok {
			if n < 0 || n > 900 {
				return nil, errForm
			}
			f = rational(new(big.Rat).SetInt(new(big.Int).MulRange(1, n)))
		} else {
			f = function(name, f)
		}
	case "abs", "floor", "ceil":
		f, err = rounded(name, f)
	case "sin", "cos", "tan", "cot", "sec", "csc":
		f, err = p.al.trigonometric(name, f)
	case "asin", "atan", "sinh", "tanh":
		if f.leadingSign() < 0 {
			f = function(name, f.neg()).neg()
		} else {
			f = function(name, f)
		}
	default:
		f = function(name, f)
	}
	return expr(f), err
}

func function(name string, f form) form {
	return fromAtom(&atom{key: name + f.String(), constant: f.constant()})
}

// applyMany is gcd(a, b), max(a, b), binomial(n, k): arguments in their order.
func (p *parser) applyMany(name string, v *value) (*value, error) {
	for _, x := range v.items {
		if _, err := x.plain(); err != nil {
			return nil, err
		}
	}
	switch {
	case name == "binom" && len(v.items) == 2:
		return p.binomial(v.items[0].form, v.items[1].form)
	case name == "quotient" && len(v.items) == 2: // Python's Fraction(1, 2)
		f, err := p.al.div(v.items[0].form, v.items[1].form)
		return expr(f), err
	case name == "log" && len(v.items) == 2: // Python's log(x, base)
		return p.logarithm(v.items[0], v.items[1].form)
	case name == "gcd" || name == "lcm" || name == "max" || name == "min":
		return expr(fromAtom(&atom{key: name + v.key(), constant: v.constant()})), nil
	}
	return nil, errForm
}

// rounded is |f|, ⌊f⌋ or ⌈f⌉.
func rounded(name string, f form) (form, error) {
	r, ok := f.rational()
	if !ok {
		if name != "abs" {
			return function(name, f), nil
		}
		if t, ok := f.single(); ok && !slices.ContainsFunc(t.factors, func(x factor) bool { return !x.atom.positive }) {
			return fromTerm(term{new(big.Rat).Abs(t.coef), t.factors}), nil
		}
		if f.leadingSign() < 0 {
			f = f.neg()
		}
		return function(name, f), nil
	}
	if name == "abs" {
		return rational(new(big.Rat).Abs(r)), nil
	}
	n := new(big.Int).Div(r.Num(), r.Denom()) // towards −∞: the denominator is positive
	if name == "ceil" && !r.IsInt() {
		n.Add(n, big.NewInt(1))
	}
	return rational(new(big.Rat).SetInt(n)), nil
}

// leadingSign is the sign of the first coefficient.
func (f form) leadingSign() int {
	if len(f.num) == 0 {
		return 0
	}
	return f.num[slices.Min(f.num.keys())].coef.Sign()
}

// trigonometric reduces all six functions to sin and cos, and those to their exact values at multiples of π/6 and π/4.
func (al *algebra) trigonometric(name string, f form) (form, error) {
	sine, err := al.sine(f, false)
	if err != nil {
		return form{}, err
	}
	cosine, err := al.sine(f, true)
	if err != nil {
		return form{}, err
	}
	switch name {
	case "sin":
		return sine, nil
	case "cos":
		return cosine, nil
	case "tan":
		return al.div(sine, cosine)
	case "cot":
		return al.div(cosine, sine)
	case "sec":
		return al.div(integer(1), cosine)
	}
	return al.div(integer(1), sine)
}

func (al *algebra) sine(f form, cosine bool) (form, error) {
	name := "sin"
	if cosine {
		name = "cos"
	}
	turns, ok := ratio{0, 1}, len(f.num) == 0
	if t, single := f.single(); single && len(t.factors) == 1 && t.factors[0] == (factor{atomPi, one}) &&
		t.coef.Num().IsInt64() && t.coef.Denom().IsInt64() && t.coef.Denom().Int64() <= 6 {
		turns, ok = newRatio(t.coef.Num().Int64(), t.coef.Denom().Int64()), turns.small()
	}
	if ok && turns.small() {
		if cosine {
			turns = turns.add(ratio{1, 2})
		}
		half, rest := turns.floor() // sin π(half + rest)
		if rest.n*2 > rest.d {
			rest = newRatio(rest.d-rest.n, rest.d)
		}
		square := map[ratio]ratio{{0, 1}: {0, 1}, {1, 6}: {1, 4}, {1, 4}: {1, 2}, {1, 3}: {3, 4}, {1, 2}: {1, 1}}
		if s, known := square[rest]; known {
			v := form{poly{}, onePoly}
			var err error
			if s.n > 0 {
				v, err = al.radicals(big.NewRat(s.n, s.d), ratio{1, 2})
			}
			if half&1 != 0 {
				v = v.neg()
			}
			return v, err
		}
	}
	if f.leadingSign() < 0 {
		g := function(name, f.neg())
		if cosine {
			return g, nil
		}
		return g.neg(), nil
	}
	return function(name, f), nil
}
