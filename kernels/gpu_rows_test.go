package kernels

import (
	"math"
	"slices"
	"testing"

	"retool/kernels/emu"
)

// More bit tests of the numerics contract on every GPU: what a row draws and scores, and what sequences share.

func TestGPUSamplerAndScorerAgree(t *testing.T) { onEveryGPU(t, samplerAndScorerAgree) }

// A row draws the same id and gets the same log-probability alone and among others, by whichever order they stand.
func samplerAndScorerAgree(t *testing.T, d *GPU) {
	const R, V, M = 40, 130, 64
	for _, s := range []Sampling{{Seed: 11, Temperature: 1, TopP: 1}, {Seed: 11, Temperature: 0.6, TopP: 0.9}} {
		x, w := normals(1, R*M), upload(d, normals(2, V*M), V, M)
		// rows draws and scores the given rows of x.
		rows := func(which []int) ([]int32, []float32) {
			n := len(which)
			var in []float32
			var keys []int32
			for _, r := range which {
				in = append(in, x[r*M:(r+1)*M]...)
				keys = append(keys, int32(r*r), 7, int32(3*r))
			}
			kt, ids := d.Alloc(I32, n, 3), d.Alloc(I32, n)
			d.Upload(kt, keys)
			xt, logits, lse, lp := upload(d, in, n, M), d.Alloc(F32, n, V), d.Alloc(F32, n), d.Alloc(F32, n)
			mustDo(t, d, func() {
				d.Linear(logits, xt, w, Tensor{})
				d.LogSumExp(lse, logits, s.Temperature)
				d.Sample(ids, logits, lse, kt, s)
				d.LogProb(lp, Tensor{}, logits, lse, ids, s.Temperature)
			})
			drawn := make([]int32, n)
			d.Download(drawn, ids)
			return drawn, floats32(d, lp)
		}
		all := make([]int, R)
		for i := range all {
			all[i] = i
		}
		ids, logp := rows(all)
		slices.Reverse(all)
		back, backLP := rows(all)
		slices.Reverse(back)
		slices.Reverse(backLP)
		if !slices.Equal(back, ids) || !slices.Equal(backLP, logp) {
			t.Errorf("%+v: the order of rows shows in draws or log-probabilities", s)
		}
		for _, r := range []int{0, 17, R - 1} {
			if id, lp := rows([]int{r}); id[0] != ids[r] || lp[0] != logp[r] {
				t.Errorf("%+v: row %d draws %d with %v alone, %d with %v among %d", s, r, id[0], lp[0], ids[r], logp[r], R)
			}
		}
		if slices.Max(ids) == slices.Min(ids) {
			t.Errorf("%+v: all rows draw %d", s, ids[0])
		}
	}
}

func TestGPUDrawsDoNotSeeTheirBlocks(t *testing.T) { onEveryGPU(t, drawsDoNotSeeTheirBlocks) }

