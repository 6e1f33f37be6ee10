// Package model is the transformer: a decoder of the Llama, Qwen2 and Qwen3 shape with a forward and a backward written by hand.
//
// There are few types. Config is the shape. Weights is one allocation with named views; Model.W holds the parameters and Model.G,
// of the same layout, their gradients. Inputs is a packed batch, Head a few rows of what the model makes of it, Feed a piece of
// one sequence whose keys and values live in pages.
//
// A Model does three things, and does them with the same operations, so that a log-probability has the same bits in all three:
//
//	Train   packed forward, the caller's loss, backward into G
//	Score   packed forward
//	Step    forward over pages, ends in a draw: prompt, decode, resume after a tool and rerun after eviction alike
//
// # Files
//
// forward.go and backward.go are read side by side: the second is the list of the first upwards. pass.go is Train and Score, step.go is
// Step, step_apart.go the steps that threads take apart, kept.go the sets that a StepKept drew from. A folder of Hugging Face's layout is
// read and written by folder.go, which holds config.json against the tensors; its config.json by hfconfig.go, its tensors by package
// safetensors. projection.go is the product of activations with a matrix, lora.go what an adapter adds to it, lora_folder.go an adapter in
// PEFT's layout, scorer.go what becomes of logits. blocks.go is the tokens that a layer takes one after the other, gradient.go what
// becomes of gradients that were there before. workspace.go is the memory of activations, which models that take turns share; lend.go is
// how pages and learning take turns.
//
// An adapter is float32 whatever the base is: it has no master copy, several ranks divide its moments as those of a float32 model, and
// products round it as they read it. What passes between A and B is float32 too, so that the scale is not rounded on the way.
//
// # Where it departs from the design documents
//
// Query, key and value projections are one matrix, gate and up another: each is one Linear, and Hugging Face's names are ranges of
// their rows. Matrices come first in the allocation and vectors after them, so that weight decay is a choice between two views. The
// value head is one row without a bias, kept beside the language-model head, so that a critic is the same type with another Config; on disk
// it has a file of its own, since no other program knows it.
// Train and Score take the loss as a function of a Head rather than of bare logits, because a shared trunk has two of them.
package model
