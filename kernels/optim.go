package kernels

import "fmt"

// AdamWStep is one update. Step counts from 1. Scale multiplies the gradient first: it carries the norm clip.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, WeightDecay, Scale float32
	Step                                      int
}

// SumTile is how many numbers SumSquares adds to one: parts of a model's numbers begin at its multiples.
const SumTile = 1 << 16

// SumTiles is the number of tiles that n numbers make.
func SumTiles(n int) int { return (n + SumTile - 1) / SumTile }

// Optimizer updates weights.
type Optimizer interface {
	// SumSquares puts Σ x² of every SumTile numbers of x in out (⌈n/SumTile⌉) f32; x (n) contiguous. Added up in order, in float64, they
	// are the same bits whatever parts of whole tiles x was divided into.
	SumSquares(out, x Tensor)
	// AdamW updates w in place from g·Scale, decoupled weight decay (Loshchilov 2019). w, g, m, v of one length, contiguous; master
	// (F32) holds w in full precision when w is BF16, else it is absent.
	AdamW(w, master, g, m, v Tensor, s AdamWStep)
}

func checkSumSquares(out, x Tensor) (n int) {
	if x.mem == nil || x.dtype == I32 || !x.Contiguous() {
		needs("SumSquares", "x", x, "floating point and contiguous")
	}
	checkVector("SumSquares", "out", out, F32, SumTiles(x.Len()))
	return x.Len()
}

func checkAdamW(w, master, g, m, v Tensor, s AdamWStep) (n int) {
	const op = "AdamW"
	n = w.Len()
	checkLength(op, "w", w, w)
	checkLength(op, "g", g, w)
	checkLength(op, "m", m, w)
	checkLength(op, "v", v, w)
	if (w.dtype == BF16) != (master.mem != nil) {
		wrong(op, "master", master, "w", w, "master belongs to a bf16 w, and to no other")
	}
	if master.mem != nil {
		checkLength(op, "master", master, w)
		if master.dtype != F32 {
			needs(op, "master", master, "f32")
		}
	}
	if s.Step < 1 {
		panic(fmt.Sprintf("kernels: %s: the step is %d, it counts from 1", op, s.Step))
	}
	return n
}

func checkLength(op, name string, t, w Tensor) {
	if t.mem == nil || t.dtype == I32 || !t.Contiguous() {
		needs(op, name, t, "floating point and contiguous")
	}
	if t.Len() != w.Len() {
		wrong(op, name, t, "w", w, "lengths differ")
	}
}
