package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/trainer"
)

func TestEverySettingIsExplained(t *testing.T) {
	c := DefaultConfig()
	for _, s := range settings(&c) {
		require.NotEmpty(t, s.doc, "no explanation of %s", s.key)
		require.Contains(t, []string{"", resumeFree, resumeExtends}, s.resume, "the resume tag of %s", s.key)
	}
}

func TestPrintedConfigurationReloads(t *testing.T) {
	for _, recipe := range recipeNames() {
		sets := []string{"rl.lr=3e-5", "run=some/where"}
		if recipe == "demo" {
			sets = append(sets, "interp.preload=[math, cmath]")
		}
		c, err := loadConfig(recipe, sets)
		require.NoError(t, err)
		require.Equal(t, 3e-5, c.RL.LR)
		if recipe == "demo" {
			require.Equal(t, []string{"math", "cmath"}, c.Interp.Preload)
		}
		text, err := c.text()
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, text, 0o644))
		again, err := loadConfig(path, nil)
		require.NoError(t, err)
		c.typed, again.typed = nil, nil
		require.Equal(t, c, again)
	}
}

// Whatever is typed, what is printed loads again, as the same configuration.
func TestEveryConfigurationThatIsPrintedReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	rapid.Check(t, func(t *rapid.T) {
		recipe := rapid.SampledFrom(recipeNames()).Draw(t, "recipe")
		sets := rapid.SliceOfDistinct(rapid.SampledFrom([]string{
			"rl.algorithm=grpo", "rl.algorithm=gspo", "rl.algorithm=reinforce++", "rl.kl=0.1", "rl.clip_high=0.3", "rl.group=2", "rl.prompts=64",
			"protocol.name=none", "data.task=files", "critic.trunk=own", "sft.epochs=3",
			"sft.steps=0",
			"reward.use=tool-shaped", "reward.count=calls", "interp.warm=3", "critic.warmup=4", "model.path=null", "run=0010", "rl.steps=0",
			"data.traces=x # y",
			"data.mix.working=0.25", "data.mix.failing=0.2", "protocol.cap=200", "critic.lr=1e-5", "eval.problems=0",
		}), rapid.ID).Draw(t, "sets")
		c, err := loadConfig(recipe, sets)
		if err != nil {
			t.Skip() // it contradicts itself
		}
		text, err := c.text()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, text, 0o644))
		again, err := loadConfig(path, nil)
		require.NoError(t, err, "%v", sets)
		c.typed, again.typed = nil, nil
		require.Equal(t, c, again)
	})
}

// What an algorithm's paper sets differently is taken where nobody says otherwise, recipe, file or --set.
func TestAnAlgorithmBringsItsPublishedSettings(t *testing.T) {
	group := []string{"rl.group=8", "rl.prompts=16"}
	c, err := loadConfig("demo", append(group, "rl.algorithm=gspo"))
	require.NoError(t, err)
	require.Equal(t, []float64{3e-4, 4e-4}, []float64{c.RL.ClipLow, c.RL.ClipHigh})
	c, err = loadConfig("demo", append(group, "rl.algorithm=gspo", "rl.clip_high=1e-3"))
	require.NoError(t, err)
	require.Equal(t, []float64{3e-4, 1e-3}, []float64{c.RL.ClipLow, c.RL.ClipHigh})
	c, err = loadConfig("demo", []string{"rl.algorithm=vapo"})
	require.NoError(t, err)
	require.Equal(t, 10, c.Critic.Warmup, "the recipe says so")
	require.Equal(t, []float64{0.05, 1, 0.1}, []float64{c.RL.LambdaLength, c.RL.CriticLambda, c.RL.Imitate})
	for _, a := range trainer.Algorithms() { // each key is a setting, each value one that it takes, and each algorithm uses what it publishes
		sets := []string{"rl.algorithm=" + a.Name, "rl.group=8", "rl.prompts=16", "rl.minibatch=128", "rl.kl=0.1"}
		_, err := loadConfig("demo", sets)
		require.NoError(t, err, a.Name)
		for _, unused := range a.Unused() {
			require.NotContains(t, a.Published, unused, a.Name)
		}
	}
}

// A setting of a file is idle by the file's own doing, or by a --set that overrides it: only the first is refused.
func TestASetMayMakeAFilesSettingsIdle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	c, err := loadConfig("tiny", nil)
	require.NoError(t, err)
	text, err := c.text()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o644))
	for _, sets := range [][]string{
		{"protocol.name=none"}, {"rl.algorithm=grpo", "rl.group=2"}, {"data.task=files", "data.test=x"}, {"critic.trunk=own"}, {"sft.steps=0"},
	} {
		fromRecipe, err := loadConfig("tiny", sets)
		require.NoError(t, err)
		fromFile, err := loadConfig(path, sets)
		require.NoError(t, err, "%v", sets)
		require.Equal(t, fromRecipe, fromFile, "%v", sets)
	}
	_, err = loadConfig(path, []string{"protocol.name=none", "interp.warm=3"})
	require.ErrorContains(t, err, "interp.warm would do nothing")
}

