package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
)

// reader is as much of a program as reading data takes.
func reader(t *testing.T, settings ...string) *program {
	cfg, err := loadConfig("tiny", settings)
	require.NoError(t, err)
	p := &program{cfg: cfg}
	f, err := cfg.folder("")
	require.NoError(t, err)
	p.tok, p.ends, p.files = f.tok, f.ends, f.files
	p.proto, err = engine.NewProtocol(cfg.Protocol, p.tok, nil)
	require.NoError(t, err)
	return p
}

// Every kind of fault in rows is counted with an example, and refused under data.check: strict.
func TestRowsAreChecked(t *testing.T) {
	segment := func(source, text string) string { return fmt.Sprintf(`{"source":%q,"text":%s}`, source, quoted(text)) }
	traced := func(answer string, segments ...string) string {
		return fmt.Sprintf(`{"question":"1+1","answer":%s,"segments":[%s]}`, quoted(answer), strings.Join(segments, ","))
	}
	call := segment("policy", "<code>\n```python\nprint(2)\n```\n</code>")
	boxed := segment("policy", `\boxed{2}`)
	good := traced("2", call, segment("tool", "\n<interpreter>\n2</interpreter>\n\n"), boxed)
	problem := `{"question":"1+1","answer":"2"}`
	for _, c := range []struct {
		name             string
		problems, traces []string
		want             string // "" for rows that are in order
		note             bool   // not a fault: strict takes it
	}{
		{"good", []string{problem}, []string{good}, "", false},
		{"solution in GSM8K's form", []string{`{"question":"1+1","answer":"1+1=<<1+1=2>>2\n#### 2"}`}, []string{strings.Replace(good,
			`"answer":"2"`, `"answer":"so\n#### 2"`, 1)}, "data.problems: JSON Lines, read as GSM8K: question from question", true},
		{"another feedback form", []string{problem}, []string{traced("2", call, segment("tool", "\n<interpreter>\n2\n</interpreter>\n"), boxed)},
			"data.traces: traces put into the configured form of calls and replies: 1, the first: ", true},
		{"no tags at all", []string{problem}, []string{traced("2", call, segment("tool", "2"), boxed)}, "not in the form protocol.feedback",
			false},
		{"tool text in the policy's", []string{problem}, []string{traced("2", segment("policy", "<interpreter>2</interpreter> \\boxed{2}"))},
			"data.traces: policy segments that hold <interpreter>", false},
		{"a reply nobody asked for", []string{problem}, []string{traced("2", segment("policy", "x"),
			segment("tool", "\n<interpreter>\n2</interpreter>\n\n"), boxed)}, "data.traces: tool segments after text that closes no call", false},
		{"two calls in a turn", []string{problem}, []string{traced("2", segment("policy", "<code>print(2)</code> or <code>print(3)</code>"),
			segment("tool", "\n<interpreter>\n2</interpreter>\n\n"), boxed)}, "data.traces: tool segments after text that goes on behind", false},
		{"a call at the end", []string{problem}, []string{traced("2", segment("policy", "\\boxed{2} <code>print(2)</code>"))},
			"data.traces: policy segments with a call that no tool segment answers: 1", false},
		{"another answer", []string{problem}, []string{traced("3", boxed)},
			`data.traces: responses whose boxed answer is not the row's: 1, the first: trace line-1: answer "2", truth "3": wrong`, false},
		{"no answer", []string{problem}, []string{traced("2", segment("policy", "two"))}, "no_answer", false},
		{"a question twice", []string{problem, problem}, []string{good},
			"data.problems: questions asked before: 1, the first: problem line-2 repeats line-1", false},
		{"a question of the test", []string{`{"question":"9-7","answer":"2"}`}, []string{good},
			"data.test: questions that are trained on: 1, the first: problem line-1 is line-1 of data.problems", false},
		{"a truth that is none", []string{`{"question":"1+1","answer":"\\text{ }"}`}, []string{good},
			"data.problems: ground truths that the verifier cannot grade: 1", false},
		{"a sentence", []string{`{"question":"1+1","answer":"We add the two numbers and get two"}`}, []string{good},
			"ground truths that look like whole solutions: 1", false},
		{"a whole solution", []string{`{"question":"1+1","answer":"First add.\nThen we have two, and that is all there is to it."}`},
			[]string{good}, "data.problems: ground truths that look like whole solutions: 1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, lines ...string) string {
				path := filepath.Join(dir, name)
				require.NoError(t, os.WriteFile(path, []byte("\ufeff"+strings.Join(lines, "\r\n")), 0o644))
				return path
			}
			files := []string{
				"data.task=files", "data.problems=" + write("p.jsonl", c.problems...), "data.traces=" + write("t.jsonl", c.traces...),
				"data.test=" + write("e.jsonl", `{"question":"9-7","answer":2}`),
			}
			counted, err := reader(t, files...).data(true)
			require.NoError(t, err)
			_, err = reader(t, append(files, "data.check=strict")...).data(true)
			if c.want == "" {
				require.Empty(t, counted.notes)
				require.NoError(t, err)
				return
			}
			require.Contains(t, strings.Join(counted.notes, "\n"), c.want)
			if c.note {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestRowsOverTheBudgetAreRefusedOrLeftOut(t *testing.T) {
	dir := t.TempDir()
	files := rows(t, dir, 4, func(i int) string { return fmt.Sprint(2*i + 1) })
	for setting, row := range map[string]string{
		"problems": `{"question":"` + strings.Repeat("1", 120) + `","answer":"2"}`,
		"traces":   `{"question":"q","answer":"2","segments":[{"source":"policy","text":"` + strings.Repeat("1", 120) + `\\boxed{2}"}]}`,
	} {
		path := filepath.Join(dir, setting+".jsonl")
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(before, row...), 0o644))
		_, err = reader(t, files...).data(true)
		require.ErrorContains(t, err, "line-5: ")
		require.ErrorContains(t, err, "data.long: skip leaves such rows out")
		read, err := reader(t, append(files, "data.long=skip")...).data(true)
		require.NoError(t, err)
		require.Contains(t, strings.Join(read.notes, "\n"), "data."+setting+": rows left out, too long: 1, the first: ")
		require.Len(t, read.Train, 4)
		require.Len(t, read.Traces, 4)
		require.NoError(t, os.WriteFile(path, before, 0o644))
	}
}
