package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine/model"
	"retool/interp"
	"retool/kernels"
	"retool/trainer/trace"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "what a run would take of a GPU's or this machine's memory, before any is taken", ArgsUsage: "[RECIPE|FILE.yaml]",
		Description: "Builds the run on a device that only counts, so every figure is what the program itself would ask for. With --gpus, it\n" +
			"is a rank's: moments and master copies are divided, trajectories too; what NCCL takes is estimated. The shape is that of\n" +
			"model.path, or of --shape. Exit code 1 if it does not fit.",
		Flags: []cli.Flag{
			setFlag(),
			&cli.StringFlag{Name: "shape", Usage: "plan for a model of this `NAME` instead of model.path: " + strings.Join(model.Shapes(), ", ")},
			&cli.StringFlag{Name: "device", Value: "gpu", Usage: "whose memory, `gpu|cpu`"},
			countFlag("gpus", 1, 1, 1<<16, "ranks that share the run, `N`: one a GPU"),
			&cli.StringFlag{Name: "memory", Usage: "of each GPU, `SIZE` (default: 80GiB; of the CPU, what this machine has)"},
			&cli.BoolFlag{Name: "estimate", Usage: "say what an update and a rollout would take on H200s, computed, also where it does not fit"},
			&cli.BoolFlag{Name: "table", Usage: "print what published models would take on H200s, computed, and nothing else"},
			&cli.BoolFlag{Name: "json", Usage: "print the plan as JSON"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("table") {
				return planTable(c.App.Writer)
			}
			p, err := planOf(c)
			if err != nil && !(p != nil && c.Bool("estimate")) {
				return err
			}
			if err != nil && c.Bool("json") {
				return err
			}
			if err != nil { // it does not fit: what it would take in time, all the same
				p.printEstimate(c.App.Writer)
				return err
			}
			if c.Bool("json") {
				text, err := trace.MarshalIndent(p)
				if err == nil {
					_, err = c.App.Writer.Write(text)
				}
				return err
			}
			p.print(c)
			return nil
		},
	}
}

// planOf is the plan that a command asks for. One that does not fit is an error.
func planOf(c *cli.Context) (*plan, error) {
	memory, err := flaggedMemory(c)
	if err != nil {
		return nil, err
	}
	settings := c.StringSlice("set")
	name := c.String("shape")
	if name != "" {
		settings = append([]string{"model.path=."}, settings...) // any: nothing of it is read
	}
	source := cmp.Or(c.Args().First(), "demo")
	cfg, err := loadConfig(source, settings)
	if err != nil {
		return nil, err
	}
	shape, err := plannedShape(cfg, name)
	if known := recipeShapes[source]; errors.Is(err, fs.ErrNotExist) && known != "" && !slices.ContainsFunc(settings, setsModelPath) {
		shape, err = model.Shape(known)
	}
	if err != nil {
		return nil, err
	}
	if shape.MaxPositions < cfg.Engine.MaxTokens {
		return nil, fmt.Errorf("plan: engine.max_tokens: %d is more than the %d positions of the model", cfg.Engine.MaxTokens, shape.MaxPositions)
	}
	cfg.Device = c.String("device")
	ranks := c.Int("gpus")
	if c.Bool("estimate") && (cfg.Device != "gpu" || cfg.RL.Steps == 0) {
		return nil, fmt.Errorf("plan: --estimate is for --device gpu and a recipe with rl.steps, not for %s with %d", cfg.Device, cfg.RL.Steps)
	}
	if err := cfg.shared(ranks); err != nil {
		return nil, err
	}
	if err := cfg.forRanks(ranks, true); err != nil {
		return nil, err
	}
	p, err := planned(cfg, shape, memory, ranks)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if (c.Bool("estimate") || ranks > 1) && cfg.RL.Steps > 0 && cfg.Device == "gpu" {
		p.estimate(cfg, shape)
	}
	return p, p.fits()
}

