package kernels

import (
	"runtime"
	"sync/atomic"
	"time"
)

// pool divides the rows of one operation among threads. The thread that calls the operation is worker 0.
//
// A goroutine per operation costs more than most operations take (a futex round trip is 43 µs, a spin 80 ns), so workers spin for
// the next operation and park only when none came for a while. An operation never waits for a worker that has not begun:
// chunks are claimed one at a time, and when other processes hold the cores, the caller does them all. It sleeps where a worker that has
// begun does not end: it may have lost its core, and take the caller's. Nobody yields: whoever does, beside a process that computes, gives
// away the milliseconds that are due to it.
//
// Each worker has a run of neighbouring chunks of its own, the same of every operation of as many rows: what one operation wrote, and the
// part of the weights that a step reads again and again, are in the caches of the core that needs them next. Who is through with its own
// takes from the others, from their ends.
type pool struct {
	workers []worker
	parked  atomic.Int32
	stopped atomic.Bool
	wake    chan struct{}
	ended   chan struct{} // the sleeping caller's

	epoch  uint64
	shared int64 // chunks that others than the caller have finished, or will have when this operation ends
	missed int   // ns of work since the workers parked that they could have shared

	_    [64]byte
	done atomic.Int64 // chunks that others than the caller have finished
	goal atomic.Int64 // the number that the caller sleeps for
	_    [64]byte
}

// worker is one thread's run of chunks, and its scratch.
type worker struct {
	// ticket is epoch (36 bits), end (14) and begin (14) of the chunks that are left of the worker's run. Claiming one is one
	// compare-and-swap; its success proves that the operation is still the one whose fields the claimer is about to read. What others
	// read first, the operation's share of it, lies in the same cache line.
	ticket   atomic.Uint64
	rows     func(d *cpu, w *worker, from, to int)
	n, grain int
	_        [96]byte // others claim from it too

	index int
	until int       // column of a product's weights up to which the worker multiplies in turn
	buf   []float32 // grows to what an operation asks for
	lanes [laneSlots][]float32
	order []int32 // of ids, by probability
	tile  tile
	heads headTile
	tail  []float32 // columns of a product that do not fill a panel
	draw  []float32
	key   philoxKey
	_     [128]byte // keeps two workers off one cache line
}

const (
	chunkBits = 14
	chunkMask = 1<<chunkBits - 1
	worthNs   = 1500  // an operation shorter than this is not shared
	chunkNs   = 1500  // nor is one cut into shorter pieces
	wakeNs    = 40000 // work that must have been missed before parked workers are woken
	spinFor   = 60 * time.Microsecond
	waitFor   = 150 * time.Microsecond // of spinning, for workers that have begun
)

func (p *pool) init(d *cpu, threads int) {
	p.workers = make([]worker, threads)
	for i := range p.workers {
		p.workers[i].index = i
		p.workers[i].tail = floats(tileRows * tileCols)
		p.workers[i].draw = floats(2 * (drawBlock + 8))
	}
	p.wake, p.ended = make(chan struct{}, threads), make(chan struct{}, 1)
	for i := 1; i < threads; i++ {
		go d.work(&p.workers[i])
	}
}

func (p *pool) close() {
	if !p.stopped.Swap(true) {
		close(p.wake)
	}
}

// scratch is n floats of the worker's own, of unknown content.
func (w *worker) scratch(n int) []float32 {
	if cap(w.buf) < n {
		w.buf = floats(n + n/2)
	}
	return w.buf[:n]
}

