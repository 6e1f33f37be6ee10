package kernels

import "fmt"

// The checks of this file are the first line of every operation of every device. They read headers only, allocate nothing
// unless they panic, and return the sizes by the letters of the package comment.

// wrong panics with both sides of a disagreement.
func wrong(op, nameA string, a Tensor, nameB string, b Tensor, why string) {
	panic(fmt.Sprintf("kernels: %s: %s is %v, %s is %v: %s", op, nameA, a, nameB, b, why))
}

// needs panics because t is not what op takes.
func needs(op, name string, t Tensor, want string) {
	panic(fmt.Sprintf("kernels: %s: %s is %v, it must be %s", op, name, t, want))
}

// checkFloats demands a tensor of floating-point numbers of the given rank.
func checkFloats(op, name string, t Tensor, rank int8) {
	if t.mem == nil || t.dtype == I32 || t.rank != rank {
		needs(op, name, t, fmt.Sprintf("floating point of %d dimensions", rank))
	}
}

// checkVector demands n contiguous numbers of one type.
func checkVector(op, name string, t Tensor, dtype DType, n int) {
	if t.mem == nil || t.dtype != dtype || t.rank != 1 || t.dims[0] != n {
		needs(op, name, t, fmt.Sprintf("%v[%d]", dtype, n))
	}
}

// checkOptional is checkVector where absent is allowed.
func checkOptional(op, name string, t Tensor, dtype DType, n int) {
	if t.mem != nil {
		checkVector(op, name, t, dtype, n)
	}
}

// checkSame demands two floating-point tensors of one shape; their types and row distances may differ.
func checkSame(op, nameA string, a Tensor, nameB string, b Tensor) {
	if a.mem == nil || b.mem == nil || a.dtype == I32 || b.dtype == I32 {
		wrong(op, nameA, a, nameB, b, "both must be floating point")
	}
	if a.dims != b.dims || a.rank != b.rank {
		wrong(op, nameA, a, nameB, b, "shapes differ")
	}
}

func checkEmbed(op, yName, tableName string, y, table, ids Tensor) (T, C, N int) {
	checkFloats(op, yName, y, 2)
	checkFloats(op, tableName, table, 2)
	if y.dims[1] != table.dims[1] {
		wrong(op, yName, y, tableName, table, "widths of rows differ")
	}
	checkVector(op, "ids", ids, I32, y.dims[0])
	return y.dims[0], y.dims[1], table.dims[0]
}

func checkLinear(y, x, w, b Tensor) (T, N, M int) {
	const op = "Linear"
	checkFloats(op, "y", y, 2)
	checkFloats(op, "x", x, 2)
	checkFloats(op, "w", w, 2)
	if x.dims[1] != w.dims[1] {
		wrong(op, "x", x, "w", w, fmt.Sprintf("inner sizes %d and %d differ", x.dims[1], w.dims[1]))
	}
	if y.dims[0] != x.dims[0] {
		wrong(op, "y", y, "x", x, "numbers of rows differ")
	}
	if y.dims[1] != w.dims[0] {
		wrong(op, "y", y, "w", w, "y must have a column for each row of w")
	}
	if b.mem != nil {
		checkFloats(op, "b", b, 1)
		if b.dims[0] != w.dims[0] {
			wrong(op, "b", b, "w", w, "b must have a number for each row of w")
		}
	}
	return y.dims[0], y.dims[1], x.dims[1]
}

// checkLinearBackward lets dx, dw and db be absent, x where dw is, and w where dx is. M is 0 if neither is wanted.
func checkLinearBackward(dx, dw, db, dy, x, w Tensor) (T, N, M int) {
	const op = "LinearBackward"
	checkFloats(op, "dy", dy, 2)
	T, N = dy.dims[0], dy.dims[1]
	if dx.mem != nil {
		checkFloats(op, "dx", dx, 2)
		checkFloats(op, "w", w, 2)
		if dx.dims[0] != T {
			wrong(op, "dx", dx, "dy", dy, "numbers of rows differ")
		}
		if w.dims[0] != N {
			wrong(op, "w", w, "dy", dy, "dy must have a column for each row of w")
		}
		if dx.dims[1] != w.dims[1] {
			wrong(op, "dx", dx, "w", w, "inner sizes differ")
		}
		M = w.dims[1]
	}
	if dw.mem != nil {
		checkFloats(op, "dw", dw, 2)
		checkFloats(op, "x", x, 2)
		if x.dims[0] != T {
			wrong(op, "x", x, "dy", dy, "numbers of rows differ")
		}
		if dw.dims[0] != N {
			wrong(op, "dw", dw, "dy", dy, "dy must have a column for each row of dw")
		}
		if dw.dims[1] != x.dims[1] {
			wrong(op, "dw", dw, "x", x, "inner sizes differ")
		}
		if dx.mem != nil && x.dims[1] != M {
			wrong(op, "x", x, "w", w, "inner sizes differ")
		}
		M = x.dims[1]
	}
	if db.mem != nil {
		checkFloats(op, "db", db, 1)
		if db.dims[0] != N {
			wrong(op, "db", db, "dy", dy, "db must have a number for each column of dy")
		}
	}
	return T, N, M
}

