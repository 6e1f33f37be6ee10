package kernels

import (
	"fmt"
	"unsafe"
)

// A page of the CPU is a tile of keys for each key head, [KV][4][D][16], then one of values, [KV][64][D]: see attentionJob.

func (d *cpu) KVBytes(dtype DType, h Heads) int { return h.KV * 2 * PageTokens * h.Dim * dtype.Size() }

func (d *cpu) AllocKV(dtype DType, pages int, h Heads) KV {
	checkHeads("AllocKV", h)
	checkPages(dtype, pages)
	t := d.Alloc(dtype, max(pages, 1), 2*h.KV, PageTokens*h.Dim)
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
	j.h, j.k, j.v, j.kv, j.slots = kv.Heads, k, v, kv, at
	d.each(T, 4, T*kv.Heads.KV*kv.Heads.Dim, func(d *cpu, w *worker, from, to int) {
		for t := from; t < to; t++ {
			if d.att.slots[t] >= 0 {
				d.att.append(d.v, w, t)
			}
		}
	})
}

const pageBits = 6

var _ = [1]struct{}{}[PageTokens-1<<pageBits] // compiles only if PageTokens is 1<<pageBits

// append stores token t in its slot.
func (j *attentionJob) append(v *simd, w *worker, t int) {
	page, offset := int(j.slots[t])>>pageBits, int(j.slots[t])%PageTokens
	if m := j.kv.mem; m.b16 != nil {
		appendHeads(v, m.b16, page, offset, w.bf16Row(v, 0, j.k, t), w.bf16Row(v, 1, j.v, t), j.h)
	} else {
		appendHeads(v, m.f32, page, offset, w.loadRow(v, 0, j.k, t), w.loadRow(v, 1, j.v, t), j.h)
	}
}

// appendHeads stores a token's heads in a page. A key's numbers go to a line each, which a decode step finds in no cache: all are asked
// for first.
func appendHeads[N float32 | uint16](v *simd, pages []N, page, offset int, key, val []N, h Heads) {
	D, KV, size := h.Dim, h.KV, PageTokens*h.Dim
	pages = pages[page*2*KV*size:][:2*KV*size]
	first := offset/tileCols*tileCols*D + offset%tileCols
	for g := range KV {
		line := &pages[g*size+first]
		v.fetch((*float32)(unsafe.Pointer(line)), 2, tileCols*int(unsafe.Sizeof(*line)), D)
	}
	for g := range KV {
		panel := pages[g*size+first:]
		for i, x := range key[g*D : (g+1)*D] {
			panel[i*tileCols] = x
		}
		copy(pages[(KV+g)*size+offset*D:][:D], val[g*D:(g+1)*D])
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
		for i := range (int(length) + PageTokens - 1) / PageTokens {
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
		dst, src := int(to[i])*size, int(from[i])*size
		if m := kv.mem; m.b16 != nil {
			copy(m.b16[dst:dst+size], m.b16[src:])
		} else {
			copy(m.f32[dst:dst+size], m.f32[src:])
		}
	}
}
