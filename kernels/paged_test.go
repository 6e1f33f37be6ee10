package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"retool/kernels/emu"
)

// pagedCase is sequences whose keys lie in shuffled pages; the last rows of each are this step's.
type pagedCase struct {
	h       Heads
	lengths []int32 // of sequences
	fresh   []int32 // rows of this step, of each
	pages   []int32 // (S,N)
	N       int
	starts  []int32
	slots   []int32 // of all tokens of all sequences, in order
	total   int     // pages
}

func drawPaged(t *rapid.T, h Heads) (c pagedCase) {
	c.h, c.starts = h, []int32{0}
	S := rapid.IntRange(1, 3).Draw(t, "S")
	need := 0
	for range S {
		n := rapid.IntRange(1, 150).Draw(t, "length")
		fresh := 1
		if rapid.Bool().Draw(t, "prefill") {
			fresh = rapid.IntRange(1, n).Draw(t, "fresh")
		}
		c.lengths, c.fresh = append(c.lengths, int32(n)), append(c.fresh, int32(fresh))
		c.starts = append(c.starts, c.starts[len(c.starts)-1]+int32(fresh))
		c.N = max(c.N, (n+PageTokens-1)/PageTokens)
		need += (n + PageTokens - 1) / PageTokens
	}
	c.total = need + rapid.IntRange(0, 3).Draw(t, "spare")
	numbers := make([]int32, c.total)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	numbers = rapid.Permutation(numbers).Draw(t, "pages")
	c.pages = slices.Repeat([]int32{0}, S*c.N)
	for s, n := range c.lengths {
		for i := range (int(n) + PageTokens - 1) / PageTokens {
			c.pages[s*c.N+i], numbers = numbers[0], numbers[1:]
		}
		for i := range n {
			c.slots = append(c.slots, c.pages[s*c.N+int(i)/PageTokens]*PageTokens+i%PageTokens)
		}
	}
	return c
}

func (c *pagedCase) table(s *subject) PageTable {
	return PageTable{Pages: s.ints(c.pages, len(c.lengths), c.N), Starts: s.ints(c.starts), Len: s.ints(c.lengths)}
}

func checkPagedAttentionOp(t *rapid.T, s *subject) {
	c := drawPaged(t, s.heads(t))
	h := c.h
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	all := []int32{0}
	for _, n := range c.lengths {
		all = append(all, all[len(all)-1]+n)
	}
	T, R := int(all[len(all)-1]), int(c.starts[len(c.starts)-1])
	q, k, v := s.numbers(t, T*QD, "q"), s.numbers(t, T*KD, "k"), s.numbers(t, T*KD, "v")
	whole, _ := refAttention(q, k, v, all, h)
	var want, fresh []float64
	for i, n := range c.fresh {
		from, to := int(all[i+1]-n)*QD, int(all[i+1])*QD
		want, fresh = append(want, whole[from:to]...), append(fresh, q[from:to]...)
	}
	kv := s.dev.AllocKV(s.dtype, c.total, h)
	// A padded step: sequences without rows, and rows after the last sequence, whose keys are stored nowhere.
	pad := rapid.IntRange(0, 3).Draw(t, "pad")
	for range pad {
		c.starts, c.lengths, c.pages = append(c.starts, int32(R)), append(c.lengths, 0), append(c.pages, slices.Repeat([]int32{0}, c.N)...)
		c.slots, fresh, k, v = append(c.slots, -1), append(fresh, nans(QD)...), append(k, nans(KD)...), append(v, nans(KD)...)
	}
	T, R = T+pad, R+pad
	qt, kt, vt, o := s.place(t, fresh, R, QD), s.place(t, k, T, KD), s.place(t, v, T, KD), s.place(t, fresh, R, QD)
	slots, table := s.ints(c.slots), c.table(s)
	cut := rapid.IntRange(0, T).Draw(t, "cut")
	s.do(t, func() {
		if cut > 0 {
			s.dev.AppendKV(kv, kt.Rows(0, cut), vt.Rows(0, cut), slots.Rows(0, cut))
		}
		if cut < T {
			s.dev.AppendKV(kv, kt.Rows(cut, T), vt.Rows(cut, T), slots.Rows(cut, T))
		}
		s.dev.PagedAttention(o, qt, kv, table, h)
	})
	s.near(t, "o", s.read(o)[:len(want)], want, 1)
	s.free(qt, kt, vt, o, slots, table.Pages, table.Starts, table.Len)
	s.dev.FreeKV(kv)
}

func nans(n int) []float64 { return slices.Repeat([]float64{math.NaN()}, n) }

// checkCopyPagesOp copies all pages of a case to others, spoils the first ones, and attends over the copies.
func checkCopyPagesOp(t *rapid.T, s *subject) {
	c := drawPaged(t, s.heads(t))
	h := c.h
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	T, R := len(c.slots), int(c.starts[len(c.starts)-1])
	q, k, v := s.numbers(t, R*QD, "q"), s.numbers(t, T*KD, "k"), s.numbers(t, T*KD, "v")
	kv := s.dev.AllocKV(s.dtype, 2*c.total, h)
	qt, kt, vt, o, again := s.place(t, q, R, QD), s.place(t, k, T, KD), s.place(t, v, T, KD), s.place(t, q, R, QD), s.place(t, q, R, QD)
	slots, table := s.ints(c.slots), c.table(s)
	var src, dst []int32
	for i := range c.total {
		src, dst = append(src, int32(i)), append(dst, int32(2*c.total-1-i))
	}
	moved := slices.Clone(c.pages)
	for i := range moved {
		moved[i] = int32(2*c.total-1) - moved[i]
	}
	st, dt, mt := s.ints(src), s.ints(dst), s.ints(moved, len(c.lengths), c.N)
	s.do(t, func() {
		s.dev.AppendKV(kv, kt, vt, slots)
		s.dev.PagedAttention(o, qt, kv, table, h)
		s.dev.CopyPages(kv, dt, st)
		s.dev.AppendKV(kv, vt, kt, slots)
		table.Pages = mt
		s.dev.PagedAttention(again, qt, kv, table, h)
	})
	s.near(t, "o", s.read(again), s.read(o), 0)
	s.free(qt, kt, vt, o, again, slots, table.Starts, table.Len, st, dt, mt)
	s.dev.FreeKV(kv)
}

// KVBytes is what AllocKV takes for a page.
func TestKVBytesAreThoseOfAPage(t *testing.T) {
	h := Heads{Q: 6, KV: 3, Dim: 64}
	c, g := newCPU(1, goSIMD), emulated(t, emu.Options{Capability: 80})
	c.AllocKV(F32, 5, h)
	if want := int64(5 * c.KVBytes(F32, h)); c.bytes.Load() != want {
		t.Errorf("the CPU took %d bytes for 5 pages, want %d", c.bytes.Load(), want)
	}
	g.AllocKV(BF16, 5, h)
	if want := int64(5 * g.KVBytes(BF16, h)); g.bytes.Load() != want {
		t.Errorf("the GPU took %d bytes for 5 pages, want %d", g.bytes.Load(), want)
	}
	if c.KVBytes(F32, h) != 2*g.KVBytes(BF16, h) {
		t.Errorf("a page has %d bytes on the CPU, float32, and %d on a GPU, bf16", c.KVBytes(F32, h), g.KVBytes(BF16, h))
	}
}
