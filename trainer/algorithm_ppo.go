package trainer

import "slices"

// criticUses are what algorithms with values use.
var criticUses = slices.Concat(clipUses, []string{usesGamma, usesLambda, usesLambdaLength, usesCriticLambda, usesWhiten, usesImitate})

// ppo is ReTool's: the clipped objective with a learnt baseline.
var ppo = Algorithm{
	Name: "ppo", Paper: "Schulman 2017, arXiv 1707.06347; GAE: Schulman 2016, arXiv 1506.02438",
	Claim:  "a learnt value for each token gives the lowest variance; ReTool: 67.0 % on AIME 2024 after 400 steps",
	Needs:  "a critic (critic.trunk own, or a head on the policy), warmed up; groups of one are enough",
	Cost:   "own trunk: a second model, its optimizer, a forward and a training pass of it; shared: a head",
	Values: true, MinGroup: 1, Aggregate: "token", Uses: criticUses, Advantages: estimateGAE,
}

// vapo is PPO with the values made fit for long responses.
var vapo = Algorithm{
	Name: "vapo", Paper: "Yue 2025, arXiv 2504.05118; decoupled λ and pre-trained values: Yuan 2025 (VC-PPO), arXiv 2503.01491",
	Claim: "60.4 on AIME 2024 with Qwen 32B in 5,000 steps, 10 points over DAPO; no collapse in any of its runs",
	Needs: "a critic; critic.warmup steps that train it on whole returns (rl.critic_lambda 1) before the policy moves",
	Cost:  "as ppo, and critic.warmup steps of sampling in which the policy stands still",
	Published: map[string]string{
		"rl.critic_lambda": "1", "critic.warmup": "50", "rl.lambda_length": "0.05", "rl.imitate": "0.1",
	},
	Values: true, MinGroup: 1, Aggregate: "token", Uses: criticUses, Advantages: estimateGAE,
}

// estimateGAE is the generalised advantage of policy and critic, each with its λ.
func estimateGAE(rl RL, eps []*Episode) {
	for _, e := range eps {
		policy, critic := rl.lambdas(len(e.Steps))
		if critic != policy {
			GAE(e, rl.Gamma, critic)
			returns := make([]float32, len(e.Steps))
			for i, s := range e.Steps {
				returns[i] = s.Return
			}
			GAE(e, rl.Gamma, policy)
			for i := range e.Steps {
				e.Steps[i].Return = returns[i]
			}
			continue
		}
		GAE(e, rl.Gamma, policy)
	}
	if rl.Whiten {
		Whiten(eps)
	}
}

// lambdas are the λ of policy and critic for a response of n tokens of the policy: 1 − 1/(α·n) with rl.lambda_length (VAPO, §4.1), which
// lets a reward reach as many tokens of a short response as of a long one.
func (r RL) lambdas(n int) (policy, critic float64) {
	policy = r.Lambda
	if r.LambdaLength > 0 {
		policy = max(0, 1-1/(r.LambdaLength*float64(n)))
	}
	if critic = r.CriticLambda; critic < 0 {
		critic = policy
	}
	return policy, critic
}
