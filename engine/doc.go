// Package engine turns prompts into trajectories: batched decoding that pauses, sequence by sequence, while the code a model wrote
// runs, and goes on with its output, the keys and values of everything before still in place.
//
//   - A Token carries its provenance: who wrote it, and with which log-probability. A Trajectory is a list of them that only grows.
//   - A Protocol is how a model asks for code and reads the reply: marks, code, feedback. Each is one file, which registers it.
//   - An Interpreter runs the code. The package declares what it needs of one and imports none.
//   - An Engine owns a model's KV pages and runs a Stream of rollouts; Rollouts is a stream of a list, to its end.
//
// A sequence is its tokens plus `cached`, the number of them whose keys and values lie in pages. Prompt, decode, resume after a
// tool and rerun after an eviction are all "feed tokens[cached:]". One goroutine, that of the stream, owns the model, the pages and
// the sequences; calls run on their own and come back through a mailbox that no sender waits for.
//
// # Sampling sets
//
// With Sampling.Sets the policy is a truncated one: softmax over the ids that top-p, top-k or min-p keep of the vocabulary. Which they are
// is part of what was done, and is recorded with each token, exactly (sets.go).
//
// The three rules keep a beginning of one order, so that one number and an id, the last that is kept, would say which ids those are: of the
// logits that were sampled from. Training needs the set under other logits, those of the weights after an update of the same step, whose
// order is another. There the bound names other ids: the drawn token may fall outside of its own set, at probability 0, and a ratio to the
// rollout would compare distributions over different sets. So it is ids that are recorded: gaps between them, or a bit each where that is
// shorter. Sets are small where truncation means anything, and one id of them, the token itself, is known.
//
// Text that others wrote has no set: nothing drew it. An evaluation records none, and its log-probabilities are of the whole distribution.
package engine
