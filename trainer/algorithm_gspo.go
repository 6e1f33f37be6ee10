package trainer

import (
	"slices"

	k "retool/kernels"
)

// gspo takes the ratio of whole responses, the geometric mean of their tokens', and clips that.
var gspo = Algorithm{
	Name: "gspo", Paper: "Zheng 2025, arXiv 2507.18071",
	Claim: "stable on mixtures of experts where GRPO collapses, and more accurate for the same compute (Qwen3)",
	Needs: "as grpo; its own, far tighter clip bounds",
	Cost:  "as grpo, and the head once more a pass: a response's ratio is known before its gradient",
	Published: map[string]string{
		"rl.clip_low": "3e-4", "rl.clip_high": "4e-4",
	},
	MinGroup: 2, Aggregate: "sequence", Sequence: true, Uses: slices.Concat(groupUses, []string{usesClipLow, usesClipHigh, usesDeviation}),
	Advantages: groupAdvantages,
	Clip:       func(rl RL) k.Clip { return k.Clip{Low: float32(rl.ClipLow), High: float32(rl.ClipHigh)} },
}
