package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"retool/engine/model"
	"retool/kernels"
	"retool/trainer"
	"retool/trainer/dist"
)

// A plan counts what the program allocates: 8 bytes of moments for each published parameter, and for a policy without a critic 10 more of
// weights, gradients and masters.
func TestPlansCountWhatIsAllocated(t *testing.T) {
	cfg, err := loadConfig("demo", []string{"critic.trunk=own", "engine.max_tokens=160", "device=gpu"})
	require.NoError(t, err)
	for name, billions := range map[string]float64{"q05": 0.494, "q15": 1.544, "q3": 3.086, "q7": 7.616, "q32": 32.764} {
		shape, err := model.Shape(name)
		require.NoError(t, err)
		shape.MaxPositions = 1024
		p, err := planned(cfg, shape, 1<<41, 1)
		require.NoError(t, err)
		of := map[string]float64{}
		for _, x := range p.Parts {
			of[x.Name] = float64(x.Bytes) / 1e9
		}
		head := float64(shape.Vocab*shape.Hidden) / 1e9 // the critic has none of its own
		if shape.Tied {
			head = 0
		}
		for model, n := range map[string]float64{"policy": billions, "critic": billions - head} {
			for part, bytes := range map[string]float64{"weights": 2, "gradients": 4, "float32 master copy": 4, "moments of AdamW": 8} {
				require.InEpsilon(t, bytes*n, of[model+": "+part], 0.005, "%s %s: %s", name, model, part)
			}
		}
		require.InEpsilon(t, p.Peak, max(p.counted.held()), 0.01, name)

		cfg.Model.States = "halves"
		p, err = planned(cfg, shape, 1<<41, 1)
		require.NoError(t, err)
		cfg.Model.States = "float32"
		learnt := 0.
		for _, x := range p.Parts {
			if strings.HasPrefix(x.Name, "policy: ") && !strings.Contains(x.Name, "activations") {
				learnt += float64(x.Bytes) / 1e9
			}
		}
		require.InEpsilon(t, 12*billions, learnt, 0.005, name)
	}
}

// A run fits into exactly what its plan says, and not into less.
func TestPlansAreExact(t *testing.T) {
	for _, device := range []string{"gpu", "cpu"} {
		cfg, err := loadConfig("tiny", []string{"device=" + device})
		require.NoError(t, err)
		shape, err := plannedShape(cfg, "")
		require.NoError(t, err)
		p, err := planned(cfg, shape, 1<<33, 1)
		require.NoError(t, err)
		require.NoError(t, p.fits())
		require.Equal(t, device == "gpu", p.Lent > 0)
		p.Memory = p.Peak
		require.NoError(t, p.fits())
		p.Memory--
		require.ErrorContains(t, p.fits(), "it does not fit")
		require.Contains(t, p.Batch[1], "4 prompts")
	}
}

// What a plan counts on a GPU is what the same run allocates on one: the emulator's allocator says so at the end.
func TestPlansAreWhatTheEmulatedGPUAllocates(t *testing.T) {
	for name, more := range map[string][]string{
		"all weights": nil,
		"an adapter":  {"model.lora.rank=2", "critic.trunk=own", "rl.kl=0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := loadConfig("tiny", append([]string{"device=emu", "protocol.name=none"}, more...))
			require.NoError(t, err)
			shape, err := plannedShape(cfg, "")
			require.NoError(t, err)
			counted, err := countMemory(cfg, cfg.training(), shape, 1)
			require.NoError(t, err)
			p, err := build(t.Context(), cfg, use{train: true, concurrent: cfg.concurrency()})
			require.NoError(t, err)
			defer p.Close()
			ppo := trainer.NewPPO(cfg.Config, trainer.NewRanks(nil, 1), p.dev, p.policy, p.critic, p.ref, p.engine, p.proto, p.tok.Bytes)
			defer ppo.Close()
			require.NoError(t, ppo.Generates())
			require.NoError(t, ppo.Learns())
			require.InEpsilon(t, counted.peak, p.dev.(*kernels.GPU).Peak(), 0.01)
		})
	}
}

// What truncated sampling keeps of a step is in the plan, with room for every trajectory of a rank; it is what the first step of all of
// them allocates.
func TestPlansCountWhatTruncatedSamplingKeeps(t *testing.T) {
	const draws = 16
	cfg, err := loadConfig("tiny", []string{"device=emu", "protocol.name=none", "rl.prompts=16", "rl.minibatch=16", "rl.top_p=0.7",
		"eval.problems=0", "engine.pages=2000"}) // more than learning takes
	require.NoError(t, err)
	shape, err := plannedShape(cfg, "")
	require.NoError(t, err)
	kept := func(ranks int) (n int64) {
		counted, err := countMemory(cfg, cfg.training(), shape, ranks)
		require.NoError(t, err)
		for _, x := range counted.parts {
			if x.Name == "kept sets of a step" {
				require.Equal(t, []phase{inRollout}, x.Phases)
				n += x.Bytes
			}
		}
		return n
	}
	require.InEpsilon(t, draws/4*3/2*shape.Vocab/8, kept(4), 0.1)
	p, err := build(t.Context(), cfg, use{train: true, concurrent: cfg.concurrency()})
	require.NoError(t, err)
	defer p.Close()
	feeds := make([]model.Feed, draws)
	for i := range feeds {
		feeds[i] = model.Feed{IDs: []int32{int32(i)}, Pages: []int32{int32(i)}, Key: int64(i), Draw: true}
	}
	how := kernels.Sampling{Temperature: 1, TopP: 0.7, Vocab: shape.Vocab}
	require.NoError(t, p.policy.Assemble())
	_, _, err = p.policy.Step(feeds, how)
	require.NoError(t, err)
	before := p.dev.(*kernels.GPU).Peak()
	_, _, _, err = p.policy.StepKept(feeds, how)
	require.NoError(t, err)
	require.InEpsilon(t, p.dev.(*kernels.GPU).Peak()-before, kept(1), 0.1)
	cfg.RL.TopP = 1
	require.Zero(t, kept(1))
}

