package answer

import "strings"

type valueKind uint8

const (
	exprValue     valueKind = iota // an expression: form, and a unit
	wordsValue                     // text, folded; form where two or three letters may be a product too
	groupValue                     // items in round or square brackets: a point, a vector, an interval. text is the brackets
	listValue                      // items beside each other; text is "or" where that parts them
	setValue                       // items in braces
	unionValue                     // items joined by text: ∪, ∩ or ∖
	matrixValue                    // rows of cells; text is det for bars
	ratioValue                     // a : b : c
	equationValue                  // form is left side minus right side
	orderValue                     // items in ascending order, ops[i], < or ≤, between items i and i+1
	scoreValue                     // numbers with - or / between them, a score or a date: text; form is for calculations
	relationValue                  // items compared by ops: ≠, ∈, ≡ (mod the last item), …
)

// value is what an answer says. An equation x = 5 is the value 5 with a name.
type value struct {
	kind  valueKind
	form  form
	unit  string
	name  string // what it is the value of; "" if it does not say
	text  string
	items []*value
	ops   []string
	whole *value // of a named expression: its equation; of x = 1, y = 2 written (x, y) = (1, 2): the point
}

func expr(f form) *value { return &value{kind: exprValue, form: f} }

// combine applies an operation of forms to two bare expressions.
func combine(op func(f, g form) (form, error), v, w *value) (*value, error) {
	f, err1 := v.plain()
	g, err2 := w.plain()
	if err1 != nil || err2 != nil {
		return nil, errForm
	}
	f, err := op(f, g)
	return expr(f), err
}

// plain returns the form of a bare expression.
func (v *value) plain() (form, error) {
	if (v.kind == wordsValue || v.kind == scoreValue) && v.form.num != nil {
		return v.form, nil
	}
	if v.kind != exprValue || v.unit != "" || v.name != "" {
		return form{}, errForm
	}
	return v.form, nil
}

// constant reports whether no symbol occurs in a value.
func (v *value) constant() bool {
	for _, x := range v.items {
		if !x.constant() {
			return false
		}
	}
	return v.kind != wordsValue && v.kind != equationValue && (v.kind != exprValue || v.form.constant())
}

// key spells a value where it is part of an atom or a name.
func (v *value) key() string {
	var b strings.Builder
	b.WriteString(v.text)
	if v.kind == exprValue || v.kind == equationValue {
		b.WriteString(v.form.String())
	}
	b.WriteString(v.unit)
	for i, x := range v.items {
		b.WriteByte('[')
		if i > 0 && i <= len(v.ops) {
			b.WriteString(v.ops[i-1])
		}
		b.WriteString(x.name + x.key())
		b.WriteByte(']')
	}
	return b.String()
}
