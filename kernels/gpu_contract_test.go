package kernels

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
)

// The bit tests of the numerics contract, on the emulated GPU and on hardware where there is some. The emulator adds in a fixed order:
// equal bits there show an equal order, and equal bits on hardware show the rest.

// multiprocessors are how many the tiles of products and the parts of contexts are chosen for: 4, for which small tests take large tiles,
// and those of an H100.
var multiprocessors = []int{4, 132}

// onEveryGPU runs a test on emulated GPUs that queue, as sm_80 and with the kernels of Hopper as sm_90a, and likewise on the first GPU of
// this machine if the build has the tag and there is one.
func onEveryGPU(t *testing.T, f func(t *testing.T, d *GPU)) {
	for _, n := range multiprocessors {
		o := emu.Options{Capability: 80, Multiprocessors: n, Queued: true}
		t.Run(fmt.Sprint("sm_80 of ", n), func(t *testing.T) { f(t, emulated(t, o)) })
		t.Run(fmt.Sprint("sm_90a of ", n), func(t *testing.T) { f(t, hopper(t, o)) })
	}
	first, err := OpenGPU(0)
	if errors.Is(err, driver.ErrNoGPU) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	capability := first.info.Capability
	first.Close()
	for _, variant := range []string{"sm80", "sm90a"} {
		for _, n := range multiprocessors {
			if variant == "sm90a" && capability != 90 {
				continue
			}
			t.Run(fmt.Sprintf("hardware %s of %d", variant, n), func(t *testing.T) {
				d := hardware(t, variant == "sm90a", n)
				defer d.Close()
				f(t, d)
			})
		}
	}
}

// hardware opens the first GPU of this machine, which is there, to choose as with n multiprocessors, or with its own if n is 0.
func hardware(t *testing.T, hopper bool, n int) *GPU {
	g, err := OpenGPU(0)
	if err != nil {
		t.Fatal(err)
	}
	if hopper {
		if err := g.Hopper(); err != nil {
			t.Fatal(err)
		}
	}
	if n > 0 {
		chooseFor(g, n)
	}
	return g
}

// chooseFor makes d choose tiles and parts as with n multiprocessors, whatever it has.
func chooseFor(d *GPU, n int) { d.info.Multiprocessors, d.split = n, 2*n }

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
	kv := d.AllocKV(BF16, int(slices.Max(pages))+1, h)
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
	for i, h := range heads {
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		lengths := slices.Clone(ragged)
		if i == 0 {
			for range 40 { // more than a warp looks at in one turn
				lengths = append(lengths, 1)
			}
		}
		starts, T := startsOf(lengths)
		var q, k, v []float32
		var want []uint16
		for i, n := range lengths {
			if n == 0 {
				continue
			}
			a := packedAttention(t, d, h, n, uint64(100+10*i))
			q, k, v, want = append(q, a.q...), append(k, a.k...), append(v, a.v...), append(want, a.o...)
		}
		o, st := d.Alloc(BF16, T, QD), d.Alloc(I32, len(starts))
		d.Upload(st, starts)
		qt, kt, vt := upload(d, q, T, QD), upload(d, k, T, KD), upload(d, v, T, KD)
		mustDo(t, d, func() { d.Attention(o, Tensor{}, qt, kt, vt, st, h) })
		if !slices.Equal(bits16(d, o), want) {
			t.Errorf("%+v: a sequence's bits depend on the batch", h)
		}
	}
}

func TestGPURaggedStepsAreThePackedPass(t *testing.T) { onEveryGPU(t, raggedStepsAreThePackedPass) }

