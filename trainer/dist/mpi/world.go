//go:build linux && cgo

package mpi

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// World is this process among those of its job. One goroutine, locked to its thread, makes every call of the library.
type World struct {
	Rank, Size int
	lib        *Library
	jobs       chan func()
	open       []*Exchange // that goroutine's: in the order in which they began
	idle       time.Time   // since when nothing has come to an end
	left       bool        // that goroutine's: the library is not to be called any more
	free       [][]byte    // buffers that were given back
}

// Buffer is memory of n bytes for transfers, in which something may stand. GiveBack takes it back, when they are over.
func (w *World) Buffer(n int) []byte {
	for i, b := range w.free {
		if cap(b) >= n {
			w.free = slices.Delete(w.free, i, i+1)
			return b[:n]
		}
	}
	return allocate(n)
}

// GiveBack keeps a buffer for the next that is as long.
func (w *World) GiveBack(b []byte) { w.free = append(w.free, b) }

// Exchange is transfers under way.
type Exchange struct {
	requests []request
	done     chan error
}

// patience is how often whoever waits asks whether the run is still on.
const patience = 5 * time.Millisecond

// Init joins the other processes of the job, once in the life of a process. While it is under way alive is asked, and its error ends the
// waiting.
func (l *Library) Init(alive func() error) (*World, error) {
	w := &World{lib: l, jobs: make(chan func())}
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for life: the library knows this thread
		var err error
		if w.Rank, w.Size, err = l.init(); err == nil {
			ready <- nil
			w.run()
			return
		}
		ready <- err
	}()
	if err := await(ready, alive); err != nil {
		return nil, err
	}
	return w, nil
}

// await is what comes of something, or the error of alive before.
func await(done <-chan error, alive func() error) error {
	for t := time.NewTicker(patience); ; {
		select {
		case err := <-done:
			t.Stop()
			return err
		case <-t.C:
			if err := alive(); err != nil {
				t.Stop()
				return err
			}
		}
	}
}

// run does what it is given, and meanwhile asks the library what is over: at once, then less and less often. A call that waits would keep a
// core busy, and could not be given up. Where nothing is under way it still asks, seldom: what this rank has sent may lie in the library,
// which does nothing between calls, while others wait for it.
func (w *World) run() {
	const often, seldom = 200 * time.Microsecond, 10 * time.Millisecond
	for {
		most := often
		if len(w.open) == 0 {
			most = seldom
			w.lib.progress(w.Rank)
		} else if w.poll() {
			w.idle = time.Now()
		}
		select {
		case f := <-w.jobs:
			if f(); w.left {
				return
			}
		case <-time.After(min(time.Since(w.idle)/8, most)):
		}
	}
}

// poll ends the exchanges of which all transfers are over, and reports whether anything was.
func (w *World) poll() (moved bool) {
	kept := w.open[:0]
	for _, x := range w.open {
		var err error
		left := x.requests[:0]
		for i, q := range x.requests {
			var over bool
			if over, err = w.lib.over(q); err != nil {
				left = append(left, x.requests[i:]...)
				break
			}
			if moved = moved || over; !over {
				left = append(left, q)
			}
		}
		x.requests = left
		switch {
		case err != nil: // what is left may still be written to
			x.done <- err
		case len(left) == 0:
			x.done <- nil
		default:
			kept = append(kept, x)
		}
	}
	clear(w.open[len(kept):])
	w.open = kept
	return moved
}

// Start begins to send and receive all of a list at once. The i-th transfer between two ranks of the one is the i-th of the other.
func (w *World) Start(list []Transfer) *Exchange {
	for _, t := range list {
		if len(t.Bytes) == 0 || len(t.Bytes) > math.MaxInt32 {
			panic(fmt.Sprintf("mpi: a transfer of %d bytes: want 1 to %d", len(t.Bytes), math.MaxInt32))
		}
	}
	x := &Exchange{done: make(chan error, 1)}
	begun := make(chan struct{})
	w.jobs <- func() {
		defer close(begun)
		for _, t := range list {
			q, err := w.lib.begin(t)
			if err != nil {
				x.done <- err
				return
			}
			x.requests = append(x.requests, q)
		}
		w.open, w.idle = append(w.open, x), time.Now()
	}
	<-begun
	return x
}

// Wait ends when every transfer is over, or when one failed, or alive has an error: then the world is of no more use.
func (x *Exchange) Wait(alive func() error) error { return await(x.done, alive) }

// Close leaves the job, which all its processes do, or after a failure gives it up: the process has to end then, and whoever started the
// job sees that it did without MPI_Finalize. Leaving that takes longer than 5 s is left to itself.
func (w *World) Close(failed bool) {
	if failed {
		return
	}
	done := make(chan struct{})
	late := time.After(5 * time.Second)
	select {
	case w.jobs <- func() { w.lib.finalize(); w.left = true; close(done) }:
	case <-late:
		return
	}
	select {
	case <-done:
	case <-late:
	}
}
