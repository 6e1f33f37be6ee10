package kernels

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The tests of this file compare bits: rollout and training must agree exactly. See the contract in the package comment.

// storing is a CPU device and the type of the weights and activations that a test stores on it.
type storing struct {
	*cpu
	dtype DType
}

// onCPUs runs f on the CPU device in each variant, storing float32 with one thread and with three, bf16 with three.
func onCPUs(t *testing.T, f func(t *testing.T, d storing)) {
	for _, v := range variants() {
		for _, threads := range []int{1, 3} {
			for _, dtype := range []DType{F32, BF16} {
				if dtype == BF16 && threads == 1 {
					continue
				}
				t.Run(fmt.Sprintf("%s-%d-%v", v.name, threads, dtype), func(t *testing.T) {
					d := newCPU(threads, v)
					defer d.Close()
					f(t, storing{d, dtype})
				})
			}
		}
	}
}

// random is a matrix of normal numbers, as columns of a wider one, of the type that d stores, or else float32.
func random(d Device, seed uint64, rows, cols int) Tensor {
	dtype := F32
	if s, ok := d.(storing); ok {
		dtype = s.dtype
	}
	return randomOf(d, dtype, seed, rows, cols)
}

func randomOf(d Device, dtype DType, seed uint64, rows, cols int) Tensor {
	rng := newRand(seed)
	x := make([]float32, rows*(cols+8))
	for i := range x {
		x[i] = float32(rng.normal())
	}
	t := d.Alloc(dtype, rows, cols+8)
	d.Upload(t, x)
	return t.Cols(8, cols+8)
}

func blank(d Device, rows, cols int) Tensor { return random(d, 99, rows, cols) }

func integers(d Device, x ...int32) Tensor {
	t := d.Alloc(I32, len(x))
	d.Upload(t, x)
	return t
}

// content is the numbers of a tensor.
func content(x Tensor) []float32 {
	y := make([]float32, x.Len())
	x.mem.owner.Download(y, x)
	return y
}

func run(t rapid.TB, d Device, f func()) {
	t.Helper()
	if err := d.Do(f); err != nil {
		t.Fatal(err)
	}
}

// same demands equal bits.
func same(t rapid.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: number %d is %v (%08x), it was %v (%08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

func TestRowsOfLinearDoNotSeeEachOther(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		for _, s := range [][2]int{{197, 128}, {64, 700}, {33, 7}, {384, 128}} {
			const T = 150
			N, M := s[0], s[1]
			x, w, b := random(d, 1, T, M), random(d, 2, N, M), d.Alloc(d.dtype, N)
			d.Upload(b, content(random(d, 3, 1, N)))
			whole, part := blank(d, T, N), blank(d, T, N)
			run(t, d, func() { d.Linear(whole, x, w, b) })
			want := content(whole)
			for n := 1; n <= T; n += max(1, n/3) {
				for from := 0; from+n <= T; from += max(n, 31) {
					run(t, d, func() { d.Linear(part.Rows(from, from+n), x.Rows(from, from+n), w, b) })
					same(t, fmt.Sprintf("N %d M %d: rows %d to %d", N, M, from, from+n), content(part.Rows(from, from+n)), want[from*N:(from+n)*N])
				}
			}
		}
	})
}

