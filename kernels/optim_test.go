package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func checkSumSquaresOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(0, 2).Draw(t, "whole tiles")*SumTile + rapid.IntRange(1, 9000).Draw(t, "n")
	x := s.numbersOf(t, F32, n, "x")
	want := make([]float64, SumTiles(n))
	for i := range want {
		part := x[i*SumTile : min((i+1)*SumTile, n)]
		want[i] = dot64(part, part)
	}
	xt, out := s.vector(F32, x), s.vector(F32, make([]float64, len(want)))
	s.do(t, func() { s.dev.SumSquares(out, xt) })
	s.near(t, "Σ x²", s.read(out), want, 1)

	// A part that begins with a tile has the bits of the whole there.
	from := rapid.IntRange(0, len(want)-1).Draw(t, "part")
	some := s.vector(F32, make([]float64, len(want)-from))
	s.do(t, func() { s.dev.SumSquares(some, xt.Rows(from*SumTile, n)) })
	if !slices.Equal(s.read(some), s.read(out)[from:]) {
		t.Fatalf("tiles from %d on are %v, of all numbers %v", from, s.read(some), s.read(out))
	}
	s.free(xt, out, some)
}

// refAdamW is one update of Loshchilov 2019, algorithm 2, with weights decayed by the learning rate.
func refAdamW(w, g, m, v []float64, a AdamWStep) {
	b1, b2 := float64(a.Beta1), float64(a.Beta2)
	for i := range w {
		d := g[i] * float64(a.Scale)
		m[i] = b1*m[i] + (1-b1)*d
		v[i] = b2*v[i] + (1-b2)*d*d
		mh, vh := m[i]/(1-math.Pow(b1, float64(a.Step))), v[i]/(1-math.Pow(b2, float64(a.Step)))
		w[i] -= float64(a.LR) * (mh/(math.Sqrt(vh)+float64(a.Eps)) + float64(a.WeightDecay)*w[i])
	}
}

func checkAdamWOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(1, 3000).Draw(t, "n")
	a := AdamWStep{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: rapid.SampledFrom([]float32{0, 0.1}).Draw(t, "decay"),
		Scale: 0.7, Step: rapid.IntRange(1, 1000).Draw(t, "step")}
	w, g, m, v := s.numbersOf(t, F32, n, "w"), s.numbersOf(t, F32, n, "g"), s.numbersOf(t, F32, n, "m"), s.numbersOf(t, F32, n, "v")
	for i := range v {
		v[i] = math.Abs(v[i])
	}
	gt, mt, vt := s.vector(F32, g), s.vector(F32, m), s.vector(F32, v)
	wt, master := s.vector(s.dtype, w), Tensor{}
	if s.dtype == BF16 {
		master = s.vector(F32, w)
	}
	s.do(t, func() { s.dev.AdamW(wt, master, gt, mt, vt, a) })
	refAdamW(w, g, m, v, a)
	s.near(t, "m", s.read(mt), m, 1)
	s.near(t, "v", s.read(vt), v, 1)
	if s.dtype == BF16 {
		s.near(t, "master", s.read(master), w, 1)
		for i := range w {
			w[i] = rounded(BF16, w[i])
		}
	}
	s.near(t, "w", s.read(wt), w, 1)
	s.free(wt, master, gt, mt, vt)
}

// bitsOfFloats draws float32 numbers by their bits: any, ties between two of bf16, the largest, those that are none.
func bitsOfFloats(t *rapid.T, n int) []float32 {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "bits"), 0))
	x := make([]float32, n)
	for i := range x {
		b := r.Uint32()
		switch r.IntN(8) {
		case 0:
			b = b&0xffff0000 | 0x8000
		case 1:
			b |= 0x7f800000
		case 2:
			b = b&0x80000000 | 0x7f7fffff - b&3
		}
		x[i] = math.Float32frombits(b)
	}
	return x
}

func sameNumber(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Halves are all of a float32 number, whatever its bits, and the higher one is the number rounded: no number of bf16 is nearer.
func checkSplitOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(1, 5000).Draw(t, "n")
	x := bitsOfFloats(t, n)
	all, w, low := s.dev.Alloc(F32, n), s.dev.Alloc(BF16, n), s.dev.Alloc(BF16, n)
	from := rapid.SampledFrom([]int{0, min(16, n-1), min(3, n-1)}).Draw(t, "from") // of a view
	s.dev.Upload(all, x)
	s.do(t, func() {
		s.dev.Split(w, low, all)
		s.dev.Zero(all)
		s.dev.Join(all.Rows(from, n), w.Rows(from, n), low.Rows(from, n))
	})
	got, high := make([]float32, n), make([]uint16, n)
	s.dev.Download(got, all)
	s.dev.Download(high, w)
	for i := range x {
		if want, _ := splitMaster(x[i]); high[i] != want {
			t.Fatalf("%08x rounds to %04x, want %04x", math.Float32bits(x[i]), high[i], want)
		}
		if i >= from && !sameNumber(got[i], x[i]) {
			t.Fatalf("%08x came back as %08x", math.Float32bits(x[i]), math.Float32bits(got[i]))
		}
		rounded := math.Float32frombits(uint32(high[i]) << 16)
		if off, best := math.Abs(float64(rounded)-float64(x[i])), math.Abs(float64(roundBF16(x[i]))-float64(x[i])); off > best {
			t.Fatalf("%v rounds to %v, off by %g: %v is nearer", x[i], rounded, off, roundBF16(x[i]))
		}
	}
	s.do(t, func() { s.dev.Split(w.Rows(from, n), Tensor{}, all.Rows(from, n)) })
	again := make([]uint16, n)
	s.dev.Download(again, w)
	for i := range x {
		if x[i] == x[i] && high[i] != again[i] {
			t.Fatalf("without its low half %08x is %04x, with it %04x", math.Float32bits(x[i]), again[i], high[i])
		}
	}
	s.free(all, w, low)
}

