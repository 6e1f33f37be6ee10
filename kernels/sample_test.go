package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// refNoise is the Gumbel noise of an id.
func refNoise(seed uint64, key []int32, id int) float64 {
	a, b, c, d := philox(uint32(id/4), uint32(key[2]), uint32(key[0]), uint32(key[1]), uint32(seed), uint32(seed>>32))
	word := [4]uint32{a, b, c, d}[id%4]
	u := float64(max(word>>8, 1)) / (1 << 24)
	return -math.Log(-math.Log(u))
}

// refScores is t + noise, −Inf outside of kept.
func refScores(x []float64, temperature float64, seed uint64, key []int32, kept func(id int) bool) []float64 {
	score := make([]float64, len(x))
	for id := range x {
		score[id] = math.Inf(-1)
		if kept(id) {
			score[id] = x[id]/temperature + refNoise(seed, key, id)
		}
	}
	return score
}

// refKept is what TopK, TopP and MinP leave: the most probable, lower ids first among equals. doubt holds the id at which the sum of
// probabilities is too close to TopP, or its own to MinP, to tell.
func refKept(x []float64, lse, temperature float64, topK int, topP, minP float64) (kept map[int]bool, doubt int) {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if x[a] > x[b] {
			return -1
		} else if x[a] < x[b] {
			return 1
		}
		return a - b
	})
	kept, doubt = map[int]bool{}, -1
	sum := 0.0
	for i, id := range order {
		if topK > 0 && i == topK || topP < 1 && sum >= topP {
			break
		}
		if share := math.Exp((x[id] - x[order[0]]) / temperature); minP > 0 {
			if math.Abs(share-minP) < 1e-5 && id != order[0] {
				doubt = id
			}
			if share < minP {
				break
			}
		}
		kept[id] = true
		sum += math.Exp(x[id]/temperature - lse)
		if math.Abs(sum-topP) < 1e-5 {
			doubt = id
		}
	}
	return kept, doubt
}

func (s *subject) sample(t *rapid.T, c headCase, keys []int32, p Sampling) []int32 {
	x, lse, ids, kt := s.placeOf(t, F32, c.x, c.R, c.V), s.dev.Alloc(F32, c.R), s.dev.Alloc(I32, c.R), s.ints(keys, c.R, 3)
	s.do(t, func() {
		if p.Temperature > 0 {
			s.dev.LogSumExp(lse, x, p.Temperature)
		}
		s.dev.Sample(ids, x, lse, kt, p)
	})
	got := make([]int32, c.R)
	s.dev.Download(got, ids)
	s.free(x, lse, ids, kt)
	return got
}

func drawKeys(t *rapid.T, R int) (seed uint64, keys []int32) {
	seed = rapid.Uint64().Draw(t, "seed")
	rng := newRand(rapid.Uint64().Draw(t, "keys"))
	for range 3 * R {
		keys = append(keys, int32(rng.next()))
	}
	return seed, keys
}

func checkSampleOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	seed, keys := drawKeys(t, c.R)
	p := Sampling{Seed: seed, Temperature: float32(c.temperature), TopP: 1, Vocab: rapid.IntRange(0, c.V).Draw(t, "Vocab")}
	if rapid.IntRange(0, 4).Draw(t, "greedy") == 0 {
		p.Temperature = 0
	}
	n := p.Vocab
	if n == 0 {
		n = c.V
	}
	for r, id := range s.sample(t, c, keys, p) {
		if p.Temperature == 0 {
			if want := slices.Index(c.row(r)[:n], slices.Max(c.row(r)[:n])); int(id) != want {
				t.Fatalf("row %d: greedy id is %d, want %d", r, id, want)
			}
			continue
		}
		score := refScores(c.row(r)[:n], c.temperature, seed, keys[3*r:], func(int) bool { return true })
		s.nearBest(t, r, id, score)
	}
}

// nearBest demands that id has the largest score, or one that rounding cannot tell from it.
func (s *subject) nearBest(t *rapid.T, r int, id int32, score []float64) {
	t.Helper()
	best := slices.Max(score)
	if int(id) >= len(score) || id < 0 || !(score[id] >= best-s.tol*10*max(1, math.Abs(best))) {
		t.Fatalf("row %d: drew %d of %d, but %d has score %v", r, id, len(score), slices.Index(score, best), best)
	}
}

func drawTruncation(t *rapid.T, c headCase, seed uint64) Sampling {
	return Sampling{Seed: seed, Temperature: float32(c.temperature), TopP: rapid.SampledFrom([]float32{1, 0.9, 0.5, 0.01}).Draw(t, "TopP"),
		TopK: rapid.IntRange(0, 20).Draw(t, "TopK"), MinP: rapid.SampledFrom([]float32{0, 0, 0.05, 0.5, 1}).Draw(t, "MinP")}
}

