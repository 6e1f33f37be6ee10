package kernels

import "fmt"

// Rotary is what RoPE does to heads besides turning them, and the angles. Bias, and the norms together, may be absent.
type Rotary struct {
	Bias         Tensor  // ((Q+2·KV)·D): added first
	QNorm, KNorm Tensor  // (D): weights of an RMSNorm over every head of queries, of keys
	Eps          float32 // of the norms
	Pos          Tensor  // (T) i32
	Table        Tensor  // (positions, D) f32: D/2 cosines, then D/2 sines; a scaling of attention (YaRN) is multiplied in
}

// Rotation turns queries and keys by their positions.
type Rotation interface {
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
