package kernels

import "fmt"

// A page of the CPU is a tile of keys for each key head, [KV][4][D][16], then one of values, [KV][64][D]: see attentionJob.

func (d *cpu) KVBytes(dtype DType, h Heads) int { return h.KV * 2 * PageTokens * h.Dim * dtype.Size() }

func (d *cpu) AllocKV(dtype DType, pages int, h Heads) KV {
	checkHeads("AllocKV", h)
	checkPages(dtype, pages)
	t := d.Alloc(dtype, max(pages, 1), 2*h.KV, PageTokens*h.Dim)
	t.mem.pages = make([]pageState, pages)
	return KV{mem: t.mem, Pages: pages, Heads: h}
}

func (d *cpu) checkPage(op string, kv KV, page int32) {
	if uint(page) >= uint(kv.Pages) {
		panic(fmt.Sprintf("kernels: %s: page %d of %d", op, page, kv.Pages))
	}
}

func (d *cpu) PagedAttention(o, q Tensor, kv KV, table PageTable, h Heads) {
	const op = "PagedAttention"
	d.begin(op)
	T, S, N := checkPagedAttention(o, q, kv, table, h)
	d.reads(op, q)
	d.writes(op, o)
	if !table.Pages.Contiguous() {
		needs(op, "table.Pages", table.Pages, "contiguous")
	}
	out := o
	q, o = d.wide(0, q), d.wideRoom(3, o)
	j := &d.att
	j.set(h, q, o, Tensor{})
	j.kv, j.pages, j.perS, j.do = kv, table.Pages.ints(), N, Tensor{}
	j.starts = d.sequences(op, table.Starts, min(T, int(table.Starts.ints()[S]))) // rows after the last sequence are nobody's
	lens := table.Len.ints()
	for s := range S {
		n, length := j.starts[s+1]-j.starts[s], lens[s]
		if n == 0 {
			continue
		}
		if length < n || int(length) > N*PageTokens {
			panic(fmt.Sprintf("kernels: %s: sequence %d has length %d, %d rows of this step and %d pages", op, s, length, n, N))
		}
		for i := range PagesOf(int(length)) {
			d.checkPage(op, kv, j.pages[s*N+i])
		}
		for at := int32(0); at < n; at += queryBlock {
			j.items = append(j.items, attentionItem{int32(s), j.starts[s] + at, min(queryBlock, n-at), length - n + at})
		}
	}
	d.attend()
	d.settle(out, o)
}

func (d *cpu) CopyPages(kv KV, dst, src Tensor) {
	const op = "CopyPages"
	d.begin(op)
	n := checkCopyPages(kv, dst, src)
	to, from := dst.ints(), src.ints()
	size := 2 * kv.Heads.KV * PageTokens * kv.Heads.Dim
	for i := range n {
		d.checkPage(op, kv, to[i])
		d.checkPage(op, kv, from[i])
		kv.mem.pages[to[i]].open = kv.mem.pages[from[i]].open
		dst, src := int(to[i])*size, int(from[i])*size
		if m := kv.mem; m.b16 != nil {
			copy(m.b16[dst:dst+size], m.b16[src:])
		} else {
			copy(m.f32[dst:dst+size], m.f32[src:])
		}
	}
}
