package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	require.Regexp(t, `^Traceback \(most recent call last\):\n  File "<cell 1>", line 2, in <module>\n    1/0\n( +[~^]+\n)?`+
		`ZeroDivisionError: division by zero$`, r.Output,
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
	out, status := sandboxed(t,
		"x = 40\n# %%\ndef f(): return x + 2\n# %% a title\nprint(f())\nimport sys; sys.exit(3)\n# %%\nprint('still', x)\n", "exec",
		"--session", "-")
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
			require.Equal(t, "slow", a.Cells[1].Output)
		case i%10 == 3:
			require.Equal(t, map[string]any{"n": float64(i)}, a.ID)
			require.Equal(t, "exited(1)", a.Cells[1].Status)
			require.Equal(t, "False", a.Cells[2].Output, "a new session after one has gone")
		default:
			require.Equal(t, fmt.Sprintf("line %d", i), a.ID)
			require.Equal(t, []string{"ok", "ok"}, []string{a.Cells[0].Status, a.Cells[1].Status})
			require.Equal(t, fmt.Sprint(2*i), a.Cells[1].Output)
		}
	}
}

// What exec prints of a cell is what a rollout appends between the tags: both ask the protocol, of the same result.
func TestExecShowsWhatARolloutShows(t *testing.T) {
	wants := map[string]string{
		"print('  7  ')": "7",
		"print('\\x1b[1;31mred\\x1b[0m', end='\\r')": "red",
		"for i in (1, 2): print(f'{i}%', end='\\r')": "1%\n2%",
		"print('\\x1b]0;t\\x07a\\u200bb\\u2028c')":   "ab\nc",
		"print('<' + '/code><|im_end|>')":            "< /code>< |im_end|>",
		"print('x' * 500)":                           strings.Repeat("x", 200) + "..." + strings.Repeat("x", 200),
		"pass":                                       "",
		"print(1)\nexit()":                           "1",
		"print(1)\nexit('none')":                     "1\nnone\nExited with code 1",
		"print('lost')\nwhile True: pass":            "Timeout Error",
	}
	var codes []string
	var cells, turns strings.Builder
	for code := range wants {
		codes = append(codes, code)
		e := json.NewEncoder(&cells)
		require.NoError(t, e.Encode(map[string]any{"cells": []string{code}}))
		e = json.NewEncoder(&turns)
		require.NoError(t, e.Encode(map[string]any{"turn": "<code>\n```python\n" + code + "\n```\n</code>"}))
	}
	ofCells, _ := sandboxed(t, cells.String(), "exec", "--timeout", "700ms", "--jsonl", "-")
	ofTurns, _ := sandboxed(t, turns.String(), "exec", "--timeout", "700ms", "--turn", "--jsonl", "-")
	for i, code := range codes {
		var a struct{ Cells []cellReport }
		require.NoError(t, json.Unmarshal([]byte(strings.Split(ofCells, "\n")[i]), &a))
		require.Equal(t, wants[code], a.Cells[0].Output, code)
		var b turnReport
		require.NoError(t, json.Unmarshal([]byte(strings.Split(ofTurns, "\n")[i]), &b))
		require.Equal(t, "\n<interpreter>\n"+wants[code]+"</interpreter>\n\n", b.Reply, code)
	}
	out, _ := sandboxed(t, "print('10%\\r\\x1b[0m', 'x' * 500)", "exec", "-")
	require.Equal(t, "10%\n "+strings.Repeat("x", 195)+"..."+strings.Repeat("x", 200)+"\n", out)
	out, _ = sandboxed(t, "<code>print(6*7)</code>\n", "exec", "--turn", "-")
	require.Equal(t, "<interpreter>\n42</interpreter>\n\n", out, "exactly, without a line break of its own")
	out, _ = sandboxed(t, "print(1)\n1/0", "exec", "--set", "protocol.error=last-line", "-")
	require.Equal(t, "ZeroDivisionError: division by zero\n", out)
	out, _ = sandboxed(t, "import sys\nprint(3)\nsys.exit(0)", "exec", "--set", "protocol.error=last-line", "-")
	require.Equal(t, "3\n", out)
	out, _ = sandboxed(t, "print('abcdefghijklmnop')", "exec", "--set", "protocol.cap=8", "-")
	require.Equal(t, "abcd...mnop\n", out)
}

