// Package trace is what a run leaves on disk: one Record per trajectory, one Metrics object per step.
//
// Both files are JSON Lines, append-only, one writer. Everything that the behaviour metrics and the report show is computed from
// Records, so it can be computed again from the file.
package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"retool/engine"
)

// Record is a finished trajectory, graded.
type Record struct {
	Step       int        `json:"step"`
	Phase      string     `json:"phase"` // train, or the name of an evaluation
	Key        int64      `json:"key"`
	Problem    string     `json:"problem"`
	Family     string     `json:"family,omitempty"`
	Question   string     `json:"question"`
	Truth      string     `json:"truth"`
	Answer     string     `json:"answer"`  // content of the last box, as found
	Outcome    string     `json:"outcome"` // correct, wrong, no_answer, verifier_error, by the verifier that the run was configured with
	Verdicts   Verdicts   `json:"verdicts"`
	Reward     float32    `json:"reward"`
	Rewards    Rewards    `json:"rewards"`
	Advantage  float32    `json:"advantage"` // mean over the policy's tokens
	Finish     string     `json:"finish"`
	Error      string     `json:"error,omitempty"` // why a trajectory was lost
	Prompt     int        `json:"prompt"`          // tokens
	IDs        []int32    `json:"ids"`
	Sources    string     `json:"sources"` // one letter a token: p prompt, m model, t tool
	LogProbs   []float32  `json:"logprobs"`
	Sets       []byte     `json:"sets,omitempty"`    // ids that each of the model's tokens was drawn from, where not all; engine/sets.go
	Pieces     []string   `json:"pieces"`            // text of each token, invalid bytes replaced
	Raw        []RawPiece `json:"raw,omitempty"`     // tokens whose bytes are no text by themselves: parts of a character
	Special    []int      `json:"special,omitempty"` // positions of special tokens, whose pieces are their names
	Difference float32    `json:"difference"`        // largest |rollout − training log-probability| of its tokens
	Calls      []CallData `json:"calls,omitempty"`
	Evicted    int        `json:"evicted,omitzero"`
}

// RawPiece holds the bytes of a token that is not text by itself, such as half of a character. With it the text of a response comes
// back to the byte.
type RawPiece struct {
	ID    int32  `json:"id"`
	Bytes []byte `json:"bytes"` // base64 in JSON
}

// Verdicts are outcomes by every verifier, whichever counts; empty in a record written before there was that one.
type Verdicts struct {
	Math    string `json:"math"`
	DAPO    string `json:"dapo"`
	Strict  string `json:"dapo_strict,omitempty"`
	Lenient string `json:"lenient,omitempty"`
}

// Rewards are all three, whichever trains.
type Rewards struct {
	Paper      float32 `json:"paper"`
	DAPOStrict float32 `json:"dapo_strict"`
	ToolShaped float32 `json:"tool_shaped"`
}

// CallData is one execution. Token positions count from the trajectory's first token; times are in seconds.
type CallData struct {
	Code      string  `json:"code"`
	Status    string  `json:"status"`
	Stdout    string  `json:"stdout,omitempty"`
	Traceback string  `json:"traceback,omitempty"`
	From      int     `json:"from"`
	To        int     `json:"to"`
	ReplyFrom int     `json:"reply_from"`
	ReplyTo   int     `json:"reply_to"`
	Prefilled int     `json:"prefilled"`
	Seconds   float64 `json:"seconds"`
	CPU       float64 `json:"cpu"`
	Queue     float64 `json:"queue"`
	Wait      float64 `json:"wait"`
}

// OK reports whether the code ran to its end without an error.
func (c CallData) OK() bool { return c.Status == "ok" }

// Ran reports whether the code was handed to an interpreter.
func (c CallData) Ran() bool {
	return c.Status != "not_run" && c.Status != "no_code" && c.Status != "empty_code"
}

// Sources spells the provenance of tokens, one letter each.
func Sources(tokens []engine.Token) string {
	b := make([]byte, len(tokens))
	for i, t := range tokens {
		b[i] = "pmt"[t.Source]
	}
	return string(b)
}

