package kernels

import "fmt"

// A PageTable says which pages the sequences of a step own and which rows of the step are theirs.
//
// Pages (S, N) i32: page of tokens [64i, 64i+64) of a sequence; entries past its length are not read. Starts (S+1) i32: its rows of
// q, from 0 to at most T. Len (S) i32: its length, this step's tokens included; its last row of q is token Len−1.
//
// Work (n,2) i32, unless it is absent, is a GPU's plan of the step: PagePlan, and −1 for an item that is none. Rows and Parts say what they
// say there.
type PageTable struct {
	Pages, Starts, Len Tensor

	Work  Tensor
	Rows  int
	Parts bool
}

// Pages keep keys and values from step to step, for decoding.
type Pages interface {
	// AllocKV is one layer's pages, zeroed, in the device's own layout: of F32 or BF16 numbers, as the activations are; a GPU's are BF16
	// in any case.
	AllocKV(dtype DType, pages int, h Heads) KV
	FreeKV(kv KV)
	KVBytes(dtype DType, h Heads) int // memory of one page of one layer

	// AppendKV stores token t's keys and values, k, v (T,KV·D), at slots[t] = page·P + offset, or nowhere if that is negative. A page's
	// tokens come in their order; one may come again, and then those after it are not defined until they do too.
	AppendKV(kv KV, k, v, slots Tensor)
	// PagedAttention is Attention of the step's rows over keys in pages; their own keys were appended before. q, o (T,Q·D). Sequences may
	// have no rows; what o holds after the rows of the last one is not defined.
	PagedAttention(o, q Tensor, kv KV, table PageTable, h Heads)
	// CopyPages copies whole pages src[i] → dst[i]: copy on write. src, dst (n) i32.
	CopyPages(kv KV, dst, src Tensor)
}

func checkAppendKV(kv KV, k, v, slots Tensor) (T int) {
	const op = "AppendKV"
	checkKV(op, kv)
	T = k.dims[0]
	checkTokens(op, "k", k, kv.Heads.KV, kv.Heads.Dim, T)
	checkTokens(op, "v", v, kv.Heads.KV, kv.Heads.Dim, T)
	checkVector(op, "slots", slots, I32, T)
	return T
}

func checkPagedAttention(o, q Tensor, kv KV, table PageTable, h Heads) (T, S, N int) {
	const op = "PagedAttention"
	checkKV(op, kv)
	checkHeads(op, h)
	if kv.Heads.KV != h.KV || kv.Heads.Dim != h.Dim {
		panic(fmt.Sprintf("kernels: %s: heads are %+v, the pages were made for %+v", op, h, kv.Heads))
	}
	T = q.dims[0]
	checkTokens(op, "q", q, h.Q, h.Dim, T)
	checkTokens(op, "o", o, h.Q, h.Dim, T)
	S = checkStarts(op, table.Starts)
	checkVector(op, "table.Len", table.Len, I32, S)
	p := table.Pages
	if p.mem == nil || p.dtype != I32 || p.rank != 2 || p.dims[0] != S {
		wrong(op, "table.Pages", p, "table.Len", table.Len, "Pages must be i32 with a row for each sequence")
	}
	if w := table.Work; w.mem != nil && (w.dtype != I32 || w.rank != 2 || w.dims[1] != 2 || !w.Contiguous()) {
		needs(op, "table.Work", w, "i32 (n,2)")
	}
	return T, S, p.dims[1]
}

func checkCopyPages(kv KV, dst, src Tensor) (n int) {
	const op = "CopyPages"
	checkKV(op, kv)
	n = dst.dims[0]
	checkVector(op, "dst", dst, I32, n)
	checkVector(op, "src", src, I32, n)
	return n
}

func checkPages(dtype DType, pages int) {
	if pages < 0 || dtype != F32 && dtype != BF16 {
		panic(fmt.Sprintf("kernels: AllocKV of %d pages of %v", pages, dtype))
	}
}

func checkKV(op string, kv KV) {
	if kv.mem == nil {
		panic(fmt.Sprintf("kernels: %s: the KV is absent: it comes from AllocKV", op))
	}
}
