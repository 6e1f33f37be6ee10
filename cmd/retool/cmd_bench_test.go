package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"retool/bench"
)

func runBench(args ...string) error {
	app := &cli.App{
		Name: "retool", Writer: io.Discard, ErrWriter: io.Discard, ExitErrHandler: func(*cli.Context, error) {},
		Commands: checked("", []*cli.Command{benchCommand()}),
	}
	return app.Run(append([]string{"retool", "bench"}, args...))
}

// A folder's shape is measured at the batch sizes that were asked for; each row says of how many calls it is the best.
func TestBenchTakesAFolderAndBatchSizes(t *testing.T) {
	dir := savedModel(t)
	out := filepath.Join(t.TempDir(), "rows.json")
	require.NoError(t, runBench("rollout", "--model", dir, "--batches", "2,5", "--budget", "1ms", "--json", out))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	var rows []bench.Row
	require.NoError(t, json.Unmarshal(text, &rows))
	var shapes []string
	for _, r := range rows {
		if r.Op != "decode" {
			continue
		}
		shapes = append(shapes, r.Shape)
		require.GreaterOrEqual(t, r.Count, 3)
		require.LessOrEqual(t, r.Median, r.Value, "a rate's best is its largest")
		require.Positive(t, r.Median)
		require.Positive(t, r.Cores)
		require.Zero(t, *r.Difference)
	}
	name := filepath.Base(dir)
	require.Equal(t, []string{name + " B2 ctx10", name + " B5 ctx10"}, shapes)

	require.ErrorContains(t, runBench("rollout", "--batches", "1,x"), `got "x"`)
	require.ErrorContains(t, runBench("rollout", "--batches", "0"), `got "0"`)
	require.ErrorContains(t, runBench("train", "--model", dir, "--models", "d128"), "want one of --model, a folder, and --models")
	require.ErrorContains(t, runBench("rollout", "--model", filepath.Join(dir, "none")), "none")
}
