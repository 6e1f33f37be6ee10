package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// An evaluation that was killed, wherever its file was cut off, goes on to the same trajectories and figures; one of other settings does
// not touch what it left.
func TestKilledEvaluationsGoOn(t *testing.T) {
	dir := t.TempDir()
	run, whole, killed := filepath.Join(dir, "run"), filepath.Join(dir, "whole.jsonl"), filepath.Join(dir, "killed.jsonl")
	retool(t, short(run)...)
	args := func(out string, more ...string) []string {
		return append([]string{"eval", "--from", run, "--json", "--out", out, "--set", "eval.problems=12", "--set", "eval.samples=3"}, more...)
	}
	figures := func(text string) (e trace.Evaluation) {
		require.NoError(t, json.Unmarshal([]byte(text), &e))
		e.Seconds = 0
		return e
	}
	records := func(path string) (all string) {
		_, err := trace.Read(path, func(r trace.Record) error {
			all += fmt.Sprintln(r.Key, r.Problem, r.IDs, r.LogProbs, r.Outcome)
			return nil
		})
		require.NoError(t, err)
		return all
	}
	want := figures(retool(t, args(whole)...))
	text, err := os.ReadFile(whole)
	require.NoError(t, err)
	require.Equal(t, 36, bytes.Count(text, []byte("\n")))

	c, _, _ := command(args(killed)...)
	require.NoError(t, c.Start())
	var key []byte
	await(t, "the file of a part", func() bool {
		key, _ = os.ReadFile(partialPath(killed))
		return bytes.HasSuffix(key, []byte("\n"))
	})
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	key = key[:bytes.IndexByte(key, '\n')+1]

	for _, cut := range []int{0, len(text) / 7, len(text) / 2, len(text) - 1, len(text)} {
		require.NoError(t, os.WriteFile(partialPath(killed), append(bytes.Clone(key), text[:cut]...), 0o644))
		if cut == len(text)/2 {
			require.Contains(t, refused(t, args(killed, "--set", "eval.temperature=0.5")...),
				"with temperature: 1.0 where this one has temperature: 0.5")
		}
		require.Equal(t, want, figures(retool(t, args(killed)...)), "cut after %d bytes", cut)
		require.Equal(t, records(whole), records(killed), "cut after %d bytes", cut)
		require.NoFileExists(t, partialPath(killed))
		require.NoError(t, os.Remove(killed))
	}
	require.NoError(t, os.WriteFile(partialPath(killed), []byte("my notes\n"), 0o644))
	require.Contains(t, refused(t, args(killed)...), "not an evaluation that was interrupted")
}