func TestATextSettingIsTheText(t *testing.T) {
	for _, text := range []string{"0010", "null", "yes", "a #b", "[x]", "{a: b}", "'q'", `"q"`, "1e3", "a: b", "- x", "*y", "", "é",
		"a\x1b[0m", "\u202e", "\U0010ffff", "a\nb"} {
		c, err := loadConfig("demo", []string{"run=" + text})
		require.NoError(t, err)
		require.Equal(t, text, c.Run)
	}
	for _, text := range []string{"0010", "1e3", "1.50", "0x1F", "1_000", "yes", "TRUE", "2024-01-05"} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte("model: {path: x}\nrun: "+text+"\n"), 0o644))
		c, err := loadConfig(path, nil)
		require.NoError(t, err)
		require.Equal(t, text, c.Run)
	}
}

func TestAFileWithoutSettingsIsTheDefaults(t *testing.T) {
	shape := []string{"model.layers=1", "model.hidden=8", "model.heads=1", "model.kv_heads=1", "model.head_dim=8", "model.ffn=8"}
	want, err := loadConfig("", shape)
	require.NoError(t, err)
	for _, text := range []string{"", "\n", "# a comment\n", "---\n", "\ufeff# marked\n", "%YAML 1.2\n---\n# none\n", "sft:\nrl: ~\n"} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		got, err := loadConfig(path, shape)
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got, "%q", text)
	}
}