// Vocabulary says how tokens are written. Bytes is nil for a special token.
type Vocabulary interface {
	Bytes(id int32) []byte
	Name(id int32) string
}

// Of fills a Record with what the rollout knows.
func Of(t *engine.Trajectory, v Vocabulary) Record {
	r := Record{Key: t.Key, Finish: t.Finish.String(), Prompt: t.Prompt, Sources: Sources(t.Tokens()), Sets: t.SetBytes(),
		Evicted: t.Evicted}
	if t.Err != nil {
		r.Error = t.Err.Error()
	}
	raw := map[int32]bool{}
	for i, k := range t.Tokens() {
		r.IDs = append(r.IDs, k.ID)
		r.LogProbs = append(r.LogProbs, k.LogProb)
		piece := string(v.Bytes(k.ID))
		if v.Bytes(k.ID) == nil {
			piece, r.Special = v.Name(k.ID), append(r.Special, i)
		} else if !utf8.ValidString(piece) && !raw[k.ID] {
			raw[k.ID] = true
			r.Raw = append(r.Raw, RawPiece{k.ID, []byte(piece)})
		}
		r.Pieces = append(r.Pieces, strings.ToValidUTF8(piece, "\uFFFD"))
	}
	for _, c := range t.Calls {
		r.Calls = append(r.Calls, CallData{
			Code: c.Code, Status: c.Result.Status, Stdout: c.Result.Stdout, Traceback: c.Result.Traceback,
			From: c.From, To: c.To, ReplyFrom: c.ReplyFrom, ReplyTo: c.ReplyTo, Prefilled: c.Prefilled,
			Seconds: c.Result.Wall.Seconds(), CPU: c.Result.CPU.Seconds(), Queue: c.Result.Queue.Seconds(), Wait: c.Wait.Seconds(),
		})
	}
	return r
}

// Check reports what keeps a decoded line from being a record: a line of some other file, or one cut short.
func (r *Record) Check() error {
	n := len(r.IDs)
	switch {
	case n == 0 || r.Phase == "" || r.Finish == "":
		return errors.New("want a trajectory with phase, finish and ids, got another object")
	case len(r.Sources) != n || len(r.LogProbs) != n || len(r.Pieces) != n:
		return fmt.Errorf("%d ids, %d sources, %d log-probabilities, %d pieces: want as many of each", n, len(r.Sources), len(r.LogProbs),
			len(r.Pieces))
	case r.Prompt < 1 || r.Prompt > n:
		return fmt.Errorf("a prompt of %d of %d tokens", r.Prompt, n)
	}
	var chosen []int32
	for i, id := range r.IDs {
		if r.Sources[i] == 'm' {
			chosen = append(chosen, id)
		}
	}
	if err := engine.CheckSets(r.Sets, chosen); err != nil {
		return fmt.Errorf("sets of %d bytes for %d tokens of the model: %w", len(r.Sets), len(chosen), err)
	}
	for i, c := range r.Calls {
		if c.To < r.Prompt || c.To > n || c.ReplyFrom != c.ReplyTo && (c.ReplyFrom != c.To || c.ReplyTo < c.ReplyFrom || c.ReplyTo > n) {
			return fmt.Errorf("call %d ends at token %d and its reply spans %d to %d, of %d tokens", i+1, c.To, c.ReplyFrom, c.ReplyTo, n)
		}
	}
	return nil
}

// Trajectory is the stored one as the engine had it: tokens with provenance, and one call per execution.
func (r *Record) Trajectory() *engine.Trajectory {
	t := engine.NewTrajectory(r.Key, r.IDs[:r.Prompt])
	call := 0
	for i := r.Prompt; i < len(r.IDs); i++ {
		for call < len(r.Calls) && r.Calls[call].To == i {
			c := r.Calls[call]
			t.Calls = append(t.Calls, engine.Call{Code: c.Code, From: c.From, To: c.To, Result: engine.Result{Status: c.Status}})
			t.Observe(call, r.IDs[c.ReplyFrom:c.ReplyTo])
			i += c.ReplyTo - c.ReplyFrom
			call++
		}
		if i < len(r.IDs) {
			t.Sample(r.IDs[i], r.LogProbs[i])
		}
	}
	for ; call < len(r.Calls); call++ {
		t.Calls = append(t.Calls, engine.Call{Code: r.Calls[call].Code, Result: engine.Result{Status: r.Calls[call].Status}})
	}
	_ = t.UseSets(r.Sets) // Check let them in
	return t
}

