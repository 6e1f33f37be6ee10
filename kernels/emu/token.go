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

// tokenise divides text that begins in a line. Of a module the body of an entry, in its outer braces, is one token: most are never asked
// for, and the others are divided then.
func tokenise(src string, line int, module bool) []token {
	ts := make([]token, 0, len(src)/8)
	entry := false // what comes next belongs to an entry
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
			entry = entry || module && rest[:n] == ".entry"
		case c == '{' && entry:
			n = braces(rest)
			ts = append(ts, token{rest[:n], line, false})
			line += strings.Count(rest[:n], "\n")
			entry = false
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
	return 1
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

// braces is how many bytes of s, which begins with one, stand up to the brace that closes it; 1 if none does.
func braces(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			i += 1 + until(s[i+1:], `"`)
		case '/':
			switch {
			case strings.HasPrefix(s[i:], "//"):
				i += until(s[i:], "\n") - 1
			case strings.HasPrefix(s[i:], "/*"):
				i += until(s[i:], "*/") + 1
			}
		}
	}
	return 1
}
