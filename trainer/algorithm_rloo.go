package trainer

// rloo is REINFORCE over whole responses; a response's baseline is the mean of the others of its prompt, which leaves the gradient
// unbiased.
var rloo = Algorithm{
	Name: "rloo", Paper: "Ahmadian 2024, arXiv 2402.14740; Kool 2019",
	Claim:    "better than PPO in learning from preferences, with no critic, no clip and fewer settings",
	Needs:    "rl.group of at least 2; one update a step: rl.minibatch = rl.prompts × rl.group",
	Cost:     "as grpo",
	MinGroup: 2, Aggregate: "constant", OnPolicy: true, Uses: groupUses,
	Advantages: func(_ RL, eps []*Episode) { LeaveOneOut(eps) }, Clip: notClipped,
}
