package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	"retool/kernels/controlgroup"
)

// What a run on the CPU has resident is within 5 % of what its plan counts; and so it is of tensors alone, when the run of next to nothing
// is taken off both. Garbage is kept small, since a short run makes little of everything else.
func TestPlansOfTheCPUAreWhatIsResident(t *testing.T) {
	if _, ok := peakResident(); !ok {
		t.Skip("this system does not say how much memory a process has had")
	}
	took := func(more ...string) (planned, all, resident float64) {
		c, out, errs := command(append([]string{"train", "tiny", "--set", "run=" + filepath.Join(t.TempDir(), "run")}, sets(soon(more))...)...)
		c.Env = append(c.Env, "GOGC=2")
		require.NoError(t, c.Run(), "%s%s", out, errs)
		said := regexp.MustCompile(`memory    planned (\S+) (\S+) of tensors,.* at most (\S+) (\S+) were resident`)
		line := said.FindStringSubmatch(out.String())
		require.NotNil(t, line, out.String())
		size := func(number, unit string) float64 {
			n, err := strconv.ParseFloat(number, 64)
			require.NoError(t, err)
			return n * map[string]float64{"MiB": 1, "GiB": 1024}[unit]
		}
		for _, part := range regexp.MustCompile(`([\d.]+) (\wiB) of \w`).FindAllStringSubmatch(line[0], -1) {
			all += size(part[1], part[2])
		}
		return size(line[1], line[2]), all, size(line[3], line[4])
	}
	p0, _, r0 := took()
	require.Less(t, p0, 10.)
	large := []string{"model.hidden=512", "model.layers=3", "model.ffn=1536", "model.heads=8", "model.kv_heads=8", "model.head_dim=64",
		"engine.step_tokens=64", "engine.pages=4", "sft.steps=2", "sft.batch=16", "sft.tokens=128", "rl.tokens=128", "rl.steps=1",
		"eval.problems=2", "protocol.name=none"}
	for _, c := range []struct {
		more  []string
		above float64
	}{{nil, 300}, {[]string{"model.lora.rank=64", "model.layers=6"}, 150}} {
		p, all, r := took(append(large, c.more...)...)
		require.Greater(t, p-p0, c.above)
		t.Logf("%v: planned %.1f − %.1f MiB, resident %.1f − %.1f MiB", c.more, p, p0, r, r0)
		require.InEpsilon(t, all, r, 0.05, "with data, program and garbage")
		require.InEpsilon(t, p-p0, r-r0, 0.05, "%v: planned %.1f − %.1f MiB, resident %.1f − %.1f", c.more, p, p0, r, r0)
	}
}

// The second part of a demo has the memory of the first: both together take no more than one.
func TestADemoTakesTheMemoryOfOnePart(t *testing.T) {
	if _, ok := peakResident(); !ok {
		t.Skip("this system does not say how much memory a process has had")
	}
	out := retool(t, append([]string{"demo"}, tiny(filepath.Join(t.TempDir(), "run"), "model.hidden=512", "model.layers=3", "model.ffn=1536",
		"model.heads=8", "model.kv_heads=8", "model.head_dim=64", "engine.step_tokens=64", "engine.pages=4", "sft.steps=1", "sft.batch=8",
		"sft.tokens=128", "rl.tokens=128", "rl.steps=1", "critic.warmup=0", "eval.problems=2", "eval.samples=1", "eval.untrained=false",
		"protocol.name=none")...)...)
	lines := regexp.MustCompile(`memory    planned (\S+) MiB of tensors,.* at most (\S+) MiB were resident`).FindAllStringSubmatch(out, -1)
	require.Len(t, lines, 2, out)
	first, err := strconv.ParseFloat(lines[0][2], 64)
	require.NoError(t, err)
	both, err := strconv.ParseFloat(lines[1][2], 64)
	require.NoError(t, err)
	require.Greater(t, first, 300.)
	require.LessOrEqual(t, both, 1.05*first)
}