// A sequence of 150 tokens is fed in slices that end at every place, over pages in any order that hold the keys of others, or none.
func TestPagedAttentionEqualsPacked(t *testing.T) {
	for _, h := range []Heads{{Q: 4, KV: 4, Dim: 32}, {Q: 6, KV: 2, Dim: 16}, {Q: 3, KV: 3, Dim: 40}, {Q: 2, KV: 2, Dim: 64}} {
		onCPUs(t, func(t *testing.T, d storing) {
			const L, N, pool = 150, 3, 9
			QD, KD := h.Q*h.Dim, h.KV*h.Dim
			q, k, v, o := random(d, 1, L, QD), random(d, 2, L, KD), random(d, 3, L, KD), blank(d, L, QD)
			run(t, d, func() { d.Attention(o, Tensor{}, q, k, v, integers(d, 0, L), h) })
			want := content(o)
			kv := d.AllocKV(d.dtype, pool, h)
			rng := newRand(5)
			feed := func(cuts []int) {
				pages := make([]int32, pool)
				for i := range pages {
					pages[i] = int32(i)
				}
				for i := range pages {
					j := i + rng.below(pool-i)
					pages[i], pages[j] = pages[j], pages[i]
				}
				for i := range kv.mem.words { // what was freed may hold anything: in either type, these are NaN
					kv.mem.words[i] = math.Float32frombits(0x7fc07fc0)
				}
				table := PageTable{Pages: integers(d, pages[:N]...).Reshape(1, N), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
				got := blank(d, L, QD)
				from := 0
				for _, to := range cuts {
					var slots []int32
					for i := from; i < to; i++ {
						slots = append(slots, pages[i/PageTokens]*PageTokens+int32(i%PageTokens))
					}
					d.Upload(table.Starts, []int32{0, int32(to - from)})
					d.Upload(table.Len, []int32{int32(to)})
					run(t, d, func() {
						d.AppendKV(kv, k.Rows(from, to), v.Rows(from, to), integers(d, slots...))
						d.PagedAttention(got.Rows(from, to), q.Rows(from, to), kv, table, h)
					})
					from = to
				}
				same(t, fmt.Sprintf("%+v fed up to %v", h, cuts), content(got), want)
			}
			var each []int
			for i := range L {
				each = append(each, i+1)
			}
			feed(each) // token by token: a pause at every offset of a page
			for cut := 1; cut < L; cut += 13 {
				feed([]int{cut, L})
			}
			for range 5 {
				cuts := []int{L}
				for range 4 {
					cuts = append(cuts, 1+rng.below(L-1))
				}
				slices.Sort(cuts)
				feed(slices.Compact(cuts))
			}
		})
	}
}

func TestSequencesDoNotSeeTheirBatch(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		h := Heads{Q: 4, KV: 2, Dim: 32}
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		starts := []int32{0, 1, 70, 70, 199, 220, 348}
		T := int(starts[len(starts)-1])
		q, k, v, do := random(d, 1, T, QD), random(d, 2, T, KD), random(d, 3, T, KD), random(d, 4, T, QD)
		attend := func(from, to int, starts ...int32) (out [5][]float32) {
			n := to - from
			o, lse := blank(d, n, QD), d.Alloc(F32, n, h.Q)
			dq, dk, dv := d.Alloc(d.dtype, n, QD), d.Alloc(d.dtype, n, KD), d.Alloc(d.dtype, n, KD)
			q, k, v, do := q.Rows(from, to), k.Rows(from, to), v.Rows(from, to), do.Rows(from, to)
			run(t, d, func() {
				s := integers(d, starts...)
				d.Attention(o, lse, q, k, v, s, h)
				d.AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, s, h)
			})
			return [5][]float32{content(o), content(lse), content(dq), content(dk), content(dv)}
		}
		all := attend(0, T, starts...)
		width := [5]int{QD, h.Q, QD, KD, KD}
		for s := range len(starts) - 1 {
			from, to := int(starts[s]), int(starts[s+1])
			alone := attend(from, to, 0, int32(to-from))
			for i, name := range []string{"o", "lse", "dq", "dk", "dv"} {
				same(t, fmt.Sprintf("%s of sequence %d", name, s), alone[i], all[i][from*width[i]:to*width[i]])
			}
		}
	})
}

