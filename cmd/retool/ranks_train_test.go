package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/engine/safetensors"
	"retool/trainer"
	"retool/trainer/trace"
)

// rankProcess is one rank of a run, as a launcher starts it.
type rankProcess struct {
	*exec.Cmd
	out, errs *bytes.Buffer
}

// startRanks starts a command as so many processes.
func startRanks(t *testing.T, n int, args ...string) []rankProcess {
	all := make([]rankProcess, n)
	for i := range all {
		c, out, errs := command(args...)
		for name, value := range map[string]any{"RANK": i, "WORLD_SIZE": n, "LOCAL_RANK": i, "LOCAL_WORLD_SIZE": n,
			"TORCHELASTIC_RUN_ID": t.Name()} {
			c.Env = append(c.Env, fmt.Sprintf("%s=%v", name, value))
		}
		all[i] = rankProcess{c, out, errs}
		require.NoError(t, c.Start())
		t.Cleanup(func() { _ = c.Process.Kill() })
	}
	return all
}

// manyRanks is a run whose optimizer has a part for each of four ranks.
func manyRanks(run string, more ...string) []string {
	return append([]string{"train", "demo"}, tiny(run, append([]string{"model.hidden=128", "model.head_dim=64", "model.ffn=320",
		"dist.slices=4", "sft.steps=8", "checkpoint.every=1", "checkpoint.keep=2", "rl.prompts=16"}, more...)...)...)
}