// checkNorm reads x as T tokens of H rows of C numbers; H is 1 for a matrix.
func checkNorm(op, yName string, y, rstd, x, w Tensor) (T, H, C int) {
	checkSame(op, yName, y, "x", x)
	if x.rank < 2 {
		needs(op, "x", x, "of 2 or 3 dimensions")
	}
	T, H, C = x.dims[0], 1, x.dims[1]
	if x.rank == 3 {
		H, C = x.dims[1], x.dims[2]
	}
	checkFloats(op, "w", w, 1)
	if w.dims[0] != C {
		wrong(op, "w", w, "x", x, "w must have a number for each one of a row of x")
	}
	checkRstd(op, "rstd", rstd, T, H)
	return T, H, C
}

func checkRMSNorm(y, rstd, x, add, w Tensor) (T, H, C int) {
	const op = "RMSNorm"
	T, H, C = checkNorm(op, "y", y, rstd, x, w)
	if add.mem != nil {
		checkSame(op, "add", add, "x", x)
	}
	return T, H, C
}

func checkNormBackward(dx, dw, dy, x, w, rstd Tensor) (T, H, C int) {
	const op = "RMSNormBackward"
	if rstd.mem == nil {
		needs(op, "rstd", rstd, "what RMSNorm kept")
	}
	T, H, C = checkNorm(op, "dy", dy, rstd, x, w)
	if dx.mem != nil {
		checkSame(op, "dx", dx, "x", x)
	}
	if dw.mem != nil {
		checkSame(op, "dw", dw, "w", w)
	}
	return T, H, C
}

func checkRoPE(qk, qRstd, kRstd, qkv Tensor, r Rotary, h Heads) (T int) {
	const op = "RoPE"
	checkHeads(op, h)
	T = qkv.dims[0]
	checkTokens(op, "qkv", qkv, h.Q+2*h.KV, h.Dim, T)
	checkTokens(op, "qk", qk, h.Q+h.KV, h.Dim, T)
	checkRstd(op, "qRstd", qRstd, T, h.Q)
	checkRstd(op, "kRstd", kRstd, T, h.KV)
	if r.Bias.mem != nil {
		checkFloats(op, "Bias", r.Bias, 1)
		if r.Bias.dims[0] != qkv.dims[1] {
			wrong(op, "Bias", r.Bias, "qkv", qkv, "Bias must have a number for each column of qkv")
		}
	}
	if (r.QNorm.mem == nil) != (r.KNorm.mem == nil) {
		wrong(op, "QNorm", r.QNorm, "KNorm", r.KNorm, "both or neither must be there")
	}
	if r.QNorm.mem != nil {
		checkFloats(op, "QNorm", r.QNorm, 1)
		checkSame(op, "QNorm", r.QNorm, "KNorm", r.KNorm)
		if r.QNorm.dims[0] != h.Dim {
			needs(op, "QNorm", r.QNorm, fmt.Sprintf("%d numbers: one for each of a head", h.Dim))
		}
	}
	checkAngles(op, T, h.Dim, r.Pos, r.Table)
	return T
}

func checkRoPEBackward(dx, pos, table Tensor) (T, H, D int) {
	const op = "RoPEBackward"
	checkFloats(op, "dx", dx, 3)
	checkAngles(op, dx.dims[0], dx.dims[2], pos, table)
	return dx.dims[0], dx.dims[1], dx.dims[2]
}

func checkAngles(op string, T, D int, pos, table Tensor) {
	if table.mem == nil || table.dtype != F32 || table.rank != 2 || table.dims[1] != D || D%2 != 0 {
		needs(op, "table", table, fmt.Sprintf("f32 (positions,%d), an even number of columns", D))
	}
	checkVector(op, "pos", pos, I32, T)
}

