package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"retool/kernels"
)

// A Model is the sizes of a transformer whose operations are measured.
type Model struct {
	Name                                                string
	Layers, Hidden, Heads, KVHeads, HeadDim, FFN, Vocab int
	Train                                               int // tokens of a training batch
}

// Models are the shapes of the figures: the demo's, a bigger one, and that of Qwen2.5-0.5B.
var Models = []Model{
	{"d128", 4, 128, 4, 4, 32, 384, 512, 4096},
	{"d256", 6, 256, 8, 8, 32, 768, 512, 4096},
	{"q05", 24, 896, 14, 2, 64, 4864, 151936, 512},
}

// KernelOptions selects what Kernels measures.
type KernelOptions struct {
	Models []string      // names; none: d128 and d256
	Ops    []string      // substrings of operations' names; none: all
	Decode []int         // batch sizes of a decode step; none: 1, 8, 32, 64
	Budget time.Duration // per row; 0: 30 ms
	Floor  *Floor        // none: calibrated first
}

// Kernels measures every operation of a device at the shapes of models, in training and in decode, each against its floor.
func Kernels(dev kernels.Device, o KernelOptions) ([]Row, error) {
	if len(o.Models) == 0 {
		o.Models = []string{"d128", "d256"}
	}
	if len(o.Decode) == 0 {
		o.Decode = []int{1, 8, 32, 64}
	}
	if o.Budget == 0 {
		o.Budget = 30 * time.Millisecond
	}
	if o.Floor == nil {
		f := Calibrate(dev)
		o.Floor = &f
	}
	k := &kernelBench{dev: dev, o: o}
	for _, name := range o.Models {
		i := slices.IndexFunc(Models, func(m Model) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("bench: no model %q (known: d128, d256, q05)", name)
		}
		k.m = Models[i]
		k.training()
		for _, batch := range o.Decode {
			k.decode(batch)
		}
		k.update()
	}
	return k.rows, k.err
}

type kernelBench struct {
	dev  kernels.Device
	o    KernelOptions
	m    Model
	rows []Row
	held []kernels.Tensor
	err  error
}

// wanted reports whether an operation is to be measured.
func (k *kernelBench) wanted(op string) bool {
	return k.err == nil && (len(k.o.Ops) == 0 || slices.ContainsFunc(k.o.Ops, func(s string) bool { return strings.Contains(op, s) }))
}

// row measures f, one call of an operation that needs so many operations and bytes. Where there are operations to speak of, the
// row is a rate of them, else of bytes.
func (k *kernelBench) row(op, shape string, flop, bytes float64, f func()) {
	if !k.wanted(op) {
		return
	}
	// A product on one thread is compared with multiply-adds of the same moment, anything else with the floor.
	threads := k.dev.Info().Threads
	compute := threads == 1 && k.o.Floor.turns > 0 && flop/k.o.Floor.FLOPs > bytes/k.o.Floor.Read
	var done float64
	var yardstick func()
	if compute {
		yardstick = func() { done = kernels.FMAs(k.dev, k.o.Floor.turns/8) }
	}
	seconds, relative := best(k.o.Budget, clock(threads), yardstick, func(n int) {
		if err := k.dev.Do(func() {
			for range n {
				f()
			}
		}); err != nil {
			k.err = err
		}
	})
	value, unit := bytes/seconds/1e9, "GB/s"
	if flop > 0 {
		value, unit = flop/seconds/1e9, "GFLOP/s"
	}
	r := k.o.Floor.row(op, k.m.Name+" "+shape, value, unit, flop, bytes, seconds)
	if compute {
		r.OfPeak, r.seconds = flop/done/relative, 0
	}
	k.rows = append(k.rows, r)
}

// tensor is numbers between −½ and ½.
func (k *kernelBench) tensor(shape ...int) kernels.Tensor {
	t := k.dev.Alloc(kernels.F32, shape...)
	k.held = append(k.held, t)
	x := make([]float32, t.Len())
	state := uint32(1)
	for i := range x {
		state = state*1664525 + 1013904223
		x[i] = float32(state>>8)/(1<<24) - 0.5
	}
	k.dev.Upload(t, x)
	return t
}

