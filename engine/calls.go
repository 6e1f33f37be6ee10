package engine

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Models write calls that are nearly JSON. What Python, JSON5 and carelessness make of it is read here, as long as it can mean one thing
// only: strings in single or triple quotes, or with line breaks as they are; escapes that JSON does not have; a fenced block in place of a
// string; True, False, None; names without quotes; a comma too many; closing brackets too many, or too few at the end; a Markdown fence
// around all of it. A quote inside a string that is not escaped, as in "print("a")", would have to be guessed: that stays an error, and so
// does all else.

// errCall says that a call cannot be read.
var errCall = errors.New("neither JSON nor nearly so")

// mostNested is how deep a call's brackets go at most.
const mostNested = 32

// A loose reads what is nearly JSON.
type loose struct {
	text string
	at   int
}

// looseJSON is the value that a text holds, as encoding/json has it.
func looseJSON(text string) (any, error) {
	text = strings.TrimSpace(text)
	if first, rest, found := strings.Cut(text, "\n"); found && strings.HasPrefix(first, "```") {
		text = strings.TrimRight(strings.TrimSpace(rest), "`")
	}
	l := loose{text: text}
	v, err := l.value(0)
	if err == nil && strings.Trim(l.text[l.at:], " \t\r\n}]") != "" {
		err = errCall
	}
	return v, err
}

// next is the first byte that is no white space; 0 at the end.
func (l *loose) next() byte {
	for l.at < len(l.text) {
		if c := l.text[l.at]; !strings.ContainsRune(" \t\r\n", rune(c)) {
			return c
		}
		l.at++
	}
	return 0
}

func (l *loose) value(depth int) (any, error) {
	switch c := l.next(); {
	case depth > mostNested:
		return nil, errCall
	case c == '{':
		return l.object(depth)
	case c == '[':
		return l.list(depth)
	case c == '"' || c == '\'' || c == '`':
		return l.quoted()
	}
	switch w := l.word(); w {
	case "":
		return nil, errCall
	case "true", "True":
		return true, nil
	case "false", "False":
		return false, nil
	case "null", "None":
		return nil, nil
	default:
		n, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return nil, errCall
		}
		return n, nil
	}
}

// word is what stands without quotes.
func (l *loose) word() string {
	from := l.at
	for l.at < len(l.text) && (isAlnum(l.text[l.at]) || strings.ContainsRune("_-+.", rune(l.text[l.at]))) {
		l.at++
	}
	return l.text[from:l.at]
}

func (l *loose) object(depth int) (any, error) {
	out := map[string]any{}
	for l.at++; ; {
		var key string
		switch c := l.next(); {
		case c == 0:
			return out, nil
		case c == '}':
			l.at++
			return out, nil
		case c == '"' || c == '\'':
			var err error
			if key, err = l.quoted(); err != nil {
				return nil, err
			}
		default:
			if key = l.word(); key == "" {
				return nil, errCall
			}
		}
		if l.next() != ':' {
			return nil, errCall
		}
		l.at++
		v, err := l.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out[key] = v
		if err := l.separator('}'); err != nil {
			return nil, err
		}
	}
}

func (l *loose) list(depth int) (any, error) {
	out := []any{}
	for l.at++; ; {
		switch l.next() {
		case 0:
			return out, nil
		case ']':
			l.at++
			return out, nil
		}
		v, err := l.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if err := l.separator(']'); err != nil {
			return nil, err
		}
	}
}

// separator is a comma, or what stands before the end of a list or an object.
func (l *loose) separator(end byte) error {
	switch l.next() {
	case ',':
		l.at++
	case 0, end:
	default:
		return errCall
	}
	return nil
}

// quoted is a string. Three quotes around lines hold them as they stand, and three back-ticks are a fence, which stays: who writes lines
// needs no escapes.
func (l *loose) quoted() (string, error) {
	mark := l.text[l.at : l.at+1]
	if triple := strings.Repeat(mark, 3); strings.HasPrefix(l.text[l.at:], triple) {
		mark = triple
	} else if mark == "`" {
		return "", errCall
	}
	from := l.at + len(mark)
	for i := from; i < len(l.text); i++ {
		switch {
		case l.text[i] == '\\':
			i++
		case strings.HasPrefix(l.text[i:], mark):
			l.at = i + len(mark)
			text := l.text[from:i]
			switch {
			case mark == "```":
				return mark + text + "\n" + mark, nil
			case len(mark) == 3 && strings.Contains(text, "\n"):
				return text, nil
			}
			return unescape(text), nil
		}
	}
	return "", errCall
}

// escapes are those of JSON, and Python's of quotes.
var escapes = map[byte]string{
	'"': `"`, '\'': "'", '\\': `\`, '/': "/", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t",
}

// unescape replaces escapes. A backslash before anything else is one of the text, as in Python.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			out.WriteByte(c)
			continue
		}
		i++
		if s, ok := escapes[text[i]]; ok {
			out.WriteString(s)
			continue
		}
		if r, size := unicodeEscape(text[i-1:]); size > 0 {
			out.WriteRune(r)
			i += size - 2
			continue
		}
		out.WriteString(text[i-1 : i+1])
	}
	return out.String()
}

// unicodeEscape is the character of the \uXXXX, or the two of a surrogate pair, that a text begins with, and its length; 0: of none.
func unicodeEscape(text string) (r rune, size int) {
	unit := func(at int) (rune, bool) {
		if len(text) < at+6 || text[at] != '\\' || text[at+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(text[at+2:at+6], 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(0)
	if !ok {
		return 0, 0
	}
	if low, ok := unit(6); ok && utf16.IsSurrogate(r) {
		if both := utf16.DecodeRune(r, low); both != '\uFFFD' {
			return both, 12
		}
	}
	return r, 6 // of half a pair, what no text has: the mark of it
}