// ledger is a device that says how much is allocated on it.
type ledger struct {
	kernels.Device
	live int64
}

func (l *ledger) Alloc(dtype kernels.DType, shape ...int) kernels.Tensor {
	x := l.Device.Alloc(dtype, shape...)
	l.live += int64(x.Len() * dtype.Size())
	return x
}

func (l *ledger) Free(x kernels.Tensor) {
	if !x.Absent() {
		l.live -= int64(x.Len() * x.DType().Size())
	}
	l.Device.Free(x)
}

// Gradients and moments of an adapter of rank 8, measured one by one as a device gives memory for them, are what the plan announces, of
// policy and critic; they are a small part of those of all weights.
func TestAdaptersTakeThePlannedMemory(t *testing.T) {
	small, err := model.Shape("d128")
	require.NoError(t, err)
	qwen := model.Config{Arch: model.Qwen2, Layers: 2, Hidden: 96, Heads: 6, KVHeads: 2, HeadDim: 16, FFN: 176, Vocab: 300, QKVBias: true,
		LMHead: true, MaxPositions: 512, RMSEps: 1e-6, RopeTheta: 1e6, KVChunk: 64}
	for name, shape := range map[string]model.Config{"Llama": small, "Qwen2": qwen} {
		for _, targets := range []string{"[q_proj,v_proj]", "[q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj]"} {
			sets := []string{"critic.trunk=own", "engine.max_tokens=160", "model.lora.targets=" + targets}
			cfg, err := loadConfig("demo", append(sets, "model.lora.rank=8"))
			require.NoError(t, err)
			p, err := planned(cfg, shape, 1<<40, 1)
			require.NoError(t, err)
			announced := map[string]int64{}
			for _, x := range p.Parts {
				announced[x.Name] = x.Bytes
			}
			dev := &ledger{Device: kernels.NewCPU(1)}
			var policy *model.Model
			for _, of := range cfg.models(shape, true, kernels.F32, &dist.Alone{}) {
				of.share(policy)
				m, err := model.New(dev, of.shape, of.options)
				require.NoError(t, err)
				if policy == nil {
					policy = m
				}
				before := dev.live
				learner := trainer.NewLearner(dev, m, cfg.RL.Optimizer, trainer.NewRanks(nil, 1), of.name, false)
				require.InEpsilon(t, announced[of.name+": moments of AdamW"], dev.live-before, 0.05, "%s, %s", name, of.name)
				before = dev.live
				m.Gradients(2)
				require.InEpsilon(t, announced[of.name+": gradients"], dev.live-before, 0.05, "%s, %s", name, of.name)
				require.Less(t, dev.live-before, int64(4*m.Parameters()/5))
				learner.Close()
				defer m.Close()
			}
			require.NotNil(t, policy)
		}
	}
}

// Beside an adapter of rank r, gradients and moments are of r·(inputs + outputs) numbers a target, on ranks the moments divided: what is
// not learnt has neither, nor a master copy, and policy, critic and reference hold the base once.
func TestPlansOfAdapters(t *testing.T) {
	shape, err := model.Shape("q7")
	require.NoError(t, err)
	shape.MaxPositions = 1024
	q, kv := shape.Heads*shape.HeadDim, shape.KVHeads*shape.HeadDim
	learnt := shape.Layers * 8 * (shape.Hidden + q + 2*(shape.Hidden+kv) + q + shape.Hidden)
	for _, ranks := range []int{1, 4} {
		cfg, err := loadConfig("demo", []string{"critic.trunk=own", "engine.max_tokens=160", "device=gpu", "model.lora.rank=8", "rl.kl=0.1"})
		require.NoError(t, err)
		p, err := planned(cfg, shape, 1<<41, ranks)
		require.NoError(t, err)
		of := map[string]int64{}
		for _, x := range p.Parts {
			of[x.Name] = x.Bytes
		}
		for _, name := range []string{"policy", "critic"} {
			require.InEpsilon(t, 4*learnt, of[name+": adapter"], 0.01, name)
			require.InEpsilon(t, 4*learnt, of[name+": gradients"], 0.01, name)
			require.InEpsilon(t, 8*learnt/ranks, of[name+": moments of AdamW"], 0.05, name)
			require.NotContains(t, of, name+": float32 master copy")
		}
		require.InEpsilon(t, 2*7.616e9, of["policy: weights"], 0.005)
		require.NotContains(t, of, "critic: weights")
		require.NotContains(t, of, "reference: weights")
	}
	plan := []string{"plan", "qwen2.5-7b", "--gpus", "1", "--memory", "141GB"}
	require.Contains(t, refused(t, plan...), "it does not fit")
	require.Regexp(t, `held at a time at most +5\d\.`, retool(t, append(plan, "--set", "model.lora.rank=64")...))
}

