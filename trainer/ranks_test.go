package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine/model"
	"retool/engine/safetensors"
	k "retool/kernels"
	"retool/kernels/emu"
	"retool/trainer/dist"
	"retool/trainer/trace"
)

// ways are those in which a run learns. Each begins with a cold start.
var ways = map[string]func(*Config){
	"sft":                func(c *Config) { c.RL.Steps = 0; c.SFT.Steps = 6 },
	"ppo, shared critic": func(c *Config) { c.Critic.Warmup = 1 },
	"ppo, own critic": func(c *Config) {
		c.Critic = Critic{Trunk: "own", LR: 1e-3, Warmup: 1, ValueClip: 0.5}
	},
	"gspo": func(c *Config) {
		c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.ClipLow, c.RL.ClipHigh = "gspo", 4, 4, 1e-3, 1e-3
	},
	"dapo, fresh prompts, a reference that moves": func(c *Config) {
		c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.Resample, c.RL.KL, c.RL.KLRefresh = "dapo", 4, 4, 2, 0.1, 2
		c.RL.KLIn, c.RL.Filter = "reward", Filter{Repetition: 0.9}
	},
	"clip-cov": func(c *Config) {
		c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.Covariance = "clip-cov", 8, 2, Covariance{Share: 0.2, Low: 0.01, High: 5, KL: 1}
	},
	"top-p, top-k, min-p": func(c *Config) {
		c.Critic.Warmup, c.RL.TopP, c.RL.TopK, c.RL.MinP, c.RL.KL, c.RL.Entropy = 1, 0.95, 7, 0.01, 0.1, 0.01
	},
	"grpo": func(c *Config) { c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.KL = "grpo", 8, 2, 0.1 },
}

// small is a few steps, and passes so short that a slice has several.
func small(c *Config) {
	c.SFT.Steps, c.SFT.Batch, c.SFT.Tokens = 2, 12, 9
	c.RL.Steps, c.RL.Prompts, c.RL.Minibatch, c.RL.Tokens, c.RL.LR = 3, 16, 8, 9, 1e-3
	c.Eval.Every, c.Eval.Samples, c.Checkpoint.Every, c.Checkpoint.Keep = 2, 2, 100, 20
	c.Dist.Slices = 4
}

// wide has five tiles of numbers: of four ranks each has some.
func wide(c *model.Config) {
	c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 2, 128, 2, 1, 64, 256
}

// elsewhere, when set, changes a rank's run before it begins.
var elsewhere func(rank int, r *Run)

// together trains on so many ranks, goroutines of this process, each with a device of its own. After stop steps, if that is not 0, the
// last rank is asked to stop.
func together(t *testing.T, dir string, ranks, stop int, edits ...func(*Config)) (*State, *listener, error) {
	return togetherOn(t, func() k.Device { return k.NewCPU(1) }, model.Options{}, wide, dir, ranks, stop, edits...)
}

