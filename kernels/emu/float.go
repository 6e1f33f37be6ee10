package emu

import (
	"math"
	"math/bits"
)

func f32(v uint64) float32 { return math.Float32frombits(uint32(v)) }

func u32(f float32) uint64 { return uint64(math.Float32bits(f)) }

func f64(v uint64) float64 { return math.Float64frombits(v) }

func u64(f float64) uint64 { return math.Float64bits(f) }

func bf16f(v uint64) float32 { return math.Float32frombits(uint32(v) << 16) }

// toBF16 rounds to nearest even; every NaN becomes 0x7fff, as the hardware's.
func toBF16(f float32) uint64 {
	u := math.Float32bits(f)
	if f != f {
		return 0x7fff
	}
	return uint64((u + 0x7fff + u>>16&1) >> 16)
}

// toBF16z rounds towards zero.
func toBF16z(f float32) uint64 {
	if f != f {
		return 0x7fff
	}
	return uint64(math.Float32bits(f) >> 16)
}

// fromF16 and toF16 are IEEE binary16.
func fromF16(v uint64) float32 {
	sign, e, m := uint32(v>>15&1)<<31, uint32(v>>10&31), uint32(v&0x3ff)
	switch {
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	case e == 0:
		f := float32(m) * (1.0 / (1 << 24))
		if sign != 0 {
			f = -f
		}
		return f
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

func toF16(f float32) uint64 {
	u := math.Float32bits(f)
	sign := uint64(u >> 31 << 15)
	if f != f {
		return 0x7fff
	}
	a := math.Float64frombits(math.Float64bits(float64(f)) &^ (1 << 63))
	if a >= 65520 {
		return sign | 0x7c00
	}
	if a < 1.0/(1<<14) {
		return sign | uint64(math.RoundToEven(a*(1<<24)))
	}
	e := math.Ilogb(a)
	m := math.RoundToEven(math.Ldexp(a, 10-e)) // 1024 … 2048
	return sign | uint64(int(m)+(e+14)<<10)
}

// fma32 is a·b + c, rounded once. The product is exact in float64; the sum is rounded to odd there, so that the second rounding sees
// whether anything was lost.
func fma32(a, b, c float32) float32 {
	p := float64(float64(a) * float64(b))
	d := float64(c)
	s := float64(p + d)
	u := math.Float64bits(s)
	// Only a sum near the middle between two floats, or one below the normal range, can be rounded twice.
	if u&0x1fffffff != 0x10000000 && math.Abs(s) >= 0x1p-125 || math.IsInf(s, 0) || s != s {
		return float32(s)
	}
	bb := float64(s - p)
	e := float64(p-float64(s-bb)) + float64(d-bb)
	if e != 0 && u&1 == 0 {
		if (e > 0) == (s > 0) {
			u++
		} else {
			u--
		}
		s = math.Float64frombits(u)
	}
	return float32(s)
}

func flush(f float32) float32 {
	if math.Float32bits(f)&0x7f800000 == 0 {
		return math.Float32frombits(math.Float32bits(f) & (1 << 31))
	}
	return f
}

// binaryFloat compiles an operation on two floats, rounded to nearest even.
func (c *compiler) binaryFloat(d, a, b int, t typ, ftz bool) exec {
	if t.name != "f32" && t.name != "f64" {
		c.fail("arithmetic on %s is not emulated", t.name)
		return nil
	}
	if t.size == 4 && !ftz {
		switch c.in.op {
		case "add":
			return addF32(d, a, b)
		case "mul":
			return mulF32(d, a, b)
		}
	}
	f := floating(c.in.op, t, ftz)
	if f == nil {
		c.fail("not an operation on %s", t.name)
		return nil
	}
	return lane2(d, a, b, f)
}

// addF32 and mulF32, as add32 and add64, do without a call for each lane.
func addF32(d, a, b int) exec {
	return func(w *warp, m uint32) {
		to, x, y := &w.r[d], &w.r[a], &w.r[b]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = u32(f32(x[l]) + f32(y[l]))
		}
	}
}

func mulF32(d, a, b int) exec {
	return func(w *warp, m uint32) {
		to, x, y := &w.r[d], &w.r[a], &w.r[b]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = u32(f32(x[l]) * f32(y[l]))
		}
	}
}

