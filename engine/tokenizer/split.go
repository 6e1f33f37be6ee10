package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A scanner returns the length of the first piece of a text that is not empty. Published tokenizers say by regular expressions with
// look-ahead, which Go's regexp does not have, how a text is cut into the words within which byte pairs are merged; here each known
// expression is a scanner, and any other is refused at load. Scanners stand in a row: each cuts the pieces of the one before it, and sees
// nothing beyond a piece.
type scanner func(text string) int

// expression is a known regular expression of a Split.
type expression struct {
	name    string
	pattern string
	next    scanner
}

var expressions = []expression{
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
	{
		name:    "DeepSeek V3, numbers",
		pattern: `\p{N}{1,3}`,
		next:    isolate(func(text string) int { return run(text, number, 3) }),
	},
	{
		name:    "DeepSeek V3, Han and kana",
		pattern: "[一-龥\u3040-ゟ゠-ヿ]+",
		next:    isolate(hanAndKana),
	},
	{
		name: "DeepSeek V3, words",
		pattern: "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" +
			`| ?[\p{P}\p{S}]+` + "[\r\n]*|" + `\s*` + "[\r\n]+|" + `\s+(?!\S)|\s+`,
		next: isolate(deepSeekWord),
	},
}

// nextDigit is Digits with individual_digits, nextDigits without: numbers alone, whatever lies between them in one piece.
var (
	nextDigit  = isolate(func(text string) int { return run(text, number|laterNumber, 1) })
	nextDigits = isolate(func(text string) int { return run(text, number|laterNumber, unlimited) })
)

// isolate is the scanner of a match, which returns the length of what it finds at the beginning of a text, or 0: a piece is a match or
// all that lies before the next one.
func isolate(match func(text string) int) scanner {
	return func(text string) int {
		if n := match(text); n > 0 {
			return n
		}
		_, n := at(text)
		for n < len(text) && match(text[n:]) == 0 {
			_, size := at(text[n:])
			n += size
		}
		return n
	}
}

// class is what the expressions tell apart: sets of one or more of these.
type class uint8

const (
	letter      class = 1 << iota // \p{L}
	number                        // \p{N}
	mark                          // \p{M}
	sign                          // \p{P} and \p{S}
	blank                         // white space without line breaks
	lineBreak                     // \r and \n
	rest                          // control characters, unassigned ones, bytes that are no character
	laterNumber                   // a number to Digits, unassigned to expressions

	other = mark | sign | rest | laterNumber // [^\s\p{L}\p{N}]
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
	case unicode.IsMark(r):
		return mark
	case unicode.IsPunct(r), unicode.IsSymbol(r):
		return sign
	}
	return laterClass(r)
}

// at returns the class and the length of the character at the beginning of a text that is not empty. A byte that is no
// character is of class rest, by itself.
func at(text string) (class, int) {
	if c := text[0]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return rest, 1
	}
	return classOf(r), size
}

// run returns the length of the run of characters of the classes in set that a text begins with; at most limit characters.
func run(text string, set class, limit int) int {
	n := 0
	for ; n < len(text) && limit > 0; limit-- {
		c, size := at(text[n:])
		if c&set == 0 {
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
	switch {
	case c == letter:
		return run(text, letter, unlimited)
	case c == number:
		return run(text, number, digits)
	case c != lineBreak:
		if n := run(text[size:], letter, unlimited); n > 0 { // [^\r\n\p{L}\p{N}]?\p{L}+
			return size + n
		}
	}
	if n := signs(text, other, true); n > 0 {
		return n
	}
	return whiteSpace(text, true)
}

func nextGPT2(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	c, _ := at(text)
	if c&(letter|number) != 0 {
		return run(text, c, unlimited)
	}
	if text[0] == ' ' {
		for _, c := range []class{letter, number} {
			if n := run(text[1:], c, unlimited); n > 0 {
				return 1 + n
			}
		}
	}
	if n := signs(text, other, false); n > 0 {
		return n
	}
	return whiteSpace(text, false)
}

// hanAndKana matches DeepSeek's second expression.
func hanAndKana(text string) int {
	n := 0
	for n < len(text) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !('一' <= r && r <= '龥' || '\u3040' <= r && r <= 'ヿ') {
			break
		}
		n += size
	}
	return n
}

// deepSeekWord matches DeepSeek's third expression, which, unlike the others, leaves some characters unmatched.
func deepSeekWord(text string) int {
	c, size := at(text)
	if c == sign && size == 1 { // of ASCII
		n := 1
		for n < len(text) && ('A' <= text[n] && text[n] <= 'Z' || 'a' <= text[n] && text[n] <= 'z') {
			n++
		}
		if n > 1 {
			return n
		}
	}
	const word = letter | mark
	switch {
	case c&word != 0:
		return run(text, word, unlimited)
	case c&(lineBreak|sign) == 0:
		if n := run(text[size:], word, unlimited); n > 0 {
			return size + n
		}
	}
	if n := signs(text, sign, true); n > 0 {
		return n
	}
	return whiteSpace(text, true)
}

// signs matches ␠?S+ for a set S, with breaks followed by any line breaks: [\r\n]*.
func signs(text string, set class, breaks bool) int {
	n := 0
	if text[0] == ' ' {
		n = 1
	}
	k := run(text[n:], set, unlimited)
	if k == 0 {
		return 0
	}
	if n += k; breaks {
		n += run(text[n:], lineBreak, unlimited)
	}
	return n
}

// whiteSpace matches \s+(?!\S)|\s+, with breaks \s*[\r\n]+ before it: white space with line breaks in it up to and including the last
// one; otherwise all of it at the end of the text; before another character the last one is left to go with that character, unless
// it is the only one.
func whiteSpace(text string, breaks bool) int {
	n, lastBreak, lastSize := 0, 0, 0
	for n < len(text) {
		c, size := at(text[n:])
		if c&(blank|lineBreak) == 0 {
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
