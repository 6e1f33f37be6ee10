package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// refLSE is ln Σ exp(x/temperature).
func refLSE(x []float64, temperature float64) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, v/temperature)
	}
	for _, v := range x {
		sum += math.Exp(v/temperature - top)
	}
	return top + math.Log(sum)
}

// refLogProb is the log-probability of id, and the entropy.
func refLogProb(x []float64, id int, temperature float64) (logp, entropy float64) {
	lse := refLSE(x, temperature)
	for _, v := range x {
		lp := v/temperature - lse
		entropy -= math.Exp(lp) * lp
	}
	return x[id]/temperature - lse, entropy
}

// refLogProbOver is refLogProb of softmax over a set of ids alone.
func refLogProbOver(x []float64, set []int32, id int, temperature float64) (logp, entropy float64) {
	var over []float64
	at := 0
	for i, v := range set {
		over = append(over, x[v])
		if int(v) == id {
			at = i
		}
	}
	return refLogProb(over, at, temperature)
}

// headCase is rows of logits, some of them steep.
type headCase struct {
	R, V        int
	x           []float64
	ids         []int32
	temperature float64
}

func drawHead(t *rapid.T, s *subject) (c headCase) {
	c.R, c.V = rapid.IntRange(1, 12).Draw(t, "R"), rapid.IntRange(1, 300).Draw(t, "V")
	c.temperature = rounded(F32, rapid.SampledFrom([]float64{1, 0.7, 2}).Draw(t, "temperature"))
	steep := rapid.SampledFrom([]float64{1, 5, 40}).Draw(t, "steep")
	c.x = s.numbersOf(t, F32, c.R*c.V, "logits")
	rng := newRand(rapid.Uint64().Draw(t, "ids"))
	for i := range c.x {
		c.x[i] = rounded(F32, c.x[i]*steep)
	}
	for range c.R {
		c.ids = append(c.ids, int32(rng.below(c.V)))
	}
	return c
}

func (c *headCase) row(r int) []float64 { return c.x[r*c.V : (r+1)*c.V] }

func (c *headCase) lse() (lse []float64) {
	for r := range c.R {
		lse = append(lse, refLSE(c.row(r), c.temperature))
	}
	return lse
}

func checkLogSumExpOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	x, lse := s.placeOf(t, F32, c.x, c.R, c.V), s.dev.Alloc(F32, c.R)
	s.do(t, func() { s.dev.LogSumExp(lse, x, float32(c.temperature)) })
	s.near(t, "lse", s.read(lse), c.lse(), 1)
	s.free(x, lse)
}

func checkLogProbOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	var want, wantH []float64
	for r := range c.R {
		lp, h := refLogProb(c.row(r), int(c.ids[r]), c.temperature)
		want, wantH = append(want, lp), append(wantH, h)
	}
	x, lse, ids := s.placeOf(t, F32, c.x, c.R, c.V), s.dev.Alloc(F32, c.R), s.ints(c.ids)
	logp, entropy := s.dev.Alloc(F32, c.R), s.dev.Alloc(F32, c.R)
	s.do(t, func() {
		s.dev.LogSumExp(lse, x, float32(c.temperature))
		s.dev.LogProb(logp, entropy, x, lse, ids, float32(c.temperature))
	})
	s.near(t, "logp", s.read(logp), want, 1)
	s.near(t, "entropy", s.read(entropy), wantH, 30) // ln p = t − lse: an error of the size of the logits, in the rows where p is large
	s.free(x, lse, ids, logp, entropy)
}

func checkLogProbBackwardOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	dlogp, dent := s.numbersOf(t, F32, c.R, "dlogp"), s.numbersOf(t, F32, c.R, "dentropy")
	x, lse, ids, dl, de := s.placeOf(t, F32, c.x, c.R, c.V), s.vector(F32, c.lse()), s.ints(c.ids), s.vector(F32, dlogp), s.vector(F32, dent)
	switch rapid.IntRange(0, 2).Draw(t, "absent") {
	case 0:
		dl, dlogp = Tensor{}, make([]float64, c.R)
	case 1:
		de, dent = Tensor{}, make([]float64, c.R)
	}
	s.do(t, func() { s.dev.LogProbBackward(x, x, lse, ids, dl, de, float32(c.temperature)) })
	loss := func() (sum float64) {
		for r := range c.R {
			lp, h := refLogProb(c.row(r), int(c.ids[r]), c.temperature)
			sum += dlogp[r]*lp + dent[r]*h
		}
		return sum
	}
	s.nearGradient(t, "dlogits", s.read(x), make([]float64, len(c.x)), c.x, 100, loss)
	s.free(x, lse, ids, dl, de)
}

