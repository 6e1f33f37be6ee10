package emu

import (
	"math"
	"math/bits"
)

func signed(v uint64, t typ) int64 {
	shift := 64 - t.bits()
	return int64(v<<shift) >> shift
}

// integer is a binary operation on type t; the caller masks the result.
func integer(op string, t typ) func(x, y uint64) uint64 {
	switch op {
	case "add":
		return func(x, y uint64) uint64 { return x + y }
	case "sub":
		return func(x, y uint64) uint64 { return x - y }
	case "and":
		return func(x, y uint64) uint64 { return x & y }
	case "or":
		return func(x, y uint64) uint64 { return x | y }
	case "xor":
		return func(x, y uint64) uint64 { return x ^ y }
	case "min", "max":
		big := op == "max"
		if t.signed {
			return func(x, y uint64) uint64 {
				if (signed(x, t) < signed(y, t)) != big {
					return x
				}
				return y
			}
		}
		m := t.mask()
		return func(x, y uint64) uint64 {
			if (x&m < y&m) != big {
				return x
			}
			return y
		}
	case "div", "rem":
		div := op == "div"
		m := t.mask()
		return func(x, y uint64) uint64 {
			if y&m == 0 {
				if div {
					return math.MaxUint64
				}
				return x
			}
			if t.signed {
				a, b := signed(x, t), signed(y, t)
				if b == -1 { // the quotient of the smallest number overflows
					if div {
						return uint64(-a)
					}
					return 0
				}
				if div {
					return uint64(a / b)
				}
				return uint64(a % b)
			}
			if div {
				return x & m / (y & m)
			}
			return x & m % (y & m)
		}
	}
	return nil
}

// single compiles operations of one operand.
func (c *compiler) single() exec {
	op := c.in.op
	ftz := c.has("ftz")
	amount := c.has("shiftamt")
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	d, a := c.dst(0), c.src(1, t)
	m, n := t.mask(), t.bits()
	var f func(x uint64) uint64
	if t.float {
		sign := uint64(1) << (n - 1)
		switch op {
		case "neg":
			f = func(x uint64) uint64 { return x ^ sign }
		case "abs":
			f = func(x uint64) uint64 { return x &^ sign }
		}
		if g := f; ftz && g != nil && t.size == 4 {
			f = func(x uint64) uint64 { return u32(flush(f32(g(x)))) }
		}
	} else {
		switch op {
		case "neg":
			f = func(x uint64) uint64 { return -x & m }
		case "abs":
			f = func(x uint64) uint64 {
				if signed(x, t) < 0 {
					return -x & m
				}
				return x
			}
		case "not":
			if t.name == "pred" {
				m = 1
			}
			f = func(x uint64) uint64 { return ^x & m }
		case "cnot":
			f = func(x uint64) uint64 { return b2u(x&m == 0) }
		case "popc":
			f = func(x uint64) uint64 { return uint64(bits.OnesCount64(x & m)) }
		case "clz":
			f = func(x uint64) uint64 { return uint64(bits.LeadingZeros64(x&m) - 64 + int(n)) }
		case "brev":
			f = func(x uint64) uint64 { return bits.Reverse64(x&m) >> (64 - n) }
		case "bfind":
			f = func(x uint64) uint64 {
				if t.signed && signed(x, t) < 0 {
					x = ^x
				}
				x &= m
				if x == 0 {
					return 0xffffffff
				}
				at := uint64(bits.Len64(x) - 1)
				if amount {
					return uint64(n) - 1 - at
				}
				return at
			}
		}
	}
	if f == nil {
		c.fail("not an operation on %s", t.name)
		return nil
	}
	return lane1(d, a, f)
}
