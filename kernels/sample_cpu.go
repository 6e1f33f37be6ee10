package kernels

import (
	"math"
	"slices"
)

// drawBlock is how many ids are drawn for at a time.
const drawBlock = 128

// leastWait is below the smallest −ln u that a uniform of noise can have.
const leastWait = 0x1p-24

// Sample draws the largest of t_v − ln(−ln u_v), which is the smallest of −ln u_v / exp(t_v): exponential waiting times that race.
// In this form most ids are out without a logarithm, since −ln u ≥ 1 − u, and blocks of unlikely ids without random numbers.
func (d *cpu) Sample(ids, logits, lse, keys Tensor, s Sampling) {
	const op = "Sample"
	d.begin(op)
	R, V, N := checkSample(ids, logits, lse, keys, s)
	d.reads(op, logits)
	d.reads(op, lse)
	d.reads(op, keys)
	d.writes(op, ids)
	d.head = headJob{logits: logits, ids: ids.ints(), V: V, N: N, s: s}
	if s.Temperature > 0 {
		d.head.scale, d.head.lse, d.head.keys = 1/s.Temperature, lse.vec(), keys.ints()
	}
	d.each(R, 1, R*N, func(d *cpu, w *worker, from, to int) {
		j := &d.head
		for r := from; r < to; r++ {
			x := j.logits.row(r)[:j.N]
			switch {
			case j.s.Temperature == 0:
				j.ids[r] = argmax(x)
			case j.s.TopP < 1 || j.s.TopK > 0 && j.s.TopK < j.N || j.s.MinP > 0:
				j.ids[r] = j.draw(d, w, r, j.restrict(d, w, r, x))
			default:
				j.ids[r] = j.draw(d, w, r, x)
			}
		}
	})
}

// Draw has the logits in y.
func (d *cpu) Draw(ids, logp, y, lse, x, w, keys Tensor, s Sampling) {
	checkDraw(ids, logp, y, lse, x, w, keys, s)
	drawByParts(d, ids, logp, y, lse, x, w, keys, s)
}

// argmax is the index of the largest number, the first of equals.
func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// noiseKey is the stream of row r: see Device.Sample. Word i of it belongs to id i: counter (i/4, position, trajectory low, high), of
// its four words the one at i mod 4.
func (j *headJob) noiseKey(r int) philoxKey {
	k := j.keys[3*r : 3*r+3]
	return philoxKey{
		k0: uint32(j.s.Seed), k1: uint32(j.s.Seed >> 32),
		c1: uint32(k[2]), c2: uint32(k[0]), c3: uint32(k[1]),
	}
}

func (j *headJob) draw(d *cpu, w *worker, r int, x []float32) int32 {
	w.key = j.noiseKey(r)
	weight, u := w.draw[:drawBlock+8], w.draw[drawBlock+8:]
	top := d.v.max(x) * j.scale
	best, id := math.Inf(1), int32(0)
	for at := 0; at < len(x); at += drawBlock {
		n := min(drawBlock, len(x)-at)
		d.v.expTo(weight[:n], x[at:at+n], j.scale, top)
		if float64(d.v.max(weight[:n]))*best < leastWait {
			continue // even the shortest wait would lose
		}
		d.v.noise(u[:(n+31)&^31], uint32(at), &w.key)
		clear(weight[n : n+8])
		for i := 0; ; i++ {
			// race rounds, so it is asked about a little more than best.
			if i += d.v.race(u[i:n], weight[i:n], float32(best*(1+0x1p-20))); i >= n {
				break
			}
			if wait := -math.Log(float64(u[i])) / float64(weight[i]); wait < best {
				best, id = wait, int32(at+i)
			}
		}
	}
	return id
}

// restrict returns a copy of x in which the ids that are not kept are −Inf.
func (j *headJob) restrict(d *cpu, w *worker, r int, x []float32) []float32 {
	keep := w.scratch(len(x))
	for i := range keep {
		keep[i] = float32(math.Inf(-1))
	}
	for _, id := range j.kept(d, w, r, x) {
		keep[id] = x[id]
	}
	return keep
}

// Restrict finds each row's set as Sample does.
func (d *cpu) Restrict(logits, kept, lse Tensor, s Sampling) {
	const op = "Restrict"
	d.begin(op)
	R, V, N := checkRestrict(logits, kept, lse, s)
	d.writes(op, logits)
	d.writes(op, kept)
	d.reads(op, lse)
	d.head = headJob{logits: logits, ids: kept.ints(), V: V, N: N, s: s, scale: 1 / s.Temperature, lse: lse.vec()}
	d.each(R, 1, R*N, func(d *cpu, w *worker, from, to int) {
		j := &d.head
		W := KeptWords(j.V)
		for r := from; r < to; r++ {
			x, words := j.logits.row(r), j.ids[r*W:(r+1)*W]
			set := j.kept(d, w, r, x[:j.N])
			slices.Sort(set)
			only(x, set)
			clear(words)
			for _, id := range set {
				words[id/32] |= 1 << (id % 32)
			}
		}
	})
}

// kept lists the ids of x that TopK, TopP and MinP keep, in no order. The list is the worker's.
//
// Few are looked at: ids of a probability below (1 − TopP)/N have less than 1 − TopP together, so the others reach TopP, unless rounding,
// or ids that cannot be drawn, are in the way. Then all are.
func (j *headJob) kept(d *cpu, w *worker, r int, x []float32) []int32 {
	least := d.v.max(x) + j.s.floor()
	if j.s.TopP < 1 {
		unlikely := (j.lse[r] + ln32((1-j.s.TopP)/float32(len(x))) - 1) / j.scale
		if set, all := j.first(w, r, x, max(least, unlikely)); !all {
			return set
		}
	}
	set, _ := j.first(w, r, x, least)
	return set
}

// first is the beginning of x's order that is kept of the logits that are at least so large; all says that none of them was left out.
func (j *headJob) first(w *worker, r int, x []float32, least float32) (set []int32, all bool) {
	if cap(w.order) < len(x) {
		w.order = make([]int32, len(x))
	}
	heap := w.order[:0]
	for i, v := range x {
		if v >= least {
			heap = append(heap, int32(i))
		}
	}
	before := func(a, b int32) bool { return x[a] > x[b] || x[a] == x[b] && a < b }
	sink := func(i, n int) {
		for {
			c := 2*i + 1
			if c >= n {
				return
			}
			if c+1 < n && before(heap[c+1], heap[c]) {
				c++
			}
			if !before(heap[c], heap[i]) {
				return
			}
			heap[i], heap[c] = heap[c], heap[i]
			i = c
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(i, len(heap))
	}
	var sum float64
	n := len(heap) // of the heap; those that are kept stand behind it
	for n > 0 {
		id := heap[0]
		n--
		heap[0], heap[n] = heap[n], id
		if j.s.TopP < 1 {
			if sum += float64(exp32(float32(x[id]*j.scale) - j.lse[r])); sum >= float64(j.s.TopP) {
				return heap[n:], false
			}
		}
		if j.s.TopK > 0 && len(heap)-n == j.s.TopK {
			return heap[n:], false
		}
		sink(0, n)
	}
	return heap, true
}