// A long row is searched by several blocks when it is alone, by one among many; it draws the same id, and the one that scores best.
func drawsDoNotSeeTheirBlocks(t *testing.T, d *GPU) {
	const R, V = 16, 3*samplePart - 7
	x := normals(3, R*V)
	for i := range x {
		x[i] *= 3
	}
	keys := make([]int32, 3*R)
	for i := range keys {
		keys[i] = int32(i * i)
	}
	for _, s := range []Sampling{{Seed: 5, Temperature: 1, TopP: 1}, {Seed: 5, Temperature: 0.7, TopP: 0.6},
		{Seed: 5, Temperature: 1, TopP: 1, TopK: 2}, {Seed: 5, Temperature: 0.7, TopP: 0.9, MinP: 0.1}, {}} {
		var kept []int32 // of the rows that were drawn last
		draw := func(from, to int) []int32 {
			n := to - from
			logits, kt, lse, ids := d.Alloc(F32, n, V), d.Alloc(I32, n, 3), d.Alloc(F32, n), d.Alloc(I32, n)
			words, again := d.Alloc(I32, n, KeptWords(V)), d.Alloc(I32, n)
			d.Upload(logits, x[from*V:to*V])
			d.Upload(kt, keys[3*from:3*to])
			mustDo(t, d, func() {
				if s.Temperature > 0 {
					d.LogSumExp(lse, logits, s.Temperature)
				}
				d.Sample(ids, logits, lse, kt, s)
				if s.Truncated() {
					d.Restrict(logits, words, lse, s)
					d.Sample(again, logits, Tensor{}, kt, s.Whole())
				}
			})
			drawn, left := make([]int32, n), make([]int32, n)
			kept = make([]int32, words.Len())
			d.Download(drawn, ids)
			d.Download(left, again)
			d.Download(kept, words)
			if s.Truncated() && !slices.Equal(drawn, left) {
				t.Errorf("%+v: draws %v, of what is left when the set is found %v", s, drawn, left)
			}
			return drawn
		}
		all := draw(0, R)
		sets := kept
		for _, r := range []int{0, 9} {
			if id := draw(r, r+1)[0]; id != all[r] {
				t.Errorf("%+v: row %d draws %d alone, %d among %d", s, r, id, all[r], R)
			}
			set := sets[r*KeptWords(V) : (r+1)*KeptWords(V)]
			if !slices.Equal(set, kept) {
				t.Errorf("%+v: the set of row %d is another among %d rows", s, r, R)
			}
			row := make([]float64, V)
			for v := range row {
				row[v] = float64(x[r*V+v])
			}
			if s.Temperature == 0 {
				if want := slices.Index(row, slices.Max(row)); int(all[r]) != want {
					t.Errorf("row %d: the largest is %d, drew %d", r, want, all[r])
				}
				continue
			}
			temperature := float64(s.Temperature)
			kept, doubt := refKept(row, refLSE(row, temperature), temperature, s.TopK, float64(s.TopP), float64(s.MinP))
			for v := range V {
				if s.Truncated() && doubt < 0 && (set[v/32]>>(v%32)&1 == 1) != kept[v] {
					t.Errorf("%+v: row %d: id %d is in one of the sets", s, r, v)
				}
			}
			score := refScores(row, temperature, s.Seed, keys[3*r:], func(id int) bool { return kept[id] })
			if best := slices.Max(score); doubt < 0 && score[all[r]] < best-1e-4 {
				t.Errorf("%+v: row %d draws %d of score %v, %d has %v", s, r, all[r], score[all[r]], slices.Index(score, best), best)
			}
		}
	}
}

func TestGPUSharedPagesDoNotChangeBits(t *testing.T) { onEveryGPU(t, sharedPagesDoNotChangeBits) }

