package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A cold start does not wait for the sandbox: it ends while Python is held back, and the run goes on once Python may begin.
func TestAColdStartNeedsNoSandbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run, may, wrapper := filepath.Join(dir, "run"), filepath.Join(dir, "may"), filepath.Join(dir, "python")
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	script := "#!/bin/sh\nwhile [ ! -e " + may + " ]; do sleep 0.02; done\nexec " + python + ` "$@"` + "\n"
	require.NoError(t, os.WriteFile(wrapper, []byte(script), 0o755))
	c, out, errs := command(short(run, "interp.python="+wrapper)...)
	require.NoError(t, c.Start())
	require.Eventually(t, func() bool {
		made, _ := filepath.Glob(filepath.Join(run, "checkpoints", "*", "model.safetensors"))
		return len(made) > 0
	}, time.Minute, 10*time.Millisecond, "%s%s", out, errs)
	require.NoFileExists(t, filepath.Join(run, "environment.json"))
	require.NoError(t, os.WriteFile(may, nil, 0o644))
	require.NoError(t, c.Wait(), "%s%s", out, errs)
	require.Contains(t, out.String(), "eval  rl")
	require.Contains(t, out.String(), "python    3.")
	require.FileExists(t, filepath.Join(run, "environment.json"))
}

// A sandbox that does not open ends a run, says why, and leaves the directory as it was: another start may have it.
func TestARunWithoutASandboxEnds(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "run")
	message := refused(t, short(run, "interp.python=/nowhere/python", "sft.steps=2000")...)
	require.Contains(t, message, "/nowhere/python")
	left, err := entryNames(run)
	require.NoError(t, err)
	require.Equal(t, []string{lockName}, left)
	retool(t, short(run)...)
}

// A run that goes on and finds its Python gone keeps its settings: those of the command that could not go on are not stored.
func TestARunWhosePythonIsGoneKeepsItsSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run, link := filepath.Join(dir, "run"), filepath.Join(dir, "python")
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(python, link))
	retool(t, short(run, "interp.python="+link)...)
	before, err := os.ReadFile(filepath.Join(run, "config.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(link))
	require.Contains(t, refused(t, short(run, "interp.python="+link, "rl.steps=9")...), link)
	after, err := os.ReadFile(filepath.Join(run, "config.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}
