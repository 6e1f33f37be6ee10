package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer"
)

// The table's command: one cold start a seed, a run for each algorithm, and the same table again of what is there.
func TestBenchAlgorithmsPrintsATableOfRuns(t *testing.T) {
	dir := t.TempDir()
	args := []string{"bench", "algorithms", "--algorithms", "ppo,dapo,reinforce++", "--seeds", "5", "--dir", dir,
		"--json", filepath.Join(dir, "runs.json")}
	for _, s := range soon([]string{
		"model.layers=1", "model.hidden=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.ffn=48", "sft.batch=16",
		"sft.tokens=1024", "sft.steps=10", "rl.steps=2", "rl.tokens=1024", "eval.problems=8", "engine.max_tokens=96",
	}) {
		args = append(args, "--set", s)
	}
	table := retool(t, args...)
	for _, want := range []string{"95 % interval", "steps to 90 %", "ppo", "dapo", "reinforce++"} {
		require.Contains(t, table, want)
	}
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--json" || strings.HasSuffix(arg, "runs.json") })
	require.Equal(t, table, retool(t, args...), "what has ended is read, not run")
	other := t.TempDir()
	args[slices.Index(args, dir)] = other
	from := append(slices.Clone(args), "--from", filepath.Join(dir, "runs.json"))
	require.Equal(t, table, retool(t, from...), "what another file holds is taken from there")
	require.NoDirExists(t, filepath.Join(other, "5"))
	for _, name := range []string{"cold-start", "ppo", "dapo"} {
		require.FileExists(t, filepath.Join(dir, "5", name, "steps.log"))
	}
}

func TestEachAlgorithmIsExplainedAndHasARecipe(t *testing.T) {
	text := retool(t, "config", "explain", "rl.algorithm")
	for _, a := range trainer.Algorithms() {
		require.Contains(t, recipeNames(), "demo-"+a.Name)
		for _, want := range []string{"\n" + a.Name + ": " + a.Paper, a.Claim, a.Needs, a.Cost, "recipe    demo-" + a.Name + "\n"} {
			require.NotEmpty(t, want)
			require.Contains(t, text, want)
		}
		cfg, err := loadConfig("demo-"+a.Name, nil)
		require.NoError(t, err)
		require.Equal(t, a.Name, cfg.RL.Algorithm)
		require.Equal(t, 128, cfg.RL.Prompts*cfg.RL.Group, "as many trajectories a step as any other")
	}
	require.False(t, slices.Contains(recipeNames(), "demo-"))
	for _, key := range []string{"model.lora", "model.lora.rank"} {
		require.Contains(t, retool(t, "config", "explain", key), adapterAdvice)
	}
	require.NotContains(t, retool(t, "config", "explain", "model"), "adapters:", "other settings are among them")
	require.Contains(t, retool(t, "config", "--source", "demo-lora"), "retool sft demo --set run=runs/cold && retool train demo-lora")
}
