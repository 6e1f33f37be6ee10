package emu

import (
	"math"
	"slices"
)

// conversion is a cvt.
type conversion struct {
	to, from typ
	round    string
	ftz, sat bool
	mask     uint64 // of the register that an integer goes to
}

func (c *compiler) cvt() exec {
	v := conversion{round: c.one("rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi")}
	v.ftz, v.sat = c.has("ftz"), c.has("sat")
	if slices.Contains(c.in.parts, "bf16x2") || slices.Contains(c.in.parts, "f16x2") {
		return c.cvtPair(v)
	}
	ts := c.types(2)
	if !c.args(2) || c.err != nil {
		return nil
	}
	v.to, v.from = ts[0], ts[1]
	d, a := c.dst(0), c.src(1, v.from)
	// An integer result goes to a register that may be wider: sign-extended there.
	wide := v.to
	if o := c.in.args[0]; o.kind == regOperand && !v.to.float {
		wide.size = c.p.f.regs[o.reg].typ.size
	}
	v.mask = wide.mask()
	var f func(x uint64) uint64
	switch {
	case !v.from.float && !v.to.float:
		f = c.cvtIntegers(v)
	case !v.to.float:
		f = c.cvtToInteger(v)
	case !v.from.float:
		f = c.cvtFromInteger(v)
	default:
		f = c.cvtFloats(v)
	}
	return lane1(d, a, f)
}

// cvtPair is cvt.rn.bf16x2.f32 d, a, b and the like: a is the upper half.
func (c *compiler) cvtPair(v conversion) exec {
	if v.sat || v.round != "rn" && v.round != "rz" {
		c.fail("not emulated")
		return nil
	}
	to := c.types(2)[0]
	if !c.args(3) {
		return nil
	}
	f := toBF16
	if v.round == "rz" {
		f = toBF16z
	}
	if to.name == "f16x2" {
		f = toF16
	}
	return lane2(c.dst(0), c.src(1, f32Type), c.src(2, f32Type), func(x, y uint64) uint64 { return f(f32(x))<<16 | f(f32(y)) })
}

func (c *compiler) cvtIntegers(v conversion) func(x uint64) uint64 {
	to, from, m := v.to, v.from, v.mask
	if v.sat {
		return c.saturated(v)
	}
	return func(x uint64) uint64 {
		if from.signed {
			x = uint64(signed(x, from))
		} else {
			x &= from.mask()
		}
		if to.signed {
			return uint64(signed(x, to)) & m
		}
		return x & to.mask()
	}
}

// saturated keeps an integer within what its new type holds.
func (c *compiler) saturated(v conversion) func(x uint64) uint64 {
	to, from, m := v.to, v.from, v.mask
	if from.size == 8 || to.size == 8 {
		c.fail("saturation of 64-bit integers is not emulated")
		return nil
	}
	lo, hi := int64(0), int64(to.mask())
	if to.signed {
		hi = int64(to.mask() >> 1)
		lo = -hi - 1
	}
	return func(x uint64) uint64 {
		n := int64(x & from.mask())
		if from.signed {
			n = signed(x, from)
		}
		return uint64(min(max(n, lo), hi)) & m
	}
}

// cvtToInteger takes what is too large or too small for the integer to its limits. A NaN becomes 0, of 64 bits the smallest number.
func (c *compiler) cvtToInteger(v conversion) func(x uint64) uint64 {
	to, m, read, round := v.to, v.mask, v.reader(), integral[v.round]
	if round == nil {
		c.fail("rounding %q to an integer", v.round)
		return nil
	}
	lo, hi, top := 0.0, math.Ldexp(1, int(to.bits())), to.mask()
	if to.signed {
		hi = math.Ldexp(1, int(to.bits())-1)
		lo, top = -hi, top>>1
	}
	return func(x uint64) uint64 {
		f := round(read(x))
		switch {
		case f != f:
			if to.size == 8 {
				return 1 << 63
			}
			return 0
		case f < lo:
			f = lo
		case f >= hi:
			return top & m
		}
		if to.signed {
			return uint64(int64(f)) & m
		}
		return uint64(f) & m
	}
}

func (c *compiler) cvtFromInteger(v conversion) func(x uint64) uint64 {
	to, from := v.to, v.from
	if v.round != "rn" || to.size == 2 {
		c.fail("rounding %q of an integer is not emulated", v.round)
		return nil
	}
	return func(x uint64) uint64 {
		if from.signed {
			n := signed(x, from)
			if to.size == 8 {
				return u64(float64(n))
			}
			return u32(float32(n))
		}
		x &= from.mask()
		if to.size == 8 {
			return u64(float64(x))
		}
		return u32(float32(x))
	}
}

func (c *compiler) cvtFloats(v conversion) func(x uint64) uint64 {
	read, write, sat := v.reader(), v.writer(), v.sat
	round := integral[v.round]
	switch {
	case write == nil:
		c.fail("a result of %s is not emulated", v.to.name)
		return nil
	case v.to.size == 2 && v.from.size == 8:
		c.fail("f64 to %s rounds twice and is not emulated", v.to.name)
		return nil
	case round != nil && v.from.name == v.to.name:
		old := write
		write = func(f float64) uint64 { return old(round(f)) }
	case v.round != "" && v.round != "rn" && v.from.size > v.to.size:
		c.fail("rounding %q is not emulated", v.round)
		return nil
	}
	return func(x uint64) uint64 {
		f := read(x)
		if sat {
			f = min(max(f, 0), 1)
			if f != f {
				f = 0
			}
		}
		return write(f)
	}
}

// reader is the number that a register holds.
func (v conversion) reader() func(uint64) float64 {
	switch {
	case v.from.name == "f64":
		return f64
	case v.from.name == "bf16":
		return func(x uint64) float64 { return float64(bf16f(x & 0xffff)) }
	case v.from.name == "f16":
		return func(x uint64) float64 { return float64(fromF16(x & 0xffff)) }
	case v.ftz:
		return func(x uint64) float64 { return float64(flush(f32(x))) }
	}
	return func(x uint64) float64 { return float64(f32(x)) }
}

// writer rounds a number to nearest even; nil if numbers of its type are not emulated.
func (v conversion) writer() func(float64) uint64 {
	switch v.to.name {
	case "f64":
		return u64
	case "bf16":
		return func(f float64) uint64 { return toBF16(float32(f)) }
	case "f16":
		return func(f float64) uint64 { return toF16(float32(f)) }
	case "f32":
		return func(f float64) uint64 { return u32(float32(f)) }
	}
	return nil
}

// integral rounds to an integral number.
var integral = map[string]func(float64) float64{"rni": math.RoundToEven, "rzi": math.Trunc, "rmi": math.Floor, "rpi": math.Ceil}
