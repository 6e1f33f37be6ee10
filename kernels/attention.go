package kernels

import "fmt"

// PageTokens is P, the number of tokens whose keys and values one page holds, and the width of an attention tile.
const PageTokens = 64

// PagesOf is the number of pages that so many tokens lie in.
func PagesOf(tokens int) int { return (tokens + PageTokens - 1) / PageTokens }

// Heads is the geometry of attention: Q query heads, KV key and value heads (Q is a multiple of KV), each of Dim numbers.
// A device that splits long contexts over processors restarts its softmax every Chunk keys (a multiple of PageTokens) and merges
// in ascending order, in training, prefill and decode alike; a device that does not, ignores it.
type Heads struct{ Q, KV, Dim, Chunk int }

// Attention is over keys and values that stand in a batch, as in training.
type Attention interface {
	// Attention is o = softmax(q·kᵀ/√D, causal within each sequence)·v and lse = ln Σ exp(q·kᵀ/√D).
	// q, o (T,Q·D), k, v (T,KV·D), lse (T,Q) f32 or absent, starts (S+1) i32. Query head h reads key head h/(Q/KV).
	Attention(o, lse, q, k, v, starts Tensor, h Heads)
	// AttentionBackward adds to dq, dk and dv. One that is Fresh is written: the bits of adding to zeros.
	AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts Tensor, h Heads)
}

func checkAttention(o, lse, q, k, v, starts Tensor, h Heads) (T, S int) {
	const op = "Attention"
	checkHeads(op, h)
	T = q.dims[0]
	checkTokens(op, "q", q, h.Q, h.Dim, T)
	checkTokens(op, "o", o, h.Q, h.Dim, T)
	checkTokens(op, "k", k, h.KV, h.Dim, T)
	checkTokens(op, "v", v, h.KV, h.Dim, T)
	if lse.mem != nil {
		checkLSE(op, lse, T, h.Q)
	}
	return T, checkStarts(op, starts)
}

func checkAttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts Tensor, h Heads) (T, S int) {
	const op = "AttentionBackward"
	checkHeads(op, h)
	T = q.dims[0]
	checkTokens(op, "q", q, h.Q, h.Dim, T)
	checkTokens(op, "o", o, h.Q, h.Dim, T)
	checkTokens(op, "do", do, h.Q, h.Dim, T)
	checkTokens(op, "k", k, h.KV, h.Dim, T)
	checkTokens(op, "v", v, h.KV, h.Dim, T)
	checkLSE(op, lse, T, h.Q)
	if dq.mem != nil {
		checkTokens(op, "dq", dq, h.Q, h.Dim, T)
	}
	if dk.mem != nil {
		checkTokens(op, "dk", dk, h.KV, h.Dim, T)
	}
	if dv.mem != nil {
		checkTokens(op, "dv", dv, h.KV, h.Dim, T)
	}
	return T, checkStarts(op, starts)
}

// checkHeads panics unless h is a geometry.
func checkHeads(op string, h Heads) {
	if h.Q <= 0 || h.KV <= 0 || h.Dim <= 0 || h.Q%h.KV != 0 || h.Chunk < 0 || h.Chunk%PageTokens != 0 {
		panic(fmt.Sprintf("kernels: %s: heads are %+v: Q must be a multiple of KV, Chunk one of %d", op, h, PageTokens))
	}
}

func checkTokens(op, name string, t Tensor, heads, dim, T int) {
	if t.mem == nil || t.dtype == I32 || t.rank != 2 || t.dims[0] != T || t.dims[1] != heads*dim {
		needs(op, name, t, fmt.Sprintf("floating point of %d tokens by %d heads of %d", T, heads, dim))
	}
}

func checkLSE(op string, lse Tensor, T, Q int) {
	if lse.dtype != F32 || lse.rank != 2 || lse.dims[0] != T || lse.dims[1] != Q {
		needs(op, "lse", lse, fmt.Sprintf("f32[%d %d]", T, Q))
	}
}

func checkStarts(op string, starts Tensor) (S int) {
	if starts.mem == nil || starts.dtype != I32 || starts.rank != 1 || starts.dims[0] < 1 {
		needs(op, "starts", starts, "i32 with one number more than there are sequences")
	}
	return starts.dims[0] - 1
}