// floating is a binary operation on f32 or f64, nil if it is none. With ftz, floats below the normal range are zero, going in and out.
func floating(op string, t typ, ftz bool) func(x, y uint64) uint64 {
	if t.size == 8 {
		f := arithmetic[float64](op)
		if f == nil {
			return nil
		}
		return func(x, y uint64) uint64 { return u64(f(f64(x), f64(y))) }
	}
	f := arithmetic[float32](op)
	switch {
	case f == nil:
		return nil
	case ftz:
		return func(x, y uint64) uint64 { return u32(flush(f(flush(f32(x)), flush(f32(y))))) }
	}
	return func(x, y uint64) uint64 { return u32(f(f32(x), f32(y))) }
}

func arithmetic[T float32 | float64](op string) func(x, y T) T {
	switch op {
	case "add":
		return func(x, y T) T { return x + y }
	case "sub":
		return func(x, y T) T { return x - y }
	case "mul":
		return func(x, y T) T { return x * y }
	case "div":
		return func(x, y T) T { return x / y }
	case "min":
		return func(x, y T) T { return T(pickFloat(float64(x), float64(y), false)) }
	case "max":
		return func(x, y T) T { return T(pickFloat(float64(x), float64(y), true)) }
	}
	return nil
}

// pickFloat is min and max: a number wins over NaN, −0 is below +0.
func pickFloat(x, y float64, big bool) float64 {
	switch {
	case x != x:
		return y
	case y != y:
		return x
	case big:
		return math.Max(x, y)
	}
	return math.Min(x, y)
}

// unary32 holds the functions that the hardware approximates; here they are correctly rounded, but for those of them that Go computes
// with less than that in float64, which is far below a float32's last place.
var unary32 = map[string]func(float64) float64{
	"ex2": math.Exp2, "lg2": math.Log2, "sin": math.Sin, "cos": math.Cos, "tanh": math.Tanh,
	"rsqrt": func(x float64) float64 { return 1 / math.Sqrt(x) },
	"rcp":   func(x float64) float64 { return 1 / x },
	"sqrt":  math.Sqrt,
}

func (c *compiler) fma() exec {
	c.has("rn")
	ftz := c.has("ftz")
	t := c.typ()
	if !c.args(4) {
		return nil
	}
	d, a, b, e := c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t)
	switch t.name {
	case "f64":
		return lane3(d, a, b, e, func(x, y, z uint64) uint64 { return u64(math.FMA(f64(x), f64(y), f64(z))) })
	case "f32":
		if ftz {
			return lane3(d, a, b, e, func(x, y, z uint64) uint64 { return u32(flush(fma32(flush(f32(x)), flush(f32(y)), flush(f32(z))))) })
		}
		return func(w *warp, m uint32) {
			to, x, y, z := &w.r[d], &w.r[a], &w.r[b], &w.r[e]
			for ; m != 0; m &= m - 1 {
				l := bits.TrailingZeros32(m)
				to[l] = u32(fma32(f32(x[l]), f32(y[l]), f32(z[l])))
			}
		}
	}
	c.fail("not emulated on %s", t.name)
	return nil
}

func (c *compiler) function() exec {
	c.has("approx", "rn")
	ftz := c.has("ftz")
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	f := unary32[c.in.op]
	d, a := c.dst(0), c.src(1, t)
	switch t.name {
	case "f64":
		return lane1(d, a, func(x uint64) uint64 { return u64(f(f64(x))) })
	case "f32":
		if ftz {
			return lane1(d, a, func(x uint64) uint64 { return u32(flush(float32(f(float64(flush(f32(x))))))) })
		}
		return lane1(d, a, func(x uint64) uint64 { return u32(float32(f(float64(f32(x))))) })
	}
	c.fail("not emulated on %s", t.name)
	return nil
}

// unaryFloat is an operation on the sign of a float, nil if it is none.
func unaryFloat(op string, t typ, ftz bool) func(x uint64) uint64 {
	sign := uint64(1) << (t.bits() - 1)
	var f func(x uint64) uint64
	switch op {
	case "neg":
		f = func(x uint64) uint64 { return x ^ sign }
	case "abs":
		f = func(x uint64) uint64 { return x &^ sign }
	default:
		return nil
	}
	if ftz && t.size == 4 {
		return func(x uint64) uint64 { return u32(flush(f32(f(x)))) }
	}
	return f
}
