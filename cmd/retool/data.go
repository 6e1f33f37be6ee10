package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"retool/engine"
	"retool/trainer"
	"retool/trainer/answer"
	"retool/trainer/arith"
	"retool/trainer/data"
)

// learning is what a configuration learns from and is judged on, as it was read.
type learning struct {
	trainer.Data
	hashes map[string]string // setting that names a file, to the SHA-256 of what it held
	notes  []string          // what is worth saying of the rows, a sentence each
}

// data reads what the configuration names. Prompts are rendered, traces tokenised, rows checked. Without train only the problems of the
// evaluation are read.
func (p *program) data(train bool) (*learning, error) {
	c := p.cfg
	d := &learning{hashes: map[string]string{}}
	rows := findings{strict: c.Data.Check == "strict"}
	var problems, test []data.Problem
	var traces []data.Trace
	if c.Data.Task == "arithmetic" {
		test = arith.Problems(c.Seed, arith.Test, c.Eval.Problems)
		if train {
			problems = arith.Problems(c.Seed, arith.Train, c.Data.Pool)
			traces = arith.Traces(c.Seed, c.SFT.Steps*c.SFT.Batch, c.Data.Mix)
		}
	} else {
		var err error
		if train && c.RL.Steps > 0 {
			problems, err = readFile(c.Data.Problems, "data.problems", data.ReadProblems, d.hashes)
		}
		if err == nil && c.Eval.Problems > 0 {
			test, err = readFile(c.Data.Test, "data.test", data.ReadProblems, d.hashes)
		}
		if err == nil && train && (c.SFT.Steps > 0 || c.SFT.Epochs > 0 && c.Data.Traces != "") {
			traces, err = readFile(c.Data.Traces, "data.traces", data.ReadTraces, d.hashes)
		}
		if err != nil {
			return nil, err
		}
		p.prepare(problems, test)
		rows.problems("data.problems", problems)
		rows.problems("data.test", test)
		rows.overlap(problems, test)
		rows.traces(p.proto, c.tools(), traces)
		if n := c.Eval.Problems; n > 0 && len(test) > n {
			test = test[:n]
		}
	}
	var err error
	if d.Train, err = p.fitting("data.problems", problems, &rows); err != nil {
		return nil, err
	}
	if d.Test, err = p.fitting("data.test", test, &rows); err != nil {
		return nil, err
	}
	if d.Traces, err = p.examples(traces, &rows); err != nil {
		return nil, err
	}
	d.notes, err = rows.result()
	return d, err
}

// readFile opens a data file that a setting names and reads it; errors carry file and line. hashes gets that of its bytes.
func readFile[T any](path, setting string, read func(r io.Reader, name string) (T, error), hashes map[string]string) (T, error) {
	var none T
	if path == "" {
		return none, fmt.Errorf("config: %s: want a JSONL file, got none", setting)
	}
	f, err := os.Open(path)
	if err != nil {
		return none, fmt.Errorf("config: %s: %w", setting, err)
	}
	defer f.Close()
	in, finish := meteredFile(f, "read")
	defer finish()
	sum := sha256.New()
	rows, err := read(io.TeeReader(in, sum), path)
	hashes[setting] = hex.EncodeToString(sum.Sum(nil))
	return rows, err
}

// prepare brings the questions and ground truths of public files into the form that this program asks and grades.
func (p *program) prepare(sets ...[]data.Problem) {
	for _, set := range sets {
		for i := range set {
			if p.cfg.Data.Wrapper == "strip" {
				set[i].Question = trainer.StripWrapper(set[i].Question)
			}
			set[i].Answer = finalAnswer(set[i].Answer)
		}
	}
}

// finalAnswer is what stands after the #### of a worked solution in GSM8K's form; any other answer is left as it is.
func finalAnswer(answer string) string {
	if i := strings.LastIndex(answer, "####"); i >= 0 {
		if rest := strings.TrimSpace(answer[i+4:]); rest != "" && !strings.Contains(rest, "\n") {
			return rest
		}
	}
	return answer
}

// fitting renders problems and leaves out, or refuses, those whose prompt leaves no room for a response.
func (p *program) fitting(setting string, ps []data.Problem, rows *findings) ([]*trainer.Problem, error) {
	limit := p.cfg.Engine.MaxTokens - 1
	if m := p.cfg.Engine.MaxPrompt; m > 0 {
		limit = m
	}
	bar, finish := meterOn(os.Stderr, "tokenise", "problems")
	defer finish()
	var out []*trainer.Problem
	for i := range ps {
		bar.set(int64(i), int64(len(ps)))
		q := &ps[i]
		ids, err := p.proto.Prompt(q.Question)
		if err != nil {
			return nil, fmt.Errorf("problem %s: %w", q.ID, err)
		}
		if len(ids) <= limit {
			out = append(out, q)
			continue
		}
		long := fmt.Sprintf("problem %s: its prompt has %d tokens, engine.max_prompt and engine.max_tokens leave %d", q.ID, len(ids), limit)
		if p.cfg.Data.Long == "refuse" {
			return nil, fmt.Errorf("%s (data.long: skip leaves such rows out)", long)
		}
		rows.add(setting, "rows left out, too long", long)
	}
	if len(ps) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("%s: none of %d problems fits: every prompt has more than %d tokens, raise engine.max_tokens", setting, len(ps), limit)
	}
	return out, nil
}

