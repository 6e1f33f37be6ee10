package kernels

import (
	"math"
	"slices"
	"testing"

	"retool/kernels/emu"
)

// The products of Hopper's tensor cores against the portable ones, through copies by tensor maps, for sizes that fill no tile, gradients of
// bf16 and of f32; rows do not see each other.
func TestGPUHopperLinearAgreesWithThePortable(t *testing.T) {
	portable := emulated(t, emu.Options{Capability: 80})
	if err := portable.Hopper(); err == nil {
		t.Error("sm_80 takes the kernels of Hopper")
	}
	for _, c := range []struct{ T, N, M int }{{1, 8, 8}, {130, 136, 72}, {100, 64, 456}, {7, 200, 128}, {300, 264, 136}} {
		run := func(d *GPU, T int) (y, dx, dw []uint16) {
			x, w, yt := upload(d, normals(1, c.T*c.M), c.T, c.M).Rows(0, T), upload(d, normals(2, c.N*c.M), c.N, c.M), d.Alloc(BF16, T, c.N)
			b, dy, exact := d.Alloc(F32, c.N), d.Alloc(BF16, c.T, c.N), d.Alloc(F32, c.T, c.N)
			d.Upload(b, normals(3, c.N))
			d.Upload(exact, normals(4, c.T*c.N))
			dxt, dwt := d.Alloc(BF16, T, c.M), d.Alloc(BF16, c.N, c.M)
			mustDo(t, d, func() {
				d.Linear(yt, x, w, b)
				d.Copy(dy, exact)
				d.LinearBackward(dxt, dwt, Tensor{}, dy.Rows(0, T), x, w)
				d.LinearBackward(dxt, Tensor{}, Tensor{}, exact.Rows(0, T), Tensor{}, w)
			})
			return bits16(d, yt), bits16(d, dxt), bits16(d, dwt)
		}
		for seed := range uint64(3) {
			d := emulated(t, emu.Options{Capability: 90, Seed: seed})
			if err := d.Hopper(); err != nil {
				t.Fatal(err)
			}
			y, dx, dw := run(d, c.T)
			// The emulator adds both in the same order: here even the bits agree.
			if py, pdx, pdw := run(portable, c.T); !slices.Equal(y, py) || !slices.Equal(dx, pdx) || !slices.Equal(dw, pdw) {
				t.Errorf("%v, schedule %d: y, dx or dw differ from the portable products: %v %v %v", c, seed, slices.Equal(y, py),
					slices.Equal(dx, pdx), slices.Equal(dw, pdw))
			}
			T := c.T/2 + 1
			if fewY, fewX, _ := run(d, T); !slices.Equal(fewY, y[:T*c.N]) || !slices.Equal(fewX, dx[:T*c.M]) {
				t.Errorf("%v: rows among %d differ from those among %d", c, T, c.T)
			}
		}
	}
}

// startsOf says where sequences of some lengths begin, and how many tokens they have.
func startsOf(lengths []int) (starts []int32, T int) {
	starts = []int32{0}
	for _, n := range lengths {
		T += n
		starts = append(starts, int32(T))
	}
	return starts, T
}

// Attention of Hopper's tensor cores against the portable one: same tiles of keys, same steps, and in the emulator the same bits, for any
// group of heads, in every schedule. Sequences stand side by side; what stands after the last one is NaN, and a NaN of one does not reach
// another.
func TestGPUHopperAttentionAgreesWithThePortable(t *testing.T) {
	for _, c := range []struct {
		h       Heads
		lengths []int
	}{
		{Heads{Q: 1, KV: 1, Dim: 64, Chunk: 0}, []int{130, 1}},
		{Heads{Q: 14, KV: 2, Dim: 64, Chunk: 64}, []int{5, 64, 0, 70}},
		{Heads{Q: 5, KV: 1, Dim: 128, Chunk: 128}, []int{63, 150}},
		{Heads{Q: 6, KV: 1, Dim: 128, Chunk: 64}, []int{65}},
	} {
		h, QD, KD := c.h, c.h.Q*c.h.Dim, c.h.KV*c.h.Dim
		starts, T := startsOf(c.lengths)
		nan := 0 // the last token's values
		run := func(d *GPU) ([]uint16, []float32) {
			st, o, lse := d.Alloc(I32, len(starts)), d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
			d.Upload(st, starts)
			q, k, v := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, (T+3)*KD), T+3, KD), upload(d, normals(3, (T+3)*KD), T+3, KD)
			bad := make([]float32, (3+nan)*KD)
			for i := range bad {
				bad[i] = float32(math.NaN())
			}
			d.Upload(v.Rows(T-nan, T+3), bad)
			d.Upload(k.Rows(T, T+3), bad[:3*KD])
			mustDo(t, d, func() { d.Attention(o, lse, q, k.Rows(0, T), v.Rows(0, T), st, h) })
			return bits16(d, o), floats32(d, lse)
		}
		o, lse := run(emulated(t, emu.Options{Capability: 80}))
		for seed := range uint64(3) {
			got, gotLSE := run(hopper(t, emu.Options{Seed: seed}))
			if !slices.Equal(got, o) || !slices.Equal(gotLSE, lse) {
				t.Errorf("%+v %v, schedule %d: differs from the portable attention", h, c.lengths, seed)
			}
		}
		if len(c.lengths) < 2 || c.lengths[len(c.lengths)-1] == 0 {
			continue
		}
		nan = 1
		got, _ := run(hopper(t, emu.Options{}))
		if n := int(starts[len(starts)-2]) * QD; !slices.Equal(got[:n], o[:n]) {
			t.Errorf("%+v %v: NaN in the last sequence changes those before it", h, c.lengths)
		}
	}
}

