package kernels

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/kernels/ptx"
)

// The bit tests of the numerics contract, on the emulated GPU and on hardware where there is some. The emulator adds in a fixed order: equal
// bits there show an equal order, and equal bits on hardware show the rest.

// onEveryGPU runs a test on the emulator, as sm_80 and with the kernels of Hopper as sm_90a, and likewise on the first GPU of this machine if the
// build has the tag and there is one.
func onEveryGPU(t *testing.T, f func(t *testing.T, d *GPU)) {
	t.Run("sm_80", func(t *testing.T) { f(t, emulated(t, emu.Options{Capability: 80})) })
	t.Run("sm_90a", func(t *testing.T) { f(t, hopper(t, emu.Options{})) })
	for _, variant := range []string{"portable", "Hopper"} {
		g, err := OpenGPU(0)
		if errors.Is(err, driver.ErrNoGPU) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if variant == "portable" || g.Hopper() == nil {
			t.Run("hardware, "+variant, func(t *testing.T) { f(t, g) })
		}
		g.Close()
	}
}

// hopper is an emulated sm_90 that runs the kernels of Hopper.
func hopper(t testing.TB, o emu.Options) *GPU {
	o.Capability = 90
	d := emulated(t, o)
	if err := d.Hopper(); err != nil {
		t.Fatal(err)
	}
	return d
}

// normals is n numbers of a bf16 tensor.
func normals(seed uint64, n int) []float32 {
	rng := newRand(seed)
	x := make([]float32, n)
	for i := range x {
		x[i] = roundBF16(float32(rng.normal()))
	}
	return x
}

func upload(d Device, x []float32, rows, cols int) Tensor {
	t := d.Alloc(BF16, rows, cols)
	d.Upload(t, x)
	return t
}

// bits16 and bits32 are the content of a tensor, as it is stored.
func bits16(d Device, x Tensor) []uint16 {
	b := make([]uint16, x.Len())
	d.Download(b, x)
	return b
}

func floats32(d Device, x Tensor) []float32 {
	b := make([]float32, x.Len())
	d.Download(b, x)
	return b
}

func mustDo(t testing.TB, d Device, f func()) {
	t.Helper()
	if err := d.Do(f); err != nil {
		t.Fatal(err)
	}
}

func TestGPURowsOfLinearDoNotSeeEachOther(t *testing.T) { onEveryGPU(t, rowsOfLinearDoNotSeeEachOther) }

func rowsOfLinearDoNotSeeEachOther(t *testing.T, d *GPU) {
	const N, M, most = 136, 72, 150
	x, w := upload(d, normals(1, most*M), most, M), upload(d, normals(2, N*M), N, M)
	y := d.Alloc(BF16, most, N)
	mustDo(t, d, func() { d.Linear(y, x, w, Tensor{}) })
	want := bits16(d, y)
	for _, T := range []int{1, 2, 15, 16, 17, fewRows, fewRows + 1, 64, 65, 128, 129} {
		z := d.Alloc(BF16, T, N)
		from := most - T
		mustDo(t, d, func() { d.Linear(z, x.Rows(from, most), w, Tensor{}) })
		if got := bits16(d, z); !slices.Equal(got, want[from*N:]) {
			t.Errorf("rows of Linear among %d differ from those among %d", T, most)
		}
	}
}

// attended is a sequence that packed attention has computed.
type attended struct {
	h       Heads
	n       int
	q, k, v []float32
	o       []uint16
}

func packedAttention(t testing.TB, d Device, h Heads, n int, seed uint64) attended {
	a := attended{h: h, n: n, q: normals(seed, n*h.Q*h.Dim), k: normals(seed+1, n*h.KV*h.Dim), v: normals(seed+2, n*h.KV*h.Dim)}
	o, starts := d.Alloc(BF16, n, h.Q*h.Dim), d.Alloc(I32, 2)
	d.Upload(starts, []int32{0, int32(n)})
	q, k, v := upload(d, a.q, n, h.Q*h.Dim), upload(d, a.k, n, h.KV*h.Dim), upload(d, a.v, n, h.KV*h.Dim)
	mustDo(t, d, func() { d.Attention(o, Tensor{}, q, k, v, starts, h) })
	a.o = bits16(d, o)
	return a
}

