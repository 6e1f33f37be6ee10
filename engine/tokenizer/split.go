package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A splitter cuts a text into the words within which byte pairs are merged. Published vocabularies say how by a regular expression
// with look-ahead, which Go's regexp does not have; here each known expression is a scanner, and any other is refused at load.
type splitter struct {
	name    string
	pattern string
	// next returns the length of the first word of a text that is not empty.
	next func(text string) int
}

var splitters = []splitter{
	{
		name:    "GPT-2",
		pattern: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
		next:    nextGPT2,
	},
	{
		name:    "Llama 3",
		pattern: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
		next:    func(text string) int { return nextTiktoken(text, 3) },
	},
	{
		name:    "Qwen 2",
		pattern: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
		next:    func(text string) int { return nextTiktoken(text, 1) },
	},
}

// class is what the expressions tell apart.
type class uint8

const (
	other class = iota
	letter
	number
	blank // white space without line breaks
	lineBreak
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for r := range rune(utf8.RuneSelf) {
		table[r] = classOf(r)
	}
	return table
}()

func classOf(r rune) class {
	switch {
	case r == '\n' || r == '\r':
		return lineBreak
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.Is(unicode.White_Space, r):
		return blank
	}
	return other
}

// at returns the class and the length of the character at the beginning of a text that is not empty. A byte that is no
// character is other, by itself.
func at(text string) (class, int) {
	if c := text[0]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return other, 1
	}
	return classOf(r), size
}

// run returns the length of the run of characters of class c that a text begins with; at most limit characters.
func run(text string, c class, limit int) int {
	n := 0
	for ; n < len(text) && limit > 0; limit-- {
		k, size := at(text[n:])
		if k != c {
			break
		}
		n += size
	}
	return n
}

const unlimited = 1 << 62

// nextTiktoken is Llama 3's expression, and Qwen's, which differs in how many digits make a word.
func nextTiktoken(text string, digits int) int {
	if n := contraction(text, true); n > 0 {
		return n
	}
	c, size := at(text)
	switch c {
	case letter:
		return run(text, letter, unlimited)
	case number:
		return run(text, number, digits)
	case other, blank:
		if n := run(text[size:], letter, unlimited); n > 0 { // [^\r\n\p{L}\p{N}]?\p{L}+
			return size + n
		}
	}
	return symbols(text, c, size, true)
}

func nextGPT2(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	c, size := at(text)
	if c == letter || c == number {
		return run(text, c, unlimited)
	}
	if text[0] == ' ' {
		for _, c := range []class{letter, number} {
			if n := run(text[1:], c, unlimited); n > 0 {
				return 1 + n
			}
		}
	}
	return symbols(text, c, size, false)
}

// symbols is what both expressions end with: ␠?[^\s\p{L}\p{N}]+, there followed by any line breaks, or else white space. c and size
// are those of the first character, which is neither a letter nor a number.
func symbols(text string, c class, size int, breaks bool) int {
	n := 0
	if text[0] == ' ' {
		n = 1
	}
	if k := run(text[n:], other, unlimited); k > 0 {
		n += k
		if breaks {
			n += run(text[n:], lineBreak, unlimited)
		}
		return n
	}
	// White space. With line breaks in it, up to and including the last one. Otherwise all of it at the end of the text; before
	// another character the last one is left to go with that character, unless it is the only one.
	n = 0
	lastBreak, lastSize := 0, size
	for n < len(text) {
		c, size := at(text[n:])
		if c != blank && c != lineBreak {
			break
		}
		n += size
		lastSize = size
		if c == lineBreak {
			lastBreak = n
		}
	}
	switch {
	case breaks && lastBreak > 0:
		return lastBreak
	case n == len(text) || n == lastSize:
		return n
	}
	return n - lastSize
}

// contraction returns the length of 's, 't, 're, 've, 'm, 'll or 'd at the beginning of a text, or 0. With fold, case does not
// matter, and the long s (U+017F) is an s.
func contraction(text string, fold bool) int {
	rest, ok := strings.CutPrefix(text, "'")
	if !ok {
		return 0
	}
	for _, suffix := range []string{"s", "t", "re", "ve", "m", "ll", "d"} {
		if strings.HasPrefix(rest, suffix) || fold && len(rest) >= len(suffix) && strings.EqualFold(rest[:len(suffix)], suffix) {
			return 1 + len(suffix)
		}
	}
	if fold && strings.HasPrefix(rest, "ſ") {
		return 1 + len("ſ")
	}
	return 0
}
