package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"retool/kernels"
)

// A Case is one operation at one shape on a GPU, with the least work it can be done with. It is what the peers in peers.py are given.
type Case struct {
	Goal  string         `json:"goal"` // the line of the table of goals that it belongs to
	Op    string         `json:"op"`
	Dims  map[string]int `json:"dims"`
	FLOP  float64        `json:"flop"`
	Bytes float64        `json:"bytes"` // from and to memory, each once
}

// Shape is the dimensions in one word order: T before N before M.
func (c Case) Shape() string {
	names := []string{"T", "S", "L", "B", "new", "N", "M", "H", "K", "D", "C", "F", "R", "V", "n"}
	var parts []string
	for _, n := range names {
		if v, ok := c.Dims[n]; ok {
			parts = append(parts, fmt.Sprintf("%s %d", n, v))
		}
	}
	return strings.Join(parts, " ")
}

// newCase counts the work of an operation.
//
// Letters: T tokens, S sequences of L tokens each, B sequences of a decode step with L tokens in the cache and new ones each, N by M a weight,
// H query and K key heads of D, C hidden, F MLP width, R rows of V logits, n parameters.
func newCase(goal, op string, dims map[string]int) Case {
	c := Case{Goal: goal, Op: op, Dims: dims}
	d := func(name string) float64 { return float64(dims[name]) }
	T, S, L, B, N, M, H, K, D, C, F, R, V, n := d("T"), d("S"), d("L"), d("B"), d("N"), d("M"), d("H"), d("K"), d("D"), d("C"), d("F"), d("R"), d("V"), d("n")
	const bf16, f32 = 2, 4
	pairs := S * L * (L + 1) / 2 // that causal attention looks at
	switch op {
	case "linear":
		c.FLOP, c.Bytes = 2*T*N*M, bf16*(T*N+T*M+N*M)
	case "linear dx":
		c.FLOP, c.Bytes = 2*T*N*M, bf16*(T*N+2*T*M+N*M)
	case "linear dw":
		c.FLOP, c.Bytes = 2*T*N*M, bf16*(T*N+T*M)+2*f32*N*M
	case "attention":
		c.FLOP, c.Bytes = 4*pairs*H*D, bf16*S*L*(2*H+2*K)*D
	case "attention backward":
		c.FLOP, c.Bytes = 10*pairs*H*D, bf16*S*L*(4*H+4*K)*D
	case "paged attention":
		rows := d("new")
		c.FLOP, c.Bytes = 4*B*H*D*(rows*L-rows*(rows-1)/2), bf16*B*(2*L*K*D+2*rows*H*D)
	case "rope": // with bias, as Qwen2 has it: values are read and written too
		c.Bytes = bf16 * 2 * T * (H + 2*K) * D
	case "rope norm": // with norms over heads, as Qwen3 has it: turned heads go to memory of their own
		c.Bytes = bf16 * 2 * T * (H + K) * D
	case "append kv":
		c.Bytes = bf16 * 4 * T * K * D
	case "rmsnorm":
		c.Bytes = bf16 * 2 * T * C
	case "rmsnorm add":
		c.Bytes = bf16 * 4 * T * C
	case "rmsnorm backward": // dx is the residual stream's float32 gradient, read and written
		c.Bytes = 2*bf16*T*C + 2*f32*T*C
	case "add":
		c.Bytes = bf16 * 3 * T * C
	case "embed":
		c.Bytes = bf16 * 2 * T * C
	case "swiglu":
		c.Bytes = bf16 * 3 * T * F
	case "swiglu backward": // adds to dgate and dup
		c.Bytes = bf16 * 7 * T * F
	case "head": // logits, their log-sum-exp, log-probability and entropy: the fused floor has the product alone
		c.FLOP, c.Bytes = 2*R*V*C, bf16*(R*C+V*C)
	case "logprob":
		c.Bytes = f32 * R * V
	case "logprob backward":
		c.Bytes = f32 * 2 * R * V
	case "sample":
		c.Bytes = f32 * R * V
	case "policy loss":
		c.Bytes = f32 * 5 * R
	case "adamw": // bf16 weight written; master, both moments read and written; gradient read
		c.Bytes = (bf16 + 2*f32 + 4*f32 + f32) * n
	case "sum of squares":
		c.Bytes = f32 * n
	default:
		panic("bench: no operation " + op)
	}
	return c
}

