package kernels

import "fmt"

// Targets are what the loss of a row is made of, each (R) f32; an operation reads those that its formula names.
// Weight is 0 for prompt and tool output, else 1 / policy tokens of the minibatch on all ranks.
type Targets struct{ Weight, OldLogProb, Advantage, Ref, Return, OldValue Tensor }

// Clip bounds the policy's ratio to [1−Low, 1+High], and the loss of a negative advantage to Dual·|A| (0: no such bound).
// KL is the coefficient of the penalty against Ref (0: none, Ref is not read).
type Clip struct{ Low, High, Dual, KL float32 }

// Places in the stats of PolicyLoss and ValueLoss. All but StatMaxDiff are sums weighted by Weight, that is, means over policy
// tokens of the minibatch.
const (
	StatLoss     = iota // the loss
	StatKL              // (ratio−1) − ln ratio, against OldLogProb
	StatClipped         // rows whose ratio was clipped
	StatDual            // rows bounded by Dual
	StatWeight          // Σ Weight: 1 over a whole minibatch
	StatMaxDiff         // the largest |logp − OldLogProb| of a weighted row
	StatRef             // (r−1) − ln r with r = exp(Ref − logp)
	StatVariance        // ValueLoss: Σ Weight · (Return − value)²
	Stats               // how many there are
)

// Losses are those of the policy and of the value head.
type Losses interface {
	// PolicyLoss writes ∂loss/∂logp of PPO's clipped objective, row by row, and adds to stats (Stats) f32.
	//
	//	ratio = exp(logp − OldLogProb)
	//	loss  = −Σ Weight · min(ratio·A, clip(ratio, 1−Low, 1+High)·A)      for A < 0 at least −Dual·|A| (dual clip)
	//	        + KL · Σ Weight · (r − 1 − ln r),  r = exp(Ref − logp)
	//
	// dlogp, logp (R) f32. Schulman 2017 eq. 7; two bounds: Yu 2025 (DAPO) §3.1; dual clip: Ye 2020 eq. 5.
	PolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip)
	// ValueLoss writes ∂loss/∂value and adds to stats.
	//
	//	loss = ½ Σ Weight · max((v − Return)², (clip(v, OldValue ± clip) − Return)²)      clip 0: the first term alone
	ValueLoss(dvalue, stats, value Tensor, t Targets, clip float32)
}

func checkPolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip) (R int) {
	const op = "PolicyLoss"
	R = checkLoss(op, "dlogp", "logp", dlogp, stats, logp)
	checkVector(op, "Weight", t.Weight, F32, R)
	checkVector(op, "OldLogProb", t.OldLogProb, F32, R)
	checkVector(op, "Advantage", t.Advantage, F32, R)
	if c.KL != 0 {
		checkVector(op, "Ref", t.Ref, F32, R)
	}
	if c.Low < 0 || c.High < 0 || c.Dual < 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: Low, High and Dual must be at least 0", op, c))
	}
	return R
}

func checkValueLoss(dvalue, stats, value Tensor, t Targets, clip float32) (R int) {
	const op = "ValueLoss"
	R = checkLoss(op, "dvalue", "value", dvalue, stats, value)
	checkVector(op, "Weight", t.Weight, F32, R)
	checkVector(op, "Return", t.Return, F32, R)
	if clip != 0 {
		checkVector(op, "OldValue", t.OldValue, F32, R)
	}
	if clip < 0 {
		panic(fmt.Sprintf("kernels: %s: clip is %v, it must be at least 0", op, clip))
	}
	return R
}

func checkLoss(op, dName, xName string, d, stats, x Tensor) (R int) {
	R = x.dims[0]
	checkVector(op, xName, x, F32, R)
	checkVector(op, dName, d, F32, R)
	checkVector(op, "stats", stats, F32, Stats)
	return R
}
