package kernels

import (
	"fmt"
	"math"
	"unsafe"
)

const (
	queryBlock = 24 // rows of queries that share a pass over the keys
	keyBlock   = PageTokens
	diagonal   = 32 // rows of queries per step of the backward pass where keys and queries overlap
)

// attentionJob describes attention over tiles of 64 keys, wherever they lie: in tiles packed for this call, or in pages.
//
// A tile of keys, for one key head, is four panels of 16 keys, [4][D][16], so that scores are a product like any other; values
// stand as rows of D. A row of queries takes its tiles in ascending order. Per tile: t = q·k/√D, one chain over D;
// m' = max(m, t); o = o·exp(m−m') + Σ exp(t−m')·v, one chain over the keys; l likewise, a tree over the 64. Keys that a row may
// not see come after those it may, and are not part of any of this: neither the length of a block of queries nor what lies after
// the last key can change a bit.
type attentionJob struct {
	h          Heads
	scale      float32
	q, o, lse  Tensor
	k, v       Tensor
	do         Tensor
	dq, dk, dv Tensor
	items      []attentionItem
	starts     []int32

	keys, vals []float32 // tiles of this call: tile i, key head g at (i·KV+g)·64·D; vals only for the backward pass
	delta      []float32 // (T,Q): Σ do·o; rows as far apart as those of lse
	first      []int32   // (S+1): the first tile of a sequence, and the number of tiles

	pieces []appendPiece // of AppendKV
	kv     KV            // pages; absent for packed tiles
	pages  []int32       // (S,N)
	perS   int
}

// tileView is 64 keys of one or more heads and their values, as many as are wanted.
type tileView struct {
	keys, vals         *float32
	keysNext, valsNext int      // from a head's to the next one's
	ld                 int      // of two values
	panel              int      // of turned
	turned             *float32 // keys that keys does not have as a panel, of one head after the other; nil: it has all
}

// of is the view of head h alone.
func (t tileView) of(h, D int) tileView {
	t.keys = (*float32)(step(unsafe.Pointer(t.keys), h*t.keysNext))
	t.vals = (*float32)(step(unsafe.Pointer(t.vals), h*t.valsNext))
	if t.turned != nil {
		t.turned = (*float32)(step(unsafe.Pointer(t.turned), h*tileCols*D))
	}
	return t
}

// attentionItem is a block of consecutive rows of one sequence.
type attentionItem struct {
	seq, row, rows int32
	pos            int32 // of the first row in its sequence
}

// sequences reads starts, and demands that they divide T rows.
func (d *cpu) sequences(op string, starts Tensor, T int) []int32 {
	s := starts.ints()
	for i, at := range s {
		if i == 0 && at != 0 || i > 0 && at < s[i-1] || i == len(s)-1 && int(at) != T {
			panic(fmt.Sprintf("kernels: %s: starts[%d] is %d: starts must ascend from 0 to the %d rows", op, i, at, T))
		}
	}
	return s
}

// tiles packs the keys of all sequences, and their values if the job is a backward pass.
func (d *cpu) tiles(T int) {
	j := &d.att
	j.first = j.first[:0]
	n := int32(0)
	for s := range len(j.starts) - 1 {
		j.first = append(j.first, n)
		n += (j.starts[s+1] - j.starts[s] + keyBlock - 1) / keyBlock
	}
	j.first = append(j.first, n)
	size := int(n) * j.h.KV * keyBlock * j.h.Dim
	if cap(j.keys) < size {
		j.keys = floats(size + size/4)
	}
	j.keys = j.keys[:size]
	if j.do.mem != nil {
		if cap(j.vals) < size {
			j.vals = floats(size + size/4)
		}
		j.vals = j.vals[:size]
	}
	d.each(int(n), 1, 2*T*j.h.KV*j.h.Dim, func(d *cpu, _ *worker, from, to int) {
		j := &d.att
		D, s := j.h.Dim, 0
		for i := from; i < to; i++ {
			for int(j.first[s+1]) <= i {
				s++
			}
			row := int(j.starts[s]) + (i-int(j.first[s]))*keyBlock
			n := min(keyBlock, int(j.starts[s+1])-row)
			for g := range j.h.KV {
				at := (i*j.h.KV + g) * keyBlock * D
				packKeys(d.v, j.keys[at:at+keyBlock*D], j.k.at(row)[g*D:], n, D, j.k.ld)
				if j.do.mem != nil {
					packKeys(d.v, j.vals[at:at+keyBlock*D], j.v.at(row)[g*D:], n, D, j.v.ld)
				}
			}
		}
	})
}

