package main

import (
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
			if c.IsSet("from") == c.IsSet("trace") {
				return fmt.Errorf("eval: want either --from, weights to sample from, or --trace, trajectories to grade again")
			}
			if c.IsSet("verifier") && !c.IsSet("trace") {
				return fmt.Errorf("eval: --verifier goes with --trace; with --from it is --set reward.verifier=%s", c.String("verifier"))
			}
			if c.IsSet("out") && !c.IsSet("from") || c.IsSet("phase") && !c.IsSet("trace") {
				return fmt.Errorf("eval: --out goes with --from, which samples; --phase with --trace")
			}
			if err := unusedFlags(c, "out"); err != nil {
				return err
			}
			var shown any
			var err error
			if c.IsSet("trace") {
				var es []trace.Evaluation
				es, err = regrade(c)
				shown = es
			} else {
				shown, err = evaluateOnRanks(c)
			}
			if err != nil || shown == nil { // nil: rank 0 shows it
				return err
			}
			if c.Bool("json") {
				text, err := trace.MarshalIndent(shown)
				if err == nil {
					_, err = c.App.Writer.Write(text)
				}
				return err
			}
			switch e := shown.(type) {
			case trace.Evaluation:
				printEvaluation(e)
			case []trace.Evaluation:
				printEvaluations(e)
			}
			return nil
		},
	}
}

// evaluateOnRanks is evaluate on all ranks that a launcher started; nil but on the first.
func evaluateOnRanks(c *cli.Context) (shown any, err error) {
	cfg, _, err := loadedConfig(c)
	if err != nil {
		return nil, err
	}
	err = onRanks(c.Context, cfg, func(rs *ranks) error {
		e, err := evaluate(c, rs)
		if err == nil && rs.leads() {
			shown = e
		}
		return err
	})
	return shown, err
}

func evaluate(c *cli.Context, rs *ranks) (trace.Evaluation, error) {
	cfg, p, err := loadedProgram(c, rs, func(cfg *Config) (int, error) {
		if cfg.Eval.Problems < 1 {
			return 0, fmt.Errorf("eval.problems: want at least 1, got %d: give --set eval.problems=N", cfg.Eval.Problems)
		}
		return cfg.Eval.Problems * cfg.Eval.Samples, nil
	})
	if err != nil {
		return trace.Evaluation{}, err
	}
	defer p.Close()
	read, err := p.data(false)
	if err != nil {
		return trace.Evaluation{}, err
	}
	if rs.leads() {
		for _, note := range read.notes {
			fmt.Fprintln(c.App.ErrWriter, note)
		}
		bar, finish := meterOn(os.Stderr, "rollout", "trajectories")
		defer finish()
		p.engine.Progress = func(done, all int) { bar.set(int64(done), int64(all)) }
	}
	keep := func(trace.Record) error { return nil }
	if path := c.String("out"); path != "" && rs.leads() {
		log, err := trace.Open(path, 0)
		if err != nil {
			return trace.Evaluation{}, err
		}
		defer log.Close()
		keep = func(r trace.Record) error { return log.Write(r) }
	}
	return trainer.Evaluate(rs.ctx, trainer.Evaluator{
		Engine: p.engine, Proto: p.proto, Tokens: p.tok, Seed: cfg.Seed, Reward: cfg.Reward, Eval: cfg.Eval,
		Ranks: trainer.NewRanks(rs.Comm, 0),
	}, "eval", 0, 0, read.Test, keep)
}

// phaseStep is one evaluation, or the rollouts of one training step, in a trace.
type phaseStep struct {
	phase string
	step  int
}

// regrade grades every response of a trace file anew from its tokens' text, and computes an evaluation for each phase and step, in the
// order of the file.
func regrade(c *cli.Context) ([]trace.Evaluation, error) {
	reward := trainer.DefaultConfig().Reward
	reward.Verifier = answer.Verifier(c.String("verifier"))
	if !slices.Contains(answer.Verifiers(), string(reward.Verifier)) {
		return nil, fmt.Errorf("eval: --verifier %q is not known (known: %s)", reward.Verifier, strings.Join(answer.Verifiers(), ", "))
	}
	groups := map[phaseStep][]trace.Record{}
	var order []phaseStep
	changed, all := 0, 0
	torn, err := trace.Read(c.String("trace"), func(r trace.Record) error {
		if err := r.Check(); err != nil {
			return err
		}
		if p := c.String("phase"); p != "" && r.Phase != p {
			return nil
		}
		if r.Finish != engine.Lost.String() {
			g, _ := reward.Grade(r.Trajectory(), r.Truth, r.Bytes(), engine.OutsideCode)
			if string(g.Outcome) != r.Outcome {
				if changed++; changed <= 10 {
					fmt.Fprintf(c.App.ErrWriter, "trajectory %d, problem %s: stored %s, now %s (answer %q, truth %q)\n", r.Key, r.Problem, r.Outcome,
						g.Outcome, g.Answer, r.Truth)
				}
			}
			g.Into(&r)
		}
		r.LogProbs, r.Pieces, r.Raw = nil, nil, nil // what is left needs none of them
		at := phaseStep{r.Phase, r.Step}
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], r)
		all++
		return nil
	})
	if err == nil && all == 0 {
		err = fmt.Errorf("eval: %s holds no trajectory", c.String("trace"))
		if p := c.String("phase"); p != "" {
			err = fmt.Errorf("%w of phase %q", err, p)
		}
	}
	if err != nil {
		return nil, err
	}
	if torn != "" {
		fmt.Fprintln(c.App.ErrWriter, torn)
	}
	fmt.Fprintf(c.App.ErrWriter, "%d of %d verdicts by %s differ from the stored ones\n", changed, all, reward.Verifier)
	var es []trace.Evaluation
	for _, at := range order {
		e := trainer.Summarise(groups[at], reward.Verifier)
		e.Name, e.Step = at.phase, at.step
		es = append(es, e)
	}
	return es, nil
}

// printEvaluations prints a row for each, or all there is to say of a single one.
func printEvaluations(es []trace.Evaluation) {
	if len(es) == 1 {
		printEvaluation(es[0])
		return
	}
	var rows [][]string
	for _, e := range es {
		b := e.Behaviour
		rows = append(rows, []string{
			e.Name, fmt.Sprint(e.Step), fmt.Sprintf("avg@%d over %d", e.Samples, e.Problems), fmt.Sprintf("%.1f %%", 100*e.Accuracy),
			fmt.Sprintf("%.1f – %.1f", 100*e.Low, 100*e.High), fmt.Sprintf("%.1f %%", 100*b.CodeRatio),
			fmt.Sprintf("%d of %d", b.CorrectCodeCount, b.Snippets), fmt.Sprintf("%.1f", b.ResponseLength),
		})
	}
	fmt.Println(grid([]string{"phase", "step", "problems", "accuracy", "95 % interval", "code ratio", "snippets that ran", "tokens"}, rows))
}

func printEvaluation(e trace.Evaluation) {
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
