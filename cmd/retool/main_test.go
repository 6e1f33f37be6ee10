package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/interp"
	"retool/trainer"
)

var kills = flag.Int("kills", 4, "how often TestKilledRunsEndInTheSameBits kills a run")

// The test binary is the program too, when it is told so: kill -9 and exit codes need a process.
const asProgram = "RETOOL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	interp.Init()
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

func command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	var out, err bytes.Buffer
	c.Stdout, c.Stderr = &out, &err
	return c, &out, &err
}

// retool runs the program to its end.
func retool(t *testing.T, args ...string) (stdout string) {
	c, out, errs := command(args...)
	require.NoError(t, c.Run(), "%s\n%s", out, errs)
	return out.String()
}

// soon adds to a run's settings those of a sandbox that opens sooner: its self-test fills the memory that a session may have. A run
// without code has none.
func soon(settings []string) []string {
	if slices.Contains(settings, "protocol.name=none") {
		return settings
	}
	return append([]string{"interp.zygotes=1", "interp.limits.data=64MiB"}, settings...)
}

// tiny is the demo in miniature: everything happens, nothing is learnt.
func tiny(run string, more ...string) []string { return tinyParts(run, soon(more)...) }

// tinyParts is tiny for `retool demo`, of whose two parts one runs no code and has no use for settings of the sandbox.
func tinyParts(run string, more ...string) []string {
	args := []string{"--set", "run=" + run}
	for _, s := range append([]string{
		"model.layers=1", "model.hidden=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.ffn=48", "engine.max_tokens=96",
		"sft.steps=30", "sft.batch=16", "sft.tokens=1024", "sft.lr=1e-2", "rl.steps=6", "rl.prompts=16", "rl.minibatch=8", "rl.tokens=1024",
		"critic.warmup=2",
		"eval.problems=10", "eval.samples=2", "checkpoint.every=2",
	}, more...) {
		args = append(args, "--set", s)
	}
	return args
}

func TestDemoLeavesEverythingBehind(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	out := retool(t, append([]string{"demo"}, tinyParts(run, "sft.steps=90")...)...)
	for _, want := range []string{"after cold start", "after RL", "text only, after RL", "code ratio", "python", "tier", "|Δlogp| 0 ",
		"step  96/96", "step 96 ", "report"} {
		require.Contains(t, out, want)
	}
	for _, f := range []string{"config.yaml", "environment.json", "metrics.jsonl", "trajectories.jsonl", "summary.json", "report.html",
		"checkpoints/96/model.safetensors", "checkpoints/96/config.json", "checkpoints/96/tokenizer.json"} {
		info, err := os.Stat(filepath.Join(run, f))
		require.NoError(t, err)
		require.Positive(t, info.Size(), f)
	}
	text, err := os.ReadFile(filepath.Join(run, "summary.json"))
	require.NoError(t, err)
	var summary map[string]any
	require.NoError(t, json.Unmarshal(text, &summary))
	require.Positive(t, summary["seconds"])
	for _, name := range []string{"untrained", "cold_start", "rl", "text_rl"} {
		for _, field := range []string{"accuracy", "code_ratio", "problems", "low", "high"} {
			require.Contains(t, summary[name], field)
		}
	}
	require.Zero(t, summary["text_rl"].(map[string]any)["code_ratio"])
	require.Positive(t, summary["cold_start"].(map[string]any)["code_ratio"])

	// The same command on a finished run repeats its result and changes nothing.
	before := checksum(t, run)
	again := retool(t, append([]string{"demo"}, tinyParts(run, "sft.steps=90")...)...)
	require.Contains(t, again, "after RL")
	require.Equal(t, before, checksum(t, run))

	// What it left can be used.
	eval := retool(t, "eval", "--trace", filepath.Join(run, "trajectories.jsonl"), "--phase", "rl")
	require.Contains(t, eval, "accuracy, avg@2 over 10 problems")
	eval = retool(t, "eval", "--from", run, "--set", "eval.problems=3", "--json")
	require.Contains(t, eval, `"problems": 3`)
	damaged := t.TempDir()
	require.NoError(t, os.CopyFS(damaged, os.DirFS(trainer.Latest(run))))
	weights, err := os.ReadFile(filepath.Join(damaged, "model.safetensors"))
	require.NoError(t, err)
	copy(weights[len(weights)-4:], "\x00\x00\xc0\x7f") // NaN
	require.NoError(t, os.WriteFile(filepath.Join(damaged, "model.safetensors"), weights, 0o644))
	require.Contains(t, refused(t, "eval", "--from", damaged, "--set", "eval.problems=3"),
		"are no numbers: the weights hold some that are not finite")
	shown := retool(t, "rollout", "--from", run, "--question", "What is 3 plus 4?", "--answer", "7")
	require.Contains(t, shown, "What is 3 plus 4?")
	require.Contains(t, shown, `truth "7"`)
	ids := retool(t, "generate", "--model", trainer.Latest(run), "--ids", "[1,2,3]", "--greedy", "--max-tokens", "4")
	require.Contains(t, ids, `"ids"`)
}

