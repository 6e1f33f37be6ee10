package kernels

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"retool/kernels/emu"
	"retool/kernels/ptx"
)

// launches remembers which kernels a device launched, and with parameters of which sizes.
type launches struct {
	mu    sync.Mutex
	sizes map[string][]int
}

func (l *launches) record(o emu.Options) emu.Options {
	l.sizes = map[string][]int{}
	o.Launched = func(entry string, sizes []int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sizes[entry] = sizes
	}
	return o
}

// Every kernel of the manifest is launched, by the operation that it is for, on an emulated GPU that queues, of four multiprocessors and
// of as many as an H100 has; and each is given as many bytes for each parameter as ptxas made room for: KPARAM_INFO.
func TestGPUEveryKernelIsLaunched(t *testing.T) {
	for _, processors := range []int{4, 132} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			// Large tiles for 132 are many: their races were looked for with 4.
			o := emu.Options{Capability: 80, Multiprocessors: processors, Queued: true, NoCheck: processors > 4}
			var portable, hopper launches
			everyOperation(t, emulated(t, portable.record(o)), []int{16, 32, 64, 128}, portableTiles)
			o.Capability = 90
			d := emulated(t, hopper.record(o))
			if err := d.Hopper(); err != nil {
				t.Fatal(err)
			}
			everyOperation(t, d, []int{64, 128}, hopperTiles)
			maps.Copy(portable.sizes, hopper.sizes)
			for fam, f := range ptx.Read().Families {
				for name, e := range f.Entries {
					switch sizes := portable.sizes[name]; {
					case sizes == nil:
						t.Errorf("no operation launches %s of %s", name, fam)
					case !slices.Equal(sizes, e.Sizes()):
						t.Errorf("%s is launched with parameters of %v bytes, it has %v", name, sizes, e.Sizes())
					}
					delete(portable.sizes, name)
				}
			}
			if len(portable.sizes) > 0 {
				t.Errorf("launched, and not in the manifest: %v", portable.sizes)
			}
		})
	}
}

// everyOperation calls every operation in every way that is a kernel of its own: sizes of heads, lengths of rows, tiles of products.
func everyOperation(t *testing.T, d *GPU, dims []int, tiles []tiling) {
	for _, tile := range tiles {
		everyProduct(t, d, tile)
	}
	x, w, y := d.Alloc(BF16, 8, 64), d.Alloc(BF16, 8, 64), d.Alloc(BF16, 8, 8)
	fx, fw, fy, db := d.Alloc(F32, 8, 8), d.Alloc(F32, 8, 8), d.Alloc(F32, 8, 8), d.Alloc(F32, 8)
	ids, exact := d.Alloc(I32, 8), d.Alloc(F32, 8, 64)
	mustDo(t, d, func() {
		d.Linear(y, x, w, Tensor{}) // few rows
		d.Linear(fy, fx, fw, Tensor{})
		d.LinearBackward(fw, Tensor{}, db, fy, fx, fw)
		d.Embed(x, w, ids)
		d.EmbedBackward(exact, x, ids)
		d.SwiGLU(x, w, w)
		d.SwiGLUBackward(exact, exact, x, w, w)
		d.Add(x, w)
		d.Copy(exact, x)
		d.Zero(exact)
	})
	for _, n := range []int{64, 2 * warpRow} {
		x, w, rstd, dx, dw := d.Alloc(BF16, 3, n), d.Alloc(BF16, n), d.Alloc(F32, 3), d.Alloc(F32, 3, n), d.Alloc(F32, n)
		mustDo(t, d, func() {
			d.RMSNorm(x, rstd, x, Tensor{}, w, 1e-6)
			d.RMSNormBackward(dx, dw, x, x, w, rstd)
		})
	}
	for _, dim := range dims {
		everyAttention(t, d, Heads{Q: 2, KV: 1, Dim: dim, Chunk: 64})
	}
	everyRow(t, d)
}

// everyProduct multiplies a few of a tile, forward and, if it has those kernels, both ways back.
func everyProduct(t *testing.T, d *GPU, tile tiling) {
	takeTile(d, tile)
	defer func() { d.pick = d.choose }()
	m, n := 2*tile.rows, tile.cols
	const k = 8
	x, w, y := d.Alloc(BF16, m, k), d.Alloc(BF16, n, k), d.Alloc(BF16, m, n)
	mustDo(t, d, func() { d.Linear(y, x, w, Tensor{}) })
	if tile.draws {
		logits, ids, row, keys := d.Alloc(F32, m, n), d.Alloc(I32, m), d.Alloc(F32, m), d.Alloc(I32, m, 3)
		mustDo(t, d, func() { d.Draw(ids, row, logits, row, x, w, keys, Sampling{Temperature: 1, TopP: 1}) })
		d.Free(logits)
	}
	d.Free(y)
	if !tile.back {
		return
	}
	dy, wide, deep := d.Alloc(BF16, m, k), d.Alloc(BF16, k, n), d.Alloc(BF16, k, m)
	dx := d.Alloc(F32, m, n)
	mustDo(t, d, func() {
		d.LinearBackward(dx, Tensor{}, Tensor{}, dy, Tensor{}, wide)   // dx (m,n) += dy (m,k) · w (k,n)
		d.LinearBackward(Tensor{}, dx, Tensor{}, deep, wide, Tensor{}) // dw (m,n) += dyᵀ (k,m) · x (k,n)
	})
	d.Free(dx)
}