// Bytes returns the bytes of each token that the record holds; nil for one it does not, or a special one.
func (r *Record) Bytes() func(id int32) []byte {
	of := make(map[int32][]byte, len(r.IDs))
	for i, id := range r.IDs {
		of[id] = []byte(r.Pieces[i])
	}
	for _, p := range r.Raw {
		of[p.ID] = p.Bytes
	}
	for _, i := range r.Special {
		of[r.IDs[i]] = nil
	}
	return func(id int32) []byte { return of[id] }
}

// Log appends JSON lines to a file. It is used by one goroutine; readers may follow the file while it grows.
type Log struct {
	f *os.File
	w *bufio.Writer
	n int64 // bytes written, buffered ones included
}

// Open continues a log after its first `from` bytes: what a run wrote beyond its last checkpoint is cut off.
func Open(path string, from int64) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() < from {
		err = fmt.Errorf("%s has %d bytes, the checkpoint says %d", path, info.Size(), from)
	}
	if err == nil {
		err = f.Truncate(from)
	}
	if err == nil {
		_, err = f.Seek(from, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("trace: %w", err)
	}
	return &Log{f: f, w: bufio.NewWriterSize(f, 1<<16), n: from}, nil
}

// Write appends one object.
func (l *Log) Write(v any) error {
	b, err := Marshal(v)
	if err == nil {
		b = append(b, '\n')
		l.n += int64(len(b))
		_, err = l.w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("trace: %s: %w", l.f.Name(), err)
	}
	return nil
}

// Flush hands everything to the operating system and returns the log's length in bytes.
func (l *Log) Flush() (int64, error) {
	if err := l.w.Flush(); err != nil {
		return 0, fmt.Errorf("trace: %s: %w", l.f.Name(), err)
	}
	return l.n, nil
}

// Sync makes the log durable and returns its length: the place a checkpoint remembers.
func (l *Log) Sync() (int64, error) {
	n, err := l.Flush()
	if err == nil {
		err = l.f.Sync()
	}
	return n, err
}

// Close flushes and closes.
func (l *Log) Close() error {
	_, err := l.Flush()
	return errors.Join(err, l.f.Close())
}

// Read calls f with each line of a JSON Lines file decoded into a new T. A last line that a crash cut off is left out, and torn says
// so in a sentence; any other malformed line is an error with its number. A byte-order mark is passed over.
func Read[T any](path string, f func(T) error) (torn string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("trace: %w", err)
	}
	defer file.Close()
	return ReadFrom(file, path, f)
}

// ReadFrom is Read of what in holds, which is called path in messages.
func ReadFrom[T any](in io.Reader, path string, f func(T) error) (torn string, err error) {
	r := bufio.NewReaderSize(in, 1<<16)
	for n := 1; ; n++ {
		line, end := r.ReadBytes('\n')
		if end != nil && end != io.EOF {
			return "", fmt.Errorf("trace: %s: %w", path, end)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var v T
			err := Unmarshal(line, &v)
			if err != nil && end == io.EOF && !jsontext.Value(line).IsValid(jsontext.AllowInvalidUTF8(true)) {
				return fmt.Sprintf("%s:%d: the last line is cut off after %d bytes and is left out", path, n, len(line)), nil
			}
			if err == nil {
				err = f(v)
			}
			if err != nil {
				return "", fmt.Errorf("trace: %s:%d: %w", path, n, err)
			}
		}
		if end == io.EOF {
			return "", nil
		}
	}
}
