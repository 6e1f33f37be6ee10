package kernels

import "time"

// PageTokens is P, the number of tokens whose keys and values one page holds, and the width of an attention tile.
const PageTokens = 64

// Heads is the geometry of attention: Q query heads, KV key and value heads (Q is a multiple of KV), each of Dim numbers.
// A device that splits long contexts over processors restarts its softmax every Chunk keys (a multiple of PageTokens) and merges
// in ascending order, in training, prefill and decode alike; a device that does not, ignores it.
type Heads struct{ Q, KV, Dim, Chunk int }

// A PageTable says which pages the sequences of a step own and which rows of the step are theirs.
//
// Pages (S, N) i32: page of tokens [64i, 64i+64) of a sequence; entries past its length are not read. Starts (S+1) i32: its rows of
// q, from 0 to at most T. Len (S) i32: its length, this step's tokens included; its last row of q is token Len−1.
type PageTable struct{ Pages, Starts, Len Tensor }

// Rotary is what RoPE does to heads besides turning them, and the angles. Bias, and the norms together, may be absent.
type Rotary struct {
	Bias         Tensor  // ((Q+2·KV)·D): added first
	QNorm, KNorm Tensor  // (D): weights of an RMSNorm over every head of queries, of keys
	Eps          float32 // of the norms
	Pos          Tensor  // (T) i32
	Table        Tensor  // (positions, D) f32: D/2 cosines, then D/2 sines; a scaling of attention (YaRN) is multiplied in
}

// Sampling says how ids are drawn from logits.
type Sampling struct {
	Seed        uint64
	Temperature float32 // 0 takes the largest logit, the lower id on a tie
	TopP        float32 // 1 keeps all
	TopK        int     // 0 keeps all
	Vocab       int     // ids below it can be drawn; 0: all V
}

// Targets are what the loss of a row is made of, each (R) f32; an operation reads those that its formula names.
// Weight is 0 for prompt and tool output, else 1 / policy tokens of the minibatch on all ranks.
type Targets struct{ Weight, OldLogProb, Advantage, Ref, Return, OldValue Tensor }

// Clip bounds the policy's ratio to [1−Low, 1+High], and the loss of a negative advantage to Dual·|A| (0: no such bound).
// KL is the coefficient of the penalty against Ref (0: none, Ref is not read).
type Clip struct{ Low, High, Dual, KL float32 }

// Places in the stats of PolicyLoss and ValueLoss. All but StatMaxDiff are sums weighted by Weight, that is, means over policy
// tokens of the minibatch.
const (
	StatLoss     = iota // the loss
	StatKL              // (ratio−1) − ln ratio, against OldLogProb
	StatClipped         // rows whose ratio was clipped
	StatDual            // rows bounded by Dual
	StatWeight          // Σ Weight: 1 over a whole minibatch
	StatMaxDiff         // the largest |logp − OldLogProb| of a weighted row
	StatRef             // (r−1) − ln r with r = exp(Ref − logp)
	StatVariance        // ValueLoss: Σ Weight · (Return − value)²
	Stats               // how many there are
)

// AdamWStep is one update. Step counts from 1. Scale multiplies the gradient first: it carries the norm clip.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, WeightDecay, Scale float32
	Step                                      int
}

// Info names a device and what fixes its bits.
type Info struct {
	Name     string // "cpu", or the GPU's product name
	Variant  string // kernels chosen at start: "avx2", "avx512", "go", "sm80", "sm90a"
	Threads  int    // CPU: workers; GPU: multiprocessors
	Contract string // one line that a checkpoint stores: all that fixes the bits of a log-probability
	Replays  bool   `json:"-"` // Repeat saves work here: batches are worth padding to few sizes

	Compile time.Duration `json:",omitzero"` // what loading kernels has taken so far, compilation by a GPU's driver included
}

