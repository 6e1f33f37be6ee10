package jsonfile

import (
	"bufio"
	"io"
)

// LineBreaks reads a text whose lines may end in a lone carriage return: it becomes a line feed, as one before a line feed stays. JSON has
// no other use for it, since in a string it is escaped, and Python reads it so.
func LineBreaks(r io.Reader) io.Reader { return lineBreaks{bufio.NewReaderSize(r, 1<<16)} }

type lineBreaks struct{ in *bufio.Reader }

func (l lineBreaks) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	for i, c := range p[:n] {
		if c != '\r' {
			continue
		}
		next := byte(0)
		if i+1 < n {
			next = p[i+1]
		} else if more, _ := l.in.Peek(1); len(more) > 0 {
			next = more[0]
		}
		if next != '\n' {
			p[i] = '\n'
		}
	}
	return n, err
}
