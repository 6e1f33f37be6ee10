package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/model"
	"retool/interp"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer"
	"retool/trainer/trace"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "what a run would take of a GPU's memory, before one is taken", ArgsUsage: "[RECIPE|FILE.yaml]",
		Description: "Builds the run on a GPU that only counts, so every figure is what the program itself would ask for. The shape is\n" +
			"that of model.path, or of --shape. Exit code 1 if it does not fit.",
		Flags: []cli.Flag{
			setFlag(),
			&cli.StringFlag{Name: "shape", Usage: "plan for a model of this `NAME` instead of model.path: " + strings.Join(model.Shapes(), ", ")},
			&cli.StringFlag{Name: "memory", Value: "80GiB", Usage: "of the GPU, `SIZE`"},
			&cli.BoolFlag{Name: "json", Usage: "print the plan as JSON"},
		},
		Action: func(c *cli.Context) error {
			var memory interp.Bytes
			if err := memory.UnmarshalText([]byte(c.String("memory"))); err != nil || memory <= 0 {
				return fmt.Errorf("plan: --memory %q: want a size such as 80GiB", c.String("memory"))
			}
			settings := c.StringSlice("set")
			if c.String("shape") != "" {
				settings = append([]string{"model.path=."}, settings...) // any: nothing of it is read
			}
			cfg, err := loadConfig(firstOr(c, "demo"), settings)
			if err != nil {
				return err
			}
			shape, err := plannedShape(cfg, c.String("shape"))
			if err != nil {
				return err
			}
			p, err := planned(cfg, shape, int64(memory))
			if err != nil {
				return fmt.Errorf("plan: it does not fit %v: %w", memory, err)
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

// firstOr is a command's first argument.
func firstOr(c *cli.Context, fallback string) string {
	if c.Args().Present() {
		return c.Args().First()
	}
	return fallback
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
		return model.ReadConfig(dir)
	}
	f, err := cfg.folder("")
	if err != nil {
		return model.Config{}, err
	}
	return f.config, nil
}

// A plan is what a run allocates on its GPU, in bytes, and the arithmetic of its batches.
type plan struct {
	Model  string     `json:"model"`
	Memory int64      `json:"memory"`
	Parts  []planPart `json:"parts"`
	Peak   int64      `json:"peak"`
	Pages  int        `json:"kv_pages"` // of 64 tokens
	Whole  float64    `json:"trajectories_in_pages"`
	Batch  string     `json:"batch,omitempty"`
}

type planPart struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// planned builds a run on a counter, in the order of program.build.
func planned(cfg *Config, shape model.Config, memory int64) (*plan, error) {
	counter := driver.NewCounter(memory)
	dev, err := kernels.NewGPU(counter)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	p := &plan{Model: shape.String(), Memory: memory}
	part := func(name string, f func() error) error {
		before := counter.Used()
		err := f()
		if err == nil {
			err = dev.Do(func() {}) // a device keeps what failed and tells it here
		}
		if err != nil {
			return fmt.Errorf("%s, beside %.2f GiB: %w", name, float64(before)/(1<<30), err)
		}
		if used := counter.Used() - before; used > 0 {
			p.Parts = append(p.Parts, planPart{name, used})
		}
		return nil
	}
	ms := cfg.models(shape, true, kernels.BF16)
	made := map[string]*model.Model{}
	for _, m := range ms {
		err := part(m.name+": weights, gradients, activations", func() (err error) {
			made[m.name], err = model.New(dev, m.shape, m.options)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	tok := nothing{shape.Vocab}
	var e *engine.Engine
	err = part("KV pages", func() (err error) {
		e, err = engine.New(made[policyModel], cfg.Engine, tok, []int32{0}, nil, nil, cfg.concurrency())
		return err
	})
	if err != nil {
		return nil, err
	}
	err = part("moments of AdamW, rows of a pass", func() error {
		trainer.NewPPO(cfg.Config, dev, made[policyModel], made[criticModel], made[referenceModel], e, nil, tok.Bytes)
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.Peak, p.Pages = counter.Peak(), e.Pages()
	p.Whole = float64(e.Pages()-1) * kernels.PageTokens / float64(cfg.Engine.MaxTokens)
	if cfg.RL.Steps > 0 {
		p.Batch = cfg.RL.Batches()
	}
	return p, nil
}

// nothing is the tokenizer of a plan: only its size is asked for.
type nothing struct{ size int }

func (nothing) Bytes(int32) []byte { return nil }
func (n nothing) Size() int        { return n.size }

func (p *plan) print(c *cli.Context) {
	var rows [][]string
	row := func(name string, bytes int64) {
		share := 100 * float64(bytes) / float64(p.Memory)
		rows = append(rows, []string{name, fmt.Sprintf("%.2f", float64(bytes)/(1<<30)), fmt.Sprintf("%.0f %%", share)})
	}
	for _, x := range p.Parts {
		row(x.Name, x.Bytes)
	}
	row("all", p.Peak)
	fmt.Fprintln(c.App.Writer, p.Model)
	fmt.Fprintln(c.App.Writer, grid([]string{"", "GiB", "of the GPU"}, rows))
	fmt.Fprintf(c.App.Writer, "%d KV pages of %d tokens: %.1f trajectories of full length at a time; the others wait\n",
		p.Pages, kernels.PageTokens, p.Whole)
	if p.Batch != "" {
		fmt.Fprintln(c.App.Writer, p.Batch)
	}
}