// packKeys writes a tile of n keys of D numbers, ld apart. What a tile holds after its last key is arbitrary: the scores there are
// computed with the others of their panel, then dropped.
func packKeys(v *simd, tile, src []float32, n, D, ld int) {
	for p := 0; p < n; p += tileCols {
		packTransposed(v, tile[p*D:], src, p, min(tileCols, n-p), D, ld)
	}
}

func (d *cpu) Attention(o, lse, q, k, v, starts Tensor, h Heads) {
	const op = "Attention"
	d.begin(op)
	T, S := checkAttention(o, lse, q, k, v, starts, h)
	for _, t := range [...]Tensor{q, k, v, starts} {
		d.reads(op, t)
	}
	d.writes(op, o)
	d.writes(op, lse)
	out := o
	q, k, v, o = d.wide(0, q), d.wide(1, k), d.wide(2, v), d.wideRoom(3, o)
	j := &d.att
	j.set(h, q, o, lse)
	j.k, j.v, j.do, j.kv, j.pages = k, v, Tensor{}, KV{}, nil
	j.starts = d.sequences(op, starts, T)
	d.tiles(T)
	for s := range S {
		n := j.starts[s+1] - j.starts[s]
		for at := int32(0); at < n; at += queryBlock {
			j.items = append(j.items, attentionItem{int32(s), j.starts[s] + at, min(queryBlock, n-at), at})
		}
	}
	d.attend()
	d.settle(out, o)
}

func (j *attentionJob) set(h Heads, q, o, lse Tensor) {
	j.h, j.q, j.o, j.lse = h, q, o, lse
	j.scale = float32(1 / math.Sqrt(float64(h.Dim)))
	j.items = j.items[:0]
}

// attend runs the job's items.
func (d *cpu) attend() {
	j := &d.att
	cost := 0
	for _, it := range j.items {
		cost += int(it.rows) * (int(it.pos+it.rows) + 8)
	}
	cost *= j.h.Q * j.h.Dim / 12
	if n := j.together(d); n > 0 {
		d.each(len(j.items)*j.h.KV/n, 1, cost, func(d *cpu, w *worker, from, to int) {
			j := &d.att
			n := j.together(d)
			for i := from; i < to; i++ {
				it, g := j.items[i/(j.h.KV/n)], i%(j.h.KV/n)*n
				if it.rows == 1 {
					j.heads(d, w, it, g, n)
					continue
				}
				for h := range n {
					j.rows(d, w, it, g+h)
				}
			}
		})
		return
	}
	d.each(len(j.items)*j.h.KV, 1, cost, func(d *cpu, w *worker, from, to int) {
		for i := from; i < to; i++ {
			d.att.rows(d, w, d.att.items[i/d.att.h.KV], i%d.att.h.KV)
		}
	})
}

// together is how many heads of a single row are attended at once, each with keys of its own; 0: a row is like several.
func (j *attentionJob) together(d *cpu) int {
	D, KV := j.h.Dim, j.h.KV
	if j.h.Q != KV || KV%2 != 0 || D != 32 && D%64 != 0 {
		return 0
	}
	n := 2
	for KV%(2*n) == 0 && n < mostTogether && len(j.items)*KV/(2*n) >= manyItems*len(d.workers) {
		n *= 2
	}
	return n
}

const (
	mostTogether = 8 // heads: their keys, and then their values, follow one another in a page
	manyItems    = 4 // for each thread, so that all end together
)

