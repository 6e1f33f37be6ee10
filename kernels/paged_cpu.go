package kernels

import "fmt"

// A page of the CPU is a tile of keys for each key head, [KV][4][D][16], then one of values, [KV][64][D]: see attentionJob.

func (d *cpu) KVBytes(h Heads) int { return h.KV * 2 * PageTokens * h.Dim * F32.Size() }

func (d *cpu) AllocKV(pages int, h Heads) KV {
	checkHeads("AllocKV", h)
	if pages < 0 {
		panic(fmt.Sprintf("kernels: AllocKV of %d pages", pages))
	}
	t := d.Alloc(F32, max(pages, 1), 2*h.KV, PageTokens*h.Dim)
	return KV{mem: t.mem, Pages: pages, Heads: h}
}

func (d *cpu) checkPage(op string, kv KV, page int32) {
	if uint(page) >= uint(kv.Pages) {
		panic(fmt.Sprintf("kernels: %s: page %d of %d", op, page, kv.Pages))
	}
}

func (d *cpu) AppendKV(kv KV, k, v, slots Tensor) {
	const op = "AppendKV"
	d.begin(op)
	T := checkAppendKV(kv, k, v, slots)
	d.reads(op, k)
	d.reads(op, v)
	at := slots.ints()
	for _, slot := range at {
		if slot >= 0 {
			d.checkPage(op, kv, slot>>pageBits)
		}
	}
	j := &d.att
	j.h, j.k, j.v, j.kv, j.slots = kv.Heads, k, v, kv.mem.f32, at
	d.each(T, 4, T*kv.Heads.KV*kv.Heads.Dim, func(d *cpu, _ *worker, from, to int) {
		for t := from; t < to; t++ {
			if d.att.slots[t] >= 0 {
				d.att.append(d.v, t)
			}
		}
	})
}

const pageBits = 6

var _ = [1]struct{}{}[PageTokens-1<<pageBits] // compiles only if PageTokens is 1<<pageBits

// append stores token t in its slot. A key's numbers go to a line each, which a decode step finds in no cache: all are asked for first.
func (j *attentionJob) append(v *simd, t int) {
	D, KV := j.h.Dim, j.h.KV
	size := PageTokens * D
	page := j.kv[int(j.slots[t])>>pageBits*2*KV*size:][:2*KV*size]
	offset := int(j.slots[t]) % PageTokens
	key, val := j.k.row(t), j.v.row(t)
	first := offset/tileCols*tileCols*D + offset%tileCols
	for g := range KV {
		v.fetch(&page[g*size+first], 4, 4*tileCols, D)
	}
	for g := range KV {
		panel := page[g*size+first:]
		for i, x := range key[g*D : (g+1)*D] {
			panel[i*tileCols] = x
		}
		copy(page[(KV+g)*size+offset*D:][:D], val[g*D:(g+1)*D])
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
	j := &d.att
	j.set(h, q, o, Tensor{})
	j.kv, j.pages, j.perS, j.do = kv.mem.f32, table.Pages.ints(), N, Tensor{}
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
		for i := range (int(length) + PageTokens - 1) / PageTokens {
			d.checkPage(op, kv, j.pages[s*N+i])
		}
		for at := int32(0); at < n; at += queryBlock {
			j.items = append(j.items, attentionItem{int32(s), j.starts[s] + at, min(queryBlock, n-at), length - n + at})
		}
	}
	d.attend()
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
		copy(kv.mem.f32[int(to[i])*size:][:size], kv.mem.f32[int(from[i])*size:])
	}
}