func (k *kernelBench) ints(n int, at func(i int) int, shape ...int) kernels.Tensor {
	if len(shape) == 0 {
		shape = []int{n}
	}
	t := k.dev.Alloc(kernels.I32, shape...)
	k.held = append(k.held, t)
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(at(i))
	}
	k.dev.Upload(t, x)
	return t
}

func (k *kernelBench) free() {
	for _, t := range k.held {
		k.dev.Free(t)
	}
	k.held = k.held[:0]
}

// matrices are the products of a block: their outputs and inner sizes.
func (k *kernelBench) matrices() (all [][2]int) {
	q := (k.m.Heads + 2*k.m.KVHeads) * k.m.HeadDim
	all = append(all, [2]int{q, k.m.Hidden}, [2]int{k.m.Hidden, k.m.Heads * k.m.HeadDim}, [2]int{2 * k.m.FFN, k.m.Hidden}, [2]int{k.m.Hidden, k.m.FFN})
	if k.m.Vocab < 10000 {
		all = append(all, [2]int{k.m.Vocab, k.m.Hidden})
	}
	return all
}

var absent kernels.Tensor

func (k *kernelBench) training() {
	m, dev, T := k.m, k.dev, k.m.Train
	for _, w := range k.matrices() {
		N, M := w[0], w[1]
		if !k.wanted("linear") && !k.wanted("linear dx") && !k.wanted("linear dw") {
			break
		}
		shape := fmt.Sprintf("T %d N %d M %d", T, N, M)
		flop, bytes := 2*float64(T)*float64(N)*float64(M), 4*float64(T*N+T*M+N*M)
		y, x, wt := k.tensor(T, N), k.tensor(T, M), k.tensor(N, M)
		k.row("linear", shape, flop, bytes, func() { dev.Linear(y, x, wt, absent) })
		k.row("linear dx", shape, flop, bytes, func() { dev.LinearBackward(x, absent, absent, y, absent, wt) })
		k.row("linear dw", shape, flop, bytes, func() { dev.LinearBackward(absent, wt, absent, y, x, absent) })
		k.free()
	}
	C, F, V := m.Hidden, m.FFN, min(m.Vocab, 1<<22/T)
	shape := fmt.Sprintf("T %d C %d", T, C)
	n := 4 * float64(T*C)
	x, y, dx, w, dw, r := k.tensor(T, C), k.tensor(T, C), k.tensor(T, C), k.tensor(C), k.tensor(C), k.tensor(T)
	k.row("rmsnorm", shape, 0, 2*n, func() { dev.RMSNorm(y, r, x, absent, w, 1e-6) })
	k.row("rmsnorm add", shape, 0, 4*n, func() { dev.RMSNorm(y, r, x, dx, w, 1e-6) })
	k.row("rmsnorm backward", shape, 0, 4*n, func() { dev.RMSNormBackward(dx, dw, y, x, w, r) })
	k.row("add", shape, 0, 3*n, func() { dev.Add(y, x) })
	ids := k.ints(T, func(i int) int { return i * 7 % 500 })
	table := k.tensor(512, C)
	k.row("embed", shape, 0, 2*n, func() { dev.Embed(y, table, ids) })
	k.row("embed backward", shape, 0, 3*n, func() { dev.EmbedBackward(table, y, ids) })
	k.free()
	turned, heads := (m.Heads+m.KVHeads)*m.HeadDim, kernels.Heads{Q: m.Heads, KV: m.KVHeads, Dim: m.HeadDim}
	rotary := kernels.Rotary{Pos: k.ints(T, func(i int) int { return i % 512 }), Table: k.tensor(512, m.HeadDim)}
	qkv := k.tensor(T, turned+m.KVHeads*m.HeadDim)
	k.row("rope", fmt.Sprintf("T %d H %d K %d D %d", T, m.Heads, m.KVHeads, m.HeadDim), 0, 8*float64(T*turned), func() {
		dev.RoPE(qkv.Cols(0, turned), absent, absent, qkv, rotary, heads)
	})
	k.free()

	shape = fmt.Sprintf("T %d F %d", T, F)
	n = 4 * float64(T*F)
	gu, dgu, act := k.tensor(T, 2*F), k.tensor(T, 2*F), k.tensor(T, F)
	k.row("swiglu", shape, 0, 3*n, func() { dev.SwiGLU(act, gu.Cols(0, F), gu.Cols(F, 2*F)) })
	k.row("swiglu backward", shape, 0, 7*n, func() {
		dev.SwiGLUBackward(dgu.Cols(0, F), dgu.Cols(F, 2*F), act, gu.Cols(0, F), gu.Cols(F, 2*F))
	})
	k.free()

	h := kernels.Heads{Q: m.Heads, KV: m.KVHeads, Dim: m.HeadDim}
	for _, length := range []int{128, 512} {
		S := T / length
		starts := k.ints(S+1, func(i int) int { return i * length })
		QD, KD := h.Q*h.Dim, h.KV*h.Dim
		qkv, dqkv := k.tensor(T, QD+2*KD), k.tensor(T, QD+2*KD)
		o, do, lse := k.tensor(T, QD), k.tensor(T, QD), k.tensor(T, h.Q)
		cut := func(x kernels.Tensor) (q, k, v kernels.Tensor) {
			return x.Cols(0, QD), x.Cols(QD, QD+KD), x.Cols(QD+KD, QD+2*KD)
		}
		q, kk, v := cut(qkv)
		dq, dk, dv := cut(dqkv)
		flop := 2 * float64(S) * float64(length) * float64(length+1) * float64(QD)
		bytes := 4 * float64(T) * float64(2*QD+2*KD)
		shape := fmt.Sprintf("T %d of %d H %d K %d D %d", T, length, h.Q, h.KV, h.Dim)
		k.row("attention", shape, flop, bytes, func() { dev.Attention(o, lse, q, kk, v, starts, h) })
		k.row("attention backward", shape, 2.5*flop, 2*bytes, func() { dev.AttentionBackward(dq, dk, dv, do, o, lse, q, kk, v, starts, h) })
		k.free()
	}

	k.head(T, V)
}

