package kernels

import (
	"fmt"
	"math"
)

// attentionDim demands a head size that has kernels.
func attentionDim(op string, h Heads) string {
	switch h.Dim {
	case 16, 32, 64, 128:
		return fmt.Sprintf("bf16_d%d", h.Dim)
	}
	panic(fmt.Sprintf("kernels: %s: heads are of %d, the GPU has kernels for 16, 32, 64 and 128", op, h.Dim))
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
	doa, qa, ka, va := st.take(do, true), st.take(q, true), st.take(k, true), st.take(v, true)
	st.begin()
	delta := arg{st.at + uint64(deltaAt), int32(h.Q), int32(F32)}
	g.launch("attention_delta", [3]int{ceil(T*h.Q, 4), 1, 1}, 128, 0, delta, doa.a, g.in(o), int32(T*h.Q), int32(h.Q), int32(h.Dim))
	c := scoreScale(h)
	if g.wgmma(h) {
		shared, rows := wgmmaShared(h, 2)+4*512, func(x *staged, heads int) [128]byte { return g.tensorMap(x.a, T, heads*h.Dim, PageTokens) }
		if dq.mem != nil {
			g.launch(fmt.Sprint("attention_bwd_q_wgmma_d", h.Dim), [3]int{ceil(T*G, 128) + S, h.KV, 1}, 384, shared,
				g.out(dq), doa.a, g.in(lse), delta, qa.a, rows(ka, h.KV), rows(va, h.KV), g.in(starts), int32(S), int32(G), c)
		}
		if dk.mem != nil || dv.mem != nil {
			g.launch(fmt.Sprint("attention_bwd_kv_wgmma_d", h.Dim), [3]int{ceil(T, 128) + S, h.KV, 1}, 384, shared,
				g.out(dk), g.out(dv), rows(doa, h.Q), g.in(lse), delta, rows(qa, h.Q), ka.a, va.a, g.in(starts), int32(S), int32(G), c)
		}
		return
	}
	if dq.mem != nil {
		g.launch("attention_bwd_q_"+kind, [3]int{ceil(T*G, 64) + S, h.KV, 1}, 128, backwardShared(h),
			g.out(dq), doa.a, g.in(lse), delta, qa.a, ka.a, va.a, g.in(starts), int32(S), int32(G), c)
	}
	if dk.mem != nil || dv.mem != nil {
		g.launch("attention_bwd_kv_"+kind, [3]int{ceil(T, 64) + S, h.KV, 1}, 128, backwardShared(h)+1024,
			g.out(dk), g.out(dv), doa.a, g.in(lse), delta, qa.a, ka.a, va.a, g.in(starts), int32(S), int32(G), c)
	}
}
