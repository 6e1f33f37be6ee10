package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"retool/bench"
	"retool/trainer"
	"retool/trainer/trace"
)

// algorithmsBench is `retool bench algorithms`.
func algorithmsBench() *cli.Command {
	return &cli.Command{
		Name: "algorithms", Usage: "every algorithm on the embedded task, from the same cold start: accuracy, steps, tokens, time",
		Description: "Trains recipe demo-NAME for each algorithm and seed, after one cold start a seed, and prints a table. A run that was\n" +
			"interrupted goes on, one that has ended is read: the same command prints the same table again.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "algorithms", Usage: "`NAMES`; none: all"},
			&cli.StringFlag{Name: "seeds", Value: "1,2,3", Usage: "`N,N,…`"},
			&cli.StringFlag{Name: "dir", Value: filepath.Join("runs", "algorithms"), Usage: "where the runs stand, `PATH`/SEED/NAME"},
			&cli.StringFlag{Name: "json", Usage: "write the runs to `FILE`, after each one"},
			&cli.StringFlag{Name: "from", Usage: "take runs that stand in `FILE`, of an earlier --json, from there"},
			setFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := unusedFlags(c, "json"); err != nil {
				return err
			}
			b := &algorithmRuns{dir: c.String("dir"), json: c.String("json"), from: c.String("from"), sets: c.StringSlice("set"),
				names: list(c.String("algorithms"))}
			if len(b.names) == 0 {
				b.names = trainer.AlgorithmNames()
			}
			for _, name := range b.names {
				if !slices.Contains(trainer.AlgorithmNames(), name) {
					return fmt.Errorf("bench algorithms: --algorithms: no %q (known: %s)", name, strings.Join(trainer.AlgorithmNames(), ", "))
				}
			}
			for _, s := range strings.Split(c.String("seeds"), ",") {
				seed, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					return fmt.Errorf("bench algorithms: --seeds %q: want whole numbers, found %q", c.String("seeds"), s)
				}
				b.seeds = append(b.seeds, seed)
			}
			return b.run(c)
		},
	}
}

// algorithmRuns are those of one table.
type algorithmRuns struct {
	dir, json, from string
	sets            []string
	names           []string
	seeds           []uint64
	stored          []bench.Learned // of from
	done            []bench.Learned
}

func (b *algorithmRuns) run(c *cli.Context) error {
	if err := b.read(); err != nil {
		return err
	}
	for _, seed := range b.seeds {
		start := "" // of the seed, once a run needs it
		for _, name := range b.names {
			l, err := b.one(c.Context, name, seed, &start)
			if err != nil {
				return err
			}
			b.done = append(b.done, l)
			fmt.Fprintf(os.Stderr, "bench: %s, seed %d: %.1f %% → %.1f %%, %.0f s%s\n", name, seed, 100*l.Before, 100*l.Accuracy, l.Seconds, l.Error)
			if b.json != "" {
				if err := writeJSON(b.json, b.done); err != nil {
					return err
				}
			}
		}
	}
	printAlgorithms(c.App.Writer, bench.Compare(b.done))
	return nil
}

// read fills stored.
func (b *algorithmRuns) read() error {
	if b.from == "" {
		return nil
	}
	err := wantFile(b.from, "a file that an earlier --json wrote")
	if err != nil {
		return fmt.Errorf("bench algorithms: --from %w", err)
	}
	text, err := readText(b.from)
	if err == nil {
		err = trace.Unmarshal(text, &b.stored)
	}
	if err != nil {
		return fmt.Errorf("bench algorithms: --from %s: %w", b.from, err)
	}
	return nil
}

// one is a run that is stored, or is made now from the seed's cold start.
func (b *algorithmRuns) one(ctx context.Context, name string, seed uint64, start *string) (bench.Learned, error) {
	i := slices.IndexFunc(b.stored, func(l bench.Learned) bool { return l.Algorithm == name && l.Seed == seed })
	if i >= 0 {
		return b.stored[i], nil
	}
	if *start == "" {
		var err error
		if *start, err = b.coldStart(ctx, seed); err != nil {
			return bench.Learned{}, err
		}
	}
	return b.learn(ctx, name, seed, *start)
}

