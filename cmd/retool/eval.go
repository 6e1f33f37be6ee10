package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/trainer"
	"retool/trainer/answer"
	"retool/trainer/trace"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name: "eval", Usage: "avg@k and behaviour of a checkpoint on held-out problems, or of stored trajectories", ArgsUsage: "[FILE.yaml]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "weights: a checkpoint, or a run `DIR` whose newest checkpoint is taken"},
			&cli.StringFlag{Name: "trace", Usage: "grade the trajectories of a `FILE.jsonl` again instead of sampling; differences are shown"},
			&cli.StringFlag{Name: "phase", Usage: "with --trace: only trajectories of this phase, such as rl or train"},
			&cli.StringFlag{Name: "verifier", Usage: "with --trace: the rules to grade by, `math|dapo`", Value: string(answer.Math)},
			&cli.StringFlag{Name: "out", Usage: "write the trajectories sampled to a `FILE.jsonl`"},
			&cli.BoolFlag{Name: "json", Usage: "print the evaluation as JSON"},
			setFlag(),
		},
		Action: func(c *cli.Context) error {
			var e trainer.Evaluation
			var err error
			switch {
			case c.IsSet("from") == c.IsSet("trace"):
				return fmt.Errorf("eval: want either --from, weights to sample from, or --trace, trajectories to grade again")
			case c.IsSet("verifier") && !c.IsSet("trace"):
				return fmt.Errorf("eval: --verifier goes with --trace; with --from it is --set reward.verifier=%s", c.String("verifier"))
			case c.IsSet("trace"):
				e, err = regrade(c)
			default:
				e, err = evaluate(c)
			}
			if err != nil {
				return err
			}
			if c.Bool("json") {
				enc := json.NewEncoder(os.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(e)
			}
			printEvaluation(e)
			return nil
		},
	}
}

func evaluate(c *cli.Context) (trainer.Evaluation, error) {
	cfg, from, err := loadedConfig(c)
	if err != nil {
		return trainer.Evaluation{}, err
	}
	if cfg.Eval.Problems < 1 {
		return trainer.Evaluation{}, fmt.Errorf("eval.problems: want at least 1, got %d", cfg.Eval.Problems)
	}
	cfg.SFT.Steps, cfg.SFT.Epochs, cfg.RL.Steps = 0, 0, 0 // no training data is needed
	p, err := build(c.Context, cfg, use{from: from, concurrent: cfg.Eval.Problems * cfg.Eval.Samples})
	if err != nil {
		return trainer.Evaluation{}, err
	}
	defer p.Close()
	data, err := p.data()
	if err != nil {
		return trainer.Evaluation{}, err
	}
	keep := func(trace.Record) error { return nil }
	if path := c.String("out"); path != "" {
		log, err := trace.Open(path, 0)
		if err != nil {
			return trainer.Evaluation{}, err
		}
		defer log.Close()
		keep = func(r trace.Record) error { return log.Write(r) }
	}
	return trainer.Evaluate(c.Context, trainer.Evaluator{
		Engine: p.engine, Prompt: p.proto, Tokens: p.tok, Seed: cfg.Seed, Reward: cfg.Reward, Eval: cfg.Eval,
	}, "eval", 0, 0, data.Test, keep)
}

// regrade computes an evaluation from a trace file, grading every response anew from its tokens' text.
func regrade(c *cli.Context) (trainer.Evaluation, error) {
	reward := trainer.DefaultConfig().Reward
	reward.Verifier = answer.Verifier(c.String("verifier"))
	if !slices.Contains(answer.Verifiers(), string(reward.Verifier)) {
		return trainer.Evaluation{}, fmt.Errorf("eval: --verifier %q is not known (known: %s)", reward.Verifier, strings.Join(answer.Verifiers(), ", "))
	}
	var records []trace.Record
	changed := 0
	err := trace.Read(c.String("trace"), func(r trace.Record) error {
		if err := r.Check(); err != nil {
			return err
		}
		if p := c.String("phase"); p != "" && r.Phase != p {
			return nil
		}
		if r.Finish != engine.Lost.String() {
			g, _ := reward.Grade(r.Trajectory(), r.Truth, r.Bytes)
			if string(g.Outcome) != r.Outcome {
				if changed++; changed <= 10 {
					fmt.Fprintf(os.Stderr, "trajectory %d, problem %s: stored %s, now %s (answer %q, truth %q)\n", r.Key, r.Problem, r.Outcome, g.Outcome, g.Answer, r.Truth)
				}
			}
			g.Into(&r)
		}
		records = append(records, r)
		return nil
	})
	if err == nil && len(records) == 0 {
		err = fmt.Errorf("eval: %s holds no trajectory of phase %q", c.String("trace"), c.String("phase"))
	}
	if err != nil {
		return trainer.Evaluation{}, err
	}
	fmt.Fprintf(os.Stderr, "%d of %d verdicts by %s differ from the stored ones\n", changed, len(records), reward.Verifier)
	e := trainer.Summarise(records, reward.Verifier)
	e.Name = "trace"
	return e, nil
}

func printEvaluation(e trainer.Evaluation) {
	b := e.Behaviour
	pct := func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }
	again := "unknown: one sample a problem"
	if e.Samples > 1 {
		again = fmt.Sprintf("%.1f", 196*e.Sampling)
	}
	rows := [][]string{
		{fmt.Sprintf("accuracy, avg@%d over %d problems", e.Samples, e.Problems), pct(e.Accuracy)},
		{"  ± these problems sampled again (95 %)", again},
		{"  ± other problems (95 %)", fmt.Sprintf("%.1f", 196*e.Population)},
		{"majority vote", pct(e.Majority)},
		{"responses without a verdict (of these not judged by the verifier)", fmt.Sprintf("%d (%d)", e.Lost, e.Unjudged)},
		{"problems without a verdict, in no average", fmt.Sprint(e.NoVerdict)},
	}
	for j := 2; j <= e.Samples; j *= 2 {
		rows = append(rows, []string{fmt.Sprintf("pass@%d", j), pct(e.PassAt[j])})
	}
	rows = append(rows,
		[]string{"response length, tokens", fmt.Sprintf("%.1f", b.ResponseLength)},
		[]string{"code ratio", pct(b.CodeRatio)},
		[]string{"accuracy of responses with code", pct(e.AccuracyCode)},
		[]string{"code lines a response", fmt.Sprintf("%.2f", b.CodeLines)},
		[]string{"snippets that ran to their end", fmt.Sprintf("%d of %d", b.CorrectCodeCount, b.Snippets)},
		[]string{"last snippet ran, correct responses", pct(b.CodePassCorrect)},
		[]string{"last snippet ran, wrong responses", pct(b.CodePassWrong)},
		[]string{"code timing (0 first token, 1 last)", fmt.Sprintf("%.3f", b.CodeTiming)},
		[]string{"failed calls later corrected", pct(b.FixedRate)},
	)
	fmt.Println(grid([]string{e.Name, ""}, rows))
}
