package engine

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Clean is what is shown of text that a program wrote. The result is valid UTF-8, U+FFFD standing for what was not. Terminal sequences
// are gone, and so are control characters other than tab and line feed and the marks that nobody sees but a tokenizer does: zero-width
// characters, changes of direction, byte order marks, tag characters. Everything that ends a line somewhere (CR LF, a lone CR as
// progress bars write it, VT, FF, NEL, U+2028, U+2029) is a line feed. Cleaning twice changes nothing more.
func Clean(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError:
			b.WriteRune(utf8.RuneError)
		case r == 0x1b, r >= 0x80 && introducer(byte(r-0x40)) && r < 0xa0:
			n = terminalSequence(s, n, r)
		case r == '\r':
			n = len(s) - len(strings.TrimLeft(s, "\r"))
			if n == len(s) || s[n] != '\n' {
				b.WriteByte('\n')
			}
		case r == 0x0b, r == 0x0c, r == 0x85, r == 0x2028, r == 0x2029:
			b.WriteByte('\n')
		case r == '\n', r == '\t', !unseen(r):
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// unseen says whether a character has no glyph of its own: a control character or an invisible mark.
func unseen(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0: // C0, DEL, C1
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x180e: // soft hyphen, joiner, Arabic letter mark, Mongolian separator
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f: // zero width, direction
	case r == 0xfeff, r >= 0xfff9 && r <= 0xfffb: // byte order mark, annotations
	case r >= 0xe0000 && r <= 0xe0fff: // tags, further variation selectors
	default:
		return false
	}
	return true
}

// introducer says whether ESC and this byte, or the C1 character 0x40 above it, begin a sequence of more bytes.
func introducer(c byte) bool { return c == '[' || stringIntroducer(c) }

func stringIntroducer(c byte) bool { return c == ']' || c == 'P' || c == '^' || c == '_' || c == 'X' }

// longestString bounds a control string: beyond it, an introducer was no introducer.
const longestString = 4096

// terminalSequence is the length of the terminal sequence at the begin of s, whose first character r has n bytes: a control sequence up
// to its final byte, a string (OSC, DCS, SOS, PM, APC) up to its terminator, or an escape of two or more bytes. A string without
// terminator is none: what followed its introducer is text, and stays.
func terminalSequence(s string, n int, r rune) int {
	kind := byte(r - 0x40)
	if r == 0x1b {
		if len(s) == 1 {
			return 1
		}
		kind = s[1]
		if introducer(kind) {
			n = 2
		}
	}
	among := func(from, to byte) {
		for n < len(s) && s[n] >= from && s[n] <= to {
			n++
		}
	}
	switch {
	case kind == '[':
		among(0x30, 0x3f)
		among(0x20, 0x2f)
		if n < len(s) && s[n] >= 0x40 && s[n] <= 0x7e {
			n++
		}
	case stringIntroducer(kind):
		n += controlString(s[n:], kind)
	default:
		among(0x20, 0x2f)
		if n < len(s) && s[n] >= 0x30 && s[n] <= 0x7e {
			n++
		}
	}
	return n
}

// controlString is the length of a string up to and with its terminator; 0: there is none. OSC, which ends with BEL as well, is one line.
func controlString(s string, kind byte) int {
	for i := 0; i < len(s) && i < longestString; i++ {
		switch {
		case s[i] == 0x07 && kind == ']':
			return i + 1
		case s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\', s[i] == 0xc2 && i+1 < len(s) && s[i+1] == 0x9c:
			return i + 2
		case s[i] == '\n' && kind == ']':
			return 0
		}
	}
	return 0
}

// chatToken is how most chat templates spell their special tokens: in an output none is left, whatever the tokenizer.
var chatToken = regexp.MustCompile(`<(\|\w+\|>)`)

// protocolMarks are the tags that a protocol gives a meaning: all of them, as a model may have seen those of another.
func protocolMarks() []string {
	return []string{openCode, closeCode, openReply, closeReply, "<answer>", "</answer>", openCall, closeCall, openResponse, closeResponse}
}

// inert spells names so that they name nothing: with a blank behind their first character.
type inert struct {
	names   []string
	replace *strings.Replacer
}

func newInert(names []string) inert {
	var n inert
	var pairs []string
	for _, name := range names {
		_, first := utf8.DecodeRuneInString(name)
		switch {
		case name == "":
			continue
		case first == len(name):
			pairs = append(pairs, name, "\uFFFD")
		default:
			pairs = append(pairs, name, name[:first]+" "+name[first:])
		}
		n.names = append(n.names, name)
	}
	n.replace = strings.NewReplacer(pairs...)
	return n
}

// in returns text in which no name is left. Names may overlap, so that breaking one leaves another.
func (n inert) in(text string) string {
	for range 1 + len(n.names) {
		broken := n.replace.Replace(text)
		if broken == text {
			break
		}
		text = broken
	}
	return text
}
