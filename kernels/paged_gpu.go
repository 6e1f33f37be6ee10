package kernels

import "fmt"

// KVBytes is, for each key head, a tile of keys and a tile of values, of bf16.
func (g *GPU) KVBytes(_ DType, h Heads) int { return h.KV * 2 * tileBytes(h) }

// AllocKV is zeroed pages.
func (g *GPU) AllocKV(dtype DType, pages int, h Heads) KV {
	checkHeads("AllocKV", h)
	attentionDim("AllocKV", h)
	checkPages(dtype, pages)
	return KV{mem: g.reserve(pages * g.KVBytes(dtype, h)), Pages: pages, Heads: h}
}

func (g *GPU) kv(kv KV) uint64 {
	return g.in(Tensor{mem: kv.mem, dtype: BF16}).p
}

// AppendKV rounds to bf16.
func (g *GPU) AppendKV(kv KV, k, v, slots Tensor) {
	g.begin("AppendKV")
	defer g.end()
	T := checkAppendKV(kv, k, v, slots)
	h := kv.Heads
	kv.mem.version++
	g.launch("append_"+attentionDim("AppendKV", h), [3]int{ceil(T*h.KV*h.Dim/8, 256), 1, 1}, 256, 0,
		g.kv(kv), int64(g.KVBytes(BF16, h)), g.in(k), g.in(v), g.in(slots), int32(T), int32(h.KV))
}

// PagedAttention takes tiles of 16 rows where most sequences have a token or few, else of 64. Where there are fewer such tiles than the GPU
// can hold and contexts have several chunks, each chunk is a block of its own. A plan decides both for a decode step.
// Bits depend on none of it.
func (g *GPU) PagedAttention(o, q Tensor, kv KV, table PageTable, h Heads) {
	const op = "PagedAttention"
	g.begin(op)
	defer g.end()
	T, S, N := checkPagedAttention(o, q, kv, table, h)
	kind, G := attentionDim(op, h), h.Q/h.KV
	name, rows, threads, partRows, shared := "paged_fwd64_"+kind, 64, 128, 16, (4+1)*tileBytes(h)
	part, partThreads := "paged_part_"+kind, 32
	switch {
	case g.wgmma(h):
		name, part = fmt.Sprint("paged_fwd_wgmma_d", h.Dim), fmt.Sprint("paged_part_wgmma_d", h.Dim)
		threads, partRows, partThreads, shared = 160, 64, 160, g.pagedShared(h)
	case T*G <= 16*S || table.Work.mem != nil:
		name, rows, threads = "paged_fwd16_"+kind, 16, 32
	}
	st := staging{g: g}
	qa, oa := st.take(q, true), st.take(o, false)
	pages, starts, length, work := g.in(table.Pages), g.in(table.Starts), g.in(table.Len), g.in(table.Work).p
	tiles, chunks := ceil(T*G, rows)+S, 1
	if h.Chunk > 0 {
		chunks = min(ceil(N*PageTokens, h.Chunk), 65535)
	}
	whole, grid, parts := chunks == 1 || tiles*h.KV >= g.split, [3]int{tiles, h.KV, 1}, [3]int{ceil(T*G, partRows) + S, h.KV, chunks}
	if table.Work.mem != nil {
		whole, grid = !table.Parts, [3]int{table.Work.dims[0] * h.KV, 1, 1}
		parts = grid
	}
	if whole {
		st.begin()
		g.launch(name, grid, threads, shared,
			oa.a, qa.a, g.kv(kv), int64(g.KVBytes(BF16, h)), pages, starts, length, int32(S), int32(G), chunkTiles(h), scoreScale(h),
			work, int32(h.KV))
		st.end()
		return
	}
	at := st.bytes(4 * T * h.Q * chunks * (h.Dim + 2))
	st.begin()
	state := st.at + uint64(at)
	g.launch(part, parts, partThreads, shared,
		state, qa.a, g.kv(kv), int64(g.KVBytes(BF16, h)), pages, starts, length, int32(S), int32(G), int32(chunks), chunkTiles(h), scoreScale(h),
		work, int32(h.KV))
	g.launch("paged_merge_"+kind, [3]int{ceil(T*h.Q, 4), 1, 1}, 128, 0,
		oa.a, state, starts, length, int32(S), int32(T), int32(h.Q), int32(chunks), chunkTiles(h), scoreScale(h))
	st.end()
}

// CopyPages copies whole pages, 16 bytes a thread.
func (g *GPU) CopyPages(kv KV, dst, src Tensor) {
	g.begin("CopyPages")
	defer g.end()
	n := checkCopyPages(kv, dst, src)
	kv.mem.version++
	stride := g.KVBytes(BF16, kv.Heads)
	for from := 0; from < n; from += 65535 {
		m := min(n-from, 65535)
		g.launch("copy_pages", [3]int{ceil(stride, 4096), m, 1}, 256, 0,
			g.kv(kv), int64(stride), g.in(dst.Rows(from, from+m)), g.in(src.Rows(from, from+m)))
	}
}