// A row's probability, entropy and gradient are those of softmax over its set; outside of the set the gradient is 0. A row without a set,
// and one with all ids in it, have the bits that they have without Keep.
func checkKeepOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	dlogp, dent := s.numbersOf(t, F32, c.R, "dlogp"), s.numbersOf(t, F32, c.R, "dentropy")
	rng := newRand(rapid.Uint64().Draw(t, "sets"))
	sets, starts, all := make([][]int32, c.R), []int32{0}, []int32{}
	for r := range sets {
		dense := rng.float() * rng.float()
		for v := range c.V {
			if rng.float() < dense || v == int(c.ids[r]) || r%3 == 1 {
				sets[r] = append(sets[r], int32(v))
			}
		}
		if r%3 != 2 {
			all = append(all, sets[r]...)
		} else { // absent, which is all of them
			sets[r] = nil
			for v := range c.V {
				sets[r] = append(sets[r], int32(v))
			}
		}
		starts = append(starts, int32(len(all)))
	}
	all = append(all, 0)
	temperature := float32(c.temperature)
	run := func(keep bool) (x, logp, entropy []float64) {
		xt, lse, ids, dl, de := s.placeOf(t, F32, c.x, c.R, c.V), s.dev.Alloc(F32, c.R), s.ints(c.ids), s.vector(F32, dlogp), s.vector(F32, dent)
		st, kt, lp, h := s.ints(starts), s.ints(all), s.dev.Alloc(F32, c.R), s.dev.Alloc(F32, c.R)
		s.do(t, func() {
			if keep {
				s.dev.Keep(xt, st, kt)
			}
			s.dev.LogSumExp(lse, xt, temperature)
			s.dev.LogProb(lp, h, xt, lse, ids, temperature)
			s.dev.LogProbBackward(xt, xt, lse, ids, dl, de, temperature)
		})
		defer s.free(xt, lse, ids, dl, de, st, kt, lp, h)
		return s.read(xt), s.read(lp), s.read(h)
	}
	x, logp, entropy := run(true)
	plain, plainLP, plainH := run(false)
	var want, wantH []float64
	for r, set := range sets {
		lp, h := refLogProbOver(c.row(r), set, int(c.ids[r]), c.temperature)
		want, wantH = append(want, lp), append(wantH, h)
		for v := range c.V {
			if at := r*c.V + v; !slices.Contains(set, int32(v)) && x[at] != 0 || len(set) == c.V && x[at] != plain[at] {
				t.Fatalf("row %d: the gradient of id %d is %v, without a set %v", r, v, x[at], plain[at])
			}
		}
		if len(set) == c.V && (logp[r] != plainLP[r] || entropy[r] != plainH[r]) {
			t.Fatalf("row %d: all ids kept have other bits than no set", r)
		}
		if len(set) == 1 && (logp[r] != 0 && s.tol < 1e-5 || math.Abs(logp[r]) > 1e-5) {
			t.Fatalf("row %d: the only id kept has log-probability %v", r, logp[r])
		}
	}
	s.near(t, "logp", logp, want, 1)
	s.near(t, "entropy", entropy, wantH, 30)
	loss := func() (sum float64) {
		for r := range c.R {
			lp, h := refLogProbOver(c.row(r), sets[r], int(c.ids[r]), c.temperature)
			sum += dlogp[r]*lp + dent[r]*h
		}
		return sum
	}
	s.nearGradient(t, "dlogits", x, make([]float64, len(c.x)), c.x, 100, loss)
}

func TestGPUHalvedGradientsAreRounded(t *testing.T) { onEveryGPU(t, halvedGradientsAreRounded) }

// The gradient of logits as BF16, in the first half of each row, is that of F32 rounded once, within 2⁻⁸ of float64's; and the gradients
// that it gives a head are those of the other, bit for bit: products round it in any case.
func halvedGradientsAreRounded(t *testing.T, d *GPU) {
	const R, V, M = 5, 4104, 24 // a row is three turns of a block
	x, w, h := normals(1, R*V), upload(d, normals(2, V*M), V, M), upload(d, normals(3, R*M), R, M)
	ids, dlogp, dentropy := []int32{0, 4103, 17, 2048, 2047}, []float32{1, -0.5, 2, 0.25, 0}, []float32{0, 0.5, -1, 0, 0.5}
	run := func(of func(Tensor) Tensor) (g, dx, dw []float32) {
		logits, lse, it, lp, de := d.Alloc(F32, R, V), d.Alloc(F32, R), d.Alloc(I32, R), d.Alloc(F32, R), d.Alloc(F32, R)
		d.Upload(logits, x)
		d.Upload(it, ids)
		d.Upload(lp, dlogp)
		d.Upload(de, dentropy)
		tx, tw, rounded := d.Alloc(BF16, R, M), d.Alloc(F32, V, M), d.Alloc(BF16, R, V)
		mustDo(t, d, func() {
			d.LogSumExp(lse, logits, 0.7)
			d.LogProbBackward(of(logits), logits, lse, it, lp, de, 0.7)
			d.LinearBackward(tx.Fresh(), tw.Fresh(), Tensor{}, of(logits), h, w)
			d.Copy(rounded, of(logits))
		})
		return floats32(d, rounded), floats32(d, tx), floats32(d, tw)
	}
	g, dx, dw := run(Tensor.Halved)
	wantG, wantX, wantW := run(func(t Tensor) Tensor { return t })
	if !slices.Equal(g, wantG) || !slices.Equal(dx, wantX) || !slices.Equal(dw, wantW) {
		t.Error("gradients by halves are not those of float32, rounded")
	}
	for r := range R {
		row := make([]float64, V)
		for v := range row {
			row[v] = float64(x[r*V+v])
		}
		const temperature = float64(float32(0.7))
		lse := refLSE(row, temperature)
		_, entropy := refLogProb(row, 0, temperature)
		for v := range row {
			lp, hit := row[v]/temperature-lse, 0.0
			if v == int(ids[r]) {
				hit = 1
			}
			p := math.Exp(lp)
			want := (float64(dlogp[r])*(hit-p) - float64(dentropy[r])*p*(lp+entropy)) / temperature
			if got := float64(g[r*V+v]); math.Abs(got-want) > math.Abs(want)/256+1e-7 {
				t.Fatalf("row %d: the gradient of id %d is %v, want %v", r, v, got, want)
			}
		}
	}
}
