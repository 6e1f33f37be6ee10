package kernels

import "pgregory.net/rapid"

func checkEmbedOp(t *rapid.T, s *subject) {
	T, N := rapid.IntRange(1, 60).Draw(t, "T"), rapid.IntRange(1, 20).Draw(t, "N")
	C := s.size(t, 80, "C")
	table, dy := s.numbers(t, N*C, "table"), s.numbers(t, T*C, "dy")
	before := s.numbersOf(t, F32, N*C, "dtable")
	ids := make([]int32, T)
	rng := newRand(rapid.Uint64().Draw(t, "ids"))
	for i := range ids {
		ids[i] = int32(rng.below(N))
	}
	want, wantGrad := make([]float64, T*C), append([]float64(nil), before...)
	for i, id := range ids {
		copy(want[i*C:(i+1)*C], table[int(id)*C:])
		for c := range C {
			wantGrad[int(id)*C+c] += dy[i*C+c]
		}
	}
	tt, y, dyt, dt, it := s.place(t, table, N, C), s.place(t, make([]float64, T*C), T, C), s.place(t, dy, T, C),
		s.placeOf(t, F32, before, N, C), s.ints(ids)
	s.do(t, func() {
		s.dev.Embed(y, tt, it)
		s.dev.EmbedBackward(dt, dyt, it)
	})
	s.near(t, "y", s.read(y), want, 0)
	s.near(t, "dtable", s.read(dt), wantGrad, 1)
	s.free(tt, y, dyt, dt, it)
}
