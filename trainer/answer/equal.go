package answer

import (
	"math/big"
	"strings"
	"unicode"
)

// reading is what a text says, in the two ways that answers are compared by.
type reading struct {
	toks  []token
	text  string // folded; "" if nothing is left
	value *value // nil if there is no certain reading
}

// equalMath compares two answers by what they mean, or as text.
func (w *work) equalMath(a, b string) (equal, gradeable bool) {
	x, y := read(a), read(b)
	if x.text == y.text && y.says() {
		return true, true
	}
	y.value = w.parse(y.toks)
	if w.err != nil || !y.says() && y.value == nil {
		return false, false
	}
	if x.value = w.parse(x.toks); w.err != nil || x.value == nil || y.value == nil {
		return false, true
	}
	return x.text == y.text || equalValues(&algebra{w: w}, x.value, y.value), true
}

func read(s string) reading {
	toks := infix(lines(strip(display(python(lex(printed.ReplaceAllString(peel(s), "$1")))))))
	return reading{toks: toks, text: fold(article(toks))}
}

// says reports whether a text holds a letter, a digit or a sign beyond ASCII. Of other text only what has a value can be graded by.
func (r reading) says() bool {
	for _, c := range r.text {
		if unicode.IsLetter(c) || unicode.IsNumber(c) || unicode.IsSymbol(c) && c >= 0x80 {
			return true
		}
	}
	return false
}

// equalValues decides. It is symmetric; what is not certain is not equal.
func equalValues(al *algebra, a, b *value) bool {
	if a.kind > b.kind {
		a, b = b, a
	}
	if !sameName(a, b) {
		return equalEquations(al, a, b)
	}
	if a.name != b.name { // one of the two is named
		if a.kind == equationValue || b.kind == equationValue {
			return equalEquations(al, a, b)
		}
	}
	switch {
	case a.kind == exprValue && b.kind == exprValue:
		return equalExpressions(al, a, b)
	case a.kind == exprValue && b.kind == wordsValue:
		return b.form.num != nil && a.unit == "" && same(al, a.form, b.form)
	case a.kind == exprValue && b.kind == equationValue:
		return equalEquations(al, a, b)
	case a.kind == groupValue && b.kind == orderValue:
		i, ok := b.interval()
		return ok && a.text == i.text && sameName(a, i) && equalItems(al, a.items, i.items)
	case a.kind == groupValue && b.kind == listValue, a.kind == groupValue && b.kind == matrixValue:
		return equalMixed(al, a, b)
	case a.kind == listValue && b.kind == setValue:
		return a.text == "" && a.whole == nil && unnamed(a) && equalUnordered(al, a.items, b.items)
	case a.kind == listValue && b.kind == unionValue:
		return equalUnion(al, a, b)
	}
	if a.kind == wordsValue && b.kind == wordsValue {
		return a.text == b.text || product(a) && product(b) && same(al, a.form, b.form)
	}
	if a.kind != b.kind || a.text != b.text && a.kind != listValue {
		return false
	}
	switch a.kind {
	case scoreValue:
		return true
	case groupValue, matrixValue, ratioValue:
		return equalItems(al, a.items, b.items)
	case setValue:
		return equalUnordered(al, distinct(al, a.items), distinct(al, b.items))
	case unionValue:
		if a.text == "∖" {
			return equalItems(al, a.items, b.items)
		}
		return equalUnordered(al, a.items, b.items)
	case listValue:
		return equalLists(al, a, b)
	case equationValue:
		return equalEquations(al, a, b)
	case orderValue:
		return equalOrders(al, a, b)
	case relationValue:
		if len(a.ops) != len(b.ops) || a.ops[0] != b.ops[0] {
			return false
		}
		return equalItems(al, a.items, b.items) || a.ops[0] == "≠" && equalUnordered(al, a.items, b.items)
	}
	return false
}

// product reports whether words are certainly letters multiplied: without a vowel, or of a, b and c. "on" is not "no".
func product(v *value) bool {
	return v.form.num != nil && (!strings.ContainsAny(v.text, "aeiou") || strings.Trim(v.text, "abc") == "") &&
		v.text == strings.ToLower(v.text)
}

func same(al *algebra, f, g form) bool {
	al.products = 0
	ok, err := al.equal(f, g)
	return ok && err == nil
}

// sameName reports whether two values may be of one thing: not if they are named differently.
func sameName(a, b *value) bool { return a.name == "" || b.name == "" || a.name == b.name }

// unnamed reports whether the items of a list have no name, or all the same: x = 2 or x = 6 are the numbers 2 and 6.
func unnamed(v *value) bool {
	for _, x := range v.items {
		if x.name != v.items[0].name {
			return false
		}
	}
	return true
}

// equalExpressions compares two forms with their units. A unit is dropped where the other side has none. A percent sign is then a unit or
// the factor 1/100: 35% is both 35, where percent were asked for, and 0.35.
func equalExpressions(al *algebra, a, b *value) bool {
	switch {
	case a.unit != "" && b.unit != "" && a.unit != b.unit:
		return false
	case same(al, a.form, b.form):
		return true
	case a.unit == b.unit:
		return false
	case a.unit == "%":
		f, err := al.mul(a.form, rational(big.NewRat(1, 100)))
		return err == nil && same(al, f, b.form)
	case b.unit == "%":
		f, err := al.mul(b.form, rational(big.NewRat(1, 100)))
		return err == nil && same(al, f, a.form)
	}
	return false
}

