package emu

// shift is shl and shr. An amount beyond the type's width shifts everything out.
func (c *compiler) shift() exec {
	t := c.typ()
	if !c.args(3) {
		return nil
	}
	d, a, b, m, n := c.dst(0), c.src(1, t), c.src(2, u32Type), t.mask(), uint64(t.bits())
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
}

// ternary compiles a function of three numbers of the instruction's type.
func (c *compiler) ternary(f func(x, y, z uint64) uint64) exec {
	t := c.typ()
	if !c.args(4) {
		return nil
	}
	return lane3(c.dst(0), c.src(1, t), c.src(2, t), c.src(3, t), f)
}

// shf shifts a number of two registers and gives its upper (l) or lower (r) one.
func (c *compiler) shf() exec {
	left := c.one("l", "r") == "l"
	clamp := c.one("wrap", "clamp") == "clamp"
	return c.ternary(func(lo, hi, n uint64) uint64 {
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
}

// lop3 is a function of three bits by its table: bit 4·a + 2·b + c of it.
func (c *compiler) lop3() exec {
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
}

// prmt picks four of the eight bytes of two registers.
func (c *compiler) prmt() exec {
	return c.ternary(func(x, y, sel uint64) uint64 {
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
}

// bfe takes length bits from pos on; beyond them stands the sign, or zero.
func (c *compiler) bfe() exec {
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
}

// bfi puts the lowest length bits of a into b, from pos on.
func (c *compiler) bfi() exec {
	t := c.typ()
	if !c.args(5) {
		return nil
	}
	d, a, b, p, n := c.dst(0), c.src(1, t), c.src(2, t), c.src(3, u32Type), c.src(4, u32Type)
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
