package trainer

// dapo is GRPO with a higher upper clip, the mean over tokens, fresh prompts for groups that teach nothing, and a penalty that rises
// before a response is cut off.
var dapo = Algorithm{
	Name: "dapo", Paper: "Yu 2025, arXiv 2503.14476",
	Claim: "50 on AIME 2024 with Qwen 32B in half of DeepSeek's steps; each of the four parts adds 1 to 8 points",
	Needs: "as grpo; reward.overlong.budget near engine.max_tokens",
	Cost:  "as grpo, and the samples of groups whose rewards are all equal: resampled_tokens counts them",
	Published: map[string]string{
		"rl.clip_low": "0.2", "rl.clip_high": "0.28", "rl.dual_clip": "0", "rl.resample": "10",
	},
	MinGroup: 2, Aggregate: "token", Uses: grpoUses, Advantages: groupAdvantages,
	Revision: 2, Changed: "a step's trajectories are cut into minibatches of about one size, where the last was what was left over",
}
