package kernels

import (
	"math"

	"pgregory.net/rapid"
)

// refAttention is o = softmax(q·kᵀ/√D, causal within each sequence)·v, and lse.
func refAttention(q, k, v []float64, starts []int32, h Heads) (o, lse []float64) {
	T, D, QD, KD := int(starts[len(starts)-1]), h.Dim, h.Q*h.Dim, h.KV*h.Dim
	o, lse = make([]float64, T*QD), make([]float64, T*h.Q)
	var p []float64
	for s := range len(starts) - 1 {
		for t := int(starts[s]); t < int(starts[s+1]); t++ {
			for head := range h.Q {
				g := head / (h.Q / h.KV)
				p = p[:0]
				top := math.Inf(-1)
				for u := int(starts[s]); u <= t; u++ {
					x := dot64(q[t*QD+head*D:][:D], k[u*KD+g*D:][:D]) / math.Sqrt(float64(D))
					p = append(p, x)
					top = max(top, x)
				}
				sum := 0.0
				for i := range p {
					p[i] = math.Exp(p[i] - top)
					sum += p[i]
				}
				out := o[t*QD+head*D:][:D]
				for i := range p {
					share := p[i] / sum
					for d, x := range v[(int(starts[s])+i)*KD+g*D:][:D] {
						out[d] += share * x
					}
				}
				lse[t*h.Q+head] = top + math.Log(sum)
			}
		}
	}
	return o, lse
}

// heads draws a geometry. Chunk matters to devices that split.
func (s *subject) heads(t *rapid.T) Heads {
	dims := []int{4, 6, 16, 32, 40}
	if s.dtype == BF16 {
		dims = []int{16, 32, 64, 128}
	}
	kv := rapid.IntRange(1, 3).Draw(t, "KV")
	return Heads{Q: kv * rapid.IntRange(1, 3).Draw(t, "G"), KV: kv, Dim: rapid.SampledFrom(dims).Draw(t, "D"),
		Chunk: PageTokens * rapid.IntRange(1, 2).Draw(t, "chunk")}
}

// lengths draws the starts of 1 to 3 sequences, the longest of most tokens, some empty.
func lengths(t *rapid.T, most int) []int32 {
	starts := []int32{0}
	for i := range rapid.IntRange(1, 3).Draw(t, "S") {
		n := rapid.IntRange(0, 12).Draw(t, "length")
		if i == 0 {
			n = rapid.IntRange(1, most).Draw(t, "longest")
		}
		starts = append(starts, starts[i]+int32(n))
	}
	return starts
}

func checkAttentionOp(t *rapid.T, s *subject) {
	h, starts := s.heads(t), lengths(t, 150)
	T := int(starts[len(starts)-1])
	q, k, v := s.numbers(t, T*h.Q*h.Dim, "q"), s.numbers(t, T*h.KV*h.Dim, "k"), s.numbers(t, T*h.KV*h.Dim, "v")
	want, wantLSE := refAttention(q, k, v, starts, h)
	qt, kt, vt := s.place(t, q, T, h.Q*h.Dim), s.place(t, k, T, h.KV*h.Dim), s.place(t, v, T, h.KV*h.Dim)
	o, lse, st := s.place(t, q, T, h.Q*h.Dim), s.dev.Alloc(F32, T, h.Q), s.ints(starts)
	s.do(t, func() { s.dev.Attention(o, lse, qt, kt, vt, st, h) })
	s.near(t, "o", s.read(o), want, 1)
	s.near(t, "lse", s.read(lse), wantLSE, 1)
	s.free(qt, kt, vt, o, lse, st)
}

func checkAttentionBackwardOp(t *rapid.T, s *subject) {
	h, starts := s.heads(t), lengths(t, 100)
	T := int(starts[len(starts)-1])
	QD, KD := h.Q*h.Dim, h.KV*h.Dim
	q, k, v, do := s.numbers(t, T*QD, "q"), s.numbers(t, T*KD, "k"), s.numbers(t, T*KD, "v"), s.numbers(t, T*QD, "do")
	dq, dk, dv := s.numbers(t, T*QD, "dq"), s.numbers(t, T*KD, "dk"), s.numbers(t, T*KD, "dv")
	o, lse := refAttention(q, k, v, starts, h)
	qt, kt, vt, dot := s.place(t, q, T, QD), s.place(t, k, T, KD), s.place(t, v, T, KD), s.place(t, do, T, QD)
	ot, lt, st := s.place(t, o, T, QD), s.dev.Alloc(F32, T, h.Q), s.ints(starts)
	s.dev.Upload(lt, float32s(lse))
	dqt, dkt, dvt := s.place(t, dq, T, QD), s.place(t, dk, T, KD), s.place(t, dv, T, KD)
	dqt, dkt, dvt = s.maybeFresh(t, dqt, dq), s.maybeFresh(t, dkt, dk), s.maybeFresh(t, dvt, dv)
	s.do(t, func() { s.dev.AttentionBackward(dqt, dkt, dvt, dot, ot, lt, qt, kt, vt, st, h) })
	loss := func() float64 {
		o, _ := refAttention(q, k, v, starts, h)
		return dot64(do, o)
	}
	n := 0
	some := func() float64 { n++; return loss() }
	s.nearGradient(t, "dq", s.read(dqt.Written()), dq, q, 4, some)
	s.nearGradient(t, "dk", s.read(dkt.Written()), dk, k, 4, some)
	s.nearGradient(t, "dv", s.read(dvt.Written()), dv, v, 4, some)
	s.free(qt, kt, vt, dot, ot, lt, st, dqt, dkt, dvt)
}
