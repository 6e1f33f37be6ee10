package kernels

import (
	"slices"
	"testing"

	"retool/kernels/emu"
)

// Bit tests over what decides which instructions multiply: tiles of products, sizes of heads, lengths of sequences.

func TestGPUTilesDoNotChangeBits(t *testing.T) { onEveryGPU(t, tilesDoNotChangeBits) }

// One product by every tile there is, forward and both ways back: of Hopper's by m64n256, m64n128 and m64n32. Whether these agree on
// hardware decides the numerics contract there: the queries, keys and values of a model of 0.5B are a product of n256 in training and of
// n32 in a decode step.
func tilesDoNotChangeBits(t *testing.T, d *GPU) {
	const T, N, M = 130, 520, 136 // the last tile of everything is ragged
	x, w, dy := upload(d, normals(1, T*M), T, M), upload(d, normals(2, N*M), N, M), upload(d, normals(3, T*N), T, N)
	bias := d.Alloc(F32, N)
	d.Upload(bias, normals(4, N))
	was := d.info.Multiprocessors
	defer chooseFor(d, was)
	// by is the product of m rows and n columns by the tile that d is made to choose.
	by := func(m, n int, of []tiling, i int, run func(c Tensor)) []float32 {
		chooseFor(d, 1)
		if i > 0 {
			chooseFor(d, of[i-1].tiles(m, n)+1)
		}
		if got := d.choose(m, n, of); got.name != of[i].name {
			t.Fatalf("tiles %q are chosen for %d×%d, want %q", got.name, m, n, of[i].name)
		}
		c := d.Alloc(F32, m, n)
		mustDo(t, d, func() { run(c) })
		return floats32(d, c)
	}
	forward, back := portableTiles, portableTiles[:1]
	if d.hopper {
		forward, back = hopperTiles, hopperTiles[:2]
	}
	var y []float32
	for _, p := range []struct {
		name string
		m, n int
		of   []tiling
		run  func(c Tensor)
	}{
		{"dx", T, M, back, func(c Tensor) { d.LinearBackward(c, Tensor{}, Tensor{}, dy, Tensor{}, w) }},
		{"dw", N, M, back, func(c Tensor) { d.LinearBackward(Tensor{}, c, Tensor{}, dy, x, Tensor{}) }},
		{"y", T, N, forward, func(c Tensor) { d.Linear(c, x, w, bias) }},
	} {
		y = by(p.m, p.n, p.of, 0, p.run)
		for i := range p.of {
			if !slices.Equal(by(p.m, p.n, p.of, i, p.run), y) {
				t.Errorf("%s by tiles of %d×%d differs from that by %d×%d", p.name, p.of[i].rows, p.of[i].cols, p.of[0].rows, p.of[0].cols)
			}
		}
	}
	few := d.Alloc(F32, fewRows, N) // by the portable tiles of 16 rows
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