func TestBadConfigurationIsOneClearSentence(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	for _, c := range []struct {
		source string
		sets   []string
		want   []string
	}{
		{file("seed: 1\nsft:\n  lrr: 1\n"), nil, []string{"c.yaml:3", `unknown key "lrr" in sft`, `did you mean "lr"?`}},
		{file("seed: 1\nseed: 2\n"), nil, []string{"c.yaml:2", `key "seed"`, "line 1 already"}},
		{file("sft:\n  steps: many\n"), nil, []string{"c.yaml:2", "sft.steps: want a whole number", `got "many"`}},
		{file("- 1\n"), nil, []string{"c.yaml:1", "want settings"}},
		{file("run: caf\xe9\n"), nil, []string{"c.yaml", "not valid UTF-8"}},
		{"demo", []string{"run=caf\xe9"}, []string{`--set "run=caf`, "not valid UTF-8"}},
		{file("model:\n  lora:\n    targets: [{a: 1}]\n"), nil, []string{"c.yaml:3", "model.lora.targets: want text"}},
		{"demo", []string{"rl..lr=1"}, []string{"want key=value"}},
		{"demo", []string{"seed=1\nthreads: 2"}, []string{"--set seed=…: want a value of one line"}},
		{"demo", []string{"rl.minibach=3"}, []string{"--set rl.minibach=3", `did you mean "minibatch"?`}},
		{"demo", []string{"rl.minibatch=100"}, []string{"rl.minibatch: 100", "128"}},
		{"demo", []string{"rl.lr"}, []string{"want key=value"}},
		{"demo", []string{"rl.algorithm=grpo"}, []string{"rl.group", "at least 2, got 1"}},
		{"demo", []string{"rl.algorithm=grpo", "rl.group=8", "rl.prompts=16", "critic.warmup=3"},
			[]string{"critic.warmup would do nothing: this rl.algorithm has no critic"}},
		{"demo", []string{"critic.lr=3e-3"}, []string{"critic.lr would do nothing"}},
		{"demo", []string{"rl.algorithm=dapo"}, []string{"rl.group: dapo compares the trajectories of one prompt and needs at least 2, got 1"}},
		{"demo", []string{"rl.algorithm=dapp"}, []string{`rl.algorithm: "dapp" is not known (known: ppo, vapo, grpo,`}},
		{"demo", []string{"rl.algorithm=reinforce"}, []string{"want one update a step (rl.minibatch 128, rl.epochs 1), got 2"}},
		{"demo", []string{"rl.algorithm=gspo", "rl.group=8", "rl.prompts=16", "rl.dual_clip=3"},
			[]string{"rl.dual_clip would do nothing: rl.algorithm gspo does not use it"}},
		{"demo", []string{"rl.deviation=false"}, []string{"rl.deviation would do nothing: rl.algorithm ppo does not use it"}},
		{"demo", []string{"rl.resample=3"}, []string{"rl.resample would do nothing: rl.algorithm ppo does not use it"}},
		{"demo", []string{"rl.covariance.kl=2"}, []string{"rl.covariance.kl would do nothing: rl.algorithm ppo does not use it"}},
		{"demo", []string{"rl.filter.spread=1"}, []string{"rl.filter.spread would do nothing: rl.algorithm ppo does not use it"}},
		{"demo", []string{"rl.lambda_length=0.05", "rl.lambda=0.9"}, []string{"rl.lambda would do nothing: rl.lambda_length says what λ is"}},
		{"demo", []string{"rl.horizon=100"}, []string{"rl.horizon would do nothing: only rl.aggregate constant divides by it"}},
		{"demo", []string{"rl.kl_refresh=10"}, []string{"rl.kl_refresh would do nothing: rl.kl is 0: there is no reference"}},
		{"demo", []string{"rl.kl=0.1", "rl.kl_estimator=k4"}, []string{`rl.kl_estimator: "k4" is not known (known: k1, k2, k3)`}},
		{"demo", []string{"rl.kl=0.1", "rl.kl_in=value"}, []string{`rl.kl_in: "value" is not known (known: loss, reward)`}},
		{"demo", []string{"rl.aggregate=tokens"}, []string{`rl.aggregate: "tokens" is not known (known: token, sequence, group, constant)`}},
		{"demo", []string{"rl.filter.repetition=1"}, []string{"rl.filter.repetition: want 0 (no filter) or a share below 1, got 1"}},
		{"demo", []string{"reward.overlong.cache=10"}, []string{"reward.overlong.cache would do nothing: reward.overlong.budget is 0"}},
		{"demo", []string{"reward.overlong.budget=9", "reward.overlong.cache=10"}, []string{"reward.overlong.cache: want 1 to the 9 tokens"}},
		{"demo", []string{"rl.critic_lambda=1.5"}, []string{"rl.critic_lambda: want a number in [0, 1], or -1 (the policy's), got 1.5"}},
		{"demo-text", []string{"interp.warm=3"}, []string{"interp.warm would do nothing: protocol.name none runs no code"}},
		{"demo", []string{"rl.top_p=0"}, []string{"rl.top_p", "(0, 1]", "got 0"}},
		{"demo", []string{"rl.top_p=1e-60"}, []string{"rl.top_p", "(0, 1]", "got 1e-60"}},
		{"demo", []string{"rl.temperature=1e-60"}, []string{"rl.temperature", "positive", "got 1e-60"}},
		{"demo", []string{"rl.top_k=1"}, []string{"rl.top_k", "greedy", "gradient"}},
		{"demo", []string{"rl.top_k=-2"}, []string{"rl.top_k", "0 (all)", "got -2"}},
		{"demo", []string{"rl.min_p=1"}, []string{"rl.min_p", "[0, 1)", "greedy"}},
		{"demo", []string{"rl.min_p=-0.1"}, []string{"rl.min_p", "[0, 1]", "got -0.1"}},
		{"demo", []string{"model.lora.rank=-1"}, []string{"model.lora.rank: want 0 (all weights are learnt) or more, got -1"}},
		{"demo", []string{"model.lora.rank=4", "model.lora.alpha=0"}, []string{"model.lora.alpha: want a number above 0, got 0"}},
		{"demo", []string{"model.lora.rank=4", "model.lora.alpha=.nan"}, []string{"model.lora.alpha: want a finite number"}},
		{"demo", []string{"model.lora.rank=4", "model.lora.targets=[]"}, []string{"model.lora.targets: want at least one module"}},
		{"demo", []string{"model.lora.rank=4", "model.lora.targets=q_proj"}, []string{"model.lora.targets: want a list", `got "q_proj"`}},
		{"demo", []string{"model.lora.alpha=4"}, []string{"model.lora.alpha would do nothing: model.lora.rank is 0"}},
		{"demo", []string{"model.lora.rank=4", "rl.kl=0.1", "rl.kl_refresh=5"}, []string{"the reference is the base"}},
		{"demo", []string{"engine.max_tokens=100000"}, []string{"rl.tokens", "100000"}},
		{"demo", []string{"device=tpu"}, []string{`device: "tpu" is not known`}},
		{"demo", []string{"data.mix.working=0.9"}, []string{"data.mix", "want 1"}},
		{"demo", []string{"interp.limits.cpu=-1s"}, []string{"limits.cpu"}},
		{"demo", []string{"interp.limits.cpu=5"}, []string{"interp.limits.cpu: want a duration such as 5s", `got "5"`}},
		{"demo", []string{"seed=18446744073709551616"}, []string{"seed: 18446744073709551616 is beyond 64 bits"}},
		{"demo", []string{"rl.steps=9223372036854775808"}, []string{"rl.steps", "beyond 64 bits"}},
		{"demo", []string{"seed=-1"}, []string{"seed: want a whole number, not negative"}},
		{"demo", []string{"rl.steps=2.5"}, []string{`rl.steps: want a whole number, got "2.5"`}},
		{"demo", []string{"rl.steps=1e3"}, []string{"rl.steps: want a whole number"}},
		{"demo", []string{"rl.steps=010"}, []string{"without a leading zero"}},
		{"demo", []string{"rl.steps="}, []string{`rl.steps: want a whole number, got ""`}},
		{"demo", []string{"rl.lr=1e400"}, []string{"rl.lr: 1e400 is beyond 64 bits"}},
		{"demo", []string{"rl.kl=.nan"}, []string{`rl.kl: want a finite number, got ".nan"`}},
		{"demo", []string{"sft=3"}, []string{"sft"}},
		{file("seed: 1\n---\nseed: 2\n"), nil, []string{"c.yaml:3: a second document"}},
		{file("seed: 1\nsft: {steps: 2, epochs: 3}\n"), nil, []string{"c.yaml:2: sft.epochs would do nothing"}},
		{"demo", []string{"threads=99999"}, []string{"threads: want at most 1024, got 99999"}},
		{file("interp: {limits: {memory: 512mb}}\n"), nil, []string{"c.yaml:1: interp.limits.memory", `"512mb"`}},
		{"demos", nil, []string{`"demos" is neither an embedded recipe (did you mean demo? known: demo-text, `}},
	} {
		_, err := loadConfig(c.source, c.sets)
		require.Error(t, err, "%v", c.sets)
		require.True(t, strings.HasPrefix(err.Error(), "config: "), err.Error())
		require.NotContains(t, err.Error(), "\n")
		for _, want := range c.want {
			require.Contains(t, err.Error(), want)
		}
	}
}

