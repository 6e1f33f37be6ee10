package answer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// parser reads an answer's tokens into a value by recursive descent. Whatever it has no certain reading for is an error, by which the
// answer is compared as text.
type parser struct {
	toks []token
	pos  int
	al   *algebra

	sign    int    // what ± stands for in this pass: an item that holds one is read twice
	pm, mp  int    // ± and ∓ seen in the item
	depth   int    // of recursion
	bars    int    // | opened
	sines   int    // functions whose argument is being read, where ° is π/180
	unit    string // set by a sign of currency or by °, for the side that holds it
	bareEnd int    // where the argument of a function without brackets ended
}

const maxDepth = 200

// parse returns the value of tokens, nil if there is no certain reading.
func (w *work) parse(toks []token) *value {
	if len(toks) == 0 {
		return nil
	}
	p := &parser{toks: toks, al: &algebra{w: w}, sign: 1, bareEnd: -1}
	if v, err := p.list(true); err == nil && p.pos == len(p.toks) {
		return v
	}
	return nil
}

func (p *parser) peek() token {
	if p.pos < len(p.toks) {
		return p.toks[p.pos]
	}
	return token{}
}

func (p *parser) at(i int) token {
	if i >= 0 && i < len(p.toks) {
		return p.toks[i]
	}
	return token{}
}

// accept steps over an operator.
func (p *parser) accept(op string) bool {
	if p.peek().is(op) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return errForm
	}
	return nil
}

// separator reads what parts the items of a list at token i: a comma, a semicolon, "and", "or", or a comma and one of these. n is its
// length in tokens.
func (p *parser) separator(i int) (kind string, n int) {
	t := p.at(i)
	switch {
	case t.is(",") || t.is(";"):
		if k, _ := p.separator(i + 1); k == "and" || k == "or" {
			return k, 2
		}
		return t.text, 1
	case t.kind == wordToken && (t.inText || t.space):
		if w := strings.ToLower(t.text); w == "and" || w == "or" {
			return w, 1
		}
	}
	return "", 0
}

// list reads items up to a closing bracket or the end. With expand, an item with ± is two.
func (p *parser) list(expand bool) (*value, error) {
	defer func() { p.depth-- }()
	if err := p.enter(); err != nil {
		return nil, err
	}
	out := &value{kind: listValue}
	for {
		var err error
		if expand {
			err = p.items(out)
		} else {
			var v *value
			if v, err = p.item(); err == nil {
				out.items = append(out.items, v)
			}
		}
		if err != nil {
			return nil, err
		}
		kind, n := p.separator(p.pos)
		if n == 0 {
			break
		}
		p.pos += n
		if kind == "and" {
			kind = ","
		}
		if out.text != "" && out.text != kind {
			if kind == ";" || out.text == ";" {
				return nil, errForm // 1,5; 2,5: commas may be decimal here
			}
			if kind != "or" {
				kind = out.text
			}
		}
		out.text = kind
	}
	if len(out.items) == 1 {
		return out.items[0], nil
	}
	if out.text != "or" {
		out.text = ""
	}
	return out, shareName(out.items)
}

// items reads an item, once for each sign that ± stands for.
func (p *parser) items(out *value) error {
	pm, mp, sign, start := p.pm, p.mp, p.sign, p.pos
	p.pm, p.mp, p.sign = 0, 0, 1
	v, err := p.item()
	if err != nil {
		return err
	}
	out.items = append(out.items, v)
	if p.pm > 1 || p.mp > 1 {
		return errForm // two of them: whether their signs go together is not said
	}
	if p.pm+p.mp > 0 {
		p.pos, p.sign = start, -1
		if v, err = p.item(); err != nil {
			return err
		}
		out.items = append(out.items, v)
	}
	p.pm, p.mp, p.sign = pm, mp, sign
	return nil
}

// shareName reads x = 2, 6 as x = 2, x = 6.
func shareName(items []*value) error {
	first := items[0].name
	if first == "" {
		return nil
	}
	for _, v := range items[1:] {
		if v.name != "" || v.kind != exprValue {
			return nil
		}
	}
	for i, v := range items[1:] {
		named := *v
		named.name = first
		items[i+1] = &named
	}
	return nil
}

// end reports whether an item ends at token i.
func (p *parser) end(i int) bool {
	if i >= len(p.toks) {
		return true
	}
	t := p.toks[i]
	if t.kind == commandToken {
		return strings.HasPrefix(t.text, "end:")
	}
	if _, n := p.separator(i); n > 0 {
		return true
	}
	return t.kind == opToken && (slices.Contains([]string{")", "]", "}", `\}`, "⟩", `\\`, "&"}, t.text) || relations[t.text])
}

var relations = set("= ≈ < > ≤ ≥ ≠ ≡ ∈ ∉ ⊂ ⊆ ≅ ∼ ∥ ⊥")

func (p *parser) item() (*value, error) {
	if v, n := p.words(); n > 0 {
		p.pos += n
		return v, nil
	}
	return p.relation()
}

// side is what stands on one side of a relation, and where its tokens are.
type side struct {
	v        *value
	from, to int
}

func (p *parser) relation() (*value, error) {
	var sides []side
	var ops []string
	for {
		from := p.pos
		v, err := p.side()
		if err != nil {
			return nil, err
		}
		sides = append(sides, side{v, from, p.pos})
		t := p.peek()
		if t.kind != opToken || !relations[t.text] {
			break
		}
		ops = append(ops, t.text)
		p.pos++
	}
	if m, ok, err := p.modulus(); err != nil {
		return nil, err
	} else if ok {
		return congruence(sides, ops, m)
	}
	if len(sides) == 1 {
		return sides[0].v, nil
	}
	return p.relate(sides, ops)
}