// tile is tile i of a sequence, heads from g on, of which n keys are wanted. Pages of bf16 are widened into lanes of the worker.
func (j *attentionJob) tile(d *cpu, w *worker, seq, i, g, heads, n int) tileView {
	D := j.h.Dim
	size := keyBlock * D
	m := j.kv.mem
	if m == nil {
		at := (int(j.first[seq]) + i) * j.h.KV
		vals := &j.v.at(int(j.starts[seq]) + i*keyBlock)[g*D]
		return tileView{keys: &j.keys[(at+g)*size], keysNext: size, vals: vals, valsNext: D, ld: j.v.ld}
	}
	page := int(j.pages[seq*j.perS+i])
	at, open := (page*2*j.h.KV+g)*size, int(m.pages[page].open)-1
	there := n - open*tileCols // keys of the panel in rows
	if open < 0 || there <= 0 {
		open = -1
	}
	there = min((there+7)&^7, tileCols) // whole blocks: rows that hold nothing yet are quicker turned than left out
	if d.v.turn != nil {
		there = tileCols
	}
	if m.b16 == nil {
		t := tileView{keys: &m.f32[at], vals: &m.f32[at+j.h.KV*size], keysNext: size, valsNext: size, ld: D}
		if open >= 0 {
			turned := w.lane(0, heads*tileCols*D)
			for h := range heads {
				packTransposed(d.v, turned[h*tileCols*D:], m.f32[at+h*size+open*tileCols*D:], 0, there, D, D)
			}
			t.panel, t.turned = open, &turned[0]
		}
		return t
	}
	all := w.lane(0, heads*2*size)
	used := (n + tileCols - 1) &^ (tileCols - 1) * D
	for h := range heads {
		x := all[h*2*size:]
		d.v.widen(x[:used], m.b16[at:at+used])
		if open >= 0 {
			panel, rows := x[open*tileCols*D:][:tileCols*D], w.lane(1, tileCols*D)
			copy(rows, panel)
			packTransposed(d.v, panel, rows, 0, there, D, D)
		}
		vals := at + j.h.KV*size
		d.v.widen(x[size:size+n*D], m.b16[vals:vals+n*D])
		at += size
	}
	return tileView{keys: &all[0], vals: &all[size], keysNext: 2 * size, valsNext: 2 * size, ld: D}
}

// scores computes rows of queries, from q on, ars apart, with n keys, to s, a tile's width apart; of the panels after them some too.
func (t *tileView) scores(v *simd, w *worker, s, q *float32, rows, ars, n, D int) {
	cols := (n + tileCols - 1) &^ (tileCols - 1)
	if t.turned != nil && cols == (t.panel+1)*tileCols {
		cols -= tileCols
	}
	if rows == 1 && cols > 2*tileCols { // a row has a kernel for four panels, and none for three
		cols = keyBlock
	}
	p := product{
		c: s, ldc: keyBlock, a: q, ars: ars, aks: 1, b: t.keys, bps: tileCols * D, bks: tileCols, rows: rows, cols: cols, k: D, padded: true,
	}
	w.product(v, &p)
	if t.turned != nil {
		p.c, p.b, p.cols = (*float32)(step(unsafe.Pointer(s), t.panel*tileCols)), t.turned, tileCols
		w.product(v, &p)
	}
}