// head measures what sees the vocabulary.
func (k *kernelBench) head(R, V int) {
	dev := k.dev
	logits, lse, logp, ent := k.tensor(R, V), k.tensor(R), k.tensor(R), k.tensor(R)
	ids, keys := k.ints(R, func(i int) int { return i % V }), k.ints(3*R, func(i int) int { return i }, R, 3)
	n := 4 * float64(R*V)
	shape := fmt.Sprintf("R %d V %d", R, V)
	k.row("logsumexp", shape, 0, n, func() { dev.LogSumExp(lse, logits, 1) })
	k.row("logprob entropy", shape, 0, n, func() { dev.LogProb(logp, ent, logits, lse, ids, 1) })
	if err := dev.Do(func() { dev.LogSumExp(lse, logits, 1) }); err != nil {
		k.err = err
	}
	k.row("sample", shape, 0, n, func() { dev.Sample(ids, logits, lse, keys, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}) })
	if R >= 128 {
		k.row("logprob backward", shape, 0, 2*n, func() { dev.LogProbBackward(logits, lse, ids, logp, absent, 1) })
		t := kernels.Targets{Weight: k.tensor(R), OldLogProb: logp, Advantage: k.tensor(R)}
		stats := k.tensor(kernels.Stats)
		k.row("policy loss", shape, 0, 20*float64(R), func() { dev.PolicyLoss(ent, stats, logp, t, kernels.Clip{Low: 0.2, High: 0.2}) })
	}
	k.free()
}