// coldStart is the checkpoint that all algorithms of a seed begin with.
func (b *algorithmRuns) coldStart(ctx context.Context, seed uint64) (string, error) {
	dir := filepath.Join(b.dir, fmt.Sprint(seed), "cold-start")
	_, err := b.train(ctx, "demo", dir, append(b.settings(seed), "rl.steps=0", "eval.untrained=false")...)
	return trainer.Latest(dir), err
}

func (b *algorithmRuns) settings(seed uint64) []string {
	return append(slices.Clone(b.sets), fmt.Sprintf("seed=%d", seed))
}

// learn trains an algorithm from a cold start. A run that ends by its own guards is a row too, which says why.
func (b *algorithmRuns) learn(ctx context.Context, name string, seed uint64, start string) (bench.Learned, error) {
	dir := filepath.Join(b.dir, fmt.Sprint(seed), name)
	state, err := b.train(ctx, "demo-"+name, dir, append(b.settings(seed), "model.path="+start, "sft.steps=0", "sft.epochs=0",
		"eval.untrained=false", "eval.every=5")...)
	if err != nil {
		if why := trainer.Diverged(""); !errors.As(err, &why) {
			return bench.Learned{}, err
		}
		return bench.Learned{Algorithm: name, Seed: seed, Error: err.Error()}, nil
	}
	return bench.Learn(name, seed, state.Evaluations, filepath.Join(dir, "metrics.jsonl"))
}

// train runs a recipe in a directory, or goes on with it, and prints what it is worth saying in steps.log there.
func (b *algorithmRuns) train(ctx context.Context, source, dir string, sets ...string) (*trainer.State, error) {
	cfg, err := loadConfig(source, append(sets, "run="+dir))
	if err != nil {
		return nil, err
	}
	claimed, err := claimRun(dir)
	if err != nil {
		return nil, err
	}
	defer claimed.Close()
	log, err := os.OpenFile(filepath.Join(dir, "steps.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	unheard := &meter{out: io.Discard, now: time.Now}
	out := &terminal{out: log, every: 25, patience: time.Minute, work: unheard, groups: unheard}
	return train(cfg, claimed, out, aloneRank(ctx))
}

// printAlgorithms prints the table.
func printAlgorithms(w io.Writer, rows []bench.Compared) {
	var text [][]string
	for _, r := range rows {
		row := []string{r.Algorithm, fmt.Sprint(r.Seeds), "–", "–", "–", "–", "–", "–", "–"}
		if r.Seeds > 0 {
			row[2], row[3] = fmt.Sprintf("%.1f %%", 100*r.Accuracy), fmt.Sprintf("%.1f – %.1f", 100*r.Low, 100*r.High)
			row[4] = fmt.Sprintf("%.1f – %.1f", 100*r.Least, 100*r.Most)
			if r.Reached > 0 {
				row[5], row[6] = fmt.Sprintf("%.0f (%d of %d)", r.Steps90, r.Reached, r.Seeds), fmt.Sprintf("%.0f k", r.Tokens90/1e3)
			}
			row[7], row[8] = fmt.Sprintf("%.0f k", r.Tokens/1e3), fmt.Sprintf("%.0f s", r.Seconds)
			if r.Resampled > 0 {
				row[7] += fmt.Sprintf(" (%.0f k in vain)", r.Resampled/1e3)
			}
		}
		text = append(text, row)
	}
	header := []string{"", "seeds", "accuracy", "95 % interval", "least – most", "steps to 90 %", "tokens to 90 %", "tokens", "time"}
	fmt.Fprintln(w, grid(header, text))
	for _, r := range rows {
		for _, why := range r.Failed {
			fmt.Fprintf(w, "%s: %s\n", r.Algorithm, why)
		}
	}
}