// everything runs all operations on mid-sized shapes, twice over, and returns what they wrote.
func everything(t rapid.TB, d storing) (names []string, results [][]float32) {
	const T, C, F, V = 330, 64, 96, 210
	h := Heads{Q: 4, KV: 2, Dim: 16}
	starts := integers(d, 0, 100, 101, 330)
	ids, pos := make([]int32, T), make([]int32, T)
	for i := range ids {
		ids[i], pos[i] = int32(i*i%50), int32(i%100)
	}
	it, pt := integers(d, ids...), integers(d, pos...)
	table := d.Alloc(F32, 100, h.Dim)
	d.Upload(table, float32s(ropeTable(100, h.Dim)))
	emb, w, wn := random(d, 1, 50, C), random(d, 2, F, C), d.Alloc(d.dtype, C)
	d.Upload(wn, content(random(d, 3, 1, C)))
	qkv := blank(d, T, C+2*h.KV*h.Dim)
	x, n, g, act, mid := blank(d, T, C), blank(d, T, C), blank(d, T, F), blank(d, T, F), blank(d, T, C)
	rstd, lse := d.Alloc(F32, T), d.Alloc(F32, T, h.Q)
	kk, o := random(d, 4, T, h.KV*h.Dim), blank(d, T, C)
	logits, head, hlse, logp, ent := randomOf(d, F32, 99, T, V), random(d, 5, V, C), d.Alloc(F32, T), d.Alloc(F32, T), d.Alloc(F32, T)
	draws, keys := d.Alloc(I32, T), d.Alloc(I32, T, 3)
	stats, dlogp, dv := d.Alloc(F32, Stats), d.Alloc(F32, T), d.Alloc(F32, T)
	grad := func(rows, cols int) Tensor { return d.Alloc(d.dtype, rows, cols) }
	demb, dw, dwn, dx, dn, dg, du, dq, dk := d.Alloc(F32, 50, C), d.Alloc(F32, F, C), d.Alloc(F32, C), d.Alloc(F32, T, C), grad(T, C),
		grad(T, F), grad(T, F), grad(T, C), grad(T, h.KV*h.Dim)
	dvv, db, out, m, v := grad(T, h.KV*h.Dim), d.Alloc(F32, F), d.Alloc(F32, 1), d.Alloc(F32, 50, C), d.Alloc(F32, 50, C)
	ones, tree := d.Alloc(F32, T), d.Alloc(F32, C)
	d.Upload(ones, slices.Repeat([]float32{0.01}, T))
	learned, master := emb.mem.whole(d.dtype).Reshape(50, C), Tensor{}
	if d.dtype == BF16 {
		master = d.Alloc(F32, 50, C)
		d.Copy(master, learned)
	}
	for range 2 {
		run(t, d, func() {
			d.Embed(x, emb, it)
			d.RMSNorm(n, rstd, x, Tensor{}, wn, 1e-6)
			d.Linear(g, n, w, Tensor{})
			d.SwiGLU(act, g, g)
			d.Copy(qkv.Cols(0, C), x)
			d.RoPE(qkv.Cols(0, C+h.KV*h.Dim), Tensor{}, Tensor{}, qkv, Rotary{Pos: pt, Table: table}, h)
			d.Copy(o, qkv.Cols(0, C))
			d.Attention(mid, lse, o, kk, kk, starts, h)
			d.Add(mid, x)
			d.Linear(logits, mid, head, Tensor{})
			d.LogSumExp(hlse, logits, 0.9)
			d.Sample(draws, logits, hlse, keys, Sampling{Seed: 3, Temperature: 0.9, TopP: 1})
			d.LogProb(logp, ent, logits, hlse, draws, 0.9)
			t := Targets{Weight: ones, OldLogProb: ent, Advantage: logp, Return: logp, OldValue: ones}
			d.PolicyLoss(dlogp, stats, logp, t, Clip{Low: 0.2, High: 0.2})
			d.ValueLoss(dv, stats, logp, t, 0.2)
			d.LogProbBackward(logits, logits, hlse, draws, dlogp, dv, 0.9)
			d.LinearBackward(dx, Tensor{}, Tensor{}, logits, mid, head)
			d.AttentionBackward(dq, dk, dvv, dx, mid, lse, o, kk, kk, starts, h)
			d.SwiGLUBackward(dg, du, act, g, g)
			d.LinearBackward(dn, dw, db, dg, n, w)
			d.RMSNormBackward(dx, dwn, dn, x, wn, rstd)
			d.EmbedBackward(demb, dx, it)
			d.SumSquares(out, demb)
			d.SumTree(tree, demb.Rows(0, 13))
			d.AdamW(learned, master, demb, m, v,
				AdamWStep{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 0.5, Step: 1})
		})
	}
	all := []struct {
		name string
		t    Tensor
	}{{"x", x}, {"n", n}, {"g", g}, {"act", act}, {"o", o}, {"mid", mid}, {"lse", lse}, {"dlogits", logits}, {"hlse", hlse}, {"logp", logp},
		{"ent", ent}, {"dlogp", dlogp}, {"dv", dv}, {"stats", stats}, {"dx", dx}, {"dq", dq}, {"dk", dk}, {"dvv", dvv}, {"dg", dg}, {"du", du},
		{"dn", dn}, {"dw", dw}, {"db", db}, {"dwn", dwn}, {"demb", demb}, {"out", out}, {"tree", tree}, {"emb", emb}, {"m", m}, {"v", v}}
	for _, x := range all {
		names, results = append(names, x.name), append(results, content(x.t))
	}
	return names, results
}

