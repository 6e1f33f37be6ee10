package kernels

import (
	"math"
	"unsafe"
)

// headTile is a tile for one row and several heads, each with keys of its own: what simd.headScores and simd.headValues read. Distances are
// in bytes. The order and size of fields are known to the assembly.
type headTile struct {
	q, o     unsafe.Pointer    // of the first head; the others' follow
	s        unsafe.Pointer    // 64 scores, then probabilities, of one head after the other
	vals     unsafe.Pointer    // of the first head
	panels   [4]unsafe.Pointer // 16 keys each, of the first head
	next     [4]int            // from a head's panel to the next one's
	valsNext int
	ld       int // of two values
	heads    int // an even number
	dim      int // of a head: 32, or a multiple of 64
	n        int // keys that the row sees, 1 … 64
	m        *float32
	top, sum *float32 // of each head: the largest scaled score so far, and the sum of the probabilities
	factor   *float32 // what o counts, of each head; nil: o is written
	scale    float32
}

// heads is rows for a single row and heads from g on, each with keys of its own. Alone, a head's chains over the values are too few to
// hide the latency of an addition; together, the keys of all and then the values of all are read as they lie in a page.
func (j *attentionJob) heads(d *cpu, w *worker, it attentionItem, g, heads int) {
	D := j.h.Dim
	buf := w.scratch(heads * (keyBlock + 5))
	s, each := buf[:heads*keyBlock], buf[heads*keyBlock:]
	m, l, tops, sums, factors := each[:heads], each[heads:][:heads], each[2*heads:][:heads], each[3*heads:][:heads], each[4*heads:][:heads]
	q, o := j.q.row(int(it.row))[g*D:(g+heads)*D], j.o.row(int(it.row))[g*D:(g+heads)*D]
	for h := range m {
		m[h], l[h] = float32(math.Inf(-1)), 0
	}
	for i := 0; i <= int(it.pos)/keyBlock; i++ {
		n := min(keyBlock, int(it.pos)-i*keyBlock+1)
		view := j.tile(d, w, int(it.seq), i, g, heads, n)
		t := &w.heads
		*t = headTile{
			q: unsafe.Pointer(&q[0]), o: unsafe.Pointer(&o[0]), s: unsafe.Pointer(&s[0]),
			vals: unsafe.Pointer(view.vals), valsNext: 4 * view.valsNext, ld: 4 * view.ld,
			heads: heads, dim: D, n: n, m: &m[0], top: &tops[0], sum: &sums[0], scale: j.scale,
		}
		view.headScores(d.v, w, t)
		for h, top := range tops {
			factors[h] = 1
			if top != m[h] && i > 0 {
				factors[h] = exp32(m[h] - top)
				l[h] *= factors[h]
			}
			m[h] = top
			l[h] += sums[h]
		}
		if i > 0 {
			t.factor = &factors[0]
		}
		view.headValues(d.v, w, t)
	}
	for h := range m {
		d.v.scale(o[h*D:(h+1)*D], 1/l[h])
		if j.lse.mem != nil {
			j.lse.row(int(it.row))[g+h] = m[h] + ln32(l[h])
		}
	}
}

// headScores computes the scores of t's heads, and of each its largest and its probabilities: scores and simd.attend, head by head.
func (t *tileView) headScores(v *simd, w *worker, a *headTile) {
	if v.headScores != nil {
		for p := range a.panels {
			a.panels[p], a.next[p] = step(unsafe.Pointer(t.keys), p*tileCols*a.dim), 4*t.keysNext
			if t.turned != nil && p == t.panel {
				a.panels[p], a.next[p] = unsafe.Pointer(t.turned), 4*tileCols*a.dim
			}
		}
		v.headScores(a)
		return
	}
	m, tops, sums := unsafe.Slice(a.m, a.heads), unsafe.Slice(a.top, a.heads), unsafe.Slice(a.sum, a.heads)
	for h := range a.heads {
		one, s := t.of(h, a.dim), (*float32)(step(a.s, h*keyBlock))
		one.scores(v, w, s, (*float32)(step(a.q, h*a.dim)), 1, 0, a.n, a.dim)
		tops[h], sums[h] = v.attend(s, a.n, a.scale, m[h])
	}
}

// headValues adds the values, times their probabilities, to the outputs of t's heads: a product, head by head.
func (t *tileView) headValues(v *simd, w *worker, a *headTile) {
	if v.headValues != nil {
		v.headValues(a)
		return
	}
	for h := range a.heads {
		o := unsafe.Slice((*float32)(step(a.o, h*a.dim)), a.dim)
		if a.factor != nil {
			v.scale(o, unsafe.Slice(a.factor, a.heads)[h])
		}
		w.product(v, &product{
			c: &o[0], a: (*float32)(step(a.s, h*keyBlock)), aks: 1, b: t.of(h, a.dim).vals, bps: tileCols, bks: t.ld,
			rows: 1, cols: a.dim, k: a.n, acc: a.factor != nil,
		})
	}
}
