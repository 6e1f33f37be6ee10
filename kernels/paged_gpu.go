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

// unplanned is what PagedAttention takes without a plan for T rows of S sequences whose contexts have so many chunks: tiles of few rows or
// of many, and whether each chunk is a block of its own, which it is where there are fewer tiles than the GPU can hold.
func (g *GPU) unplanned(T, S, chunks int, h Heads) (rows int, parts bool) {
	few, many := g.pagedRows(h)
	n := T * h.Q / h.KV
	tiles := func(rows int) int { return (ceil(n, rows) + S) * h.KV }
	switch {
	case g.wgmma(h): // 128 rows are two teams, one multiprocessor's
		parts = chunks > 1 && tiles(few) < g.split
		if parts || n <= few*S || 2*tiles(many) < g.split {
			return few, parts
		}
		return many, false
	case n <= few*S:
		return few, chunks > 1 && tiles(few) < g.split
	case chunks > 1 && tiles(many) < g.split:
		return few, true
	}
	return many, false
}

// PagedAttention takes the tiles of a plan, or finds its own. Bits depend on neither.
func (g *GPU) PagedAttention(o, q Tensor, kv KV, table PageTable, h Heads) {
	const op = "PagedAttention"
	g.begin(op)
	defer g.end()
	T, S, N := checkPagedAttention(o, q, kv, table, h)
	kind, G := attentionDim(op, h), h.Q/h.KV
	chunks := 1
	if h.Chunk > 0 {
		chunks = min(ceil(N*PageTokens, h.Chunk), 65535)
	}
	rows, parts := g.unplanned(T, S, chunks, h)
	grid := [3]int{ceil(T*G, rows) + S, h.KV, 1}
	if parts {
		grid[2] = chunks
	}
	if table.Work.mem != nil {
		rows, parts, grid = table.Rows, table.Parts, [3]int{table.Work.dims[0] * h.KV, 1, 1}
	}
	threads, shared := 2*rows, g.pagedShared(h, rows)
	whole, part := fmt.Sprint("paged_fwd", rows, "_", kind), "paged_part_"+kind
	if g.wgmma(h) {
		if threads = 160; rows > 64 {
			threads = 384
		}
		whole, part = fmt.Sprintf("paged_fwd%d_wgmma_d%d", rows, h.Dim), fmt.Sprintf("paged_part%d_wgmma_d%d", rows, h.Dim)
	}
	st := staging{g: g}
	qa, oa := st.take(q, true), st.take(o, false)
	pages, starts, length, work := g.in(table.Pages), g.in(table.Starts), g.in(table.Len), g.in(table.Work).p
	if !parts {
		st.begin()
		g.launch(whole, grid, threads, shared,
			oa.a, qa.a, g.kv(kv), int64(g.KVBytes(BF16, h)), pages, starts, length, int32(S), int32(G), chunkTiles(h), scoreScale(h),
			work, int32(h.KV))
		st.end()
		return
	}
	at := st.bytes(4 * T * h.Q * chunks * (h.Dim + 2))
	st.begin()
	state := st.at + uint64(at)
	g.launch(part, grid, threads, shared,
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
