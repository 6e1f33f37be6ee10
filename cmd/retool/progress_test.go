package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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

	// Prompts that take several steps are told of before anything is drawn.
	long, err := p.proto.Prompt(strings.Repeat("1 + ", 15) + "1")
	require.NoError(t, err)
	p.cfg.Engine.StepTokens = 8
	e, err := engine.New(p.policy, p.cfg.Engine, p.tok, p.ends, nil, nil, 2)
	require.NoError(t, err)
	heard = nil
	var order []string
	e.Prefilling = func(done, all int) {
		order = append(order, "prefill")
		heard = append(heard, [2]int64{int64(done), int64(all)})
	}
	e.Progress = func(int, int) { order = append(order, "rollout") }
	_, err = e.Rollouts(t.Context(), []engine.Group{{Prompt: long, Keys: []int64{1, 2}}}, engine.Sampling{Seed: 1, Temperature: 1, TopP: 1})
	require.NoError(t, err)
	rising()
	require.EqualValues(t, len(long), heard[0][1])
	require.Equal(t, len(heard), strings.LastIndex(strings.Join(order, " "), "prefill")/len("prefill ")+1, "and not afterwards")

	dir := t.TempDir()
	require.NoError(t, p.policy.Save(dir))
	heard = nil
	p.policy.Options.Progress = func(done, all int64) { heard = append(heard, [2]int64{done, all}) }
	require.NoError(t, p.policy.ReadWeights(dir))
	rising()
	require.EqualValues(t, p.policy.Parameters(), heard[0][1])
}

// Files of every format say how far their reading is, by bytes, and so does the hash.
func TestFilesOfRowsReportProgress(t *testing.T) {
	dir := t.TempDir()
	var lines, rows []string
	for i := range 3000 {
		rows = append(rows, fmt.Sprintf(`{"question":"what is %d plus %d, of all things, and why?","answer":"%d"}`, i, i, 2*i))
	}
	lines = append(rows, "")
	for path, text := range map[string]string{"p.jsonl": strings.Join(lines, "\n"), "p.json": "[" + strings.Join(rows, ",") + "]"} {
		path = filepath.Join(dir, path)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		cfg, err := loadConfig("tiny", []string{"data.task=files", "data.test=" + path, "eval.problems=5", "sft.steps=0", "rl.steps=0"})
		require.NoError(t, err)
		set := &fileSet{config: cfg}
		require.NoError(t, set.open("data.test", path))
		f := set.files[0]
		_, err = set.recognise(f, false)
		require.NoError(t, err)
		var heard []int64
		f.file.Progress = func(done, all int64) {
			require.EqualValues(t, len(text), all)
			heard = append(heard, done)
		}
		for _, read := range []func(){
			func() { _, err = f.file.Hash() },
			func() { _, err = cfg.problems(f, &findings{verifier: cfg.Reward.Verifier}) },
		} {
			heard = nil
			read()
			require.NoError(t, err)
			require.Greater(t, len(heard), 2, path)
			require.IsNonDecreasing(t, heard)
			require.EqualValues(t, len(text), heard[len(heard)-1])
		}
		set.close()
	}
}
