package emu

import (
	"math/bits"
)

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
