package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// refused runs the program, which must end with exit code 1 and one sentence.
func refused(t *testing.T, args ...string) string {
	cmd, out, errs := command(args...)
	require.Error(t, cmd.Run(), "%s%s", out, errs)
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), errs.String())
	message := strings.TrimSpace(errs.String())
	require.NotContains(t, message, "\n")
	return message
}

// short is the smallest run that trains: two steps of each phase.
func short(run string, more ...string) []string {
	return append([]string{"train", "tiny", "--set", "run=" + run}, sets(soon(more))...)
}

func sets(settings []string) (args []string) {
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	return args
}

// Runs that start together without run= take directories of their own; of those that name one, one writes and the others are refused.
func TestRunsThatStartTogetherDoNotMeet(t *testing.T) {
	for _, named := range []bool{false, true} {
		for _, n := range []int{2, 8} {
			t.Run(fmt.Sprintf("%d named %v", n, named), func(t *testing.T) {
				dir := t.TempDir()
				failed := make([]string, n)
				var wait sync.WaitGroup
				for i := range n {
					more := []string{fmt.Sprintf("seed=%d", i+1)}
					if named {
						more = []string{"run=one", "sft.steps=300"}
					}
					args := append([]string{"sft", "tiny"}, sets(soon(more))...)
					c, out, errs := command(args...)
					c.Dir = dir
					wait.Go(func() {
						if c.Run() != nil {
							failed[i] = strings.TrimSpace(errs.String())
							if failed[i] == "" {
								failed[i] = out.String()
							}
						}
					})
				}
				wait.Wait()
				if !named {
					require.Equal(t, make([]string, n), failed)
					runs, err := os.ReadDir(filepath.Join(dir, "runs"))
					require.NoError(t, err)
					require.Len(t, runs, n)
					for _, r := range runs {
						whole(t, filepath.Join(dir, "runs", r.Name()))
					}
					return
				}
				// One that comes when another has ended finds it finished and changes nothing.
				for _, f := range failed {
					if f != "" {
						require.Contains(t, f, " is writing into one: wait for it, or choose another run=")
						require.NotContains(t, f, "\n")
					}
				}
				require.Contains(t, failed, "", "one of them must have had the directory")
				whole(t, filepath.Join(dir, "one"))
			})
		}
	}
}

// whole checks that every log of a finished run can be read to its end.
func whole(t *testing.T, run string) {
	torn, err := trace.Read(filepath.Join(run, "metrics.jsonl"), func(trace.Metrics) error { return nil })
	require.NoError(t, err)
	require.Empty(t, torn)
	torn, err = trace.Read(filepath.Join(run, "trajectories.jsonl"), func(r trace.Record) error { return r.Check() })
	require.NoError(t, err)
	require.Empty(t, torn)
	require.FileExists(t, filepath.Join(run, "report.html"))
}

