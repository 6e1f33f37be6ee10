package kernels

import (
	"slices"
	"testing"

	"retool/kernels/emu"
)

// Bit tests over what decides which instructions multiply: tiles of products, sizes of heads, lengths of sequences.

// takeTile makes d multiply by a tile, whatever it costs.
func takeTile(d *GPU, tile tiling) {
	d.pick = func(_, _, _ int, _ []tiling) tiling { return tile }
}

// tileOf is the tile of a name and pairing.
func tileOf(name string, pair pairing) tiling {
	return hopperTiles[slices.IndexFunc(hopperTiles, func(t tiling) bool { return t.name == name && t.pair == pair })]
}

func TestGPUTilesDoNotChangeBits(t *testing.T) { onEveryGPU(t, tilesDoNotChangeBits) }

// One product by every tile there is, forward and both ways back: of Hopper's by m64n256, m64n128, m64n64 and m64n32. Whether these agree
// on hardware decides the numerics contract there: the queries, keys and values of a model of 0.5B are a product of n256 in training and of
// n32 in a decode step.
func tilesDoNotChangeBits(t *testing.T, d *GPU) {
	if d.info.Multiprocessors != multiprocessors[0] {
		t.Skip("tiles are given here, whatever would be chosen; with few multiprocessors a block takes several")
	}
	const T, N, M = 130, 520, 136 // the last tile of everything is ragged
	x, w, dy := upload(d, normals(1, T*M), T, M), upload(d, normals(2, N*M), N, M), upload(d, normals(3, T*N), T, N)
	bias := d.Alloc(F32, N)
	d.Upload(bias, normals(4, N))
	defer func() { d.pick = d.choose }()
	var y []float32
	for _, p := range []struct {
		name, kernel string
		m, n         int
		run          func(c Tensor)
	}{
		{"dx", "nn", T, M, func(c Tensor) { d.LinearBackward(c, Tensor{}, Tensor{}, dy, Tensor{}, w) }},
		{"dw", "tn", N, M, func(c Tensor) { d.LinearBackward(Tensor{}, c, Tensor{}, dy, x, Tensor{}) }},
		{"y", "nt", T, N, func(c Tensor) { d.Linear(c, x, w, bias) }},
	} {
		for i, tile := range tilesOf(p.kernel, d.hopper) {
			takeTile(d, tile)
			c := d.Alloc(F32, p.m, p.n)
			mustDo(t, d, func() { p.run(c) })
			if got := floats32(d, c); i == 0 {
				y = got
			} else if !slices.Equal(got, y) {
				t.Errorf("%s by tiles %+v differs from that by the largest", p.name, tile)
			}
		}
	}
	d.pick = d.choose
	few := d.Alloc(F32, fewRows, N)
	mustDo(t, d, func() { d.Linear(few, x.Rows(0, fewRows), w, bias) })
	if !slices.Equal(floats32(d, few), y[:fewRows*N]) {
		t.Errorf("the first %d rows alone differ from those of %d", fewRows, T)
	}
}

// heads are sizes and groups, of every size that has kernels; those of 64 and 128 have kernels of Hopper too.
var heads = []Heads{
	{Q: 4, KV: 2, Dim: 32, Chunk: 64}, {Q: 6, KV: 3, Dim: 64, Chunk: 64}, {Q: 2, KV: 1, Dim: 128, Chunk: 128}, {Q: 5, KV: 1, Dim: 16},
}

// ragged are lengths that fill no tile, one that fills one, one that is empty.
var ragged = []int{3, 0, 130, 64, 1}

// attentionGradient is what one call of AttentionBackward adds.
type attentionGradient struct{ dq, dk, dv []float32 }

func (g attentionGradient) equal(h attentionGradient) bool {
	return slices.Equal(g.dq, h.dq) && slices.Equal(g.dk, h.dk) && slices.Equal(g.dv, h.dv)
}

// attendBack runs attention over sequences side by side, forward and back.
func attendBack(t testing.TB, d *GPU, h Heads, starts []int32, q, k, v, do []float32) attentionGradient {
	T := int(starts[len(starts)-1])
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	st, o, lse := d.Alloc(I32, len(starts)), d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
	d.Upload(st, starts)
	qt, kt, vt, dot := upload(d, q, T, QD), upload(d, k, T, KD), upload(d, v, T, KD), upload(d, do, T, QD)
	dq, dk, dv := d.Alloc(F32, T, QD), d.Alloc(F32, T, KD), d.Alloc(F32, T, KD)
	mustDo(t, d, func() {
		d.Attention(o, lse, qt, kt, vt, st, h)
		d.AttentionBackward(dq, dk, dv, dot, o, lse, qt, kt, vt, st, h)
	})
	return attentionGradient{floats32(d, dq), floats32(d, dk), floats32(d, dv)}
}

func TestGPUGradientsDoNotSeeTheirBatch(t *testing.T) { onEveryGPU(t, gradientsDoNotSeeTheirBatch) }

