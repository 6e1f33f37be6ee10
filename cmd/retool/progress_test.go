package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/engine"
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

// Rollouts and the reading of weights say how far they are, from nothing to all.
func TestEngineAndModelReportProgress(t *testing.T) {
	cfg, err := loadConfig("tiny", []string{"protocol.name=none"})
	require.NoError(t, err)
	p, err := build(t.Context(), cfg, use{concurrent: 3})
	require.NoError(t, err)
	defer p.Close()
	var heard [][2]int64
	rising := func() {
		require.Greater(t, len(heard), 2)
		all := heard[0][1]
		require.EqualValues(t, 0, heard[0][0])
		require.Equal(t, [2]int64{all, all}, heard[len(heard)-1])
		for i, h := range heard[1:] {
			require.GreaterOrEqual(t, h[0], heard[i][0])
			require.Equal(t, all, h[1])
		}
	}
	p.engine.Progress = func(done, all int) { heard = append(heard, [2]int64{int64(done), int64(all)}) }
	prompt, err := p.proto.Prompt("1 + 1")
	require.NoError(t, err)
	_, err = p.engine.Rollouts(t.Context(), []engine.Group{{Prompt: prompt, Keys: []int64{1, 2}}, {Prompt: prompt, Keys: []int64{3}}},
		engine.Sampling{Seed: 1, Temperature: 1, TopP: 1})
	require.NoError(t, err)
	rising()
	require.EqualValues(t, 3, heard[0][1])

	dir := t.TempDir()
	require.NoError(t, p.policy.Save(dir))
	heard = nil
	p.policy.Options.Progress = func(done, all int64) { heard = append(heard, [2]int64{done, all}) }
	require.NoError(t, p.policy.ReadWeights(dir))
	rising()
	require.EqualValues(t, p.policy.Parameters(), heard[0][1])
}