func TestAStartThatFailsLeavesNoDirectory(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	require.NoError(t, os.WriteFile(rows, []byte(`{"question": "1+1?"}`), 0o644))
	for says, more := range map[string][]string{
		"/no/such/python":    {"interp.python=/no/such/python"},
		"of no known layout": {"data.task=files", "data.problems=" + rows, "data.test=" + rows, "sft.steps=0"},
	} {
		c, _, errs := command(append([]string{"train", "tiny"}, sets(more)...)...)
		c.Dir = t.TempDir()
		require.Error(t, c.Run())
		require.Contains(t, errs.String(), says)
		left, err := os.ReadDir(filepath.Join(c.Dir, "runs"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestARunGoesOnWithSettingsThatFixNoBit(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	retool(t, short(run)...)
	out := retool(t, short(run, "rl.steps=4", "checkpoint.every=1", "checkpoint.keep=3", "eval.every=1", "engine.kv_memory=64",
		"interp.warm=2", "threads=1")...)
	require.Contains(t, out, "settings changed since the run began: ")
	require.Contains(t, out, "rl.steps 2 → 4")
	require.Contains(t, out, "step  6/6")
	require.NotContains(t, out, "step  4/6")

	// Extended, it ends in the bits of a run that was as long from its beginning: the schedule is constant.
	longer := filepath.Join(t.TempDir(), "run")
	retool(t, short(longer, "rl.steps=4")...)
	require.Equal(t, checksum(t, longer), checksum(t, run))

	require.Contains(t, refused(t, short(run, "rl.steps=4", "rl.lr=3e-4", "rl.prompts=8")...),
		"rl.prompts: there 4, here 8; rl.lr: there 0.0001, here 0.0003")
	stored := func() string {
		text, err := os.ReadFile(filepath.Join(run, "config.yaml"))
		require.NoError(t, err)
		return string(text)
	}
	was := stored()
	require.Contains(t, refused(t, short(run, "rl.steps=3")...), "has made 4 steps of reinforcement learning, rl.steps is 3")
	require.Equal(t, was, stored(), "what was refused is not stored")
}

func TestAColdStartGoesOnToReinforcementLearning(t *testing.T) {
	for _, trunk := range []string{"shared", "own"} {
		at := func(name string) []string {
			more := []string{"critic.trunk=" + trunk, "run=" + filepath.Join(t.TempDir(), name)}
			return append([]string{"tiny"}, sets(soon(more))...)
		}
		apart, whole := at("apart"), at("whole")
		retool(t, append([]string{"sft"}, apart...)...)
		retool(t, append([]string{"train"}, apart...)...)
		retool(t, append([]string{"train"}, whole...)...)
		dir := func(args []string) string { return strings.TrimPrefix(args[len(args)-1], "run=") }
		require.Equal(t, checksum(t, dir(whole)), checksum(t, dir(apart)), trunk)
	}
}

func TestStoredConfigurationsOpenTheirRuns(t *testing.T) {
	for _, more := range [][]string{
		{"rl.algorithm=grpo", "rl.group=2"},
		{"protocol.name=none"},
		{"critic.trunk=own", "critic.lr=1e-5"},
		{"reward.use=tool-shaped", "reward.count=calls"},
	} {
		run := filepath.Join(t.TempDir(), "run")
		retool(t, short(run, more...)...)
		require.Contains(t, retool(t, "eval", "--from", run, "--json"), `"accuracy"`, "%v", more)
		require.Contains(t, retool(t, "rollout", "--from", run), "finish", "%v", more)
		require.Contains(t, retool(t, "config", filepath.Join(run, "config.yaml")), "seed: 1", "%v", more)
		retool(t, short(run, more...)...) // and the same command still finds it finished
	}
}

// rows writes data files of a task of others and returns the settings that name them.
func rows(t *testing.T, dir string, n int, answer func(i int) string) []string {
	var problems, traces bytes.Buffer
	for i := range n {
		q, a := fmt.Sprintf("What is %d plus %d?", i, i+1), answer(i)
		fmt.Fprintf(&problems, `{"question":%q,"answer":%s}`+"\n", q, quoted(a))
		fmt.Fprintf(&traces, `{"question":%q,"answer":%s,"segments":[{"text":%s,"source":"policy"}]}`+"\n", q, quoted(a), quoted(`\boxed{`+a+"}"))
	}
	write := func(name string, b bytes.Buffer) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
		return path
	}
	return []string{
		"data.task=files", "data.problems=" + write("problems.jsonl", problems), "data.test=" + write("test.jsonl", problems),
		"data.traces=" + write("traces.jsonl", traces),
	}
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

func TestOtherDataUnderARunAreRefused(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	number := func(i int) string { return fmt.Sprint(2*i + 1) }
	args := short(run, rows(t, dir, 8, number)...)
	retool(t, args...)
	moved := t.TempDir() // the same rows elsewhere are the same data
	retool(t, short(run, rows(t, moved, 8, number)...)...)
	rows(t, dir, 9, number)
	message := refused(t, args...)
	require.Contains(t, message, "data.problems holds other rows than the run began with (SHA-256 ")
	require.Contains(t, message, "restore the file, or choose another run=")
}

func TestStoredTracesGradeAsTheyDid(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	answers := []string{"π", "∅", "四", "é", "😀", "x"} // the embedded vocabulary writes them byte by byte
	out := rows(t, dir, 24, func(i int) string { return answers[i%len(answers)] })
	args := short(run, append(out, "sft.steps=150", "sft.batch=8", "sft.lr=1e-2", "eval.every=1", "eval.problems=6", "eval.samples=2")...)
	require.Contains(t, retool(t, args...), "questions that are trained on: 24")

	c, stdout, stderr := command("eval", "--trace", filepath.Join(run, "trajectories.jsonl"))
	require.NoError(t, c.Run(), stderr)
	require.Contains(t, stderr.String(), "0 of ")
	for _, row := range []string{"cold_start", "train", "rl"} { // a row for each phase and step, none over several
		require.Contains(t, stdout.String(), row)
	}
	require.Contains(t, stdout.String(), "avg@2 over 6")
	require.NotContains(t, stdout.String(), "avg@4")
	var es []trace.Evaluation
	require.NoError(t, json.Unmarshal([]byte(retool(t, "eval", "--json", "--trace", filepath.Join(run, "trajectories.jsonl"))), &es))
	require.Len(t, es, 5) // cold start, two steps of training, an evaluation after each
	require.Positive(t, es[0].Accuracy, "the model writes some of the answers, or this shows nothing")
}

// A log that was cut off anywhere can be read up to its last whole line, and the cut is named.
func TestTornLogsAreReadAndNamed(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	retool(t, short(run)...)
	log := filepath.Join(run, "trajectories.jsonl")
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	lines := bytes.Count(text, []byte("\n"))
	for _, cut := range []struct {
		keep int
		torn bool
	}{{len(text) - 1, false}, {len(text) - 100, true}} {
		require.NoError(t, os.WriteFile(log, text[:cut.keep], 0o644))
		c, _, stderr := command("eval", "--trace", log)
		require.NoError(t, c.Run(), stderr)
		want := lines
		if cut.torn {
			want--
			require.Contains(t, stderr.String(), fmt.Sprintf("trajectories.jsonl:%d: the last line is cut off", lines))
		}
		require.Contains(t, stderr.String(), fmt.Sprintf("0 of %d verdicts", want))
		retool(t, "report", run)
	}
}

// A learning rate that breaks the model costs updates, never the run's files: they are left out and counted until there are too many
// in a row.
func TestUpdatesThatAreNotFiniteAreLeftOut(t *testing.T) {
	for _, c := range []struct {
		sets []string
		want string
		of   string
	}{
		{[]string{"sft.lr=1e30", "sft.steps=10"}, "sft step 5: loss", "trace "},
		{[]string{"rl.lr=1e30", "rl.steps=10", "critic.warmup=0"}, "rl.max_skipped allows 3", "trajectory "},
	} {
		run := filepath.Join(t.TempDir(), "run")
		message := refused(t, short(run, c.sets...)...)
		require.Contains(t, message, c.want)
		require.Contains(t, message, "4 updates in a row were not finite")
		require.Regexp(t, `first was, on rank 0 \(.*\), slice 1 of 1, `+c.of+`.*: the gradient of .*\.weight \(policy\);`, message)
		require.Contains(t, refused(t, short(run, c.sets...)...), "4 updates in a row were not finite") // and again, resumed
		skipped := 0
		_, err := trace.Read(filepath.Join(run, "metrics.jsonl"), func(m trace.Metrics) error { skipped += m.Skip; return nil })
		require.NoError(t, err)
		require.Equal(t, 3, skipped)
		retool(t, "report", run)
	}
	run := filepath.Join(t.TempDir(), "run")
	out := retool(t, short(run, "sft.lr=1e30", "sft.steps=4", "rl.lr=1e30", "rl.max_skipped=100")...)
	require.Contains(t, out, "updates skipped: not finite")
	whole(t, run)
	require.Contains(t, refused(t, "eval", "--from", run), "not finite")
}

func TestARunDirectoryIsARuns(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o644))
	require.Contains(t, refused(t, short(dir)...), "holds other files (thesis.tex) and no run: choose another run=")
	run := filepath.Join(t.TempDir(), "run")
	retool(t, short(run)...)
	require.Contains(t, refused(t, short(filepath.Join(run, "checkpoints"))...), "and no run")
	require.NoError(t, os.RemoveAll(filepath.Join(run, "checkpoints")))
	before, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	require.NoError(t, err)
	require.Contains(t, refused(t, short(run)...), "holds the log of a run and no checkpoint to go on from")
	after, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	require.NoError(t, err)
	require.Equal(t, before, after)
}
