package main

import (
	"fmt"
	"path/filepath"

	"retool/trainer"
	"retool/trainer/trace"
)

// last is the latest evaluation of a name.
func last(s *trainer.State, name string) (e *trace.Evaluation) {
	for i := range s.Evaluations {
		if s.Evaluations[i].Name == name {
			e = &s.Evaluations[i]
		}
	}
	return e
}

// summary is what a run came to; text is the text-only recipe's of a demo, else nil.
func summary(tool, text *trainer.State) trace.Summary {
	s := trace.Summary{Untrained: last(tool, "untrained"), ColdStart: last(tool, "cold_start"), RL: last(tool, "rl"), Seconds: tool.Seconds}
	if text != nil {
		s.TextColdStart, s.TextRL = last(text, "cold_start"), last(text, "rl")
		s.Seconds += text.Seconds
	}
	return s
}

func writeSummary(dir string, s trace.Summary) error {
	return writeJSON(filepath.Join(dir, "summary.json"), s)
}

// summaryTable is the demo's last word.
func summaryTable(s trace.Summary) string {
	var rows [][]string
	for _, r := range s.Rows() {
		rows = append(rows, []string{
			r.Name, fmt.Sprintf("%.1f %%", 100*r.Accuracy), fmt.Sprintf("%.1f – %.1f", 100*r.Low, 100*r.High),
			fmt.Sprintf("%.1f %%", 100*r.Behaviour.CodeRatio), fmt.Sprintf("%.1f", r.Behaviour.ResponseLength),
			fmt.Sprintf("%d × %d", r.Problems, r.Samples),
		})
	}
	return grid([]string{"", "accuracy", "95 % interval", "code ratio", "tokens", "problems × samples"}, rows) +
		fmt.Sprintf("\n%.0f s in all", s.Seconds)
}
