package trainer

import "slices"

// drGRPO is GRPO done right: no division by the deviation, which favours prompts that are nearly always or never solved, and none by a
// response's own length, which favours long wrong ones.
var drGRPO = Algorithm{
	Name: "dr-grpo", Paper: "Liu 2025, arXiv 2503.20783",
	Claim:    "GRPO's accuracy with fewer tokens: wrong answers stop growing; 43.3 % on AIME 2024 with 7B",
	Needs:    "as grpo; rl.horizon, the constant that divides a response's sum",
	Cost:     "as grpo",
	MinGroup: 2, Aggregate: "constant", Uses: slices.Concat(clipUses, groupUses),
	Advantages: func(_ RL, eps []*Episode) { GroupBaseline(eps, false) },
}