// recipeShapes are those of the models that recipes name, whose folders need not be there to plan for them.
var recipeShapes = map[string]string{"qwen2.5-0.5b": "q05", "qwen2.5-1.5b": "q15", "qwen2.5-7b": "q7", "qwen2.5-32b": "q32"}

func setsModelPath(set string) bool {
	key, _, _ := strings.Cut(set, "=")
	return strings.TrimSpace(key) == "model.path"
}

// flaggedMemory is that of --memory, or what a device of the kind has.
func flaggedMemory(c *cli.Context) (int64, error) {
	device := c.String("device")
	if device != "gpu" && device != "cpu" {
		return 0, fmt.Errorf("plan: --device %q: want gpu or cpu", device)
	}
	if device == "cpu" && c.Int("gpus") != 1 {
		return 0, fmt.Errorf("plan: --gpus goes with --device gpu")
	}
	text := c.String("memory")
	if text == "" && device == "cpu" {
		if m, ok := machineMemory(); ok {
			return m.bytes, nil
		}
		return 0, fmt.Errorf("plan: how much memory this machine has is not known: give --memory")
	}
	var memory interp.Bytes
	count, decimal := strings.CutSuffix(cmp.Or(text, "80GiB"), "GB") // as GPUs are sold
	if err := memory.UnmarshalText([]byte(count)); err != nil || memory <= 0 || decimal && memory > 1e9 || !decimal && memory < 1<<20 {
		return 0, fmt.Errorf("plan: --memory %q: want a size such as 80GiB or 141GB", text)
	}
	if decimal {
		memory *= 1e9
	}
	return int64(memory), nil
}

// shared refuses numbers of ranks that leave some without work.
func (c *Config) shared(ranks int) error {
	switch {
	case c.RL.Steps > 0 && c.RL.Minibatch < ranks:
		return fmt.Errorf("plan: --gpus %d: rl.minibatch has %d trajectories, fewer than ranks", ranks, c.RL.Minibatch)
	case c.sftSteps() && c.SFT.Batch < ranks:
		return fmt.Errorf("plan: --gpus %d: sft.batch has %d traces, fewer than ranks", ranks, c.SFT.Batch)
	}
	return nil
}

// sftSteps reports whether there is a cold start.
func (c *Config) sftSteps() bool {
	return c.SFT.Steps > 0 || c.SFT.Epochs > 0 && (c.Data.Traces != "" || c.Data.Task == "arithmetic")
}

// plannedShape is that of the folder that model.path names, of the settings, or a known one.
func plannedShape(cfg *Config, name string) (model.Config, error) {
	if name != "" {
		return model.Shape(name)
	}
	if dir, err := cfg.Model.folder(); err != nil || dir != "" {
		if err != nil {
			return model.Config{}, err
		}
		return readModelConfig(dir)
	}
	f, err := cfg.folder("")
	if err != nil {
		return model.Config{}, err
	}
	return f.config, nil
}

// A plan is what a rank allocates, in bytes, and the arithmetic of its batches.
type plan struct {
	Model    string           `json:"model"`
	Device   string           `json:"device"`
	Ranks    int              `json:"ranks"`
	Shard    string           `json:"shard"`    // dist.shard
	Computed bool             `json:"computed"` // in part: NCCL's memory is an estimate
	Memory   int64            `json:"memory"`
	Parts    []memoryPart     `json:"parts"`
	Phases   map[phase]int64  `json:"phases"` // bytes that each uses; all of Peak is held throughout
	Peak     int64            `json:"peak"`
	Pages    int              `json:"kv_pages"`      // of 64 tokens
	Lent     int              `json:"kv_pages_lent"` // of them, that have the memory of gradients and activations during rollouts
	Whole    float64          `json:"trajectories_in_pages"`
	KVMemory int              `json:"kv_memory"` // MiB that pages may take; 0: the engine's choice
	Sized    bool             `json:"kv_sized"`  // by what the rest of the run leaves
	Batch    []string         `json:"batch,omitempty"`
	Counts   map[string]int64 `json:"counts,omitempty"` // what Batch says in words
	Estimate *estimate        `json:"estimate,omitempty"`
	counted  *memoryPlan
}

