package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"retool/cmd/retool/filelock"
	"retool/engine"
	"retool/engine/tokenizer"
	"retool/interp"
	"retool/trainer/rewrite"
)

// rewriteCommand is `retool data rewrite`.
func rewriteCommand() *cli.Command {
	return &cli.Command{
		Name: "rewrite", Usage: "make cold-start traces of worked solutions: a model rewrites, the sandbox verifies",
		ArgsUsage: "IN.jsonl OUT.jsonl",
		Description: "IN has a question, its answer and a solution in text a line. " +
			"A model behind an OpenAI-compatible endpoint replaces manual\n" +
			"calculation by code; every snippet is run twice, results, form and answer are verified. OUT gets the traces accepted,\n" +
			"OUT.report.jsonl every reply and verdict: a run that was cut goes on from there, and asks about no row again. The key is\n" +
			"taken from OPENAI_API_KEY.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "endpoint", Required: true, Usage: "`URL` such as http://localhost:8000/v1"},
			&cli.StringFlag{Name: "model", Required: true, Usage: "`NAME` that the endpoint knows"},
			&cli.StringFlag{Name: "question", Value: "question", Usage: "`FIELD` of the question"},
			&cli.StringFlag{Name: "answer", Value: "answer", Usage: "`FIELD` of the true answer"},
			&cli.StringFlag{Name: "solution", Value: "solution", Usage: "`FIELD` of the solution in text"},
			&cli.Float64Flag{Name: "temperature", Usage: "of the endpoint's sampling"},
			countFlag("reply-tokens", 0, 0, 1<<24, "longest reply; 0: what the endpoint allows"),
			countFlag("parallel", 8, 1, 1024, "rows at a time"),
			&cli.Float64Flag{Name: "rate", Usage: "requests a minute; 0: no limit"},
			timeFlag("timeout", 10*time.Minute, "of one request"),
			countFlag("attempts", 6, 1, mostCount, "at one row, while the endpoint is busy or breaks off"),
			&cli.StringFlag{Name: "on-mismatch", Value: "drop",
				Usage: "a result that the interpreter does not give: drop the row, or replace the result"},
			&cli.Float64Flag{Name: "kept", Value: 0.5, Usage: "least share of the words outside code that are the original's"},
			countFlag("max-tokens", 16384, 1, 1<<24, "longest question and trace"),
			&cli.StringFlag{Name: "tokenizer", Usage: "model `DIR` whose tokenizer counts them; without it three bytes count as one"},
			&cli.StringFlag{Name: "python", Usage: "interpreter `PATH`; default: the one `make python` built, else python3"},
		},
		Action: rewriteRows,
	}
}

// checkRewriteFlags refuses values that mean nothing.
func checkRewriteFlags(c *cli.Context) error {
	switch m := c.String("on-mismatch"); {
	case m != "drop" && m != "replace":
		return fmt.Errorf("rewrite: --on-mismatch: %q is not known (known: drop, replace)", m)
	case !(c.Float64("rate") >= 0) || !(c.Float64("temperature") >= 0):
		return fmt.Errorf("rewrite: --rate, --temperature: want 0 or more, got %g and %g", c.Float64("rate"), c.Float64("temperature"))
	case !(c.Float64("kept") >= 0 && c.Float64("kept") <= 1):
		return fmt.Errorf("rewrite: --kept: want a share between 0 and 1, got %g", c.Float64("kept"))
	}
	return creatable(c.Args().Get(1))
}