// modulus reads \pmod{7}, \bmod 7, (mod 7) or (\text{mod } 7).
func (p *parser) modulus() (*value, bool, error) {
	isMod := func(t token) bool {
		return t.kind == commandToken && (t.text == "pmod" || t.text == "bmod" || t.text == "mod") || t.kind == wordToken && t.text == "mod"
	}
	switch {
	case p.peek().is("(") && isMod(p.at(p.pos+1)):
		p.pos += 2
		v, err := p.side()
		if err == nil && !p.accept(")") {
			err = errForm
		}
		return v, true, err
	case isMod(p.peek()):
		p.pos++
		v, err := p.side()
		return v, true, err
	}
	return nil, false, nil
}

// side reads what may stand on one side of a relation: a ratio, a union, an expression with its unit.
func (p *parser) side() (*value, error) {
	defer func(unit string) { p.unit, p.depth = unit, p.depth-1 }(p.unit)
	p.unit = ""
	if err := p.enter(); err != nil {
		return nil, err
	}
	from := p.pos
	shape, n := p.score()
	v, err := p.union()
	if n > 0 {
		if err == nil && p.pos == from+n {
			shape.form = v.form
		}
		p.pos = from + n
		return shape, nil
	}
	if err != nil {
		return nil, err
	}
	if p.peek().is(":") {
		r := &value{kind: ratioValue, items: []*value{v}}
		for p.accept(":") {
			if v, err = p.union(); err != nil {
				return nil, err
			}
			r.items = append(r.items, v)
		}
		v = r
	}
	if key, scale, n := p.unitAt(p.pos); n > 0 {
		p.pos += n
		if scale != 0 {
			f, err := v.plain()
			if err != nil {
				return nil, err
			}
			if f, err = p.al.mul(f, integer(scale)); err != nil {
				return nil, err
			}
			v = expr(f)
		}
		if key != "" && p.unit != "" && p.unit != key {
			return nil, errForm
		}
		if key != "" {
			p.unit = key
		}
	}
	if v.kind == exprValue && !finite(p.toks[from:p.pos]) {
		return nil, errForm
	}
	if p.unit == "" {
		return v, nil
	}
	if v.kind != exprValue || v.unit != "" {
		return nil, errForm
	}
	return &value{kind: exprValue, form: v.form, unit: p.unit}, nil
}

// score looks at a side that is nothing but numbers with hyphens between them, or whole ones with two slashes, or one slash and a zero
// in front of digits, and a unit behind: 3-2, 10-12, 2024-01-05, 1/2/2024. It may be a score, a range, a date or a number of a
// telephone, and no calculation. n is its length in tokens.
func (p *parser) score() (v *value, n int) {
	i, signs, zeros := p.pos, 0, false
	for whole(p.at(i)) || p.at(i).kind == numberToken && !p.at(i-1).is("/") && !p.at(i+1).is("/") {
		zeros = zeros || len(p.at(i).text) > 1 && p.at(i).text[0] == '0'
		i++
		if sign := p.at(i); !sign.is("-") && !sign.is("/") || i > p.pos+1 && sign.text != p.at(p.pos+1).text && !zeros {
			break
		}
		signs++
		i++
	}
	if signs == 0 || i != p.pos+2*signs+1 || signs == 1 && p.at(i-2).is("/") && !zeros {
		return nil, 0
	}
	for !p.end(i) || p.at(i).is("}") && p.at(i-1).is("∘") {
		t := p.at(i)
		word := t.kind == wordToken && utf8.RuneCountInString(t.text) > 1
		if !word && !slices.Contains([]string{"%", "°", "∘", "^", "{", "}"}, t.text) {
			return nil, 0
		}
		i++
	}
	return &value{kind: scoreValue, text: fold(p.toks[p.pos:i])}, i - p.pos
}

// calculated is the value of a side that a relation shows to be a calculation.
func calculated(v *value) *value {
	if v.kind == scoreValue && v.form.num != nil {
		return expr(v.form)
	}
	return v
}

// finite reports whether the tokens of an expression hold no infinity, but as an index, or are nothing but ∞ with a sign: what is
// calculated with it, such as ∞ − ∞, has no value.
func finite(toks []token) bool {
	infinities, others := 0, 0
	for i, t := range toks {
		switch {
		case t.kind == commandToken && t.text == "infty", t.kind == wordToken && plainNames[t.text] == "infty":
			if i > 0 && toks[i-1].is("_") || i > 1 && toks[i-1].is("{") && toks[i-2].is("_") {
				others++
			} else {
				infinities++
			}
		case !slices.Contains([]string{"+", "-", "±", "∓", "(", ")", "{", "}"}, t.text):
			others++
		}
	}
	return infinities == 0 || infinities == 1 && others == 0 && signs(toks) < 2
}

func signs(toks []token) int {
	n := 0
	for _, t := range toks {
		if t.is("+") || t.is("-") || t.is("±") || t.is("∓") {
			n++
		}
	}
	return n
}

const infinity = "∞"

func (p *parser) union() (*value, error) {
	v, err := p.sum()
	for err == nil {
		t := p.peek()
		if !t.is("∪") && !t.is("∩") && !t.is("∖") {
			return v, nil
		}
		p.pos++
		var w *value
		if w, err = p.sum(); err != nil {
			break
		}
		if v.kind == unionValue && v.text == t.text && t.text != "∖" {
			v = &value{kind: unionValue, text: t.text, items: append(slices.Clip(v.items), w)}
		} else {
			v = &value{kind: unionValue, text: t.text, items: []*value{v, w}}
		}
	}
	return nil, err
}
