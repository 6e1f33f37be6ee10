package bench

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A row's value is its best call's; the median lies between best and worst; a rate and a time of the same calls agree; a row says that
// its cores were not free exactly where the processor's time fell short.
func TestRowSaysHowItsCallsVaried(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SliceOfN(rapid.Float64Range(1e-6, 10), 1, 20).Draw(t, "seconds")
		threads := rapid.IntRange(1, 64).Draw(t, "threads")
		cores := rapid.Float64Range(0.01, 1.2).Draw(t, "share") * float64(threads)
		f := Floor{Threads: threads, FLOPs: 1e9, Read: 1e9}
		took := timing{seconds: s, cores: cores}
		time, rate := f.timed("op", "shape", 1, took), f.rate("op", "shape", 3, 1, 0, took)
		least, most := slices.Min(s), slices.Max(s)
		if time.Value != least || time.Count != len(s) || time.Median < least || time.Median > most {
			t.Fatalf("%+v of %v", time, s)
		}
		if d := rate.Median*time.Median/3 - 1; rate.Value != 3/least || d > 1e-9 || d < -1e-9 {
			t.Fatalf("rate %+v beside time %+v", rate, time)
		}
		if time.Spread < 0 || time.Spread*time.Median > (most-least)*(1+1e-9) {
			t.Fatalf("spread %g of %v", time.Spread, s)
		}
		if says := strings.Contains(time.notes(), "of its cores"); says != (cores/float64(threads) < busyCores) {
			t.Fatalf("%g of %d cores: %q", cores, threads, time.notes())
		}
	})
}
