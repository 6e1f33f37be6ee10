package main

import (
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProfileRecordsARun(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	args := append([]string{"profile", "--every", "10ms", "--", os.Args[0], "sft", "demo"}, tiny(run, "sft.steps=40")...)
	cmd, out, errs := command(args...)
	require.NoError(t, cmd.Run(), "%s%s", out, errs)
	require.Contains(t, out.String(), "sft", "the command's own output passes through")
	for _, want := range []string{"exit code 0", "throughput", "processor", "resident"} {
		require.Contains(t, errs.String(), want)
	}
	f, err := os.Open(filepath.Join(run, "profile.csv"))
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	at := slices.Index(rows[0], "throughput tok/s")
	require.GreaterOrEqual(t, at, 0, "columns are %q", rows[0])
	require.True(t, slices.ContainsFunc(rows[1:], func(r []string) bool { return r[at] != "" && r[1] == "sft" }),
		"no sample has tokens a second")
	chart, err := os.ReadFile(filepath.Join(run, "profile.svg"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(chart), "<svg"))
}

func TestProfileEndsAsItsCommandDoes(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "p")
	cmd, _, errs := command("profile", "--out", prefix, "--", "sh", "-c", "exit 7")
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, 7, exit.ExitCode(), errs)
	require.FileExists(t, prefix+".csv")

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"profile"}, "want a command, got none"},
		{[]string{"profile", "--every", "1ms", "--", "true"}, "--every is 1ms"},
		{[]string{"profile", "--", "/no/such/program"}, "/no/such/program"},
	} {
		cmd, _, errs := command(c.args...)
		require.ErrorAs(t, cmd.Run(), &exit)
		require.Equal(t, 1, exit.ExitCode())
		require.Equal(t, 1, strings.Count(strings.TrimSpace(errs.String()), "\n")+1, errs)
		require.Contains(t, errs.String(), c.want)
	}
}
