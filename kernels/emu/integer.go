package emu

import (
	"math"
	"math/bits"
)

func signed(v uint64, t typ) int64 {
	shift := 64 - t.bits()
	return int64(v<<shift) >> shift
}

// binary compiles an operation on two numbers of one type.
func (c *compiler) binary() exec {
	c.has("rn")
	ftz := c.has("ftz")
	c.has("full", "approx") // div.full, div.approx: exact here
	t := c.typ()
	if !c.args(3) {
		return nil
	}
	d, a, b := c.dst(0), c.src(1, t), c.src(2, t)
	switch {
	case t.float:
		return c.binaryFloat(d, a, b, t, ftz)
	case c.in.op == "add" && t.size == 4:
		return add32(d, a, b)
	case c.in.op == "add" && t.size == 8:
		return add64(d, a, b)
	}
	f := integer(c.in.op, t)
	if f == nil {
		c.fail("not an operation on %s", t.name)
		return nil
	}
	m := t.mask()
	if t.name == "pred" {
		m = 1
	}
	return lane2(d, a, b, func(x, y uint64) uint64 { return f(x, y) & m })
}

// add32 and add64 are most of what kernels do: without a call for each lane.
func add32(d, a, b int) exec {
	return func(w *warp, m uint32) {
		to, x, y := &w.r[d], &w.r[a], &w.r[b]
		if m == full {
			for l := range lanes {
				to[l] = uint64(uint32(x[l]) + uint32(y[l]))
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = uint64(uint32(x[l]) + uint32(y[l]))
		}
	}
}

func add64(d, a, b int) exec {
	return func(w *warp, m uint32) {
		to, x, y := &w.r[d], &w.r[a], &w.r[b]
		if m == full {
			for l := range lanes {
				to[l] = x[l] + y[l]
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = x[l] + y[l]
		}
	}
}

// integer is a binary operation on type t, nil if it is none; the caller masks the result.
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
		return pickInteger(t, op == "max")
	case "div":
		return quotient(t)
	case "rem":
		return remainder(t)
	}
	return nil
}

func pickInteger(t typ, big bool) func(x, y uint64) uint64 {
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
}

// quotient by zero is all ones; that of the smallest number by −1, which overflows, is the smallest number.
func quotient(t typ) func(x, y uint64) uint64 {
	m := t.mask()
	return func(x, y uint64) uint64 {
		switch {
		case y&m == 0:
			return math.MaxUint64
		case !t.signed:
			return x & m / (y & m)
		case signed(y, t) == -1:
			return uint64(-signed(x, t))
		}
		return uint64(signed(x, t) / signed(y, t))
	}
}

func remainder(t typ) func(x, y uint64) uint64 {
	m := t.mask()
	return func(x, y uint64) uint64 {
		switch {
		case y&m == 0:
			return x
		case !t.signed:
			return x & m % (y & m)
		case signed(y, t) == -1:
			return 0
		}
		return uint64(signed(x, t) % signed(y, t))
	}
}

// mul is mul and mad.
func (c *compiler) mul() exec {
	mad := c.in.op == "mad"
	mode := c.one("lo", "hi", "wide")
	c.has("rn")
	ftz := c.has("ftz")
	t := c.typ()
	if !c.args(3 + int(b2u(mad))) {
		return nil
	}
	d, a, b := c.dst(0), c.src(1, t), c.src(2, t)
	if t.float {
		if mad {
			c.fail("not emulated on %s", t.name)
			return nil
		}
		return c.binaryFloat(d, a, b, t, ftz)
	}
	f := product(mode, t)
	if f == nil {
		c.fail("want lo, hi or wide")
		return nil
	}
	if mode == "wide" {
		t.size *= 2
	}
	m := t.mask()
	if mad {
		return lane3(d, a, b, c.src(3, t), func(x, y, z uint64) uint64 { return (f(x, y) + z) & m })
	}
	return lane2(d, a, b, func(x, y uint64) uint64 { return f(x, y) & m })
}

// product is the low or the high half of the product of two numbers of type t, or all of it; the caller masks the result.
func product(mode string, t typ) func(x, y uint64) uint64 {
	tm, n := t.mask(), t.bits()
	switch {
	case mode == "lo" || mode == "wide" && t.size < 8:
		if t.signed {
			return func(x, y uint64) uint64 { return uint64(signed(x, t) * signed(y, t)) }
		}
		return func(x, y uint64) uint64 { return (x & tm) * (y & tm) }
	case mode != "hi":
		return nil
	case t.size == 8:
		return highProduct(t.signed)
	case t.signed:
		return func(x, y uint64) uint64 { return uint64(signed(x, t) * signed(y, t) >> n) }
	}
	return func(x, y uint64) uint64 { return (x & tm) * (y & tm) >> n }
}

// highProduct is the high half of a product of 64-bit numbers.
func highProduct(signed bool) func(x, y uint64) uint64 {
	return func(x, y uint64) uint64 {
		hi, _ := bits.Mul64(x, y)
		if signed {
			if int64(x) < 0 {
				hi -= y
			}
			if int64(y) < 0 {
				hi -= x
			}
		}
		return hi
	}
}

// unary compiles an operation on one number.
func (c *compiler) unary() exec {
	ftz := c.has("ftz")
	amount := c.has("shiftamt")
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	d, a := c.dst(0), c.src(1, t)
	f := unaryInteger(c.in.op, t, amount)
	if t.float {
		f = unaryFloat(c.in.op, t, ftz)
	}
	if f == nil {
		c.fail("not an operation on %s", t.name)
		return nil
	}
	return lane1(d, a, f)
}

// unaryInteger is an operation on one integer of type t, nil if it is none. With amount, bfind counts from the highest bit.
func unaryInteger(op string, t typ, amount bool) func(x uint64) uint64 {
	m, n := t.mask(), t.bits()
	switch op {
	case "neg":
		return func(x uint64) uint64 { return -x & m }
	case "abs":
		return func(x uint64) uint64 {
			if signed(x, t) < 0 {
				return -x & m
			}
			return x
		}
	case "not":
		if t.name == "pred" {
			m = 1
		}
		return func(x uint64) uint64 { return ^x & m }
	case "cnot":
		return func(x uint64) uint64 { return b2u(x&m == 0) }
	case "popc":
		return func(x uint64) uint64 { return uint64(bits.OnesCount64(x & m)) }
	case "clz":
		return func(x uint64) uint64 { return uint64(bits.LeadingZeros64(x&m) - 64 + int(n)) }
	case "brev":
		return func(x uint64) uint64 { return bits.Reverse64(x&m) >> (64 - n) }
	case "bfind":
		return highestBit(t, amount)
	}
	return nil
}

// highestBit is where the highest bit stands that is not the sign's: from bit 0, or with amount from the top.
func highestBit(t typ, amount bool) func(x uint64) uint64 {
	m, top := t.mask(), uint64(t.bits())-1
	return func(x uint64) uint64 {
		if t.signed && signed(x, t) < 0 {
			x = ^x
		}
		x &= m
		if x == 0 {
			return 0xffffffff
		}
		at := uint64(bits.Len64(x) - 1)
		if amount {
			return top - at
		}
		return at
	}
}
