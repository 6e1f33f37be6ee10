package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// headDraw is rows that a head draws for.
type headDraw struct {
	x, w, keys Tensor
	R, V       int
}

func headDrawOf(d Device, x, w []float32, dtype DType, keys []int32, R, V, M int) headDraw {
	h := headDraw{d.Alloc(dtype, R, M), d.Alloc(dtype, V, M), d.Alloc(I32, R, 3), R, V}
	d.Upload(h.x, x)
	d.Upload(h.w, w)
	d.Upload(h.keys, keys)
	return h
}

// drawn is what Draw gives, or its four operations do.
func (h headDraw) drawn(t rapid.TB, d Device, s Sampling, byParts bool) (ids []int32, logp []uint32) {
	t.Helper()
	it, lp, y, lse := d.Alloc(I32, h.R), d.Alloc(F32, h.R), d.Alloc(F32, h.R, h.V), d.Alloc(F32, h.R)
	if err := d.Do(func() {
		if byParts {
			drawByParts(d, it, lp, y, lse, h.x, h.w, h.keys, s)
		} else {
			d.Draw(it, lp, y, lse, h.x, h.w, h.keys, s)
		}
	}); err != nil {
		t.Fatal(err)
	}
	ids, logp = make([]int32, h.R), make([]uint32, h.R)
	d.Download(ids, it)
	for i, v := range floats32(d, lp) {
		if v != v {
			v = float32(math.NaN()) // one of them
		}
		logp[i] = math.Float32bits(v)
	}
	for _, m := range []Tensor{it, lp, y, lse} {
		d.Free(m)
	}
	return ids, logp
}

// Draw is its parts, which are held against their references: ids and bits.
func checkDrawOp(t *rapid.T, s *subject) {
	R, V, M := rapid.IntRange(1, 40).Draw(t, "R"), rapid.IntRange(1, 300).Draw(t, "V"), s.size(t, 80, "M")
	seed, keys := drawKeys(t, R)
	x, w := float32s(s.numbers(t, R*M, "x")), float32s(s.numbers(t, V*M, "w"))
	steep := rapid.SampledFrom([]float32{0, 0.125, 1, 4}).Draw(t, "steep") // 0: all logits are equal
	for i := range w {
		w[i] *= steep
	}
	p := Sampling{Seed: seed, Temperature: rapid.SampledFrom([]float32{1, 0.6, 0}).Draw(t, "temperature"), TopP: 1,
		Vocab: rapid.IntRange(0, V).Draw(t, "Vocab")}
	if rapid.IntRange(0, 4).Draw(t, "truncated") == 0 {
		p.TopP, p.TopK = 0.9, 20
	}
	h := headDrawOf(s.dev, x, w, s.dtype, keys, R, V, M)
	defer s.free(h.x, h.w, h.keys)
	ids, logp := h.drawn(t, s.dev, p, false)
	wantIDs, wantLogP := h.drawn(t, s.dev, p, true)
	if !slices.Equal(ids, wantIDs) || !slices.Equal(logp, wantLogP) {
		t.Fatalf("%+v: draws %v with %x, its parts %v with %x", p, ids, logp, wantIDs, wantLogP)
	}
}

func TestGPUDrawsFromTilesOfItsProduct(t *testing.T) { onEveryGPU(t, drawsFromTilesOfItsProduct) }

// By every tile, a draw is that from logits in memory: for flat rows, steep ones, rows of equals, one that is NaN; where a block takes
// several tiles of one row, and goes from one tile of rows to the next.
func drawsFromTilesOfItsProduct(t *testing.T, d *GPU) {
	if d.info.Multiprocessors != multiprocessors[0] {
		t.Skip("tiles are given here; with few multiprocessors a block takes several")
	}
	const R, V, M = 130, 1100, 24
	x, w := normals(1, R*M), normals(2, V*M)
	keys := make([]int32, 3*R)
	for i := range keys {
		keys[i] = int32(i * i)
	}
	for r := range R {
		scale := float32(r%8) / 4
		for i := range M {
			x[r*M+i] = roundBF16(x[r*M+i] * scale)
		}
	}
	x[5*M] = float32(math.NaN())
	h := headDrawOf(d, x, w, BF16, keys, R, V, M)
	defer func() { d.pick = d.choose }()
	for _, s := range []Sampling{{Seed: 9, Temperature: 0.6, TopP: 1, Vocab: V - 70}, {}} {
		d.pick = d.choose
		ids, logp := h.drawn(t, d, s, true)
		if slices.Max(ids) == slices.Min(ids) {
			t.Errorf("all rows draw %d", ids[0])
		}
		for _, tile := range tilesOf("draw", d.hopper) {
			takeTile(d, tile)
			if i, l := h.drawn(t, d, s, false); !slices.Equal(i, ids) || !slices.Equal(l, logp) {
				t.Errorf("%+v: %+v draws %v with %x, from logits in memory %v with %x", s, tile, i, l, ids, logp)
			}
		}
	}
}

// A draw keeps no logits, but 16 bytes for each 32 of them, written and read once.
func TestGPUDrawMovesFewBytes(t *testing.T) {
	for _, capability := range []int{80, 90} {
		d, dev := counting(t, capability)
		const R, V, M = 16, 4096, 16
		h := headDrawOf(d, normals(1, R*M), normals(2, V*M), BF16, make([]int32, 3*R), R, V, M)
		sectors := func(byParts bool) int {
			dev.Reset()
			h.drawn(t, d, Sampling{Temperature: 1, TopP: 1}, byParts)
			return int(dev.Counters().GlobalSectors)
		}
		sectors(true)
		parts, draw := sectors(true), sectors(false)
		t.Logf("sm_%d: %d sectors by parts, %d by Draw", capability, parts, draw)
		// By parts, logits are written, read for the log-sum-exp, where each half of a sector counts, and read for the draw.
		const logits = R * V * 4 / 32
		if draw > parts-5*logits+logits/2 {
			t.Errorf("sm_%d: Draw touches %d sectors, its parts %d: not less by those of logits", capability, draw, parts)
		}
	}
}