func TestFlagsMayFollowArguments(t *testing.T) {
	commands := app().Commands
	for in, want := range map[string]string{
		"retool train demo --set a=1 --set b=2": "retool train --set a=1 --set b=2 demo",
		"retool train --set a=1 demo":           "retool train --set a=1 demo",
		"retool bench kernels --json x":         "retool bench kernels --json x",
		"retool eval --json --from x":           "retool eval --json --from x",
		"retool config explain rl.lr":           "retool config explain rl.lr",
		"retool exec - --timeout 3s":            "retool exec --timeout 3s -",
		"retool --help":                         "retool --help",
	} {
		require.Equal(t, want, strings.Join(flagsFirst(strings.Fields(in), commands), " "))
	}
}

// Every setting of a recipe of the paper says whether the paper gives it, and the recipe is what it says.
func TestRecipesOfThePaperAreMarked(t *testing.T) {
	for name := range recipeShapes {
		text, err := recipes.ReadFile("recipes/" + name + ".yaml")
		require.NoError(t, err)
		for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			value, comment, _ := strings.Cut(line, "#")
			value = strings.TrimSpace(value)
			if value != "" && !strings.HasSuffix(value, ":") {
				require.Regexp(t, `^ (paper|ours|cpu: paper)`, comment, "%s:%d: %s", name, n+1, line)
			}
		}
		c, err := loadConfig(name, nil)
		require.NoError(t, err, name)
		require.Equal(t, "models/Qwen2.5-"+strings.ToUpper(strings.TrimPrefix(name, "qwen2.5-"))+"-Instruct", c.Model.Path)
		require.Equal(t, []any{"ppo", 400, 512, 1e-6, 0.}, []any{c.RL.Algorithm, c.RL.Steps, c.RL.Minibatch, c.RL.LR, c.RL.KL}, "the paper's")
		require.Equal(t, []any{2, 16384, 32, 1., 0.7}, []any{c.SFT.Epochs, c.Engine.MaxTokens, c.Eval.Samples, c.Eval.Temperature, c.Eval.TopP})
		require.Equal(t, "tags", c.Protocol.Name)
		require.Equal(t, "paper", c.Reward.Use)
		require.Contains(t, retool(t, "config", name), "path: models/Qwen2.5-")
		require.Equal(t, string(text), retool(t, "config", "--source", name))
	}
	require.Contains(t, refused(t, "config", "--source"), "config: --source wants a recipe (demo-text, demo, ")
	require.Contains(t, refused(t, "config", "--source", "x.yaml"), "config: --source wants a recipe (demo-text, demo, ")
}
