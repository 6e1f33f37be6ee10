//go:build linux

package interp

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program that is no Python is refused by one sentence, soon, and nothing that it started goes on.
func TestWhatIsNoPythonIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, script, says string }{
		{"endless", "yes '}{' & yes '{}'", "printed without end"},
		{"complaining without end", "yes >&2", "printed without end"},
		{"polite", "echo hello", `unexpected answer to the probe: "hello\n"`},
		{"failing", "echo one >&2; echo two >&2; exit 3", `does not run: exit status 3: "one\ntwo"`},
	} {
		path := filepath.Join(dir, c.name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755))
		_, err := findPython(context.Background(), path)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := findPython(context.Background(), dir)
	require.ErrorContains(t, err, "is a directory")
	_, err = findPython(context.Background(), filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "not found")
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o644))
	_, err = findPython(context.Background(), plain)
	require.ErrorContains(t, err, "permission denied")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = findPython(ctx, "python3")
	require.ErrorIs(t, err, context.Canceled)
}
