package trainer

import (
	"slices"

	k "retool/kernels"
)

// cispo clips the importance weight, a constant, in place of the objective: no token loses its gradient.
var cispo = Algorithm{
	Name: "cispo", Paper: "MiniMax 2025, arXiv 2506.13585",
	Claim: "DAPO's accuracy in half its steps on Qwen2.5-32B: rare tokens that begin a reflection keep their gradient",
	Needs: "as grpo; rl.clip_high, the bound on the weight above 1: the paper gives no number, 4 is ours",
	Cost:  "as grpo",
	Published: map[string]string{
		"rl.clip_high": "4",
	},
	MinGroup: 2, Aggregate: "token", Uses: slices.Concat(groupUses, []string{usesClipHigh, usesDeviation}), Advantages: groupAdvantages,
	Clip: func(rl RL) k.Clip { return k.Clip{Low: 1, High: float32(rl.ClipHigh), Constant: true} }, // no lower bound
}
