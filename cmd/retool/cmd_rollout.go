package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/tokenizer"
	"retool/trainer"
)

func rolloutCommand() *cli.Command {
	return &cli.Command{
		Name: "rollout", Usage: "show one problem being solved, as it happens", ArgsUsage: "[FILE.yaml]",
		Flags: []cli.Flag{
			fromFlag(), setFlag(),
			&cli.StringFlag{Name: "question", Usage: "`TEXT` of the problem; without it a held-out one"},
			&cli.StringFlag{Name: "answer", Usage: "its answer, to grade the response"},
			countFlag("problem", 0, 0, 1_000_000, "which held-out problem, from 0"),
			countFlag("samples", 1, 1, mostCount, "how many responses"),
			&cli.BoolFlag{Name: "greedy", Usage: "take the likeliest token instead of sampling as eval.temperature and eval.top_p say"},
		},
		Action: func(c *cli.Context) error {
			switch asked := c.String("question") != ""; {
			case asked && c.IsSet("problem"):
				return errors.New("rollout: --question and --problem exclude each other")
			case !asked && c.IsSet("answer"):
				return errors.New("rollout: --answer goes with --question; a held-out problem has its own")
			}
			n := c.Int("samples")
			_, p, err := loadedProgram(c, nil, func(*Config) (int, error) { return 1, nil })
			if err != nil {
				return err
			}
			defer p.Close()
			cfg := p.cfg
			problem := &trainer.Problem{ID: "question", Question: c.String("question"), Answer: c.String("answer")}
			if problem.Question == "" {
				if problem, err = p.heldOut(c.Int("problem")); err != nil {
					return err
				}
			}
			prompt, err := p.proto.Prompt(problem.Question)
			if err != nil {
				return err
			}
			s := engine.Sampling{Seed: cfg.Seed, Temperature: float32(cfg.Eval.Temperature), TopP: float32(cfg.Eval.TopP), TopK: cfg.Eval.TopK,
				MinP: float32(cfg.Eval.MinP)}
			if c.Bool("greedy") {
				s.Temperature = 0
			}
			view := newViewer(p.tok)
			p.engine.Watch = view.grown
			for i := range n {
				view.prompt(prompt)
				trs, err := p.engine.Rollouts(c.Context, []engine.Group{{Prompt: prompt, Keys: []int64{trainer.Key(trainer.ShowKeys, 0, i)}}}, s)
				if err != nil {
					return err
				}
				g, _ := cfg.Reward.Grade(trs[0], problem.Answer, p.tok.Bytes, p.proto.OutsideCode)
				view.end(trs[0], problem, g)
			}
			return nil
		},
	}
}

// heldOut is problem i of those that an evaluation asks.
func (p *program) heldOut(i int) (*trainer.Problem, error) {
	p.cfg.Eval.Problems = max(p.cfg.Eval.Problems, i+1)
	read, err := p.data(false)
	if err != nil {
		return nil, err
	}
	if i >= len(read.Test) {
		return nil, fmt.Errorf("rollout: --problem %d: data.test holds %d problems, counted from 0", i, len(read.Test))
	}
	return read.Test[i], nil
}

// viewer prints a trajectory while it grows: what the model writes as it is, what the tool replies in another colour.
type viewer struct {
	out    io.Writer
	tok    tokenizer.Tokenizer
	stream *tokenizer.Stream
	styles map[engine.Source]lipgloss.Style
}

func newViewer(tok tokenizer.Tokenizer) *viewer {
	return &viewer{out: os.Stdout, tok: tok, styles: map[engine.Source]lipgloss.Style{
		engine.Prompt: lipgloss.NewStyle().Faint(true),
		engine.Policy: lipgloss.NewStyle(),
		engine.Tool:   lipgloss.NewStyle().Foreground(lipgloss.Color("6")),
	}}
}

func (v *viewer) prompt(ids []int32) {
	v.begin()
	v.print(engine.Prompt, v.tok.Decode(ids))
}

// begin starts a text; flush ends it, with what is there of a character that never ended.
func (v *viewer) begin() { v.stream = tokenizer.NewStream(v.tok) }
func (v *viewer) flush() { v.print(engine.Policy, v.stream.Flush()) }

// print styles line by line, so that a colour never runs over a line break.
func (v *viewer) print(s engine.Source, text string) {
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			lipgloss.Fprint(v.out, "\n")
		}
		if line != "" {
			lipgloss.Fprint(v.out, v.styles[s].Render(line))
		}
	}
}

func (v *viewer) grown(t *engine.Trajectory, from int) {
	for _, k := range t.Tokens()[from:] {
		v.print(k.Source, v.stream.Next(k.ID))
	}
}

func (v *viewer) end(t *engine.Trajectory, problem *trainer.Problem, g trainer.Grade) {
	v.flush()
	line := fmt.Sprintf("finish %s  tokens %d prompt, %d sampled, %d observed", t.Finish, t.Prompt, t.Count(engine.Policy),
		t.Count(engine.Tool))
	for i, c := range t.Calls {
		line += fmt.Sprintf("  call %d %s in %.1f ms (%d tokens prefilled)", i+1, c.Result.Status, 1000*c.Wait.Seconds(), c.Prefilled)
	}
	if problem.Answer != "" {
		line += fmt.Sprintf("  answer %q, truth %q: %s", g.Answer, problem.Answer, g.Outcome)
	}
	lipgloss.Fprintln(v.out, "\n"+lipgloss.NewStyle().Bold(true).Render("― ")+line)
}
