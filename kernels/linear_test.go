package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// refLinear is y = x·wᵀ + b.
func refLinear(x, w, b []float64, T, N, M int) []float64 {
	y := make([]float64, T*N)
	for t := range T {
		for n := range N {
			sum := dot64(x[t*M:(t+1)*M], w[n*M:(n+1)*M])
			if b != nil {
				sum += b[n]
			}
			y[t*N+n] = sum
		}
	}
	return y
}

// sizes draws multiples of 8: bf16 rows of a GPU stand on 16-byte borders. An f32 device also gets the others.
func (s *subject) size(t *rapid.T, most int, label string) int {
	if s.dtype == BF16 {
		return 8 * rapid.IntRange(1, (most+7)/8).Draw(t, label)
	}
	return rapid.IntRange(1, most).Draw(t, label)
}

func checkLinearOp(t *rapid.T, s *subject) {
	T := rapid.IntRange(1, 70).Draw(t, "T")
	N, M := s.size(t, 90, "N"), s.size(t, 80, "M")
	if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
		M = s.size(t, 1500, "M")
	}
	x, w := s.numbers(t, T*M, "x"), s.numbers(t, N*M, "w")
	y, xt, wt := s.place(t, make([]float64, T*N), T, N), s.place(t, x, T, M), s.place(t, w, N, M)
	var b []float64
	var bt Tensor
	if rapid.Bool().Draw(t, "bias") {
		b = s.numbers(t, N, "b")
		bt = s.vector(s.dtype, b)
	}
	s.do(t, func() { s.dev.Linear(y, xt, wt, bt) })
	s.near(t, "y", s.read(y), refLinear(x, w, b, T, N, M), 1+float64(M)/500) // a long chain rounds at sizes that its end need not have
	s.free(y, xt, wt, bt)
}

func checkLinearBackwardOp(t *rapid.T, s *subject) {
	T := rapid.IntRange(1, 70).Draw(t, "T")
	N, M := s.size(t, 90, "N"), s.size(t, 80, "M")
	if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
		T = rapid.IntRange(1, 500).Draw(t, "T")
	}
	x, w, dy := s.numbers(t, T*M, "x"), s.numbers(t, N*M, "w"), s.numbers(t, T*N, "dy")
	b := make([]float64, N)
	dx, dw, db := s.numbers(t, T*M, "dx"), s.numbersOf(t, F32, N*M, "dw"), s.numbersOf(t, F32, N, "db")
	xt, wt, dyt := s.place(t, x, T, M), s.place(t, w, N, M), s.place(t, dy, T, N)
	dxt, dwt, dbt := s.place(t, dx, T, M), s.placeOf(t, F32, dw, N, M), s.vector(F32, db)
	absent := rapid.IntRange(0, 4).Draw(t, "absent")
	give := func(i int, x Tensor) Tensor {
		if i == absent {
			return Tensor{}
		}
		return x
	}
	toX, toW := dxt, dwt
	if absent != 0 {
		toX = s.maybeFresh(t, dxt, dx)
	}
	if absent != 1 {
		toW = s.maybeFresh(t, dwt, dw)
	}
	s.do(t, func() { s.dev.LinearBackward(give(0, toX), give(1, toW), give(2, dbt), dyt, give(1, xt), give(0, wt)) })
	loss := func() float64 { return dot64(dy, refLinear(x, w, b, T, N, M)) }
	for i, g := range []struct {
		name         string
		dt           Tensor
		before, with []float64
	}{{"dx", dxt, dx, x}, {"dw", dwt, dw, w}, {"db", dbt, db, b}} {
		if got := s.read(g.dt); i == absent {
			s.near(t, g.name+" (absent)", got, g.before, 0)
		} else {
			s.nearGradient(t, g.name, got, g.before, g.with, 4, loss)
		}
	}
	s.free(xt, wt, dyt, dxt, dwt, dbt)
}