// What a plan counts for one of several ranks is what each of them has at most, whatever is divided: the peak of a run that learns,
// generates and learns again.
func TestPlansOfRanksAreWhatEmulatedGPUsAllocate(t *testing.T) {
	peaks := map[string]int64{}
	for _, c := range []struct {
		shard string
		ranks int
	}{{"optimizer", 2}, {"all", 1}, {"all", 2}} {
		cfg, err := loadConfig("tiny", []string{"device=emu", "protocol.name=none", "dist.shard=" + c.shard, "model.hidden=256", "model.ffn=1024",
			"sft.steps=1", "rl.steps=1", "eval.problems=0", "engine.kv_memory=1", "model.layers=6", "engine.max_tokens=48", "sft.tokens=48",
			"rl.tokens=48", "engine.step_tokens=16", "sft.batch=2", "rl.prompts=2", "rl.minibatch=2"})
		require.NoError(t, err)
		shape, err := plannedShape(cfg, "")
		require.NoError(t, err)
		counted, err := countMemory(cfg, cfg.training(), shape, c.ranks)
		require.NoError(t, err)
		var wait sync.WaitGroup
		for _, comm := range dist.Local(c.ranks) {
			rs := aloneRank(t.Context())
			rs.Comm, rs.members = comm, make([]dist.Member, c.ranks)
			wait.Go(func() {
				p, err := build(t.Context(), cfg, use{train: true, concurrent: cfg.concurrency(), ranks: rs})
				if !assert.NoError(t, err) {
					return
				}
				defer p.Close()
				ranks := trainer.NewRanks(comm, 0)
				ranks.Shard = c.shard
				ppo := trainer.NewPPO(cfg.Config, ranks, p.dev, p.policy, p.critic, p.ref, p.engine, p.proto, p.tok.Bytes)
				defer ppo.Close()
				for range 2 {
					assert.NoError(t, ppo.Generates())
					assert.NoError(t, ppo.Learns())
				}
				if comm.Rank() == c.ranks-1 {
					peak := p.dev.(*kernels.GPU).Peak()
					assert.InEpsilon(t, counted.peak, peak, 0.05, "%s, %d ranks: %v", c.shard, c.ranks, counted.parts)
					peaks[fmt.Sprint(c.shard, c.ranks)] = peak
				}
			})
		}
		wait.Wait()
	}
	require.Less(t, float64(peaks["all2"]), 0.8*float64(peaks["all1"]))
	require.Less(t, peaks["all2"], peaks["optimizer2"])
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"plan", "tiny", "--memory", "much"}, `--memory "much": want a size such as 80GiB`},
		{[]string{"plan", "tiny", "--memory", "1MiB"}, "plan: it does not fit 1.0 MiB: the run takes "},
		{[]string{"plan", "tiny", "--shape", "q8"}, `unknown shape "q8" (known: d128,`},
		{[]string{"plan", "tiny", "--device", "cpu", "--estimate"}, "plan: --estimate is for --device gpu"},
		{[]string{"plan", "tiny", "--set", "model.path=/no/such"}, "/no/such"},
		{[]string{"plan", "qwen2.5-7b", "--gpus", "8", "--set", "dist.slices=7"}, "dist.slices: 7 slices do not divide among 8 ranks"},
		{[]string{"plan", "tiny", "--set", "model.states=halves"}, "model.states: halves are of weights in bfloat16: want model.dtype bfloat16"},
		{[]string{"plan", "qwen2.5-7b", "--set", "model.states=thirds"}, `model.states: "thirds" is not known (known: float32, halves)`},
		{[]string{"plan", "qwen2.5-7b", "--set", "model.states=halves", "--gpus", "8", "--set", "dist.shard=all"}, "want dist.shard optimizer"},
		{[]string{"plan", "qwen2.5-7b", "--set", "model.states=halves", "--set", "dist.offload=optimizer"}, "want dist.offload none"},
		{[]string{"plan", "qwen2.5-7b", "--set", "model.states=halves", "--set", "model.lora.rank=8"}, "an adapter is float32"},
		{[]string{"plan", "demo", "--set", "dist.timeout=1h"}, "--set dist.timeout=1h: dist.timeout would do nothing: the run is one rank's"},
	} {
		require.Contains(t, refused(t, c.args...), c.want)
	}
	require.Contains(t, retool(t, "plan", "tiny", "--estimate"), "estimate, computed, never measured: 1 × H200")
	require.Contains(t, retool(t, "plan", "demo", "--json"), `"kv_pages"`)
}
