package bench

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"retool/kernels"
)

// A Row is one measured figure. OfPeak is the floor's time divided by the measured: 1 is as fast as the machine can be.
type Row struct {
	Op     string  `json:"op"`
	Shape  string  `json:"shape"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	OfPeak float64 `json:"of_peak"`

	// Of work that ran whole, several times: Value is the best call's, Median in the same unit. Spread is the distance between the
	// quartiles of the calls' times, as a share of the median time. Cores is processor time over wall time × threads: well below 1 the
	// cores were not free, or the work could not use them all.
	Median float64 `json:"median,omitempty"`
	Count  int     `json:"count,omitempty"`
	Spread float64 `json:"spread,omitempty"`
	Cores  float64 `json:"cores,omitempty"`

	// Difference is the largest |rollout − training log-probability| of the tokens that were sampled; none where nothing was.
	Difference *float64 `json:"max_difference,omitempty"`

	flop, bytes, seconds float64 // what OfPeak follows from; seconds 0: it stands by itself
}

// row is a figure of work that took so many seconds, beside the floor as far as it is known now.
func (f Floor) row(op, shape string, value float64, unit string, flop, bytes, seconds float64) Row {
	r := Row{Op: op, Shape: shape, Value: value, Unit: unit, flop: flop, bytes: bytes, seconds: seconds}
	r.OfPeak = f.Time(flop, bytes) / seconds
	return r
}

// Share computes OfPeak of the rows anew, after Again has found the machine to be faster than it first seemed.
func (f Floor) Share(rows []Row) {
	for i, r := range rows {
		if r.seconds > 0 {
			rows[i].OfPeak = f.Time(r.flop, r.bytes) / r.seconds
		}
	}
}

// Print writes rows as aligned columns.
func Print(w io.Writer, rows []Row) {
	op, shape := len("op"), len("shape")
	for _, r := range rows {
		op, shape = max(op, len(r.Op)), max(shape, len(r.Shape))
	}
	fmt.Fprintf(w, "%-*s  %-*s  %12s  %-8s  %s\n", op, "op", shape, "shape", "value", "unit", "of peak")
	for _, r := range rows {
		fmt.Fprintf(w, "%-*s  %-*s  %12.4g  %-8s  %5.1f %%%s\n", op, r.Op, shape, r.Shape, r.Value, r.Unit, 100*r.OfPeak, r.notes())
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.OfPeak > 1.1 && r.seconds > 0 }) {
		fmt.Fprintln(w, "Above 100 %: the data stayed in the caches; the peak of reading is that of memory.")
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Cores > 0 && r.Cores < busyCores }) {
		fmt.Fprintln(w, "On a share of its cores: they were not free, or the work could not use them all; measure again on a quiet machine.")
	}
}

// A Floor is what the machine under a device can do, with one thread and with all of the device's.
type Floor struct {
	Threads      int
	FLOPs, FLOP1 float64 // multiply-adds of the device's kernels, operations a second, all threads and one
	Read, Read1  float64 // bytes a second from memory, 4 streams a thread
	turns        int     // of FMAs, some 2 ms
}

// Rows is the floor as rows; the shares are those of a thread times the threads, that is, how well threads add up.
func (f Floor) Rows() []Row {
	n := float64(f.Threads)
	rows := []Row{
		{Op: "peak fma", Shape: "1 thread", Value: f.FLOP1 / 1e9, Unit: "GFLOP/s", OfPeak: 1},
		{Op: "peak fma", Shape: fmt.Sprintf("%d threads", f.Threads), Value: f.FLOPs / 1e9, Unit: "GFLOP/s", OfPeak: f.FLOPs / (n * f.FLOP1)},
		{Op: "peak read", Shape: "1 thread, 4 streams", Value: f.Read1 / 1e9, Unit: "GB/s", OfPeak: 1},
		{Op: "peak read", Shape: fmt.Sprintf("%d threads, 4 streams each", f.Threads), Value: f.Read / 1e9, Unit: "GB/s",
			OfPeak: f.Read / (n * f.Read1)},
	}
	if f.Threads == 1 { // all are one
		return []Row{rows[0], rows[2]}
	}
	return rows
}

// Time is the least time, in seconds, that work can take: so many floating-point operations and bytes from memory.
func (f Floor) Time(flop, bytes float64) float64 { return max(flop/f.FLOPs, bytes/f.Read) }

const readBytes = 48 << 20 // per thread: more than the caches hold

// Calibrate measures the machine under a CPU device.
func Calibrate(dev kernels.Device) Floor {
	f := Floor{Threads: min(dev.Info().Threads, kernels.Threads())} // more than can run at once reach no more
	turns := 1000
	for { // some 2 ms
		start := time.Now()
		kernels.FMAs(dev, turns)
		if d := time.Since(start); d > 500*time.Microsecond {
			turns = int(float64(turns) * float64(2*time.Millisecond) / float64(d))
			break
		}
		turns *= 4
	}
	f.turns = turns
	f.Again(dev)
	return f
}

// Again calibrates once more and keeps the better of what was found: on a shared machine a floor taken once may be half the truth.
func (f *Floor) Again(dev kernels.Device) {
	flop := func(int) float64 { return kernels.FMAs(dev, f.turns) }
	f.FLOP1 = max(f.FLOP1, together(1, 20, flop))
	f.FLOPs = max(f.FLOPs, together(f.Threads, 20, flop))
	buffers := make([][]uint64, f.Threads)
	for i := range buffers {
		buffers[i] = make([]uint64, readBytes/8)
		for j := 0; j < len(buffers[i]); j += 512 {
			buffers[i][j] = 1 // a page that was never written is the one page of zeros
		}
	}
	read := func(i int) float64 { return readStreams(buffers[i]) }
	f.Read1 = max(f.Read1, together(1, 3, read))
	f.Read = max(f.Read, together(f.Threads, 4, read))
	runtime.KeepAlive(buffers)
}

// clock returns the time that measurements on so many threads go by: one thread's is processor time, which other processes do not
// lengthen much; of several only wall time says whether they ran at once.
func clock(threads int) func() time.Duration {
	if threads == 1 {
		return cpuTime
	}
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// together runs work on n threads at once, some times, and returns the best rate of all of them in work's unit a second.
func together(n, times int, work func(i int) float64) (best float64) {
	now := clock(n)
	for range times {
		var ready atomic.Int32
		var wait sync.WaitGroup
		done, starts, ends := make([]float64, n), make([]time.Duration, n), make([]time.Duration, n)
		for i := range n {
			wait.Go(func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				for ready.Add(1); int(ready.Load()) < n; {
				}
				starts[i] = now()
				done[i] = work(i)
				ends[i] = now()
			})
		}
		wait.Wait()
		sum := 0.0
		for _, d := range done {
			sum += d
		}
		best = max(best, sum/(slices.Max(ends)-slices.Min(starts)).Seconds()) // from the first to the last: they may not run at once
	}
	return best
}

var sink atomic.Uint64

// readStreams touches each cache line of x, from four places that move on together, and returns the bytes that came.
func readStreams(x []uint64) float64 {
	n := len(x) / 4 &^ 7
	a, b, c, d := x[:n], x[n:2*n], x[2*n:3*n], x[3*n:4*n]
	var s0, s1, s2, s3 uint64
	for i := 0; i < n; i += 8 {
		s0 += a[i]
		s1 += b[i]
		s2 += c[i]
		s3 += d[i]
	}
	sink.Add(s0 + s1 + s2 + s3)
	return float64(4 * n * 8)
}

// best returns the shortest time of a call of f, in seconds, and the median, over its measurements, of that time in units of
// yardstick's: a yardstick is work of a known kind that runs before each, so that both meet the same neighbours on the processor.
// f(n) does n calls. It takes about budget of the clock now.
func best(budget time.Duration, now func() time.Duration, yardstick func(), f func(n int)) (seconds, relative float64) {
	timed := func(f func()) float64 {
		start := now()
		f()
		return max(now()-start, 1).Seconds()
	}
	f(1)
	n := 1
	for {
		took := timed(func() { f(n) })
		if took > 1e-3 || took > budget.Seconds()/4 {
			break
		}
		n *= 2
	}
	seconds = math.Inf(1)
	var ratios []float64
	for spent := 0.0; spent < budget.Seconds() || len(ratios) < 3; {
		unit := 1.0
		if yardstick != nil {
			unit = timed(yardstick)
		}
		took := timed(func() { f(n) }) / float64(n)
		seconds = min(seconds, took)
		ratios = append(ratios, took/unit)
		spent += took * float64(n)
	}
	slices.Sort(ratios)
	return seconds, ratios[len(ratios)/2]
}
