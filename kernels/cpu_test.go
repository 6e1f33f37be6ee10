package kernels

import (
	"pgregory.net/rapid"
)

func checkCopy(t *rapid.T, s *subject) {
	R, C := rapid.IntRange(1, 9).Draw(t, "R"), s.size(t, 40, "C")
	x := s.numbersOf(t, F32, R*C, "x")
	src := s.placeOf(t, F32, x, R, C)
	dst, back := s.placeOf(t, BF16, x, R, C), s.placeOf(t, F32, x, R, C)
	s.do(t, func() {
		s.dev.Zero(dst)
		s.dev.Copy(dst, src)
		s.dev.Copy(back, dst)
	})
	for i := range x {
		x[i] = rounded(BF16, x[i])
	}
	s.near(t, "bf16", s.read(dst), x, 0)
	s.near(t, "f32 again", s.read(back), x, 0)
	s.do(t, func() { s.dev.Zero(dst) })
	s.near(t, "zeros", s.read(dst), make([]float64, R*C), 0)
	s.free(src, dst, back)
}
