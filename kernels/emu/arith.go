package emu

import (
	"math"
	"math/bits"
)

func f32(v uint64) float32   { return math.Float32frombits(uint32(v)) }
func u32(f float32) uint64   { return uint64(math.Float32bits(f)) }
func f64(v uint64) float64   { return math.Float64frombits(v) }
func u64(f float64) uint64   { return math.Float64bits(f) }
func bf16f(v uint64) float32 { return math.Float32frombits(uint32(v) << 16) }
func signed(v uint64, t typ) int64 {
	shift := 64 - t.bits()
	return int64(v<<shift) >> shift
}

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

// floating is a binary operation on f32 or f64, rounded to nearest even.
func floating(op string, t typ, ftz bool) func(x, y uint64) uint64 {
	if t.size == 8 {
		switch op {
		case "add":
			return func(x, y uint64) uint64 { return u64(f64(x) + f64(y)) }
		case "sub":
			return func(x, y uint64) uint64 { return u64(f64(x) - f64(y)) }
		case "mul":
			return func(x, y uint64) uint64 { return u64(f64(x) * f64(y)) }
		case "div":
			return func(x, y uint64) uint64 { return u64(f64(x) / f64(y)) }
		case "min":
			return func(x, y uint64) uint64 { return u64(pickFloat(f64(x), f64(y), false)) }
		case "max":
			return func(x, y uint64) uint64 { return u64(pickFloat(f64(x), f64(y), true)) }
		}
		return nil
	}
	var f func(x, y float32) float32
	switch op {
	case "add":
		f = func(x, y float32) float32 { return x + y }
	case "sub":
		f = func(x, y float32) float32 { return x - y }
	case "mul":
		f = func(x, y float32) float32 { return x * y }
	case "div":
		f = func(x, y float32) float32 { return x / y }
	case "min":
		f = func(x, y float32) float32 { return float32(pickFloat(float64(x), float64(y), false)) }
	case "max":
		f = func(x, y float32) float32 { return float32(pickFloat(float64(x), float64(y), true)) }
	default:
		return nil
	}
	if ftz {
		return func(x, y uint64) uint64 { return u32(flush(f(flush(f32(x)), flush(f32(y))))) }
	}
	return func(x, y uint64) uint64 { return u32(f(f32(x), f32(y))) }
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

func lane1(d, a int, f func(x uint64) uint64) exec {
	return func(w *warp, m uint32) {
		to, x := &w.r[d], &w.r[a]
		if m == full {
			for l := range lanes {
				to[l] = f(x[l])
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = f(x[l])
		}
	}
}

func lane2(d, a, b int, f func(x, y uint64) uint64) exec {
	return func(w *warp, m uint32) {
		to, x, y := &w.r[d], &w.r[a], &w.r[b]
		if m == full {
			for l := range lanes {
				to[l] = f(x[l], y[l])
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = f(x[l], y[l])
		}
	}
}

func lane3(d, a, b, c int, f func(x, y, z uint64) uint64) exec {
	return func(w *warp, m uint32) {
		to, x, y, z := &w.r[d], &w.r[a], &w.r[b], &w.r[c]
		if m == full {
			for l := range lanes {
				to[l] = f(x[l], y[l], z[l])
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = f(x[l], y[l], z[l])
		}
	}
}

// arithmetic compiles everything that works on registers lane by lane.
func (c *compiler) arithmetic() exec {
	switch c.in.op {
	case "mov":
		return c.mov()
	case "cvta":
		return c.cvta()
	case "cvt":
		return c.cvt()
	case "setp":
		return c.setp()
	case "set":
		c.fail("not emulated")
		return nil
	case "selp":
		t := c.typ()
		if !c.args(4) {
			return nil
		}
		d, a, b, p := c.dst(0), c.src(1, t), c.src(2, t), c.src(3, typ{name: "pred", size: 1})
		return lane3(d, a, b, p, func(x, y, z uint64) uint64 {
			if z&1 != 0 {
				return x
			}
			return y
		})
	case "add", "sub", "min", "max", "and", "or", "xor", "div", "rem":
		return c.simple()
	case "mul", "mad":
		return c.mul()
	case "fma":
		return c.fma()
	case "ex2", "lg2", "sin", "cos", "tanh", "rsqrt", "rcp", "sqrt":
		return c.function()
	case "neg", "abs", "not", "cnot", "popc", "clz", "brev", "bfind":
		return c.single()
	case "shl", "shr":
		t := c.typ()
		if !c.args(3) {
			return nil
		}
		d, a, b, m, n := c.dst(0), c.src(1, t), c.src(2, typ{name: "u32", size: 4}), t.mask(), uint64(t.bits())
		switch {
		case c.in.op == "shl":
			return lane2(d, a, b, func(x, y uint64) uint64 {
				if y &= 0xffffffff; y >= n {
					return 0
				}
				return x << y & m
			})
		case t.signed:
			return lane2(d, a, b, func(x, y uint64) uint64 { return uint64(signed(x, t)>>min(y&0xffffffff, n-1)) & m })
		}
		return lane2(d, a, b, func(x, y uint64) uint64 {
			if y &= 0xffffffff; y >= n {
				return 0
			}
			return x & m >> y
		})
	case "shf":
		left := c.one("l", "r") == "l"
		clamp := c.one("wrap", "clamp") == "clamp"
		t := c.typ()
		if !c.args(4) {
			return nil
		}
		return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t), func(lo, hi, n uint64) uint64 {
			if n &= 0xffffffff; clamp {
				n = min(n, 32)
			} else {
				n &= 31
			}
			v := hi<<32 | lo&0xffffffff
			if left {
				return v << n >> 32 & 0xffffffff
			}
			return v >> n & 0xffffffff
		})
	case "lop3":
		t := c.typ()
		if len(c.in.args) != 5 || c.in.args[4].kind != immOperand {
			c.fail("want d, a, b, c and a table")
			return nil
		}
		lut := c.in.args[4].imm
		return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t), func(x, y, z uint64) uint64 {
			var v uint64
			for i := range uint(8) {
				if lut>>i&1 != 0 {
					a, b, e := x, y, z
					if i&4 == 0 {
						a = ^a
					}
					if i&2 == 0 {
						b = ^b
					}
					if i&1 == 0 {
						e = ^e
					}
					v |= a & b & e
				}
			}
			return v & 0xffffffff
		})
	case "prmt":
		t := c.typ()
		if !c.args(4) {
			return nil
		}
		return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t), func(x, y, sel uint64) uint64 {
			src := y&0xffffffff<<32 | x&0xffffffff
			var v uint64
			for i := range 4 {
				s := sel >> (4 * i) & 15
				b := src >> (8 * (s & 7)) & 0xff
				if s&8 != 0 { // the sign of the byte, replicated
					b = uint64(int8(b)>>7) & 0xff
				}
				v |= b << (8 * i)
			}
			return v
		})
	case "bfe":
		t := c.typ()
		if !c.args(4) {
			return nil
		}
		n := uint64(t.bits())
		return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t), func(x, pos, length uint64) uint64 {
			pos, length = pos&0xff, length&0xff
			var v uint64
			sign := t.signed && length > 0 && x>>min(pos+length-1, n-1)&1 != 0
			for i := range n {
				var bit uint64
				if i < length && pos+i < n {
					bit = x >> (pos + i) & 1
				} else if sign {
					bit = 1
				}
				v |= bit << i
			}
			return v
		})
	case "bfi":
		t := c.typ()
		if !c.args(5) {
			return nil
		}
		d, a, b, p, n := c.dst(0), c.src(1, t), c.src(2, t), c.src(3, typ{name: "u32", size: 4}), c.src(4, typ{name: "u32", size: 4})
		width := uint64(t.bits())
		return func(w *warp, m uint32) {
			each(m, func(l int) {
				pos, length := w.r[p][l]&0xff, w.r[n][l]&0xff
				v := w.r[b][l]
				for i := uint64(0); i < length && pos+i < width; i++ {
					v = v&^(1<<(pos+i)) | w.r[a][l]>>i&1<<(pos+i)
				}
				w.r[d][l] = v & t.mask()
			})
		}
	}
	c.fail("the instruction is not emulated")
	return nil
}

