package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// joiner is what x/text inserts into a run of more than 30 combining marks, to keep it short (Unicode's stream-safe format). The reference
// tokenizers do not.
const joiner = "\u034f"

// composed returns a text in the normalisation form C of Unicode 9.0, which the reference has. Bytes that are no character stay.
func composed(text string) string {
	if norm.NFC.IsNormalString(text) {
		return text
	}
	var b strings.Builder
	for text != "" {
		n := strings.IndexFunc(text, func(r rune) bool { return r != utf8.RuneError && !unicode.Is(unicode9(), r) })
		if n < 0 {
			n = len(text)
		}
		b.WriteString(composedKnown(text[:n]))
		_, size := utf8.DecodeRuneInString(text[n:])
		b.WriteString(text[n : n+size]) // no older mark moves past a newer character
		text = text[n+size:]
	}
	return b.String()
}

// composedKnown is form C of a text without characters that are newer than Unicode 9.0.
func composedKnown(text string) string {
	c := norm.NFC.String(text)
	if strings.Count(c, joiner) != strings.Count(text, joiner) {
		return composeSlowly(text)
	}
	return c
}

// composeSlowly is form C by its definition (Unicode Standard Annex 15): decompose, order the marks by class, compose with the last starter
// what no mark of the same or a higher class stands before.
func composeSlowly(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		// up to the next byte that is no character
		n := 0
		for n < len(text) {
			r, size := utf8.DecodeRuneInString(text[n:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			n += size
		}
		composeRunes(&b, text[:n])
		if n < len(text) {
			b.WriteByte(text[n])
			n++
		}
		text = text[n:]
	}
	return b.String()
}

func composeRunes(b *strings.Builder, text string) {
	type char struct {
		r     rune
		class uint8 // canonical combining class; 0 is a starter
	}
	var chars []char
	for _, r := range text {
		for _, d := range norm.NFD.String(string(r)) {
			chars = append(chars, char{d, norm.NFD.PropertiesString(string(d)).CCC()})
		}
	}
	for i := 0; i < len(chars); i++ {
		first := i
		for i < len(chars) && chars[i].class != 0 {
			i++
		}
		slices.SortStableFunc(chars[first:i], func(a, b char) int { return int(a.class) - int(b.class) })
	}
	out := chars[:0]
	starter := -1 // index in out
	for _, c := range chars {
		blocked := starter < 0 || len(out)-1 > starter && (out[len(out)-1].class >= c.class || c.class == 0)
		if !blocked {
			if joined := []rune(norm.NFC.String(string([]rune{out[starter].r, c.r}))); len(joined) == 1 {
				out[starter].r = joined[0]
				continue
			}
		}
		if out = append(out, c); c.class == 0 {
			starter = len(out) - 1
		}
	}
	for _, c := range out {
		b.WriteRune(c.r)
	}
}
