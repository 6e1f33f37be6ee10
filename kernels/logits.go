package kernels

import "fmt"

// Logits are what the head gives, and the log-probabilities of ids among them. A logit may be −Inf: its id has probability 0, adds
// nothing to the entropy, and has a gradient of 0.
type Logits interface {
	// Keep puts −Inf in place of the logits outside of a set of each row: ids[starts[r]:starts[r+1]], ascending. A row whose set is
	// empty stays as it is. logits (R,V) f32, starts (R+1), ids (n) i32, n at least starts[R].
	Keep(logits, starts, ids Tensor)
	// LogSumExp is lse[r] = ln Σ_v exp(logits[r,v]/temperature). logits (R,V), lse (R) f32. The only one there is: the next three
	// are given its result.
	LogSumExp(lse, logits Tensor, temperature float32)
	// LogProb is logp[r] = logits[r,ids[r]]/temperature − lse[r], and the entropy of the row's distribution. Either output may be absent.
	LogProb(logp, entropy, logits, lse, ids Tensor, temperature float32)
	// LogProbBackward replaces logits by their gradient dlogits, which is logits itself, or Halved, given ∂/∂logp and ∂/∂entropy (each
	// (R) f32 or absent):
	//
	//	∂x_v = (dlogp·(1[v=id] − p_v) − dentropy·p_v·(ln p_v + entropy)) / temperature
	LogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy Tensor, temperature float32)
}

func checkKeep(logits, starts, ids Tensor) (R, V int) {
	const op = "Keep"
	R, V = checkLogits(op, logits, 1)
	checkVector(op, "starts", starts, I32, R+1)
	if ids.mem == nil || ids.dtype != I32 || ids.rank != 1 {
		needs(op, "ids", ids, "i32 of 1 dimension")
	}
	return R, V
}

func checkLogSumExp(lse, logits Tensor, temperature float32) (R, V int) {
	R, V = checkLogits("LogSumExp", logits, temperature)
	checkVector("LogSumExp", "lse", lse, F32, R)
	return R, V
}

func checkLogProb(logp, entropy, logits, lse, ids Tensor, temperature float32) (R, V int) {
	const op = "LogProb"
	R, V = checkLogits(op, logits, temperature)
	checkVector(op, "lse", lse, F32, R)
	checkOptional(op, "logp", logp, F32, R)
	checkOptional(op, "entropy", entropy, F32, R)
	if logp.mem != nil {
		checkVector(op, "ids", ids, I32, R)
	}
	return R, V
}

func checkLogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy Tensor, temperature float32) (R, V int) {
	const op = "LogProbBackward"
	R, V = checkLogits(op, logits, temperature)
	if dlogits != logits && (dlogits.dtype != BF16 || dlogits != logits.Halved()) {
		wrong(op, "dlogits", dlogits, "logits", logits, "the gradient must be that tensor, or its halves")
	}
	checkVector(op, "lse", lse, F32, R)
	checkOptional(op, "dlogp", dlogp, F32, R)
	checkOptional(op, "dentropy", dentropy, F32, R)
	if dlogp.mem != nil {
		checkVector(op, "ids", ids, I32, R)
	}
	return R, V
}

// checkLogits returns rows and vocabulary.
func checkLogits(op string, logits Tensor, temperature float32) (R, V int) {
	if logits.mem == nil || logits.dtype != F32 || logits.rank != 2 || logits.dims[1] < 1 {
		needs(op, "logits", logits, "f32 (R,V)")
	}
	if !(temperature > 0) {
		panic(fmt.Sprintf("kernels: %s: the temperature is %v, it must be above 0", op, temperature))
	}
	return logits.dims[0], logits.dims[1]
}
