package kernels

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// fma32 is x·y + z, rounded once. The product of two float32 is exact in a float64; their sum with z is rounded to odd there, so
// that rounding it a second time, to float32, goes where the exact sum would.
func fma32(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	b := s - p
	lost := (p - (s - b)) + (c - b) // TwoSum: s + lost is the exact sum
	if bits := math.Float64bits(s); lost != 0 && bits&1 == 0 {
		if (lost > 0) == (s > 0) {
			s = math.Float64frombits(bits + 1)
		} else {
			s = math.Float64frombits(bits - 1)
		}
	}
	return float32(s)
}

// chain is what an output must be: z, then every term in ascending order, each added in the variant's way.
func (v *simd) chain(z float32, terms int, term func(k int) (x, y float32)) float32 {
	for k := range terms {
		if x, y := term(k); v.fused {
			z = fma32(x, y, z)
		} else {
			z += float32(x * y)
		}
	}
	return z
}

// edge places n normal numbers so that memory that nobody may touch begins right after them, or ends right before them.
func edge(t *rapid.T, m []float32, n int, label string) []float32 {
	x := m[:n:n]
	if rapid.Bool().Draw(t, label+" before its guard") {
		x = m[len(m)-n:]
	}
	rng := newRand(rapid.Uint64().Draw(t, label))
	for i := range x {
		x[i] = float32(rng.normal())
	}
	return x
}

// from is where the chains of c start: at what c holds, or at 0.
func from(c []float32, acc bool) []float32 {
	was := make([]float32, len(c))
	if acc {
		copy(was, c)
	}
	return was
}

// Every product kernel of every variant computes the chains of fused multiply-adds (of multiplications and additions, in plain Go)
// that the contract promises, bit for bit, and touches no memory beside its operands.
func TestProductKernelsAreChains(t *testing.T) {
	type kernel struct {
		name         string
		rows, panels int
		run          func(*tile)
	}
	for _, v := range variants() {
		var all []kernel
		for n, f := range v.product {
			if f != nil {
				all = append(all, kernel{fmt.Sprintf("%d×16", n), n, 1, f})
			}
		}
		for n, f := range v.wide {
			if f != nil {
				all = append(all, kernel{fmt.Sprintf("wide %d×%d", n, wideCols[n]), n, wideCols[n] / tileCols, f})
			}
		}
		for _, several := range []struct {
			panels  int
			kernels []func(*tile)
			ahead   string
		}{{2, v.twin[:], ""}, {4, v.quad[:], ""}, {2, v.twinAhead[:], " ahead"}, {4, v.quadAhead[:], " ahead"}} {
			for n, f := range several.kernels {
				if f != nil {
					all = append(all, kernel{fmt.Sprintf("%d×%d%s", n, 16*several.panels, several.ahead), n, several.panels, f})
				}
			}
		}
		am, bm, cm := guarded(t, 1<<12), guarded(t, 1<<12), guarded(t, 1<<12)
		for _, kernel := range all {
			t.Run(v.name+" "+kernel.name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					K, tiles := rapid.IntRange(0, 40).Draw(t, "k"), 1
					if !strings.HasPrefix(kernel.name, "wide") {
						tiles = rapid.IntRange(1, 3).Draw(t, "tiles")
					}
					rows, cols := kernel.rows*tiles, 16*kernel.panels
					acc, columns := rapid.IntRange(0, 1).Draw(t, "acc"), rapid.Bool().Draw(t, "a by columns")
					ars, aks := K, 1
					if columns {
						ars, aks = 1, rows
					}
					a, b, c := edge(t, am, rows*K, "a"), edge(t, bm, K*cols, "b"), edge(t, cm, rows*cols, "c")
					was := from(c, acc == 1)
					kernel.run(&tile{
						c: unsafe.Pointer(unsafe.SliceData(c)), a: unsafe.Pointer(unsafe.SliceData(a)), b: unsafe.Pointer(unsafe.SliceData(b)),
						ldc: 4 * cols, ars: 4 * ars, aks: 4 * aks, bks: 64, bps: 64 * K, k: K, tiles: tiles, acc: acc,
					})
					for i, got := range c {
						r, j := i/cols, i%cols
						want := v.chain(was[i], K, func(k int) (float32, float32) {
							return a[r*ars+k*aks], b[j/16*16*K+16*k+j%16]
						})
						if math.Float32bits(got) != math.Float32bits(want) {
							t.Fatalf("row %d, column %d is %v, the chain %v", r, j, got, want)
						}
					}
				})
			})
		}
	}
}

// A product of any size is those chains too, whichever kernels share it, with whole panels and without.
func TestProductsOfAnySizeAreChains(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			am, bm, cm := guarded(t, 1<<13), guarded(t, 1<<15), guarded(t, 1<<13)
			d := newCPU(1, v)
			defer d.Close()
			rapid.Check(t, func(t *rapid.T) {
				rows, cols, K := rapid.IntRange(1, 60).Draw(t, "rows"), rapid.IntRange(1, 100).Draw(t, "cols"), rapid.IntRange(1, 40).Draw(t, "k")
				if rapid.IntRange(0, 4).Draw(t, "long") == 0 { // in several visits to memory
					rows, cols, K = rapid.IntRange(1, 15).Draw(t, "rows"), rapid.IntRange(16, 80).Draw(t, "cols"), rapid.IntRange(180, 400).Draw(t, "k")
				}
				acc, padded := rapid.Bool().Draw(t, "acc"), rapid.Bool().Draw(t, "padded")
				// Panels beside each other, as a pack has them, far away or not, or in rows of a matrix, as values of a page lie.
				bps, bks, size, soon := 16*K, 16, (cols+15)/16*16*K, rapid.IntRange(0, 9).Draw(t, "soon")
				if !padded {
					soon = 0
					bps, bks, size = 16, cols, K*cols
				}
				a, b, c := edge(t, am, rows*K, "a"), edge(t, bm, size, "b"), edge(t, cm, rows*cols, "c")
				was := from(c, acc)
				d.workers[0].product(v, &product{
					c: &c[0], a: &a[0], b: &b[0], ldc: cols, ars: K, aks: 1, bps: bps, bks: bks,
					rows: rows, cols: cols, k: K, acc: acc, padded: padded, soon: soon,
				})
				for i, got := range c {
					r, j := i/cols, i%cols
					want := v.chain(was[i], K, func(k int) (float32, float32) { return a[r*K+k], b[j/16*bps+k*bks+j%16] })
					if math.Float32bits(got) != math.Float32bits(want) {
						t.Fatalf("row %d, column %d is %v, the chain %v", r, j, got, want)
					}
				}
			})
		})
	}
}

func TestFMA32RoundsOnce(t *testing.T) {
	// 1 + 2⁻²⁴ is halfway; what decides lies below float64's last place.
	if got, want := fma32(1+0x1p-23, 1-0x1p-23, 0x1p-24), float32(1); got != want { // 1 − 2⁻⁴⁶ + 2⁻²⁴
		t.Errorf("just below halfway: %v", got)
	}
	if got := fma32(0x1p-40, 0x1p-40, math.Nextafter32(1, 2)); got != math.Nextafter32(1, 2) {
		t.Errorf("a speck: %v", got)
	}
	half := float32(0x1p-24)
	if got := fma32(half, 1+0x1p-23, 1); got != 1+0x1p-23 { // above halfway by 2⁻⁴⁷
		t.Errorf("just above halfway: %v", got)
	}
	if got := fma32(half, 1, 1); got != 1 {
		t.Errorf("halfway goes to even: %v", got)
	}
}