// Two sequences share a prefix of 70 tokens; one of them copies the page it is going to write to, and goes its own way.
func sharedPagesDoNotChangeBits(t *testing.T, d *GPU) {
	const prefix, n = 70, 90
	h := Heads{Q: 3, KV: 1, Dim: 64, Chunk: 64}
	a, b := packedAttention(t, d, h, n, 5), attended{h: h, n: n}
	// b is a up to the prefix.
	other := packedAttention(t, d, h, n, 50)
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	b.q = append(slices.Clone(a.q[:prefix*QD]), other.q[prefix*QD:]...)
	b.k = append(slices.Clone(a.k[:prefix*KD]), other.k[prefix*KD:]...)
	b.v = append(slices.Clone(a.v[:prefix*KD]), other.v[prefix*KD:]...)
	o, starts := d.Alloc(BF16, n, QD), d.Alloc(I32, 2)
	d.Upload(starts, []int32{0, n})
	q, k, v := upload(d, b.q, n, QD), upload(d, b.k, n, KD), upload(d, b.v, n, KD)
	mustDo(t, d, func() { d.Attention(o, Tensor{}, q, k, v, starts, h) })
	b.o = bits16(d, o)

	kv := d.AllocKV(BF16, 3, h)
	ints := func(x ...int32) Tensor {
		t := d.Alloc(I32, len(x))
		d.Upload(t, x)
		return t
	}
	slots := func(pages []int32, from, to int) Tensor {
		var at []int32
		for i := from; i < to; i++ {
			at = append(at, pages[i/PageTokens]*PageTokens+int32(i%PageTokens))
		}
		return ints(at...)
	}
	pagesA, pagesB := []int32{1, 0}, []int32{1, 2} // page 1 stays shared, page 2 is a copy of page 0
	ka, va := upload(d, a.k, n, KD), upload(d, a.v, n, KD)
	mustDo(t, d, func() { d.AppendKV(kv, ka.Rows(0, prefix), va.Rows(0, prefix), slots(pagesA, 0, prefix)) })
	mustDo(t, d, func() { d.CopyPages(kv, ints(2), ints(0)) })
	mustDo(t, d, func() {
		d.AppendKV(kv, ka.Rows(prefix, n), va.Rows(prefix, n), slots(pagesA, prefix, n))
		d.AppendKV(kv, k.Rows(prefix, n), v.Rows(prefix, n), slots(pagesB, prefix, n))
	})
	// Both in one step: the rows after the prefix.
	both := upload(d, append(slices.Clone(a.q[prefix*QD:]), b.q[prefix*QD:]...), 2*(n-prefix), QD)
	out := d.Alloc(BF16, 2*(n-prefix), QD)
	table := PageTable{Pages: d.Alloc(I32, 2, 2), Starts: ints(0, n-prefix, 2*(n-prefix)), Len: ints(n, n)}
	d.Upload(table.Pages, append(slices.Clone(pagesA), pagesB...))
	mustDo(t, d, func() { d.PagedAttention(out, both, kv, table, h) })
	if !slices.Equal(bits16(d, out), append(slices.Clone(a.o[prefix*QD:]), b.o[prefix*QD:]...)) {
		t.Error("sequences that share pages differ from those that do not")
	}
}

// Losses of more rows than a block has threads agree with the CPU's, and have one order.
func TestGPULossesAddUpOverBlocks(t *testing.T) {
	const R = 700
	c := newCPU(1, bestSIMD())
	defer c.Close()
	losses := func(d Device) (all []float32) {
		column := func(seed uint64, scale float32) Tensor {
			x := normals(seed, R)
			for i := range x {
				x[i] *= scale
			}
			t := d.Alloc(F32, R)
			d.Upload(t, x)
			return t
		}
		weight := make([]float32, R)
		for i := range weight {
			weight[i] = float32(i%3) / R
		}
		w := d.Alloc(F32, R)
		d.Upload(w, weight)
		grad, dvalue, stats, vstats := d.Alloc(F32, R), d.Alloc(F32, R), d.Alloc(F32, Stats), d.Alloc(F32, Stats)
		targets := Targets{Weight: w, OldLogProb: column(2, 0.3), Advantage: column(3, 1), Ref: column(4, 0.3), Return: column(5, 1),
			OldValue: column(6, 1)}
		logp, value := column(1, 0.3), column(7, 1)
		mustDo(t, d, func() {
			d.PolicyLoss(grad, stats, logp, targets, Clip{Low: 0.2, High: 0.28, Dual: 3, KL: 0.1})
			d.ValueLoss(dvalue, vstats, value, targets, 0.2)
		})
		for _, x := range []Tensor{stats, vstats, grad, dvalue} {
			b := make([]float32, x.Len())
			d.Download(b, x)
			all = append(all, b...)
		}
		return all
	}
	want := losses(c)
	got := losses(emulated(t, emu.Options{Capability: 80}))
	for i := range want {
		if diff := math.Abs(float64(got[i] - want[i])); diff > 1e-5*max(1, math.Abs(float64(want[i]))) {
			t.Fatalf("number %d is %v, want %v", i, got[i], want[i])
		}
	}
	if !slices.Equal(losses(emulated(t, emu.Options{Capability: 80, Seed: 3})), got) {
		t.Error("the order of blocks shows in the losses")
	}
}
