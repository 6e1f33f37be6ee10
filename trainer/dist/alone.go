package dist

import (
	"fmt"
	"time"

	k "retool/kernels"
)

// Alone is the Comm of a run of one rank: code for one device has no branches.
type Alone struct{ tickets tickets }

func (*Alone) Rank() int                      { return 0 }
func (*Alone) Size() int                      { return 1 }
func (*Alone) Doing(int64, string, ...any)    {}
func (*Alone) Abort(error)                    {}
func (*Alone) Close() error                   { return nil }
func (*Alone) Waited() time.Duration          { return 0 }
func (a *Alone) Ticket(w string) (int, error) { n, _ := a.tickets.take(w); return n, nil }

func (*Alone) Gather(_ string, mine []byte) ([][]byte, error) { return [][]byte{mine}, nil }

func (*Alone) ReduceScatter(what string, part, whole k.Tensor, p Parts) Pending {
	return alone(what, part, whole, p)
}

func (*Alone) AllGather(what string, whole, part k.Tensor, p Parts) Pending {
	return alone(what, whole, part, p)
}

func alone(what string, dst, src k.Tensor, p Parts) Pending {
	if len(p) != 1 || p[0].From != 0 || dst.Len() != p.Len() || src.Len() != p.Len() {
		return done{&Ended{Reason: fmt.Sprintf("%q: parts %v of %v and %v for one rank", what, p, dst, src), Speaks: true}}
	}
	return done{copyPart(dst, src)}
}

// copyPart copies numbers within a device, none where both are the same.
func copyPart(dst, src k.Tensor) error {
	if src.Len() == 0 {
		return nil
	}
	dst, src = dst.Reshape(src.Len()), src.Reshape(src.Len())
	if dst == src {
		return nil
	}
	return dst.Device().Do(func() { dst.Device().Copy(dst, src) })
}

// done is a collective that was over when the call returned.
type done struct{ err error }

func (d done) Wait() error { return d.err }