// examples tokenises traces and leaves out, or refuses, those longer than a pass or a trajectory.
func (p *program) examples(traces []data.Trace, rows *findings) ([]*trainer.Episode, error) {
	limit := min(p.cfg.SFT.Tokens, p.cfg.Engine.MaxTokens)
	bar, finish := meterOn(os.Stderr, "tokenise", "traces")
	defer finish()
	var out []*trainer.Episode
	for i, t := range traces {
		bar.set(int64(i), int64(len(traces)))
		e, err := p.example(int64(i), t)
		if err != nil {
			return nil, err
		}
		if e.Len() <= limit {
			out = append(out, e)
			continue
		}
		long := fmt.Sprintf("trace %s: %d tokens, sft.tokens and engine.max_tokens allow %d", t.Problem.ID, e.Len(), limit)
		if p.cfg.Data.Long == "refuse" {
			return nil, fmt.Errorf("%s (data.long: skip leaves such rows out)", long)
		}
		rows.add("data.traces", "rows left out, too long", long)
	}
	if len(traces) > 0 && len(out) == 0 {
		return nil, fmt.Errorf("data.traces: none of %d traces fits: every one has more than %d tokens, raise sft.tokens and engine.max_tokens", len(traces), limit)
	}
	return out, nil
}

// example turns a trace into the trajectory it would have been: every segment tokenised alone, as the runtime does it.
func (p *program) example(key int64, t data.Trace) (*trainer.Episode, error) {
	prompt, err := p.proto.Prompt(t.Problem.Question)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", t.Problem.ID, err)
	}
	tr := engine.NewTrajectory(key, prompt)
	for _, s := range t.Segments {
		ids := p.tok.Encode(s.Text)
		if s.Source == data.Tool {
			tr.Calls = append(tr.Calls, engine.Call{})
			tr.Observe(len(tr.Calls)-1, ids)
			continue
		}
		for _, id := range ids {
			tr.Sample(id, 0)
		}
	}
	tr.Sample(p.tok.EOS(), 0)
	return trainer.NewEpisode(tr, &trainer.Problem{ID: t.Problem.ID}, 0), nil
}

// findings count what is wrong with rows, by setting and kind, each kind with its first example.
type findings struct {
	strict bool
	order  []finding
	count  map[finding]int
	first  map[finding]string
}

type finding struct{ setting, kind string }

func (f *findings) add(setting, kind, example string) {
	k := finding{setting, kind}
	if f.count == nil {
		f.count, f.first = map[finding]int{}, map[finding]string{}
	}
	if f.count[k]++; f.count[k] == 1 {
		f.order, f.first[k] = append(f.order, k), example
	}
}

// result is a sentence for each kind; under data.check: strict, the first of them is an error.
func (f *findings) result() (notes []string, err error) {
	for _, k := range f.order {
		note := fmt.Sprintf("%s: %s: %d, the first: %s", k.setting, k.kind, f.count[k], f.first[k])
		if f.strict {
			return nil, fmt.Errorf("%s (data.check: strict)", note)
		}
		notes = append(notes, "note      "+note)
	}
	return notes, nil
}

// problems looks at ground truths and repeated questions.
func (f *findings) problems(setting string, ps []data.Problem) {
	seen := map[string]string{}
	for _, q := range ps {
		switch {
		case !gradeable(q.Answer):
			f.add(setting, "ground truths that the verifier cannot grade", fmt.Sprintf("problem %s: %.60q", q.ID, q.Answer))
		case looksLikeSolution(q.Answer):
			f.add(setting, "ground truths that look like whole solutions", fmt.Sprintf("problem %s: %.60q", q.ID, q.Answer))
		}
		if before, ok := seen[q.Question]; ok {
			f.add(setting, "questions asked before", fmt.Sprintf("problem %s repeats %s", q.ID, before))
			continue
		}
		seen[q.Question] = q.ID
	}
}

// gradeable reports whether a ground truth equals itself.
func gradeable(truth string) bool {
	ok, err := answer.Equal(truth, truth)
	return ok && err == nil
}

func looksLikeSolution(truth string) bool { return strings.Contains(truth, "\n") || len(truth) > 200 }

// overlap looks for questions of the training that are in the test.
func (f *findings) overlap(train, test []data.Problem) {
	in := map[string]string{}
	for _, q := range train {
		in[q.Question] = q.ID
	}
	for _, q := range test {
		if id, ok := in[q.Question]; ok {
			f.add("data.test", "questions that are trained on", fmt.Sprintf("problem %s is %s of data.problems", q.ID, id))
		}
	}
}

// traces looks for what no rollout of the protocol would leave, and for answers that are not the row's.
func (f *findings) traces(proto *engine.Tags, tools bool, ts []data.Trace) {
	for _, t := range ts {
		var policy strings.Builder
		call := ""
		for i, s := range t.Segments {
			fault := ""
			switch {
			case s.Source == data.Policy:
				policy.WriteString(s.Text)
				call, fault = s.Text, proto.TextFault(s.Text)
			case !tools:
				fault = "tool segments, where protocol.name is none"
			default:
				fault = proto.ReplyFault(call, s.Text)
			}
			if fault != "" {
				f.add("data.traces", fault, fmt.Sprintf("trace %s, segment %d: %.60q", t.Problem.ID, i+1, s.Text))
			}
		}
		truth := finalAnswer(t.Problem.Answer)
		if g := answer.Grade(engine.OutsideCode(policy.String()), truth); g != answer.Correct {
			found, _ := answer.Box(engine.OutsideCode(policy.String()))
			f.add("data.traces", "responses whose boxed answer is not the row's", fmt.Sprintf("trace %s: answer %q, truth %.60q: %v", t.Problem.ID, found, truth, g))
		}
	}
}
