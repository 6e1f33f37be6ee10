package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer"
)

// A control differs from its recipe in the tool and in what the traces show, never in problems, number of traces or budget.
func TestAControlHasTheBudgetOfItsRecipe(t *testing.T) {
	free := []string{"protocol.", "interp.", "data.mix.", "engine.turns", "eval.untrained"}
	pairs := 0
	for _, name := range recipeNames() {
		base, ok := strings.CutSuffix(name, textRecipe)
		if !ok {
			continue
		}
		pairs++
		tool, err := loadConfig(base, nil)
		require.NoError(t, err)
		text, err := loadConfig(name, nil)
		require.NoError(t, err)
		require.True(t, tool.tools())
		require.False(t, text.tools())
		there := settings(tool)
		for i, s := range settings(text) {
			if !among(s.key, free) {
				require.Equal(t, there[i].text(), s.text(), "%s: %s", name, s.key)
			}
		}
		require.Equal(t, tool.Protocol.Template, text.Protocol.Template)
		require.Equal(t, tool.Protocol.Chat, text.Protocol.Chat)
	}
	require.Equal(t, 2, pairs)
}

// The second directory lies in the first, which rank 0 names as it was given and others by what rank 0 made of it.
func TestDemoOnRanksTakesARelativeDirectory(t *testing.T) {
	t.Parallel()
	for _, run := range []string{"run", ""} {
		args := tinyParts(run, "sft.steps=2", "rl.steps=1", "critic.warmup=0", "eval.problems=2", "eval.untrained=false")
		c, out, errs := command(append([]string{"launch", "--procs", "2", "--", "demo"}, args...)...)
		c.Dir = t.TempDir()
		require.NoError(t, c.Run(), "%s\n%s", out, errs)
		if run == "" {
			run = filepath.Join("runs", "0001")
		}
		whole(t, filepath.Join(c.Dir, run))
		require.NotEmpty(t, trainer.Latest(filepath.Join(c.Dir, run, "text")))
	}
}

func TestDemoNamesItsRecipes(t *testing.T) {
	for _, args := range [][]string{{"tiny"}, {"demo-text"}, {"nowhere.yaml"}} {
		cmd, _, errs := command(append([]string{"demo"}, args...)...)
		require.Error(t, cmd.Run())
		require.Contains(t, errs.String(), "demo takes one recipe that has a control without the tool (demo, smollm2-135m), got")
		require.Equal(t, 1, strings.Count(errs.String(), "\n"))
	}
}

// A pretrained model is looked for in the user's cache; without it, the sentence says how to get it, and no run directory is left.
func TestAPretrainedModelIsFoundOrNamed(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache) // of a Mac
	run := filepath.Join(t.TempDir(), "run")
	cmd, _, errs := command("train", "smollm2-135m", "--set", "run="+run)
	require.Error(t, cmd.Run())
	require.Contains(t, errs.String(), "model.path: cache:smollm2-135m: there is no folder")
	require.Contains(t, errs.String(), "run `make pretrained`")

	c, err := loadConfig("smollm2-135m", nil)
	require.NoError(t, err)
	located := c.located()
	require.Equal(t, "cache:smollm2-135m", located.Model.Path) // what is stored holds no path of this machine
	there, err := os.UserCacheDir()
	require.NoError(t, err)
	want := filepath.Join(there, "retool", "models", "smollm2-135m")
	require.NoError(t, os.MkdirAll(want, 0o755))
	dir, err := c.Model.folder()
	require.NoError(t, err)
	require.Equal(t, want, dir)
	dir, err = Model{Path: "some/where"}.folder()
	require.NoError(t, err)
	require.Equal(t, "some/where", dir)
}