// resume feeds a sequence to the cache in slices that end at cuts, over pages in the order given, and returns the outputs of all slices.
func (a attended) resume(t testing.TB, d Device, cuts []int, pages []int32, spoil bool) []uint16 {
	h := a.h
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	kv := d.AllocKV(int(slices.Max(pages))+1, h)
	q, k, v := upload(d, a.q, a.n, QD), upload(d, a.k, a.n, KD), upload(d, a.v, a.n, KD)
	slots := make([]int32, a.n)
	for i := range slots {
		slots[i] = pages[i/PageTokens]*PageTokens + int32(i%PageTokens)
	}
	st := d.Alloc(I32, a.n)
	d.Upload(st, slots)
	if spoil {
		// What freed pages held: NaN.
		nan := d.Alloc(BF16, len(pages)*PageTokens, KD)
		x := make([]uint16, nan.Len())
		for i := range x {
			x[i] = 0x7fff
		}
		d.Upload(nan, x)
		all := make([]int32, len(pages)*PageTokens)
		for i := range all {
			all[i] = pages[i/PageTokens]*PageTokens + int32(i%PageTokens)
		}
		at := d.Alloc(I32, len(all))
		d.Upload(at, all)
		mustDo(t, d, func() { d.AppendKV(kv, nan, nan, at) })
	}
	table := PageTable{Pages: d.Alloc(I32, 1, len(pages)), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
	d.Upload(table.Pages, pages)
	var out []uint16
	from := 0
	for _, to := range append(slices.Clone(cuts), a.n) {
		if to == from {
			continue
		}
		d.Upload(table.Starts, []int32{0, int32(to - from)})
		d.Upload(table.Len, []int32{int32(to)})
		o := d.Alloc(BF16, to-from, QD)
		mustDo(t, d, func() {
			d.AppendKV(kv, k.Rows(from, to), v.Rows(from, to), st.Rows(from, to))
			d.PagedAttention(o, q.Rows(from, to), kv, table, h)
		})
		out = append(out, bits16(d, o)...)
		d.Free(o)
		from = to
	}
	return out
}

func TestGPUPausesAndPagesDoNotChangeBits(t *testing.T) { onEveryGPU(t, pausesAndPagesDoNotChangeBits) }

func pausesAndPagesDoNotChangeBits(t *testing.T, d *GPU) {
	for _, h := range []Heads{{Q: 7, KV: 1, Dim: 32, Chunk: 64}, {Q: 4, KV: 2, Dim: 64, Chunk: 128}, {Q: 6, KV: 1, Dim: 128, Chunk: 64}} {
		n := 150
		if h.Dim == 128 {
			n = 70
		}
		a := packedAttention(t, d, h, n, 3)
		every := []int{}
		for i := n - 6; i < n; i++ {
			every = append(every, i)
		}
		for _, c := range []struct {
			name  string
			cuts  []int
			pages []int32
			spoil bool
		}{
			{"chunks split over blocks", []int{65, 140}, []int32{2, 1, 0}, true},
			{"whole", nil, []int32{0, 1, 2}, false},
			{"other pages", nil, []int32{5, 3, 4}, false},
			{"stale pages", nil, []int32{1, 2, 0}, true},
			{"a pause before a page", []int{63}, []int32{0, 1, 2}, true},
			{"a pause at a page", []int{64}, []int32{0, 1, 2}, true},
			{"a pause behind it", []int{65, 66}, []int32{0, 1, 2}, true},
			{"token by token", every, []int32{2, 0, 1}, true},
		} {
			d.split = 0
			if strings.Contains(c.name, "split") {
				d.split = 1 << 30
			}
			cuts := slices.DeleteFunc(slices.Clone(c.cuts), func(at int) bool { return at >= n })
			if got := a.resume(t, d, cuts, c.pages, c.spoil); !slices.Equal(got, a.o) {
				t.Errorf("%+v, %s: bits differ from packed attention", h, c.name)
			}
		}
		// The test would see a difference: another chunk is another order.
		other := h
		other.Chunk = 0
		if b := packedAttention(t, d, other, n, 3); slices.Equal(b.o, a.o) {
			t.Errorf("%+v: the chunk does not show in the bits", h)
		}
	}
}

func TestGPUSequencesDoNotSeeTheirBatch(t *testing.T) { onEveryGPU(t, sequencesDoNotSeeTheirBatch) }

func sequencesDoNotSeeTheirBatch(t *testing.T, d *GPU) {
	h := Heads{Q: 6, KV: 2, Dim: 32, Chunk: 64}
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	lengths := []int{3, 0, 90, 64}
	for range 40 { // more than a warp looks at in one turn
		lengths = append(lengths, 1)
	}
	var starts []int32
	var q, k, v []float32
	var want []uint16
	T := 0
	for i, n := range lengths {
		starts = append(starts, int32(T))
		T += n
		if n == 0 {
			continue
		}
		a := packedAttention(t, d, h, n, uint64(100+10*i))
		q, k, v, want = append(q, a.q...), append(k, a.k...), append(v, a.v...), append(want, a.o...)
	}
	starts = append(starts, int32(T))
	o, st := d.Alloc(BF16, T, QD), d.Alloc(I32, len(starts))
	d.Upload(st, starts)
	qt, kt, vt := upload(d, q, T, QD), upload(d, k, T, KD), upload(d, v, T, KD)
	mustDo(t, d, func() { d.Attention(o, Tensor{}, qt, kt, vt, st, h) })
	if !slices.Equal(bits16(d, o), want) {
		t.Error("a sequence's bits depend on the batch")
	}
}

// Gradients have one order: twice the same call gives twice the same bits, under any schedule.
func TestGPUGradientsRepeat(t *testing.T) {
	h := Heads{Q: 4, KV: 2, Dim: 32, Chunk: 64}
	const T = 100
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	run := func(d *GPU) (all []float32) {
		st := d.Alloc(I32, 3)
		d.Upload(st, []int32{0, 30, T})
		q, k, v, do := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, T*KD), T, KD), upload(d, normals(3, T*KD), T, KD), upload(d, normals(4, T*QD), T, QD)
		o, lse := d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
		dq, dk, dv, dw, db := d.Alloc(F32, T, QD), d.Alloc(F32, T, KD), d.Alloc(F32, T, KD), d.Alloc(F32, KD, QD), d.Alloc(F32, KD)
		mustDo(t, d, func() {
			d.Attention(o, lse, q, k, v, st, h)
			d.AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, st, h)
			d.LinearBackward(Tensor{}, dw, db, k, q, Tensor{})
		})
		for _, x := range []Tensor{dq, dk, dv, dw, db} {
			all = append(all, floats32(d, x)...)
		}
		return all
	}
	onEveryGPU(t, func(t *testing.T, d *GPU) {
		if !slices.Equal(run(d), run(d)) {
			t.Error("two runs give different gradients")
		}
	})
	want := run(emulated(t, emu.Options{Capability: 80}))
	for _, seed := range []uint64{1, 2} {
		if !slices.Equal(run(emulated(t, emu.Options{Capability: 80, Seed: seed})), want) {
			t.Errorf("schedule %d changes gradients", seed)
		}
	}
}

func TestGPURepeatReplaysWhatDoDoes(t *testing.T) { onEveryGPU(t, repeatReplaysWhatDoDoes) }

