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
// Read ppo.go first.
package trainer