// A Device executes the operations of a transformer and of its training.
//
// Operations are called only inside Do, return nothing, and take effect in the order called. A wrong shape panics with both
// sides. A failure of the device is kept, and Do returns it with the operation's name. Every Backward adds into its gradient
// outputs; an absent output is skipped. Do may be called from any goroutine, runs one f at a time, and is never nested. Alloc, Free
// and the two doors may be called inside or outside Do; outside, they wait for it.
//
// A matrix may be a view of some columns of a wider one (Tensor.Cols): rows are then LD apart.
type Device interface {
	Info() Info
	Alloc(dtype DType, shape ...int) Tensor // zeroed
	AllocKV(pages int, h Heads) KV          // one layer's pages, in the device's own layout
	Free(t Tensor)
	FreeKV(kv KV)
	Upload(dst Tensor, src any)   // src: []float32, []int32, []uint16 (bf16 bits) or *tensor.Dense of as many elements
	Download(dst any, src Tensor) // dst: the same kinds
	Copy(dst, src Tensor)         // equal shapes; converts between F32 and BF16
	Zero(t Tensor)
	Do(f func()) error           // one per pass, not one per operation
	Repeat(key string, f func()) // inside Do: runs operations that never change; a GPU records them once and replays a graph
	Close() error

	// Embed gathers rows: y[t] = table[ids[t]]. y (T,C), table (N,C), ids (T) i32.
	Embed(y, table, ids Tensor)
	// EmbedBackward adds dy[t] to dtable[ids[t]], t ascending.
	EmbedBackward(dtable, dy, ids Tensor)

	// Linear is y = x·wᵀ + b. y (T,N), x (T,M), w (N,M), b (N) or absent.
	Linear(y, x, w, b Tensor)
	// LinearBackward adds dx += dy·w, dw += dyᵀ·x, db += Σ_t dy[t].
	LinearBackward(dx, dw, db, dy, x, w Tensor)

	// RMSNorm is x += add, unless that is absent, then y = w · x/√(mean(x²)+eps) over the last dimension. x, add, y (T,C), or (T,H,D)
	// with w (D); rstd (T) or (T,H) f32 keeps 1/√(…), or is absent. Zhang 2019.
	RMSNorm(y, rstd, x, add, w Tensor, eps float32)
	RMSNormBackward(dx, dw, dy, x, w, rstd Tensor)

	// SwiGLU is y = silu(gate)·up, all (T,F).
	SwiGLU(y, gate, up Tensor)
	SwiGLUBackward(dgate, dup, dy, gate, up Tensor)
	// Add is y += x.
	Add(y, x Tensor)

	// RoPE makes of a product qkv (T,(Q+2·KV)·D) what attention reads, x a head:
	//
	//	x += Bias      values: no more      queries, keys: turn(norm(x)) → qk
	//
	// turn rotates the pairs (i, i+D/2) by the angle of Pos[t]. qk (T,(Q+KV)·D) is other memory, or qkv's own first columns. qkv keeps
	// x + Bias where qk does not replace it: RMSNormBackward reads that. qRstd (T,Q), kRstd (T,KV) f32 keep the norms' 1/√(…), or are
	// absent. Su 2021.
	RoPE(qk, qRstd, kRstd, qkv Tensor, r Rotary, h Heads)
	// RoPEBackward turns the gradient of turned heads back, in place. dx (T,H,D); pos, table: Rotary's.
	RoPEBackward(dx, pos, table Tensor)

	// Attention is o = softmax(q·kᵀ/√D, causal within each sequence)·v and lse = ln Σ exp(q·kᵀ/√D).
	// q, o (T,Q·D), k, v (T,KV·D), lse (T,Q) f32 or absent, starts (S+1) i32. Query head h reads key head h/(Q/KV).
	Attention(o, lse, q, k, v, starts Tensor, h Heads)
	AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts Tensor, h Heads)

	// AppendKV stores token t's keys and values, k, v (T,KV·D), at slots[t] = page·P + offset, or nowhere if that is negative.
	AppendKV(kv KV, k, v, slots Tensor)
	// PagedAttention is Attention of the step's rows over keys in pages; their own keys were appended before. q, o (T,Q·D). Sequences may have
	// no rows; what o holds behind the rows of the last one is not defined.
	PagedAttention(o, q Tensor, kv KV, table PageTable, h Heads)
	// CopyPages copies whole pages src[i] → dst[i]: copy on write. src, dst (n) i32.
	CopyPages(kv KV, dst, src Tensor)

	// LogSumExp is lse[r] = ln Σ_v exp(logits[r,v]/temperature). logits (R,V), lse (R) f32. The only one there is: the next three
	// are given its result.
	LogSumExp(lse, logits Tensor, temperature float32)
	// LogProb is logp[r] = logits[r,ids[r]]/temperature − lse[r], and the entropy of the row's distribution. Either output may be absent.
	LogProb(logp, entropy, logits, lse, ids Tensor, temperature float32)
	// LogProbBackward replaces logits by their gradient, given ∂/∂logp and ∂/∂entropy (each (R) f32 or absent):
	//
	//	∂x_v = (dlogp·(1[v=id] − p_v) − dentropy·p_v·(ln p_v + entropy)) / temperature
	LogProbBackward(logits, lse, ids, dlogp, dentropy Tensor, temperature float32)
	// Sample draws ids[r] from softmax(logits[r]/temperature), restricted by s, as the largest logit + Gumbel noise.
	// The noise is Philox4x32-10 of (seed; trajectory, position, index). keys (R,3) i32: trajectory low, trajectory high, position.
	// lse (R) is LogSumExp's at s.Temperature; a TopP below 1 reads it.
	Sample(ids, logits, lse, keys Tensor, s Sampling)

	// PolicyLoss writes ∂loss/∂logp of PPO's clipped objective, row by row, and adds to stats (Stats) f32.
	//
	//	ratio = exp(logp − OldLogProb)
	//	loss  = −Σ Weight · min(ratio·A, clip(ratio, 1−Low, 1+High)·A)      for A < 0 at least −Dual·|A| (dual clip)
	//	        + KL · Σ Weight · (r − 1 − ln r),  r = exp(Ref − logp)
	//
	// dlogp, logp (R) f32. Schulman 2017 eq. 7; two bounds: Yu 2025 (DAPO) §3.1; dual clip: Ye 2020 eq. 5.
	PolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip)
	// ValueLoss writes ∂loss/∂value and adds to stats.
	//
	//	loss = ½ Σ Weight · max((v − Return)², (clip(v, OldValue ± clip) − Return)²)      clip 0: the first term alone
	ValueLoss(dvalue, stats, value Tensor, t Targets, clip float32)

	// SumSquares adds Σ x² to out (1) f32; x contiguous.
	SumSquares(out, x Tensor)
	// AdamW updates w in place from g·Scale, decoupled weight decay (Loshchilov 2019). w, g, m, v of one length, contiguous; master
	// (F32) holds w in full precision when w is BF16, else it is absent.
	AdamW(w, master, g, m, v Tensor, s AdamWStep)
}
