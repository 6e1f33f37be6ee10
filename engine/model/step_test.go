package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels"
)

// scoreLogProbs is what a Scorer says of each token of ids given those before it, from a packed pass of this sequence
// alone; the first has none. sets are those that tokens were drawn from, by their places; the others are scored over the whole vocabulary.
func scoreLogProbs(m *Model, ids []int32, temperature float32, sets map[int][]int32) ([]float32, error) {
	n := len(ids) - 1
	in := Inputs{IDs: ids[:n], Starts: []int32{0, int32(n)}, Rows: make([]int32, n)}
	for i := range in.Rows {
		in.Rows[i] = int32(i)
	}
	s := NewScorer(m.dev, n)
	defer s.Close()
	s.Load(ids[1:])
	kept := Sets{Starts: []int32{0}}
	for i := range n {
		kept.IDs = append(kept.IDs, sets[i+1]...)
		kept.Starts = append(kept.Starts, int32(len(kept.IDs)))
	}
	s.Keep(kept)
	err := m.Score(in, func(h Head) { s.Score(h, temperature) })
	return s.LogProbs(), err
}

// fed is a sequence of the test below: a list of tokens and how many of them the cache holds.
type fed struct {
	ids    []int32
	cached int
	pages  []int32
	key    int64
	drawn  map[int]float32 // position of a drawn token to the log-probability that Step recorded
	sets   map[int][]int32 // and to the set that StepKept did
}

// took books what a step that drew for s said.
func (s *fed) took(next int32, logp float32, set []int32) {
	s.drawn[len(s.ids)] = logp
	if set != nil {
		s.sets[len(s.ids)] = slices.Clone(set)
	}
	s.ids = append(s.ids, next)
}

