// Package trainer turns trajectories into better weights: a cold start by supervised fine-tuning, then reinforcement learning whose
// rollouts pause for real Python.
//
//   - An Episode is a graded trajectory. Its Steps are the tokens the policy chose, and nothing else: tool output has no step, so
//     advantages, losses and statistics cannot see it.
//   - A Batch is episodes packed into one row of tokens, with one prediction per step. Pack is the only place that shifts by one.
//   - PPO holds one step of reinforcement learning; SFT one of the cold start.
//   - An Algorithm is one value in a file algorithm_*.go: advantages, the form of the one loss kernel, what it needs. Everything between
//     rollout and passes, advantages, filters (filter.go), weights (weigh.go), is a function of the step's episodes or of a whole
//     minibatch, never of a pass.
//   - watch.go says why a run learns nothing.
//   - A Run strings them together: cursor, evaluations, checkpoints, records.
//
// # Ranks
//
// Several processes, each with a device, train as one (Ranks, over a dist.Comm). Every rank rolls out the prompts it has tickets for and is
// given all trajectories; what follows from them, it computes like all others. Only three things are divided: rollouts, passes (of scoring
// by turns, of an update by slices), and the optimizer's memory with its work (adamW, a part of the weights' flat order a rank).
//
//   - Sums have one order: passes of a slice into one gradient, slices over the tree of kernels.SumTree, statistics and tiles of the norm
//     on the host. With dist.slices a power of two, 1, 2, 4 … ranks end in the same bits, and a run may change their number between two
//     checkpoints. One slice a rank costs no memory; 2ⁿ cost n more gradients.
//   - Rank 0 alone writes logs, reports and weights. A checkpoint is in place when all ranks have written theirs, or not at all.
//   - The master copy of a bf16 model is divided as the moments are. What saves or copies a model gathers it first, in the gradient's
//     memory, so that weights on disk are float32 as those of one rank, and no file of the optimizer holds them a second time.
//   - Gradients and pages of the cache have the same memory in turn (model.Options.Lends): PPO.Generates and Learns change over. Both
//     are tried before the first step, so that what does not fit is known then.
//   - An error of one rank ends the run on all. What all compute alike, such as a loss that is no number, they find alike;
//     where the first such number was, fault.go looks for.
//
// # Truncated sampling
//
// With rl.top_p, rl.top_k or rl.min_p the policy is softmax over S of the logits, S being the set that the sampler kept for that token:
// recorded by the rollout (package engine) and the same in every pass of the step, whatever the weights have become since, as DeepSeek-V3.2
// keeps the sampler's mask (arXiv 2512.02556 §3.1). Everything that asks for a log-probability asks for that one:
//
//   - the rollout's, the training forward's, and so the ratio; the gradient of a logit outside of S is 0;
//   - the entropy, of π over S: what truncation forbids is no exploration;
//   - the reference's, over the same S. Both are then distributions over the same ids, so that k1 and k3 estimate a divergence, which is 0
//     where the models agree; over the whole vocabulary the reference would have less than probability 1 on S, and k3 be off by the rest.
//   - A critic says what to expect of a text, not of a token: it sees no set.
//
// A token whose set is itself alone was no choice: its log-probability and its gradient are 0, and it counts in means over tokens. The cold
// start learns from the whole vocabulary, whatever its texts were drawn from. What is left is refused by name: top_k 1 and min_p 1, like
// temperature 0, are greedy, and have no gradient.
//
// Read ppo.go first.
package trainer