// withEdits is the settings that edits make.
func withEdits(edits []func(*Config)) Config {
	c := DefaultConfig()
	small(&c)
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

// joined makes the ranks of a test: what joins them may be another thing.
var joined = dist.Local

func togetherOn(t *testing.T, device func() k.Device, opt model.Options, shape func(*model.Config), dir string, ranks, stop int,
	edits ...func(*Config)) (*State, *listener, error) {
	runs, lead := make([]*Run, ranks), &listener{}
	contexts := make([]context.Context, ranks)
	comms := joined(ranks)
	for i := range runs {
		opt.Sharded = opt.Sharded || ranks > 1
		if settings := withEdits(edits); settings.Dist.Shard == "all" {
			opt.Division, opt.HostCopy = &Divided{Comm: comms[i], Name: "model"}, settings.Dist.Offload == "optimizer"
		}
		l := newLabOn(t, device(), opt, func(c *Config) {
			small(c)
			for _, edit := range edits {
				edit(c)
			}
		}, shape)
		var heard *listener
		runs[i], heard = l.run(dir)
		runs[i].Comm = comms[i]
		if elsewhere != nil {
			elsewhere(i, runs[i])
		}
		var cancel context.CancelFunc
		contexts[i], cancel = context.WithCancel(context.Background())
		defer cancel()
		if i == 0 {
			lead = heard
		}
		if i == ranks-1 {
			lead.stop = func() {
				if len(lead.steps) == stop {
					cancel()
				}
			}
		}
	}
	states, errs := make([]*State, ranks), make([]error, ranks)
	var wait sync.WaitGroup
	for i, r := range runs {
		wait.Go(func() {
			states[i], errs[i] = r.Train(contexts[i])
			comms[i].Close()
		})
	}
	wait.Wait()
	for i := range runs {
		if errs[i] == nil {
			require.Equal(t, states[0].Evaluated, states[i].Evaluated)
			require.Equal(t, "done", states[i].Phase, "rank %d", i)
		}
		require.Equal(t, errs[0] == nil, errs[i] == nil, "%v", errs)
	}
	return states[0], lead, errors.Join(errs...)
}

// outcome is what a run came to, as one text for each kind: weights, moments, trajectories, metrics, evaluations; times left out.
func outcome(t *testing.T, dir string, s *State) map[string]string {
	out := map[string]string{}
	for name, text := range files(t, dir) {
		if !strings.HasPrefix(name, "/optimizer") {
			out[name] = text
		}
	}
	f, err := openOptimizer(Latest(dir))
	require.NoError(t, err)
	defer f.close()
	for _, name := range []string{"m", "v", "critic.m", "critic.v"} {
		n := 0
		for _, p := range f.pieces(name) {
			n = p.To
		}
		if n == 0 && strings.HasPrefix(name, "critic.") {
			continue
		}
		values, err := f.read(name, n, dist.Range{To: n})
		require.NoError(t, err)
		out[name] = fmt.Sprint(values)
	}
	text, err := os.ReadFile(filepath.Join(dir, "trajectories.jsonl"))
	require.NoError(t, err)
	out["trajectories"] = string(text)
	read(t, filepath.Join(dir, "metrics.jsonl"), func(m trace.Metrics) error {
		m.Speed, m.Time, m.Since, m.Ranks = 0, 0, 0, nil
		if m.RL != nil {
			m.Rollout, m.ToolWait, m.Score, m.Train, m.DecodeRate = 0, 0, 0, 0, 0
			out["metrics"] += fmt.Sprintf("%+v", *m.RL)
			m.RL = nil
		}
		out["metrics"] += fmt.Sprintf("%+v\n", m)
		return nil
	})
	for _, e := range s.Evaluations {
		e.Seconds = 0
		out["evaluations"] += fmt.Sprintf("%+v\n", e)
	}
	return out
}

// read is each, in one slice.
func (f *optimizerFiles) read(name string, n int, own dist.Range) ([]float32, error) {
	values := make([]float32, own.Len())
	err := f.each(name, n, own, func(from int, some []float32) { copy(values[from:], some) })
	return values, err
}

// same names what differs, without printing a model.
func same(t *testing.T, want, got map[string]string, what string) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for name := range want {
		require.True(t, want[name] == got[name], "%s: %s differs", what, name)
	}
}

func TestEveryRankCountGivesTheSameBits(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want map[string]string
			for _, ranks := range []int{1, 2, 4} {
				dir := t.TempDir()
				s, heard, err := together(t, dir, ranks, 0, way)
				require.NoError(t, err)
				require.Empty(t, heard.notes)
				got := outcome(t, dir, s)
				if want == nil {
					want = got
					require.Contains(t, want["metrics"], "Loss")
				}
				same(t, want, got, fmt.Sprintf("%d ranks", ranks))
			}

			other := t.TempDir() // the control: without slices the bits are others
			s, _, err := together(t, other, 1, 0, way, func(c *Config) { c.Dist.Slices = 1 })
			require.NoError(t, err)
			got := outcome(t, other, s)
			require.False(t, want["/model.safetensors"] == got["/model.safetensors"], "without slices")

			parts := t.TempDir() // begun on 4, gone on with on 2, 1 and 4, each asked to stop within
			for i, ranks := range []int{4, 2, 1, 4} {
				stop := 2
				if i == 3 {
					stop = 0
				}
				s, _, err = together(t, parts, ranks, stop, way, func(c *Config) { c.Checkpoint.Every = 1 })
				if stop > 0 && (s == nil || err != nil) {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
			require.NoError(t, err)
			same(t, want, outcome(t, parts, s), "4, 2, 1 and 4 ranks")
		})
	}
}

