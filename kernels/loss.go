package kernels

import "fmt"

// Targets are what the loss of a row is made of, each (R) f32; an operation reads those that its formula names.
// Weight is 0 for prompt and tool output, else the row's share of the minibatch on all ranks, such as 1 / its policy tokens: how a loss
// is averaged, over tokens, sequences or groups, is said by Weight alone. The last three may be absent.
type Targets struct {
	Weight, OldLogProb, Advantage, Ref, Return, OldValue Tensor

	LogRatio Tensor // ln of the ratio, in place of logp − OldLogProb: of a whole sequence (GSPO)
	Stay     Tensor // weight of a row's |logp − OldLogProb| in the loss (KL-Cov)
	Imitate  Tensor // weight of a row's −logp in the loss (VAPO's positive examples)
}

// Clip bounds the policy's ratio to [1−Low, 1+High], and the loss of a negative advantage to Dual·|A| (0: no such bound).
// KL is the coefficient of the penalty against Ref (0: none, Ref is not read).
type Clip struct {
	Low, High, Dual, KL float32

	Constant  bool // the clipped ratio is a constant that weighs A·logp (CISPO); with both bounds 0 that is REINFORCE
	Estimator Estimator
}

// An Estimator is what the penalty against Ref takes for the divergence of a row, x = Ref − logp (Schulman 2020, "Approximating KL
// divergence"). Its gradient is that of the formula.
type Estimator int32

const (
	K3 Estimator = iota // eˣ − 1 − x
	K1                  // −x
	K2                  // x²/2
)

// Places in the stats of PolicyLoss and ValueLoss. All but StatMaxDiff are sums weighted by Weight, that is, means over policy
// tokens of the minibatch.
const (
	StatLoss     = iota // the loss
	StatKL              // (ratio−1) − ln ratio, against OldLogProb
	StatClipped         // rows whose ratio was clipped; with Constant, those outside the bounds
	StatDual            // rows bounded by Dual
	StatWeight          // Σ Weight: 1 over a whole minibatch
	StatMaxDiff         // the largest |logp − OldLogProb| of a weighted row
	StatRef             // the Estimator's divergence from Ref
	StatVariance        // ValueLoss: Σ Weight · (Return − value)²
	Stats               // how many there are
)

// Losses are those of the policy and of the value head.
type Losses interface {
	// PolicyLoss writes ∂loss/∂logp of a clipped objective, row by row, and adds to stats (Stats) f32.
	//
	//	ratio = exp(logp − OldLogProb), or exp(LogRatio)
	//	loss  = −Σ Weight · min(ratio·A, clip(ratio, 1−Low, 1+High)·A)      for A < 0 at least −Dual·|A| (dual clip)
	//	        + KL · Σ Weight · (r − 1 − ln r),  r = exp(Ref − logp)      or another Estimator
	//	        + Σ Stay · |logp − OldLogProb|  −  Σ Imitate · logp
	//
	// Constant puts clip(ratio, …)·A·logp in place of the minimum, the clipped ratio a constant. The gradient of a LogRatio is taken as
	// that of its row's own logp, sg[ratio]·π/sg[π]: where weight and advantage are those of all rows of the sequence, it is that of the
	// sequence's mean. A row of weight 0 has a loss and a gradient of 0, whatever its other columns hold.
	//
	// dlogp, logp (R) f32. Schulman 2017 eq. 7; two bounds: Yu 2025 (DAPO) §3.1; dual clip: Ye 2020 eq. 5; LogRatio: Zheng 2025 (GSPO)
	// eq. 5 and 14; Constant: MiniMax 2025 (CISPO) eq. 4; Stay: Cui 2025 (KL-Cov) eq. 13; Imitate: Yue 2025 (VAPO) eq. 12.
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
	checkOptional(op, "LogRatio", t.LogRatio, F32, R)
	checkOptional(op, "Stay", t.Stay, F32, R)
	checkOptional(op, "Imitate", t.Imitate, F32, R)
	if c.Low < 0 || c.High < 0 || c.Dual < 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: Low, High and Dual must be at least 0", op, c))
	}
	if c.Constant && c.Dual != 0 {
		panic(fmt.Sprintf("kernels: %s: %+v: a constant ratio has no gradient that Dual could bound", op, c))
	}
	if c.Estimator < K3 || c.Estimator > K2 {
		panic(fmt.Sprintf("kernels: %s: %+v: the estimator must be K1, K2 or K3", op, c))
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
