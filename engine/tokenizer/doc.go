// Package tokenizer turns text into token ids and back, exactly.
//
//   - A [Tokenizer] is a vocabulary with a rule. Ids 0 to Size()−1 are all in use, so an id below Size() can be sampled and any other is a
//     padded row of an embedding table.
//   - [Greedy], made by [Words], is the rule of the embedded model: at each place the longest piece that fits. Its vocabulary holds every
//     single byte, so it can write any text, and Decode(Encode(s)) is s for every string.
//   - A [Stream] decodes token by token without cutting a character in two.
//
// Text from outside (questions, the output of code) goes through Encode, which never yields a special token, whatever the text spells.
// Only EncodeTemplate, for text that we wrote ourselves, reads the names of special tokens.
//
// A token stands for bytes, not for characters: Decode returns exactly those bytes, which need not be valid UTF-8. Whoever shows them to
// people replaces what is invalid.
package tokenizer
