package interp

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Clean makes output of a session fit for a prompt: valid UTF-8 (U+FFFD for the rest), no control characters but newline and tab,
// no terminal sequences, at most limit bytes of head and tail with the number of bytes cut between them.
func Clean(b []byte, limit int) string {
	var out strings.Builder
	out.Grow(len(b))
	for len(b) > 0 {
		if b[0] == 0x1b {
			b = b[escape(b):]
			continue
		}
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n <= 1:
			out.WriteRune(utf8.RuneError)
			n = 1
		case r == '\r' && len(b) > 1 && b[1] == '\n':
		case r == '\r':
			out.WriteByte('\n')
		case r == '\n', r == '\t':
			out.WriteRune(r)
		case r < 0x20, r >= 0x7f && r < 0xa0: // C0, DEL, C1
		case r == 0x2028, r == 0x2029, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff,
			r == 0x61c, r == 0x180e, r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe007f:
			// invisible and direction-changing marks: they can make text read as what it is not
		default:
			out.WriteRune(r)
		}
		b = b[n:]
	}
	return cut(out.String(), limit)
}

// escape is the length of the terminal sequence at the start of b: CSI, a string up to ST or BEL, or two bytes.
func escape(b []byte) int {
	if len(b) < 2 {
		return len(b)
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b) && i < 64; i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i
			}
		}
		return min(len(b), 64)
	case ']', 'P', '^', '_', 'X':
		for i := 2; i < len(b) && i < 4096; i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
			}
			if b[i] == '\n' {
				return i
			}
		}
		return 2
	}
	if b[1] < 0x20 || b[1] > 0x7e {
		return 1
	}
	return 2
}

// cut keeps the head and the tail of s, on rune borders, at most limit bytes with the mark between them.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	mark := fmt.Sprintf("\n... [%d bytes cut] ...\n", len(s)-limit)
	room := limit - len(mark)
	if room < 2 {
		end := max(0, limit)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		return s[:end]
	}
	head, tail := room/2, len(s)-(room-room/2)
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + fmt.Sprintf("\n... [%d bytes cut] ...\n", tail-head) + s[tail:]
}

// stripHarness drops the lines of a traceback that belong to the harness: a frame line and the source line under it.
func stripHarness(tb []byte) []byte {
	if !bytes.Contains(tb, []byte(`File "<harness>"`)) {
		return tb
	}
	var out []byte
	skip := false
	for _, line := range bytes.SplitAfter(tb, []byte("\n")) {
		if bytes.HasPrefix(line, []byte(`  File "<harness>"`)) {
			skip = true
			continue
		}
		if skip && bytes.HasPrefix(line, []byte("    ")) {
			continue
		}
		skip = false
		out = append(out, line...)
	}
	return out
}
