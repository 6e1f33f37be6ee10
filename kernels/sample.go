package kernels

import "fmt"

// Sampling says how ids are drawn from logits.
type Sampling struct {
	Seed        uint64
	Temperature float32 // 0 takes the largest logit, the lower id on a tie
	TopP        float32 // 1 keeps all
	TopK        int     // 0 keeps all
	Vocab       int     // ids below it can be drawn; 0: all V
}

// Sampler draws ids.
type Sampler interface {
	// Sample draws ids[r] from softmax(logits[r]/temperature), restricted by s, as the largest logit + Gumbel noise.
	// The noise is Philox4x32-10 of (seed; trajectory, position, index). keys (R,3) i32: trajectory low, trajectory high, position.
	// lse (R) is LogSumExp's at s.Temperature; a TopP below 1 reads it.
	Sample(ids, logits, lse, keys Tensor, s Sampling)
}

// checkSample returns rows, vocabulary, and how many of its ids can be drawn.
func checkSample(ids, logits, lse, keys Tensor, s Sampling) (R, V, N int) {
	const op = "Sample"
	if !(s.Temperature >= 0) || !(s.TopP > 0) && s.Temperature > 0 || s.TopK < 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: Temperature and TopK must be at least 0, TopP above 0", op, s))
	}
	R, V = checkLogits(op, logits, 1)
	checkVector(op, "ids", ids, I32, R)
	if s.Temperature > 0 {
		if s.TopP < 1 {
			checkVector(op, "lse", lse, F32, R)
		}
		if keys.mem == nil || keys.dtype != I32 || keys.rank != 2 || keys.dims[0] != R || keys.dims[1] != 3 || !keys.Contiguous() {
			needs(op, "keys", keys, fmt.Sprintf("i32[%d 3]", R))
		}
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
