package main

import (
	"fmt"
	"maps"
	"slices"

	"retool/trainer/answer"
	"retool/trainer/trace"
)

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
	pct := percent
	again := "unknown: one sample a problem"
	if e.Samples > 1 {
		again = fmt.Sprintf("%.1f", 196*e.Sampling)
	}
	var rows [][]string
	if e.Preset != "" {
		rows = append(rows, []string{"preset", e.Preset})
	}
	rows = append(rows,
		[]string{fmt.Sprintf("accuracy, avg@%d over %d problems, by %s", e.Samples, e.Problems, e.Verifier), pct(e.Accuracy)},
		[]string{"  95 %, these problems: Wilson over all responses", between(e.SampledLow, e.SampledHigh)},
		[]string{"  95 %, other problems: Wilson by the spread of problems", between(e.Low, e.High)},
		[]string{"  ± these problems sampled again (95 %)", again},
		[]string{"  ± other problems (95 %)", fmt.Sprintf("%.1f", 196*e.Population)},
	)
	for _, v := range answer.Verifiers() {
		if a, ok := e.AccuracyBy[v]; ok && v != e.Verifier {
			rows = append(rows, []string{"  the same responses by " + v, pct(a)})
		}
	}
	rows = append(rows,
		[]string{fmt.Sprintf("majority vote, majority@%d", e.Samples), pct(e.Majority)},
		[]string{"responses without a verdict (of these not judged by the verifier)", fmt.Sprintf("%d (%d)", e.Lost, e.Unjudged)},
		[]string{"problems without a verdict, in no average", fmt.Sprint(e.NoVerdict)},
	)
	for _, j := range slices.Sorted(maps.Keys(e.PassAt)) {
		if j > 1 {
			rows = append(rows, []string{fmt.Sprintf("pass@%d", j), pct(e.PassAt[j])})
		}
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

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

func between(low, high float64) string { return fmt.Sprintf("%.1f – %.1f", 100*low, 100*high) }