// cameTo is what no number of ranks may change: weights, moments, trajectories with what Python said, losses.
func cameTo(t *testing.T, run string) map[string]string {
	out := map[string]string{"weights": checksum(t, run)}
	moments := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(trainer.Latest(run), "optimizer-*.safetensors"))
	require.NoError(t, err)
	for _, p := range paths { // by rank, so in the order of their numbers
		f, err := safetensors.Open(p)
		require.NoError(t, err)
		for _, name := range f.Names() {
			s, _ := f.Tensor(name)
			kind, _, _ := strings.Cut(name, "@")
			moments[kind] = append(moments[kind], s.Bytes...)
		}
		require.NoError(t, f.Close())
	}
	require.NotEmpty(t, moments["m"])
	out["m"], out["v"] = string(moments["m"]), string(moments["v"])
	_, err = trace.Read(filepath.Join(run, "trajectories.jsonl"), func(r trace.Record) error {
		out["trajectories"] += fmt.Sprintln(r.Step, r.Phase, r.Key, r.IDs, r.LogProbs, r.Outcome, r.Reward, r.Advantage)
		for _, c := range r.Calls {
			out["calls"] += fmt.Sprintln(c.Status, c.Stdout)
		}
		return nil
	})
	require.NoError(t, err)
	_, err = trace.Read(filepath.Join(run, "metrics.jsonl"), func(m trace.Metrics) error {
		out["metrics"] += fmt.Sprintln(m.Step, m.Loss, m.Norm, m.Tokens)
		if m.Ranks != nil {
			for _, share := range []float64{m.Ranks.Tail, m.Ranks.Exchange, m.Ranks.Wait} {
				require.True(t, share >= 0 && share <= 1, "step %d: shares of %+v", m.Step, m.Ranks)
			}
			require.Positive(t, m.Ranks.Exchange, "%s step %d: its gradients were exchanged", m.Phase, m.Step)
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

func TestRanksOfProcessesEndInTheBitsOfOne(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	retool(t, manyRanks(whole)...)
	want := cameTo(t, whole)
	require.Contains(t, want["calls"], "exception", "Python ran")
	same := func(run, what string) {
		for kind, text := range cameTo(t, run) {
			require.True(t, want[kind] == text, "%s: %s differ", what, kind)
		}
	}

	two := filepath.Join(dir, "two")
	for i, r := range startRanks(t, 2, manyRanks(two)...) {
		require.NoError(t, r.Wait(), "rank %d: %s%s", i, r.out, r.errs)
		require.Equal(t, i == 0, strings.Contains(r.out.String(), "step  14/14"), "rank 0 alone prints")
	}
	same(two, "2 processes")
	_, err := os.Stat(filepath.Join(two, "ranks.json"))
	require.NoError(t, err)

	// Begun on 4, rank 2 killed; gone on with on 2, rank 0 killed; ended by 4.
	parts := filepath.Join(dir, "parts")
	for _, c := range []struct{ ranks, kill int }{{4, 2}, {2, 0}, {4, -1}} {
		before := trainer.Latest(parts)
		all := startRanks(t, c.ranks, manyRanks(parts)...)
		for deadline := time.Now().Add(2 * time.Minute); c.kill >= 0 && trainer.Latest(parts) == before; time.Sleep(5 * time.Millisecond) {
			require.False(t, time.Now().After(deadline), "no checkpoint: %s%s", all[0].out, all[0].errs)
		}
		if c.kill >= 0 {
			require.NoError(t, all[c.kill].Process.Kill())
		}
		said := ""
		for i, r := range all {
			err := r.Wait()
			require.Equal(t, c.kill < 0, err == nil, "rank %d of %d: %s%s", i, c.ranks, r.out, r.errs)
			said += r.errs.String()
		}
		if c.kill >= 0 {
			require.Contains(t, said, fmt.Sprintf("rank %d (", c.kill), "it is named")
		}
	}
	same(parts, "4, 2 and 4 processes")
}

// Processes that learn an adapter, too; the folders hold one, and base and adapter merged.
func TestRanksOfProcessesLearnOneAdapter(t *testing.T) {
	dir := t.TempDir()
	lora := []string{"model.lora.rank=32", "model.lora.targets=[q_proj,v_proj,up_proj,down_proj]", "rl.kl=0.1", "rl.steps=2", "sft.steps=2"}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	retool(t, manyRanks(one, lora...)...)
	for i, r := range startRanks(t, 2, manyRanks(two, lora...)...) {
		require.NoError(t, r.Wait(), "rank %d: %s%s", i, r.out, r.errs)
	}
	want := cameTo(t, one)
	for kind, text := range cameTo(t, two) {
		require.True(t, want[kind] == text, "%s differ", kind)
	}
	var adapters []string
	for _, run := range []string{one, two} {
		text, err := os.ReadFile(filepath.Join(trainer.Latest(run), "adapter", "adapter_model.safetensors"))
		require.NoError(t, err)
		adapters = append(adapters, string(text))
	}
	require.True(t, adapters[0] == adapters[1], "adapters differ")

	// A run begins with such an adapter, as PEFT would have left it, on the base of the same seed, and on no other.
	from := filepath.Join(trainer.Latest(one), "adapter")
	path := filepath.Join(from, "adapter_config.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte(`"lora_dropout": 0`), []byte(`"lora_dropout": 0.05`), 1)
	require.NoError(t, os.WriteFile(path, text, 0o644))
	lora = append(lora, "model.lora.path="+from, "rl.steps=0", "eval.problems=0")
	out := retool(t, manyRanks(filepath.Join(dir, "on"), lora...)...)
	require.Contains(t, out, from+" was trained with lora_dropout 0.05: it goes on without")
	message := refused(t, manyRanks(filepath.Join(dir, "other"), append(lora, "seed=5")...)...)
	require.Contains(t, message, "the adapter is of another base")
	message = refused(t, manyRanks(filepath.Join(dir, "folder"), append(lora, "model.lora.path="+trainer.Latest(one))...)...)
	require.Contains(t, message, "adapter_config.json: no such file or directory; a checkpoint's adapter lies in its folder adapter/")
	message = refused(t, manyRanks(filepath.Join(dir, "rank"), append(lora, "model.lora.rank=16")...)...)
	require.Contains(t, message, "an adapter of rank 32, alpha 16, rslora false; the model's has rank 16")
}

func TestEvaluationOfRanksIsThatOfOne(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	retool(t, append([]string{"train", "demo"}, tiny(run, "rl.steps=0", "sft.steps=40")...)...)
	record := func(path string) (all string) {
		_, err := trace.Read(path, func(r trace.Record) error {
			all += fmt.Sprintln(r.Key, r.IDs, r.LogProbs, r.Outcome)
			return nil
		})
		require.NoError(t, err)
		return all
	}
	one, three := filepath.Join(dir, "one.jsonl"), filepath.Join(dir, "three.jsonl")
	retool(t, "eval", "--from", run, "--out", one)
	meet := "run=" + filepath.Join(dir, "meet")
	for i, r := range startRanks(t, 3, "eval", "--from", run, "--out", three, "--set", meet) {
		require.NoError(t, r.Wait(), "rank %d: %s%s", i, r.out, r.errs)
		require.Equal(t, i == 0, strings.Contains(r.out.String(), "accuracy, avg@2 over 10 problems"))
	}
	require.NotEmpty(t, record(one))
	require.Equal(t, record(one), record(three))
}