// The engine's promises about Step, all at once: prompts are fed in random slices, sequences share steps with others, tokens of a
// tool are inserted, caches are dropped and run again, pages are copied before they are written, page numbers are random. Whatever
// happened, the recorded log-probabilities are those of a packed Score of the finished sequence alone.
func TestStepEqualsScore(t *testing.T) {
	dev := device(t)
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		c.LMHead = true
		const pages, perSequence, most = 40, 4, 4 * kernels.PageTokens
		m, err := New(dev, c, Options{MaxTokens: 300, HeadRows: rapid.IntRange(0, 3).Draw(t, "head rows"), DType: stored(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, rapid.Uint64().Draw(t, "weights"))
		if err := m.OpenKV(pages); err != nil {
			t.Fatal(err)
		}
		r := newRand(rapid.Uint64().Draw(t, "events"))
		free := make([]int32, pages)
		for i, p := range r.Perm(pages) {
			free[i] = int32(p)
		}
		some := func(n int) (ids []int32) {
			for range n {
				ids = append(ids, int32(r.IntN(c.Vocab)))
			}
			return ids
		}
		var seqs []*fed
		for i := range rapid.IntRange(1, 5).Draw(t, "sequences") {
			s := &fed{ids: some(1 + r.IntN(100)), key: int64(i) << 33, drawn: map[int]float32{}, sets: map[int][]int32{}}
			s.pages, free = free[:perSequence:perSequence], free[perSequence:]
			seqs = append(seqs, s)
		}
		sampling := kernels.Sampling{Seed: 7, TopP: 1, Temperature: rapid.SampledFrom([]float32{0, 0.7, 1, 1.5}).Draw(t, "temperature")}
		if r.IntN(2) == 0 {
			sampling.TopP, sampling.TopK, sampling.MinP = 0.8, 5, 0.02
		}
		keeps := sampling.Truncated() && r.IntN(3) > 0
		for range 25 {
			var batch []Feed
			var of []*fed
			for _, s := range seqs {
				switch r.IntN(12) {
				case 0: // evicted: everything is computed again
					s.cached = 0
				case 1: // moved: copy on write of one page
					i := r.IntN(perSequence)
					if err := m.CopyPages(free[:1], s.pages[i:i+1]); err != nil {
						t.Fatal(err)
					}
					s.pages = slices.Clone(s.pages)
					s.pages[i], free[0] = free[0], s.pages[i]
				case 2: // a tool replies
					if n := 1 + r.IntN(30); len(s.ids)+n < most-20 {
						s.ids = append(s.ids, some(n)...)
					}
				case 3: // waits
					continue
				}
				if len(s.ids) == s.cached || len(s.ids) >= most-1 {
					continue
				}
				n := len(s.ids) - s.cached
				if n > 1 {
					n = 1 + r.IntN(min(n, 300/len(seqs)))
				}
				batch = append(
					batch, Feed{IDs: s.ids[s.cached : s.cached+n], Pos: s.cached, Pages: s.pages, Key: s.key, Draw: s.cached+n == len(s.ids)},
				)
				of = append(of, s)
			}
			sets := make([][]int32, len(batch))
			var next []int32
			var logp []float32
			if keeps {
				next, logp, sets, err = m.StepKept(batch, sampling)
			} else {
				next, logp, err = m.Step(batch, sampling)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range of {
				s.cached += len(batch[i].IDs)
				if batch[i].Draw {
					s.took(next[i], logp[i], sets[i])
				}
				if keeps && (batch[i].Draw != slices.Contains(sets[i], next[i]) || len(sets[i]) > 5) {
					t.Fatalf("sequence %d drew (%v) %d from %v", i, batch[i].Draw, next[i], sets[i])
				}
			}
		}
		temperature := sampling.Temperature
		if temperature == 0 {
			temperature = 1
		}
		for i, s := range seqs {
			want, err := scoreLogProbs(m, s.ids, temperature, s.sets)
			if err != nil {
				t.Fatal(err)
			}
			for at, got := range s.drawn {
				if !equalBits([]float32{got}, want[at-1:at]) {
					t.Fatalf("sequence %d, token %d of %d: Step recorded %.9g, Score says %.9g", i, at, len(s.ids), got, want[at-1])
				}
			}
		}
	})
}

// What a trajectory draws depends on its key and its tokens, not on its neighbours.
func TestDrawsIgnoreTheBatch(t *testing.T) {
	dev := device(t)
	m := tiny(t, dev, Options{MaxTokens: 64})
	if err := m.OpenKV(20); err != nil {
		t.Fatal(err)
	}
	roll := func(keys []int64, order []int) map[int64][]int32 {
		out := map[int64][]int32{}
		for step := range 12 {
			var batch []Feed
			for _, i := range order {
				f := Feed{IDs: []int32{1, 2, 3}, Pages: []int32{int32(i)}, Key: keys[i], Draw: true}
				if step > 0 {
					f.IDs, f.Pos = out[keys[i]][step-1:step], 2+step
				}
				batch = append(batch, f)
			}
			next, _, err := m.Step(batch, kernels.Sampling{Seed: 3, Temperature: 1, TopP: 1})
			if err != nil {
				t.Fatal(err)
			}
			for j, i := range order {
				out[keys[i]] = append(out[keys[i]], next[j])
			}
		}
		return out
	}
	keys := []int64{5, 6, 5 << 32, -1}
	together := roll(keys, []int{3, 1, 0, 2})
	for i, key := range keys {
		if alone := roll(keys, []int{i})[key]; !slices.Equal(alone, together[key]) {
			t.Errorf("key %d draws %v alone and %v among others", key, alone, together[key])
		}
	}
	if slices.Equal(together[5], together[6]) || slices.Equal(together[5], together[5<<32]) {
		t.Error("two keys draw the same")
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		stepAllocatesNothing(t, tiny(t, device(t), Options{MaxTokens: 64, DType: dtype}))
	}
}

func stepAllocatesNothing(t *testing.T, m *Model) {
	if err := m.OpenKV(64); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 8} {
		batch := make([]Feed, n)
		for i := range batch {
			batch[i] = Feed{IDs: []int32{int32(i)}, Pos: 70, Pages: []int32{int32(2 * i), int32(2*i + 1)}, Key: int64(i), Draw: i%3 == 0}
		}
		step := func() {
			if _, _, err := m.Step(batch, kernels.Sampling{Temperature: 1, TopP: 1}); err != nil {
				t.Fatal(err)
			}
		}
		for _, m.step.apart.force = range []apartWay{apartNever, apartAlways} {
			step()
			if got := testing.AllocsPerRun(20, step); got != 0 {
				t.Errorf("%v: a step of %d sequences allocates %v times", m.Options.DType, n, got)
			}
		}
	}
}

