package emu

import (
	"math/bits"
)

const (
	lanes = 32
	full  = ^uint32(0)
)

// each calls f for every lane of m.
func each(m uint32, f func(l int)) {
	for ; m != 0; m &= m - 1 {
		f(bits.TrailingZeros32(m))
	}
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

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