func rewriteRows(c *cli.Context) error {
	if err := checkRewriteFlags(c); err != nil {
		return err
	}
	in, out := c.Args().Get(0), c.Args().Get(1)
	fields := rewrite.Fields{Question: c.String("question"), Answer: c.String("answer"), Solution: c.String("solution")}
	rows, err := readRewriteRows(in, fields)
	if err != nil {
		return err
	}
	endpoint, err := rewrite.NewEndpoint(c.String("endpoint"), rewrite.EndpointOptions{
		Model: c.String("model"), Key: os.Getenv("OPENAI_API_KEY"), Temperature: c.Float64("temperature"), MaxTokens: c.Int("reply-tokens"),
		Rate: c.Float64("rate"), Timeout: c.Duration("timeout"), Attempts: c.Int("attempts"),
	})
	if err != nil {
		return err
	}
	unlock, err := lockJournal(rewrite.JournalOf(out))
	if err != nil {
		return err
	}
	defer unlock()
	checker, closePool, err := newChecker(c)
	if err != nil {
		return err
	}
	defer closePool()
	bar, finish := meterOn(os.Stderr, "rewrite", "rows")
	defer finish()
	job := rewrite.Job{
		Rows: rows, Ask: endpoint.Ask, Checker: checker, Out: out, Parallel: c.Int("parallel"), Progress: bar.set,
		Settings: fmt.Sprintf("model %s, temperature %g, on-mismatch %s, kept %g, max-tokens %d of %q",
			c.String("model"), c.Float64("temperature"), c.String("on-mismatch"), c.Float64("kept"), c.Int("max-tokens"), c.String("tokenizer")),
	}
	report, err := job.Run(c.Context)
	finish()
	switch {
	case err != nil && errors.Is(err, context.Canceled):
		return errors.New("rewrite: interrupted; what is done is kept, the same command goes on from there")
	case err != nil:
		return err
	}
	table := [][]string{{"accepted", fmt.Sprint(report.Accepted)}}
	for _, reason := range report.Reasons() {
		table = append(table, []string{string(reason), fmt.Sprint(report.Dropped[reason])})
	}
	table = append(table, []string{"rows", fmt.Sprint(report.Rows)})
	fmt.Fprintln(c.App.Writer, grid([]string{out, ""}, table))
	if report.Replaced > 0 {
		fmt.Fprintf(c.App.Writer, "%d of the accepted had results replaced\n", report.Replaced)
	}
	return nil
}

func readRewriteRows(path string, fields rewrite.Fields) ([]rewrite.Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("rewrite: %w", err)
	}
	defer f.Close()
	in, finish := meteredFile(f, "read")
	defer finish()
	return rewrite.ReadRows(in, path, fields)
}

// lockJournal keeps a second process off a journal.
func lockJournal(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("rewrite: %w", err)
	}
	held, err := filelock.Try(f)
	if err == nil && !held {
		err = fmt.Errorf("another process is writing into it: wait for it, or choose another output")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("rewrite: %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// newChecker opens the sandbox and the tokenizer that verification needs.
func newChecker(c *cli.Context) (checker *rewrite.Checker, closePool func(), err error) {
	tok, count, err := counting(c.String("tokenizer"))
	if err != nil {
		return nil, nil, err
	}
	proto, err := engine.NewProtocol(engine.DefaultProtocol(), tok, nil)
	if err != nil {
		return nil, nil, err
	}
	cfg := interp.Default()
	cfg.Python = c.String("python")
	box := openSandbox(c.Context, cfg)
	if _, err := box.open(); err != nil {
		box.Close()
		return nil, nil, err
	}
	return &rewrite.Checker{
		Interpreter: snippets{python{box, cfg.Limits}, proto}, Tokens: count, MaxTokens: c.Int("max-tokens"),
		Replace: c.String("on-mismatch") == "replace", Kept: c.Float64("kept"),
	}, box.Close, nil
}

// counting is the tokenizer of a model folder and what counts by it. Without a folder nothing is counted exactly.
func counting(dir string) (tokenizer.Tokenizer, func(string) int, error) {
	if dir == "" {
		tok, err := tokenizerAt("")
		return tok, func(s string) int { return (len(s) + 2) / 3 }, err
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("rewrite: --tokenizer: %w", err)
	}
	return tok, func(s string) int { return len(tok.Encode(s)) }, nil
}

// snippets joins sandbox and protocol to the verification: a snippet runs as a rollout's would, and shows what one would see.
type snippets struct {
	python python
	proto  engine.Protocol
}

func (s snippets) Run(ctx context.Context, code string) (rewrite.Execution, error) {
	r, err := s.python.Run(ctx, 0, code)
	x := rewrite.Execution{OK: r.OK(), Timeout: r.Timeout(), Output: r.Stdout, Shown: s.proto.Observation(r)}
	if !x.OK {
		x.Output = r.Traceback
	}
	return x, err
}
