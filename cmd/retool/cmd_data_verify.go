package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/interp"
	"retool/trainer/data"
)

// A verification is what retool data verify prints.
type verification struct {
	File   string      `json:"file"`
	Layout string      `json:"layout"`
	Rows   int         `json:"rows"`
	Passed int         `json:"passed"`
	Failed int         `json:"failed"`
	Ran    int         `json:"snippets_run"`
	Faults []counted   `json:"faults"`
	Notes  []counted   `json:"notes"`
	Which  []failedRow `json:"failed_rows"`
	Python string      `json:"python,omitempty"`
}

type failedRow struct {
	ID      string   `json:"id"` // or the place of a row that cannot be read
	Reasons []string `json:"reasons"`
}

// A verifier checks traces, some at a time, their code side by side.
type verifier struct {
	*scan
	python  engine.Interpreter
	waiting []data.Trace
	faults  []string // of the row at hand
	out     verification
}

// verifiedAtOnce is how many traces wait for the sandbox together.
const verifiedAtOnce = 64

func verifyData(c *cli.Context) error {
	s, err := newScan(c, c.Args().First())
	if err != nil {
		return err
	}
	defer s.set.close()
	v := &verifier{scan: s}
	s.rows.hear = func(k finding, _ string) {
		if k.fault {
			v.faults = append(v.faults, k.kind)
		}
	}
	if s.traces && s.cfg.tools() && !c.Bool("no-run") {
		box := openSandbox(c.Context, s.cfg.Interp)
		defer box.Close()
		pool, err := box.open()
		if err != nil {
			return err
		}
		v.python, v.out.Python = python{box, s.cfg.Interp.Limits}, pythonLine(pool.Info())
	}
	err = s.each(v.problem, func(t data.Trace) error {
		if v.waiting = append(v.waiting, t); len(v.waiting) < verifiedAtOnce {
			return nil
		}
		return v.traces(c.Context)
	}, func(err error) error {
		_ = s.left(err)
		var row *data.RowError
		errors.As(err, &row)
		v.done(row.Where)
		return nil
	})
	if err == nil {
		err = v.traces(c.Context)
	}
	if err != nil {
		return err
	}
	return v.print(c)
}

// done ends a row: it has failed if there were faults since the last.
func (v *verifier) done(id string) {
	if v.out.Rows++; len(v.faults) == 0 {
		v.out.Passed++
		return
	}
	v.out.Failed++
	v.out.Which = append(v.out.Which, failedRow{id, v.faults})
	v.faults = nil
}

func (v *verifier) problem(q data.Problem) error {
	v.rows.problem(v.source.setting, &q)
	if v.tokens {
		if _, err := v.promptTokens(q); err != nil {
			return err
		}
	}
	v.done(q.ID)
	return nil
}

// traces runs the code of those that wait, then judges them in their order.
func (v *verifier) traces(ctx context.Context) error {
	ran := make([][]execution, len(v.waiting))
	failed := make([]error, len(v.waiting))
	var all sync.WaitGroup
	if v.python != nil {
		for i, t := range v.waiting {
			all.Go(func() { ran[i], failed[i] = v.run(ctx, int64(i), t) })
		}
	}
	all.Wait()
	if err := cmp.Or(failed...); err != nil {
		return err
	}
	for i, t := range v.waiting {
		v.rows.trace(v.proto, v.cfg.tools(), t)
		v.whole(t)
		if err := v.traceTokens(t, nil); err != nil {
			return err
		}
		for _, e := range ran[i] {
			v.out.Ran++
			if e.fault != "" {
				v.rows.add(v.source.setting, e.fault, "trace %s, segment %d: stored %.80q, printed %.80q", t.Problem.ID, e.segment+1, e.stored,
					e.printed)
			}
		}
		v.done(t.Problem.ID)
	}
	v.waiting = v.waiting[:0]
	return nil
}

// whole looks at the response as one text: does its answer come last?
func (v *verifier) whole(t data.Trace) {
	var text strings.Builder
	for _, s := range t.Segments {
		text.WriteString(s.Text)
	}
	said := v.proto.OutsideCode(text.String())
	if _, after, ok := strings.Cut(said, "</answer>"); ok && strings.TrimSpace(after) != "" {
		v.rows.add(v.source.setting, "answer_not_last", "trace %s: %.80q follows its first answer", t.Problem.ID, strings.TrimSpace(after))
	}
}

// An execution is one snippet run again, and what its trace says that it printed.
type execution struct {
	segment         int
	stored, printed string
	fault           string
}

// run runs the snippets of a trace in their order.
func (v *verifier) run(ctx context.Context, key int64, t data.Trace) (out []execution, err error) {
	defer v.python.Forget(key)
	for i, s := range t.Segments {
		if s.Source != data.Tool {
			continue
		}
		turn := t.Segments[i-1].Text
		request, called := v.proto.Call([]byte(turn), len(turn), false)
		if !called || request.Invalid != "" {
			continue // a fault of its own
		}
		e := execution{segment: i, stored: v.stored(s.Text)}
		var result engine.Result
		for range 2 { // another output at the second time is no fault of the trace's
			before := e.printed
			result, err = v.python.Run(ctx, key, request.Code)
			var lost *interp.SandboxError
			if errors.As(err, &lost) {
				e.fault, err = "sandbox_error", nil
				break
			}
			if err != nil {
				return nil, err
			}
			e.printed = v.proto.Observation(result)
			if v.same(e.stored, result) {
				e.fault = ""
				break
			}
			switch {
			case before != "" && before != e.printed:
				e.fault = "nondeterministic"
			case result.Timeout():
				e.fault = "exec_timeout"
			case !result.OK():
				e.fault = "exec_error"
			default:
				e.fault = "result_mismatch"
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// stored is the output inside a reply.
func (v *verifier) stored(reply string) string {
	reply = strings.TrimSpace(reply)
	for _, tag := range []string{"interpreter", "tool_response"} {
		if inner, ok := strings.CutPrefix(reply, "<"+tag+">"); ok {
			reply = strings.TrimSuffix(inner, "</"+tag+">")
		}
	}
	return strings.TrimSpace(reply)
}

// same reports whether a stored output is what a run shows: as the protocol shows it, whole, or, of an error, its last line.
func (v *verifier) same(stored string, r engine.Result) bool {
	if stored == v.proto.Observation(r) || stored == strings.TrimSpace(r.Stdout) && r.OK() {
		return true
	}
	if r.OK() || r.Timeout() {
		return false
	}
	lastLine := func(s string) string { s = strings.TrimSpace(s); return s[strings.LastIndexByte(s, '\n')+1:] }
	return r.Traceback != "" && lastLine(stored) == lastLine(r.Traceback)
}

func (v *verifier) print(c *cli.Context) error {
	r := &v.out
	r.File, r.Layout = v.source.file.Path, v.source.layout.String()
	r.Faults, r.Notes = v.rows.list(true), v.rows.list(false)
	if r.Which == nil {
		r.Which = []failedRow{}
	}
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.App.Writer, "file      %s, %s\nlayout    %s\n", r.File, v.source.file.Format, r.Layout)
		fmt.Fprintf(c.App.Writer, "rows      %d, %d passed, %d failed; %d snippets run\n", r.Rows, r.Passed, r.Failed, r.Ran)
		printFindings(c.App.Writer, &v.rows)
	}
	if c.Bool("strict") && r.Failed > 0 {
		return fmt.Errorf("data verify: %s: %d of %d rows fail (--strict); the first: %s: %s",
			r.File, r.Failed, r.Rows, r.Which[0].ID, strings.Join(r.Which[0].Reasons, ", "))
	}
	return nil
}