// Some last rows of every sequence as one step over pages, padded by sequences without rows and by rows of nobody: the bits of the packed
// pass, with contexts in one piece and in parts.
func raggedStepsAreThePackedPass(t *testing.T, d *GPU) {
	was := d.split
	defer func() { d.split = was }()
	for _, h := range heads {
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		starts, T := startsOf(ragged)
		q, k, v := normals(1, T*QD), normals(2, T*KD), normals(3, T*KD)
		o, st := d.Alloc(BF16, T, QD), d.Alloc(I32, len(starts))
		d.Upload(st, starts)
		qt, kt, vt := upload(d, q, T, QD), upload(d, k, T, KD), upload(d, v, T, KD)
		mustDo(t, d, func() { d.Attention(o, Tensor{}, qt, kt, vt, st, h) })
		packed := bits16(d, o)

		const width, pad = 3, 2
		slots, table, lens, rows := []int32{}, []int32{}, []int32{}, []int32{0}
		for i, n := range ragged { // pages of a sequence: in descending order
			for p := range width {
				table = append(table, int32(i*width+width-1-p))
			}
			for j := range n {
				slots = append(slots, table[i*width+j/PageTokens]*PageTokens+int32(j%PageTokens))
			}
			lens = append(lens, int32(n))
		}
		ints := func(x []int32, shape ...int) Tensor {
			t := d.Alloc(I32, shape...)
			d.Upload(t, x)
			return t
		}
		for _, most := range []int{1, 100} { // rows of a sequence: a decode step, a mixed one
			var fresh []float32
			var want []uint16
			rows = rows[:1]
			for i, n := range ragged {
				from, to := int(starts[i])+max(0, n-most), int(starts[i+1])
				fresh, want = append(fresh, q[from*QD:to*QD]...), append(want, packed[from*QD:to*QD]...)
				rows = append(rows, rows[i]+int32(to-from))
			}
			R := int(rows[len(ragged)]) + pad
			fresh = append(fresh, normals(9, pad*QD)...)
			for range pad {
				rows = append(rows, rows[len(ragged)])
			}
			S := len(ragged) + pad
			pt := PageTable{Pages: ints(slices.Concat(table, make([]int32, pad*width)), S, width), Starts: ints(rows, S+1)}
			pt.Len = ints(slices.Concat(lens, make([]int32, pad)), S)
			kv, out, ft := d.AllocKV(BF16, len(ragged)*width, h), d.Alloc(BF16, R, QD), upload(d, fresh, R, QD)
			at := ints(slots, T)
			for _, split := range []int{0, 1 << 30} {
				d.split = split
				mustDo(t, d, func() {
					d.AppendKV(kv, kt, vt, at)
					d.PagedAttention(out, ft, kv, pt, h)
				})
				if got := bits16(d, out); !slices.Equal(got[:len(want)], want) {
					t.Errorf("%+v, up to %d rows a sequence, parts from %d blocks on: bits differ from the packed pass", h, most, split)
				}
			}
			for _, plan := range everyPlan(d, h) {
				planned := pt
				work := append([]int32{-1, 0}, workOf(plan, rows[:len(lens)+1], lens, h)...)
				planned.Work, planned.Rows, planned.Parts = ints(work, len(work)/2, 2), plan.Rows, plan.Parts
				again := d.Alloc(BF16, R, QD)
				mustDo(t, d, func() { d.PagedAttention(again, ft, kv, planned, h) })
				if got := bits16(d, again); !slices.Equal(got[:len(want)], want) {
					t.Errorf("%+v, up to %d rows a sequence, planned in tiles of %d, in parts: %v: bits differ from the packed pass", h, most,
						plan.Rows, plan.Parts)
				}
			}
		}
	}
}

// everyPlan is one of each kind that there are kernels for, without work.
func everyPlan(d *GPU, h Heads) []PagePlan {
	few, many := d.pagedRows(h)
	plans := []PagePlan{{Rows: few}, {Rows: many}}
	if h.Chunk > 0 {
		plans = append(plans, PagePlan{Rows: few, Parts: true})
		if d.wgmma(h) {
			plans = append(plans, PagePlan{Rows: many, Parts: true})
		}
	}
	return plans
}

// workOf lists what there is to do, every tile of rows of every sequence, and of each every chunk that it sees, if the plan is of parts.
func workOf(p PagePlan, starts, lens []int32, h Heads) (work []int32) {
	G := h.Q / h.KV
	for s, n := range lens {
		tokens := int(starts[s+1] - starts[s])
		for row := 0; row < tokens*G; row += p.Rows {
			last := int(n) - tokens + (min(row+p.Rows, tokens*G)-1)/G
			for key := 0; key <= last; key += h.Chunk {
				at := row / p.Rows << 16
				if p.Parts {
					at += key / h.Chunk
				}
				if work = append(work, int32(s), int32(at)); !p.Parts {
					break
				}
			}
		}
	}
	return work
}

// Gradients have one order: twice the same call gives twice the same bits, under any schedule.
func TestGPUGradientsRepeat(t *testing.T) {
	h := Heads{Q: 4, KV: 2, Dim: 32, Chunk: 64}
	const T = 100
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	run := func(d *GPU) (all []float32) {
		st := d.Alloc(I32, 3)
		d.Upload(st, []int32{0, 30, T})
		q, k, v, do := upload(d, normals(1, T*QD), T, QD), upload(d, normals(2, T*KD), T, KD), upload(d, normals(3, T*KD), T, KD),
			upload(d, normals(4, T*QD), T, QD)
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
		mustDo(t, d, func() { d.Repeat("pass", pass) })
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
		mustDo(t, d, func() { d.Repeat("door", func() { calls++; d.Upload(x, normals(1, 20*64)); pass() }) })
	}
	if calls != 6 {
		t.Errorf("a pass with a door was called %d times, want each time", (calls-2)/2)
	}
}

// Shared tiles are laid out so that no two lanes meet in a bank, and the emulator counts it: in the whole of GEMM and attention, as sm_80
// and as sm_90a. (Operands of wgmma are read by the tensor cores themselves; their swizzle is what the descriptor says.)
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
			kv, pages := d.AllocKV(BF16, 3, h), PageTable{Pages: d.Alloc(I32, 1, 3), Starts: d.Alloc(I32, 2), Len: d.Alloc(I32, 1)}
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