// checkRstd lets a norm's 1/√(…) be absent.
func checkRstd(op, name string, rstd Tensor, T, H int) {
	if rstd.mem != nil && (rstd.dtype != F32 || !rstd.Contiguous() || rstd.Len() != T*H || rstd.dims[0] != T) {
		needs(op, name, rstd, fmt.Sprintf("f32 of %d rows by %d heads, contiguous", T, H))
	}
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

func checkKV(op string, kv KV) {
	if kv.mem == nil {
		panic(fmt.Sprintf("kernels: %s: the KV is absent: it comes from AllocKV", op))
	}
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

// checkLogits returns rows and vocabulary.
func checkLogits(op string, logits Tensor, temperature float32) (R, V int) {
	if logits.mem == nil || logits.dtype != F32 || logits.rank != 2 || logits.dims[1] < 1 {
		needs(op, "logits", logits, "f32 (R,V)")
	}
	if !(temperature > 0) {
		panic(fmt.Sprintf("kernels: %s: the temperature is %v, it must be above 0", op, temperature))
	}
	return logits.dims[0], logits.dims[1]
}

func checkLogSumExp(lse, logits Tensor, temperature float32) (R, V int) {
	R, V = checkLogits("LogSumExp", logits, temperature)
	checkVector("LogSumExp", "lse", lse, F32, R)
	return R, V
}

func checkLogProb(logp, entropy, logits, lse, ids Tensor, temperature float32) (R, V int) {
	const op = "LogProb"
	R, V = checkLogits(op, logits, temperature)
	checkVector(op, "lse", lse, F32, R)
	checkOptional(op, "logp", logp, F32, R)
	checkOptional(op, "entropy", entropy, F32, R)
	if logp.mem != nil {
		checkVector(op, "ids", ids, I32, R)
	}
	return R, V
}

func checkLogProbBackward(logits, lse, ids, dlogp, dentropy Tensor, temperature float32) (R, V int) {
	const op = "LogProbBackward"
	R, V = checkLogits(op, logits, temperature)
	checkVector(op, "lse", lse, F32, R)
	checkOptional(op, "dlogp", dlogp, F32, R)
	checkOptional(op, "dentropy", dentropy, F32, R)
	if dlogp.mem != nil {
		checkVector(op, "ids", ids, I32, R)
	}
	return R, V
}

// checkSample returns rows, vocabulary, and how many of its ids can be drawn.
func checkSample(ids, logits, lse, keys Tensor, s Sampling) (R, V, N int) {
	const op = "Sample"
	if !(s.Temperature >= 0) || !(s.TopP > 0) && s.Temperature > 0 || s.TopK < 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: Temperature and TopK must be at least 0, TopP above 0", op, s))
	}
	R, V = checkLogits(op, logits, 1)
	checkVector(op, "ids", ids, I32, R)
	if s.Temperature > 0 {
		if s.TopP < 1 {
			checkVector(op, "lse", lse, F32, R)
		}
		if keys.mem == nil || keys.dtype != I32 || keys.rank != 2 || keys.dims[0] != R || keys.dims[1] != 3 || !keys.Contiguous() {
			needs(op, "keys", keys, fmt.Sprintf("i32[%d 3]", R))
		}
	}
	N = s.Vocab
	if N == 0 {
		N = V
	}
	if N < 0 || N > V {
		panic(fmt.Sprintf("kernels: %s: ids below %d are allowed, logits is %v", op, s.Vocab, logits))
	}
	return R, V, N
}

func checkLoss(op, dName, xName string, d, stats, x Tensor) (R int) {
	R = x.dims[0]
	checkVector(op, xName, x, F32, R)
	checkVector(op, dName, d, F32, R)
	checkVector(op, "stats", stats, F32, Stats)
	return R
}

func checkPolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip) (R int) {
	const op = "PolicyLoss"
	R = checkLoss(op, "dlogp", "logp", dlogp, stats, logp)
	checkVector(op, "Weight", t.Weight, F32, R)
	checkVector(op, "OldLogProb", t.OldLogProb, F32, R)
	checkVector(op, "Advantage", t.Advantage, F32, R)
	if c.KL != 0 {
		checkVector(op, "Ref", t.Ref, F32, R)
	}
	if c.Low < 0 || c.High < 0 || c.Dual < 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: Low, High and Dual must be at least 0", op, c))
	}
	return R
}

func checkValueLoss(dvalue, stats, value Tensor, t Targets, clip float32) (R int) {
	const op = "ValueLoss"
	R = checkLoss(op, "dvalue", "value", dvalue, stats, value)
	checkVector(op, "Weight", t.Weight, F32, R)
	checkVector(op, "Return", t.Return, F32, R)
	if clip != 0 {
		checkVector(op, "OldValue", t.OldValue, F32, R)
	}
	if clip < 0 {
		panic(fmt.Sprintf("kernels: %s: clip is %v, it must be at least 0", op, clip))
	}
	return R
}

func checkSumSquares(out, x Tensor) (n int) {
	checkVector("SumSquares", "out", out, F32, 1)
	if x.mem == nil || x.dtype == I32 || !x.Contiguous() {
		needs("SumSquares", "x", x, "floating point and contiguous")
	}
	return x.Len()
}

func checkAdamW(w, master, g, m, v Tensor, s AdamWStep) (n int) {
	const op = "AdamW"
	n = w.Len()
	checkLength(op, "w", w, w)
	checkLength(op, "g", g, w)
	checkLength(op, "m", m, w)
	checkLength(op, "v", v, w)
	if (w.dtype == BF16) != (master.mem != nil) {
		wrong(op, "master", master, "w", w, "master belongs to a bf16 w, and to no other")
	}
	if master.mem != nil {
		checkLength(op, "master", master, w)
		if master.dtype != F32 {
			needs(op, "master", master, "f32")
		}
	}
	if s.Step < 1 {
		panic(fmt.Sprintf("kernels: %s: the step is %d, it counts from 1", op, s.Step))
	}
	return n
}

func checkLength(op, name string, t, w Tensor) {
	if t.mem == nil || t.dtype == I32 || !t.Contiguous() {
		needs(op, name, t, "floating point and contiguous")
	}
	if t.Len() != w.Len() {
		wrong(op, name, t, "w", w, "lengths differ")
	}
}
