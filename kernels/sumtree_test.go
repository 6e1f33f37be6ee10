package kernels

import (
	"slices"

	"pgregory.net/rapid"
)

// refSumTree is the tree in float32: neighbours are added, until one number is left.
func refSumTree(x []float32) float32 {
	for len(x) > 1 {
		var next []float32
		for i := 0; i+1 < len(x); i += 2 {
			next = append(next, x[i]+x[i+1])
		}
		if len(x)%2 == 1 {
			next = append(next, x[len(x)-1])
		}
		x = next
	}
	return x[0]
}

func checkSumTreeOp(t *rapid.T, s *subject) {
	R := rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(10, MaxTree)).Draw(t, "R")
	n := rapid.IntRange(1, 40).Draw(t, "n")
	if rapid.IntRange(0, 9).Draw(t, "wide") == 0 {
		n += 2100
	}
	x := s.numbersOf(t, F32, R*n, "x")
	want := make([]float64, n)
	for c := range want {
		column := make([]float32, R)
		for r := range column {
			column[r] = float32(x[r*n+c])
		}
		want[c] = float64(refSumTree(column))
	}
	xt, y := s.placeOf(t, F32, x, R, n), s.vector(F32, make([]float64, n))
	s.do(t, func() { s.dev.SumTree(y, xt) })
	got := s.read(y)
	if !slices.Equal(got, want) {
		t.Fatalf("the sum of %d rows is %v, over the tree %v", R, got, want)
	}
	if R%2 == 0 && R&(R-1) == 0 { // halves first, then their sums; and into a row of x itself
		halves := s.vector(F32, make([]float64, 2*n)).Reshape(2, n)
		s.do(t, func() {
			for i := range 2 {
				s.dev.SumTree(halves.Rows(i, i+1).Reshape(n), xt.Rows(i*R/2, (i+1)*R/2))
			}
			s.dev.SumTree(halves.Rows(0, 1).Reshape(n), halves)
		})
		if got := s.read(halves.Rows(0, 1)); !slices.Equal(got, want) {
			t.Fatalf("the sum of halves of %d rows is %v, over the tree %v", R, got, want)
		}
		s.free(halves)
	}
	s.free(xt, y)
}