func repeatReplaysWhatDoDoes(t *testing.T, d *GPU) {
	x, y := upload(d, normals(1, 20*64), 20, 64), d.Alloc(BF16, 20, 64)
	w := upload(d, normals(2, 64), 1, 64).Reshape(64)
	calls := 0
	pass := func() { calls++; d.RMSNorm(y, Tensor{}, x, Tensor{}, w, 1e-6); d.Add(y, x) }
	mustDo(t, d, pass)
	want := bits16(d, y)
	for i := range 3 {
		if err := d.Repeat("pass", pass); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(bits16(d, y), want) {
			t.Errorf("replay %d differs from Do", i)
		}
		d.Zero(y)
	}
	if calls != 2 {
		t.Errorf("the pass was called %d times, want once by Do and once to record it", calls)
	}
	// With a door inside there is no graph.
	for range 2 {
		if err := d.Repeat("door", func() { calls++; d.Upload(x, normals(1, 20*64)); pass() }); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 6 {
		t.Errorf("a pass with a door was called %d times, want each time", (calls-2)/2)
	}
}

// Shared tiles are laid out so that no two lanes meet in a bank, and the emulator counts it: in the whole of GEMM and attention, as sm_80 and as
// sm_90a. (Operands of wgmma are read by the tensor cores themselves; their swizzle is what the descriptor says.)
func TestGPUMainLoopsHaveNoBankConflicts(t *testing.T) {
	for _, capability := range []int{80, 90} {
		dev := emu.New(emu.Options{Capability: capability})
		d, err := NewGPU(dev)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		if capability == 90 {
			if err := d.Hopper(); err != nil {
				t.Fatal(err)
			}
		}
		count := func(name string, f func()) {
			dev.Reset()
			mustDo(t, d, f)
			if c := dev.Counters(); c.Conflicts != 0 || c.SharedRequests == 0 || c.MMA == 0 {
				t.Errorf("sm_%d, %s: %d conflicts in %d requests, %d mma", capability, name, c.Conflicts, c.SharedRequests, c.MMA)
			}
		}
		// The sizes of tiles: of 4 multiprocessors none is to be idle.
		x, w, y := upload(d, normals(1, 256*128), 256, 128), upload(d, normals(2, 512*128), 512, 128), d.Alloc(BF16, 256, 512)
		count("Linear", func() { d.Linear(y, x, w, Tensor{}) })
		count("Linear, middle tiles", func() { d.Linear(y.Rows(0, 64).Cols(0, 256), x.Rows(0, 64), w.Rows(0, 256), Tensor{}) })
		count("Linear, small tiles", func() { d.Linear(y.Rows(0, 33).Cols(0, 64), x.Rows(0, 33), w.Rows(0, 64), Tensor{}) })
		count("Linear, few rows", func() { d.Linear(y.Rows(0, 16), x.Rows(0, 16), w, Tensor{}) })
		dims := []int{64, 128}
		if capability == 80 {
			dims = []int{16, 32, 64, 128}
		}
		for _, c := range [][3]int{{128, 128, 128}, {256, 64, 512}, {64, 256, 512}} { // small tiles of both, large ones of dx, of dw
			T, N, M := c[0], c[1], c[2]
			dx, dw, dy := d.Alloc(F32, T, M), d.Alloc(F32, N, M), d.Alloc(BF16, T, N)
			x, w := upload(d, normals(5, T*M), T, M), upload(d, normals(6, N*M), N, M)
			count(fmt.Sprint("LinearBackward ", c), func() { d.LinearBackward(dx, dw, Tensor{}, dy, x, w) })
		}
		for _, dim := range dims {
			h := Heads{Q: 2, KV: 1, Dim: dim, Chunk: 64}
			q, k := upload(d, normals(3, 128*2*dim), 128, 2*dim), upload(d, normals(4, 128*dim), 128, dim)
			o, lse, st := d.Alloc(BF16, 128, 2*dim), d.Alloc(F32, 128, 2), d.Alloc(I32, 2)
			d.Upload(st, []int32{0, 128})
			count(fmt.Sprint("Attention ", dim), func() { d.Attention(o, lse, q, k, k, st, h) })
			kv, pages := d.AllocKV(3, h), PageTable{Pages: d.Alloc(I32, 1, 3), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
			d.Upload(pages.Pages, []int32{2, 0, 1})
			d.Upload(pages.Starts, []int32{0, 1})
			d.Upload(pages.Len, []int32{150})
			for _, split := range []int{0, 1 << 30} {
				d.split = split
				count(fmt.Sprint("PagedAttention ", dim), func() { d.PagedAttention(o.Rows(0, 1), q.Rows(0, 1), kv, pages, h) })
			}
			{
				dq, dk, dv := d.Alloc(F32, 128, 2*dim), d.Alloc(F32, 128, dim), d.Alloc(F32, 128, dim)
				count(fmt.Sprint("AttentionBackward ", dim), func() { d.AttentionBackward(dq, dk, dv, o, o, lse, q, k, k, st, h) })
			}
		}
	}
}

// edited is an emulated GPU on which one family is loaded from other text.
func edited(t testing.TB, fam string, text string) *GPU {
	g := emulated(t, emu.Options{Capability: 80})
	if strings.HasSuffix(fam, ".sm90a") {
		g = hopper(t, emu.Options{})
	}
	if err := g.Raw(func(drv driver.Driver) error {
		m, err := drv.Load([]byte(text))
		g.mods[fam] = m
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return g
}

// entryText cuts an entry out of a file: what stands before it, its text, what follows.
func entryText(t testing.TB, text, entry string) (before, body, after string) {
	from := strings.Index(text, ".entry "+entry+"(")
	if from < 0 {
		t.Fatalf("no entry %s", entry)
	}
	to := len(text)
	if n := strings.Index(text[from+1:], ".entry "); n >= 0 {
		to = from + n
	}
	return text[:from], text[from:to], text[to:]
}

// barriers are passes that together run every barrier of an entry.
var barriers = []struct {
	family, entry string
	pass          func(t testing.TB, d *GPU) error
}{
	{"norm.sm80", "rmsnorm_fwd_block", func(t testing.TB, d *GPU) error {
		x, y, w := d.Alloc(BF16, 3, 2048), d.Alloc(BF16, 3, 2048), d.Alloc(BF16, 2048)
		return d.Do(func() { d.RMSNorm(y, Tensor{}, x, Tensor{}, w, 1e-6) })
	}},
	{"norm.sm80", "rmsnorm_bwd_weight", func(t testing.TB, d *GPU) error {
		x, w, r, dw := d.Alloc(BF16, 90, 64), d.Alloc(BF16, 64), d.Alloc(F32, 90), d.Alloc(F32, 64)
		return d.Do(func() { d.RMSNormBackward(Tensor{}, dw, x, x, w, r) })
	}},
	{"embed.sm80", "embed_bwd", func(t testing.TB, d *GPU) error {
		ids, dy, dt := d.Alloc(I32, 200), d.Alloc(BF16, 200, 1100), d.Alloc(F32, 4, 1100)
		return d.Do(func() { d.EmbedBackward(dt, dy, ids) })
	}},
	{"linear.sm80", "linear_nt", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 130, 256), d.Alloc(BF16, 130, 130)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_nt64", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 70, 320), d.Alloc(BF16, 70, 70)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_nt16", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(BF16, 16, 576), d.Alloc(BF16, 16, 16) // 9 steps: the last one reads the stage that the sums overwrite
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"linear.sm80", "linear_f32", func(t testing.TB, d *GPU) error {
		x, y := d.Alloc(F32, 70, 40), d.Alloc(F32, 70, 70)
		return d.Do(func() { d.Linear(y, x, x, Tensor{}) })
	}},
	{"sample.sm80", "sample_part", func(t testing.TB, d *GPU) error { return drawOne(t, d, Sampling{Temperature: 1, TopP: 1}) }},
	{"sample.sm80", "sample_pick", func(t testing.TB, d *GPU) error { return drawOne(t, d, Sampling{Temperature: 1, TopP: 0.5, TopK: 3}) }},
	{"attention.sm80", "attention_fwd_bf16_d32", attendAndBack},
	{"attention.sm80", "attention_bwd_q_bf16_d32", attendAndBack},
	{"attention.sm80", "attention_bwd_kv_bf16_d32", attendAndBack},
	{"paged.sm80", "paged_fwd16_bf16_d64", func(t testing.TB, d *GPU) error {
		d.split = 0
		h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
		kv, q, o := d.AllocKV(4, h), d.Alloc(BF16, 1, 128), d.Alloc(BF16, 1, 128)
		table := PageTable{Pages: d.Alloc(I32, 1, 4), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
		d.Upload(table.Starts, []int32{0, 1})
		d.Upload(table.Len, []int32{200})
		return d.Do(func() { d.PagedAttention(o, q, kv, table, h) })
	}},
	{"logits.sm80", "log_sum_exp", func(t testing.TB, d *GPU) error {
		x, lse := d.Alloc(F32, 2, 300), d.Alloc(F32, 2)
		return d.Do(func() { d.LogSumExp(lse, x, 1) })
	}},
	{"loss.sm80", "value_loss", func(t testing.TB, d *GPU) error {
		x, stats := d.Alloc(F32, 300), d.Alloc(F32, Stats)
		return d.Do(func() { d.ValueLoss(d.Alloc(F32, 300), stats, x, Targets{Weight: x, Return: x}, 0) })
	}},
	{"optim.sm80", "sum_squares", func(t testing.TB, d *GPU) error {
		x, out := d.Alloc(F32, 5000), d.Alloc(F32, 1)
		return d.Do(func() { d.SumSquares(out, x) })
	}},
}

// onHopper are passes through kernels of Hopper, and what they compute.
var onHopper = []struct {
	family, entry string
	pass          func(t testing.TB, d *GPU) ([]uint16, error)
}{
	{"attention.sm90a", "attention_fwd_wgmma_d64", attendOnHopper},
	{"attention.sm90a", "attention_bwd_q_wgmma_d64", func(t testing.TB, d *GPU) ([]uint16, error) { return backOnHopper(d, true) }},
	{"attention.sm90a", "attention_bwd_kv_wgmma_d64", func(t testing.TB, d *GPU) ([]uint16, error) { return backOnHopper(d, false) }},
	{"paged.sm90a", "paged_fwd_wgmma_d64", pagedOnHopper},
	{"linear.sm90a", "linear_nt32_wgmma", linearOnHopper},
	{"linear.sm90a", "linear_nn_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 4 steps each
		dy, w, dx := upload(d, normals(1, 264*200), 264, 200), upload(d, normals(2, 200*264), 200, 264), d.Alloc(BF16, 264, 264)
		return result(d, dx, func() { d.LinearBackward(dx, Tensor{}, Tensor{}, dy, Tensor{}, w) })
	}},
	{"linear.sm90a", "linear_tn64_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 10 steps each on 8 stages
		dy, x, dw := upload(d, normals(1, 600*136), 600, 136), upload(d, normals(2, 600*136), 600, 136), d.Alloc(BF16, 136, 136)
		return result(d, dw, func() { d.LinearBackward(Tensor{}, dw, Tensor{}, dy, x, Tensor{}) })
	}},
	{"linear.sm90a", "linear_nt_wgmma", func(t testing.TB, d *GPU) ([]uint16, error) { // 6 tiles for 4 blocks, 4 steps each
		x, w, y := upload(d, normals(1, 260*200), 260, 200), upload(d, normals(2, 260*200), 260, 200), d.Alloc(BF16, 260, 260)
		return result(d, y, func() { d.Linear(y, x, w, Tensor{}) })
	}},
}

// attendOnHopper has blocks with one team and with two, chunks to merge, tiles that end within a sequence, and stages that are used again.
func attendOnHopper(t testing.TB, d *GPU) ([]uint16, error) {
	h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
	const T = 330
	x, o, st := upload(d, normals(1, T*128), T, 128), d.Alloc(BF16, T, 128), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	return result(d, o, func() { d.Attention(o, Tensor{}, x, x.Cols(0, 64), x.Cols(64, 128), st, h) })
}

// backOnHopper has blocks with one team and with two, and stages that are used again.
func backOnHopper(d *GPU, q bool) ([]uint16, error) {
	h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
	const T = 330
	x, do, o := upload(d, normals(1, T*128), T, 128), upload(d, normals(2, T*128), T, 128), d.Alloc(BF16, T, 128)
	dq, dkv, lse, st := d.Alloc(BF16, T, 128), d.Alloc(BF16, T, 128), d.Alloc(F32, T, 2), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	k, v := x.Cols(0, 64), x.Cols(64, 128)
	if err := d.Do(func() { d.Attention(o, lse, x, k, v, st, h) }); err != nil {
		return nil, err
	}
	if q {
		return result(d, dq, func() { d.AttentionBackward(dq, Tensor{}, Tensor{}, do, o, lse, x, k, v, st, h) })
	}
	return result(d, dkv, func() { d.AttentionBackward(Tensor{}, dkv.Cols(0, 64), dkv.Cols(64, 128), do, o, lse, x, k, v, st, h) })
}

func pagedOnHopper(t testing.TB, d *GPU) ([]uint16, error) {
	d.split = 0
	h := Heads{Q: 2, KV: 1, Dim: 64, Chunk: 64}
	const n = 330
	kv, q, o := d.AllocKV(6, h), upload(d, normals(1, 64*128), 64, 128), d.Alloc(BF16, 64, 128)
	k, slots := upload(d, normals(2, n*64), n, 64), make([]int32, n)
	for i := range slots {
		slots[i] = int32(i)
	}
	st := d.Alloc(I32, n)
	d.Upload(st, slots)
	table := PageTable{Pages: d.Alloc(I32, 1, 6), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
	d.Upload(table.Pages, []int32{0, 1, 2, 3, 4, 5})
	d.Upload(table.Starts, []int32{0, 64})
	d.Upload(table.Len, []int32{n})
	return result(d, o, func() {
		d.AppendKV(kv, k, k, st)
		d.PagedAttention(o, q, kv, table, h)
	})
}

// linearOnHopper uses every stage again, and its block with two tiles its place for sums.
func linearOnHopper(t testing.TB, d *GPU) ([]uint16, error) {
	const m, n, k = 40, 136, 840
	x, w, y := upload(d, normals(1, m*k), m, k), upload(d, normals(2, n*k), n, k), d.Alloc(BF16, m, n)
	return result(d, y, func() { d.Linear(y, x, w, Tensor{}) })
}

func result(d *GPU, y Tensor, f func()) ([]uint16, error) {
	if err := d.Do(f); err != nil {
		return nil, err
	}
	return bits16(d, y), nil
}

func attendAndBack(t testing.TB, d *GPU) error {
	h := Heads{Q: 2, KV: 1, Dim: 32, Chunk: 64}
	const T = 200
	q, k, o := d.Alloc(BF16, T, 64), d.Alloc(BF16, T, 32), d.Alloc(BF16, T, 64)
	lse, st := d.Alloc(F32, T, 2), d.Alloc(I32, 2)
	d.Upload(st, []int32{0, T})
	dq, dk, dv := d.Alloc(F32, T, 64), d.Alloc(F32, T, 32), d.Alloc(F32, T, 32)
	return d.Do(func() {
		d.Attention(o, lse, q, k, k, st, h)
		d.AttentionBackward(dq, dk, dv, o, o, lse, q, k, k, st, h)
	})
}

// drawOne draws from 3000 equal logits: with a restriction, the first draws fall outside of it.
func drawOne(t testing.TB, d *GPU, s Sampling) error {
	logits, lse, ids, keys := d.Alloc(F32, 1, 3000), d.Alloc(F32, 1), d.Alloc(I32, 1), d.Alloc(I32, 1, 3)
	return d.Do(func() {
		d.LogSumExp(lse, logits, 1)
		d.Sample(ids, logits, lse, keys, s)
	})
}

// Every barrier in the kernels that ship is needed, and its loss is seen: deleted from the PTX, one at a time, the checker reports a race, a
// read of what nobody wrote, or a touch of a copy under way, with the line of the kernel.
func TestGPUDeletedBarriersAreReported(t *testing.T) {
	all := slices.Clone(barriers)
	for _, c := range onHopper {
		b := barriers[0]
		b.family, b.entry, b.pass = c.family, c.entry, func(t testing.TB, d *GPU) error { _, err := c.pass(t, d); return err }
		all = append(all, b)
	}
	for _, c := range all {
		text, err := ptx.Text(c.family)
		if err != nil {
			t.Fatal(err)
		}
		before, body, after := entryText(t, string(text), c.entry)
		if err := c.pass(t, edited(t, c.family, string(text))); err != nil {
			t.Errorf("%s as it ships: %v", c.entry, err)
			continue
		}
		places := barrierLine.FindAllStringIndex(body, -1)
		if len(places) == 0 {
			t.Errorf("%s has no barrier", c.entry)
		}
		for i, at := range places {
			err := c.pass(t, edited(t, c.family, before+body[:at[0]]+body[at[1]:]+after))
			reports := emu.Reports(err)
			if len(reports) == 0 {
				t.Errorf("%s without its barrier %d of %d, %q: %v, want a report", c.entry, i+1, len(places), body[at[0]:at[1]], err)
			}
			for _, r := range reports {
				if !strings.Contains(r.At.String(), ".cu:") {
					t.Errorf("%s: a report without a line: %v", c.entry, r)
				}
			}
		}
	}
}

// barrierLine is a barrier of a block, of some of its warps, or of a warp.
var barrierLine = regexp.MustCompile(`(?m)^\s*bar\.(warp\.)?sync\s[^;]*;`)

// Every step by which the kernels of Hopper wait for one another is needed: deleted, one at a time, the checker reports it, or what is used too
// early shows in the outputs.
func TestGPUDeletedWaitsOfHopperAreReported(t *testing.T) {
	waits := regexp.MustCompile(`(?m)^(mbarrier\.try_wait\S* p|\s*(mbarrier\.(init|arrive)|fence\.proxy|wgmma\.wait_group|cp\.async\.wait_group))[^;]*;`)
	for _, c := range onHopper {
		text, err := ptx.Text(c.family)
		if err != nil {
			t.Fatal(err)
		}
		want, err := c.pass(t, edited(t, c.family, string(text)))
		if err != nil {
			t.Fatalf("%s as it ships: %v", c.entry, err)
		}
		before, body, after := entryText(t, string(text), c.entry)
		places := waits.FindAllStringIndex(body, -1)
		if len(places) < 10 {
			t.Errorf("%s has %d such steps", c.entry, len(places))
		}
		inits := 0
		for _, at := range places {
			if strings.Contains(body[at[0]:at[1]], "mbarrier.init") {
				if inits++; inits > 2 {
					continue // of the first stage's two; the others are written by the same loop
				}
			}
			line, instead := strings.TrimSpace(body[at[0]:at[1]]), ""
			if strings.Contains(line, "try_wait") {
				instead = "setp.eq.u32 p, 0, 0;"
			}
			if got, err := c.pass(t, edited(t, c.family, before+body[:at[0]]+instead+body[at[1]:]+after)); err == nil && slices.Equal(got, want) {
				t.Errorf("%s without %q: nobody sees it", c.entry, line)
			}
		}
	}
}

// What no checker can see, the numbers show: exchanged registers in the text of an mma, and keys that are awaited too late.
func TestGPUOtherEditsAreSeen(t *testing.T) {
	const fam, entry = "attention.sm80", "attention_fwd_bf16_d32"
	text, err := ptx.Text(fam)
	if err != nil {
		t.Fatal(err)
	}
	before, body, after := entryText(t, string(text), entry)
	h := Heads{Q: 2, KV: 1, Dim: 32, Chunk: 64}
	const n = 80
	want := packedAttention(t, emulated(t, emu.Options{Capability: 80}), h, n, 3).o
	swap := func(line string, i, j int) string { // registers of an mma, counted through its operands
		var at []int
		for k := 0; k < len(line); k++ {
			if line[k] == '%' {
				at = append(at, k)
			}
		}
		word := func(k int) string {
			w := line[at[k]:]
			return w[:strings.IndexAny(w, ",}")]
		}
		a, b := word(i), word(j)
		return line[:at[i]] + b + line[at[i]+len(a):at[j]] + a + line[at[j]+len(b):]
	}
	each := func(find string, edit func(line string) string) string {
		lines := strings.Split(body, "\n")
		for i, l := range lines {
			if strings.Contains(l, find) {
				lines[i] = edit(l)
			}
		}
		return strings.Join(lines, "\n")
	}
	const mma = "mma.sync.aligned"
	for _, c := range []struct {
		name, body string
		kind       emu.Kind // "": the checker is silent, the values are wrong
	}{
		{"registers of B exchanged", each(mma, func(l string) string { return swap(l, 8, 9) }), ""},
		{"A and B exchanged", each(mma, func(l string) string { return swap(swap(l, 4, 8), 5, 9) }), ""},
		{"no wait for the copies", each("cp.async.wait_group", func(string) string { return "" }), emu.AsyncInFlight},
	} {
		d := edited(t, fam, before+c.body+after)
		if c.kind == "" {
			if got := packedAttention(t, d, h, n, 3).o; slices.Equal(got, want) {
				t.Errorf("%s: the outputs are the same", c.name)
			}
			continue
		}
		err := attendAndBack(t, d)
		if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == c.kind }) {
			t.Errorf("%s: %v, want %s", c.name, err, c.kind)
		}
	}
}

// A failure names the operation, stays, and comes back from Do.
func TestGPUFailuresNameTheOperation(t *testing.T) {
	d := emulated(t, emu.Options{Capability: 80})
	table, y, ids := d.Alloc(BF16, 4, 8), d.Alloc(BF16, 2, 8), d.Alloc(I32, 2)
	mustPanic(t, func() { d.Embed(y, table, ids) }, "Embed", "outside Do")
	d.Do(func() {
		mustPanic(t, func() { d.Attention(y, Tensor{}, y, y, y, ids, Heads{Q: 1, KV: 1, Dim: 8}) }, "heads are of 8", "16, 32, 64 and 128")
	})
	mustPanic(t, func() { packParams("k", ptx.Entry{Params: []ptx.Param{{Size: 4}}}, []any{5}) }, "parameter 0 has 4 bytes, Go passes int")
	other := newCPU(1, bestSIMD())
	defer other.Close()
	d.Do(func() { mustPanic(t, func() { d.Add(y, other.Alloc(F32, 2, 8)) }, "another device") })
	pages := PageTable{Pages: d.Alloc(I32, 1, 1), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
	d.Upload(pages.Pages, []int32{3}) // there is one page
	d.Upload(pages.Starts, []int32{0, 1})
	d.Upload(pages.Len, []int32{5})
	h := Heads{Q: 1, KV: 1, Dim: 16, Chunk: 64}
	kv, q := d.AllocKV(1, h), d.Alloc(BF16, 1, 16)
	err := d.Do(func() { d.PagedAttention(q, q, kv, pages, h) })
	if err == nil || !contains(err.Error(), "PagedAttention") || !contains(err.Error(), "global-oob") {
		t.Fatalf("a page that does not exist: %v", err)
	}
	if again := d.Do(func() {}); again == nil {
		t.Error("the failure was forgotten")
	}
	small := emulated(t, emu.Options{Capability: 80, Memory: 1 << 20})
	small.Alloc(F32, 1<<20)
	if err := small.Do(func() {}); err == nil || !contains(err.Error(), "4.0 MiB") || !contains(err.Error(), "out of memory") {
		t.Errorf("out of memory: %v", err)
	}
}

// What the world can refuse, in one sentence each that names what was expected and what was found.
func TestGPURefusalsAreSentences(t *testing.T) {
	one := func(what string, err error, words ...string) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
			return
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", what, err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v: want %q in it", what, err, w)
			}
		}
	}
	_, err := NewGPU(emu.New(emu.Options{Capability: 75}))
	one("architecture", err, "sm_75", "need sm_80 or newer", "device: cpu")
	one("Hopper's kernels elsewhere", emulated(t, emu.Options{Capability: 80}).Hopper(), "sm_80", "run on sm_90 only")

	norm := func(d *GPU, rows int) error {
		x, w := d.Alloc(BF16, rows, 64), d.Alloc(BF16, 64)
		return d.Do(func() { d.RMSNorm(x, Tensor{}, x, Tensor{}, w, 1e-6) })
	}
	one("driver", norm(emulated(t, emu.Options{Capability: 80, PTX: "6.4"}), 1), "load norm.sm80", "version 7.0", "too old and takes up to 6.4", "install a newer one")
	if err := norm(emulated(t, emu.Options{Capability: 80, PTX: "7.0"}), 1); err != nil {
		t.Errorf("a driver of PTX 7.0 does not load the portable kernels: %v", err)
	}
	modern := emulated(t, emu.Options{Capability: 90, PTX: "8.0"})
	if err := modern.Hopper(); err != nil {
		t.Fatal(err)
	}
	if _, err := linearOnHopper(t, modern); err != nil {
		t.Errorf("a driver of PTX 8.0 does not load Hopper's kernels: %v", err)
	}

	// The budget, for tensors, pages and the working memory of an operation.
	budget := func() *GPU { return emulated(t, emu.Options{Capability: 80, Memory: 1 << 20}) }
	one("memory", norm(budget(), 1<<14), "kernels: Alloc", "out of memory: asked for 2.0 MiB, 1.0 MiB of 1.0 MiB are free")
	d := budget()
	d.AllocKV(40, Heads{Q: 1, KV: 1, Dim: 128})
	one("pages", d.Do(func() {}), "out of memory: asked for 1.2 MiB")
	d = budget()
	h := Heads{Q: 1, KV: 1, Dim: 64}
	x, o, starts := d.Alloc(F32, 1024, 64), d.Alloc(BF16, 1024, 64), d.Alloc(I32, 2)
	d.Alloc(BF16, 3000, 64)
	one("working memory", d.Do(func() { d.Attention(o, Tensor{}, x, x, x, starts, h) }), "kernels: Attention: working memory: driver: out of memory", "of 1.0 MiB are free")

	// A fault names the operation, the kernel, and the line.
	d = emulated(t, emu.Options{Capability: 80})
	ids, table, rows := d.Alloc(I32, 1), d.Alloc(BF16, 4, 8), d.Alloc(BF16, 1, 8)
	src, dst := d.Alloc(I32, 1), d.Alloc(I32, 1)
	kv := d.AllocKV(1, Heads{Q: 1, KV: 1, Dim: 16})
	d.Upload(src, []int32{9}) // there is one page
	if err := d.Do(func() { d.Embed(rows, table, ids); d.CopyPages(kv, dst, src) }); err == nil || !strings.HasPrefix(err.Error(), "kernels: CopyPages: emu: paged.cu:") || !strings.Contains(err.Error(), "global-oob") {
		t.Errorf("a fault: %v", err)
	}
}