func TestBadFeedsAreNamed(t *testing.T) {
	dev := device(t)
	m := tiny(t, dev, Options{MaxTokens: 70, Positions: 130})
	step := func(f ...Feed) error {
		_, _, err := m.Step(f, kernels.Sampling{})
		return err
	}
	one := []int32{1}
	if err := step(Feed{IDs: one, Pages: []int32{0}}); err == nil || !strings.Contains(err.Error(), "OpenKV") {
		t.Errorf("without a cache: %v", err)
	}
	if err := m.OpenKV(3); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"feed 1 has 0 tokens":                        step(Feed{IDs: one, Pages: one}, Feed{Pages: one}),
		"reaches 131 tokens, the model has 130":      step(Feed{IDs: one, Pos: 130, Pages: []int32{0, 1, 2}}),
		"has 1 pages, its 65 tokens need 2":          step(Feed{IDs: one, Pos: 64, Pages: []int32{0}}),
		"page 3, the cache has 3":                    step(Feed{IDs: one, Pages: []int32{3}}),
		"71 tokens, must be at most 70":              step(Feed{IDs: make([]int32, 71), Pages: []int32{0, 1}}),
		"feed 0: token 0 has id 61":                  step(Feed{IDs: []int32{61}, Pages: []int32{0}}),
		"model: CopyPages: page 7 to 0, the cache":   m.CopyPages([]int32{0}, []int32{7}),
		"model: OpenKV: 0 pages, must be at least 1": m.OpenKV(0),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if next, logp, err := m.Step(nil, kernels.Sampling{}); err != nil || len(next)+len(logp) != 0 {
		t.Errorf("an empty step: %v %v %v", next, logp, err)
	}
}

// A whole step of decoding: the model's own work and the device's.
func BenchmarkStep(b *testing.B) {
	for _, name := range []string{"d128", "d256"} {
		for _, n := range []int{1, 8, 32, 64} {
			b.Run(fmt.Sprintf("%s/B%d", name, n), func(b *testing.B) {
				dev := kernels.NewCPU(0)
				defer dev.Close()
				c, err := Shape(name)
				if err != nil {
					b.Fatal(err)
				}
				m, err := New(dev, c, Options{MaxTokens: 1024})
				if err != nil {
					b.Fatal(err)
				}
				defer m.Close()
				m.Init(1)
				if err := m.OpenKV(3 * n); err != nil {
					b.Fatal(err)
				}
				ids := make([][]int32, n)
				batch := make([]Feed, n)
				for i := range batch {
					ids[i] = make([]int32, 16)
					batch[i] = Feed{IDs: ids[i], Pages: []int32{int32(3 * i), int32(3*i + 1), int32(3*i + 2)}, Key: int64(i), Draw: true}
				}
				s := kernels.Sampling{Temperature: 1, TopP: 1}
				tokens := 0
				for b.Loop() {
					for i := range batch { // 16 tokens of prompt, then up to 144
						if batch[i].Pos += len(batch[i].IDs); batch[i].Pos >= 144 || tokens == 0 {
							batch[i].Pos, batch[i].IDs = 0, ids[i]
						} else {
							batch[i].IDs = ids[i][:1]
						}
					}
					next, _, err := m.Step(batch, s)
					if err != nil {
						b.Fatal(err)
					}
					for i := range batch {
						ids[i][0] = next[i]
					}
					tokens += n
				}
				b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tok/s")
			})
		}
	}
}

// A training step of 4096 tokens in sequences of 128: forward, backward, norm, AdamW.
func BenchmarkTrain(b *testing.B) {
	for _, name := range []string{"d128", "d256"} {
		b.Run(name, func(b *testing.B) {
			dev := kernels.NewCPU(0)
			defer dev.Close()
			c, err := Shape(name)
			if err != nil {
				b.Fatal(err)
			}
			const tokens = 4096
			m, err := New(dev, c, Options{MaxTokens: tokens, Train: true})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			m.Init(1)
			l := newLearner(m)
			n := m.W.All.Len()
			m1, m2, norm := dev.Alloc(kernels.F32, n), dev.Alloc(kernels.F32, n), dev.Alloc(kernels.F32, kernels.SumTiles(n))
			p := problem{Inputs: Inputs{Starts: []int32{0}}}
			for i := range tokens {
				p.IDs, p.Rows = append(p.IDs, int32(i*7%c.Vocab)), append(p.Rows, int32(i))
				p.Target, p.Weight, p.Return = append(p.Target, int32(i%c.Vocab)), append(p.Weight, 1.0/tokens), append(p.Return, 0)
				if i%128 == 127 {
					p.Starts = append(p.Starts, int32(i+1))
				}
			}
			step := 0
			for b.Loop() {
				step++
				m.ForgetGrad()
				if err := l.train(p); err != nil {
					b.Fatal(err)
				}
				s := kernels.AdamWStep{LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: step}
				err := dev.Do(func() {
					dev.SumSquares(norm, m.G.All)
					dev.AdamW(m.W.All, kernels.Tensor{}, m.G.All, m1, m2, s)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(step*tokens)/b.Elapsed().Seconds(), "tok/s")
		})
	}
}
