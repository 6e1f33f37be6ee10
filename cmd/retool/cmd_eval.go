package main

import (
	"errors"
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
			&cli.StringFlag{Name: "verifier", Value: string(answer.Math),
				Usage: "with --trace: the rules to grade by, `RULES`: " + strings.Join(answer.Verifiers(), ", ")},
			presetFlag(),
			&cli.StringFlag{Name: "out", Usage: "write the trajectories sampled to a `FILE.jsonl`; killed, the same command goes on"},
			&cli.StringFlag{Name: "record", Usage: "append the evaluation to a `FILE.jsonl`, and print all that it holds as a table"},
			&cli.BoolFlag{Name: "json", Usage: "print the evaluation as JSON"},
			setFlag(),
		},
		Action: func(c *cli.Context) error {
			var shown any
			err := checkEval(c)
			switch {
			case err != nil:
			case c.IsSet("trace"):
				shown, err = regrade(c)
			default:
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
				if path := c.String("record"); path != "" {
					return printRecorded(path)
				}
			case []trace.Evaluation:
				printEvaluations(e)
			}
			return nil
		},
	}
}

// checkEval refuses flags that do not go together, and files that are not what they ought to be, before any work.
func checkEval(c *cli.Context) error {
	if c.IsSet("from") == c.IsSet("trace") {
		return fmt.Errorf("eval: want either --from, weights to sample from, or --trace, trajectories to grade again")
	}
	if c.IsSet("verifier") && !c.IsSet("trace") {
		return fmt.Errorf("eval: --verifier goes with --trace; with --from it is --set reward.verifier=%s", c.String("verifier"))
	}
	for _, name := range []string{"out", "preset", "record"} {
		if c.IsSet(name) && !c.IsSet("from") {
			return fmt.Errorf("eval: --%s goes with --from, which samples", name)
		}
	}
	if c.IsSet("phase") && !c.IsSet("trace") {
		return fmt.Errorf("eval: --phase goes with --trace")
	}
	if err := unusedFlags(c, "out"); err != nil {
		return err
	}
	if path := c.String("record"); path != "" { // before any work
		if _, err := readEvaluations(path); err != nil {
			return err
		}
	}
	return nil
}

// evalConfigs is what ranks that evaluate read.
func evalConfigs(c *cli.Context) ([]*Config, error) {
	if err := checkEval(c); err != nil {
		return nil, err
	}
	if c.IsSet("trace") { // a process of its own does not come here
		return nil, errors.New("eval: --trace grades stored trajectories in one process: run it without launch")
	}
	l, err := loadedConfig(c)
	if err == nil {
		_, err = evaluations(l.cfg)
	}
	if err != nil {
		return nil, err
	}
	l.cfg.Dist.Slices = 0 // no minibatch is cut
	return []*Config{l.cfg}, nil
}

// evaluations is how many trajectories an evaluation samples.
func evaluations(cfg *Config) (int, error) {
	if cfg.Eval.Problems < 1 {
		return 0, fmt.Errorf("eval.problems: want at least 1, got %d: give --set eval.problems=N", cfg.Eval.Problems)
	}
	return cfg.Eval.Problems * cfg.Eval.Samples, nil
}

// evaluateOnRanks is evaluate on all ranks that a launcher started; nil but on the first.
func evaluateOnRanks(c *cli.Context) (shown any, err error) {
	read, err := evalConfigs(c)
	if err != nil {
		return nil, err
	}
	err = onRanks(c.Context, read[0], false, func(rs *ranks) error {
		e, err := evaluate(c, rs)
		if err == nil && rs.leads() {
			shown = e
		}
		return err
	})
	return shown, err
}

func evaluate(c *cli.Context, rs *ranks) (trace.Evaluation, error) {
	l, p, err := loadedProgram(c, rs, evaluations)
	if err != nil {
		return trace.Evaluation{}, err
	}
	defer p.Close()
	read, err := p.data(false)
	if err != nil {
		return trace.Evaluation{}, err
	}
	if rs.leads() {
		notes := read.notes
		if l.preset != nil {
			notes = append([]string{l.preset.note()}, notes...)
		}
		for _, note := range notes {
			fmt.Fprintln(c.App.ErrWriter, note)
		}
		bar, finish := meterOn(os.Stderr, "rollout", "trajectories")
		defer finish()
		p.engine.Progress = func(done, all int) { bar.of("rollout", "trajectories", int64(done), int64(all)) }
		p.engine.Prefilling = func(done, all int) { bar.of("prefill", "tokens", int64(done), int64(all)) }
	}
	cfg := l.cfg
	v := trainer.Evaluator{
		Engine: p.engine, Proto: p.proto, Tokens: p.tok, Seed: cfg.Seed, Reward: cfg.Reward, Eval: cfg.Eval,
		Ranks: trainer.NewRanks(rs.Comm, 0),
	}
	partial, err := p.partialEvaluation(c.String("out"), l.from, read.hashes, &v)
	if err != nil {
		return trace.Evaluation{}, err
	}
	keep := func(trace.Record) error { return nil }
	if partial != nil {
		defer partial.close()
		keep = func(r trace.Record) error { return printLine(partial.out, r) }
		if n := len(v.Before); n > 0 {
			fmt.Fprintf(c.App.ErrWriter, "%d of %d trajectories stand in %s: the others follow\n", n, len(read.Test)*cfg.Eval.Samples,
				partialPath(c.String("out")))
		}
	}
	e, err := trainer.Evaluate(rs.ctx, v, "eval", 0, 0, read.Test, func(r trace.Record) error {
		if slices.ContainsFunc(r.LogProbs, func(x float32) bool { return x != x }) {
			return fmt.Errorf("eval: --from %s: log-probabilities of problem %s are no numbers: the weights hold some that are not finite, "+
				"or overflow", l.from, r.Problem)
		}
		return keep(r)
	})
	if err != nil && c.Context.Err() != nil {
		err = errors.New("eval: interrupted: nothing was written")
		if partial != nil && !partial.empty() {
			err = fmt.Errorf("eval: interrupted: the same command goes on from %s", partialPath(c.String("out")))
		}
	}
	if err != nil || !rs.leads() {
		return e, err
	}
	if line := p.memory.ended(p.dev, p.engine); line != "" {
		fmt.Fprintln(c.App.ErrWriter, line)
	}
	if l.preset != nil {
		l.preset.into(&e, cfg)
	}
	if partial != nil {
		if err := partial.finish(); err != nil {
			return e, err
		}
	}
	if path := c.String("record"); path != "" {
		return e, appendEvaluation(path, recordedEvaluation{From: c.String("from"), Weights: l.from, Evaluation: e})
	}
	return e, nil
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
	if err := wantFile(c.String("trace"), "a file of trajectories, such as RUN/trajectories.jsonl"); err != nil {
		return nil, fmt.Errorf("eval: --trace %w", err)
	}
	file, err := os.Open(c.String("trace"))
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	defer file.Close()
	in, finish := meteredFile(file, "grade")
	defer finish()
	torn, err := trace.ReadFrom(in, c.String("trace"), func(r trace.Record) error {
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