// The products of Hopper's tensor cores against the portable ones, through copies by tensor maps, for sizes that fill no tile, gradients of
// bf16 and of f32; rows do not see each other.
func TestGPUHopperLinearAgreesWithThePortable(t *testing.T) {
	portable := emulated(t, emu.Options{Capability: 80})
	if err := portable.Hopper(); err == nil {
		t.Error("sm_80 takes the kernels of Hopper")
	}
	for _, c := range []struct{ T, N, M int }{{1, 8, 8}, {130, 136, 72}, {100, 64, 456}, {7, 200, 128}, {300, 264, 136}} {
		run := func(d *GPU, T int) (y, dx, dw []uint16) {
			x, w, yt := upload(d, normals(1, c.T*c.M), c.T, c.M).Rows(0, T), upload(d, normals(2, c.N*c.M), c.N, c.M), d.Alloc(BF16, T, c.N)
			b, dy, exact := d.Alloc(F32, c.N), d.Alloc(BF16, c.T, c.N), d.Alloc(F32, c.T, c.N)
			d.Upload(b, normals(3, c.N))
			d.Upload(exact, normals(4, c.T*c.N))
			dxt, dwt := d.Alloc(BF16, T, c.M), d.Alloc(BF16, c.N, c.M)
			mustDo(t, d, func() {
				d.Linear(yt, x, w, b)
				d.Copy(dy, exact)
				d.LinearBackward(dxt, dwt, Tensor{}, dy.Rows(0, T), x, w)
				d.LinearBackward(dxt, Tensor{}, Tensor{}, exact.Rows(0, T), Tensor{}, w)
			})
			return bits16(d, yt), bits16(d, dxt), bits16(d, dwt)
		}
		for seed := range uint64(3) {
			d := emulated(t, emu.Options{Capability: 90, Seed: seed})
			if err := d.Hopper(); err != nil {
				t.Fatal(err)
			}
			y, dx, dw := run(d, c.T)
			// The emulator adds both in the same order: here even the bits agree.
			if py, pdx, pdw := run(portable, c.T); !slices.Equal(y, py) || !slices.Equal(dx, pdx) || !slices.Equal(dw, pdw) {
				t.Errorf("%v, schedule %d: y, dx or dw differ from the portable products: %v %v %v", c, seed, slices.Equal(y, py), slices.Equal(dx, pdx), slices.Equal(dw, pdw))
			}
			T := c.T/2 + 1
			if fewY, fewX, _ := run(d, T); !slices.Equal(fewY, y[:T*c.N]) || !slices.Equal(fewX, dx[:T*c.M]) {
				t.Errorf("%v: rows among %d differ from those among %d", c, T, c.T)
			}
		}
	}
}

