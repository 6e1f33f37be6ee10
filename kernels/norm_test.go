package kernels

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels/emu"
)

// refRMSNorm is w · x/√(mean(x²)+eps) and 1/√(…) for rows of C.
func refRMSNorm(x, w []float64, eps float64) (y, rstd []float64) {
	C := len(w)
	for i := 0; i < len(x); i += C {
		row := x[i : i+C]
		r := 1 / math.Sqrt(dot64(row, row)/float64(C)+eps)
		rstd = append(rstd, r)
		for c := range C {
			y = append(y, w[c]*row[c]*r)
		}
	}
	return y, rstd
}

// normShape draws (T,C), or (T,H,D) as a view of a matrix.
func (s *subject) normShape(t *rapid.T) (T, H, C int, split func(Tensor) Tensor) {
	T, H, C = rapid.IntRange(1, 90).Draw(t, "T"), 1, s.size(t, 150, "C")
	if rapid.Bool().Draw(t, "heads") {
		H, C = rapid.IntRange(1, 4).Draw(t, "H"), s.size(t, 40, "D")
		return T, H, C, func(x Tensor) Tensor { return x.Split(C) }
	}
	return T, H, C, func(x Tensor) Tensor { return x }
}

func checkRMSNormOp(t *rapid.T, s *subject) {
	T, H, C, split := s.normShape(t)
	x, w := s.numbers(t, T*H*C, "x"), s.numbers(t, C, "w")
	xt, y, wt := s.place(t, x, T, H*C), s.place(t, x, T, H*C), s.vector(s.dtype, w)
	var add Tensor
	if rapid.Bool().Draw(t, "add") {
		by := s.numbers(t, T*H*C, "by")
		add = split(s.place(t, by, T, H*C))
		for i := range x {
			x[i] = rounded(s.dtype, x[i]+by[i])
		}
	}
	want, wantR := refRMSNorm(x, w, 1e-6)
	r := s.dev.Alloc(F32, T*H)
	if H > 1 {
		r = r.Reshape(T, H)
	}
	s.do(t, func() { s.dev.RMSNorm(split(y), r, split(xt), add, wt, 1e-6) })
	s.near(t, "y", s.read(y), want, 1)
	s.near(t, "rstd", s.read(r), wantR, 1)
	s.near(t, "x", s.read(xt), x, 0)
	fused := s.read(y)
	s.do(t, func() { s.dev.RMSNorm(split(y), Tensor{}, split(xt), Tensor{}, wt, 1e-6) })
	s.near(t, "y of the sum", s.read(y), fused, 0)
	s.free(xt, y, wt, r)
	if !add.Absent() {
		s.free(add)
	}
}

func checkRMSNormBackwardOp(t *rapid.T, s *subject) {
	T, H, C, split := s.normShape(t)
	x, w, dy := s.numbers(t, T*H*C, "x"), s.numbers(t, C, "w"), s.numbers(t, T*H*C, "dy")
	dx, dw := s.numbers(t, T*H*C, "dx"), s.numbersOf(t, F32, C, "dw")
	for i := range x { // a short row of small numbers has a gradient of no accuracy
		x[i] = rounded(s.dtype, x[i]+math.Copysign(0.5, x[i]))
	}
	_, rstd := refRMSNorm(x, w, 1e-6)
	xt, wt, dyt, rt := s.place(t, x, T, H*C), s.vector(s.dtype, w), s.place(t, dy, T, H*C), s.vector(F32, rstd)
	if H > 1 {
		rt = rt.Reshape(T, H)
	}
	dxt, dwt := s.place(t, dx, T, H*C), s.vector(F32, dw)
	dxt = s.maybeFresh(t, dxt, dx)
	s.do(t, func() { s.dev.RMSNormBackward(split(dxt), dwt, split(dyt), split(xt), wt, rt) })
	loss := func() float64 {
		y, _ := refRMSNorm(x, w, 1e-6)
		return dot64(dy, y)
	}
	s.nearGradient(t, "dx", s.read(dxt.Written()), dx, x, 4, loss)
	s.nearGradient(t, "dw", s.read(dwt), dw, w, 4, loss)
	s.free(xt, wt, dyt, rt, dxt, dwt)
}

// Rows of more slabs than one, as long as a warp takes, longer, and longer than a block keeps sums of, with and without dx.
func TestGPUNormGradientsOfManyLongRows(t *testing.T) {
	d := emulated(t, emu.Options{Capability: 80})
	for _, c := range []struct{ T, C int }{{70, 1024}, {35, 1032}, {18, 6400}} {
		x, dy, w := normals(1, c.T*c.C), normals(2, c.T*c.C), normals(3, c.C)
		want := make([]float64, c.C)
		rstd := make([]float32, c.T)
		for r := range c.T {
			square := 0.0
			for _, v := range x[r*c.C : (r+1)*c.C] {
				square += float64(v) * float64(v)
			}
			rstd[r] = float32(1 / math.Sqrt(square/float64(c.C)))
			for i := range c.C {
				want[i] += float64(dy[r*c.C+i]) * float64(x[r*c.C+i]) * float64(rstd[r])
			}
		}
		xt, dyt, wt, rt := upload(d, x, c.T, c.C), upload(d, dy, c.T, c.C), upload(d, w, 1, c.C).Reshape(c.C), d.Alloc(F32, c.T)
		d.Upload(rt, rstd)
		var with []float32
		for _, dx := range []Tensor{d.Alloc(F32, c.T, c.C), {}} {
			dw := d.Alloc(F32, c.C)
			mustDo(t, d, func() { d.RMSNormBackward(dx, dw, dyt, xt, wt, rt) })
			got := floats32(d, dw)
			for i, g := range got {
				if math.Abs(float64(g)-want[i]) > 1e-4 || dx.Absent() && g != with[i] {
					t.Fatalf("%v: dw[%d] is %v, want %v", c, i, g, want[i])
				}
			}
			with = got
		}
	}
}