// checksum is that of the final weights.
func checksum(t *testing.T, run string) string {
	text, err := os.ReadFile(filepath.Join(trainer.Latest(run), "model.safetensors"))
	require.NoError(t, err)
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

func TestKilledRunsEndInTheSameBits(t *testing.T) {
	for name, sets := range map[string][]string{
		"ppo":  nil,
		"bf16": {"model.dtype=bfloat16"},
		"dapo": {"rl.algorithm=dapo", "rl.prompts=4", "rl.group=4", "rl.resample=2", "sft.steps=60", "rl.kl=0.01", "rl.kl_refresh=3",
			"rl.filter.void_turns=true",
			"reward.use=tool-shaped", "reward.count=calls"},
	} {
		t.Run(name, func(t *testing.T) { killedRunsEndInTheSameBits(t, sets) })
	}
}

func killedRunsEndInTheSameBits(t *testing.T, sets []string) {
	args := func(run string) []string {
		all := tiny(run, sets...)
		if i := slices.Index(all, "critic.warmup=2"); sets != nil { // an algorithm without a critic has no use for it
			all = slices.Delete(all, i-1, i+1)
		}
		return append([]string{"train", "demo"}, all...)
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	start := time.Now()
	retool(t, args(whole)...)
	lasts := time.Since(start)

	killed := filepath.Join(dir, "killed")
	done := 0
	for done < *kills {
		c, out, errs := command(args(killed)...)
		require.NoError(t, c.Start())
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case err := <-ended:
			require.NoError(t, err, "%s\n%s", out, errs)
			require.NoError(t, os.RemoveAll(killed)) // it came to its end: begin another to kill
		case <-time.After(time.Duration(rand.Int64N(int64(lasts)))):
			require.NoError(t, c.Process.Kill())
			<-ended
			done++
		}
	}
	out := retool(t, args(killed)...)
	require.Equal(t, checksum(t, whole), checksum(t, killed), out)
}

func TestBadInputIsOneClearSentence(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	run := filepath.Join(dir, "run")
	good := file("good.jsonl", `{"question":"1+1","answer":"2"}`+"\n")
	traces := file("traces.jsonl", `{"question":"1+1","answer":"2","segments":[{"text":"\\boxed{2}","source":"policy"}]}`+"\n")
	files := func(more ...string) []string {
		return append([]string{"train", "demo"}, tiny(run,
			append([]string{"data.task=files", "data.problems=" + good, "data.test=" + good, "data.traces=" + traces}, more...)...)...)
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{files("data.problems=" + filepath.Join(dir, "none")), []string{"data.problems", "no such file"}},
		{files("data.problems=" + file("bad.jsonl", "{\"question\":\"1+1\",\"answer\":\"2\"}\n{\"question\":\n")), []string{"bad.jsonl:2"}},
		{files("data.traces=" + file("tool.jsonl", `{"question":"1","answer":"2","segments":[{"text":"x","source":"tool"}]}`+"\n")),
			[]string{"tool.jsonl:1"}},
		{files("data.problems=" + file("empty.jsonl", "")), []string{"empty.jsonl"}},
		{files("data.test="), []string{"data.test: want a file of rows (JSON Lines, JSON, Parquet), got none"}},
		{files("data.problems=" + file("long.jsonl", `{"question":"`+strings.Repeat("1", 120)+`","answer":"2"}`+"\n")),
			[]string{"its prompt has 121 tokens", "engine.max_tokens leave 95"}},
		{append([]string{"train", "demo"}, tiny(run, "interp.python=/no/such/python")...), []string{"/no/such/python"}},
		{append([]string{"train", "demo"}, tiny(filepath.Join(good, "x"))...), []string{"run directory", "not a directory"}},
		{[]string{"eval", "--from", dir}, []string{"or a model's folder with config.json, found neither"}},
		{[]string{"eval", "--trace", good}, []string{"good.jsonl"}},
		{[]string{"eval"}, []string{"want either --from"}},
		{[]string{"train", "demo", "extra"}, []string{`train: want [RECIPE|FILE.yaml], got 2: ["demo" "extra"]`}},
		{[]string{"nothing"}, []string{`no command "nothing"`}},
		{[]string{"bench", "kernels", "--models", "d1"}, []string{`unknown shape "d1"`}},
	} {
		cmd, out, errs := command(c.args...)
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &exit, "%v\n%s%s", c.args, out, errs)
		require.Equal(t, 1, exit.ExitCode(), "%v\n%s%s", c.args, out, errs)
		message := strings.TrimSpace(errs.String())
		require.Equal(t, 1, strings.Count(message, "retool: "), message)
		require.NotContains(t, message, "goroutine")
		require.NotContains(t, message, "\n", message)
		for _, want := range c.want {
			require.Contains(t, message, want)
		}
	}
	// A run directory begun with other settings is refused, and left alone.
	other := filepath.Join(dir, "other")
	require.NoError(t, os.MkdirAll(other, 0o755))
	retool(t, append([]string{"sft", "demo"}, tiny(other, "sft.steps=2")...)...)
	cmd, _, errs := command(append([]string{"sft", "demo"}, tiny(other, "sft.steps=3")...)...)
	require.Error(t, cmd.Run())
	require.Contains(t, errs.String(), `was begun with other settings (sft.steps: there 2, here 3)`)
}
