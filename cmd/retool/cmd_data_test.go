package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/interp"
	"retool/trainer/data"
)

// fixture is a file that pyarrow wrote.
func fixture(name string) string {
	return filepath.Join("..", "..", "trainer", "data", "testdata", name)
}

// within runs a command inside the test.
func within(args ...string) (string, error) {
	var out bytes.Buffer
	a := app()
	a.Writer = &out
	err := a.Run(flagsFirst(append([]string{"retool"}, args...), a.Commands))
	return out.String(), err
}

func TestInspectSaysWhatAFileHolds(t *testing.T) {
	for _, c := range []struct {
		file string
		want []string
	}{
		{"dapo-item-zstd.parquet", []string{"Parquet", "verl rows (DAPO-Math-17k): question from prompt, answer from reward_model.ground_truth",
			"5 usable as problems", "sum-4 (23)"}},
		{"gsm8k.parquet", []string{"GSM8K", "3 usable as problems", "answer, characters                   2.7        2        5   row-2 (5)"}},
		{"aime2024.parquet", []string{"Problem and Answer (AIME)", "ID, Problem, Solution, Answer"}},
		{"aime2025.json", []string{", JSON,", "problem and answer (AIME)"}},
		{"math.parquet", []string{"problem and solution (MATH)", "answer, characters                   1.8        2        3"}},
		{"retool-sft.parquet", []string{"messages (ReTool-SFT)", "4 usable as traces, 3 repeat a question, 6 calls",
			"fault     rows left out, their responses cannot be cut", "no_result_for_code"}},
		{"messages.jsonl", []string{"JSON Lines", "6 usable as traces", "note      system messages left aside"}},
	} {
		out, err := within("data", "inspect", fixture(c.file))
		require.NoError(t, err)
		for _, want := range c.want {
			require.Contains(t, out, want, c.file)
		}
	}
	var r inspection
	out, err := within("data", "inspect", fixture("dapo.parquet"), "--json", "--limit", "2")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, []any{2, 2, 0, 0}, []any{r.Rows, r.Usable, len(r.Faults), len(r.Notes)})
	require.Equal(t, spread{"question", "characters", 20.5, 20, 21, []longRow{{"sum-1", 21}, {"sum-0", 20}}}, r.Lengths[0])
	folder := t.TempDir()
	p := reader(t)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "tokenizer.json"), p.files[tokenizerFile], 0o644))
	long := filepath.Join(folder, "long.jsonl")
	require.NoError(t, os.WriteFile(long, []byte(`{"question":"`+strings.Repeat("1", 120)+
		`","answer":"2"}`+"\n"+`{"question":"1","answer":"no\nanswer"}`), 0o644))
	out, err = within("data", "inspect", long, "--tokenizer", folder, "--set", "protocol.template=plain", "--set", "engine.max_tokens=100")
	require.NoError(t, err)
	require.Contains(t, out, "prompt, tokens                      61.5        2      121   line-1 (121), line-2 (2)")
	require.Contains(t, out,
		"rows over the budget of engine.max_prompt and engine.max_tokens: 1, the first: problem line-1: its prompt has 121 tokens, they leave 99")
	require.Contains(t, out, "ground truths that look like whole solutions: 1")
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	var l lengths
	for i := range 100 {
		l.add(fmt.Sprint(i), i+1)
	}
	require.Equal(t, spread{"x", "y", 50.5, 50, 95, []longRow{{"99", 100}, {"98", 99}, {"97", 98}}}, l.spread("x", "y"))
}

