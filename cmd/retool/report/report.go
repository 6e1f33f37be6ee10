package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"retool/trainer/trace"
)

// Run is a run directory and what is known of it besides its logs.
type Run struct {
	Dir         string // holds metrics.jsonl and trajectories.jsonl
	Title       string
	Facts       []Fact // the header, in order
	Config      string // text of config.yaml
	Results     []trace.Row
	Evaluations []trace.Evaluation // those that the logs hold and this list does not are computed from the records, without intervals
	Text        *Run               // the text-only recipe's run, drawn over this one's curves; its Title, Facts, Results and Text are not used
}

// Fact is one line of the header.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// evaluation is one as the page shows it: with the group's metrics in place of the stored ones.
type evaluation struct {
	trace.Evaluation
	Columns map[string]float64 `json:"behaviour"`
	X       int                `json:"x"` // Step, of another run than the first counted from where its cold start ended
}

// data is what page.js reads.
type data struct {
	Title        string       `json:"title"`
	Facts        []Fact       `json:"facts"`
	Config       string       `json:"config"`
	Results      []trace.Row  `json:"results"`
	Runs         []runData    `json:"runs"`
	Tokens       []token      `json:"tokens"`
	Trajectories []trajectory `json:"trajectories"`
}

// runData is one run's curves.
type runData struct {
	Name        string            `json:"name"`
	Offset      int               `json:"offset"` // steps made when reinforcement learning began
	Curves      map[string]curves `json:"curves"` // by phase: sft, rl; behaviour of the training rollouts
	Evaluations []evaluation      `json:"evaluations"`
	Records     int               `json:"records"`    // trajectories logged
	Difference  float64           `json:"difference"` // largest |rollout − training log-probability| of all
	Checked     int               `json:"checked"`    // tokens that was taken over
	Ranks       []rank            `json:"ranks,omitempty"`
	Torn        []string          `json:"-"` // logs whose last line a crash cut off, a sentence each
}

// Write reads the run's logs and writes the page. It fails with one sentence when there is nothing to show.
func Write(w io.Writer, r Run) error {
	d, err := assemble(r, MaxTrajectories, MaxBytes)
	if err != nil {
		return err
	}
	return render(w, d)
}

// Bounds of a page.
const (
	MaxTrajectories = 400
	MaxBytes        = 3 << 20 // of the trajectories; curves, script and style add less than 1 MiB
	MaxPoints       = 1000    // of a curve
	maxTokens       = 2048    // of a trajectory: longer ones lose their middle
	maxText         = 8 << 10 // bytes of one piece of code or output
	maxCalls        = 32      // of a trajectory
	maxRankCurves   = 8       // of a run with more, the first, the median and the last rank are drawn
)

func assemble(r Run, trajectories, bytes int) (*data, error) {
	d := &data{Title: r.Title, Facts: r.Facts, Config: r.Config, Results: r.Results}
	runs, names := []Run{r}, []string{"this run"}
	if r.Text != nil {
		runs, names = append(runs, *r.Text), []string{"with Python", "text only"}
	}
	var groups []*group
	for i, run := range runs {
		first := -1
		if i > 0 {
			first = d.Runs[0].Offset
		}
		rd, gs, err := readRun(run, i, first)
		if err != nil {
			return nil, err
		}
		rd.Name = names[i]
		for _, torn := range rd.Torn {
			d.Facts = append(d.Facts, Fact{"note", torn})
		}
		d.Runs = append(d.Runs, rd)
		groups = append(groups, gs...)
	}
	if len(d.Runs[0].Curves) == 0 && d.Runs[0].Records == 0 {
		return nil, fmt.Errorf("report: %s: no step and no trajectory has been logged yet: nothing to show", r.Dir)
	}
	dict := dictionary{index: map[token]int{}}
	var err error
	d.Trajectories, err = collect(runs, choose(groups, trajectories), &dict, bytes)
	d.Tokens = dict.tokens
	return d, err
}

