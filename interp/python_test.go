//go:build linux

package interp

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

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
		{"failing without a word", "exit 3", "does not run: exit status 3"},
		{"silent", "exit 0", "no answer to the probe"},
	} {
		path := filepath.Join(dir, c.name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755))
		_, err := findPython(context.Background(), path)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), `""`)
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

// An interpreter that answers the probe may yet be none: one that ends, talks nonsense or hangs in the fork server's place is named in one
// sentence, and whoever waits for one that hangs may leave.
func TestAPythonThatIsNoForkServer(t *testing.T) {
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	dir := t.TempDir()
	open := func(name, otherwise string, ctx context.Context) error {
		path := filepath.Join(dir, name)
		script := "#!/bin/sh\ncase \"$1\" in\n-I) " + python + ` "$@" | sed 's|"executable": "[^"]*"|"executable": "` + path + `"|' ;;` +
			"\n*) " + otherwise + " ;;\nesac\n"
		require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
		cfg := Default()
		cfg.Python, cfg.Preload, cfg.Warm, cfg.Zygotes = path, nil, 1, 2
		p, err := New(ctx, cfg.AtMost("C2"), nil)
		if err == nil {
			require.NoError(t, p.Close())
		}
		if isTier(err) {
			t.Skipf("no tier without a root of its own on this host: %v", err)
		}
		return err
	}
	for _, c := range []struct{ name, otherwise, says string }{
		{"ends", "echo one >&2; echo two >&2; exit 7", `it ended at once (exit status 7): "one\ntwo"`},
		{"nonsense", "echo hello >&3; sleep 9", `it answered "hello\n"`},
	} {
		err := open(c.name, c.otherwise, context.Background())
		require.ErrorContains(t, err, "cannot be a fork server of tier C2: "+c.says)
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), `""`)
	}
	hangs := filepath.Join(dir, "started")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(hangs); err == nil {
				cancel()
			}
		}
	}()
	require.ErrorIs(t, open("hangs", "touch "+hangs+"; exec sleep 999", ctx), context.Canceled)
}

// A module that a user asks for and that there is not is refused; one of the defaults that the interpreter lacks is left out.
func TestModulesToPreloadMustBeThere(t *testing.T) {
	cfg := Default()
	cfg.Python, cfg.Preload, cfg.Warm, cfg.Zygotes = barePython(t), []string{"math", "mathh", "torch"}, 1, 1
	_, err := New(context.Background(), cfg, nil)
	if isTier(err) {
		t.Skipf("no pool on this host: %v", err)
	}
	require.ErrorContains(t, err, `cannot import "mathh": ModuleNotFoundError: No module named 'mathh'`)
	cfg.Preload = []string{"torch"}
	_, err = New(context.Background(), cfg, nil)
	require.ErrorContains(t, err, `cannot import "torch": it is not installed`)
}
