package rewrite

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"retool/engine/atomicfile"
	"retool/trainer/data"
)

// Job is one run over a file's rows.
type Job struct {
	Rows     []Row
	Ask      func(ctx context.Context, message string) (string, error) // an Endpoint's
	Checker  *Checker
	Settings string // what the replies and verdicts depend on, in one line: a journal of other settings is refused
	Out      string // file of accepted traces; the journal lies beside it
	Parallel int    // rows at a time
	Progress func(done, all int64)
}

// failures in a row after which the endpoint is taken to be down: going on would drop every row that is left.
const failures = 5

// Report counts what became of the rows: Accepted and the sum of Dropped are Rows.
type Report struct {
	Rows     int            `json:"rows"`
	Accepted int            `json:"accepted"`
	Replaced int            `json:"replaced"` // accepted rows with a result that was stated wrongly
	Dropped  map[Reason]int `json:"dropped"`
	Asked    int            `json:"asked"` // rows that the endpoint was asked about in this process
}

// entry is a line of the journal: what the endpoint said about a row, or what became of the row.
type entry struct {
	Settings string         `json:"settings,omitempty"` // of the first line
	Line     int            `json:"line,omitempty"`
	ID       string         `json:"id,omitempty"`
	Hash     string         `json:"sha256,omitempty"` // of the row
	Reply    *string        `json:"reply,omitempty"`
	Outcome  string         `json:"outcome,omitempty"` // accepted, or the reason of the drop
	Detail   string         `json:"detail,omitempty"`
	Replaced int            `json:"replaced,omitempty"`
	Segments []data.Segment `json:"segments,omitempty"`
}

const accepted = "accepted"

// JournalOf is the journal's path beside an output.
func JournalOf(out string) string { return out + ".report.jsonl" }

// run is a job under way.
type run struct {
	*Job
	mu      sync.Mutex
	journal *os.File
	replies map[int]string // by line
	done    map[int]entry
	failed  int // rows in a row that the endpoint failed
	asked   int
}

// Run rewrites every row that the journal does not have, and writes the accepted ones in the order of the input. After an error what is
// done stays in the journal, and the same job goes on from there.
func (j *Job) Run(ctx context.Context) (Report, error) {
	if _, err := os.Lstat(j.Out); err == nil {
		return Report{}, fmt.Errorf("rewrite: %s is there already: choose another name, or remove it", j.Out)
	}
	r := &run{Job: j, replies: map[int]string{}, done: map[int]entry{}}
	if err := r.open(); err != nil {
		return Report{}, fmt.Errorf("rewrite: %s: %w", JournalOf(j.Out), err)
	}
	defer r.journal.Close()
	if err := r.all(ctx); err != nil {
		return Report{}, err
	}
	if err := r.write(); err != nil {
		return Report{}, fmt.Errorf("rewrite: %w", err)
	}
	return r.report(), nil
}

// open reads the journal and continues it behind its last whole line.
func (r *run) open() error {
	path := JournalOf(r.Out)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	byLine := map[int]*Row{}
	for i := range r.Rows {
		byLine[r.Rows[i].Line] = &r.Rows[i]
	}
	for n, line := range bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")) {
		if len(whole) == 0 {
			break
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d is not of a journal: %w", n+1, err)
		}
		if n == 0 {
			if e.Settings != r.Settings {
				return fmt.Errorf("it was begun with other settings (%s, now %s): choose another output, or repeat the command that began it",
					e.Settings, r.Settings)
			}
			continue
		}
		row := byLine[e.Line]
		if row == nil || row.hash() != e.Hash {
			return fmt.Errorf("line %d is about line %d of another input: choose another output, or restore the input", n+1, e.Line)
		}
		switch {
		case e.Reply != nil:
			r.replies[e.Line] = *e.Reply
		case e.Outcome != string(EndpointError): // that may have passed: it is asked again
			r.done[e.Line] = e
		}
	}
	if r.journal, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	if err = r.journal.Truncate(int64(len(whole))); err == nil {
		_, err = r.journal.Seek(0, io.SeekEnd)
	}
	if err == nil && len(whole) == 0 {
		err = r.note(entry{Settings: r.Settings})
	}
	if err != nil {
		r.journal.Close()
	}
	return err
}

// note appends to the journal, at once.
func (r *run) note(e entry) error {
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false)
	if err := w.Encode(e); err != nil {
		return err
	}
	_, err := r.journal.Write(b.Bytes())
	return err
}