// A run reads public files as they come, of different layouts side by side.
func TestRunsReadPublicFiles(t *testing.T) {
	settings := []string{
		"data.task=files", "data.problems=" + fixture("dapo.parquet"), "data.test=" + fixture("aime2025.json"),
		"data.traces=" + fixture("retool-sft.parquet"),
		"engine.max_tokens=900", "rl.tokens=900", "sft.tokens=900", "eval.problems=5",
	}
	read, err := reader(t, settings...).data(true)
	require.NoError(t, err)
	require.Equal(t, []int{5, 4, 5}, []int{len(read.Train), len(read.Traces), len(read.Test)})
	require.Equal(t, "What is 2 + 3? π ≠ 3", read.Train[0].Question)
	require.Equal(t, "005", read.Test[0].Answer)
	notes := strings.Join(read.notes, "\n")
	for _, want := range []string{
		"data.problems: Parquet, read as verl rows (DAPO-Math-17k)", "data.test: JSON, read as problem and answer (AIME)",
		"data.traces: Parquet, read as messages (ReTool-SFT)",
		"data.traces: rows left out, their responses cannot be cut into calls and replies: 1",
		"data.test: questions that are trained on: 5, the first: problem 0 is sum-0 of data.problems", "data.traces: rows without a ground truth",
	} {
		require.Contains(t, notes, want)
	}
	require.Len(t, read.hashes, 3)
	_, err = reader(t, append(settings, "data.check=strict")...).data(true)
	require.ErrorContains(t, err, "(data.check: strict)")
	require.NotContains(t, err.Error(), "\n")

	// Columns that one file has are for that one; the others are read as their own columns say.
	mapped := append(settings, "data.problems="+fixture("unknown.parquet"), "data.columns.question=statement.text",
		"data.columns.answer=truths.0")
	read, err = reader(t, mapped...).data(true)
	require.NoError(t, err)
	require.Equal(t, []int{4, 4, 5}, []int{len(read.Train), len(read.Traces), len(read.Test)})
	notes = strings.Join(read.notes, "\n")
	require.Contains(t, notes,
		"read as problem and answer (AIME): question from problem, answer from answer, id from id; data.columns is for data.problems")
	require.Contains(t, notes, `data.problems: rows left out, their question is empty: 1, the first: data: `+
		fixture("unknown.parquet")+`: row 4: "statement.text" is empty`)
	_, err = reader(t, append(settings, "data.columns.question=nowhere")...).data(true)
	require.ErrorContains(t, err,
		`dapo.parquet: data.columns.question: no column "nowhere"; there are "data_source", "prompt", "ability", "reward_model", "extra_info"`)
	_, err = loadConfig("tiny", []string{"data.columns.question=x"})
	require.ErrorContains(t, err, "data.columns.question would do nothing: an embedded data.task reads no files")
}

func TestQuestionsOfPublicSetsLoseTheirTemplates(t *testing.T) {
	for prompt, want := range map[string]string{
		"What?": "What?",
		"Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without quotes) " +
			"where $Answer is the answer to the problem.\n\nWhat?\n\nRemember to put your answer on its own line after \"Answer:\".": "What?",
		"Anything\n*user question:*\nAnswer the following Math Problem and put the answer in the format of \\boxed{answer}" +
			"\n\nWhat?\n\n\nRemember to place the final answer in the last part using the format: x": "What?",
	} {
		q := data.Problem{Question: prompt}
		require.Equal(t, want != prompt, Data{Wrapper: "strip"}.prepare(&q))
		require.Equal(t, want, q.Question)
		q.Question = prompt
		require.False(t, Data{Wrapper: "keep"}.prepare(&q))
		require.Equal(t, prompt, q.Question)
	}
	for truth, want := range map[string]string{
		"5": "5", "so\n#### 1,100": "1,100", "#### ": "#### ", `It is $\boxed{\frac{1}{2}}$.`: `\frac{1}{2}`, `\boxed{}`: `\boxed{}`,
		"####\nx": "x",
	} {
		require.Equal(t, want, finalAnswer(truth))
	}
}