// On a GPU the weights are bf16, and the master copy is divided as the moments are. Rollouts are truncated: their sets cross ranks. That
// pages have the memory of learning in turn changes no bit, and nothing that fits is evicted.
func TestRanksOfGPUsGiveTheSameBits(t *testing.T) {
	device := func() k.Device {
		g, err := k.NewGPU(emu.New(emu.Options{Capability: 80, Queued: true}))
		require.NoError(t, err)
		return g
	}
	half := func(c *model.Config) { // two tiles and a bit
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 2, 64, 1, 1, 64, 256
	}
	var want map[string]string
	for _, c := range []struct {
		ranks   int
		offload string
		lends   bool
	}{{1, "none", false}, {2, "none", true}, {1, "optimizer", true}, {2, "optimizer", false}} {
		ranks, offload := c.ranks, c.offload
		dir := t.TempDir()
		opt := model.Options{DType: k.BF16, Sharded: offload != "none", Lends: c.lends}
		s, heard, err := togetherOn(t, device, opt, half, dir, ranks, 0, ways["ppo, own critic"], func(c *Config) {
			c.Dist.Slices, c.SFT.Steps, c.RL.Steps, c.RL.Prompts, c.RL.Minibatch, c.Eval.Problems = 2, 1, 1, 4, 4, 0
			c.Critic.Warmup, c.Dist.Offload = 0, offload
			c.SFT.Batch, c.SFT.Tokens, c.RL.Tokens = 4, 64, 64
			c.RL.TopP, c.RL.TopK = 0.9, 6
		})
		require.NoError(t, err)
		require.Zero(t, heard.steps[1].Difference)
		require.Greater(t, heard.steps[1].Kept, 1.)
		got := outcome(t, dir, s)
		require.NotContains(t, got["trajectories"], `"evicted"`)
		if want == nil {
			want = got
		}
		same(t, want, got, fmt.Sprintf("%d ranks, offload %s", ranks, offload))
	}
}

// With halves of weights and moments rounded by chance, 1, 2 and 4 ranks end in the same bits, and so does a run that goes on on others;
// rollouts are what training computes. Its bits are not those of float32 states.
func TestHalvesGiveTheSameBitsOnEveryRankCount(t *testing.T) {
	cpu := func() k.Device { return k.NewCPU(1) }
	run := func(dir string, ranks, stop int, halves bool, edits ...func(*Config)) (*State, *listener, error) {
		edits = append([]func(*Config){ways["ppo, own critic"], func(c *Config) { c.RL.Steps, c.Eval.Problems = 2, 0 }}, edits...)
		return togetherOn(t, cpu, model.Options{DType: k.BF16, Halves: halves}, wide, dir, ranks, stop, edits...)
	}
	var want map[string]string
	for _, ranks := range []int{1, 2, 4} {
		dir := t.TempDir()
		s, heard, err := run(dir, ranks, 0, true)
		require.NoError(t, err)
		for _, m := range heard.steps[2:] {
			require.Zero(t, m.Difference)
		}
		got := outcome(t, dir, s)
		if want == nil {
			want = got
			for _, moment := range []string{"m", "v", "critic.m", "critic.v"} {
				for _, text := range strings.Fields(strings.Trim(want[moment], "[]")) {
					x, err := strconv.ParseFloat(text, 32)
					require.NoError(t, err)
					require.Zero(t, math.Float32bits(float32(x))&0xffff, "%s of %s is no number of bf16", text, moment)
				}
			}
		}
		same(t, want, got, fmt.Sprintf("%d ranks", ranks))
	}
	parts := t.TempDir()
	var last *State
	for i, ranks := range []int{4, 1, 2} {
		stop := 1
		if i == 2 {
			stop = 0
		}
		s, _, err := run(parts, ranks, stop, true, func(c *Config) { c.Checkpoint.Every = 1 })
		if stop > 0 {
			require.ErrorIs(t, err, context.Canceled)
		} else {
			require.NoError(t, err)
		}
		last = s
	}
	same(t, want, outcome(t, parts, last), "4, 1 and 2 ranks")

	other := t.TempDir()
	s, _, err := run(other, 1, 0, false)
	require.NoError(t, err)
	require.False(t, want["/model.safetensors"] == outcome(t, other, s)["/model.safetensors"])
}

