// Package tokenizer turns text into token ids and back, exactly.
//
//   - A [Tokenizer] is a vocabulary with a rule. Ids 0 to Size()−1 are all in use, so an id below Size() can be sampled and any other is a
//     padded row of an embedding table.
//   - [Greedy], made by [Words], is the rule of the embedded model: at each place the longest piece that fits. Its vocabulary holds every
//     single byte, so it can write any text, and Decode(Encode(s)) is s for every string.
//   - [BPE], read by [LoadBPE], is byte-level byte-pair encoding from Hugging Face's tokenizer.json, in the pipelines of GPT-2, Llama 3 and
//     Qwen 2, id for id as their library does it. Any other pipeline is an error at load, never an approximation.
//   - [Open] takes either from a model's folder.
//   - A [Stream] decodes token by token without cutting a character in two.
//
// Text from outside (questions, the output of code) goes through Encode, which never yields a special token, whatever the text spells.
// Only EncodeTemplate, for text that we wrote ourselves, reads the names of special tokens, and of other added tokens.
//
// A token stands for bytes, not for characters: Decode returns exactly those bytes, which need not be valid UTF-8. Whoever shows them to
// people replaces what is invalid.
//
// Where the design and the reference library differ, the reference is followed: of two equal merges the later one counts. Its word
// boundaries and normalisation depend on its Unicode tables; letters assigned since Go's (15.0) may be cut differently.
package tokenizer