// readRun reads the logs of one run. Steps of reinforcement learning are counted as those of a run whose cold start ended with step first;
// below 0, as its own are.
func readRun(r Run, index, first int) (runData, []*group, error) {
	rd := runData{Curves: map[string]curves{}}
	var steps []trace.Metrics
	torn, err := trace.Read(filepath.Join(r.Dir, "metrics.jsonl"), func(m trace.Metrics) error {
		steps = append(steps, m)
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(r.Dir); statErr != nil {
			return rd, nil, fmt.Errorf("report: no directory %s", r.Dir)
		}
		return rd, nil, fmt.Errorf("report: %s holds no metrics.jsonl: want the directory of a run, which holds "+
			"config.yaml, metrics.jsonl, trajectories.jsonl and checkpoints/, or a directory of such", r.Dir)
	case err != nil:
		return rd, nil, fmt.Errorf("report: %w", err)
	}
	sft, rl := split(steps)
	checked := map[int]bool{} // steps whose log-probabilities were all compared: of others it is not known whose were
	for _, m := range rl {
		if m.Checked > 0 {
			checked[m.Step] = m.Checked >= m.Policy
			rd.Checked += m.Checked
			rd.Difference = max(rd.Difference, m.Difference)
		}
	}
	rd.Offset = offset(sft, rl)
	shift := 0
	if first >= 0 {
		shift = first - rd.Offset
	}
	if len(sft) > 0 {
		rd.Curves["sft"] = bucket(sftCurves(sft), MaxPoints)
	}
	if len(rl) > 0 {
		rd.Curves["rl"] = bucket(rlCurves(rl, shift), MaxPoints)
	}
	if torn != "" {
		rd.Torn = append(rd.Torn, torn)
	}
	if rd.Ranks, err = readRanks(r.Dir, rl); err != nil {
		return rd, nil, err
	}
	groups, torn, err := survey(filepath.Join(r.Dir, "trajectories.jsonl"), index, shown(rl), checked)
	if err != nil {
		return rd, nil, err
	}
	if torn != "" {
		rd.Torn = append(rd.Torn, torn)
	}
	var train []*group
	evaluations := map[phaseStep]*group{}
	for _, g := range groups {
		rd.Records += g.all
		if g.Phase == trainPhase {
			train = append(train, g)
		} else {
			evaluations[g.phaseStep] = g
		}
	}
	if len(train) > 0 {
		rd.Curves["behaviour"] = bucket(behaviourCurves(train, shift), MaxPoints)
	}
	for _, e := range r.Evaluations {
		g := evaluations[phaseStep{e.Name, e.Step}]
		delete(evaluations, phaseStep{e.Name, e.Step})
		if g == nil { // its records are gone: denominators are unknown
			g = &group{behaviour: e.Behaviour, codeCorrect: 1, codeWrong: 1, failed: 1}
		}
		rd.Evaluations = append(rd.Evaluations, evaluation{e, g.columns(), e.Step + shift})
	}
	for at, g := range evaluations { // made after the last checkpoint
		p := float64(g.correct) / float64(max(g.behaviour.Responses, 1))
		e := trace.Evaluation{
			Name: at.Phase, Step: at.Step, Problems: g.problems, Samples: g.all / max(g.problems, 1), Accuracy: p, Low: p, High: p,
		}
		rd.Evaluations = append(rd.Evaluations, evaluation{e, g.columns(), at.Step + shift})
	}
	slices.SortStableFunc(rd.Evaluations, func(a, b evaluation) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(evaluationOrder(a.Name), evaluationOrder(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return rd, groups, nil
}

// evaluationOrder orders the evaluations of one step.
func evaluationOrder(name string) int { return slices.Index([]string{"untrained", "cold_start"}, name) }

// render writes the page around its data.
func render(w io.Writer, d *data) error {
	text, err := marshal(d)
	if err != nil {
		return err
	}
	_, err = w.Write(page(d.Title, text))
	return err
}