type dims = map[string]int

// GPUCases are the shapes that the goals speak of: of Qwen2.5-0.5B, 1.5B and 7B, at lengths of reinforcement learning with tools.
func GPUCases() []Case {
	c := []Case{
		newCase("h1", "linear", dims{"T": 4096, "N": 4096, "M": 4096}),
		newCase("h1", "linear", dims{"T": 8192, "N": 8192, "M": 8192}),
		newCase("h1", "linear", dims{"T": 8192, "N": 17920, "M": 1536}),
		newCase("h1", "linear dx", dims{"T": 8192, "N": 17920, "M": 1536}),
		newCase("h1", "linear dw", dims{"T": 8192, "N": 17920, "M": 1536}),
	}
	for _, rows := range []int{1, 32, 64} {
		c = append(c, newCase("h2", "linear", dims{"T": rows, "N": 37888, "M": 3584}))
	}
	for _, l := range []int{4096, 8192, 16384} {
		c = append(c, newCase("a1", "attention", dims{"S": 16384 / l, "L": l, "H": 16, "K": 16, "D": 128}))
	}
	c = append(c,
		newCase("a1", "attention", dims{"S": 2, "L": 8192, "H": 28, "K": 4, "D": 128}),
		newCase("a2", "attention", dims{"S": 2, "L": 8192, "H": 32, "K": 32, "D": 64}),
		newCase("a2", "attention", dims{"S": 2, "L": 8192, "H": 14, "K": 2, "D": 64}),
		newCase("a3", "attention backward", dims{"S": 2, "L": 8192, "H": 16, "K": 16, "D": 128}),
		newCase("a3", "attention backward", dims{"S": 2, "L": 8192, "H": 14, "K": 2, "D": 64}),
	)
	for _, b := range []int{1, 8, 32, 128} {
		c = append(c, newCase("b1", "paged attention", dims{"B": b, "L": 4096, "new": 1, "H": 28, "K": 4, "D": 128}))
	}
	return append(c,
		newCase("b1", "paged attention", dims{"B": 128, "L": 1024, "new": 1, "H": 14, "K": 2, "D": 64}),
		newCase("b2", "paged attention", dims{"B": 8, "L": 4096, "new": 256, "H": 28, "K": 4, "D": 128}),
		newCase("c", "rope", dims{"T": 16384, "H": 28, "K": 4, "D": 128}),
		newCase("c", "rope norm", dims{"T": 16384, "H": 32, "K": 8, "D": 128}),
		newCase("c", "append kv", dims{"T": 16384, "K": 4, "D": 128}),
		newCase("d1", "head", dims{"R": 512, "V": 151936, "C": 1536}),
		newCase("d1", "logprob", dims{"R": 512, "V": 151936}),
		newCase("d2", "logprob backward", dims{"R": 512, "V": 151936}),
		newCase("e", "policy loss", dims{"R": 65536}),
		newCase("f1", "rmsnorm", dims{"T": 16384, "C": 1536}),
		newCase("f1", "rmsnorm", dims{"T": 16384, "C": 3584}),
		newCase("f1", "rmsnorm add", dims{"T": 16384, "C": 3584}),
		newCase("f1", "rmsnorm backward", dims{"T": 16384, "C": 3584}),
		newCase("f1", "add", dims{"T": 16384, "C": 3584}),
		newCase("f1", "embed", dims{"T": 16384, "C": 3584}),
		newCase("f1", "swiglu", dims{"T": 16384, "F": 8960}),
		newCase("f1", "swiglu backward", dims{"T": 16384, "F": 8960}),
		newCase("f2", "adamw", dims{"n": 1 << 26}),
		newCase("f2", "sum of squares", dims{"n": 1 << 26}),
		newCase("g", "sample", dims{"R": 64, "V": 151936}),
	)
}

// HopperCases are those of the cases that have kernels for sm_90a.
func HopperCases(cases []Case) []Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c Case) bool {
		return !strings.HasPrefix(c.Op, "linear") && !strings.HasPrefix(c.Op, "attention") && c.Op != "paged attention" && c.Op != "head"
	})
}

