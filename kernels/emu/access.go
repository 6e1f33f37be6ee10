package emu

import (
	"math/bits"
)

func (c *compiler) load(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "acquire", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.has("nc")
	c.one("ca", "cg", "cs", "lu", "cv")
	c.has("L1::evict_first", "L1::no_allocate", "L1::evict_last")
	c.has("L2::128B", "L2::256B", "L2::64B")
	n := map[string]int{"v2": 2, "v4": 4, "": 1}[c.one("v2", "v4")]
	t := c.typ()
	base, off := c.addr(1)
	dsts := make([]int, n)
	ext := make([]uint64, n) // sign bits, to the width of the register
	for i := range n {
		o := c.in.args[0]
		if n > 1 {
			if o.kind != vecOperand || len(o.list) != n {
				c.fail("the result is not a vector of %d", n)
				return
			}
			o = o.list[i]
		}
		dsts[i] = c.target(o)
		if t.signed && t.size < 8 && o.kind == regOperand {
			ext[i] = c.p.f.regs[o.reg].typ.mask() &^ t.mask()
		}
	}
	size := t.size
	sign := uint64(1) << (t.bits() - 1)
	if n == 1 && ext[0] == 0 {
		d := dsts[0]
		s.run = func(w *warp, m uint32) {
			a, to := &w.r[base], &w.r[d]
			if w.b.shadow != nil {
				w.traffic(sp, a, off, m, size)
			}
			for ; m != 0; m &= m - 1 {
				l := bits.TrailingZeros32(m)
				to[l] = get(w.mem(sp, a[l]+uint64(off), size, l, false, false, nil), size)
			}
		}
		return
	}
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

func (c *compiler) store(s *step) {
	sp := c.space()
	c.one("volatile", "relaxed", "release", "weak", "mmio")
	c.one("cta", "gpu", "sys", "cluster")
	c.one("wb", "cg", "cs", "wt")
	n := map[string]int{"v2": 2, "v4": 4, "": 1}[c.one("v2", "v4")]
	t := c.typ()
	base, off := c.addr(0)
	if !c.args(2) {
		return
	}
	srcs := make([]int, n)
	for i := range n {
		o := c.in.args[1]
		if n > 1 {
			if o.kind != vecOperand || len(o.list) != n {
				c.fail("the value is not a vector of %d", n)
				return
			}
			o = o.list[i]
		}
		srcs[i] = c.value(o, t)
	}
	size := t.size
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
	var f func(x, y uint64) uint64
	switch op {
	case "add", "min", "max", "and", "or", "xor":
		f = integer(op, t)
		if t.float {
			f = floating(op, t, false)
		}
	case "exch", "cas":
		f = func(_, y uint64) uint64 { return y }
	case "inc":
		f = func(x, y uint64) uint64 {
			if x >= y {
				return 0
			}
			return x + 1
		}
	case "dec":
		f = func(x, y uint64) uint64 {
			if x == 0 || x > y {
				return y
			}
			return x - 1
		}
	}
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
			cur := w.mem(sp, addr, size, l, false, true, nil)
			old := get(cur, size)
			v := f(old, w.r[b][l]) & mask
			write := true
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
