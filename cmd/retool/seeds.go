package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"retool/cmd/retool/report"
	"retool/trainer"
	"retool/trainer/trace"
)

// evaluationsFile holds all that a finished run's evaluations say, for readers who have no checkpoints.
const evaluationsFile = "evaluations.json"

func writeEvaluations(dir string, s *trainer.State) error {
	return writeJSON(filepath.Join(dir, evaluationsFile), s.Evaluations)
}

// isRun reports whether a directory is that of a run.
func isRun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "metrics.jsonl"))
	return err == nil
}

// runsIn are the run directories in a directory, in the order of their names.
func runsIn(dir string) (runs []string) {
	entries, _ := os.ReadDir(dir) // one that cannot be read holds none
	for _, e := range entries {
		if sub := filepath.Join(dir, e.Name()); e.IsDir() && isRun(sub) {
			runs = append(runs, sub)
		}
	}
	return runs
}

// seedsOf are the demos in the folders of a directory; or the directory itself, if it is that of a demo.
func seedsOf(dir string) ([]report.Seed, error) {
	if err := wantFolder(dir, "a run's directory, or one of such directories"); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	dirs := []string{dir}
	if !isRun(dir) {
		if dirs = runsIn(dir); len(dirs) == 0 {
			return nil, fmt.Errorf("report: %s holds no metrics.jsonl: want the directory of a run, or one of such directories", dir)
		}
	}
	var seeds []report.Seed
	for _, d := range dirs {
		abs, err := filepath.Abs(d)
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		s := report.Seed{Name: filepath.Base(abs)}
		for i, path := range []string{d, filepath.Join(d, "text")} {
			if !isRun(path) {
				return nil, fmt.Errorf("report: %s holds no metrics.jsonl: want both parts of a `retool demo`", path)
			}
			run, _, err := reportedRun(path)
			if err != nil {
				return nil, err
			}
			s.Arms[i].Evaluations = run.Evaluations
			if _, err := trace.Read(filepath.Join(path, "metrics.jsonl"), func(m trace.Metrics) error {
				s.Arms[i].Steps = append(s.Arms[i].Steps, m)
				return nil
			}); err != nil {
				return nil, fmt.Errorf("report: %w", err)
			}
		}
		seeds = append(seeds, s)
	}
	return seeds, nil
}

// storedEvaluations are those that a run without checkpoints left.
func storedEvaluations(dir string) (all []trace.Evaluation, err error) {
	text, err := readText(filepath.Join(dir, evaluationsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = trace.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", filepath.Join(dir, evaluationsFile), err)
	}
	return all, nil
}

// comparisonPage is the page of several seeds.
func comparisonPage(dir string) ([]byte, error) {
	c, title, err := comparison(dir)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = report.WriteComparison(&page, title, c)
	return page.Bytes(), err
}

func comparison(dir string) (*report.Comparison, string, error) {
	seeds, err := seedsOf(dir)
	if err != nil {
		return nil, "", err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", fmt.Errorf("report: %w", err)
	}
	c, err := report.Compare(seeds)
	return c, filepath.Base(abs), err
}

// comparisonTable is what `retool report --table` prints: results over the seeds, accuracy over RL steps, what a step took.
func comparisonTable(dir string) (string, error) {
	c, _, err := comparison(dir)
	if err != nil {
		return "", err
	}
	header := append(append([]string{""}, c.Seeds...), "mean", "95 % interval", "code ratio", "tokens", "problems × samples")
	var rows [][]string
	for _, b := range append(append([]report.Bar(nil), c.Bars...), c.Gains...) {
		rows = append(rows, append([]string{b.Name}, b.Cells()...))
	}
	out := grid(header, rows)
	for _, curve := range c.Curves[:2] { // of evaluations and of training rollouts
		header, rows := []string{curve.Name}, [][]string{}
		for i, l := range curve.Lines {
			row := []string{l.Name}
			for _, p := range l.Points {
				if i == 0 {
					header = append(header, fmt.Sprint(p.X))
				}
				row = append(row, fmt.Sprintf("%.1f", 100*p.Mean))
			}
			rows = append(rows, row)
		}
		out += "\n\n" + grid(header, rows)
	}
	out += "\n\nAccuracies in per cent, those by RL step means over the seeds."
	for i, name := range []string{"with Python", "text only"} {
		if s := c.Step[i]; s.Steps > 0 {
			out += fmt.Sprintf("\nRL step, %s: median %.1f s, %.1f – %.1f, of %d", name, s.Median, s.Least, s.Most, s.Steps)
		}
	}
	return out, nil
}