// Another number of ranks that the slices do not divide among is no error, and no secret.
func TestOtherSlicesAreSaid(t *testing.T) {
	dir := t.TempDir()
	auto := func(c *Config) { c.Dist.Slices, c.RL.Steps, c.SFT.Steps, c.Checkpoint.Every = 0, 0, 3, 1 }
	_, _, err := together(t, dir, 2, 2, auto)
	require.ErrorIs(t, err, context.Canceled)
	s, heard, err := together(t, dir, 3, 0, auto)
	require.NoError(t, err)
	require.Equal(t, 3, s.Slices)
	require.Contains(t, strings.Join(heard.notes, "\n"),
		"on 2 ranks in minibatches of 2 slices and goes on on 3 ranks in minibatches of 3 slices: from here on its bits differ")
	_, _, err = together(t, t.TempDir(), 3, 0, auto, func(c *Config) { c.Dist.Slices = 4 })
	require.ErrorContains(t, err, "dist.slices: 4 slices do not divide among 3 ranks")
	same := func(a, b int) bool { return sameSums("optimizer", 12, a, b) }
	require.True(t, same(3, 6) && same(1, 12) && !same(1, 2) && same(2, 2))
	same = func(a, b int) bool { return sameSums("all", 12, a, b) }
	require.True(t, same(1, 2) && same(4, 12) && !same(1, 3) && same(3, 3))
}

// Whatever one rank cannot write, no rank has a checkpoint of it, and the one before is as it was.
func TestCheckpointVote(t *testing.T) {
	dir := t.TempDir()
	way := func(c *Config) { c.RL.Steps, c.SFT.Steps, c.Checkpoint.Every = 0, 3, 1 }
	_, _, err := together(t, dir, 2, 1, way)
	require.ErrorIs(t, err, context.Canceled)
	before, name := files(t, dir), Latest(dir)

	// Rank 1 has the checkpoint and the folder of the next in a place of its own, where nothing can be written.
	alone := t.TempDir()
	require.NoError(t, os.CopyFS(alone, os.DirFS(dir)))
	elsewhere = func(rank int, r *Run) {
		if rank == 1 {
			r.Dir = alone
		}
	}
	_, _, err = together(t, dir, 2, 0, way)
	elsewhere = nil
	require.ErrorContains(t, err, "optimizer-001.safetensors")
	require.ErrorContains(t, err, "no such file or directory; the checkpoints before it are intact")
	require.ErrorContains(t, err, "checkpoint "+filepath.Join(dir, "checkpoints", "2")+": rank 1 (")
	require.Equal(t, name, Latest(dir))
	require.Equal(t, before, files(t, dir))
	entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, strings.HasPrefix(e.Name(), partial), "the partial folder is gone")
	}

	s, _, err := together(t, dir, 4, 0, way) // and from there on the run ends as if nothing had been
	require.NoError(t, err)
	whole := t.TempDir()
	w, _, err := together(t, whole, 1, 0, way)
	require.NoError(t, err)
	same(t, outcome(t, whole, w), outcome(t, dir, s), "after a full disk")
}

// A step that was given up leaves no sum behind.
func TestNoSumOutlivesAStep(t *testing.T) {
	l := newLab(t, nil)
	learner := NewLearner(l.dev, l.policy, l.cfg.SFT.Optimizer, NewRanks(nil, 4), "policy", false)
	defer learner.Close()
	gradient := func(slices int) []float32 {
		require.NoError(t, learner.Begin())
		for i := range slices {
			g := make([]float32, l.policy.G.All.Len())
			for j := range g {
				g[j] = float32(i + j%7)
			}
			require.NoError(t, l.policy.SettleGrad())
			l.dev.Upload(l.policy.G.All, g)
			require.NoError(t, learner.Sliced())
		}
		out := make([]float32, l.policy.G.All.Len())
		l.dev.Download(out, learner.gradient())
		return out
	}
	want := gradient(4)
	require.Equal(t, float32(6+4*3), want[3])
	gradient(3)
	require.Equal(t, want, gradient(4))
}

