package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"retool/trainer/trace"
)

// recordedEvaluation is a line of --record.
type recordedEvaluation struct {
	From       string           `json:"from"`    // as it was given
	Weights    string           `json:"weights"` // the folder that it stood for
	Evaluation trace.Evaluation `json:"evaluation"`
}

// readEvaluations reads a file of --record; one that is not there holds none.
func readEvaluations(path string) (rows []recordedEvaluation, err error) {
	torn, err := trace.Read(path, func(r recordedEvaluation) error {
		if r.Weights == "" || r.Evaluation.Name == "" {
			return errors.New("want an evaluation as --record writes it, got another object")
		}
		rows = append(rows, r)
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && torn != "":
		err = errors.New(torn)
	}
	if err != nil {
		err = fmt.Errorf("eval: --record: %w", err)
	}
	return rows, err
}

// appendEvaluation adds a line to a file of --record, by one write: evaluations that end together leave a line each.
func appendEvaluation(path string, e recordedEvaluation) error {
	line, err := trace.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("eval: --record: %w", err)
	}
	return nil
}

// printRecorded prints a row for each evaluation of a file of --record.
func printRecorded(path string) error {
	rows, err := readEvaluations(path)
	if err != nil {
		return err
	}
	var table [][]string
	for _, r := range rows {
		e, b := r.Evaluation, r.Evaluation.Behaviour
		table = append(table, []string{
			r.Weights, cmp.Or(e.Preset, "–"), e.Verifier, fmt.Sprintf("avg@%d over %d", e.Samples, e.Problems), percent(e.Accuracy),
			between(e.SampledLow, e.SampledHigh), between(e.Low, e.High), percent(e.PassAt[e.Samples]), percent(e.Majority), percent(b.CodeRatio),
			fmt.Sprintf("%.1f", b.ResponseLength),
		})
	}
	fmt.Println(grid([]string{"weights", "preset", "verifier", "problems", "accuracy", "95 %: samples", "95 %: problems", "pass@k", "majority",
		"code ratio", "tokens"}, table))
	return nil
}