// planned counts a configuration's run for ranks with so many bytes each.
func planned(cfg *Config, shape model.Config, memory int64, ranks int) (*plan, error) {
	p, err := plannedUse(cfg, cfg.training(), shape, memory, ranks)
	if err == nil {
		p.arithmetic(cfg)
	}
	return p, err
}

// plannedUse is planned of any use, without the arithmetic of a run's batches.
func plannedUse(cfg *Config, u use, shape model.Config, memory int64, ranks int) (*plan, error) {
	kv, err := kvMemory(cfg, u, shape, memory, ranks)
	if err != nil {
		return nil, err
	}
	sized := *cfg
	sized.Engine.KVMemory = kv
	m, err := countMemory(&sized, u, shape, ranks)
	if err != nil {
		return nil, err
	}
	p := &plan{
		KVMemory: kv, Sized: kv != cfg.Engine.KVMemory,
		Model: shape.String(), Device: cfg.Device, Ranks: ranks, Shard: cfg.Dist.Shard, Computed: ranks > 1, Memory: memory,
		Parts: m.parts, Peak: m.peak,
		Pages: m.pages, Lent: m.lent(), Phases: map[phase]int64{}, counted: m,
	}
	for _, at := range []phase{inRollout, inScoring, inUpdate, inSaving} {
		p.Phases[at] = m.in(at)
	}
	p.Whole = float64(p.Pages-1) * kernels.PageTokens / float64(cfg.Engine.MaxTokens)
	return p, nil
}

// fits is the error of a plan that takes more than there is.
func (p *plan) fits() error {
	if p.Peak <= p.Memory {
		return nil
	}
	rank := "the run"
	if p.Ranks > 1 {
		rank = fmt.Sprintf("a rank of %d", p.Ranks)
	}
	also := ""
	if p.Ranks > 1 && p.Shard != "all" {
		also = "; dist.shard=all divides weights and gradients too"
	}
	return fmt.Errorf("plan: it does not fit %s: %s takes %s, %s too much, most of it for %s%s", gibibytes(p.Memory), rank, gibibytes(p.Peak),
		gibibytes(p.Peak-p.Memory), p.counted.largest(), also)
}

// arithmetic works out the batches: trajectories, updates, passes and tokens, at the longest.
func (p *plan) arithmetic(cfg *Config) {
	rl, n := cfg.RL, int64(p.Ranks)
	p.Counts = map[string]int64{}
	passes := func(rows, tokens, limit int64) int64 { // packed in order: of rows of the same length, so many whole ones fit a pass
		each := max(limit/tokens, 1)
		return (rows + each - 1) / each
	}
	part := func(rows int64) int64 { return (rows + n - 1) / n }
	rank := ""
	if n > 1 {
		rank = " a rank"
	}
	longest := int64(cfg.Engine.MaxTokens)
	if cfg.sftSteps() {
		limit := int64(cfg.SFT.Tokens)
		p.Counts["sft_passes"] = passes(part(int64(cfg.SFT.Batch)), min(longest, limit), limit)
		p.Batch = append(p.Batch, fmt.Sprintf("cold start: %d traces a step of at most %d tokens, passes of %d: at most %d%s", cfg.SFT.Batch,
			min(longest, limit), limit, p.Counts["sft_passes"], rank))
	}
	if rl.Steps > 0 {
		all := int64(rl.Prompts) * int64(rl.Group)
		p.Counts["trajectories"], p.Counts["updates"], p.Counts["tokens"] = all, int64(rl.Updates()), all*longest
		mini := passes(part(int64(rl.Minibatch)), longest, int64(rl.Tokens))
		p.Counts["minibatch_passes"], p.Counts["score_passes"] = mini, passes(part(all), longest, int64(rl.Tokens))
		p.Batch = append(p.Batch, rl.Batches())
		if n > 1 {
			p.Batch = append(p.Batch, fmt.Sprintf("a rank: %d trajectories, %d of a mini-batch", part(all), part(int64(rl.Minibatch))))
		}
		p.Batch = append(p.Batch, fmt.Sprintf("at most %d tokens a trajectory, %s a step; "+
			"in passes of %d: %d a mini-batch, %d a step%s, and %d to score", longest, millions(p.Counts["tokens"]), rl.Tokens,
			mini, mini*int64(rl.Updates()), rank, p.Counts["score_passes"]))
	}
	if e := cfg.Eval; e.Problems > 0 {
		p.Counts["evaluated"] = int64(e.Problems * e.Samples)
		p.Batch = append(p.Batch, fmt.Sprintf("evaluation: %d problems × %d = %d trajectories", e.Problems, e.Samples, e.Problems*e.Samples))
	}
}

