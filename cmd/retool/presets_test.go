package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// What each preset is published with.
func TestPresetsAreWhatIsPublished(t *testing.T) {
	require.Equal(t, []string{"paper", "retool-eval", "verl-eval"}, presetNames())
	for name, want := range map[string]string{
		"paper": "eval.samples 32, eval.temperature 1, eval.top_p 0.7, engine.max_tokens 512, engine.turn_tokens 0, reward.verifier dapo, " +
			"protocol.name tags, protocol.template retool-repo, protocol.cap 400",
		"retool-eval": "engine.turn_tokens 16384, protocol.error last-line, protocol.no_fence retool-eval, interp.limits.wall 5s, " +
			"reward.verifier math, protocol.feedback retool-eval",
		"verl-eval": "eval.samples 30, eval.top_p 0.6, reward.verifier dapo-strict, protocol.name hermes, protocol.template verl, " +
			"data.wrapper keep, engine.turns 8",
	} {
		cfg, p, err := underPreset(name, "", false, foreignFolder("qwen2"), []string{"model.path=x", "data.test=y"})
		require.NoError(t, err, name)
		of := map[string]string{}
		for _, s := range settings(cfg) {
			of[s.key] = s.text()
		}
		for _, w := range strings.Split(want, ", ") {
			key, value, _ := strings.Cut(w, " ")
			require.Equal(t, value, of[key], "%s: %s", name, key)
		}
		require.Contains(t, p.note(), "(the positions of the model)", "the folder's model has 512")
		require.NotContains(t, p.note(), "other settings")
		var e trace.Evaluation
		p.into(&e, cfg)
		require.Equal(t, name, e.Preset)
		for key := range p.values {
			require.Equal(t, of[key], e.Settings[key])
		}
	}
	_, _, err := underPreset("aime", "", false, "", nil)
	require.EqualError(t, err, `eval: --preset "aime" is not known (known: paper, retool-eval, verl-eval)`)
}

// A --set goes before a preset, and is told; weights of a run keep the protocol that they were trained in.
func TestAPresetYieldsToTheUserAndToTheRun(t *testing.T) {
	cfg, p, err := underPreset("paper", "tiny", true, foreignFolder("qwen2"), []string{"eval.top_p=0.9", "reward.verifier=dapo"})
	require.NoError(t, err)
	require.Equal(t, 0.9, cfg.Eval.TopP)
	require.Equal(t, "plain", cfg.Protocol.Template)
	require.Equal(t, "preset    paper, but protocol.template plain, not retool-repo (as the weights were trained); "+
		"protocol.error last-line, not traceback (as the weights were trained); engine.max_tokens 512, not 16384 "+
		"(the positions of the model); eval.top_p 0.9, not 0.7 (--set)",
		p.note())
	_, _, err = underPreset("paper", "tiny", true, foreignFolder("qwen2"), []string{"eval.top_q=0.9"})
	require.ErrorContains(t, err, `unknown key "top_q"`)
}

// A folder of transformers and a file of problems are all that a preset needs; the evaluation is recorded, whole, beside others.
func TestPresetsEvaluate(t *testing.T) {
	dir, weights := t.TempDir(), copied(t, "qwen2")
	text, err := os.ReadFile(filepath.Join(weights, "config.json"))
	require.NoError(t, err)
	longer := strings.Replace(string(text), `"max_position_embeddings": 512`, `"max_position_embeddings": 2048`, 1)
	require.NotEqual(t, string(text), longer)
	require.NoError(t, os.WriteFile(filepath.Join(weights, "config.json"), []byte(longer), 0o644))
	problems, record, out := filepath.Join(dir, "p.jsonl"), filepath.Join(dir, "r.jsonl"), filepath.Join(dir, "t.jsonl")
	require.NoError(t, os.WriteFile(problems, []byte(`{"question":"1+1","answer":"2"}`+"\n"+`{"question":"2+2","answer":"4"}`+"\n"), 0o644))
	args := func(name string, more ...string) []string {
		return append([]string{"eval", "--from", weights, "--preset", name, "--set", "data.test=" + problems, "--set", "eval.samples=3",
			"--set", "protocol.template=plain", "--set", "interp.warm=1", "--set", "interp.limits.data=64MiB",
			"--set", "engine.turn_tokens=8"}, more...)
	}
	c, shown, errs := command(args("paper", "--record", record, "--out", out)...)
	require.NoError(t, c.Run(), errs)
	require.Contains(t, errs.String(), "preset    paper, but ")
	require.Contains(t, shown.String(), "accuracy, avg@3 over 2 problems, by dapo")
	c, shown, errs = command(args("verl-eval", "--record", record, "--set", "protocol.chat=chatml")...)
	require.NoError(t, c.Run(), errs)
	require.Contains(t, shown.String(), "dapo-strict   avg@3 over 2")
	rows, err := readEvaluations(record)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, "paper", rows[0].Evaluation.Preset)
	require.Equal(t, "verl-eval", rows[1].Evaluation.Preset)
	require.Equal(t, "3", rows[1].Evaluation.Settings["eval.samples"])
	require.NotEmpty(t, rows[0].Evaluation.AccuracyBy)

	keys := map[int64]bool{}
	read := 0
	_, err = trace.Read(out, func(r trace.Record) error { keys[r.Key] = true; read++; return nil })
	require.NoError(t, err)
	require.Equal(t, 6, read)
	require.Len(t, keys, 6, "every sample has its own key")
	var printed trace.Evaluation
	require.NoError(t, json.Unmarshal([]byte(retool(t, args("paper", "--json")...)), &printed))
	require.Equal(t, rows[0].Evaluation.Accuracy, printed.Accuracy, "the same draws")

	require.NoError(t, os.WriteFile(record, []byte(`{"a":1}`+"\n"), 0o644))
	require.Contains(t, refused(t, args("paper", "--record", record)...), "r.jsonl:1: want an evaluation as --record writes it")
	require.Contains(t, refused(t, "eval", "--trace", out, "--preset", "paper"), "eval: --preset goes with --from, which samples")
	require.Contains(t, refused(t, args("paper", "--out", out)...), "is there already")
}

// An evaluation that is interrupted leaves neither trajectories nor a record.
func TestAnInterruptedEvaluationWritesNothing(t *testing.T) {
	dir := t.TempDir()
	problems, out, record := filepath.Join(dir, "p.jsonl"), filepath.Join(dir, "t.jsonl"), filepath.Join(dir, "r.jsonl")
	require.NoError(t, os.WriteFile(problems, []byte(`{"question":"1+1","answer":"2"}`+"\n"), 0o644))
	args := append([]string{"eval", "--from", foreignFolder("qwen2"), "--preset", "paper", "--out", out, "--record", record},
		sets([]string{"data.test=" + problems, "protocol.name=none", "protocol.template=plain", "eval.samples=100000"})...)
	c, _, _ := command(args...)
	c.Stderr = nil
	stderr, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(stderr)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "preset    paper")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	said := ""
	for lines.Scan() {
		said = lines.Text()
	}
	require.Error(t, c.Wait())
	require.Equal(t, "retool: eval: interrupted: nothing was written", said)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the problems alone")
}
