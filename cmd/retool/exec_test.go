package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/interp"
)

// sandboxed runs the program with text on standard input. It skips on a host that cannot isolate.
func sandboxed(t *testing.T, text string, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := feed(text, args...)
	if err != nil && strings.Contains(stderr, interp.ErrTier.Error()) {
		t.Skipf("no sandbox on this host: %s", stderr)
	}
	require.NoError(t, err, "%s\n%s", stdout, stderr)
	return stdout, stderr
}

func feed(text string, args ...string) (stdout, stderr string, err error) {
	if system := "/usr/bin/python3"; (args[0] == "exec" || args[0] == "doctor") && !slices.Contains(args, "--python") {
		if _, err := os.Stat(system); err == nil { // without libraries: a fork server starts in a tenth of the time
			args = append([]string{args[0], "--python", system}, args[1:]...)
		}
	}
	c, out, errs := command(args...)
	c.Stdin = strings.NewReader(text)
	err = c.Run()
	return out.String(), errs.String(), err
}

// One snippet: what the model would be shown on standard output, the status on standard error.
func TestExecRunsOneSnippet(t *testing.T) {
	out, status := sandboxed(t, "print(6*7)", "exec", "-")
	require.Equal(t, "42\n", out)
	require.Regexp(t, `^ok  cpu .* wall .* tier (A|B|C1|C2)  python 3\.`, status)

	file := filepath.Join(t.TempDir(), "cell.py")
	require.NoError(t, os.WriteFile(file, []byte("x = 1\n1/0\n"), 0o644))
	out, status = sandboxed(t, "", "exec", file, "--json")
	var r struct {
		cellReport
		Tier, Python string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	require.Equal(t, "exception", r.Status)
	require.Equal(t, "ZeroDivisionError", r.Exc)
	require.Regexp(t, `^Traceback \(most recent call last\):\n  File "<cell 1>", line 2, in <module>\n    1/0\n( +[~^]+\n)?ZeroDivisionError: division by zero\n$`, r.Output,
		"the traceback names the cell and its line, and nothing of the harness")
	require.NotEmpty(t, r.Tier+r.Python)
	require.Empty(t, status)

	out, _ = sandboxed(t, "while True: pass", "exec", "--timeout", "300ms", "--json", "-")
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	require.Regexp(t, "^timeout_(cpu|wall)$", r.Status)
	require.Less(t, r.Seconds, 1.3, "limit + 1 s")
}

// Cells share a process; the mark may carry a title.
func TestExecSession(t *testing.T) {
	out, status := sandboxed(t, "x = 40\n# %%\ndef f(): return x + 2\n# %% a title\nprint(f())\nimport sys; sys.exit(3)\n# %%\nprint('still', x)\n", "exec", "--session", "-")
	require.Equal(t, "42\nExited with code 3\nstill 40\n", out)
	require.Equal(t, 4, strings.Count(status, "\n"), status)
	require.Contains(t, status, "cell 3  exited(3)")
	out, _ = sandboxed(t, "x = 5\n# %%\nx + 1", "exec", "--session", "--echo", "-")
	require.Equal(t, "6\n", out)
}

// A stream: every id comes back as it was written, in the order of the lines, though the lines run side by side.
func TestExecStream(t *testing.T) {
	const n = 40
	var in bytes.Buffer
	for i := range n {
		switch {
		case i == 0: // the slowest comes first: the others overtake it, their answers do not
			fmt.Fprintln(&in, `{"id":0,"cells":["import time; time.sleep(1)","print('slow')"]}`)
		case i%10 == 3:
			fmt.Fprintf(&in, "{\"id\":{\"n\":%d},\"cells\":[\"x=%d\",\"import os; os._exit(1)\",\"print('x' in globals())\"]}\n\n", i, i)
		default:
			fmt.Fprintf(&in, "{\"id\":\"line %d\",\"cells\":[\"x=%d\",\"print(x*2)\"]}\n", i, i)
		}
	}
	out, _ := sandboxed(t, in.String(), "exec", "--jsonl", "-")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, n)
	for i, line := range lines {
		var a struct {
			ID    any          `json:"id"`
			Cells []cellReport `json:"cells"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &a), line)
		switch {
		case i == 0:
			require.EqualValues(t, 0, a.ID)
			require.Equal(t, "slow\n", a.Cells[1].Output)
		case i%10 == 3:
			require.Equal(t, map[string]any{"n": float64(i)}, a.ID)
			require.Equal(t, "exited(1)", a.Cells[1].Status)
			require.Equal(t, "False\n", a.Cells[2].Output, "a new session after one has gone")
		default:
			require.Equal(t, fmt.Sprintf("line %d", i), a.ID)
			require.Equal(t, []string{"ok", "ok"}, []string{a.Cells[0].Status, a.Cells[1].Status})
			require.Equal(t, fmt.Sprintf("%d\n", 2*i), a.Cells[1].Output)
		}
	}
}

// Every tier runs the same snippet, or says in one sentence why it cannot.
func TestExecInEveryTier(t *testing.T) {
	for _, tier := range []string{"A", "B", "C1", "C2", "C", "c"} {
		out, status, err := feed("print(1)", "exec", "--tier", tier, "-")
		if err != nil {
			require.Contains(t, status, interp.ErrTier.Error(), tier)
			t.Logf("tier %s: %s", tier, strings.TrimSpace(status))
			continue
		}
		require.Equal(t, "1\n", out, tier)
		require.Contains(t, status, "tier "+strings.ToUpper(tier))
	}
}

func TestDoctorDescribesThisHost(t *testing.T) {
	out, status, err := feed("", "doctor", "--json")
	var r interp.Report
	require.NoError(t, json.Unmarshal([]byte(out), &struct {
		*interp.Report
		Best any `json:"tier"`
		Rows any `json:"tiers"`
	}{Report: &r}), out)
	require.GreaterOrEqual(t, len(r.Layers), 5)
	for _, l := range r.Layers {
		require.NotEmpty(t, l.Name)
		require.NotEmpty(t, l.Detail)
		require.True(t, l.OK || l.Remedy != "", "%s is missing, and nothing says how to get it", l.Name)
	}
	if err != nil { // a host that offers nothing: the table and one sentence
		require.Contains(t, status, "retool: ")
		return
	}
	require.NotEmpty(t, r.Python)
	table, _, err := feed("", "doctor")
	require.NoError(t, err)
	for _, want := range []string{"user namespaces", "landlock", "seccomp", "cgroup", "tier", "attacks held off", "a run here gets tier", r.Python} {
		require.Contains(t, table, want)
	}
}

func TestSandboxCommandsNameBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	good := file("good.py", "print(1)")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"exec", filepath.Join(dir, "none.py")}, []string{"none.py", "no such file"}},
		{[]string{"exec"}, []string{"want one FILE, or - for standard input; got 0"}},
		{[]string{"exec", good, good}, []string{"got 2 arguments"}},
		{[]string{"exec", "--tier", "D", good}, []string{`--tier "D": want A, B, C1, C2 or C`}},
		{[]string{"exec", "--timeout", "-1s", good}, []string{"--timeout is -1s: want more than 0"}},
		{[]string{"exec", "--timeout", "soon", good}, []string{"soon"}},
		{[]string{"exec", "--session", "--jsonl", good}, []string{"exclude each other"}},
		{[]string{"exec", "--checkpoint", good}, []string{"--checkpoint needs --session"}},
		{[]string{"exec", "--python", "/no/such/python", good}, []string{"/no/such/python", "not found", "make python"}},
		{[]string{"exec", "--python", good, good}, []string{"good.py"}},
		{[]string{"exec", "--jsonl", file("bad.jsonl", `{"id":1,"cells":["print(1)"]}`+"\n"+`{"id":2,"cells":`+"\n")}, []string{"bad.jsonl:2", `want {"id"`}},
		{[]string{"exec", "--jsonl", file("none.jsonl", `{"id":1}`+"\n")}, []string{"none.jsonl:1", "found no cells"}},
		{[]string{"exec", "--jsonl", file("kind.jsonl", "\n"+`{"id":1,"cells":"print(1)"}`+"\n")}, []string{"kind.jsonl:2", "cells"}},
		{[]string{"doctor", "extra"}, []string{`doctor takes flags only, got "extra"`}},
		{[]string{"doctor", "--python", "/no/such/python"}, []string{"/no/such/python", "not found"}},
		{[]string{"bench", "sandbox", "--concurrency", "1,x"}, []string{"--concurrency", `found "x"`}},
		{[]string{"bench", "sandbox", "--budget", "0s"}, []string{"--budget is 0s"}},
		{[]string{"bench", "sandbox", "extra"}, []string{`got "extra"`}},
	} {
		_, errs, err := feed("", c.args...)
		if strings.Contains(errs, interp.ErrTier.Error()) {
			continue // refused before it came to the input
		}
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit), "%v: %v\n%s", c.args, err, errs)
		require.Equal(t, 1, exit.ExitCode(), "%v\n%s", c.args, errs)
		message := strings.TrimSpace(errs)
		require.NotContains(t, message, "goroutine")
		require.NotContains(t, message, "\n", "%v", c.args)
		for _, want := range c.want {
			require.Contains(t, message, want, "%v", c.args)
		}
	}
}