// rows attends the rows of an item with all query heads of key head g.
func (j *attentionJob) rows(d *cpu, w *worker, it attentionItem, g int) {
	D, G, R := j.h.Dim, j.h.Q/j.h.KV, int(it.rows)
	buf := w.scratch(G * R * (keyBlock + 4))
	s, m, l := buf[:G*R*keyBlock], buf[G*R*keyBlock:][:G*R], buf[G*R*(keyBlock+1):][:G*R]
	tops, sums := buf[G*R*(keyBlock+2):][:G*R], buf[G*R*(keyBlock+3):]
	for at := range m {
		m[at] = float32(math.Inf(-1))
	}
	last := int(it.pos) + R - 1 // the last key that the last row sees
	// A block is heads × rows of queries. A single row's heads lie side by side, so that they can be the rows of one product.
	heads, rows, qrs, ors := G, R, j.q.ld, j.o.ld
	if R == 1 {
		heads, rows, qrs, ors = 1, G, D, D
	}
	for i := 0; i <= last/keyBlock; i++ {
		from := 0 // rows before it see nothing of this tile
		if R > 1 {
			from = max(0, i*keyBlock-int(it.pos))
		}
		n := min(keyBlock, last-i*keyBlock+1)
		seen, grow := n, 0
		if R > 1 {
			seen, grow = int(it.pos)+from-i*keyBlock+1, 1
		}
		tile := j.tile(d, w, int(it.seq), i, g, 1, n)
		for h := range heads {
			col := (g*G + h) * D
			scores := s[(h*R+from)*keyBlock:]
			tile.scores(d.v, w, &scores[0], &j.q.at(int(it.row) + from)[col], rows-from, qrs, n, D)
			first := h*R + from
			d.v.attendEach(scores, rows-from, seen, grow, j.scale, m[first:], tops[first:], sums[first:])
			for r := from; r < rows; r++ {
				at := h*R + r
				top := tops[at]
				if i == 0 {
					m[at], l[at] = top, sums[at]
					continue
				}
				if top != m[at] { // else the factor is 1
					a := exp32(m[at] - top)
					l[at] *= a
					m[at] = top
					d.v.scale(j.o.at(int(it.row))[r*ors+col:][:D], a)
				}
				l[at] += sums[at]
			}
			w.product(d.v, &product{
				c: &j.o.at(int(it.row) + from)[col], ldc: ors, a: &scores[0], ars: keyBlock, aks: 1,
				b: tile.vals, bps: tileCols, bks: tile.ld, rows: rows - from, cols: D, k: n, acc: i > 0,
			})
		}
	}
	for h := range heads {
		col := (g*G + h) * D
		for r := range rows {
			at := h*R + r
			d.v.scale(j.o.at(int(it.row))[r*ors+col:][:D], 1/l[at])
			if j.lse.mem != nil {
				lse := m[at] + ln32(l[at])
				if R == 1 {
					j.lse.at(int(it.row))[g*G+r] = lse
				} else {
					j.lse.at(int(it.row) + r)[g*G+h] = lse
				}
			}
		}
	}
}

// AttentionBackward recomputes p = exp(q·k/√D − lse) tile by tile. With delta = Σ do·o:
//
//	dv += pᵀ·do    ds = p·(do·vᵀ − delta)/√D    dq += ds·k    dk += dsᵀ·q
//
// A key head of a sequence is one thread's work, keys ascending, then query heads, then queries ascending: the order of every sum
// depends on the lengths alone.
func (d *cpu) AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts Tensor, h Heads) {
	const op = "AttentionBackward"
	d.begin(op)
	T, S := checkAttentionBackward(dq, dk, dv, do, o, lse, q, k, v, starts, h)
	dq, dk, dv = d.cleared(op, dq), d.cleared(op, dk), d.cleared(op, dv)
	for _, t := range [...]Tensor{do, o, lse, q, k, v, starts} {
		d.reads(op, t)
	}
	for _, t := range [...]Tensor{dq, dk, dv} {
		d.writes(op, t)
	}
	outs := [...]Tensor{dq, dk, dv}
	q, k, v, o, do = d.wide(0, q), d.wide(1, k), d.wide(2, v), d.wide(3, o), d.wide(4, do)
	dq, dk, dv = d.wide(5, dq), d.wide(6, dk), d.wide(7, dv)
	j := &d.att
	j.set(h, q, o, lse)
	j.k, j.v, j.do, j.dq, j.dk, j.dv, j.kv, j.pages = k, v, do, dq, dk, dv, KV{}, nil
	j.starts = d.sequences(op, starts, T)
	d.tiles(T)
	if n := T * lse.ld; cap(j.delta) < n {
		j.delta = floats(n + n/4)
	}
	j.delta = j.delta[:T*lse.ld]
	d.each(T, 16, T*h.Q*h.Dim/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.att
		D := j.h.Dim
		for t := from; t < to; t++ {
			do, o := j.do.row(t), j.o.row(t)
			for h := range j.h.Q {
				j.delta[t*j.lse.ld+h] = d.v.dot(do[h*D:(h+1)*D], o[h*D:(h+1)*D])
			}
		}
	})
	cost := 0
	for s := range S {
		n := int(j.starts[s+1] - j.starts[s])
		cost += n * (n + 64)
	}
	d.each(S*h.KV, 1, cost*h.Q*h.Dim/4, func(d *cpu, w *worker, from, to int) {
		for i := from; i < to; i++ {
			d.att.back(d, w, i/d.att.h.KV, i%d.att.h.KV)
		}
	})
	for i, sum := range [...]Tensor{dq, dk, dv} {
		d.settle(outs[i], sum)
	}
}