// SmokeCases are the operations at shapes that the emulator gets through in seconds, ragged ones.
func SmokeCases() []Case {
	return []Case{
		newCase("", "linear", dims{"T": 33, "N": 40, "M": 72}),
		newCase("", "linear dx", dims{"T": 17, "N": 40, "M": 24}),
		newCase("", "linear dw", dims{"T": 17, "N": 40, "M": 24}),
		newCase("", "attention", dims{"S": 2, "L": 20, "H": 2, "K": 1, "D": 64}),
		newCase("", "attention backward", dims{"S": 2, "L": 20, "H": 2, "K": 1, "D": 64}),
		newCase("", "paged attention", dims{"B": 2, "L": 70, "new": 1, "H": 3, "K": 1, "D": 64}),
		newCase("", "paged attention", dims{"B": 1, "L": 70, "new": 9, "H": 2, "K": 1, "D": 64}),
		newCase("", "rope", dims{"T": 9, "H": 3, "K": 1, "D": 64}),
		newCase("", "rope norm", dims{"T": 9, "H": 3, "K": 1, "D": 64}),
		newCase("", "head", dims{"R": 5, "V": 300, "C": 40}),
		newCase("", "logprob", dims{"R": 5, "V": 300}),
		newCase("", "logprob backward", dims{"R": 5, "V": 300}),
		newCase("", "policy loss", dims{"R": 40}),
		newCase("", "rmsnorm", dims{"T": 9, "C": 72}),
		newCase("", "rmsnorm add", dims{"T": 9, "C": 72}),
		newCase("", "rmsnorm backward", dims{"T": 9, "C": 72}),
		newCase("", "add", dims{"T": 9, "C": 72}),
		newCase("", "embed", dims{"T": 9, "C": 72}),
		newCase("", "swiglu", dims{"T": 9, "F": 72}),
		newCase("", "swiglu backward", dims{"T": 9, "F": 72}),
		newCase("", "adamw", dims{"n": 3000}),
		newCase("", "sum of squares", dims{"n": 3000}),
		newCase("", "sample", dims{"R": 5, "V": 300}),
	}
}

// A workload is a case on a device: its operation, ready to be called inside Do, and what it writes.
type workload struct {
	run   func()
	out   kernels.Tensor
	close func()
}

// normals is numbers of unit size that bf16 has, the same every time; zeros would draw less power, and so inflate clocks.
var normals = func() []uint16 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]uint16, 1<<20-3) // no multiple of a row: neighbouring rows differ
	for i := range x {
		x[i] = uint16(math.Float32bits(float32(r.NormFloat64())) >> 16)
	}
	return x
}()