// An update of halves is AdamW's of the numbers that they are, with moments that are neighbours of what float64 computes; all of it has the
// same bits in whatever parts it is made.
func checkAdamWHalvesOp(t *rapid.T, s *subject) {
	n := rapid.IntRange(2, 3000).Draw(t, "n")
	a := AdamWStep{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 0.7,
		WeightDecay: rapid.SampledFrom([]float32{0, 0.1}).Draw(t, "decay"), Step: rapid.IntRange(1, 1000).Draw(t, "step"),
		Seed: rapid.Uint64().Draw(t, "seed"), First: rapid.IntRange(0, 1<<40).Draw(t, "first")}
	w, g, m, v := s.numbersOf(t, F32, n, "w"), s.numbersOf(t, F32, n, "g"), s.numbersOf(t, BF16, n, "m"), s.numbersOf(t, BF16, n, "v")
	for i := range v {
		v[i] = math.Abs(v[i])
	}
	whole, gt := s.vector(F32, w), s.vector(F32, g)
	bits := func(cuts ...int) (out [4][]uint16) {
		wt, low, mt, vt := s.dev.Alloc(BF16, n), s.dev.Alloc(BF16, n), s.vector(BF16, m), s.vector(BF16, v)
		s.do(t, func() {
			s.dev.Split(wt, low, whole)
			for i, to := range append(cuts, n) {
				from, part := 0, a
				if i > 0 {
					from = cuts[i-1]
				}
				part.First += from
				s.dev.AdamW(wt.Rows(from, to), low.Rows(from, to), gt.Rows(from, to), mt.Rows(from, to), vt.Rows(from, to), part)
			}
		})
		for i, x := range []Tensor{wt, low, mt, vt} {
			out[i] = make([]uint16, n)
			s.dev.Download(out[i], x)
		}
		s.free(wt, low, mt, vt)
		return out
	}
	got := bits()
	cut := rapid.IntRange(1, n-1).Draw(t, "cut")
	for i, x := range bits(cut) {
		if !slices.Equal(x, got[i]) {
			t.Fatalf("in parts of %d and %d numbers, half %d is another", cut, n-cut, i)
		}
	}
	refAdamW(w, g, m, v, a)
	master := make([]float64, n)
	for i := range master {
		master[i] = float64(joinMaster(got[0][i], got[1][i]))
		for k, want := range []float64{m[i], v[i]} {
			x := float64(math.Float32frombits(uint32(got[2+k][i]) << 16))
			if math.Abs(x-want) > math.Abs(want)/128+1e-6 {
				t.Fatalf("moment %d of number %d is %v, neither neighbour of %v", k+1, i, x, want)
			}
		}
	}
	was := s.tol
	s.tol = min(was, 4e-5) // the master is float32 whatever the rest is
	s.near(t, "master", master, w, 1)
	s.tol = was
	s.free(whole, gt)
}

// What is rounded by chance is right on average, for m and for v, and the two are rounded independently; other steps, seeds and places
// round otherwise.
func TestRoundingByChanceIsRightOnAverage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := math.Float32frombits(rapid.Uint32Range(0x20000000, 0x60000000).Draw(t, "x") | rapid.Uint32Range(0, 1).Draw(t, "sign")<<31)
		s := AdamWStep{Seed: rapid.Uint64().Draw(t, "seed"), Step: rapid.IntRange(1, 1e6).Draw(t, "step")}
		key, first := roundingKey(s), rapid.Uint64Range(0, 1<<50).Draw(t, "first")
		s.Step++
		next := roundingKey(s)
		const n = 1 << 16
		b := math.Float32bits(x)
		low, share := b>>16, float64(b&0xffff)/0x10000
		var up [3]int
		both := 0
		for i := range uint64(n) {
			m, v := uint32(roundByChance(x, roundingBits(key, first+i))), uint32(roundByChance(x, roundingBits(key, first+i)>>16))
			if m-low > 1 || v-low > 1 {
				t.Fatalf("%08x became %04x and %04x", b, m, v)
			}
			up[0], up[1], both = up[0]+int(m-low), up[1]+int(v-low), both+int((m-low)*(v-low))
			up[2] += int((m - low) * (uint32(roundByChance(x, roundingBits(next, first+i))) - low))
		}
		within := func(what string, got int, p float64) {
			if off := math.Abs(float64(got) - n*p); off > 6*math.Sqrt(n*p*(1-p))+1 {
				t.Fatalf("%s: %d of %d, want a share of %g", what, got, n, p)
			}
		}
		within("m away from zero", up[0], share)
		within("v away from zero", up[1], share)
		within("both", both, share*share)
		within("in two steps", up[2], share*share)
	})
}

func TestRoundingToBF16IsToEven(t *testing.T) {
	for _, c := range [][2]uint32{
		{0x3f808000, 0x3f800000}, {0x3f818000, 0x3f820000}, {0x3f808001, 0x3f810000}, {0x7f7fffff, 0x7f800000}, {0xff800000, 0xff800000},
		{0x80000001, 0x80000000},
	} {
		if got := math.Float32bits(roundBF16(math.Float32frombits(c[0]))); got != c[1] {
			t.Errorf("%08x rounds to %08x, want %08x", c[0], got, c[1])
		}
	}
	if x := roundBF16(math.Float32frombits(0x7f800001)); x == x {
		t.Errorf("a NaN became %v", x)
	}
}