// equalEquations compares equations whole: the same up to a factor. What is solved for a name, with a number for it, is compared as a
// value only, or the equation that was to be solved would be its own solution.
func equalEquations(al *algebra, a, b *value) bool {
	p, q := equationOf(a), equationOf(b)
	if p == nil || q == nil {
		return false
	}
	x, err1 := al.mulPoly(p.form.num, q.form.den)
	y, err2 := al.mulPoly(q.form.num, p.form.den)
	if err1 != nil || err2 != nil {
		return false
	}
	_, ok := x.proportional(y)
	return ok
}

func equationOf(v *value) *value {
	switch {
	case v.kind == equationValue && v.name == "":
		return v
	case v.whole != nil && v.whole.kind == equationValue && v.kind == exprValue && !v.form.constant():
		return v.whole
	}
	return nil
}

// equalMixed compares brackets with the components of a point, with a bare list in the same order, or with a matrix written as brackets in
// brackets. Two numbers in brackets may be an interval and are no list.
func equalMixed(al *algebra, group, other *value) bool {
	if other.kind == listValue {
		if other.whole != nil {
			return equalValues(al, group, other.whole)
		}
		return len(group.items) > 2 && other.text == "" && unnamed(other) && (group.text == "()" || group.text == "[]") &&
			equalItems(al, group.items, other.items)
	}
	if group.text != "[]" || other.text != "" || len(group.items) != len(other.items) {
		return false
	}
	for i, row := range group.items {
		if row.kind != groupValue || row.text != "[]" || !equalItems(al, row.items, other.items[i].items) {
			return false
		}
	}
	return true
}

// equalUnion compares inequalities joined by "or" with a union of intervals.
func equalUnion(al *algebra, list, union *value) bool {
	if list.text != "or" || union.text != "∪" || len(list.items) != len(union.items) {
		return false
	}
	intervals := make([]*value, len(list.items))
	for i, x := range list.items {
		v, ok := x.interval()
		if !ok || i > 0 && v.name != intervals[0].name {
			return false
		}
		intervals[i] = v
	}
	return sameName(intervals[0], union) && equalUnordered(al, intervals, union.items)
}

// equalLists compares lists without order. A list of named values equals one without names only if it has one name throughout; a list of
// inequalities, of words or of values of several names says "or", or does not.
func equalLists(al *algebra, a, b *value) bool {
	for _, x := range [][2]*value{{a, b}, {b, a}} {
		for _, v := range x[0].items {
			switch {
			case v.name != "" && !unnamed(x[0]) && !allNamed(x[1]):
				return false
			case a.text != b.text && (v.kind == orderValue || v.kind == relationValue || v.kind == equationValue || v.kind == wordsValue ||
				v.name != "" && !unnamed(x[0])):
				return false
			}
		}
	}
	return equalUnordered(al, a.items, b.items)
}

func allNamed(v *value) bool {
	for _, x := range v.items {
		if x.name == "" {
			return false
		}
	}
	return true
}

// equalOrders compares inequalities: solved ones as intervals of the same symbol, others by the difference of their sides, up to a positive
// factor, or side by side.
func equalOrders(al *algebra, a, b *value) bool {
	i, ok1 := a.interval()
	j, ok2 := b.interval()
	if ok1 != ok2 {
		return false
	}
	if ok1 {
		return i.name == j.name && i.text == j.text && equalItems(al, i.items, j.items)
	}
	if len(a.ops) != len(b.ops) {
		return false
	}
	for k := range a.ops {
		if a.ops[k] != b.ops[k] {
			return false
		}
	}
	if equalItems(al, a.items, b.items) {
		return true
	}
	if len(a.ops) != 1 {
		return false
	}
	var d [2]form
	for k, v := range []*value{a, b} {
		f, err1 := v.items[0].plain()
		g, err2 := v.items[1].plain()
		if err1 != nil || err2 != nil {
			return false
		}
		var err error
		if d[k], err = al.add(f, g, -1); err != nil || !d[k].den.isOne() {
			return false
		}
	}
	c, ok := d[0].num.proportional(d[1].num)
	return ok && c.Sign() > 0
}

func equalItems(al *algebra, a, b []*value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equalValues(al, a[i], b[i]) {
			return false
		}
	}
	return true
}

// distinct drops the items of a set that equal an earlier one.
func distinct(al *algebra, items []*value) []*value {
	var out []*value
	for _, x := range items {
		seen := false
		for _, y := range out {
			if seen = equalValues(al, x, y); seen {
				break
			}
		}
		if !seen {
			out = append(out, x)
		}
	}
	return out
}

// maxUnordered bounds the lists that are matched without order; longer ones are compared in theirs.
const maxUnordered = 64

// equalUnordered reports whether the items can be paired so that all pairs are equal. Equality is not transitive, since units may be
// dropped, so it is a matching, by augmenting paths.
func equalUnordered(al *algebra, a, b []*value) bool {
	if len(a) != len(b) {
		return false
	}
	if equalItems(al, a, b) {
		return true
	}
	if len(a) > maxUnordered {
		return false
	}
	partner := make([]int, len(b)) // 1 + index in a
	var pair func(i int, tried []bool) bool
	pair = func(i int, tried []bool) bool {
		for j := range b {
			if tried[j] || !equalValues(al, a[i], b[j]) {
				continue
			}
			tried[j] = true
			if partner[j] == 0 || pair(partner[j]-1, tried) {
				partner[j] = i + 1
				return true
			}
		}
		return false
	}
	for i := range a {
		if !pair(i, make([]bool, len(b))) {
			return false
		}
	}
	return true
}