// whole is all of a memory.
func (m *memory) whole(dtype DType) Tensor { return newTensor(m, dtype, []int{m.bytes / dtype.Size()}) }

// Neither the number of threads nor the moment changes a bit of any operation, forward or backward; nor do wider registers.
func TestThreadsAndTimeDoNotChangeBits(t *testing.T) {
	for _, dtype := range []DType{F32, BF16} {
		var fused [][]float32
		for _, v := range variants() {
			var want [][]float32
			for _, threads := range []int{1, 2, 3, 3} {
				d := newCPU(threads, v)
				names, got := everything(t, storing{d, dtype})
				d.Close()
				if want == nil {
					want = got
				}
				for i := range got {
					same(t, fmt.Sprintf("%v, %s, %d threads: %s", dtype, v.name, threads, names[i]), got[i], want[i])
					if v.fused && fused != nil {
						same(t, fmt.Sprintf("%v, %s against the variants before it: %s", dtype, v.name, names[i]), got[i], fused[i])
					}
				}
			}
			if v.fused {
				fused = want
			}
		}
	}
}

// A run does not depend on the processor it found: whichever has AVX2, with AVX-512 or without, computes these bits, and so do all
// that have neither. When an operation's arithmetic changes on purpose, runs before and after differ, and so does the sum here.
func TestBitsAreTheSameOnEveryProcessor(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("elsewhere the compiler may fuse the float64 arithmetic that makes the test's inputs")
	}
	for dtype, sums := range map[DType][2]uint64{
		F32: {0x983717378c1bcfe8, 0x4649793bbc11c48f}, BF16: {0xec4acf88dcf979f3, 0xf61ba6128c9f591a},
	} {
		for _, v := range variants() {
			d := newCPU(2, v)
			names, results := everything(t, storing{d, dtype})
			d.Close()
			sum := fnv.New64a()
			for i, x := range results {
				fmt.Fprint(sum, names[i])
				binary.Write(sum, binary.LittleEndian, x)
			}
			want := sums[0]
			if v.fused {
				want = sums[1]
			}
			if got := sum.Sum64(); got != want {
				t.Errorf("%v, %s: %#x, want %#x", dtype, v.name, got, want)
			}
		}
	}
}

// The sampler sees rows of a batch, the scorer other rows in another order: the log-probability of an id is the same number, and
// the id itself depends on its key alone.
func TestSamplerAndScorerAgree(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		rapid.Check(t, func(t *rapid.T) {
			R, V, C := rapid.IntRange(1, 30).Draw(t, "R"), rapid.IntRange(1, 300).Draw(t, "V"), rapid.IntRange(1, 40).Draw(t, "C")
			temperature := rapid.SampledFrom([]float32{1, 0.6}).Draw(t, "temperature")
			x, w := random(d, rapid.Uint64().Draw(t, "x"), R, C), random(d, 2, V, C)
			keys := make([]int32, 3*R)
			for i := range keys {
				keys[i] = int32(i * i)
			}
			// rows returns ids, their log-probabilities and entropies for the given rows of x.
			rows := func(from, to int) (drawn []int32, logp []float32) {
				n := to - from
				logits, lse, ids, lp, kt := randomOf(d, F32, 99, n, V), d.Alloc(F32, n), d.Alloc(I32, n), d.Alloc(F32, n),
					integers(d, keys[3*from:3*to]...).Reshape(n, 3)
				run(t, d, func() {
					d.Linear(logits, x.Rows(from, to), w, Tensor{})
					d.LogSumExp(lse, logits, temperature)
					d.Sample(ids, logits, lse, kt, Sampling{Seed: 11, Temperature: temperature, TopP: 1})
					d.LogProb(lp, Tensor{}, logits, lse, ids, temperature)
				})
				drawn = make([]int32, n)
				d.Download(drawn, ids)
				return drawn, content(lp)
			}
			ids, logp := rows(0, R)
			for r := range R {
				id, lp := rows(r, r+1)
				if id[0] != ids[r] {
					t.Fatalf("row %d drew %d alone, %d in its batch", r, id[0], ids[r])
				}
				same(t, "logp", lp, logp[r:r+1])
			}
		})
	})
}