// kept is what p leaves of row r.
func (c *headCase) kept(r int, p Sampling) (kept map[int]bool, doubt int) {
	return refKept(c.row(r), refLSE(c.row(r), c.temperature), c.temperature, p.TopK, float64(p.TopP), float64(p.MinP))
}

// Restrict's bits are the set, all else is −Inf, and a draw from what is left is the draw that Sample makes of the whole row.
func checkRestrictOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	if rapid.Bool().Draw(t, "ties") {
		for i := range c.x {
			c.x[i] = math.Round(c.x[i] / 4)
		}
	}
	seed, keys := drawKeys(t, c.R)
	p := drawTruncation(t, c, seed)
	p.Vocab = rapid.IntRange(0, c.V).Draw(t, "Vocab")
	n, W := p.Vocab, KeptWords(c.V)
	if n == 0 {
		n = c.V
	}
	want := s.sample(t, c, keys, p)
	x, lse, ids, kt, kept := s.placeOf(t, F32, c.x, c.R, c.V), s.dev.Alloc(F32, c.R), s.dev.Alloc(I32, c.R), s.ints(keys, c.R, 3),
		s.dev.Alloc(I32, c.R, W)
	s.do(t, func() {
		s.dev.LogSumExp(lse, x, p.Temperature)
		s.dev.Restrict(x, kept, lse, p)
		s.dev.Sample(ids, x, Tensor{}, kt, p.Whole())
	})
	got, words, left := make([]int32, c.R), make([]int32, c.R*W), s.read(x)
	s.dev.Download(got, ids)
	s.dev.Download(words, kept)
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: Sample draws %v, of what Restrict leaves %v", p, want, got)
	}
	for r := range c.R {
		set, doubt := refKept(c.row(r)[:n], refLSE(c.row(r), c.temperature), c.temperature, p.TopK, float64(p.TopP), float64(p.MinP))
		for v := range 32 * W {
			in := words[r*W+v/32]>>(v%32)&1 == 1
			if in != (v < c.V && set[v]) && doubt < 0 {
				t.Fatalf("%+v: row %d: id %d of %d is kept: %v", p, r, v, n, in)
			}
			if v >= c.V {
				continue
			}
			if l := left[r*c.V+v]; in && l != c.row(r)[v] || !in && !math.IsInf(l, -1) {
				t.Fatalf("%+v: row %d: id %d, kept: %v, has logit %v of %v", p, r, v, in, l, c.row(r)[v])
			}
		}
	}
	s.free(x, lse, ids, kt, kept)
}

func checkSampleRestrictedOp(t *rapid.T, s *subject) {
	c := drawHead(t, s)
	if rapid.Bool().Draw(t, "ties") {
		for i := range c.x {
			c.x[i] = math.Round(c.x[i])
		}
	}
	seed, keys := drawKeys(t, c.R)
	p := drawTruncation(t, c, seed)
	for r, id := range s.sample(t, c, keys, p) {
		kept, doubt := c.kept(r, p)
		if doubt >= 0 {
			continue
		}
		s.nearBest(t, r, id, refScores(c.row(r), c.temperature, seed, keys[3*r:], func(id int) bool { return kept[id] }))
	}
}

// The vectors are the known answers of the Random123 distribution.
func TestPhiloxKnowsItsAnswers(t *testing.T) {
	for _, c := range []struct{ in, want [6]uint32 }{
		{[6]uint32{}, [6]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[6]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)},
			[6]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[6]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0},
			[6]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		a, b, d, e := philox(c.in[0], c.in[1], c.in[2], c.in[3], c.in[4], c.in[5])
		if got := [6]uint32{a, b, d, e}; got != c.want {
			t.Errorf("philox(%x) = %x, want %x", c.in, got, c.want)
		}
	}
}

// The share of each id over many keys is its probability.
func TestDrawsFollowTheDistribution(t *testing.T) {
	const R = 40000
	x := []float64{0, 1, 2, -1, 0.5}
	for _, s := range cpus(t)[:1] {
		c := headCase{R: R, V: len(x), temperature: 0.8}
		var keys []int32
		for r := range R {
			c.x = append(c.x, x...)
			keys = append(keys, int32(r%200), 0, int32(r/200))
		}
		logits, ids, kt := s.dev.Alloc(F32, R, len(x)), s.dev.Alloc(I32, R), s.ints(keys, R, 3)
		s.dev.Upload(logits, float32s(c.x))
		s.dev.Do(func() { s.dev.Sample(ids, logits, Tensor{}, kt, Sampling{Seed: 7, Temperature: 0.8, TopP: 1}) })
		got := make([]int32, R)
		s.dev.Download(got, ids)
		count := make([]float64, len(x))
		for _, id := range got {
			count[id]++
		}
		chi := 0.0
		for id := range x {
			want := R * math.Exp(x[id]/0.8-refLSE(x, 0.8))
			chi += (count[id] - want) * (count[id] - want) / want
		}
		if chi > 18.5 { // 4 degrees of freedom: one in a thousand
			t.Errorf("χ² = %.1f: %v", chi, count)
		}
	}
}
