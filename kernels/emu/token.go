package emu

import (
	"strings"
)

type token struct {
	text string
	line int
	str  bool // was a string literal
}

func wordByte(c byte) bool {
	switch c {
	case '_', '$', '%', '.', '@', '!':
		return true
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func tokenise(src string) []token {
	ts := make([]token, 0, len(src)/5)
	line := 1
	for i := 0; i < len(src); {
		rest := src[i:]
		n := 1 // bytes of what stands here
		switch c := src[i]; {
		case c == '\n':
			line++
		case c == ' ' || c == '\t' || c == '\r':
		case strings.HasPrefix(rest, "//"):
			n = until(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			n = until(rest, "*/") + 2
			line += strings.Count(rest[:min(n, len(rest))], "\n")
		case c == '"':
			n = 1 + until(rest[1:], `"`)
			ts = append(ts, token{rest[1:n], line, true})
			n++
		case wordByte(c):
			n = wordLength(rest)
			ts = append(ts, token{rest[:n], line, false})
		default:
			ts = append(ts, token{rest[:1], line, false})
		}
		i += n
	}
	return ts
}

// until is where end first stands in s; the length of s if nowhere.
func until(s, end string) int {
	if n := strings.Index(s, end); n >= 0 {
		return n
	}
	return len(s)
}

// wordLength is how many bytes of s are one word: modifiers such as shared::cta hold two colons.
func wordLength(s string) (n int) {
	for n < len(s) {
		switch {
		case wordByte(s[n]):
			n++
		case strings.HasPrefix(s[n:], "::") && n+2 < len(s) && wordByte(s[n+2]):
			n += 3
		default:
			return n
		}
	}
	return n
}
