package emu

import (
	"math/bits"
	"strings"
)

// setp sets a predicate to a comparison and, of a pair, the second to its contrary, both combined with a third predicate if there is one.
func (c *compiler) setp() exec {
	cmp := c.one("eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
	logic := c.one("and", "or", "xor")
	ftz := c.has("ftz")
	t := c.typ()
	if n := 3 + int(b2u(logic != "")); !c.args(n) {
		return nil
	}
	d, q := c.pair(0)
	a, b := c.src(1, t), c.src(2, t)
	f := compare(cmp, t, ftz)
	if f == nil {
		c.fail("comparison %q of %s", cmp, t.name)
		return nil
	}
	if logic == "" && q == none {
		return func(w *warp, m uint32) {
			to, x, y := &w.r[d], &w.r[a], &w.r[b]
			for ; m != 0; m &= m - 1 {
				l := bits.TrailingZeros32(m)
				to[l] = b2u(f(x[l], y[l]))
			}
		}
	}
	third, negate := none, false
	if logic != "" {
		third, negate = c.predicate(3)
	}
	combine := combinations[logic]
	return func(w *warp, m uint32) {
		each(m, func(l int) {
			r := f(w.r[a][l], w.r[b][l])
			s := third != none && w.r[third][l]&1 != 0 != negate
			w.r[d][l] = b2u(combine(r, s))
			if q != none {
				w.r[q][l] = b2u(combine(!r, s))
			}
		})
	}
}

var combinations = map[string]func(r, s bool) bool{
	"":    func(r, _ bool) bool { return r },
	"and": func(r, s bool) bool { return r && s },
	"or":  func(r, s bool) bool { return r || s },
	"xor": func(r, s bool) bool { return r != s },
}

func (c *compiler) selp() exec {
	t := c.typ()
	if !c.args(4) {
		return nil
	}
	return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, predType), func(x, y, p uint64) uint64 {
		if p&1 != 0 {
			return x
		}
		return y
	})
}

// compare is a comparison of two numbers of type t, nil if it is none.
func compare(cmp string, t typ, ftz bool) func(x, y uint64) bool {
	switch {
	case t.float && t.size == 2 || t.name == "pred":
		return nil
	case t.float:
		return compareFloats(cmp, t, ftz)
	}
	return compareIntegers(cmp, t)
}

func compareFloats(cmp string, t typ, ftz bool) func(x, y uint64) bool {
	ordered := strings.TrimSuffix(cmp, "u")
	f := floatOrders[ordered]
	if f == nil {
		return nil
	}
	read := func(x uint64) float64 {
		switch {
		case t.size == 8:
			return f64(x)
		case ftz:
			return float64(flush(f32(x)))
		}
		return float64(f32(x))
	}
	unordered := cmp != ordered // true of a NaN
	return func(x, y uint64) bool {
		a, b := read(x), read(y)
		return f(a, b) || unordered && (a != a || b != b)
	}
}

var floatOrders = map[string]func(a, b float64) bool{
	"eq":  func(a, b float64) bool { return a == b },
	"ne":  func(a, b float64) bool { return a != b && a == a && b == b },
	"lt":  func(a, b float64) bool { return a < b },
	"le":  func(a, b float64) bool { return a <= b },
	"gt":  func(a, b float64) bool { return a > b },
	"ge":  func(a, b float64) bool { return a >= b },
	"num": func(a, b float64) bool { return a == a && b == b },
	"nan": func(a, b float64) bool { return a != a || b != b },
}

func compareIntegers(cmp string, t typ) func(x, y uint64) bool {
	unsigned := map[string]string{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[cmp]
	if unsigned != "" {
		cmp = unsigned
	}
	signed := t.signed && unsigned == ""
	switch {
	case t.size == 1 && signed:
		return order[int8](cmp)
	case t.size == 1:
		return order[uint8](cmp)
	case t.size == 2 && signed:
		return order[int16](cmp)
	case t.size == 2:
		return order[uint16](cmp)
	case t.size == 4 && signed:
		return order[int32](cmp)
	case t.size == 4:
		return order[uint32](cmp)
	case signed:
		return order[int64](cmp)
	}
	return order[uint64](cmp)
}

// order compares two registers as integers of type T.
func order[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](cmp string) func(x, y uint64) bool {
	switch cmp {
	case "eq":
		return func(x, y uint64) bool { return T(x) == T(y) }
	case "ne":
		return func(x, y uint64) bool { return T(x) != T(y) }
	case "lt":
		return func(x, y uint64) bool { return T(x) < T(y) }
	case "le":
		return func(x, y uint64) bool { return T(x) <= T(y) }
	case "gt":
		return func(x, y uint64) bool { return T(x) > T(y) }
	case "ge":
		return func(x, y uint64) bool { return T(x) >= T(y) }
	}
	return nil
}
