package kernels

import (
	"fmt"
	"math"
	"slices"
)

// gpuHeadDims are the head sizes that have kernels.
var gpuHeadDims = []int{16, 32, 64, 128}

// attentionDim demands a head size that has kernels.
func attentionDim(op string, h Heads) string {
	if !slices.Contains(gpuHeadDims, h.Dim) {
		panic(fmt.Sprintf("kernels: %s: heads are of %d, the GPU has kernels for %v", op, h.Dim, gpuHeadDims))
	}
	return fmt.Sprintf("bf16_d%d", h.Dim)
}

// chunkTiles is a chunk in tiles of keys.
func chunkTiles(h Heads) int32 {
	if h.Chunk == 0 {
		return math.MaxInt32
	}
	return int32(h.Chunk / PageTokens)
}

// scoreScale is log2(e)/√D, one constant for every kernel.
func scoreScale(h Heads) float32 {
	return float32(math.Log2E / math.Sqrt(float64(h.Dim)))
}

// Attention takes 64 rows a block, on Hopper 128, a row being one query head of one token.
func (g *GPU) Attention(o, lse, q, k, v, starts Tensor, h Heads) {
	g.begin("Attention")
	defer g.end()
	T, S := checkAttention(o, lse, q, k, v, starts, h)
	kind, G := attentionDim("Attention", h), h.Q/h.KV
	st := staging{g: g}
	qa, ka, va, oa := st.take(q, true), st.take(k, true), st.take(v, true), st.take(o, false)
	st.begin()
	if g.wgmma(h) {
		if T > 0 {
			g.launch(fmt.Sprint("attention_fwd_wgmma_d", h.Dim), [3]int{ceil(T*G, 128) + S, h.KV, 1}, 384, wgmmaShared(h, 2),
				oa.a, g.out(lse), qa.a, g.tensorMap(ka.a, T, h.KV*h.Dim, PageTokens), g.tensorMap(va.a, T, h.KV*h.Dim, PageTokens), g.in(starts),
				int32(S), int32(G), chunkTiles(h), scoreScale(h))
		}
		st.end()
		return
	}
	g.launch("attention_fwd_"+kind, [3]int{ceil(T*G, 64) + S, h.KV, 1}, 128, (4+1)*tileBytes(h),
		oa.a, g.out(lse), qa.a, ka.a, va.a, g.in(starts), int32(S), int32(G), chunkTiles(h), scoreScale(h))
	st.end()
}

// wgmma says whether attention over such heads is Hopper's, packed and paged alike.
func (g *GPU) wgmma(h Heads) bool { return g.hopper && (h.Dim == 64 || h.Dim == 128) }

// wgmmaShared is the dynamic shared memory of attend_wgmma.cuh: four stages of keys and values, and 64 rows of fp32 sums for each team.
// Backward, the sums take the place of a team's two tiles, and each stage has 512 bytes more.
func wgmmaShared(h Heads, teams int) int { return 1024 + 4*2*tileBytes(h) + teams*256*h.Dim }

// tileBytes is a tile of 64 keys.
func tileBytes(h Heads) int { return PageTokens * h.Dim * 2 }

// backwardShared is the dynamic shared memory of the portable backward passes: a pair of tiles, and two stages of what a pass goes over,
// which for heads of 128 are halves of one pair.
func backwardShared(h Heads) int {
	if h.Dim == 128 {
		return 4 * tileBytes(h)
	}
	return 6 * tileBytes(h)
}

// keyParts is how many blocks share the query heads of a key head's tile backward. One or two key heads give too few blocks: the longest of
// them would work for longer than all do on average. Only the geometry decides, for the order of a sum depends on it.
func keyParts(h Heads) int {
	if h.KV <= 2 {
		return h.Q / h.KV
	}
	return 1
}

// AttentionBackward first takes δ = Σ do∘o, then dq over tiles of rows, then dk and dv over tiles of keys.
func (g *GPU) AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts Tensor, h Heads) {
	const op = "AttentionBackward"
	g.begin(op)
	defer g.end()
	T, S := checkAttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts, h)
	if T == 0 {
		return
	}
	kind, G := attentionDim(op, h), h.Q/h.KV
	st := staging{g: g}
	deltaAt := st.bytes(4 * T * h.Q)
	parts, partAt := keyParts(h), [2]int{}
	if parts > 1 {
		partAt = [2]int{st.bytes(4 * T * h.Q * h.Dim), st.bytes(4 * T * h.Q * h.Dim)}
	}
	doa, qa, ka, va := st.take(do, true), st.take(q, true), st.take(k, true), st.take(v, true)
	st.begin()
	delta := arg{st.at + uint64(deltaAt), int32(h.Q), int32(F32)}
	g.launch("attention_delta", [3]int{ceil(T*h.Q, 4), 1, 1}, 128, 0, delta, doa.a, g.in(o), int32(T*h.Q), int32(h.Q), int32(h.Dim))
	c, keys, rows := scoreScale(h), dk.mem != nil || dv.mem != nil, 64
	dqa, add := g.sum(dq)
	dka, addK := g.sum(dk)
	dva, addV := g.sum(dv)
	sumK, sumV, addKV := dka, dva, addK|addV<<1
	if parts > 1 {
		part := func(i int) arg { return arg{st.at + uint64(partAt[i]), int32(h.Q * h.Dim), int32(F32)} }
		dka, dva = part(0), part(1)
	}
	if g.wgmma(h) {
		rows = 128
		shared, mapped := wgmmaShared(h, 2)+4*512, func(x *staged, heads int) [128]byte { return g.tensorMap(x.a, T, heads*h.Dim, PageTokens) }
		if dq.mem != nil {
			g.launch(fmt.Sprint("attention_bwd_q_wgmma_d", h.Dim), [3]int{ceil(T*G, rows) + S, h.KV, 1}, 384, shared,
				dqa, doa.a, g.in(lse), delta, qa.a, mapped(ka, h.KV), mapped(va, h.KV), g.in(starts), int32(S), int32(G), c, add)
		}
		if keys {
			g.launch(fmt.Sprint("attention_bwd_kv_wgmma_d", h.Dim), [3]int{h.KV * parts, ceil(T, rows) + S, 1}, 384, shared,
				dka, dva, mapped(doa, h.Q), g.in(lse), delta, mapped(qa, h.Q), ka.a, va.a, g.in(starts),
				int32(S), int32(G/parts), int32(parts), c, addKV)
		}
	} else {
		if dq.mem != nil {
			g.launch("attention_bwd_q_"+kind, [3]int{ceil(T*G, rows) + S, h.KV, 1}, 128, backwardShared(h),
				dqa, doa.a, g.in(lse), delta, qa.a, ka.a, va.a, g.in(starts), int32(S), int32(G), c, add)
		}
		if keys {
			g.launch("attention_bwd_kv_"+kind, [3]int{h.KV * parts, ceil(T, rows) + S, 1}, 128, backwardShared(h)+1024,
				dka, dva, doa.a, g.in(lse), delta, qa.a, ka.a, va.a, g.in(starts), int32(S), int32(G/parts), int32(parts), c, addKV)
		}
	}
	if keys && parts > 1 {
		g.launch("attention_sum_parts", [3]int{ceil(T*h.KV*h.Dim/8, 256), 2, 1}, 256, 0,
			sumK, sumV, dka, dva, int32(T), int32(h.KV), int32(h.Dim), int32(parts), addKV)
	}
}
