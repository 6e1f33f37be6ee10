package dist

import (
	"fmt"

	k "retool/kernels"
)

// A Fabric moves tensors between ranks faster than TCP: NCCL between GPUs, MPI between hosts. It copies bytes and adds nothing.
type Fabric interface {
	// Start begins all transfers of a list at once. The matching ones of the other ranks are in their lists: the i-th list of every rank
	// is of the same exchange. What a list sends is as the device has it now; what it receives is there when wait returns, and wait ends
	// too when alive has an error. Every list is waited for, in order.
	Start(list []Transfer, alive func() error) (wait func() error, err error)
	Piece() int // numbers that go to one rank in one exchange, at most
	Ahead() int // exchanges that may be under way at once
	// Close leaves the other ranks, or after a failure gives them up.
	Close(failed bool)
	String() string
}

// Transfer is a piece of a tensor that goes to a rank, or comes from it. It is contiguous and not empty.
type Transfer struct {
	Peer int
	Send bool
	T    k.Tensor
}

// woven is ranks whose tensors go over a fabric. Each collective begins with a round of bytes: there ranks in different calls meet, and
// ranks that are gone are noticed, before anything is queued that cannot be called back.
type woven struct {
	*mesh
	under  Comm // what the bytes go by
	fabric Fabric
}

// Over makes tensors go over a fabric that joins the ranks of c, which is Join's or Local's; c of one rank stays as it is.
func Over(c Comm, f Fabric) Comm {
	switch c := c.(type) {
	case *network:
		return &woven{mesh: c.mesh, under: c, fabric: f}
	case *local:
		return &woven{mesh: c.mesh, under: c, fabric: f}
	}
	return c
}

// Transport says what moves tensors.
func Transport(c Comm) string {
	switch c := c.(type) {
	case *woven:
		return c.fabric.String()
	case *network:
		if c.board != nil {
			return "shared memory"
		}
		return "TCP"
	}
	return "memory"
}

// agree ends the run where one rank could not do something.
func (m *mesh) agree(what string, mine error) error {
	if mine != nil {
		if ended := m.failed(); ended != nil {
			return ended
		}
		return m.fault("%v", mine)
	}
	_, err := m.Gather(what, nil)
	return err
}

// Close gives the fabric up first: it needs the others alive.
func (w *woven) Close() error {
	w.fabric.Close(w.failed() != nil)
	return w.under.Close()
}

// ReduceScatter receives everybody's piece of this rank's part into rows, and adds them in the tree. It is over when it returns.
func (w *woven) ReduceScatter(what string, part, whole k.Tensor, p Parts) Pending {
	if err := w.checkSum(what, whole, part, p); err != nil {
		return done{err}
	}
	if longest(p) == 0 {
		return done{}
	}
	own := Range{0, p[w.rank].Len()}
	dev := whole.Device()
	rows := dev.Alloc(k.F32, max(1, w.size*min(own.Len(), w.fabric.Piece())))
	defer dev.Free(rows)
	x := func(mine Range) k.Tensor {
		if mine.Len() == 0 {
			return rows
		}
		return rows.Reshape(w.size, mine.Len())
	}
	f := &flow{w: w, what: what, longest: longest(p), ahead: 1}
	f.list = func(from int) (list []Transfer) {
		mine := w.cut(own, from)
		for r := range w.size {
			if r == w.rank {
				continue
			}
			if theirs := w.cut(p[r], from); theirs.Len() > 0 {
				list = append(list, Transfer{r, true, view(whole, theirs)})
			}
			if mine.Len() > 0 {
				list = append(list, Transfer{r, false, x(mine).Rows(r, r+1).Reshape(mine.Len())})
			}
		}
		return list
	}
	f.deal = func(from int) error {
		mine := w.cut(own, from)
		if mine.Len() == 0 {
			return nil
		}
		return dev.Do(func() {
			dev.Copy(x(mine).Rows(w.rank, w.rank+1).Reshape(mine.Len()), view(whole, w.cut(p[w.rank], from)))
			dev.SumTree(view(part, mine), x(mine))
		})
	}
	f.begin()
	return done{f.Wait()}
}