// all brings every row to its end, several at a time; the first error ends the others.
func (r *run) all(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	questions := map[string]int{}
	queue := make(chan Row)
	var workers sync.WaitGroup
	for range max(1, r.Parallel) {
		workers.Go(func() {
			for row := range queue {
				if err := r.one(ctx, row); err != nil {
					cancel(err)
					return
				}
				r.progress()
			}
		})
	}
	r.progress()
feeding:
	for _, row := range r.Rows {
		first, again := questions[row.Problem.Question]
		if !again {
			questions[row.Problem.Question] = row.Line
		}
		r.mu.Lock()
		_, done := r.done[row.Line]
		r.mu.Unlock()
		switch {
		case done:
		case again:
			if err := r.settle(row, entry{Outcome: string(Duplicate), Detail: fmt.Sprintf("line %d asks the same", first)}); err != nil {
				cancel(err)
			}
		default:
			select {
			case queue <- row:
			case <-ctx.Done():
				break feeding
			}
		}
	}
	close(queue)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (r *run) progress() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Progress != nil {
		r.Progress(int64(len(r.done)), int64(len(r.Rows)))
	}
}

// one asks about a row, unless its reply is there already, and verifies the reply.
func (r *run) one(ctx context.Context, row Row) error {
	r.mu.Lock()
	reply, there := r.replies[row.Line]
	r.mu.Unlock()
	if !there {
		var err error
		if reply, err = r.ask(ctx, row); err != nil {
			return err
		}
		if reply == "" {
			return nil // ask has settled it
		}
	}
	a, drop, err := r.Checker.Check(ctx, row, reply)
	switch {
	case err != nil:
		return fmt.Errorf("rewrite: line %d: %w", row.Line, err)
	case drop != nil:
		return r.settle(row, entry{Outcome: string(drop.Reason), Detail: drop.Detail})
	}
	return r.settle(row, entry{Outcome: accepted, Segments: a.Segments, Replaced: a.Replaced})
}

// ask gets a row's reply and keeps it. A row that the endpoint fails is settled, and the reply is "".
func (r *run) ask(ctx context.Context, row Row) (string, error) {
	reply, err := r.Ask(ctx, prompt(row))
	if ctx.Err() != nil && err != nil {
		return "", ctx.Err()
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return "", fmt.Errorf("rewrite: line %d: %w", row.Line, err)
	}
	r.mu.Lock()
	r.asked++
	if err != nil {
		r.failed++
	} else {
		r.failed = 0
	}
	down := r.failed >= failures
	r.mu.Unlock()
	if down {
		return "", fmt.Errorf("rewrite: the endpoint failed %d rows in a row, the last with: %w: "+
			"what is done is kept, the same command goes on from there",
			failures, err)
	}
	if err != nil {
		return "", r.settle(row, entry{Outcome: string(EndpointError), Detail: err.Error()})
	}
	if reply == "" {
		return "", r.settle(row, entry{Outcome: string(NoProcess), Detail: "an empty reply"})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return reply, r.note(entry{Line: row.Line, ID: row.Problem.ID, Hash: row.hash(), Reply: &reply})
}

// settle books what became of a row.
func (r *run) settle(row Row, e entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Line, e.ID, e.Hash = row.Line, row.Problem.ID, row.hash()
	r.done[row.Line] = e
	return r.note(e)
}

// write makes the output of the accepted rows, whole or not at all.
func (r *run) write() error {
	return atomicfile.Write(r.Out, func(f io.Writer) error {
		w := bufio.NewWriter(f)
		for _, row := range r.Rows {
			if e := r.done[row.Line]; e.Outcome == accepted {
				if err := data.WriteTraces(w, data.Trace{Problem: row.Problem, Segments: e.Segments}); err != nil {
					return err
				}
			}
		}
		return w.Flush()
	})
}

func (r *run) report() Report {
	out := Report{Rows: len(r.Rows), Dropped: map[Reason]int{}, Asked: r.asked}
	for _, e := range r.done {
		if e.Outcome != accepted {
			out.Dropped[Reason(e.Outcome)]++
			continue
		}
		out.Accepted++
		if e.Replaced > 0 {
			out.Replaced++
		}
	}
	return out
}

// Reasons lists the reasons of a report, the most frequent first.
func (r Report) Reasons() []Reason {
	var out []Reason
	for reason := range r.Dropped {
		out = append(out, reason)
	}
	slices.SortFunc(out, func(a, b Reason) int {
		if d := r.Dropped[b] - r.Dropped[a]; d != 0 {
			return d
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	return out
}