func everyAttention(t *testing.T, d *GPU, h Heads) {
	const T = 70
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	q, k, qkv, pos := d.Alloc(BF16, T, QD), d.Alloc(BF16, T, KD), d.Alloc(BF16, T, QD+2*KD), d.Alloc(I32, T)
	o, lse, starts, angles := d.Alloc(BF16, T, QD), d.Alloc(F32, T, h.Q), d.Alloc(I32, 2), d.Alloc(F32, 1, h.Dim)
	dq, dk, dv := d.Alloc(F32, T, QD), d.Alloc(F32, T, KD), d.Alloc(F32, T, KD)
	d.Upload(starts, []int32{0, T})
	mustDo(t, d, func() {
		d.RoPE(qkv.Cols(0, QD+KD), Tensor{}, Tensor{}, qkv, Rotary{Pos: pos, Table: angles}, h)
		d.RoPEBackward(dq.Reshape(T, h.Q, h.Dim), pos, angles)
		d.Attention(o, lse, q, k, k, starts, h)
		d.AttentionBackward(dq, dk, dv, o, o, lse, q, k, k, starts, h)
	})
	slots := make([]int32, T)
	for i := range slots {
		slots[i] = int32(i)
	}
	st, kv := d.Alloc(I32, T), d.AllocKV(BF16, 3, h)
	d.Upload(st, slots)
	table := PageTable{Pages: d.Alloc(I32, 1, 2), Starts: starts, Len: d.Alloc(I32, 1)}
	d.Upload(table.Pages, []int32{0, 1})
	d.Upload(table.Len, []int32{T})
	one := table
	one.Starts = d.Alloc(I32, 2)
	d.Upload(one.Starts, []int32{0, 1})
	ids := d.Alloc(I32, 1)
	mustDo(t, d, func() {
		d.AppendKV(kv, k, k, st)
		d.CopyPages(kv, ids, ids)
		d.PagedAttention(o, q, kv, table, h)
		d.PagedAttention(o.Rows(0, 1), q.Rows(0, 1), kv, one, h)
	})
	for _, split := range []int{0, 1 << 30} { // whole contexts, whatever the number of multiprocessors, and parts of them
		d.split = split
		mustDo(t, d, func() {
			d.PagedAttention(o, q, kv, table, h)
			d.PagedAttention(o.Rows(0, 1), q.Rows(0, 1), kv, one, h)
		})
	}
	d.split = 2 * d.info.Multiprocessors
	one.Work = d.Alloc(I32, 1, 2)
	d.Upload(one.Work, []int32{0, 0})
	for _, plan := range everyPlan(d, h) {
		one.Rows, one.Parts = plan.Rows, plan.Parts
		mustDo(t, d, func() { d.PagedAttention(o.Rows(0, 1), q.Rows(0, 1), kv, one, h) })
	}
}

func everyRow(t *testing.T, d *GPU) {
	logits, lse, ids, keys := d.Alloc(F32, 2, 40), d.Alloc(F32, 2), d.Alloc(I32, 2), d.Alloc(I32, 2, 3)
	kept, starts := d.Alloc(I32, 2, KeptWords(40)), d.Alloc(I32, 3)
	a, b, stats, one := d.Alloc(F32, 2), d.Alloc(F32, 2), d.Alloc(F32, Stats), d.Alloc(F32, 1)
	w, master, g, mv := d.Alloc(BF16, 64), d.Alloc(F32, 64), d.Alloc(F32, 64), d.Alloc(F32, 128)
	low, m, v := d.Alloc(BF16, 64), d.Alloc(BF16, 64), d.Alloc(BF16, 64)
	mustDo(t, d, func() {
		d.LogSumExp(lse, logits, 1)
		d.Sample(ids, logits, lse, keys, Sampling{Temperature: 1, TopP: 1})
		d.LogProb(a, b, logits, lse, ids, 1)
		d.Restrict(logits, kept, lse, Sampling{Temperature: 1, TopP: 0.5})
		d.Keep(logits, starts, ids)
		d.LogProbBackward(logits, logits, lse, ids, a, Tensor{}, 1)
		d.PolicyLoss(b, stats, a, Targets{Weight: a, OldLogProb: a, Advantage: a}, Clip{Low: 0.2, High: 0.2})
		d.ValueLoss(b, stats, a, Targets{Weight: a, Return: a}, 0)
		d.SumSquares(one, g)
		d.SumTree(mv.Rows(0, 32), g.Reshape(2, 32))
		d.AdamW(w, master, g, mv.Rows(0, 64), mv.Rows(64, 128), AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Scale: 1, Step: 1})
		d.Split(w, low, g)
		d.AdamW(w, low, g, m, v, AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Scale: 1, Step: 1})
		d.Join(g, w, low)
	})
}
