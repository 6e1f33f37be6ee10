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
package engine