// each calls rows for [0, n) in chunks of at least grain, each chunk on one thread. cost estimates the time of all, in ns on one
// thread: it decides whether sharing pays. What rows does for a row must not depend on its chunk.
func (d *cpu) each(n, grain, cost int, rows func(d *cpu, w *worker, from, to int)) {
	if n <= 0 {
		return
	}
	threads := len(d.workers)
	if threads == 1 || n <= grain || cost < worthNs {
		rows(d, &d.workers[0], 0, n)
		return
	}
	if asleep := int(d.parked.Load()); asleep == 0 {
		d.missed = 0
	} else if d.missed += cost; d.missed >= wakeNs {
		d.missed = 0
		for range asleep {
			select {
			case d.wake <- struct{}{}:
			default: // enough calls are under way
			}
		}
	}
	// Many chunks a thread, so that all end together and one that loses its core delays the others little; but none of less than a
	// microsecond or two, and all of whole grains: a grain is what suits the kernel.
	grains := (n + grain - 1) / grain
	chunks := min(grains, 24*threads, max(threads, cost/chunkNs), chunkMask)
	grain *= (grains + chunks - 1) / chunks
	chunks = (n + grain - 1) / grain
	d.epoch++
	own := &d.workers[0]
	for i := threads - 1; i >= 0; i-- {
		w, begin, end := &d.workers[i], i*chunks/threads, (i+1)*chunks/threads
		if w == own {
			begin++ // at once
		}
		if begin < end {
			w.rows, w.n, w.grain = rows, n, grain
			w.ticket.Store(d.epoch<<(2*chunkBits) | uint64(end)<<chunkBits | uint64(begin))
		}
	}
	d.shared += int64(chunks)
	if chunks >= threads {
		rows(d, own, 0, min(grain, n))
		d.shared--
	}
	for d.claim(own) {
		d.shared--
	}
	d.wait()
}

// wait is for the chunks that others have begun.
func (p *pool) wait() {
	var begin time.Time
	for spins := 1; p.done.Load() != p.shared; spins++ {
		relax()
		if spins%64 != 0 {
			continue
		}
		if now := time.Now(); begin.IsZero() {
			begin = now
		} else if now.Sub(begin) > waitFor {
			p.goal.Store(p.shared)
			if p.done.Load() != p.shared || !p.goal.CompareAndSwap(p.shared, 0) {
				<-p.ended
			}
			return
		}
	}
}

// finish counts a chunk of a worker's, and wakes the caller if it sleeps for it.
func (p *pool) finish() {
	if n := p.done.Add(1); p.goal.Load() == n && p.goal.CompareAndSwap(n, 0) {
		p.ended <- struct{}{}
	}
}

// claim does one chunk of the current operation, if one is left: the first of w's own, or the last of another's.
func (d *cpu) claim(w *worker) bool {
	for i := range d.workers {
		from := &d.workers[(w.index+i)%len(d.workers)]
		for {
			t := from.ticket.Load()
			begin, end := int(t&chunkMask), int(t>>chunkBits&chunkMask)
			if begin >= end {
				break
			}
			at, less := begin, t+1
			if i > 0 {
				at, less = end-1, t-1<<chunkBits
			}
			if from.ticket.CompareAndSwap(t, less) {
				first := at * from.grain
				from.rows(d, w, first, min(first+from.grain, from.n))
				return true
			}
		}
	}
	return false
}

// follows is where the rows end that the worker does after those that end at to.
func (w *worker) follows(to int) int {
	t := w.ticket.Load()
	if begin, end := int(t&chunkMask), int(t>>chunkBits&chunkMask); begin < end && begin*w.grain == to {
		return min(end*w.grain, w.n)
	}
	return to
}

func (d *cpu) work(w *worker) {
	for {
		var idle time.Time
		for spins := 1; ; spins++ {
			if d.claim(w) {
				d.finish()
				spins = 0
				continue
			}
			if spins%256 == 0 {
				runtime.Gosched() // a goroutine may wait that reads what Python has to say
			} else {
				relax()
			}
			if spins%64 != 0 {
				continue
			}
			if now := time.Now(); spins == 64 {
				idle = now
			} else if now.Sub(idle) > spinFor {
				break
			}
		}
		d.parked.Add(1)
		_, ok := <-d.wake
		d.parked.Add(-1)
		if !ok {
			return
		}
	}
}
