package kernels

import (
	"fmt"
	"math"
)

// AdamWStep is one update. Step counts from 1. Scale multiplies the gradient first: it carries the norm clip. Of moments in bf16, Seed and
// Step and a number's place among all, which is First for the first one of the call, say how they are rounded.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, WeightDecay, Scale float32
	Step                                      int
	Seed                                      uint64
	First                                     int
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
	//
	// Or master is BF16, and m and v too: then it holds the low halves of float32 numbers whose other halves are w, see Split; m and v are
	// updated in float32 and rounded to one of their neighbours by chance, so that they are right on average. Which one follows from the
	// place of a number and s alone.
	AdamW(w, master, g, m, v Tensor, s AdamWStep)

	// Split makes w (BF16) x rounded to nearest, ties away from zero, and low (BF16 in name: 16 bits) the low half of x's bits; low may be
	// absent. Join is the exact way back. x (F32), w and low of one length, contiguous. A number that is not finite stays what it is; of
	// those that are no number not the bits.
	Split(w, low, x Tensor)
	Join(x, w, low Tensor)
}

// splitMaster is Split of one number. 2^16 numbers round to each w, so w and the 16 bits that it does not hold are all of x.
func splitMaster(x float32) (w, low uint16) {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40, uint16(b)
	}
	return uint16((b + 0x8000) >> 16), uint16(b)
}

func joinMaster(w, low uint16) float32 {
	return math.Float32frombits((uint32(w)-uint32(low>>15))<<16 | uint32(low))
}

// roundingKey keys the draws of an update.
func roundingKey(s AdamWStep) [2]uint32 {
	x := s.Seed + 0x9e3779b97f4a7c15*uint64(s.Step) // SplitMix64, Steele 2014
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return [2]uint32{uint32(x), uint32(x >> 32)}
}

// roundingBits are those of a number's place: 16 for m, then 16 for v.
func roundingBits(key [2]uint32, place uint64) uint32 {
	return mix32(uint32(place) ^ key[0] ^ mix32(uint32(place>>32)^key[1]))
}

// mix32 is a bijection whose every bit depends on all (lowbias32, Wellons 2018).
func mix32(x uint32) uint32 {
	x = (x ^ x>>16) * 0x7feb352d
	x = (x ^ x>>15) * 0x846ca68b
	return x ^ x>>16
}

// roundByChance is x in bf16: the neighbour away from zero with the probability that is x's distance from the other one.
func roundByChance(x float32, chance uint32) uint16 {
	b := math.Float32bits(x)
	if b&0x7f800000 == 0x7f800000 {
		return BF16Bits(x)
	}
	return uint16((b + chance&0xffff) >> 16)
}

func checkSplit(op string, x, w, low Tensor, absent bool) (n int) {
	if x.mem == nil || x.dtype != F32 || !x.Contiguous() {
		needs(op, "x", x, "f32 and contiguous")
	}
	for i, t := range []Tensor{w, low} {
		if t.mem == nil && i == 1 && absent {
			continue
		}
		if t.mem == nil || t.dtype != BF16 || !t.Contiguous() || t.Len() != x.Len() {
			wrong(op, []string{"w", "low"}[i], t, "x", x, "halves are bf16, contiguous, and as long as x")
		}
	}
	return x.Len()
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
		if m.dtype != master.dtype || v.dtype != master.dtype {
			wrong(op, "m, v", m, "master", master, "moments are of the type that the master copy has")
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
