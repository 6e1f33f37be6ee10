// Package trainer turns trajectories into better weights: a cold start by supervised fine-tuning, then PPO or GRPO whose
// rollouts pause for real Python.
//
//   - An Episode is a graded trajectory. Its Steps are the tokens the policy chose, and nothing else: tool output has no step, so
//     advantages, losses and statistics cannot see it.
//   - A Batch is episodes packed into one row of tokens, with one prediction per step. Pack is the only place that shifts by one.
//   - PPO holds one step of the algorithm; SFT one of the cold start.
//   - A Run strings them together: cursor, evaluations, checkpoints, records.
//
// Read ppo.go first.
package trainer