// A stream of turns: each is answered as a rollout would, in order; a line that cannot be read ends it after the answers before.
func TestExecAnswersTurns(t *testing.T) {
	code := func(s string) *string { return &s }
	rows := []struct {
		turn          string
		code          *string
		status, reply string
	}{
		{"<code>\n```python\nimport time; time.sleep(0.5); print(6*7)\n```\n</code>", code("import time; time.sleep(0.5); print(6*7)"), "ok",
			"\n<interpreter>\n42</interpreter>\n\n"},
		{"no request", nil, "no_call", ""},
		{"<code>\n```python\nprint(1)\n```\n", nil, "no_call", ""},
		{"", nil, "no_call", ""},
		{"closed only</code>", nil, "no_code", "\n<interpreter>\nNone</interpreter>\n\n"},
		{"<code>\n```python\n\n```\n</code>", nil, "empty_code", "\n<interpreter>\nNone</interpreter>\n\n"},
		{"<code>print(1)</code>\n", code("print(1)"), "ok", "<interpreter>\n1</interpreter>\n\n"},
		{"<code>print(1)</code>\n<inter", code("print(1)"), "ok", "preter>\n1</interpreter>\n\n"},
		{"<code>print(1)</code> and", code("print(1)"), "ok", "\n<interpreter>\n1</interpreter>\n\n"},
		{"<code>1/0</code>", code("1/0"), "exception",
			"\n<interpreter>\nTraceback (most recent call last):\n  File \"<cell 1>\", line 1, in <module>\n    1/0\n~ZeroDivisionError: " +
				"division by zero</interpreter>\n\n"},
		{"<code>exit(3)</code>", code("exit(3)"), "exited(3)", "\n<interpreter>\nExited with code 3</interpreter>\n\n"},
		{"<code>x</code>", code("x"), "exception",
			"\n<interpreter>\nTraceback (most recent call last):\n  File \"<cell 1>\", line 1, in <module>\n    x\n~NameError: name 'x' is not " +
				"defined</interpreter>\n\n"},
	}
	var in strings.Builder
	in.WriteString("\ufeff")
	for i, r := range rows {
		turn, err := json.Marshal(r.turn)
		require.NoError(t, err)
		fmt.Fprintf(&in, "{\"kind\":\"other keys may stand here\",\"id\":\"row %d\",\"turn\":%s}\n", i, turn)
	}
	carets := regexp.MustCompile(` +[~^]+\n`)
	check := func(out string) {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Len(t, lines, len(rows))
		for i, r := range rows {
			var a map[string]any
			require.NoError(t, json.Unmarshal([]byte(lines[i]), &a), lines[i])
			require.Len(t, a, 4)
			require.Equal(t, fmt.Sprintf("row %d", i), a["id"])
			require.Equal(t, r.status, a["status"], r.turn)
			if r.code == nil {
				require.Nil(t, a["code"], r.turn)
			} else {
				require.Equal(t, *r.code, a["code"])
			}
			require.Equal(t, strings.ReplaceAll(r.reply, "~", ""), carets.ReplaceAllString(a["reply"].(string), ""), r.turn)
		}
	}
	out, _ := sandboxed(t, in.String(), "exec", "--turn", "--jsonl", "-")
	check(out)
	out, errs, err := feed(in.String()+"{\"id\":1}\n", "exec", "--turn", "--jsonl", "-")
	require.Error(t, err)
	check(out)
	require.Equal(t, fmt.Sprintf("retool: exec: standard input:%d: want {\"id\": …, \"turn\": \"…\"}, found no turn\n", len(rows)+1), errs)

	out, _ = sandboxed(t, "{\"turn\":\"<code>print(1)</code>\"}", "exec", "--turn", "--jsonl", "--set", "protocol.feedback=slime", "-")
	require.Equal(t, "{\"id\":null,\"code\":\"print(1)\",\"status\":\"ok\",\"reply\":\"\\n\\n<interpreter>\\n1\\n</interpreter>\\n\\n\"}\n",
		out)
}

