package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// metered runs work of a length in steps and returns what a log file holds of it.
func metered(took time.Duration, steps int64, unit string) []string {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := &meter{name: "work", unit: unit, out: &out, now: func() time.Time { return now }}
	for i := range steps + 1 {
		m.set(i, steps)
		now = now.Add(took / time.Duration(steps))
	}
	m.end()
	return strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
}

func TestALogFileIsNotFlooded(t *testing.T) {
	require.Empty(t, metered(1900*time.Millisecond, 1000, "rows"))
	require.Empty(t, metered(14*time.Second, 10, "rows"))
	require.Equal(t, []string{"work      15 of 60 rows (25 %), 45 s left", "work      30 of 60 rows (50 %), 30 s left",
		"work      45 of 60 rows (75 %), 15 s left"}, metered(time.Minute, 60, "rows"))
	require.Len(t, metered(time.Hour, 1_000_000, "rows"), 239)
	require.Equal(t, "work      0.0 kB of 0.0 kB (20 %), 1 h 3 min left", metered(79*time.Minute, 5, "bytes")[0])
}

// A download that goes on is estimated by what arrives now.
func TestTheEstimateIsOfThisWorkAlone(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	m := &meter{name: "fetch", unit: "bytes", out: &out, now: func() time.Time { return now }}
	m.set(900e6, 1000e6)
	now = now.Add(20 * time.Second)
	m.set(920e6, 1000e6)
	require.Equal(t, "fetch     920.0 MB of 1.00 GB (92 %), 1 min 20 s left\n", out.String())
}

func TestDurationsAreAsRoughAsTheyAre(t *testing.T) {
	for d, want := range map[time.Duration]string{400 * time.Millisecond: "0 s", 59600 * time.Millisecond: "1 min 0 s",
		61 * time.Second: "1 min 1 s", 90 * time.Minute: "1 h 30 min"} {
		require.Equal(t, want, roughly(d))
	}
}