// What convert writes is read again as the same rows.
func TestConvertedRowsAreTheSameRows(t *testing.T) {
	dir := t.TempDir()
	inspected := func(path string) (r inspection) {
		out, err := within("data", "inspect", path, "--json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		return r
	}
	for i, c := range []struct{ file, to, form string }{
		{"dapo.parquet", "retool", ""}, {"dapo.parquet", "messages", ""}, {"gsm8k.parquet", "retool", ""}, {"messages.parquet", "retool", ""},
		{"messages.parquet", "messages", ""}, {"messages.parquet", "messages", "tags"},
		{"messages.jsonl", "retool", "hermes"}, {"retool-sft.parquet", "retool", ""},
	} {
		dst := filepath.Join(dir, fmt.Sprint(i, ".jsonl"))
		args := []string{"data", "convert", fixture(c.file), dst, "--to", c.to}
		if c.form != "" {
			args = append(args, "--form", c.form)
		}
		_, err := within(args...)
		require.NoError(t, err, c)
		from, to := inspected(fixture(c.file)), inspected(dst)
		require.Equal(t, from.Usable, to.Usable, c)
		require.Equal(t, from.As, to.As, c)
		require.Equal(t, from.Calls, to.Calls, c)
		for j := range from.Lengths { // ids may differ
			a, b := from.Lengths[j], to.Lengths[j]
			require.Equal(t, []any{a.Part, a.Mean, a.P50, a.P95}, []any{b.Part, b.Mean, b.P50, b.P95}, c)
		}
		before, err := os.ReadFile(dst)
		require.NoError(t, err)
		_, err = within(args...)
		require.ErrorContains(t, err, "is there already")
		after, err := os.ReadFile(dst)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	bad := filepath.Join(dir, "bad.jsonl")
	require.NoError(t, os.WriteFile(bad, []byte(`{"question":"1","answer":"1"}`+"\n{"), 0o644))
	_, err := within("data", "convert", bad, filepath.Join(dir, "never"))
	require.ErrorContains(t, err, "bad.jsonl:2: not a JSON object")
	require.NoFileExists(t, filepath.Join(dir, "never"))
}

// Stored outputs are compared with what their code prints now.
func TestVerifyRunsTheCode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.jsonl")
	trace := func(code, output, answer string) string {
		return fmt.Sprintf(`{"question":%s,"answer":"2","segments":[{"source":"policy","text":%s},`+
			`{"source":"tool","text":%s},{"source":"policy","text":%s}]}`+"\n",
			quoted(code), quoted("<code>\n```python\n"+code+"\n```\n</code>"), quoted("\n<interpreter>\n"+output+"</interpreter>\n\n"),
			quoted(`\boxed{`+answer+`}`))
	}
	require.NoError(t, os.WriteFile(path, []byte(trace("print(2)", "2", "2")+trace("print(1+2)", "2", "2")+
		trace("1/0", "ZeroDivisionError: division by zero", "2")+
		trace("print(x)", "2", "2")+trace("import time\nprint(time.perf_counter_ns())", "1", "2")+trace("print(2) # again", "2", "3")), 0o644))
	verify := func(more ...string) (out string, stderr string, code int) {
		args := append([]string{"data", "verify", path, "--set", "interp.preload=[math]", "--set", "interp.zygotes=1"}, more...)
		c, o, e := command(args...)
		if err := c.Run(); err != nil {
			exit, ok := err.(*exec.ExitError)
			require.True(t, ok, err)
			code = exit.ExitCode()
		}
		if strings.Contains(e.String(), interp.ErrTier.Error()) {
			t.Skipf("no sandbox on this host: %s", e)
		}
		return o.String(), e.String(), code
	}
	out, stderr, code := verify("--json")
	require.Zero(t, code, stderr)
	var v verification
	require.NoError(t, json.Unmarshal([]byte(out), &v), out)
	require.Equal(t, []int{6, 2, 4, 6}, []int{v.Rows, v.Passed, v.Failed, v.Ran})
	require.Equal(t, []failedRow{
		{"line-2", []string{"result_mismatch"}}, {"line-4", []string{"exec_error"}}, {"line-5", []string{"nondeterministic"}},
		{"line-6", []string{"responses whose boxed answer is not the row's"}},
	}, v.Which)
	_, stderr, code = verify("--strict", "--no-run")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "1 of 6 rows fail (--strict); the first: line-6")
	require.Equal(t, 1, strings.Count(strings.TrimSpace(stderr), "\n")+1)
}

func TestDataCommandsRefuse(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(fixture("dapo.parquet"))
	require.NoError(t, err)
	cut := filepath.Join(dir, "cut.parquet")
	require.NoError(t, os.WriteFile(cut, text[:len(text)/2], 0o644))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"data"}, "want inspect FILE, convert SRC DST, verify FILE or rewrite IN OUT"},
		{[]string{"data", "nothing"}, `no command "nothing"`},
		{[]string{"data", "inspect"}, "data inspect: want FILE, got no argument"},
		{[]string{"data", "inspect", "a", "b"}, `data inspect: want FILE, got 2: ["a" "b"]`},
		{[]string{"data", "convert", "a"}, `data convert: want SRC DST, got 1: ["a"]`},
		{[]string{"data", "inspect", filepath.Join(dir, "none")}, "no such file"},
		{[]string{"data", "inspect", dir}, "is a folder: want a file of rows"},
		{[]string{"data", "inspect", cut}, "whose end is missing: it was cut, fetch it again"},
		{[]string{"data", "inspect", fixture("unknown.parquet")}, `its columns ("n", "statement", "truths", "extra") are of no known layout`},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--set", "data.columns.answer=truth"}, `no column "truth"`},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--set", "data.columns.truth=x"}, `unknown key "truth" in data.columns`},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--as", "rows"}, "want problems or traces"},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--as", "traces"}, "no responses in its columns"},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--limit", "-1"}, "data inspect: --limit: want 0 to 1000000000, got -1"},
		{[]string{"data", "inspect", fixture("dapo.parquet"), "--tokenizer", dir}, "tokenizer.json"},
		{[]string{"data", "inspect", fixture("retool-sft.parquet"), "--set", "data.check=strict"}, "data.check: strict"},
		{[]string{"data", "convert", fixture("dapo.parquet"), filepath.Join(dir, "x"), "--to", "csv"}, "want retool or messages"},
		{[]string{"data", "convert", fixture("dapo.parquet"), filepath.Join(dir, "x"), "--form", "xml"}, "want tags or hermes"},
		{[]string{"data", "convert", fixture("retool-sft.parquet"), filepath.Join(dir, "x"), "--set", "data.check=strict"}, "data.check: strict"},
		{[]string{"data", "convert", fixture("dapo.parquet"), filepath.Join(dir, "no", "x")}, "want a folder to write x in"},
	} {
		_, err := within(c.args...)
		require.ErrorContains(t, err, c.want, "%v", c.args)
		require.NotContains(t, err.Error(), "\n", "%v", c.args)
	}
	require.NoFileExists(t, filepath.Join(dir, "x"))
}