func (j *attentionJob) back(d *cpu, w *worker, seq, g int) {
	D, G := j.h.Dim, j.h.Q/j.h.KV
	start := int(j.starts[seq])
	length := int(j.starts[seq+1]) - start
	buf := w.scratch(2 * keyBlock * keyBlock)
	p, ds := buf[:keyBlock*keyBlock], buf[keyBlock*keyBlock:]
	for at := 0; at < length; at += keyBlock {
		tile := ((int(j.first[seq])+at/keyBlock)*j.h.KV + g) * keyBlock * D
		keys, vals := &j.keys[tile], &j.vals[tile]
		for h := g * G; h < (g+1)*G; h++ {
			for row := at; row < length; {
				rows := keyBlock
				n := min(keyBlock, length-at) // keys that the last of these rows sees
				if row < at+keyBlock {
					rows = diagonal
					n = min(n, row+rows-at)
				}
				rows = min(rows, length-row)
				n = min(n, row+rows-at)
				qp, dop := &j.q.at(start + row)[h*D], &j.do.at(start + row)[h*D]
				cols := (n + tileCols - 1) &^ (tileCols - 1)
				w.product(d.v, &product{
					c: &p[0], ldc: keyBlock, a: qp, ars: j.q.ld, aks: 1,
					b: keys, bps: tileCols * D, bks: tileCols, rows: rows, cols: cols, k: D, padded: true,
				})
				w.product(d.v, &product{
					c: &ds[0], ldc: keyBlock, a: dop, ars: j.do.ld, aks: 1,
					b: vals, bps: tileCols * D, bks: tileCols, rows: rows, cols: cols, k: D, padded: true,
				})
				d.v.attendBackEach(p, ds, rows, row-at+1, j.scale, j.lse.at(start + row)[h:], j.delta[(start+row)*j.lse.ld+h:], j.lse.ld)
				if j.dv.mem != nil {
					w.product(d.v, &product{
						c: &j.dv.at(start + at)[g*D], ldc: j.dv.ld, a: &p[0], ars: 1, aks: keyBlock,
						b: dop, bps: tileCols, bks: j.do.ld, rows: n, cols: D, k: rows, acc: true,
					})
				}
				if j.dk.mem != nil {
					w.product(d.v, &product{
						c: &j.dk.at(start + at)[g*D], ldc: j.dk.ld, a: &ds[0], ars: 1, aks: keyBlock,
						b: qp, bps: tileCols, bks: j.q.ld, rows: n, cols: D, k: rows, acc: true,
					})
				}
				if j.dq.mem != nil {
					w.product(d.v, &product{
						c: &j.dq.at(start + row)[h*D], ldc: j.dq.ld, a: &ds[0], ars: keyBlock, aks: 1,
						b: &j.k.at(start + at)[g*D], bps: tileCols, bks: j.k.ld, rows: rows, cols: D, k: n, acc: true,
					})
				}
				row += rows
			}
		}
	}
}
