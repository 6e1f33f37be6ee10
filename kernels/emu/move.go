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