// decode measures one token for each of B sequences of 144 tokens.
func (k *kernelBench) decode(B int) {
	m, dev := k.m, k.dev
	for _, w := range k.matrices() {
		N, M := w[0], w[1]
		if !k.wanted("linear") {
			break
		}
		y, x, wt := k.tensor(B, N), k.tensor(B, M), k.tensor(N, M)
		k.row("linear", fmt.Sprintf("T %d N %d M %d", B, N, M), 2*float64(B)*float64(N)*float64(M), 4*float64(B*N+B*M+N*M), func() { dev.Linear(y, x, wt, absent) })
		k.free()
	}
	const length = 144
	h := kernels.Heads{Q: m.Heads, KV: m.KVHeads, Dim: m.HeadDim}
	pages := (length + kernels.PageTokens - 1) / kernels.PageTokens
	kv := dev.AllocKV(B*pages, h)
	kk, v := k.tensor(length, h.KV*h.Dim), k.tensor(length, h.KV*h.Dim)
	for s := range B {
		slots := k.ints(length, func(i int) int { return s*pages*kernels.PageTokens + i })
		if err := dev.Do(func() { dev.AppendKV(kv, kk, v, slots) }); err != nil {
			k.err = err
		}
	}
	q, o := k.tensor(B, h.Q*h.Dim), k.tensor(B, h.Q*h.Dim)
	table := kernels.PageTable{
		Pages:  k.ints(B*pages, func(i int) int { return i }, B, pages),
		Starts: k.ints(B+1, func(i int) int { return i }),
		Len:    k.ints(B, func(int) int { return length }),
	}
	flop, bytes := 4*float64(B*length*h.Q*h.Dim), 8*float64(B*length*h.KV*h.Dim)
	shape := fmt.Sprintf("S %d of %d H %d K %d D %d", B, length, h.Q, h.KV, h.Dim)
	k.row("paged attention", shape, flop, bytes, func() { dev.PagedAttention(o, q, kv, table, h) })
	slots := k.ints(B, func(i int) int { return i*pages*kernels.PageTokens + length - 1 })
	kb, vb := k.tensor(B, h.KV*h.Dim), k.tensor(B, h.KV*h.Dim)
	k.row("append kv", shape, 0, 16*float64(B*h.KV*h.Dim), func() { dev.AppendKV(kv, kb, vb, slots) })
	dev.FreeKV(kv)
	C, F := m.Hidden, m.FFN
	x, y, w := k.tensor(B, C), k.tensor(B, C), k.tensor(C)
	k.row("rmsnorm", fmt.Sprintf("T %d C %d", B, C), 0, 8*float64(B*C), func() { dev.RMSNorm(y, absent, x, absent, w, 1e-6) })
	gu, act := k.tensor(B, 2*F), k.tensor(B, F)
	k.row("swiglu", fmt.Sprintf("T %d F %d", B, F), 0, 12*float64(B*F), func() { dev.SwiGLU(act, gu.Cols(0, F), gu.Cols(F, 2*F)) })
	k.free()
	k.head(B, m.Vocab)
}

// update measures what runs once per optimizer step.
func (k *kernelBench) update() {
	m, dev := k.m, k.dev
	n := m.Vocab * m.Hidden
	for _, w := range k.matrices()[:4] {
		n += m.Layers * w[0] * w[1]
	}
	n = min(n, 1<<24)
	if !k.wanted("adamw") && !k.wanted("sum of squares") {
		return
	}
	w, g, mm, v, out := k.tensor(n), k.tensor(n), k.tensor(n), k.tensor(n), k.tensor(1)
	dev.Zero(v)
	shape := fmt.Sprintf("n %d", n)
	step := kernels.AdamWStep{LR: 1e-6, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: 10}
	k.row("adamw", shape, 0, 28*float64(n), func() { dev.AdamW(w, absent, g, mm, v, step) })
	k.row("sum of squares", shape, 0, 4*float64(n), func() { dev.SumSquares(out, g) })
	k.free()
}
