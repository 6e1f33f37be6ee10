package emu

import (
	"math/bits"
)

// vectorSize consumes .v2 or .v4.
func (c *compiler) vectorSize() int {
	return map[string]int{"v2": 2, "v4": 4, "": 1}[c.one("v2", "v4")]
}

func (c *compiler) load(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "acquire", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.has("nc")
	c.one("ca", "cg", "cs", "lu", "cv")
	c.has("L1::evict_first", "L1::no_allocate", "L1::evict_last")
	c.has("L2::128B", "L2::256B", "L2::64B")
	n, t := c.vectorSize(), c.typ()
	base, off := c.addr(1)
	dsts := c.targets(0, n)
	if c.err != nil {
		return
	}
	ext := make([]uint64, n) // sign bits, to the width of the register
	for i, o := range c.vector(0, n) {
		if t.signed && t.size < 8 && o.kind == regOperand {
			ext[i] = c.p.f.regs[o.reg].typ.mask() &^ t.mask()
		}
	}
	if n == 1 && ext[0] == 0 {
		s.run = loadOne(sp, dsts[0], base, off, t.size)
		return
	}
	size := t.size
	sign := uint64(1) << (t.bits() - 1)
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			w.traffic(sp, a, off, m, size*n)
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			b := w.mem(sp, a[l]+uint64(off), size*n, l, false, false, nil)
			for i, d := range dsts {
				v := get(b[i*size:], size)
				if v&sign != 0 {
					v |= ext[i]
				}
				w.r[d][l] = v
			}
		}
	}
}

// loadOne loads size bytes into one register as they are.
func loadOne(sp space, d, base int, off int64, size int) exec {
	return func(w *warp, m uint32) {
		a, to := &w.r[base], &w.r[d]
		if w.b.shadow != nil {
			w.traffic(sp, a, off, m, size)
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			to[l] = get(w.mem(sp, a[l]+uint64(off), size, l, false, false, nil), size)
		}
	}
}

func (c *compiler) store(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "release", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.one("wb", "cg", "cs", "wt")
	n, t := c.vectorSize(), c.typ()
	base, off := c.addr(0)
	if !c.args(2) {
		return
	}
	srcs, size := c.srcs(1, n, t), t.size
	s.run = func(w *warp, m uint32) {
		a := &w.r[base]
		if w.b.shadow != nil {
			w.traffic(sp, a, off, m, size*n)
		}
		var buf [16]byte
		data := buf[:size*n]
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			for i, r := range srcs {
				put(data[i*size:], size, w.r[r][l])
			}
			copy(w.mem(sp, a[l]+uint64(off), size*n, l, true, false, data), data)
		}
	}
}

// atomic is atom and red: one lane after the other.
func (c *compiler) atomic(s *step) {
	sp := c.space()
	c.one("relaxed", "acquire", "release", "acq_rel")
	c.one("cta", "gpu", "sys", "cluster")
	op := c.one("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
	t := c.typ()
	at, d := 0, none
	if c.in.op == "atom" {
		d, at = c.dst(0), 1
	}
	base, off := c.addr(at)
	b := c.src(at+1, t)
	third := none
	if op == "cas" {
		third = c.src(at+2, t)
	}
	f := update(op, t)
	if f == nil {
		c.fail("the operation is not emulated")
		return
	}
	size, mask := t.size, t.mask()
	s.run = func(w *warp, m uint32) {
		var data [8]byte
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m)
			addr := w.r[base][l] + uint64(off)
			old := get(w.mem(sp, addr, size, l, false, true, nil), size)
			v, write := f(old, w.r[b][l])&mask, true
			if third != none {
				if write = old == w.r[b][l]&mask; write {
					v = w.r[third][l] & mask
				}
			}
			if write {
				put(data[:], size, v)
				copy(w.mem(sp, addr, size, l, true, true, data[:size]), data[:size])
			}
			if d != none {
				w.r[d][l] = old
			}
		}
	}
}

// update is what an atomic makes of the old number x and its operand y, nil if it is none; the caller masks the result.
func update(op string, t typ) func(x, y uint64) uint64 {
	switch op {
	case "exch", "cas":
		return func(_, y uint64) uint64 { return y }
	case "inc":
		return func(x, y uint64) uint64 {
			if x >= y {
				return 0
			}
			return x + 1
		}
	case "dec":
		return func(x, y uint64) uint64 {
			if x == 0 || x > y {
				return y
			}
			return x - 1
		}
	}
	if t.float {
		return floating(op, t, false)
	}
	return integer(op, t)
}
