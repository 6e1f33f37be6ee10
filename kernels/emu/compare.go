package emu

import (
	"math/bits"
)

func (c *compiler) setp() exec {
	cmp := c.one("eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
	logic := c.one("and", "or", "xor")
	ftz := c.has("ftz")
	t := c.typ()
	if n := 3 + int(b2u(logic != "")); !c.args(n) {
		return nil
	}
	d, q := none, none
	if o := c.in.args[0]; o.kind == pairOperand {
		d, q = c.target(o.list[0]), c.target(o.list[1])
	} else {
		d = c.target(o)
	}
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
		o := c.in.args[3]
		if o.kind != regOperand {
			c.fail("the last operand is not a predicate")
			return nil
		}
		third, negate = o.reg, o.negate
	}
	combine := func(r, s bool) bool {
		switch logic {
		case "and":
			return r && s
		case "or":
			return r || s
		case "xor":
			return r != s
		}
		return r
	}
	return func(w *warp, m uint32) {
		each(m, func(l int) {
			r := f(w.r[a][l], w.r[b][l])
			s := false
			if third != none {
				s = w.r[third][l]&1 != 0 != negate
			}
			w.r[d][l] = b2u(combine(r, s))
			if q != none {
				w.r[q][l] = b2u(combine(!r, s))
			}
		})
	}
}

func compare(cmp string, t typ, ftz bool) func(x, y uint64) bool {
	if t.float {
		conv := func(x uint64) float64 {
			switch {
			case t.size == 8:
				return f64(x)
			case ftz:
				return float64(flush(f32(x)))
			}
			return float64(f32(x))
		}
		if t.size == 2 {
			return nil
		}
		unordered := len(cmp) == 3 && cmp[2] == 'u'
		var f func(a, b float64) bool
		switch cmp[:2] {
		case "eq":
			f = func(a, b float64) bool { return a == b }
		case "ne":
			f = func(a, b float64) bool { return a != b && a == a && b == b }
		case "lt":
			f = func(a, b float64) bool { return a < b }
		case "le":
			f = func(a, b float64) bool { return a <= b }
		case "gt":
			f = func(a, b float64) bool { return a > b }
		case "ge":
			f = func(a, b float64) bool { return a >= b }
		case "nu":
			f = func(a, b float64) bool { return a == a && b == b }
		case "na":
			f = func(a, b float64) bool { return a != a || b != b }
		default:
			return nil
		}
		return func(x, y uint64) bool {
			a, b := conv(x), conv(y)
			return f(a, b) || unordered && (a != a || b != b)
		}
	}
	if t.name == "pred" {
		return nil
	}
	m := t.mask()
	switch cmp {
	case "lo", "ls", "hi", "hs":
		t.signed = false
		cmp = map[string]string{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[cmp]
	}
	if t.signed {
		if t.size == 4 {
			switch cmp {
			case "lt":
				return func(x, y uint64) bool { return int32(x) < int32(y) }
			case "le":
				return func(x, y uint64) bool { return int32(x) <= int32(y) }
			case "gt":
				return func(x, y uint64) bool { return int32(x) > int32(y) }
			case "ge":
				return func(x, y uint64) bool { return int32(x) >= int32(y) }
			}
		}
		switch cmp {
		case "lt":
			return func(x, y uint64) bool { return signed(x, t) < signed(y, t) }
		case "le":
			return func(x, y uint64) bool { return signed(x, t) <= signed(y, t) }
		case "gt":
			return func(x, y uint64) bool { return signed(x, t) > signed(y, t) }
		case "ge":
			return func(x, y uint64) bool { return signed(x, t) >= signed(y, t) }
		}
	}
	switch cmp {
	case "eq":
		return func(x, y uint64) bool { return x&m == y&m }
	case "ne":
		return func(x, y uint64) bool { return x&m != y&m }
	case "lt":
		return func(x, y uint64) bool { return x&m < y&m }
	case "le":
		return func(x, y uint64) bool { return x&m <= y&m }
	case "gt":
		return func(x, y uint64) bool { return x&m > y&m }
	case "ge":
		return func(x, y uint64) bool { return x&m >= y&m }
	}
	return nil
}