// The cells of a line end as a program does: threads are awaited, exit functions run after the last.
func TestExecLineEndsAsAProgram(t *testing.T) {
	out, _ := sandboxed(t,
		`{"id":1,"cells":["import atexit, threading, time\natexit.register(print, 'bye')\nthreading.Thread(target=lambda: (time.sleep(0.1), `+
			`print('thread'))).start()","print('last')"]}`, "exec", "--jsonl", "-")
	var a struct{ Cells []cellReport }
	require.NoError(t, json.Unmarshal([]byte(out), &a), out)
	require.Equal(t, []string{"thread", "last\nbye"}, []string{a.Cells[0].Output, a.Cells[1].Output})
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
	for _, want := range []string{"user namespaces", "landlock", "seccomp", "cgroup", "tier", "attacks held off", "a run here gets tier",
		r.Python} {
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
		{[]string{"exec"}, []string{"exec: want FILE|-, got no argument"}},
		{[]string{"exec", good, good}, []string{"exec: want FILE|-, got 2: ["}},
		{[]string{"exec", "--tier", "D", good}, []string{`--tier "D": want A, B, C1, C2 or C`}},
		{[]string{"exec", "--timeout", "-1s", good}, []string{"exec: --timeout: want more than 0 and at most 8760h0m0s, got -1s"}},
		{[]string{"exec", "--timeout", "soon", good}, []string{`exec: --timeout: want a duration such as 5s or 2m30s, got "soon"`}},
		{[]string{"exec", "--session", "--jsonl", good}, []string{"exclude each other"}},
		{[]string{"exec", "--checkpoint", good}, []string{"--checkpoint needs --session"}},
		{[]string{"exec", "--python", "/no/such/python", good}, []string{"/no/such/python", "not found", "make python"}},
		{[]string{"exec", "--python", good, good}, []string{"good.py"}},
		{[]string{"exec", "--jsonl", file("bad.jsonl", `{"id":1,"cells":["print(1)"]}`+"\n"+`{"id":2,"cells":`+"\n")},
			[]string{"bad.jsonl:2", `want {"id"`}},
		{[]string{"exec", "--jsonl", file("none.jsonl", `{"id":1}`+"\n")}, []string{"none.jsonl:1", "found no cells"}},
		{[]string{"exec", "--jsonl", file("cell.jsonl", `{"id":1,"cells":["print(1)",null]}`+"\n")},
			[]string{"cell.jsonl:1: cell 2: want text, got null"}},
		{[]string{"exec", "--jsonl", file("bytes.jsonl", `{"id":1,"cells":["print('`+"\xff"+`')"]}`+"\n")},
			[]string{"bytes.jsonl:1", "in UTF-8"}},
		{[]string{"exec", "--jsonl", file("kind.jsonl", "\n"+`{"id":1,"cells":"print(1)"}`+"\n")}, []string{"kind.jsonl:2", "cells"}},
		{[]string{"exec", "--session", "--turn", good}, []string{"--turn exclude each other"}},
		{[]string{"exec", "--set", "protocol.feedback=slime", good}, []string{"would do nothing without --turn"}},
		{[]string{"exec", "--turn", "--set", "protocol.feedback=x", good}, []string{`protocol.feedback: "x" is not known`}},
		{[]string{"exec", "--set", "protocol.cap=ten", good}, []string{"protocol.cap=ten", "whole number"}},
		{[]string{"exec", "--set", "rl.lr=1", good}, []string{"rl.lr=1", "want protocol.error"}},
		{[]string{"exec", "--turn", "--jsonl", file("keys.jsonl", `{"id":1,"Turn":"x"}`+"\n")},
			[]string{"keys.jsonl:1", `want {"id": …, "turn": "…"}, found no turn`}},
		{[]string{"exec", "--turn", "--jsonl", file("null.jsonl", `{"id":1,"turn":null}`+"\n")}, []string{"null.jsonl:1", "found no turn"}},
		{[]string{"exec", "--turn", "--jsonl", file("list.jsonl", "\n"+`{"id":1,"turn":["x"]}`+"\n")}, []string{"list.jsonl:2", "turn"}},
		{[]string{"exec", "--turn", "--jsonl", file("array.jsonl", `[1]`+"\n")}, []string{"array.jsonl:1", "turn"}},
		{[]string{"doctor", "extra"}, []string{`doctor takes no argument, got "extra"`}},
		{[]string{"doctor", "--python", "/no/such/python"}, []string{"/no/such/python", "not found"}},
		{[]string{"bench", "sandbox", "--concurrency", "1,x"}, []string{"--concurrency", `found "x"`}},
		{[]string{"bench", "sandbox", "--budget", "0s"}, []string{"bench sandbox: --budget: want more than 0"}},
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
