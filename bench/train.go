package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
	"retool/trainer"
)

// Options selects what Train and Rollout measure.
type Options struct {
	Models  []string        // names; none: d128 and d256, on a GPU q05
	Folder  string          // in their place: the shape of this model folder, with weights drawn anew: no time depends on them
	Batches []int           // sequences of a decode; none: those that suit the device
	DType   kernels.DType   // of models in memory; 0: float32, on a GPU BF16
	Budget  time.Duration   // per row; 0: 2 s
	Floor   *Floor          // none: calibrated first; a GPU needs one: GPUFloor
	Report  func(Row) error // called with each row when it is there, so that what comes after cannot lose it; nil: not
}

func (o *Options) report(r Row) error {
	if o.Report == nil {
		return nil
	}
	return o.Report(r)
}

func (o *Options) defaults(dev kernels.Device) {
	if o.Folder != "" {
		o.Models = []string{filepath.Base(filepath.Clean(o.Folder))}
	} else if len(o.Models) == 0 {
		o.Models = []string{"d128", "d256"}
		if !onCPU(dev) {
			o.Models = []string{"q05"}
		}
	}
	if o.Budget == 0 {
		o.Budget = 2 * time.Second
	}
	if o.Floor == nil {
		f := Calibrate(dev)
		o.Floor = &f
	}
}

