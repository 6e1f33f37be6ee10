// Package tokenizer turns text into token ids and back, exactly.
//
//   - A [Tokenizer] is a vocabulary with a rule. Ids 0 to Size()−1 are all in use, so an id below Size() can be sampled and any other
//     is a padded row of an embedding table.
//   - [Open] reads the one of a model's folder, whichever it is.
//   - [Greedy], made by [Words], is the rule of the embedded model: at each place the longest piece that fits. Its vocabulary holds
//     every single byte, so it can write any text, and Decode(Encode(s)) is s for every string.
//   - [BPE] is byte-level byte-pair encoding from Hugging Face's tokenizer.json, in the pipelines of GPT-2, Llama 3, Qwen 2 and 3, SmolLM2
//     and DeepSeek V3, id for id as their library does it. Any other pipeline is an error, never an approximation.
//   - A [Stream] decodes token by token without cutting a character in two.
//
// Text from outside (questions, the output of code) goes through Encode, which never yields a special token, whatever the text spells.
// Only EncodeTemplate, for text that we wrote ourselves, reads the names of special tokens, and of other added tokens.
//
// A token stands for bytes, not for characters: Decode returns exactly those bytes, which need not be valid UTF-8. Whoever shows them to
// people replaces what is invalid.
//
// Where the design and the reference library differ, the reference is followed: of two equal merges the later one counts, a byte that
// a vocabulary lacks is left out of a text, and characters are of the Unicode versions that the reference knows (unicode.go).
//
// # Files
//
// open.go finds the files of a folder, pipeline.go accepts or refuses what tokenizer.json says, load.go makes the tables. bpe.go encodes by
// them, split.go cuts words, merge.go merges their bytes, compose.go normalises.
package tokenizer