// What is written Fresh has the bits of what is added to zeros, on every device and in every type; of no rows it is zeros. Elsewhere Fresh
// is refused.
func checkFresh(t *testing.T, d Device, rows int) {
	for _, c := range []struct {
		T, N, M int
		dtype   DType
	}{{70, 40, 136, F32}, {20, 40, 136, BF16}, {0, 8, 16, F32}, {rows, 24, 1100, F32}} {
		dy, x, w := upload(d, normals(1, c.T*c.N), c.T, c.N), upload(d, normals(2, c.T*c.M), c.T, c.M), upload(d, normals(3, c.N*c.M), c.N, c.M)
		dx, dw, gate := d.Alloc(c.dtype, c.T, c.M), d.Alloc(c.dtype, c.N, c.M), d.Alloc(c.dtype, c.T, c.N)
		run := func(as func(Tensor) Tensor) (all []float32) {
			mustDo(t, d, func() {
				d.LinearBackward(as(dx), as(dw), Tensor{}, dy, x, w)
				d.SwiGLUBackward(as(gate), Tensor{}, dy, dy, dy)
			})
			for _, g := range []Tensor{dx, dw, gate} {
				all = append(all, floats32(d, g)...)
			}
			return all
		}
		added := run(func(g Tensor) Tensor { return g })
		if written := run(Tensor.Fresh); !slices.Equal(written, added) { // over what was added
			t.Errorf("%+v: written and added differ", c)
		}
		if c.T > 0 && slices.Equal(run(func(g Tensor) Tensor { return g }), added) {
			t.Errorf("%+v: adding once more changes nothing", c)
		}
	}
	for _, h := range []Heads{{Q: 4, KV: 2, Dim: 64}, {Q: 6, KV: 3, Dim: 32}} { // in parts that are added up, and at once
		checkFreshOfHeads(t, d, h)
	}
	x, v := d.Alloc(BF16, 2, 8), d.Alloc(F32, 8)
	mustPanic(t, func() { d.Do(func() { d.RMSNormBackward(x, v.Fresh(), x, x, v, d.Alloc(F32, 2)) }) }, "RMSNormBackward", "Fresh")
}

// checkFreshOfHeads is checkFresh of attention, whose gradients are columns of one matrix, and of norms of its heads.
func checkFreshOfHeads(t *testing.T, d Device, h Heads) {
	const T = 70
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	x, lse, starts := upload(d, normals(4, T*(QD+2*KD)), T, QD+2*KD), d.Alloc(F32, T, h.Q), d.Alloc(I32, 2)
	d.Upload(starts, []int32{0, T})
	q, k, v, w, rstd := x.Cols(0, QD), x.Cols(QD, QD+KD), x.Cols(QD+KD, QD+2*KD), d.Alloc(BF16, h.Dim), d.Alloc(F32, T, h.KV)
	d.Upload(w, normals(5, h.Dim))
	d.Upload(rstd, slices.Repeat([]float32{0.5}, T*h.KV))
	for _, dtype := range []DType{F32, BF16} {
		dx, dn := d.Alloc(dtype, T, QD+2*KD), d.Alloc(dtype, T, QD+KD)
		run := func(as func(Tensor) Tensor) []float32 {
			mustDo(t, d, func() {
				d.AttentionBackward(as(dx.Cols(0, QD)), as(dx.Cols(QD, QD+KD)), as(dx.Cols(QD+KD, QD+2*KD)), q, q, lse, q, k, v, starts, h)
				d.RMSNormBackward(as(dn.Cols(QD, QD+KD).Split(h.Dim)), Tensor{}, k.Split(h.Dim), k.Split(h.Dim), w, rstd)
			})
			return append(floats32(d, dx), floats32(d, dn)...)
		}
		added := run(func(g Tensor) Tensor { return g })
		if written := run(Tensor.Fresh); !slices.Equal(written, added) {
			t.Errorf("%+v %v: written and added differ", h, dtype)
		}
	}
}

func TestFreshIsWrittenAsIfAddedToZeros(t *testing.T) {
	for _, s := range cpus(t) {
		checkFresh(t, s.dev, 300)
	}
}

func TestGPUFreshIsWrittenAsIfAddedToZeros(t *testing.T) {
	onEveryGPU(t, func(t *testing.T, d *GPU) { checkFresh(t, d, 3) })
}

// A sum of many terms rounds little: it is cut into chains. One chain of so many numbers of one sign would be off by some 50 units of
// 2⁻²⁴, in the root of the mean square; these by less than 20.
func TestLongSumsRoundLittle(t *testing.T) {
	const T, N, M = 3, 40, 1 << 16
	r := rand.New(rand.NewPCG(1, 2))
	x, w := make([]float32, T*M), make([]float32, N*M)
	for _, a := range [][]float32{x, w} {
		for i := range a {
			a[i] = r.Float32()
		}
	}
	for _, v := range variants() {
		d := newCPU(2, v)
		xt, wt, yt := d.Alloc(F32, T, M), d.Alloc(F32, N, M), d.Alloc(F32, T, N)
		require.NoError(t, d.Do(func() { d.Upload(xt, x); d.Upload(wt, w); d.Linear(yt, xt, wt, Tensor{}) }))
		y := make([]float32, T*N)
		d.Download(y, yt)
		square := 0.0
		for i, got := range y {
			want := 0.0
			for k := range M {
				want += float64(x[i/N*M+k]) * float64(w[i%N*M+k])
			}
			square += math.Pow((float64(got)-want)/want, 2)
		}
		require.Less(t, math.Sqrt(square/T/N)*(1<<24), 20.0, v.name)
		d.Close()
	}
}