// Attention of Hopper's tensor cores against the portable one: same tiles of keys, same steps, and in the emulator the same bits, for any group
// of heads, in every schedule. Sequences stand side by side; what stands behind the last one is NaN, and a NaN of one does not reach another.
func TestGPUHopperAttentionAgreesWithThePortable(t *testing.T) {
	for _, c := range []struct {
		h       Heads
		lengths []int
	}{
		{Heads{Q: 1, KV: 1, Dim: 64, Chunk: 0}, []int{130, 1}},
		{Heads{Q: 14, KV: 2, Dim: 64, Chunk: 64}, []int{5, 64, 0, 70}},
		{Heads{Q: 5, KV: 1, Dim: 128, Chunk: 128}, []int{63, 150}},
		{Heads{Q: 6, KV: 1, Dim: 128, Chunk: 64}, []int{65}},
	} {
		h, QD, KD, T := c.h, c.h.Q*c.h.Dim, c.h.KV*c.h.Dim, 0
		starts := []int32{0}
		for _, n := range c.lengths {
			T += n
			starts = append(starts, int32(T))
		}
		nan := 0 // the last token's values
		run := func(d *GPU) ([]uint16, []float32) {
			st, o, lse := d.Alloc(I32, len(starts)), d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
			d.Upload(st, starts)
			q, k, v := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, (T+3)*KD), T+3, KD), upload(d, normals(3, (T+3)*KD), T+3, KD)
			bad := make([]float32, (3+nan)*KD)
			for i := range bad {
				bad[i] = float32(math.NaN())
			}
			d.Upload(v.Rows(T-nan, T+3), bad)
			d.Upload(k.Rows(T, T+3), bad[:3*KD])
			mustDo(t, d, func() { d.Attention(o, lse, q, k.Rows(0, T), v.Rows(0, T), st, h) })
			return bits16(d, o), floats32(d, lse)
		}
		o, lse := run(emulated(t, emu.Options{Capability: 80}))
		for seed := range uint64(3) {
			got, gotLSE := run(hopper(t, emu.Options{Seed: seed}))
			if !slices.Equal(got, o) || !slices.Equal(gotLSE, lse) {
				t.Errorf("%+v %v, schedule %d: differs from the portable attention", h, c.lengths, seed)
			}
		}
		if len(c.lengths) < 2 || c.lengths[len(c.lengths)-1] == 0 {
			continue
		}
		nan = 1
		got, _ := run(hopper(t, emu.Options{}))
		if n := int(starts[len(starts)-2]) * QD; !slices.Equal(got[:n], o[:n]) {
			t.Errorf("%+v %v: NaN in the last sequence changes those before it", h, c.lengths)
		}
	}
}

