package kernels

import (
	"fmt"
	"math"
)

// Sampling says how ids are drawn from logits.
type Sampling struct {
	Seed        uint64
	Temperature float32 // 0 takes the largest logit, the lower id on a tie
	TopP        float32 // 1 keeps all
	TopK        int     // 0 keeps all
	MinP        float32 // share of the largest probability that a kept id has at least; 0 keeps all
	Vocab       int     // ids below it can be drawn; 0: all V
}

// Truncated reports whether s keeps less than the whole vocabulary.
func (s Sampling) Truncated() bool {
	return s.Temperature > 0 && (s.TopP < 1 || s.TopK > 0 || s.MinP > 0)
}

// Whole is s where it keeps every id.
func (s Sampling) Whole() Sampling {
	s.TopP, s.TopK, s.MinP = 1, 0, 0
	return s
}

// Scored is the temperature of the log-probabilities of what s draws.
func (s Sampling) Scored() float32 {
	if s.Temperature == 0 {
		return 1
	}
	return s.Temperature
}

// floor is the logit that MinP asks for, below the largest: exp((x − top)/Temperature) ≥ MinP. −Inf where all are kept.
func (s Sampling) floor() float32 {
	if s.MinP == 0 {
		return float32(math.Inf(-1))
	}
	return float32(math.Log(float64(s.MinP)) * float64(s.Temperature))
}

// KeptWords is how many words hold the bits of a row of V ids.
func KeptWords(V int) int { return (V + 31) / 32 }

// Sampler draws ids.
//
// An id v is kept if, of those before it in the order of falling logits, lower ids first among equals, there are fewer than TopK, their
// probabilities add up to less than TopP, and if its own is at least MinP of the largest. Probabilities are those of the whole row, for
// all three: what is kept is a beginning of that order.
type Sampler interface {
	// Sample draws ids[r] from softmax(logits[r]/temperature) over the ids that s keeps, as the largest logit + Gumbel noise.
	// The noise is Philox4x32-10 of (seed; trajectory, position, index). keys (R,3) i32: trajectory low, trajectory high, position.
	// lse (R) is LogSumExp's at s.Temperature; a TopP below 1 reads it.
	Sample(ids, logits, lse, keys Tensor, s Sampling)
	// Draw is y = x·wᵀ, and what a decode step asks of those logits: Sample of them, and LogProb of what is drawn, at s.Temperature, or at 1
	// where it is 0. Bits and ids are those of Linear, LogSumExp, Sample and LogProb, one after the other. ids (R) i32, logp (R),
	// x (R,M), w (V,M), keys as for Sample. y (R,V) and lse (R) f32 are working memory, which need not hold logits afterwards.
	Draw(ids, logp, y, lse, x, w, keys Tensor, s Sampling)
	// Restrict puts −Inf in place of the logits that s does not keep, so that what follows sees the distribution over the others: a Sample
	// of s.Whole() draws the ids that Sample of s draws. kept (R,KeptWords(V)) i32 becomes the set: bit v%32 of word v/32 of a row is
	// 1 if v is kept. s.Temperature is above 0; lse (R) is LogSumExp's before, a TopP below 1 reads it.
	Restrict(logits, kept, lse Tensor, s Sampling)
}

// checkSample returns rows, vocabulary, and how many of its ids can be drawn.
func checkSample(ids, logits, lse, keys Tensor, s Sampling) (R, V, N int) {
	const op = "Sample"
	R, V, N = checkSampling(op, logits, lse, s)
	checkVector(op, "ids", ids, I32, R)
	if s.Temperature > 0 {
		if keys.mem == nil || keys.dtype != I32 || keys.rank != 2 || keys.dims[0] != R || keys.dims[1] != 3 || !keys.Contiguous() {
			needs(op, "keys", keys, fmt.Sprintf("i32[%d 3]", R))
		}
	}
	return R, V, N
}

// checkDraw returns rows, vocabulary, inner size, and how many of the ids can be drawn.
func checkDraw(ids, logp, y, lse, x, w, keys Tensor, s Sampling) (R, V, M, N int) {
	R, V, M = checkLinear(y, x, w, Tensor{})
	_, _, N = checkSample(ids, y, lse, keys, s)
	checkVector("Draw", "lse", lse, F32, R)
	checkVector("Draw", "logp", logp, F32, R)
	return R, V, M, N
}

// drawByParts is Draw by its four operations.
func drawByParts(d Device, ids, logp, y, lse, x, w, keys Tensor, s Sampling) {
	d.Linear(y, x, w, Tensor{})
	d.LogSumExp(lse, y, s.Scored())
	d.Sample(ids, y, lse, keys, s)
	d.LogProb(logp, Tensor{}, y, lse, ids, s.Scored())
}

func checkRestrict(logits, kept, lse Tensor, s Sampling) (R, V, N int) {
	const op = "Restrict"
	R, V, N = checkSampling(op, logits, lse, s)
	if s.Temperature == 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: the temperature must be above 0", op, s))
	}
	W := KeptWords(V)
	if kept.mem == nil || kept.dtype != I32 || kept.rank != 2 || kept.dims[0] != R || kept.dims[1] != W || !kept.Contiguous() {
		needs(op, "kept", kept, fmt.Sprintf("i32[%d %d]", R, W))
	}
	return R, V, N
}

// checkSampling returns rows, vocabulary, and how many of its ids can be drawn.
func checkSampling(op string, logits, lse Tensor, s Sampling) (R, V, N int) {
	if !(s.Temperature >= 0) || !(s.TopP > 0) && s.Temperature > 0 || s.TopK < 0 || !(s.MinP >= 0 && s.MinP <= 1) {
		panic(fmt.Sprintf("kernels: %s: %+v: Temperature and TopK must be at least 0, TopP above 0, MinP 0 to 1", op, s))
	}
	R, V = checkLogits(op, logits, 1)
	if s.Temperature > 0 && s.TopP < 1 {
		checkVector(op, "lse", lse, F32, R)
	}
	N = s.Vocab
	if N == 0 {
		N = V
	}
	if N < 0 || N > V {
		panic(fmt.Sprintf("kernels: %s: ids below %d are allowed, logits is %v", op, s.Vocab, logits))
	}
	return R, V, N
}
