package kernels

import (
	"time"
	"unsafe"
)

// dotsPay says whether the kernels of cpu_dot_amd64.s are quicker here than those that widen. Processors differ: a Zen 4 begins as many
// VDPBF16PS a cycle as multiply-adds, an Emerald Rapids one in two cycles, so that widening is half as fast again there. Both are tried on
// one product of twelve rows in the nearest cache, which takes some 2 µs, and the quickest of several tries counts: a neighbour on
// this core slows single ones. Nothing but speed depends on it: the bits are the same.
func dotsPay() bool {
	const rows, cols, k, tries = 12, 32, 128, 24
	a, b, c := floats(rows*2*k), floats(cols*k), floats(rows*cols)
	try := func(kernel func(*tile), words int) time.Duration {
		t := &tile{
			c: unsafe.Pointer(&c[0]), a: unsafe.Pointer(&a[0]), b: unsafe.Pointer(&b[0]),
			ldc: 4 * cols, ars: 4 * 2 * k, aks: 4 * tileCols, bks: 4 * tileCols, bps: 4 * tileCols * k, k: words, tiles: 1,
		}
		begun := time.Now()
		kernel(t)
		return time.Since(begun)
	}
	dots, widened := time.Hour, time.Hour
	for range tries { // one panel, twice, against two at once
		widened = min(widened, 2*try(avx512SIMD.paired[rows], 2*k))
		dots = min(dots, try(avx512bf16SIMD.two[rows], k))
	}
	return dots < widened
}

// The kernels of cpu_dot_amd64.s.

//go:noescape
func dot1(t *tile)

//go:noescape
func dot2(t *tile)

//go:noescape
func dot3(t *tile)

//go:noescape
func dot4(t *tile)

//go:noescape
func dot5(t *tile)

//go:noescape
func dot6(t *tile)

//go:noescape
func dot7(t *tile)

//go:noescape
func dot8(t *tile)

//go:noescape
func dot9(t *tile)

//go:noescape
func dot10(t *tile)

//go:noescape
func dot11(t *tile)

//go:noescape
func dot12(t *tile)

//go:noescape
func dotTwo1(t *tile)

//go:noescape
func dotTwo2(t *tile)

//go:noescape
func dotTwo3(t *tile)

//go:noescape
func dotTwo4(t *tile)

//go:noescape
func dotTwo5(t *tile)

//go:noescape
func dotTwo6(t *tile)

//go:noescape
func dotTwo7(t *tile)

//go:noescape
func dotTwo8(t *tile)

//go:noescape
func dotTwo9(t *tile)

//go:noescape
func dotTwo10(t *tile)

//go:noescape
func dotTwo11(t *tile)

//go:noescape
func dotTwo12(t *tile)

//go:noescape
func dotLong(t *tile)
