package bench

import (
	"fmt"
	"slices"
	"time"
)

// A timing is what repeated calls of the same work took.
type timing struct {
	seconds []float64 // of each call but the first, which warms up
	cores   float64   // processor time of the process over wall time, of all calls after the first
}

// repeat times at least three calls of f after one that warms up.
func repeat(budget time.Duration, f func() error) (t timing, err error) {
	if err := f(); err != nil {
		return t, err
	}
	begin, used := time.Now(), cpuTime()
	for len(t.seconds) < 3 || time.Since(begin) < budget {
		start := time.Now()
		if err := f(); err != nil {
			return t, err
		}
		t.seconds = append(t.seconds, max(time.Since(start), 1).Seconds())
	}
	t.cores = (cpuTime() - used).Seconds() / time.Since(begin).Seconds()
	return t, nil
}

// rate is the row of work on n tokens.
func (f Floor) rate(op, shape string, n, flop, bytes float64, t timing) Row {
	return f.measured(op, shape, "tok/s", flop, bytes, t, func(s float64) float64 { return n / s })
}

// timed is the row of work whose time is the figure.
func (f Floor) timed(op, shape string, flop float64, t timing) Row {
	return f.measured(op, shape, "s", flop, 0, t, func(s float64) float64 { return s })
}

func (f Floor) measured(op, shape, unit string, flop, bytes float64, t timing, value func(seconds float64) float64) Row {
	if len(t.seconds) == 0 { // an error came first
		return Row{Op: op, Shape: shape, Unit: unit}
	}
	s := slices.Sorted(slices.Values(t.seconds))
	n := len(s)
	r := f.row(op, shape, value(s[0]), unit, flop, bytes, s[0])
	middle := s[n/2]
	if n%2 == 0 {
		middle = (middle + s[n/2-1]) / 2
	}
	r.Median, r.Count, r.Spread = value(middle), n, (s[n-1-n/4]-s[n/4])/middle
	if f.Threads > 0 { // of a GPU the processor's time says nothing
		r.Cores = min(1, t.cores/float64(f.Threads))
	}
	return r
}

// busyCores is the share of its threads' time below which a row is marked.
const busyCores = 0.9

// notes are what a row says beside its figure.
func (r Row) notes() (text string) {
	if r.Count > 0 {
		text = fmt.Sprintf("  median %.4g of %d ±%.1f %%", r.Median, r.Count, 50*r.Spread)
	}
	if r.Cores > 0 && r.Cores < busyCores {
		text += fmt.Sprintf("  on %.0f %% of its cores", 100*r.Cores)
	}
	if r.Difference != nil {
		text += fmt.Sprintf("  |Δlogp| %.2g", *r.Difference)
	}
	return text
}