func TestRepeatEqualsDo(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		x, w, y, z := random(d, 1, 70, 64), random(d, 2, 96, 64), blank(d, 70, 96), blank(d, 70, 96)
		run(t, d, func() { d.Linear(y, x, w, Tensor{}) })
		for range 3 {
			run(t, d, func() { d.Repeat("step", func() { d.Linear(z, x, w, Tensor{}) }) })
			same(t, "y", content(z), content(y))
		}
	})
}

// A weight may be written by every operation and door there is; the packed copy that products read must follow.
func TestProductsReadTheNewestWeights(t *testing.T) {
	onCPUs(t, func(t *testing.T, d storing) {
		const T, N, M = 9, 40, 24
		x, all, g := random(d, 1, T, M), d.Alloc(d.dtype, 2*N, M), d.Alloc(F32, 2*N, M)
		w, y, dx, master := all.Rows(N, 2*N), blank(d, T, N), d.Alloc(d.dtype, T, M), Tensor{}
		if d.dtype == BF16 {
			master = d.Alloc(F32, 2*N, M)
		}
		vec := d.Alloc(F32, 2*N, M)
		ones := slices.Repeat([]float32{1}, 2*N*M)
		writes := map[string]func(){
			"Upload": func() { d.Upload(all, ones) },
			"Copy":   func() { d.Copy(all, random(d, 7, 2*N, M)) },
			"Zero":   func() { d.Zero(all) },
			"AdamW": func() {
				d.AdamW(all, master, g, vec, d.Alloc(F32, 2*N, M),
					AdamWStep{LR: 0.1, Beta1: 0.9, Beta2: 0.9, Eps: 1e-8, Scale: 1, Step: 1, WeightDecay: 0.5})
			},
			"Add":           func() { d.Add(all, g) },
			"EmbedBackward": func() { d.EmbedBackward(w, random(d, 8, 2, M), integers(d, 3, 3)) },
			"a product":     func() { d.LinearBackward(Tensor{}, w, Tensor{}, random(d, 9, T, N), x, Tensor{}) },
		}
		d.Upload(g, content(random(d, 6, 2*N, M)))
		d.Upload(all, content(random(d, 5, 2*N, M)))
		for name, write := range writes {
			run(t, d, func() {
				d.Linear(y, x, w, Tensor{}) // packs
				d.LinearBackward(dx, Tensor{}, Tensor{}, y, Tensor{}, w)
				write()
				d.Linear(y, x, w, Tensor{})
				d.Zero(dx)
				d.LinearBackward(dx, Tensor{}, Tensor{}, y, Tensor{}, w)
			})
			fresh := d.Alloc(d.dtype, N, M)
			d.Upload(fresh, content(w))
			y2, dx2 := blank(d, T, N), d.Alloc(d.dtype, T, M)
			run(t, d, func() {
				d.Linear(y2, x, fresh, Tensor{})
				d.LinearBackward(dx2, Tensor{}, Tensor{}, y2, Tensor{}, fresh)
			})
			same(t, "y after "+name, content(y), content(y2))
			same(t, "dx after "+name, content(dx), content(dx2))
		}
	})
}