// Files of today's single rank hold moments whole.
func TestMomentsOfBeforeRangesAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "ranks-moments-")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		n := rapid.IntRange(1, 5).Draw(t, "tiles")*dist.Tile - rapid.IntRange(0, 100).Draw(t, "less")
		whole := make([]float32, n)
		for i := range whole {
			whole[i] = float32(i % 1013)
		}
		write := func(file, name string, x []float32) {
			named := safetensors.Named{Name: name, Shape: []int{len(x)}, Data: func() ([]float32, error) { return x, nil }}
			require.NoError(t, safetensors.Write(filepath.Join(dir, file), []safetensors.Named{named}, nil))
		}
		wrote := rapid.IntRange(0, 5).Draw(t, "ranks that wrote; 0: the old form")
		if wrote == 0 {
			write("optimizer.safetensors", "m", whole)
		}
		missing := -1
		if wrote > 1 {
			missing = rapid.IntRange(-1, wrote-1).Draw(t, "missing")
		}
		for rank, p := range dist.Divide(n, max(1, wrote)) {
			if wrote > 0 && p.Len() > 0 && rank != missing {
				write(optimizerFile(rank), fmt.Sprintf("m@%d", p.From), whole[p.From:p.To])
			}
		}
		f, err := openOptimizer(dir)
		if err != nil {
			require.ErrorContains(t, err, "is missing")
			return
		}
		defer f.close()
		lost := missing >= 0 && dist.Divide(n, wrote)[missing].Len() > 0
		for _, p := range dist.Divide(n, rapid.IntRange(1, 6).Draw(t, "ranks that read")) {
			got, err := f.read("m", n, p)
			if lost {
				require.ErrorContains(t, err, "trainer: "+dir)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, whole[p.From:p.To], got)
		}
	})
}

// Slices are a division of the minibatch, as even as whole episodes allow.
func TestSlicesAreEven(t *testing.T) {
	l := newLab(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		var mini []*Episode
		longest, all := 0, 0
		for range rapid.IntRange(0, 40).Draw(t, "episodes") {
			e := NewEpisode(l.data.Traces[0].Trajectory, l.data.Train[0], 0)
			tr := *e.Trajectory
			e.Trajectory = &tr
			for range rapid.IntRange(0, 50).Draw(t, "length") {
				tr.Sample(1, 0)
			}
			mini = append(mini, e)
			longest, all = max(longest, e.Len()), all+e.Len()
		}
		n := rapid.IntRange(1, 9).Draw(t, "slices")
		seen := map[*Episode]bool{}
		for _, s := range slicesOf(mini, n) {
			tokens := 0
			for _, e := range s {
				require.False(t, seen[e])
				seen[e] = true
				tokens += e.Len()
			}
			require.LessOrEqual(t, tokens, all/n+longest)
		}
		require.Len(t, seen, len(mini))
		require.Equal(t, append([]*Episode(nil), mini...), append([]*Episode(nil), slicesOf(mini, 1)[0]...))
	})
}

// What ends a rank's own work is its error at once, whatever the others do; that it was asked to stop, all hear.
func TestWhyARankStops(t *testing.T) {
	comms := dist.Local(2)
	ranks := []*Ranks{NewRanks(comms[0], 2), NewRanks(comms[1], 2)}
	reason := errors.New("no interpreter opens")
	failing, fail := context.WithCancelCause(context.Background())
	fail(reason)
	require.Equal(t, reason, ranks[0].stopped(failing, "step 1"))

	asked, ask := context.WithCancel(context.Background())
	ask()
	errs := make([]error, 2)
	var wait sync.WaitGroup
	for i, ctx := range []context.Context{context.Background(), asked} {
		wait.Go(func() { errs[i] = ranks[i].stopped(ctx, "step 1") })
	}
	wait.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "rank 1 was asked to stop")
	}
	for _, c := range comms {
		require.NoError(t, c.Close())
	}
}
