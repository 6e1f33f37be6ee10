package emu

import (
	"math/bits"
)

func (c *compiler) mov() exec {
	t := c.typ()
	if !c.args(2) {
		return nil
	}
	to, from := c.in.args[0], c.in.args[1]
	switch {
	case from.kind == vecOperand:
		return c.pack(to, from.list, t)
	case to.kind == vecOperand:
		return c.unpack(to.list, from, t)
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

// pack puts the elements of a vector into one register of type t, the first lowest.
func (c *compiler) pack(to operand, from []operand, t typ) exec {
	d := c.target(to)
	part := typ{name: "b", size: t.size / len(from)}
	size, mask := part.bits(), part.mask()
	srcs := make([]int, len(from))
	for i, o := range from {
		srcs[i] = c.value(o, part)
	}
	return func(w *warp, m uint32) {
		each(m, func(l int) {
			var v uint64
			for i, s := range srcs {
				v |= w.r[s][l] & mask << (uint(i) * size)
			}
			w.r[d][l] = v
		})
	}
}

// unpack is the contrary.
func (c *compiler) unpack(to []operand, from operand, t typ) exec {
	a := c.value(from, t)
	part := typ{name: "b", size: t.size / len(to)}
	size, mask := part.bits(), part.mask()
	dsts := make([]int, len(to))
	for i, o := range to {
		dsts[i] = c.target(o)
	}
	return func(w *warp, m uint32) {
		each(m, func(l int) {
			v := w.r[a][l]
			for i, d := range dsts {
				w.r[d][l] = v >> (uint(i) * size) & mask
			}
		})
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
