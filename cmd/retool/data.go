package main

import (
	"fmt"
	"os"

	"retool/engine"
	"retool/trainer"
	"retool/trainer/arith"
	"retool/trainer/data"
)

// learning is what a configuration learns from and is judged on, as it was read.
type learning struct {
	trainer.Data
	hashes map[string]string // setting that names a file, to the SHA-256 of what it held
	notes  []string          // what is worth saying of the rows, a sentence each
}

// data reads what the configuration names, row by row. Prompts are rendered, traces tokenised, rows checked. Without train only the
// problems of the evaluation are read.
func (p *program) data(train bool) (*learning, error) {
	c := p.cfg
	d := &learning{hashes: map[string]string{}}
	rows := findings{strict: c.Data.Check == "strict", verifier: c.Reward.Verifier}
	var problems, test []data.Problem
	var err error
	if task := arith.Tasks[c.Data.Task]; task != nil {
		test = task.Problems(c.Seed, arith.Test, c.Eval.Problems)
		if train {
			problems = task.Problems(c.Seed, arith.Train, c.Data.Pool)
			for i, t := range task.Traces(c.Seed, c.SFT.Steps*c.SFT.Batch, c.Data.Mix) {
				if err := p.learn(d, int64(i), t, &rows); err != nil {
					return nil, err
				}
			}
		}
	} else if problems, test, err = p.readFiles(d, train, &rows); err != nil {
		return nil, err
	}
	if d.Train, err = p.fitting("data.problems", problems, &rows); err != nil {
		return nil, err
	}
	if d.Test, err = p.fitting("data.test", test, &rows); err != nil {
		return nil, err
	}
	counted, err := rows.result()
	d.notes = append(d.notes, counted...)
	return d, err
}

