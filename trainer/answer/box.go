package answer

import "strings"

// Box returns what the last box of a text holds: \boxed{…} or \fbox{…}, blanks before the brace allowed, or \boxed before a number or a
// letter that stands alone. Escaped braces are characters. Of nested boxes the innermost begins last. Where the last one does not end there
// is no answer, whatever came before; the bare word \boxed, in prose, is no box.
func Box(text string) (content string, ok bool) {
	for end := len(text); end > 0; {
		start := max(strings.LastIndex(text[:end], `\boxed`), strings.LastIndex(text[:end], `\fbox`))
		if start < 0 {
			return "", false
		}
		name := len(`\boxed`)
		if strings.HasPrefix(text[start:], `\fbox`) {
			name = len(`\fbox`)
		}
		rest := text[start+name:]
		if inner := strings.TrimLeft(rest, " \t\n"); strings.HasPrefix(inner, "{") {
			n := closing(inner[1:])
			if n < 0 {
				return "", false
			}
			return inner[1 : n+1], true
		}
		if content, ok := unbraced(rest); ok {
			return content, true
		}
		end = start
	}
	return "", false
}

// unbraced reads the 7 of \boxed 7, the -3/4 of \boxed-3/4, the x of \boxed x.
func unbraced(s string) (string, bool) {
	inner := strings.TrimLeft(s, " \t")
	n := 0
	for n < len(inner) && (digit(inner[n]) || n == 0 && inner[n] == '-' || n > 0 && n+1 < len(inner) &&
		strings.IndexByte("./,", inner[n]) >= 0 && digit(inner[n+1])) {
		n++
	}
	if n > 0 && digit(inner[n-1]) {
		return inner[:n], true
	}
	if len(inner) == 0 || len(inner) == len(s) || !letter(inner[0]) ||
		len(inner) > 1 && (letter(inner[1]) || inner[1] >= 0x80 || inner[1] == '\'') {
		return "", false
	}
	if rest := strings.TrimLeft(inner[1:], " "); rest != "" && letter(rest[0]) { // "\boxed a result" is prose
		return "", false
	}
	return inner[:1], true
}
