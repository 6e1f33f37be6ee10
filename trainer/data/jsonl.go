package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxLine is the longest row that the readers accept, in bytes.
const MaxLine = 8 << 20

// row is a problem or a trace as it lies in a file.
type row struct {
	ID       literal   `json:"id,omitempty"`
	Family   text      `json:"family,omitempty"`
	Question text      `json:"question"`
	Answer   literal   `json:"answer"`
	Segments []segment `json:"segments,omitempty"`

	Others map[string]jsontext.Value `json:",embed"` // fields that nobody reads
}

type segment struct {
	Text   text `json:"text"`
	Source text `json:"source"`
}

// text is a JSON string, literal a string or a number, taken as it is written. null is the empty text.
type (
	text    string
	literal string
)

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	s, err := readText(d, "a string", `"`)
	*t = text(s)
	return err
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *literal) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	s, err := readText(d, "a string or a number", `"0`)
	*l = literal(s)
	return err
}

func readText(d *jsontext.Decoder, want, kinds string) (string, error) {
	kind := d.PeekKind()
	if kind != 0 && kind != 'n' && !strings.ContainsRune(kinds, rune(kind)) {
		return "", fmt.Errorf("is a JSON %s: want %s", kindName(kind), want)
	}
	v, err := d.ReadToken()
	if err != nil || kind == 'n' {
		return "", err
	}
	return v.String(), nil
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	}
	return k.String()
}

// WriteProblems writes one JSON object a line: {"id","family","question","answer"}.
func WriteProblems(w io.Writer, ps []Problem) error {
	return writeRows(w, ps, func(p Problem) any { return p })
}

// WriteTraces writes one JSON object a line: {"id","family","question","answer","segments":[{"text","source"}]}; a source is "policy" or "tool".
func WriteTraces(w io.Writer, ts []Trace) error {
	return writeRows(w, ts, func(t Trace) any {
		p := t.Problem
		r := row{ID: literal(p.ID), Family: text(p.Family), Question: text(p.Question), Answer: literal(p.Answer)}
		for _, s := range t.Segments {
			r.Segments = append(r.Segments, segment{text(s.Text), text(s.Source.String())})
		}
		return r
	})
}

func writeRows[T any](w io.Writer, items []T, row func(T) any) error {
	buf := bufio.NewWriter(w)
	for _, it := range items {
		line, err := json.Marshal(row(it))
		if err == nil {
			_, err = buf.Write(append(line, '\n'))
		}
		if err != nil {
			return fmt.Errorf("data: write rows: %w", err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("data: write rows: %w", err)
	}
	return nil
}

// ReadProblems reads what [WriteProblems] writes, or any JSON Lines file with the fields "question" and "answer": other fields are
// ignored, a row without "id" is named for its line. Blank lines are skipped. An error starts with name and line number; name is the
// file's, for messages.
func ReadProblems(r io.Reader, name string) ([]Problem, error) {
	var ps []Problem
	ids := map[string]int{}
	err := readRows(r, name, func(line int, row *row) error {
		p, err := row.problem(line)
		if err != nil {
			return err
		}
		if before, ok := ids[p.ID]; ok {
			return fmt.Errorf("id %q occurs in line %d already", p.ID, before)
		}
		ids[p.ID] = line
		ps = append(ps, p)
		return nil
	})
	return ps, err
}

// ReadTraces reads what [WriteTraces] writes, by the rules of [ReadProblems]; traces may share an id. Segments are not empty, the first and
// the last are the policy's.
func ReadTraces(r io.Reader, name string) ([]Trace, error) {
	var ts []Trace
	err := readRows(r, name, func(line int, row *row) error {
		p, err := row.problem(line)
		if err != nil {
			return err
		}
		segments, err := row.segments()
		if err != nil {
			return err
		}
		ts = append(ts, Trace{p, segments})
		return nil
	})
	return ts, err
}

// problem checks the fields that every row needs and names a problem that has no name.
func (r *row) problem(line int) (Problem, error) {
	p := Problem{string(r.ID), string(r.Family), string(r.Question), string(r.Answer)}
	for _, f := range []struct{ name, value string }{{"question", p.Question}, {"answer", p.Answer}} {
		if strings.TrimSpace(f.value) == "" {
			return p, fmt.Errorf("%q is missing or empty%s", f.name, r.others())
		}
	}
	if p.ID == "" {
		p.ID = fmt.Sprintf("line-%d", line)
	}
	return p, nil
}

// others names the fields that were not read, for a message about one that is missing.
func (r *row) others() string {
	if len(r.Others) == 0 {
		return ""
	}
	var names []string
	for n := range r.Others {
		names = append(names, fmt.Sprintf("%q", n))
	}
	slices.Sort(names)
	if more := len(names) - 8; more > 0 {
		names = append(names[:8], fmt.Sprintf("%d more", more))
	}
	return "; other fields of the row: " + strings.Join(names, ", ")
}

func (r *row) segments() ([]Segment, error) {
	if len(r.Segments) == 0 {
		return nil, fmt.Errorf(`"segments" is missing or empty: want [{"text": …, "source": "policy" or "tool"}, …]%s`, r.others())
	}
	var out []Segment
	for i, s := range r.Segments {
		seg := Segment{Text: string(s.Text)}
		switch s.Source {
		case "policy":
		case "tool":
			seg.Source = Tool
		default:
			return nil, fmt.Errorf(`segment %d: source is %q: want "policy" or "tool"`, i+1, s.Source)
		}
		if s.Text == "" {
			return nil, fmt.Errorf("segment %d has no text", i+1)
		}
		out = append(out, seg)
	}
	if out[0].Source != Policy || out[len(out)-1].Source != Policy {
		return nil, errors.New("a trace begins and ends with a segment of the policy; this one has a tool segment there")
	}
	return out, nil
}

// decode reads one JSON object.
func decode(line []byte, r *row) error {
	if !utf8.Valid(line) {
		return errors.New("not valid UTF-8")
	}
	err := json.Unmarshal(line, r)
	var mistyped *json.SemanticError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &mistyped):
		return fmt.Errorf("not a JSON object: %w", err)
	case mistyped.JSONPointer == "":
		return fmt.Errorf("the row is a JSON %s: want an object", kindName(mistyped.JSONKind))
	}
	field := strings.ReplaceAll(strings.TrimPrefix(string(mistyped.JSONPointer), "/"), "/", ".")
	if mistyped.GoType != nil && mistyped.Err == nil {
		want := map[string]string{"slice": "an array", "struct": "an object"}[mistyped.GoType.Kind().String()]
		return fmt.Errorf("%q is a JSON %s: want %s", field, kindName(mistyped.JSONKind), want)
	}
	return fmt.Errorf("%q %w", field, mistyped.Err)
}

// readRows calls f with each line that is not blank. A file without any is an error. A byte-order mark is passed over.
func readRows(r io.Reader, name string, f func(line int, r *row) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	rows := 0
	for line := 1; ; line++ {
		text, err := readLine(br)
		if err != nil && err != io.EOF {
			return fmt.Errorf("data: %s:%d: %w", name, line, err)
		}
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			var r row
			bad := decode(text, &r)
			if bad == nil {
				bad = f(line, &r)
			}
			if bad != nil {
				return fmt.Errorf("data: %s:%d: %w", name, line, bad)
			}
			rows++
		}
		if err == io.EOF {
			break
		}
	}
	if rows == 0 {
		return fmt.Errorf("data: %s: no rows: want one JSON object a line", name)
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