// files reads the files that the settings name, as far as the run needs them.
func (p *program) readFiles(d *learning, train bool, rows *findings) (problems, test []data.Problem, err error) {
	c := p.cfg
	want := map[string]bool{
		"data.problems": train && c.RL.Steps > 0,
		"data.test":     c.Eval.Problems > 0,
		"data.traces":   train && (c.SFT.Steps > 0 || c.SFT.Epochs > 0 && c.Data.Traces != ""),
	}
	set := &fileSet{config: c}
	defer set.close()
	for _, f := range []struct{ setting, path string }{
		{"data.problems", c.Data.Problems}, {"data.test", c.Data.Test}, {"data.traces", c.Data.Traces},
	} {
		if want[f.setting] {
			if err := set.open(f.setting, f.path); err != nil {
				return nil, nil, err
			}
		}
	}
	finish := set.metered()
	defer finish()
	for _, s := range set.files {
		if d.hashes[s.setting], err = s.file.Hash(); err != nil {
			return nil, nil, err
		}
		note, err := set.recognise(s, s.setting == "data.traces")
		if err != nil {
			return nil, nil, err
		}
		if note != "" {
			d.notes = append(d.notes, note)
		}
		switch s.setting {
		case "data.problems":
			problems, err = c.problems(s, rows)
		case "data.test":
			test, err = c.problems(s, rows)
		default:
			err = p.traces(s, d, rows)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	rows.overlap(test)
	if n := c.Eval.Problems; n > 0 && len(test) > n {
		test = test[:n]
	}
	return problems, test, nil
}

// problems reads problem after problem. Rows whose question is empty are counted and left out.
func (c *Config) problems(s *dataFile, rows *findings) ([]data.Problem, error) {
	var ps []data.Problem
	for q, err := range s.reader(c.form(), rows).Problems() {
		if err != nil {
			if err := s.leaveOut(err, rows); err != nil {
				return nil, err
			}
			continue
		}
		c.tidy(s, &q, rows)
		rows.problem(s.setting, &q)
		ps = append(ps, q)
	}
	if len(ps) == 0 {
		return nil, s.nothing(rows)
	}
	return ps, nil
}

// traces reads trace after trace and keeps the tokens alone.
func (p *program) traces(s *dataFile, d *learning, rows *findings) error {
	key := int64(0)
	for t, err := range s.reader(p.cfg.form(), rows).Traces() {
		if err != nil {
			if err := s.leaveOut(err, rows); err != nil {
				return err
			}
			continue
		}
		p.cfg.tidy(s, &t.Problem, rows)
		rows.trace(p.proto, p.cfg.tools(), t)
		if err := p.learn(d, key, t, rows); err != nil {
			return err
		}
		key++
	}
	switch {
	case key == 0:
		return s.nothing(rows)
	case len(d.Traces) == 0:
		return fmt.Errorf("data.traces: none of %d traces fits: every one has more than %d tokens, raise sft.tokens and engine.max_tokens",
			key, p.traceLimit())
	}
	return nil
}

// tidy prepares a problem and says what of it is not as its set is known.
func (c *Config) tidy(s *dataFile, q *data.Problem, rows *findings) {
	if unwrapped := c.Data.prepare(q); !unwrapped && c.Data.Wrapper == "strip" && q.Family == "math_dapo" {
		rows.note(s.setting, "rows without DAPO-Math-17k's instructions around the question", "problem %s: %.60q", q.ID, q.Question)
	}
}

// promptLimit is the most tokens that a prompt may have.
func (p *program) promptLimit() int {
	if m := p.cfg.Engine.MaxPrompt; m > 0 {
		return m
	}
	return p.cfg.Engine.MaxTokens - 1
}

// fitting renders problems and leaves out, or refuses, those whose prompt leaves no room for a response.
func (p *program) fitting(setting string, ps []data.Problem, rows *findings) ([]*trainer.Problem, error) {
	limit := p.promptLimit()
	bar, finish := meterOn(os.Stderr, "tokenise", "problems")
	defer finish()
	var out []*trainer.Problem
	tokens := map[[16]byte]int{} // of a question: DAPO-Math-17k has each a hundred times
	for i := range ps {
		bar.set(int64(i), int64(len(ps)))
		q := &ps[i]
		k := hashed(q.Question)
		n, known := tokens[k]
		if !known {
			ids, err := p.proto.Prompt(q.Question)
			if err != nil {
				return nil, fmt.Errorf("problem %s: %w", q.ID, err)
			}
			n = len(ids)
			tokens[k] = n
		}
		if n <= limit {
			out = append(out, q)
			continue
		}
		long := fmt.Sprintf("problem %s: its prompt has %d tokens, engine.max_prompt and engine.max_tokens leave %d", q.ID, n, limit)
		if p.cfg.Data.Long == "refuse" {
			return nil, fmt.Errorf("%s (data.long: skip leaves such rows out)", long)
		}
		rows.add(setting, "rows left out, too long", "%s", long)
	}
	if len(ps) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("%s: none of %d problems fits: every prompt has more than %d tokens, raise engine.max_tokens",
			setting, len(ps), limit)
	}
	return out, nil
}

// traceLimit is the most tokens that a trace may have: those of a pass, and of a trajectory.
func (p *program) traceLimit() int { return min(p.cfg.SFT.Tokens, p.cfg.Engine.MaxTokens) }

// learn tokenises a trace and leaves it out, or refuses it, if it is longer than a pass or a trajectory.
func (p *program) learn(d *learning, key int64, t data.Trace, rows *findings) error {
	e, err := p.example(key, t)
	if err != nil {
		return err
	}
	if e.Len() <= p.traceLimit() {
		d.Traces = append(d.Traces, e)
		return nil
	}
	long := fmt.Sprintf("trace %s: %d tokens, sft.tokens and engine.max_tokens allow %d", t.Problem.ID, e.Len(), p.traceLimit())
	if p.cfg.Data.Long == "refuse" {
		return fmt.Errorf("%s (data.long: skip leaves such rows out)", long)
	}
	rows.add("data.traces", "rows left out, too long", "%s", long)
	return nil
}

// example turns a trace into the trajectory it would have been: every segment tokenised alone, as the runtime does it.
func (p *program) example(key int64, t data.Trace) (*trainer.Episode, error) {
	prompt, err := p.proto.Prompt(t.Problem.Question)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", t.Problem.ID, err)
	}
	tr := engine.NewTrajectory(key, prompt)
	for i, s := range t.Segments {
		if s.Source == data.Tool {
			tr.Calls = append(tr.Calls, engine.Call{})
			tr.Observe(len(tr.Calls)-1, p.proto.Observed(s.Text))
			continue
		}
		called := i+1 < len(t.Segments) && t.Segments[i+1].Source == data.Tool
		for _, id := range p.proto.Turn(s.Text, called) {
			tr.Sample(id, 0)
		}
	}
	tr.Sample(p.ends[0], 0)
	return trainer.NewEpisode(tr, &trainer.Problem{ID: t.Problem.ID}, 0), nil
}