func (c *compiler) simple() exec {
	op := c.in.op
	rn := c.has("rn")
	ftz := c.has("ftz")
	c.has("full", "approx") // div.full, div.approx: exact here
	t := c.typ()
	if !c.args(3) {
		return nil
	}
	d, a, b := c.dst(0), c.src(1, t), c.src(2, t)
	if t.float {
		if t.name != "f32" && t.name != "f64" {
			c.fail("arithmetic on %s is not emulated", t.name)
			return nil
		}
		// The hot ones without a call for each lane.
		if t.size == 4 && !ftz {
			switch op {
			case "add":
				return func(w *warp, m uint32) {
					to, x, y := &w.r[d], &w.r[a], &w.r[b]
					for ; m != 0; m &= m - 1 {
						l := bits.TrailingZeros32(m)
						to[l] = u32(f32(x[l]) + f32(y[l]))
					}
				}
			}
		}
		f := floating(op, t, ftz)
		if f == nil {
			c.fail("not an operation on %s", t.name)
			return nil
		}
		_ = rn
		return lane2(d, a, b, f)
	}
	m := t.mask()
	if t.name == "pred" {
		m = 1
	}
	switch {
	case op == "add" && t.size == 4:
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
	case op == "add" && t.size == 8:
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
	f := integer(op, t)
	if f == nil {
		c.fail("not an operation on %s", t.name)
		return nil
	}
	return lane2(d, a, b, func(x, y uint64) uint64 { return f(x, y) & m })
}

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
		f := floating("mul", t, ftz)
		if mad || f == nil || t.name != "f32" && t.name != "f64" {
			c.fail("not emulated on %s", t.name)
			return nil
		}
		if t.size == 4 && !ftz {
			return func(w *warp, m uint32) {
				to, x, y := &w.r[d], &w.r[a], &w.r[b]
				for ; m != 0; m &= m - 1 {
					l := bits.TrailingZeros32(m)
					to[l] = u32(f32(x[l]) * f32(y[l]))
				}
			}
		}
		return lane2(d, a, b, f)
	}
	wt := t // type of the sum
	if mode == "wide" {
		wt.size *= 2
	}
	m := wt.mask()
	var f func(x, y uint64) uint64
	switch {
	case mode == "lo" || mode == "wide" && t.size < 8:
		if t.signed {
			f = func(x, y uint64) uint64 { return uint64(signed(x, t) * signed(y, t)) }
		} else {
			tm := t.mask()
			f = func(x, y uint64) uint64 { return (x & tm) * (y & tm) }
		}
	case mode == "hi":
		n := t.bits()
		switch {
		case t.size < 8 && t.signed:
			f = func(x, y uint64) uint64 { return uint64(signed(x, t) * signed(y, t) >> n) }
		case t.size < 8:
			tm := t.mask()
			f = func(x, y uint64) uint64 { return (x & tm) * (y & tm) >> n }
		default:
			f = func(x, y uint64) uint64 {
				hi, _ := bits.Mul64(x, y)
				if t.signed {
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
	default:
		c.fail("want lo, hi or wide")
		return nil
	}
	if mad {
		return lane3(d, a, b, c.src(3, wt), func(x, y, z uint64) uint64 { return (f(x, y) + z) & m })
	}
	return lane2(d, a, b, func(x, y uint64) uint64 { return f(x, y) & m })
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

func (c *compiler) mov() exec {
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	to, from := c.in.args[0], c.in.args[1]
	switch {
	case from.kind == vecOperand: // pack
		n := len(from.list)
		d, size := c.target(to), uint(t.size/n*8)
		part := typ{name: "b", size: t.size / n}
		srcs := make([]int, n)
		for i := range n {
			srcs[i] = c.value(from.list[i], part)
		}
		pm := part.mask()
		return func(w *warp, m uint32) {
			each(m, func(l int) {
				var v uint64
				for i, s := range srcs {
					v |= w.r[s][l] & pm << (uint(i) * size)
				}
				w.r[d][l] = v
			})
		}
	case to.kind == vecOperand: // unpack
		n := len(to.list)
		a, size := c.value(from, t), uint(t.size/n*8)
		dsts := make([]int, n)
		for i := range n {
			dsts[i] = c.target(to.list[i])
		}
		pm := uint64(1)<<size - 1
		return func(w *warp, m uint32) {
			each(m, func(l int) {
				v := w.r[a][l]
				for i, d := range dsts {
					w.r[d][l] = v >> (uint(i) * size) & pm
				}
			})
		}
	}
	d, a := c.target(to), c.value(from, t)
	if from.kind == specialOpernd && (from.name == "%clock" || from.name == "%clock64") {
		return func(w *warp, m uint32) { each(m, func(l int) { w.r[d][l] = w.count }) }
	}
	return func(w *warp, m uint32) {
		if m == full {
			w.r[d] = w.r[a]
			return
		}
		x, y := &w.r[d], &w.r[a]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			x[l] = y[l]
		}
	}
}

func (c *compiler) cvta() exec {
	back := c.has("to")
	sp := c.space()
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	var window uint64
	switch sp {
	case shared:
		window = sharedWindow
	case local:
		window = localWindow
	case param:
		window = paramWindow
	}
	return lane1(c.dst(0), c.src(1, t), func(x uint64) uint64 {
		if back {
			return x &^ window
		}
		return x | window
	})
}

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