// eachModel measures the models one after another. Rows that came before an error are returned with it.
func (o *Options) eachModel(dev kernels.Device, measure func(name string, c model.Config, l load) ([]Row, error)) (rows []Row, err error) {
	for _, name := range o.Models {
		c, err := o.shape(name)
		if err != nil {
			return rows, err
		}
		l := o.loadOf(dev, c)
		if len(o.Batches) > 0 {
			l.batches = o.Batches
		}
		more, err := measure(name, c, l)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func onCPU(dev kernels.Device) bool { return dev.Info().Name == "cpu" }

// A load is how much of everything is measured with a model on a device.
type load struct {
	dtype           kernels.DType
	tokens          int   // of a training batch
	lengths         []int // of its sequences
	prefill         int   // tokens
	prompt, sampled int   // tokens of a decode
	shared          int   // sequences with one prompt, as in a group of PPO's
	batches         []int // sequences of a decode
	pass            int   // tokens of a rollout's step
	rl              rlStep
}

// rlStep is a step of reinforcement learning: prompts, rollouts of each, and their tokens; zero: none is measured.
type rlStep struct{ prompts, group, prompt, sampled int }

func (s rlStep) trajectories() int { return s.prompts * s.group }
func (s rlStep) length() int       { return s.prompt + s.sampled }

func (o *Options) loadOf(dev kernels.Device, c model.Config) load {
	rl := rlStep{8, 8, 16, 128}
	dtype := kernels.BF16
	if onCPU(dev) && o.DType != kernels.BF16 {
		dtype = kernels.F32
	}
	switch {
	case flops(c, 0) < flops(tinyShape, 0)+1:
		return load{dtype, 32, []int{16}, 24, 9, 3, 2, []int{1, 3}, 64, rlStep{2, 2, 4, 6}}
	case !onCPU(dev):
		return load{dtype, 8192, []int{512, 2048, 8192}, 2048, 960, 128, 8, []int{1, 8, 32, 128, 256}, 4096, rl}
	case flops(c, 0) > 2e8: // seconds a step
		return load{dtype, 512, []int{128, 512}, 128, 16, 12, 1, []int{1, 8, 32, 64}, 1024, rlStep{}}
	}
	return load{dtype, 4096, []int{128, 512}, 128, 16, 128, 1, []int{1, 8, 32, 64}, 1024, rl}
}

// tinyShape is a model that the emulator gets through in seconds.
var tinyShape = model.Config{
	Arch: model.Qwen2, Layers: 1, Hidden: 128, Heads: 2, KVHeads: 1, HeadDim: 64, FFN: 48, Vocab: 40, MaxPositions: 64,
	RMSEps: 1e-6, RopeTheta: 10000, QKVBias: true, LMHead: true, Tied: true, KVChunk: 64,
}

// shape is that of the folder, if there is one, or of a model by its name.
func (o *Options) shape(name string) (model.Config, error) {
	if o.Folder == "" {
		return shape(name)
	}
	c, err := model.ReadConfig(o.Folder)
	if err == nil && !c.LMHead {
		err = fmt.Errorf("bench: %s is a critic: it has no language-model head", o.Folder)
	}
	return c, err
}

// CheckModels refuses names that are no model's, before anything is opened or measured.
func CheckModels(names []string) error {
	for _, name := range names {
		if _, err := shape(name); err != nil {
			return fmt.Errorf("bench: --models: %w", err)
		}
	}
	return nil
}

// shape is a model's by its name: model.Shape's, and tiny.
func shape(name string) (model.Config, error) {
	if name == "tiny" {
		return tinyShape, nil
	}
	if !slices.Contains(model.Shapes(), name) {
		return model.Config{}, fmt.Errorf("unknown shape %q (known: tiny, %s)", name, strings.Join(model.Shapes(), ", "))
	}
	return model.Shape(name)
}

// weightBytes is how much of a model every step of a rollout reads: all but the embedding's rows.
func (l load) weightBytes(c model.Config) float64 { return flops(c, 0) / 2 * float64(l.dtype.Size()) }

// flops of one token with so many before it, forward: two a weight that is multiplied, and four a number of each key and value.
func flops(c model.Config, context float64) float64 {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	layer := c.Hidden*(q+2*kv) + q*c.Hidden + 3*c.Hidden*c.FFN
	return 2*float64(c.Layers*layer+c.Hidden*c.Vocab) + 4*float64(c.Layers*q)*context
}

// Train measures a training step, forward, backward, clip and AdamW, on packed sequences, and a whole step of reinforcement learning:
// 8 prompts × 8 rollouts of 16 + 128 tokens, then one update on them, whose ratios say how far rollout and training differ:
// Row.Difference. Rows that came before an error are returned with it.
func Train(ctx context.Context, dev kernels.Device, o Options) ([]Row, error) {
	o.defaults(dev)
	return o.eachModel(dev, func(name string, c model.Config, l load) ([]Row, error) {
		return trainRows(ctx, dev, name, c, l, o)
	})
}

func trainRows(ctx context.Context, dev kernels.Device, name string, c model.Config, l load, o Options) (rows []Row, err error) {
	opt := model.Options{MaxTokens: l.tokens, Positions: slices.Max(l.lengths), Train: true, DType: l.dtype}
	opt.MaxTokens = max(opt.MaxTokens, l.rl.trajectories()*l.rl.length())
	opt.Positions = max(opt.Positions, l.rl.length())
	m, err := model.New(dev, c, opt)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	m.Init(1)
	for _, length := range l.lengths {
		row, err := trainRow(m, name, l.tokens, length, o)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
		if err := o.report(row); err != nil {
			return rows, err
		}
	}
	if l.rl.prompts == 0 {
		return rows, nil
	}
	row, err := stepRow(ctx, m, name, l, o)
	if err != nil {
		return rows, err
	}
	return append(rows, row), o.report(row)
}

func trainRow(m *model.Model, name string, tokens, length int, o Options) (row Row, err error) {
	c := m.Config
	cfg := trainer.DefaultConfig().SFT
	cfg.Tokens, cfg.LR, cfg.Schedule = tokens+1, 1e-4, "constant" // one pass: packing counts the last token, which is not fed
	sft := trainer.NewColdStart(cfg, trainer.NewRanks(nil, 1), m.Device(), m)
	defer sft.Close()
	r := rand.New(rand.NewPCG(1, 1))
	var examples []*trainer.Episode
	for range tokens / length {
		t := engine.NewTrajectory(0, []int32{0})
		for range length { // the last is predicted, not read
			t.Sample(r.Int32N(int32(c.Vocab)), 0)
		}
		examples = append(examples, trainer.NewEpisode(t, &trainer.Problem{}, 0))
	}
	n := tokens / length * length
	t, err := repeat(o.Budget, func() error { _, err := sft.Step(examples, 0, 1); return err })
	flop := 3 * float64(n) * flops(c, float64(length)/2)
	return o.Floor.rate("train", fmt.Sprintf("%s T%d S%d", name, n, length), float64(n), flop, 0, t), err
}

// stepRow measures a step of GRPO through the trainer itself. Nothing ends a text, so every rollout has its 128 tokens.
func stepRow(ctx context.Context, m *model.Model, name string, l load, o Options) (Row, error) {
	length, trajectories := l.rl.length(), l.rl.trajectories()
	c := m.Config
	e, err := plainEngine(m, length, l.pass, trajectories)
	if err != nil {
		return Row{}, err
	}
	defer e.Close()
	cfg := trainer.DefaultConfig()
	cfg.RL.Algorithm, cfg.RL.Prompts, cfg.RL.Group = "grpo", l.rl.prompts, l.rl.group
	cfg.RL.Minibatch, cfg.RL.Tokens, cfg.RL.VerifyEvery = trajectories, trajectories*length, 0
	ranks := trainer.NewRanks(nil, 1)
	ppo := trainer.NewPPO(cfg, ranks, m.Device(), m, nil, nil, e, prompts(c.Vocab, l.rl.prompt), func(int32) []byte { return []byte("x") })
	defer ppo.Close()
	problems := make([]*trainer.Problem, l.rl.prompts)
	for i := range problems {
		problems[i] = &trainer.Problem{ID: fmt.Sprint(i), Question: fmt.Sprint(i), Answer: "1"}
	}
	// One update a step, so every ratio is measured before the weights move.
	step, apart := 0, 0.0
	t, err := repeat(o.Budget, func() error {
		step++
		s, err := ppo.Step(ctx, step, problems)
		if err == nil {
			apart = max(apart, s.Difference)
		}
		return err
	})
	if err == nil && math.IsNaN(apart) {
		err = fmt.Errorf("bench: rl-step %s: a log-probability is no number", name)
	}
	flop := 0.0
	for at := range length {
		f := float64(trajectories) * flops(c, float64(at))
		if at < l.rl.prompt {
			f /= float64(l.rl.group) // prefilled once a group
		}
		flop += f + 3*float64(trajectories)*flops(c, float64(at))
	}
	r := o.Floor.timed("rl-step", fmt.Sprintf("%s %dx%dx%d", name, l.rl.prompts, l.rl.group, l.rl.sampled), flop, t)
	r.Difference = &apart
	return r, err
}

// prompts makes a prompt of n random tokens of any question.
func prompts(vocab, n int) prompter { return prompter{vocab, n} }

type prompter struct{ vocab, n int }

func (prompter) OutsideCode(text string) string { return text }

func (p prompter) Prompt(question string) ([]int32, error) {
	r := rand.New(rand.NewPCG(uint64(len(question)), uint64(question[0])))
	ids := make([]int32, p.n)
	for i := range ids {
		ids[i] = r.Int32N(int32(p.vocab))
	}
	return ids, nil
}