// AllGather begins to send this rank's part to everybody, and to receive theirs where they belong: what is computed before its Wait hides
// it.
func (w *woven) AllGather(what string, whole, part k.Tensor, p Parts) Pending {
	if err := w.checkGather(what, whole, part, p); err != nil {
		return done{err}
	}
	own := Range{0, p[w.rank].Len()}
	if own.Len() > 0 {
		if err := copyPart(view(whole, p[w.rank]), part); err != nil {
			return done{w.fault("%q: %v", what, err)}
		}
	}
	f := &flow{w: w, what: what, longest: longest(p), ahead: w.fabric.Ahead()}
	f.list = func(from int) (list []Transfer) {
		for r := range w.size {
			if r == w.rank {
				continue
			}
			if mine := w.cut(own, from); mine.Len() > 0 {
				list = append(list, Transfer{r, true, view(part, mine)})
			}
			if theirs := w.cut(p[r], from); theirs.Len() > 0 {
				list = append(list, Transfer{r, false, view(whole, theirs)})
			}
		}
		return list
	}
	f.deal = func(int) error { return nil }
	f.begin()
	return f
}

// flow is the exchanges of a collective, piece by piece, some of them ahead of the one that is waited for.
type flow struct {
	w       *woven
	what    string
	longest int                       // numbers of the longest part
	ahead   int                       // exchanges under way at once, at most
	list    func(from int) []Transfer // the transfers of the piece that begins so far into each part
	deal    func(from int) error      // with what has come
	started int                       // where the next exchange to start begins
	dealt   int                       // where the next to be waited for does
	waits   []func() error            // of those under way
	err     error
}

// begin makes the round of bytes by which all ranks know that they are in the same collective, and starts the first exchanges.
func (f *flow) begin() {
	w := f.w
	all, err := w.Gather(f.what, fmt.Append(nil, f.longest))
	for r, b := range all {
		if err == nil && string(b) != string(all[w.rank]) {
			err = w.fault("%q: rank %d has parts of up to %s numbers, this one of %d", f.what, r, b, f.longest)
		}
	}
	f.err = err
	f.guard(f.fill)
}

// fill starts exchanges until as many are under way as may be.
func (f *flow) fill() error {
	for f.started < f.longest && len(f.waits) < f.ahead {
		wait, err := f.w.fabric.Start(f.list(f.started), f.w.failed)
		if err != nil {
			return err
		}
		f.w.mu.Lock()
		f.w.begun++
		f.w.mu.Unlock()
		f.waits = append(f.waits, wait)
		f.started += f.w.fabric.Piece()
	}
	return nil
}

// Wait ends the collective.
func (f *flow) Wait() error {
	for f.dealt < f.longest && f.err == nil {
		f.guard(func() error {
			stop := f.w.waitsForPeers(f.what)
			err := f.waits[0]()
			stop()
			if err != nil {
				return err
			}
			f.waits = f.waits[1:]
			if err := f.deal(f.dealt); err != nil {
				return err
			}
			f.dealt += f.w.fabric.Piece()
			return f.fill()
		})
	}
	return f.err
}

// guard ends the run with what one step of the collective could not do, unless it has ended already.
func (f *flow) guard(step func() error) {
	if f.err != nil {
		return
	}
	defer func() {
		if r := recover(); r != nil { // what a device could not do
			f.err = f.w.fault("%q: %v", f.what, r)
		}
	}()
	if err := step(); err != nil {
		if f.err = f.w.failed(); f.err == nil {
			f.err = f.w.fault("%q: %v", f.what, err)
		}
	}
}

// waitsForPeers tells the watchdog that this rank waits in the fabric, until stop is called: for the ranks that have not begun as much as
// this one, or where all have, for all of them.
func (m *mesh) waitsForPeers(what string) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch.waits(what, false)
	m.behind = m.posted + m.begun
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.behind = 0
		m.watch.goesOn()
	}
}

// longest is the length of the longest part.
func longest(p Parts) (n int) {
	for _, r := range p {
		n = max(n, r.Len())
	}
	return n
}

// cut is the piece of a range that begins so far into it.
func (w *woven) cut(r Range, from int) Range {
	at := min(r.From+from, r.To)
	return Range{at, min(at+w.fabric.Piece(), r.To)}
}