// The gradients against the portable ones: dq in the same bits; dk and dv too where a group is one head, else they add the rows in another
// order. A NaN of the last sequence does not reach those before it.
func TestGPUHopperAttentionGradientsAgreeWithThePortable(t *testing.T) {
	for _, c := range []struct {
		h       Heads
		lengths []int
	}{
		{Heads{Q: 1, KV: 1, Dim: 64}, []int{130, 1}},
		{Heads{Q: 6, KV: 2, Dim: 64}, []int{5, 64, 0, 70}},
		{Heads{Q: 3, KV: 1, Dim: 128}, []int{63, 150}},
		{Heads{Q: 2, KV: 2, Dim: 128}, []int{200}},
		{Heads{Q: 2, KV: 1, Dim: 64}, []int{330, 64}},
	} {
		h, QD, KD, T := c.h, c.h.Q*c.h.Dim, c.h.KV*c.h.Dim, 0
		starts := []int32{0}
		for _, n := range c.lengths {
			T += n
			starts = append(starts, int32(T))
		}
		run := func(d *GPU, bad int) (dq, dk, dv []float32) { // bad: the last tokens are NaN
			st, o, lse := d.Alloc(I32, len(starts)), d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q)
			d.Upload(st, starts)
			q, k, v, do := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, T*KD), T, KD), upload(d, normals(3, T*KD), T, KD), upload(d, normals(4, T*QD), T, QD)
			for _, x := range []Tensor{q, k, v, do} {
				if rest := x.Rows(T-bad, T); bad > 0 {
					d.Upload(rest, slices.Repeat([]float32{float32(math.NaN())}, rest.Len()))
				}
			}
			dqt, dkt, dvt := d.Alloc(F32, T, QD), d.Alloc(F32, T, KD), d.Alloc(F32, T, KD)
			mustDo(t, d, func() {
				d.Attention(o, lse, q, k, v, st, h)
				d.AttentionBackward(dqt, dkt, dvt, do, o, lse, q, k, v, st, h)
			})
			return floats32(d, dqt), floats32(d, dkt), floats32(d, dvt)
		}
		dq, dk, dv := run(emulated(t, emu.Options{Capability: 80}), 0)
		near := func(a, b []float32) bool {
			top := float32(0)
			for _, x := range b {
				top = max(top, x, -x)
			}
			for i := range a {
				if d := a[i] - b[i]; !(max(d, -d) <= 1e-5*top) {
					return false
				}
			}
			return h.Q > h.KV || slices.Equal(a, b)
		}
		var hk, hv []float32
		for seed := range uint64(2) {
			hq, k, v := run(hopper(t, emu.Options{Seed: seed}), 0)
			if !slices.Equal(hq, dq) || !near(k, dk) || !near(v, dv) {
				t.Errorf("%+v %v, schedule %d: differs from the portable gradients: dq %v dk %v dv %v", h, c.lengths, seed, slices.Equal(hq, dq), near(k, dk), near(v, dv))
			}
			if seed > 0 && (!slices.Equal(k, hk) || !slices.Equal(v, hv)) {
				t.Errorf("%+v %v: the schedule shows in the gradients", h, c.lengths)
			}
			hk, hv = k, v
		}
		last := c.lengths[len(c.lengths)-1]
		q, k, v := run(hopper(t, emu.Options{}), last)
		if n := T - last; !slices.Equal(q[:n*QD], dq[:n*QD]) || !slices.Equal(k[:n*KD], hk[:n*KD]) || !slices.Equal(v[:n*KD], hv[:n*KD]) {
			t.Errorf("%+v %v: NaN in the last sequence changes those before it", h, c.lengths)
		}
	}
}

