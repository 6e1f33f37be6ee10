package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer"
	"retool/trainer/trace"
)

// logged writes the run directory of a demo: settings of a recipe, three steps, two evaluations.
func logged(t *testing.T, dir, recipe string) {
	t.Helper()
	cfg, err := loadConfig(recipe, nil)
	require.NoError(t, err)
	text, err := cfg.text()
	require.NoError(t, err)
	check := filepath.Join(dir, "checkpoints", "3")
	require.NoError(t, os.MkdirAll(check, 0o755))
	write := func(path string, v any) {
		b, ok := v.([]byte)
		if !ok {
			b, err = json.Marshal(v)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), b, 0o644))
	}
	metrics, err := trace.Open(filepath.Join(dir, "metrics.jsonl"), 0)
	require.NoError(t, err)
	records, err := trace.Open(filepath.Join(dir, "trajectories.jsonl"), 0)
	require.NoError(t, err)
	record := func(phase string, step int) {
		require.NoError(t, records.Write(trace.Record{
			Phase: phase, Step: step, Problem: "p", Question: "1+1?", Truth: "2", Answer: "2", Outcome: "correct", Finish: "answer", Prompt: 1,
			IDs: []int32{1, 2}, Sources: "pm", LogProbs: []float32{0, -1}, Pieces: []string{"1+1?", "2"},
		}))
	}
	require.NoError(t, metrics.Write(trace.Metrics{Step: 1, Phase: "sft", Loss: 3}))
	record("cold_start", 1)
	for step := 2; step <= 3; step++ {
		record("train", step)
		require.NoError(t, metrics.Write(trace.Metrics{Step: step, Phase: "rl", Since: 61, RL: &trace.RL{Reward: .5}}))
	}
	record("rl", 3)
	require.NoError(t, metrics.Close())
	require.NoError(t, records.Close())
	write("config.yaml", text)
	write("checkpoints/3/state.json", trainer.State{Phase: "done", Protocol: "tags", Contract: "cpu f32", Seconds: 61,
		Evaluations: []trace.Evaluation{
			{Name: "cold_start", Step: 1, Problems: 1, Samples: 1, Accuracy: .25, Low: .2, High: .3},
			{Name: "rl", Step: 3, Problems: 1, Samples: 1, Accuracy: .75, Low: .7, High: .8},
		}})
}

type reportData struct {
	Title   string
	Facts   []struct{ Name, Value string }
	Results []struct {
		Name     string
		Text     bool
		Accuracy float64
	}
	Runs []struct {
		Evaluations []struct{ Accuracy, Low, High float64 }
	}
	Trajectories []any
}

func pageData(t *testing.T, page []byte) (d reportData) {
	t.Helper()
	m := regexp.MustCompile(`(?s)id="data">(.*?)</script>`).FindSubmatch(page)
	require.NotNil(t, m)
	require.NoError(t, json.Unmarshal(m[1], &d))
	return d
}

func TestReportShowsWhatWasRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "0007")
	logged(t, dir, "demo")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "environment.json"),
		[]byte(`{"device":"cpu, 2 threads","python":"3.11, tier A","go":"go1.26"}`), 0o644))
	logged(t, filepath.Join(dir, "text"), "demo-text")
	require.Equal(t, filepath.Join(dir, "report.html")+"\n", retool(t, "report", dir))
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	d := pageData(t, page)
	require.Equal(t, "0007", d.Title)
	require.Len(t, d.Runs, 2)
	require.Len(t, d.Trajectories, 8)
	require.Equal(t, .7, d.Runs[1].Evaluations[1].Low)
	facts := map[string]string{}
	for _, f := range d.Facts {
		facts[f.Name] = f.Value
	}
	for name, want := range map[string]string{
		"device": "cpu, 2 threads", "python": "3.11, tier A", "task": "arithmetic, seed 1", "contract": "cpu f32", "RL": "PPO",
		"status": "finished after 3 steps", "duration": "2m2s",
	} {
		require.Contains(t, facts[name], want, name)
	}
	var names []string
	for _, r := range d.Results { // without summary.json, from the checkpoints
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"after cold start", "after RL", "text only, after cold start", "text only, after RL"}, names)

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "checkpoints")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "text")))
	require.NoError(t, writeSummary(dir, trace.Summary{RL: &trace.Evaluation{Accuracy: .5}, Seconds: 5}))
	other := filepath.Join(t.TempDir(), "page.html")
	require.Equal(t, other+"\n", retool(t, "report", dir, "--out", other))
	page, err = os.ReadFile(other)
	require.NoError(t, err)
	d = pageData(t, page)
	require.Len(t, d.Results, 1)
	require.Equal(t, .5, d.Results[0].Accuracy)
}

