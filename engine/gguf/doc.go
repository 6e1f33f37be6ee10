// Package gguf reads and writes GGUF, the file format of llama.cpp and Ollama, version 2 and 3: metadata, tensors with their block
// formats, and what both mean for a model of the architectures llama, qwen2 and qwen3.
//
// [File] is an open file. [File.Config], [Parameters] and [File.Tokenizer] say in the terms of a Hugging Face folder what it holds;
// [Config.Metadata], [Tokenizer.Metadata] and [Write] go the other way. Whatever would make another model than the file's is an error
// that names the key or the tensor: there is no guess.
//
// Numbers are those of the reference library (gguf of PyPI) bit for bit: a block is dequantised in float32, in its order of operations.
//
// Sources: ggml-org/ggml docs/gguf.md; the block formats as the reference library computes them.
package gguf