// prepare puts a case on a device, with tensors of a type: bf16 on a GPU, float32 on the CPU that checks it.
func prepare(dev kernels.Device, dtype kernels.DType, c Case) (w workload, err error) {
	var held []kernels.Tensor
	var pages *kernels.KV
	w.close = func() {
		for _, t := range slices.Backward(held) {
			dev.Free(t)
		}
		if pages != nil {
			dev.FreeKV(*pages)
		}
	}
	d := func(name string) int { return c.Dims[name] }
	empty := func(dtype kernels.DType, shape ...int) kernels.Tensor {
		t := dev.Alloc(dtype, shape...)
		held = append(held, t)
		return t
	}
	filled := func(dtype kernels.DType, shape ...int) kernels.Tensor {
		t := empty(dtype, shape...)
		x := make([]uint16, t.Len())
		for at, from := 0, 7919*len(held)%len(normals); at < len(x); from = 0 {
			at += copy(x[at:], normals[from:])
		}
		dev.Upload(t, x)
		return t
	}
	random := func(shape ...int) kernels.Tensor { return filled(dtype, shape...) }
	ints := func(n int, at func(i int) int, shape ...int) kernels.Tensor {
		if len(shape) == 0 {
			shape = []int{n}
		}
		t := empty(kernels.I32, shape...)
		x := make([]int32, n)
		for i := range x {
			x[i] = int32(at(i))
		}
		dev.Upload(t, x)
		return t
	}
	once := func(f func()) {
		if err == nil {
			err = dev.Do(f)
		}
	}
	f32 := kernels.F32
	h := kernels.Heads{Q: d("H"), KV: d("K"), Dim: d("D"), Chunk: 1024}
	if h.KV <= 2 {
		h.Chunk = 512
	}
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	T, N, M, C, F, R, V, n := d("T"), d("N"), d("M"), d("C"), d("F"), d("R"), d("V"), d("n")
	switch c.Op {
	case "linear":
		y, x, wt := empty(dtype, T, N), random(T, M), random(N, M)
		w.out, w.run = y, func() { dev.Linear(y, x, wt, absent) }
	case "linear dx":
		dx, dy, wt := empty(dtype, T, M), random(T, N), random(N, M)
		w.out, w.run = dx, func() { dev.LinearBackward(dx, absent, absent, dy, absent, wt) }
	case "linear dw":
		dw, dy, x := empty(f32, N, M), random(T, N), random(T, M)
		w.out, w.run = dw, func() { dev.LinearBackward(absent, dw, absent, dy, x, absent) }
	case "attention", "attention backward":
		S, L := d("S"), d("L")
		T := S * L
		starts := ints(S+1, func(i int) int { return i * L })
		qkv, o, lse := random(T, QD+2*KD), empty(dtype, T, QD), empty(f32, T, h.Q)
		q, k, v := qkv.Cols(0, QD), qkv.Cols(QD, QD+KD), qkv.Cols(QD+KD, QD+2*KD)
		w.out, w.run = o, func() { dev.Attention(o, lse, q, k, v, starts, h) }
		if c.Op == "attention backward" {
			once(w.run)
			grad, do := empty(dtype, T, QD+2*KD), random(T, QD)
			dq, dk, dv := grad.Cols(0, QD), grad.Cols(QD, QD+KD), grad.Cols(QD+KD, QD+2*KD)
			w.out, w.run = grad, func() { dev.AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts, h) }
		}
	case "paged attention":
		B, L, rows := d("B"), d("L"), d("new")
		per := (L + kernels.PageTokens - 1) / kernels.PageTokens
		kv := dev.AllocKV(B*per, h)
		pages = &kv
		// Pages of a sequence lie apart, as in a cache that has been in use.
		page := func(s, i int) int { return i*B + s }
		k, v := random(L, KD), random(L, KD)
		for s := range B {
			slots := ints(L, func(i int) int { return page(s, i/kernels.PageTokens)*kernels.PageTokens + i%kernels.PageTokens })
			once(func() { dev.AppendKV(kv, k, v, slots) })
		}
		q, o := random(B*rows, QD), empty(dtype, B*rows, QD)
		table := kernels.PageTable{
			Pages:  ints(B*per, func(i int) int { return page(i/per, i%per) }, B, per),
			Starts: ints(B+1, func(i int) int { return i * rows }),
			Len:    ints(B, func(int) int { return L }),
		}
		w.out, w.run = o, func() { dev.PagedAttention(o, q, kv, table, h) }
	case "rope", "rope norm":
		qkv, turned := random(T, QD+2*KD), QD+KD
		r := kernels.Rotary{Eps: 1e-6, Pos: ints(T, func(i int) int { return i % 4096 }), Table: filled(f32, 4096, h.Dim)}
		qk := qkv.Cols(0, turned)
		if c.Op == "rope" {
			r.Bias = random(QD + 2*KD)
		} else {
			qk, r.QNorm, r.KNorm = empty(dtype, T, turned), random(h.Dim), random(h.Dim)
		}
		w.out, w.run = qk, func() { dev.RoPE(qk, absent, absent, qkv, r, h) }
	case "append kv":
		kv := dev.AllocKV((T+kernels.PageTokens-1)/kernels.PageTokens, h)
		pages = &kv
		k, v, slots := random(T, KD), random(T, KD), ints(T, func(i int) int { return i })
		w.out, w.run = k, func() { dev.AppendKV(kv, k, v, slots) }
	case "rmsnorm":
		y, r, x, wt := empty(dtype, T, C), empty(f32, T), random(T, C), random(C)
		w.out, w.run = y, func() { dev.RMSNorm(y, r, x, absent, wt, 1e-6) }
	case "rmsnorm add":
		y, r, x, by, wt := empty(dtype, T, C), empty(f32, T), random(T, C), random(T, C), random(C)
		w.out, w.run = y, func() { dev.RMSNorm(y, r, x, by, wt, 1e-6) }
	case "rmsnorm backward":
		dx, dw, dy, y, r, x, wt := empty(f32, T, C), empty(f32, C), random(T, C), empty(dtype, T, C), empty(f32, T), random(T, C), random(C)
		once(func() { dev.RMSNorm(y, r, x, absent, wt, 1e-6) })
		w.out, w.run = dx, func() { dev.RMSNormBackward(dx, dw, dy, x, wt, r) }
	case "add":
		y, x := random(T, C), random(T, C)
		w.out, w.run = y, func() { dev.Add(y, x) }
	case "embed":
		rows := 8 * T
		y, table, ids := empty(dtype, T, C), random(rows, C), ints(T, func(i int) int { return i * 7 % rows })
		w.out, w.run = y, func() { dev.Embed(y, table, ids) }
	case "swiglu":
		y, gu := empty(dtype, T, F), random(T, 2*F)
		w.out, w.run = y, func() { dev.SwiGLU(y, gu.Cols(0, F), gu.Cols(F, 2*F)) }
	case "swiglu backward":
		grad, dy, gu := empty(dtype, T, 2*F), random(T, F), random(T, 2*F)
		w.out, w.run = grad, func() {
			dev.SwiGLUBackward(grad.Cols(0, F), grad.Cols(F, 2*F), dy, gu.Cols(0, F), gu.Cols(F, 2*F))
		}
	case "head":
		x, wt, logits := random(R, C), random(V, C), empty(f32, R, V)
		lse, logp, ent, ids := empty(f32, R), empty(f32, R), empty(f32, R), ints(R, func(i int) int { return i % V })
		w.out, w.run = logp, func() {
			dev.Linear(logits, x, wt, absent)
			dev.LogSumExp(lse, logits, 1)
			dev.LogProb(logp, ent, logits, lse, ids, 1)
		}
	case "logprob", "logprob backward", "sample":
		logits, lse, logp, ent := filled(f32, R, V), empty(f32, R), empty(f32, R), empty(f32, R)
		ids := ints(R, func(i int) int { return i % V })
		w.out, w.run = logp, func() {
			dev.LogSumExp(lse, logits, 1)
			dev.LogProb(logp, ent, logits, lse, ids, 1)
		}
		switch c.Op {
		case "logprob backward":
			once(w.run)
			w.out, w.run = logits, func() { dev.LogProbBackward(logits, lse, ids, logp, absent, 1) }
		case "sample":
			once(w.run)
			keys := ints(3*R, func(i int) int { return i }, R, 3)
			w.out, w.run = ids, func() {
				dev.Sample(ids, logits, lse, keys, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1})
			}
		}
	case "policy loss":
		dlogp, stats, logp := empty(f32, R), empty(f32, kernels.Stats), filled(f32, R)
		t := kernels.Targets{Weight: filled(f32, R), OldLogProb: filled(f32, R), Advantage: filled(f32, R)}
		w.out, w.run = dlogp, func() { dev.PolicyLoss(dlogp, stats, logp, t, kernels.Clip{Low: 0.2, High: 0.28, Dual: 3}) }
	case "adamw":
		wt, g, m, v := random(n), filled(f32, n), empty(f32, n), empty(f32, n)
		master := absent
		w.out = wt
		if dtype == kernels.BF16 {
			master = empty(f32, n)
			w.out = master
			once(func() { dev.Copy(master, wt) })
		}
		step := kernels.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Scale: 1, Step: 1}
		w.run = func() { dev.AdamW(wt, master, g, m, v, step) }
	case "sum of squares":
		x, out := filled(f32, n), empty(f32, 1)
		w.out, w.run = out, func() { dev.Zero(out); dev.SumSquares(out, x) }
	default:
		return w, fmt.Errorf("bench: no operation %q", c.Op)
	}
	return w, err
}