// millions writes a count of tokens.
func millions(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%d tokens", n)
	}
	return fmt.Sprintf("%.1f M tokens", float64(n)/1e6)
}

func (p *plan) print(c *cli.Context) {
	out := c.App.Writer
	var rows [][]string
	phases := []phase{inRollout, inScoring, inUpdate, inSaving}
	for _, x := range p.Parts {
		name := x.Name
		if x.Sharded {
			name += fmt.Sprintf(", 1/%d", p.Ranks)
		}
		row := []string{name, fmt.Sprintf("%.2f", float64(x.Bytes)/(1<<30)), p.share(x.Bytes)}
		for _, at := range phases {
			mark := ""
			if slices.Contains(x.Phases, at) {
				mark = "•"
			}
			row = append(row, mark)
		}
		rows = append(rows, row)
	}
	held := "all, held throughout"
	if slices.ContainsFunc(p.Parts, func(x memoryPart) bool { return x.Lent }) {
		held = "held at a time at most"
	}
	row := []string{held, fmt.Sprintf("%.2f", float64(p.Peak)/(1<<30)), p.share(p.Peak)}
	for _, at := range phases {
		row = append(row, fmt.Sprintf("%.2f", float64(p.Phases[at])/(1<<30)))
	}
	of := "of the " + strings.ToUpper(p.Device)
	header := []string{"", "GiB", of}
	for _, at := range phases {
		header = append(header, string(at))
	}
	fmt.Fprintln(out, p.Model)
	if p.Computed {
		divided := "moments and master copies"
		if p.Shard == "all" {
			divided = "weights, gradients, moments and master copies"
		}
		fmt.Fprintf(out, "a rank of %d, %s divided; what NCCL takes is an estimate\n", p.Ranks, divided)
	}
	fmt.Fprintln(out, grid(header, append(rows, row)))
	fmt.Fprintf(out, "%d KV pages of %d tokens: %.1f trajectories of full length at a time; the others wait\n",
		p.Pages, kernels.PageTokens, p.Whole)
	if line := p.lends(); line != "" {
		fmt.Fprintln(out, line)
	}
	if p.Sized {
		fmt.Fprintf(out, "engine.kv_memory is 0: pages may take what rollouts leave of the GPU, but for a sixteenth of it: %s\n",
			gibibytes(int64(p.KVMemory)<<20))
	}
	for _, line := range p.Batch {
		fmt.Fprintln(out, line)
	}
	p.printEstimate(out)
}

// lends says how many pages have the memory of learning during rollouts; "": none.
func (p *plan) lends() string {
	if p.Lent == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d KV pages, %s, are lent by gradients and activations, which do not live during rollouts", p.Lent, p.Pages,
		gibibytes(int64(p.Lent)*p.counted.page))
}

func (p *plan) share(bytes int64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(bytes)/float64(p.Memory))
}
