package trainer

import "slices"

// grpoUses are what all that compare a prompt's trajectories under a clipped ratio use.
var grpoUses = slices.Concat(clipUses, groupUses, []string{usesDeviation})

// grpo compares the trajectories of one prompt instead of learning values. rl.deviation false leaves the division out.
var grpo = Algorithm{
	Name: "grpo", Paper: "Shao 2024, arXiv 2402.03300",
	Claim:    "PPO's accuracy without its critic: 51.7 % on MATH with 7B",
	Needs:    "rl.group of 8 to 64; prompts that are neither always nor never solved; the paper has rl.kl 0.04",
	Cost:     "rl.group samples a prompt; no critic",
	MinGroup: 2, Aggregate: "sequence", Uses: grpoUses, Advantages: groupAdvantages,
	Revision: 2, Changed: "its loss is the mean over responses of the mean over their tokens, where it was the mean over all tokens",
}

// groupAdvantages are GRPO's, divided by the group's deviation or not.
func groupAdvantages(rl RL, eps []*Episode) { GroupBaseline(eps, rl.Deviation) }
