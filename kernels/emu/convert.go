package emu

import (
	"math"
)

func (c *compiler) cvt() exec {
	round := c.one("rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi")
	ftz := c.has("ftz")
	sat := c.has("sat")
	// cvt.rn.bf16x2.f32 d, a, b: a is the upper half
	for i, p := range c.in.parts {
		if (p == "bf16x2" || p == "f16x2") && i > 0 {
			if sat || round != "rn" && round != "rz" {
				c.fail("not emulated")
				return nil
			}
			to := c.types(2)[0]
			if !c.args(3) {
				return nil
			}
			f := toBF16
			if round == "rz" {
				f = toBF16z
			}
			if to.name == "f16x2" {
				f = toF16
			}
			src := typ{name: "f32", size: 4, float: true}
			return lane2(c.dst(0), c.src(1, src), c.src(2, src), func(x, y uint64) uint64 { return f(f32(x))<<16 | f(f32(y)) })
		}
	}
	ts := c.types(2)
	if !c.args(2) || c.err != nil {
		return nil
	}
	to, from := ts[0], ts[1]
	d, a := c.dst(0), c.src(1, from)
	// An integer result goes to a register that may be wider: sign-extended there.
	wide := to
	if o := c.in.args[0]; o.kind == regOperand && !to.float {
		wide.size = c.p.f.regs[o.reg].typ.size
	}
	m := wide.mask()
	switch {
	case !from.float && !to.float:
		if sat {
			lo, hi := int64(0), int64(to.mask())
			if to.signed {
				hi = int64(to.mask() >> 1)
				lo = -hi - 1
			}
			if from.size == 8 || to.size == 8 {
				c.fail("saturation of 64-bit integers is not emulated")
				return nil
			}
			return lane1(d, a, func(x uint64) uint64 {
				v := int64(x & from.mask())
				if from.signed {
					v = signed(x, from)
				}
				return uint64(min(max(v, lo), hi)) & m
			})
		}
		return lane1(d, a, func(x uint64) uint64 {
			if from.signed {
				x = uint64(signed(x, from))
			} else {
				x &= from.mask()
			}
			if to.signed {
				return uint64(signed(x, to)) & m
			}
			return x & to.mask()
		})
	case from.float && !to.float:
		r := rounding(round)
		if r == nil {
			c.fail("rounding %q to an integer", round)
			return nil
		}
		lo, hi := 0.0, math.Ldexp(1, int(to.bits()))
		if to.signed {
			hi = math.Ldexp(1, int(to.bits())-1)
			lo = -hi
		}
		read := reader(from)
		return lane1(d, a, func(x uint64) uint64 {
			v := read(x)
			if ftz && from.size == 4 {
				v = float64(flush(float32(v)))
			}
			switch v = r(v); {
			case v != v:
				if to.size == 8 {
					return 1 << 63
				}
				return 0
			case v < lo:
				v = lo
			case v >= hi:
				if to.signed {
					return to.mask() >> 1 & m
				}
				return to.mask() & m
			}
			if to.signed {
				return uint64(int64(v)) & m
			}
			return uint64(v) & m
		})
	case !from.float && to.float:
		if round != "rn" || to.size == 2 {
			c.fail("rounding %q of an integer is not emulated", round)
			return nil
		}
		return lane1(d, a, func(x uint64) uint64 {
			if from.signed {
				v := signed(x, from)
				if to.size == 8 {
					return u64(float64(v))
				}
				return u32(float32(v))
			}
			x &= from.mask()
			if to.size == 8 {
				return u64(float64(x))
			}
			return u32(float32(x))
		})
	}
	read := reader(from)
	var write func(v float64) uint64
	switch to.name {
	case "f64":
		write = u64
	case "f32":
		write = func(v float64) uint64 { return u32(float32(v)) }
	case "bf16":
		if from.size == 8 {
			c.fail("f64 to bf16 rounds twice and is not emulated")
			return nil
		}
		write = func(v float64) uint64 { return toBF16(float32(v)) }
	case "f16":
		if from.size == 8 {
			c.fail("f64 to f16 rounds twice and is not emulated")
			return nil
		}
		write = func(v float64) uint64 { return toF16(float32(v)) }
	}
	if r := rounding(round); r != nil && from.name == to.name {
		old := write
		write = func(v float64) uint64 { return old(r(v)) }
	} else if round != "" && round != "rn" && from.size > to.size {
		c.fail("rounding %q is not emulated", round)
		return nil
	}
	return lane1(d, a, func(x uint64) uint64 {
		v := read(x)
		if ftz && from.size == 4 {
			v = float64(flush(float32(v)))
		}
		if sat {
			v = min(max(v, 0), 1)
			if v != v {
				v = 0
			}
		}
		return write(v)
	})
}

func reader(t typ) func(uint64) float64 {
	switch t.name {
	case "f64":
		return f64
	case "bf16":
		return func(x uint64) float64 { return float64(bf16f(x & 0xffff)) }
	case "f16":
		return func(x uint64) float64 { return float64(fromF16(x & 0xffff)) }
	}
	return func(x uint64) float64 { return float64(f32(x)) }
}

// rounding to an integral number
func rounding(mode string) func(float64) float64 {
	switch mode {
	case "rni":
		return math.RoundToEven
	case "rzi":
		return math.Trunc
	case "rmi":
		return math.Floor
	case "rpi":
		return math.Ceil
	}
	return nil
}