// A sequence's gradients are the same alone and in a ragged batch, and the same twice.
func gradientsDoNotSeeTheirBatch(t *testing.T, d *GPU) {
	for _, h := range heads {
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		starts, T := startsOf(ragged)
		q, k, v, do := normals(1, T*QD), normals(2, T*KD), normals(3, T*KD), normals(4, T*QD)
		all := attendBack(t, d, h, starts, q, k, v, do)
		if !attendBack(t, d, h, starts, q, k, v, do).equal(all) {
			t.Errorf("%+v: two runs give different gradients", h)
		}
		for i, n := range ragged {
			if n == 0 {
				continue
			}
			cut := func(x []float32, width int) []float32 { return x[int(starts[i])*width : int(starts[i+1])*width] }
			one := attendBack(t, d, h, []int32{0, int32(n)}, cut(q, QD), cut(k, KD), cut(v, KD), cut(do, QD))
			if !slices.Equal(one.dq, cut(all.dq, QD)) || !slices.Equal(one.dk, cut(all.dk, KD)) || !slices.Equal(one.dv, cut(all.dv, KD)) {
				t.Errorf("%+v: gradients of the sequence of %d depend on the batch: dq %v dk %v dv %v", h, n,
					slices.Equal(one.dq, cut(all.dq, QD)), slices.Equal(one.dk, cut(all.dk, KD)), slices.Equal(one.dv, cut(all.dv, KD)))
			}
		}
	}
}

// The schedule of blocks and warps shows in no gradient, of either set of kernels.
func TestGPUSchedulesDoNotChangeGradients(t *testing.T) {
	for _, h := range heads {
		starts, T := startsOf(ragged)
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		q, k, v, do := normals(1, T*QD), normals(2, T*KD), normals(3, T*KD), normals(4, T*QD)
		for name, open := range map[string]func(seed uint64) *GPU{
			"sm_80":  func(seed uint64) *GPU { return emulated(t, emu.Options{Capability: 80, Seed: seed}) },
			"sm_90a": func(seed uint64) *GPU { return hopper(t, emu.Options{Seed: seed}) },
		} {
			want := attendBack(t, open(0), h, starts, q, k, v, do)
			if !attendBack(t, open(3), h, starts, q, k, v, do).equal(want) {
				t.Errorf("%s, %+v: a random schedule changes gradients", name, h)
			}
		}
	}
}

// By the stated cost, tiles are chosen that no other beats, every multiprocessor has work, and a decode step of 7B on 132 multiprocessors
// pulls no matrix through the second-level cache more than four times with 256 rows; what it computes for all products of a step is below
// half of what the rule that was there before comes to: the largest tiles of 128×256, 64×128 and 64×32 that give each multiprocessor one.
func TestGPUTilesAreChosenByCost(t *testing.T) {
	const processors = 132
	d := &GPU{}
	d.info.Multiprocessors = processors
	before := func(m, n int) tiling {
		for _, name := range []string{"_wgmma", "64_wgmma"} {
			if t := tileOf(name, alone); t.tiles(m, n) >= processors {
				return t
			}
		}
		return tileOf("32_wgmma", alone)
	}
	const hidden, ffn, heads = 3584, 18944, 3584
	step := []struct {
		name     string
		n, k, of int
	}{
		{"qkv", 4608, hidden, 28}, {"o", hidden, heads, 28}, {"gate, up", 2 * ffn, hidden, 28}, {"down", hidden, ffn, 28},
		{"head", 152064, hidden, 1},
	}
	for _, m := range []int{1, 32, 64, 128, 256, 512} {
		var was, is float64
		for _, p := range step {
			old, chosen := before(m, p.n), d.choose(m, p.n, p.k, hopperTiles)
			a, b := old.cost(m, p.n, p.k, processors), chosen.cost(m, p.n, p.k, processors)
			was, is = was+float64(p.of)*a.cycles, is+float64(p.of)*b.cycles
			t.Logf("m %3d %-8s %3d×%-3d %d %2d waves %5.0f MB of L2 %5.1f µs   was %3d×%-3d %2d waves %5.0f MB %5.1f µs", m, p.name, chosen.rows,
				chosen.cols, chosen.pair, b.waves, b.l2Bytes/1e6, b.cycles/1700, old.rows, old.cols, a.waves, a.l2Bytes/1e6, a.cycles/1700)
			for _, other := range hopperTiles {
				if c := other.cost(m, p.n, p.k, processors); c.cycles < b.cycles {
					t.Errorf("m %d, %s: %v is chosen, %v is cheaper", m, p.name, chosen, other)
				}
			}
			if matrix := float64(2 * p.n * p.k); m == 256 && b.l2Bytes > 8*matrix {
				t.Errorf("%s: %d rows pull %.0f times its bytes through the cache", p.name, m, b.l2Bytes/matrix)
			}
		}
		t.Logf("m %3d: products of a step %.2f ms, were %.2f", m, is/17e5, was/17e5)
		if m == 256 && is > 0.5*was {
			t.Errorf("256 rows: %.2f of the time before", is/was)
		}
	}
}
