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
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '%' || c == '.' || c == '@' || c == '!'
}

func tokenise(src string) []token {
	ts := make([]token, 0, len(src)/5)
	line := 1
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '/' && i+1 < len(src) && src[i+1] == '/':
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(src) && src[i+1] == '*':
			for i < len(src) && !strings.HasPrefix(src[i:], "*/") {
				if src[i] == '\n' {
					line++
				}
				i++
			}
			i += 2
		case c == '"':
			j := i + 1
			for j < len(src) && src[j] != '"' {
				j++
			}
			ts = append(ts, token{src[i+1 : j], line, true})
			i = j + 1
		case wordByte(c):
			j := i
			for j < len(src) && (wordByte(src[j]) || src[j] == ':' && j+2 < len(src) && src[j+1] == ':' && wordByte(src[j+2])) {
				if src[j] == ':' {
					j++
				}
				j++
			}
			ts = append(ts, token{src[i:j], line, false})
			i = j
		default:
			ts = append(ts, token{src[i : i+1], line, false})
			i++
		}
	}
	return ts
}
