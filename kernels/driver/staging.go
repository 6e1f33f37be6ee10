package driver

// The page-locked buffers of a Staging grow to what copies need, between these bounds: bytes.
const (
	leastStaged = 64 << 10
	mostStaged  = 4 << 20
)

// Staging copies between a GPU and host memory of any kind, in the order of a stream, through two page-locked buffers in turn: while one is
// copied by the GPU, the host fills or empties the other. It belongs to one Driver and to its thread.
type Staging struct {
	drv  Driver
	bufs [2]stagingBuffer
	turn int
}

type stagingBuffer struct {
	b    []byte
	done Event // behind the last copy; 0: there was none
	busy bool
}

// NewStaging makes the staging of drv. Its buffers live until drv is closed.
func NewStaging(drv Driver) *Staging { return &Staging{drv: drv} }

// next is the buffer whose turn it is, of at least n bytes or of the most there are, with no copy under way.
func (s *Staging) next(n int) (*stagingBuffer, error) {
	t := &s.bufs[s.turn]
	s.turn ^= 1
	if t.busy {
		if err := s.drv.Sync(t.done); err != nil {
			return nil, err
		}
		t.busy = false
	}
	size := leastStaged
	for size < min(n, mostStaged) {
		size *= 2
	}
	if size <= len(t.b) {
		return t, nil
	}
	if t.b != nil {
		if err := s.drv.FreePinned(t.b); err != nil {
			return nil, err
		}
		t.b = nil
	}
	var err error
	if t.b, err = s.drv.Pinned(size); err != nil {
		return nil, err
	}
	if t.done == 0 {
		t.done, err = s.drv.NewEvent()
	}
	return t, err
}

// In copies to the GPU. When it returns, src belongs to the caller again; the copy itself stands in st's order.
func (s *Staging) In(st Stream, dst Ptr, src []byte) error {
	for len(src) > 0 {
		t, err := s.next(len(src))
		if err != nil {
			return err
		}
		n := copy(t.b, src)
		if err := s.drv.CopyIn(st, dst, t.b[:n]); err != nil {
			return err
		}
		if err := s.drv.Record(t.done, st); err != nil {
			return err
		}
		t.busy = true
		dst, src = dst+Ptr(n), src[n:]
	}
	return nil
}

// Out copies from the GPU, and returns when dst holds what was there in st's order.
func (s *Staging) Out(st Stream, dst []byte, src Ptr) error {
	var before *stagingBuffer // whose copy is under way
	var rest []byte           // and where it belongs
	land := func() error {
		if before == nil {
			return nil
		}
		if err := s.drv.Sync(before.done); err != nil {
			return err
		}
		before.busy = false
		copy(rest, before.b)
		return nil
	}
	for len(dst) > 0 {
		t, err := s.next(len(dst))
		if err != nil {
			return err
		}
		n := min(len(dst), len(t.b))
		if err := s.drv.CopyOut(st, t.b[:n], src); err != nil {
			return err
		}
		if err := s.drv.Record(t.done, st); err != nil {
			return err
		}
		t.busy = true
		if err := land(); err != nil {
			return err
		}
		before, rest = t, dst[:n]
		dst, src = dst[n:], src+Ptr(n)
	}
	return land()
}
