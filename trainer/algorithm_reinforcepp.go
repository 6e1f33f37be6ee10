package trainer

import "slices"

// reinforcePP is PPO's clip without a critic: the rewards to come, the penalty of each token among them, whitened over the batch.
var reinforcePP = Algorithm{
	Name: "reinforce++", Paper: "Hu 2025, arXiv 2501.03262",
	Claim:     "steadier than baselines of single prompts, which are biased and overfit; no critic",
	Needs:     "batches of many prompts; groups of one are enough; rl.kl with rl.kl_in reward as published",
	Cost:      "none; with rl.kl a reference model and its forward pass",
	Published: map[string]string{"rl.kl_in": "reward", "rl.kl_estimator": "k1"},
	MinGroup:  1, Aggregate: "token", Uses: clipUses,
	Advantages: func(_ RL, eps []*Episode) {
		RewardsToCome(eps)
		Whiten(eps)
	},
}

// reinforcePPBaseline takes the mean of a prompt's rewards off first, for tasks of very unequal prompts.
var reinforcePPBaseline = Algorithm{
	Name: "reinforce++-baseline", Paper: "Hu 2025, arXiv 2501.03262",
	Claim:     "for reasoning and tools: steadier than GRPO, and better than PPO in agents' tasks; one deviation for the whole batch",
	Needs:     "rl.group of at least 2; rl.kl in the loss by k2 as published",
	Cost:      "as grpo",
	Published: map[string]string{"rl.kl_estimator": "k2"},
	MinGroup:  2, Aggregate: "token", Uses: slices.Concat(clipUses, groupUses),
	Advantages: func(_ RL, eps []*Episode) {
		GroupBaseline(eps, false)
		Whiten(eps)
	},
}