func TestOperationsDoNotAllocate(t *testing.T) {
	for _, c := range []struct {
		threads int
		dtype   DType
	}{{1, F32}, {2, F32}, {1, BF16}, {2, BF16}} {
		d := storing{newCPU(c.threads, bestSIMD()), c.dtype}
		const T, C, F, V = 100, 64, 96, 210
		h := Heads{Q: 4, KV: 2, Dim: 16}
		x, y, g, w, n := random(d, 1, T, C), blank(d, T, C), blank(d, T, F), random(d, 2, F, C), d.Alloc(d.dtype, C)
		k, kv, logits, lse := random(d, 3, T, 32), d.AllocKV(d.dtype, 2, h), randomOf(d, F32, 4, T, V), d.Alloc(F32, T)
		ids, keys, starts, slots := d.Alloc(I32, T), d.Alloc(I32, T, 3), integers(d, 0, T), d.Alloc(I32, T)
		table := PageTable{Pages: integers(d, 0, 1).Reshape(1, 2), Starts: starts, Len: integers(d, T)}
		alse, out, m, v := d.Alloc(F32, T, h.Q), d.Alloc(F32, 1), d.Alloc(F32, C), d.Alloc(F32, C)
		turns, qkv, bias := d.Alloc(F32, 4, 16), blank(d, T, 128), d.Alloc(d.dtype, 128)
		ones, master, tree := d.Alloc(d.dtype, 16), Tensor{}, d.Alloc(F32, V)
		if d.dtype == BF16 {
			master = d.Alloc(F32, C)
		}
		held, kept, set := d.Alloc(d.dtype, F, C), d.Alloc(I32, 5, KeptWords(V)), d.Alloc(I32, T)
		for i := range T {
			d.Upload(set.Rows(i, i+1), []int32{int32(2 * i)})
		}
		d.Arrange(held)
		f := func() {
			d.Linear(g, x, w, Tensor{})
			d.LinearBackward(y, w, Tensor{}, g, x, w)
			d.RMSNorm(y, lse, x, x, n, 1e-6)
			d.RMSNormBackward(y, n, x, x, n, lse)
			d.SwiGLU(g, g, g)
			d.SwiGLUBackward(g, g, g, g, g)
			d.Add(y, x)
			d.RoPE(qkv.Cols(0, 96), Tensor{}, Tensor{}, qkv, Rotary{Bias: bias, QNorm: ones, KNorm: ones, Pos: ids, Table: turns}, h)
			d.RoPEBackward(y.Split(16), ids, turns)
			d.Attention(y, alse, x, k, k, starts, h)
			d.AttentionBackward(y, k, k, x, x, alse, x, k, k, starts, h)
			d.AppendKV(kv, k, k, slots)
			d.PagedAttention(y, x, kv, table, h)
			d.Embed(y, x, ids)
			d.EmbedBackward(y, x, ids)
			d.LogSumExp(lse, logits, 1)
			d.Zero(keys)
			d.Sample(ids, logits, lse, keys, Sampling{Temperature: 1, TopP: 1})
			d.Sample(ids, logits, lse, keys, Sampling{Temperature: 1, TopP: 0.5, TopK: 10})
			d.LogProb(lse, Tensor{}, logits, lse, ids, 1)
			d.Restrict(logits.Rows(0, 5), kept, lse.Rows(0, 5), Sampling{Temperature: 1, TopP: 0.5, TopK: 10})
			d.Keep(logits.Rows(5, 6), starts, set)
			d.Zero(ids)
			d.SumSquares(out, n)
			d.SumTree(tree, logits.Rows(0, 5))
			d.Linear(g, x, held, Tensor{})
			d.Embed(y, held, ids)
			d.AdamW(n, master, m, m, v, AdamWStep{Step: 1})
		}
		run(t, d, f)
		if got := testing.AllocsPerRun(20, func() { d.Do(f) }); got > 0 {
			t.Errorf("%d threads, %v: %v allocations a pass", c.threads, c.dtype, got)
		}
		d.Close()
	}
}

// Passes of several goroutines take turns, whatever else the process does, and Close leaves no worker behind.
func TestPassesOfManyGoroutinesTakeTurns(t *testing.T) {
	before := runtime.NumGoroutine()
	d := newCPU(3, bestSIMD())
	w := random(d, 2, 96, 64)
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			x := random(d, uint64(i), 120, 64)
			y, z := blank(d, 120, 96), blank(d, 120, 96)
			d.Do(func() { d.Linear(y, x, w, Tensor{}) })
			for range 30 {
				d.Do(func() { d.Linear(z, x, w, Tensor{}) })
				runtime.Gosched()
			}
			if !slices.Equal(content(y), content(z)) {
				t.Errorf("goroutine %d: two passes differ", i)
			}
		})
	}
	wait.Wait()
	d.Close()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	}
}
