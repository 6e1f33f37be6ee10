package dist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
)

// A frame on a connection is
//
//	kind (1 byte)   length of what (2)   length of body (4)   call (8)   what   body
//
// numbers little-endian.
const headerSize = 15

const (
	maxWhat = 1 << 10
	maxBody = 1<<31 - 1
)

// errFrame marks bytes that are no frame.
var errFrame = errors.New("sent what is no frame")

func writeFrame(w io.Writer, f frame) error {
	head := make([]byte, headerSize, headerSize+len(f.what))
	head[0] = byte(f.kind)
	binary.LittleEndian.PutUint16(head[1:], uint16(len(f.what)))
	binary.LittleEndian.PutUint32(head[3:], uint32(len(f.body)))
	binary.LittleEndian.PutUint64(head[7:], f.call)
	parts := net.Buffers{append(head, f.what...), f.body}
	_, err := parts.WriteTo(w)
	return err
}

// readFrame reads one. Memory grows with what arrives, not with what a header says. io.EOF means that the sender closed between frames.
func readFrame(r io.Reader) (frame, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: kind(head[0]), call: binary.LittleEndian.Uint64(head[7:])}
	what, body := int(binary.LittleEndian.Uint16(head[1:])), binary.LittleEndian.Uint32(head[3:])
	if f.kind == 0 || f.kind >= kinds || what > maxWhat || body > maxBody {
		return frame{}, fmt.Errorf("%w (kind %d, %d and %d bytes)", errFrame, f.kind, what, body)
	}
	name, err := readBytes(r, what)
	if err != nil {
		return frame{}, err
	}
	f.what = string(name)
	f.body, err = readBytes(r, int(body))
	return f, err
}

func readBytes(r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		from := len(b)
		b = slices.Grow(b, min(n-from, max(step, from)))
		b = b[:min(n, cap(b))]
		if _, err := io.ReadFull(r, b[from:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}