// Bugs of a pipeline over mbarriers, made in the PTX that ships.
func TestGPUHopperBugsAreReported(t *testing.T) {
	const fam = "linear.sm90a"
	file, err := ptx.Text(fam)
	if err != nil {
		t.Fatal(err)
	}
	before, text, after := entryText(t, string(file), "linear_nt32_wgmma")
	lines := strings.Split(text, "\n")
	edit := func(find string, nth int, to func(line string) string) string {
		out := slices.Clone(lines)
		for i, l := range out {
			if strings.Contains(l, find) && !strings.HasPrefix(l, "//") {
				if nth--; nth == 0 {
					out[i] = to(l)
				}
			}
		}
		return strings.Join(out, "\n")
	}
	gone := func(string) string { return "" }
	open := func(l string) string { // the wait that does not wait
		return "setp.eq.u32 p, 0, 0;"
	}
	for _, c := range []struct {
		name, text string
		want       emu.Kind
	}{
		{"as it ships", text, ""},
		{"the producer ignores the empty barrier", edit("mbarrier.try_wait", 1, open), emu.MBarrier},
		{"the consumer ignores the full barrier", edit("mbarrier.try_wait", 2, open), emu.AsyncInFlight},
		{"too few bytes are expected", regexp.MustCompile(`(mov\.u32\s+%r\d+), 12288;`).ReplaceAllString(text, "$1, 12272;"), emu.Deadlock},
		{"a stage is never given back", strings.ReplaceAll(text, "mbarrier.arrive.shared::cta.b64 _", "// "), emu.Deadlock},
		{"barriers are not initialised", edit("mbarrier.init", 1, gone), emu.MBarrier},
		{"no barrier after the initialisation", edit("\tbar.sync \t0;", 1, gone), emu.MBarrier},
	} {
		d := emulated(t, emu.Options{Capability: 90})
		if err := d.Hopper(); err != nil {
			t.Fatal(err)
		}
		if err := d.Raw(func(drv driver.Driver) error {
			m, err := drv.Load([]byte(before + c.text + after))
			d.mods[fam] = m
			return err
		}); err != nil {
			t.Fatal(err)
		}
		_, err := linearOnHopper(t, d)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == c.want }) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
