package interp

import "fmt"

// A capture keeps the head and the tail of a stream, and its length.
type capture struct {
	limit      int
	head, tail []byte
	n          int64
}

func (c *capture) add(b []byte) {
	c.n += int64(len(b))
	if room := c.limit/2 - len(c.head); room > 0 {
		k := min(room, len(b))
		c.head = append(c.head, b[:k]...)
		b = b[k:]
	}
	if len(b) == 0 {
		return
	}
	half := c.limit - c.limit/2
	if len(b) >= half {
		c.tail = append(c.tail[:0], b[len(b)-half:]...)
		return
	}
	c.tail = append(c.tail, b...)
	if len(c.tail) > 2*half { // trimmed now and then, not at every byte
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-half:]...)
	}
}

// split returns the stream without its last trace bytes, its length, and those bytes. The session claims the number, so it is
// clamped to what is there.
func (c *capture) split(trace int) (body []byte, n int64, last []byte) {
	half := c.limit - c.limit/2
	tail := c.tail
	if len(tail) > half {
		tail = tail[len(tail)-half:]
	}
	gap := c.n - int64(len(c.head)) - int64(len(tail))
	trace = max(0, trace)
	head := c.head
	if gap == 0 {
		all := append(append(make([]byte, 0, len(head)+len(tail)), head...), tail...)
		k := len(all) - min(trace, len(all))
		return all[:k:k], int64(k), all[k:]
	}
	k := len(tail) - min(trace, len(tail))
	last = append([]byte(nil), tail[k:]...)
	body = append(make([]byte, 0, len(head)+k+64), head...)
	body = fmt.Appendf(body, "\n... [%d bytes cut] ...\n", gap)
	return append(body, tail[:k]...), c.n - int64(len(last)), last
}

// text is the whole stream, with a line in place of what was not kept.
func (c *capture) text() string {
	body, _, _ := c.split(0)
	return string(body)
}

// A sink is a capture that a process writes to. Beyond limit bytes, or most where that is more, it calls full, once.
type sink struct {
	capture
	most int64
	full func() error
}

func (s *sink) Write(b []byte) (int, error) {
	before := s.over()
	if s.add(b); !before && s.over() {
		_ = s.full()
	}
	return len(b), nil
}

// over reports whether the process wrote more than it may.
func (s *sink) over() bool { return s.n > max(s.most, int64(s.limit)) }
