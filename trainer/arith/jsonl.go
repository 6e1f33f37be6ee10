package arith

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxLine is the longest row that the readers accept, in bytes.
const MaxLine = 8 << 20

// traceRow is a trace as it lies in a file.
type traceRow struct {
	ID       string       `json:"id,omitempty"`
	Family   string       `json:"family,omitempty"`
	Question string       `json:"question"`
	Answer   string       `json:"answer"`
	Segments []segmentRow `json:"segments"`
}

type segmentRow struct {
	Text   string `json:"text"`
	Source string `json:"source"`
}

// WriteProblems writes one JSON object a line: {"id","family","question","answer"}.
func WriteProblems(w io.Writer, ps []Problem) error {
	return writeRows(w, ps, func(p Problem) any { return p })
}

// WriteTraces writes one JSON object a line: {"id","family","question","answer","segments":[{"text","source"}]}; a source is "policy" or "tool".
func WriteTraces(w io.Writer, ts []Trace) error {
	return writeRows(w, ts, func(t Trace) any {
		row := traceRow{t.Problem.ID, t.Problem.Family, t.Problem.Question, t.Problem.Answer, nil}
		for _, s := range t.Segments {
			row.Segments = append(row.Segments, segmentRow{s.Text, s.Source.String()})
		}
		return row
	})
}

func writeRows[T any](w io.Writer, items []T, row func(T) any) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // tags stay legible
	for _, it := range items {
		if err := enc.Encode(row(it)); err != nil {
			return fmt.Errorf("arith: write rows: %w", err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("arith: write rows: %w", err)
	}
	return nil
}

// ReadProblems reads what [WriteProblems] writes, or any JSONL file with the fields "question" and "answer": other fields are ignored, a
// row without "id" is named for its line. Blank lines are skipped. An error starts with name and line number; name is the file's, for messages.
func ReadProblems(r io.Reader, name string) ([]Problem, error) {
	var ps []Problem
	ids := map[string]int{}
	err := readRows(r, name, func(line int, row []byte) error {
		var p Problem
		if err := decodeRow(row, &p); err != nil {
			return err
		}
		if err := complete(&p, line, ids); err != nil {
			return err
		}
		ps = append(ps, p)
		return nil
	})
	return ps, err
}

// ReadTraces reads what [WriteTraces] writes, by the rules of [ReadProblems]; traces may share an id. Segments are not empty, the first and
// the last are the policy's.
func ReadTraces(r io.Reader, name string) ([]Trace, error) {
	var ts []Trace
	err := readRows(r, name, func(line int, row []byte) error {
		var raw traceRow
		if err := decodeRow(row, &raw); err != nil {
			return err
		}
		t := Trace{Problem: Problem{raw.ID, raw.Family, raw.Question, raw.Answer}}
		if err := complete(&t.Problem, line, nil); err != nil {
			return err
		}
		if len(raw.Segments) == 0 {
			return errors.New(`"segments" is missing or empty: want [{"text": …, "source": "policy" or "tool"}, …]`)
		}
		for i, s := range raw.Segments {
			seg := Segment{Text: s.Text}
			switch s.Source {
			case "policy":
			case "tool":
				seg.Source = Tool
			default:
				return fmt.Errorf(`segment %d: source is %q: want "policy" or "tool"`, i+1, s.Source)
			}
			if s.Text == "" {
				return fmt.Errorf("segment %d has no text", i+1)
			}
			t.Segments = append(t.Segments, seg)
		}
		if t.Segments[0].Source != Policy || t.Segments[len(t.Segments)-1].Source != Policy {
			return errors.New("a trace begins and ends with a segment of the policy; this one has a tool segment there")
		}
		ts = append(ts, t)
		return nil
	})
	return ts, err
}

// complete checks the fields that every row needs and names a problem that has no name. With ids, two problems of one name are an error.
func complete(p *Problem, line int, ids map[string]int) error {
	switch {
	case p.Question == "":
		return errors.New(`"question" is missing or empty`)
	case p.Answer == "":
		return errors.New(`"answer" is missing or empty`)
	case p.ID == "":
		p.ID = fmt.Sprintf("line-%d", line)
	}
	if ids == nil {
		return nil
	}
	if before, ok := ids[p.ID]; ok {
		return fmt.Errorf("id %q occurs in line %d already", p.ID, before)
	}
	ids[p.ID] = line
	return nil
}

// decodeRow decodes one JSON object. encoding/json would replace invalid UTF-8 silently, so that is looked for first.
func decodeRow(row []byte, v any) error {
	if !utf8.Valid(row) {
		return errors.New("not valid UTF-8")
	}
	err := json.Unmarshal(row, v)
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) {
		if mistyped.Field == "" {
			return fmt.Errorf("the row is a JSON %s: want an object", mistyped.Value)
		}
		return fmt.Errorf("%q is a JSON %s: want %s", mistyped.Field, mistyped.Value, jsonName[mistyped.Type.Kind().String()])
	}
	if err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	return nil
}

var jsonName = map[string]string{"string": "a string", "slice": "an array", "struct": "an object"}

// readRows calls f with each line that is not blank, without its line end. A file without any is an error.
func readRows(r io.Reader, name string, f func(line int, row []byte) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	rows := 0
	for line := 1; ; line++ {
		row, err := readLine(br)
		if err != nil && err != io.EOF {
			return fmt.Errorf("arith: %s:%d: %w", name, line, err)
		}
		if line == 1 {
			row = bytes.TrimPrefix(row, []byte("\ufeff"))
		}
		if row = bytes.TrimSpace(row); len(row) > 0 {
			if err := f(line, row); err != nil {
				return fmt.Errorf("arith: %s:%d: %w", name, line, err)
			}
			rows++
		}
		if err == io.EOF {
			break
		}
	}
	if rows == 0 {
		return fmt.Errorf("arith: %s: no rows: want one JSON object a line", name)
	}
	return nil
}

// readLine reads up to and including a newline, or to the end of the file, then with io.EOF.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxLine {
			return nil, fmt.Errorf("the line is longer than %d bytes", MaxLine)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}
