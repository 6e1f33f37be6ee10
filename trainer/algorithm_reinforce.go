package trainer

// reinforce is the score-function gradient with the batch's mean reward as its baseline.
var reinforce = Algorithm{
	Name: "reinforce", Paper: "Williams 1992, Machine Learning 8",
	Claim:    "the gradient itself, without bias: what all others are measured against",
	Needs:    "one update a step: rl.minibatch = rl.prompts × rl.group; groups of one are enough",
	Cost:     "none",
	MinGroup: 1, Aggregate: "constant", OnPolicy: true,
	Advantages: func(_ RL, eps []*Episode) { BatchBaseline(eps) }, Clip: notClipped,
}