// A run from before a setting was renamed, and one that ended early, have a page all the same.
func TestReportOfARunWithoutItsSettings(t *testing.T) {
	dir := t.TempDir()
	logged(t, dir, "demo")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("gone: 1\n"), 0o644))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "checkpoints")))
	out := newTerminal()
	var printed bytes.Buffer
	out.out = &printed
	require.NoError(t, writeReport(dir, out))
	require.Equal(t, "report    "+filepath.Join(dir, "report.html")+"\n", printed.String())
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	d := pageData(t, page)
	require.Contains(t, d.Facts[len(d.Facts)-1].Value, "step 3, of its rl phase, is the last one logged")
	require.Equal(t, 1., d.Runs[0].Evaluations[1].Accuracy) // from the records
}

// demoOf writes the directories of a demo as it leaves them when its checkpoints are gone.
func demoOf(t *testing.T, dir string) {
	t.Helper()
	for part, recipe := range map[string]string{"": "demo", "text": "demo-text"} {
		path := filepath.Join(dir, part)
		logged(t, path, recipe)
		state, err := trainer.ReadState(trainer.Latest(path))
		require.NoError(t, err)
		require.NoError(t, writeEvaluations(path, &state))
		require.NoError(t, os.RemoveAll(filepath.Join(path, "checkpoints")))
	}
}

// A folder of demos is a table and a page of all of them, from what is small enough to keep: no checkpoints, no trajectories.
func TestReportOverSeeds(t *testing.T) {
	dir := t.TempDir()
	for _, seed := range []string{"seed-1", "seed-2"} {
		demoOf(t, filepath.Join(dir, seed))
		for _, part := range []string{"", "text"} {
			require.NoError(t, os.Remove(filepath.Join(dir, seed, part, "trajectories.jsonl")))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("of a reader"), 0o644))
	table := retool(t, "report", "--table", dir)
	require.True(t, strings.HasPrefix(table, "   "), "columns stand under their names: %q", table)
	for _, want := range []string{"seed-1", "seed-2", "text only, after RL", "75.0   75.0", "gain by RL", "+50.0"} {
		require.Contains(t, strings.Join(strings.Fields(table), " "), strings.Join(strings.Fields(want), " "))
	}
	require.Equal(t, filepath.Join(dir, "report.html")+"\n", retool(t, "report", dir))
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "2 seeds: seed-1, seed-2")
	one := retool(t, "report", "--table", filepath.Join(dir, "seed-2"))
	require.Contains(t, one, "70.0 – 80.0") // one seed has its evaluation's interval
	require.NotContains(t, one, "seed-1")
}

// The results that the repository keeps are read by the program as it is now.
func TestStoredResultsMakeTheirTable(t *testing.T) {
	dir := filepath.Join("..", "..", "bench", "results", "smollm2-135m")
	table := retool(t, "report", "--table", dir)
	for _, row := range []string{
		"after cold start", "after RL", "text only, after cold start", "text only, after RL", "difference of the gains",
	} {
		require.Contains(t, table, row)
	}
	require.NotContains(t, table, "NaN")
	page, err := reportPage(dir)
	require.NoError(t, err)
	require.Contains(t, string(page), "code invocation timing")
}

func TestReportRefusesInOneSentence(t *testing.T) {
	empty, half := t.TempDir(), t.TempDir()
	logged(t, half, "demo")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"report: want RUNDIR, got no argument", nil},
		{empty + "/no: want a run's directory, or one of such directories, found nothing", []string{empty + "/no"}},
		{"holds no metrics.jsonl: want the directory of a run", []string{empty}},
		{"--out x would do nothing", []string{empty, "--serve", "127.0.0.1:0", "--out", "x"}},
		{"--table would do nothing", []string{empty, "--serve", "127.0.0.1:0", "--table"}},
		{"--out x would do nothing", []string{empty, "--table", "--out", "x"}},
		{"found a file", []string{half + "/metrics.jsonl", "--table"}},
		{"found a file", []string{half + "/metrics.jsonl"}},
		{"want the directory of a run, or one of such directories", []string{empty, "--table"}},
		{"text holds no metrics.jsonl: want both parts", []string{half, "--table"}},
		{"--serve nowhere", []string{empty, "--serve", "nowhere"}},
	} {
		cmd, _, errs := command(append([]string{"report"}, c.args...)...)
		require.Error(t, cmd.Run())
		require.Contains(t, errs.String(), c.want)
		require.Equal(t, 1, strings.Count(errs.String(), "\n"))
	}
}

// A served page follows the run: first nothing, then what has been logged.
func TestReportIsServed(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	address, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveReport(ctx, dir, "127.0.0.1:0", w) }()
	line := make([]byte, 100)
	n, err := address.Read(line)
	require.NoError(t, err)
	get := func() (int, []byte) {
		r, err := http.Get(strings.TrimSpace(string(line[:n])))
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, b
	}
	status, text := get()
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, string(text), "no metrics.jsonl")
	logged(t, dir, "demo")
	status, page := get()
	require.Equal(t, http.StatusOK, status)
	require.Len(t, pageData(t, page).Trajectories, 4)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
}