// A run that cannot fit is refused before it begins, and leaves nothing behind.
func TestARunThatCannotFitIsRefused(t *testing.T) {
	run := filepath.Join(t.TempDir(), "runs", "0001")
	huge := sets([]string{"run=" + run, "model.hidden=65536", "model.ffn=262144", "model.layers=90"})
	message := refused(t, append([]string{"train", "tiny"}, huge...)...)
	require.Regexp(t, `^retool: memory: the run takes \d+\.\d\d GiB, `+
		`(this machine|the control group of this process) has \d+\.\d\d GiB: most of it is `+
		`for policy: moments of AdamW .* GiB, .*; .retool plan --device cpu. shows all$`, message)
	_, err := os.Stat(filepath.Join(run, "config.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLimitsOfControlGroups(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("unified/a/b/memory.max", "max\n")
	write("unified/a/memory.max", "1000\n")
	write("memory/x/memory.limit_in_bytes", "500\n")
	write("memory/memory.limit_in_bytes", "9223372036854771712\n")
	in := func(controller, top, dir string) controlgroup.Groups {
		return controlgroup.Groups{controller: {Top: filepath.Join(root, top), Dir: filepath.Join(root, top, dir)}}
	}
	both := in("memory", "memory", "x")
	maps.Copy(both, in("", "unified", "a"))
	for _, c := range []struct {
		groups controlgroup.Groups
		want   int64
	}{
		{in("", "unified", "a/b"), 1000}, {in("", "unified", "a"), 1000}, {in("", "unified", "other"), 0}, {nil, 0},
		{in("memory", "memory", "x/y"), 500}, {in("memory", "memory", ""), 9223372036854771712}, {in("cpu", "memory", "x"), 0}, {both, 500},
	} {
		n, found := groupLimit(c.groups)
		require.Equal(t, c.want, n, c.groups)
		require.Equal(t, c.want > 0, found, c.groups)
	}
}

func TestGarbageIsBounded(t *testing.T) {
	require.Equal(t, 100, garbagePercent(0))
	require.Equal(t, 100, garbagePercent(100<<20))
	require.Equal(t, 12, garbagePercent(256<<20))
	require.Equal(t, 3, garbagePercent(1<<30))
	require.Equal(t, 2, garbagePercent(100<<30))
}

// The memory of training (all but the pages of the KV cache) is what the design of distributed training reckons, in GB a GPU.
func TestPlansOfManyRanksAgreeWithTheDesign(t *testing.T) {
	for _, c := range []struct {
		recipe, trunk, offload string
		ranks                  int
		training               float64
		shard                  string
	}{
		{"qwen2.5-1.5b", "shared", "none", 1, 35 - 3, "optimizer"}, // less what collectives take
		{"qwen2.5-7b", "shared", "none", 1, 149 - 3, "optimizer"},
		{"qwen2.5-7b", "shared", "none", 2, 103, "optimizer"}, {"qwen2.5-7b", "own", "none", 2, 195, "optimizer"},
		{"qwen2.5-7b", "shared", "none", 8, 69, "optimizer"}, {"qwen2.5-7b", "own", "none", 8, 126, "optimizer"},
		{"qwen2.5-7b", "shared", "optimizer", 1, 58 - 3, "optimizer"}, {"qwen2.5-7b", "own", "optimizer", 1, 103 - 3, "optimizer"},
		{"qwen2.5-32b", "shared", "none", 8, 104, "all"},
		{"qwen2.5-32b", "shared", "optimizer", 8, 55, "all"}, {"qwen2.5-32b", "shared", "none", 16, 68, "all"},
	} {
		cfg, err := loadConfig(c.recipe, []string{"critic.trunk=" + c.trunk, "dist.offload=" + c.offload, "dist.shard=" + c.shard})
		require.NoError(t, err)
		shape, err := model.Shape(recipeShapes[c.recipe])
		require.NoError(t, err)
		p, err := planned(cfg, shape, unlimited, c.ranks)
		require.NoError(t, err)
		require.Equal(t, c.ranks > 1, p.Computed)
		training := 0.
		for _, x := range p.Parts {
			if x.Name != "KV pages" && !(x.Lent && x.Phases[0] == inRollout) {
				training += float64(x.Bytes) / 1e9
			}
		}
		if c.shard == "optimizer" {
			require.InEpsilon(t, p.Peak, max(p.counted.held()), 0.001)
		}
		require.InEpsilon(t, c.training, training, 0.04, "%s, critic %s, %d ranks", c.recipe, c.trunk, c.ranks)
	}
}

// Every recipe of the paper plans on as many ranks as divide its work, and refuses in one sentence what no rank can hold.
func TestRecipesPlan(t *testing.T) {
	for recipe := range recipeShapes {
		out := retool(t, "plan", recipe, "--gpus", "8", "--memory", "1024GiB")
		require.Contains(t, out, "a rank of 8, moments and master copies divided", recipe)
		require.Contains(t, out, "1024 prompts × 1 = 1024 trajectories, mini-batch 512 × 1 epochs → 2 updates a step")
		require.Contains(t, out, "a rank: 128 trajectories, 64 of a mini-batch")
		require.Contains(t, out, "at most 16384 tokens a trajectory, 16.8 M tokens a step; in passes of 16384: 64 a mini-batch, "+
			"128 a step a rank, and 128 to score")
		require.Contains(t, out, "evaluation: 60 problems × 32 = 1920 trajectories")
	}
	require.Regexp(t, `plan: it does not fit 74\.51 GiB: a rank of 8 takes .* too much, most of it for `,
		refused(t, "plan", "qwen2.5-32b", "--gpus", "8", "--memory", "80GB"))
	for want, args := range map[string][]string{
		"--gpus: want 1 to 65536, got 0":                      {"--gpus", "0"},
		"rl.minibatch has 512 trajectories, fewer than ranks": {"--gpus", "513"},
		"--gpus goes with --device gpu":                       {"--gpus", "2", "--device", "cpu"},
		`--device "tpu": want gpu or cpu`:                     {"--device", "tpu"},
		"models/none":                                         {"--set", "model.path=models/none"},
		"is more than the 32768 positions":                    {"--set", "engine.max_tokens=40000", "--set", "rl.tokens=40000"},
	} {
		require.Contains(t, refused(t, append([]string{"plan", "qwen2.5-7b"}, args...)...), want)
	}
	require.True(t, strings.HasPrefix(retool(t, "plan", "tiny", "--device", "cpu"), "Llama, 2 layers"))
}