// The gradients against the portable ones: dq in the same bits; dk and dv too where a group is one head, else they add the rows in another
// order. A NaN of the last sequence does not reach those before it.
func TestGPUHopperAttentionGradientsAgreeWithThePortable(t *testing.T) {
	for _, c := range []struct {
		h       Heads
		lengths []int
	}{
		{Heads{Q: 1, KV: 1, Dim: 64}, []int{130, 1}},
		{Heads{Q: 6, KV: 2, Dim: 64}, []int{5, 64, 0, 70}},
		{Heads{Q: 3, KV: 1, Dim: 128}, []int{63, 150}},
		{Heads{Q: 2, KV: 2, Dim: 128}, []int{200}},
		{Heads{Q: 2, KV: 1, Dim: 64}, []int{330, 64}},
	} {
		h, QD, KD := c.h, c.h.Q*c.h.Dim, c.h.KV*c.h.Dim
		starts, T := startsOf(c.lengths)
		run := func(d *GPU, bad int) (dq, dk, dv []float32) { // bad: the last tokens are NaN
			st, o, lse := d.Alloc(I32, len(starts)), d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
			d.Upload(st, starts)
			q, k, v, do := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, T*KD), T, KD), upload(d, normals(3, T*KD), T, KD),
				upload(d, normals(4, T*QD), T, QD)
			for _, x := range []Tensor{q, k, v, do} {
				if rest := x.Rows(T-bad, T); bad > 0 {
					d.Upload(rest, slices.Repeat([]float32{float32(math.NaN())}, rest.Len()))
				}
			}
			dqt, dkt, dvt := d.Alloc(F32, T, QD), d.Alloc(F32, T, KD), d.Alloc(F32, T, KD)
			mustDo(t, d, func() {
				d.Attention(o, lse, q, k, v, st, h)
				d.AttentionBackward(dqt, dkt, dvt, do, o, lse, q, k, v, st, h)
			})
			return floats32(d, dqt), floats32(d, dkt), floats32(d, dvt)
		}
		dq, dk, dv := run(emulated(t, emu.Options{Capability: 80}), 0)
		near := func(a, b []float32) bool {
			top := float32(0)
			for _, x := range b {
				top = max(top, x, -x)
			}
			for i := range a {
				if d := a[i] - b[i]; !(max(d, -d) <= 1e-5*top) {
					return false
				}
			}
			return h.Q > h.KV || slices.Equal(a, b)
		}
		var hk, hv []float32
		for seed := range uint64(2) {
			hq, k, v := run(hopper(t, emu.Options{Seed: seed}), 0)
			if !slices.Equal(hq, dq) || !near(k, dk) || !near(v, dv) {
				t.Errorf("%+v %v, schedule %d: differs from the portable gradients: dq %v dk %v dv %v", h, c.lengths, seed, slices.Equal(hq, dq),
					near(k, dk), near(v, dv))
			}
			if seed > 0 && (!slices.Equal(k, hk) || !slices.Equal(v, hv)) {
				t.Errorf("%+v %v: the schedule shows in the gradients", h, c.lengths)
			}
			hk, hv = k, v
		}
		last := c.lengths[len(c.lengths)-1]
		q, k, v := run(hopper(t, emu.Options{}), last)
		if n := T - last; !slices.Equal(q[:n*QD], dq[:n*QD]) || !slices.Equal(k[:n*KD], hk[:n*KD]) || !slices.Equal(v[:n*KD], hv[:n*KD]) {
			t.Errorf("%+v %v: NaN in the last sequence changes those before it", h, c.lengths)
		}
	}
}
