package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"retool/trainer"
	"retool/trainer/trace"
)

// Follow says who else hears of a run while it trains.
type Follow struct {
	TensorBoard bool   `yaml:"tensorboard" doc:"event files of every step and evaluation in the run directory's tensorboard/"`
	Prometheus  string `yaml:"prometheus" doc:"HOST:PORT that /metrics is served at while the run trains; empty: nowhere"`
}

func (f Follow) validate() error {
	if f.Prometheus == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(f.Prometheus)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		return fmt.Errorf("follow.prometheus: want HOST:PORT, such as localhost:9400, got %q", f.Prometheus)
	}
	return nil
}

// followers all hear what a run does.
type followers []trainer.Report

func (f followers) Phase(name string, after, last int) {
	for _, r := range f {
		r.Phase(name, after, last)
	}
}

func (f followers) Step(m trace.Metrics) {
	for _, r := range f {
		r.Step(m)
	}
}

func (f followers) Evaluated(e trace.Evaluation) {
	for _, r := range f {
		r.Evaluated(e)
	}
}

func (f followers) Note(text string) {
	for _, r := range f {
		r.Note(text)
	}
}

// followers are those of a run: the terminal always, and whom the configuration names. metrics may be nil. end closes them.
func (p *program) followers(run string, out *terminal, metrics *exporter) (all followers, end func(), err error) {
	all, end = followers{out}, func() {}
	out.watch(p)
	if p.cfg.Follow.TensorBoard {
		board, err := openTensorBoard(run, out.Note)
		if err != nil {
			return nil, nil, fmt.Errorf("follow.tensorboard: %w", err)
		}
		all, end = append(all, board), board.Close
	}
	if metrics != nil {
		all = append(all, metrics)
		shown := p.engine.Progress
		p.engine.Progress = func(done, total int) {
			shown(done, total)
			metrics.rolling(done, total)
		}
	}
	return all, end, nil
}

// tensorboard writes the scalars of steps and evaluations for TensorBoard: sft/loss, rl/reward, eval/accuracy and so on. A disk that
// takes no more of them does not end the run: metrics.jsonl holds the same numbers, and decides.
type tensorboard struct {
	events *trace.Events
	note   func(string)
	broken bool
}

func openTensorBoard(run string, note func(string)) (*tensorboard, error) {
	events, err := trace.OpenEvents(filepath.Join(run, "tensorboard"))
	return &tensorboard{events: events, note: note}, err
}

func (t *tensorboard) Phase(string, int, int) {}
func (t *tensorboard) Note(string)            {}

func (t *tensorboard) Step(m trace.Metrics) {
	t.write(m.Step, m.Phase, trace.Scalars(m, "step"))
}

func (t *tensorboard) Evaluated(e trace.Evaluation) {
	t.write(e.Step, "eval", trace.Scalars(e, "step"))
}

func (t *tensorboard) write(step int, group string, scalars []trace.Scalar) {
	if t.broken {
		return
	}
	if err := t.events.Write(step, time.Now(), group, scalars); err != nil {
		t.broken = true
		t.note(fmt.Sprintf("follow.tensorboard: %v: no further events are written, metrics.jsonl goes on", err))
	}
}

func (t *tensorboard) Close() { _ = t.events.Close() }
