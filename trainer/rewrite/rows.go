package rewrite

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"retool/engine/jsonfile"
	"retool/trainer/data"
)

// A Row is a problem with a solution in text.
type Row struct {
	Line     int // of the file, from 1
	Problem  data.Problem
	Solution string
}

// hash names what a row says.
func (r Row) hash() string {
	h := sha256.New()
	for _, s := range []string{r.Problem.Question, r.Problem.Answer, r.Solution} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Fields names the fields of a row's object.
type Fields struct{ Question, Answer, Solution string }

// ReadRows reads JSON Lines; name is the file's in errors. Numbers are taken as they are written; id and family are read where they are.
func ReadRows(r io.Reader, name string, f Fields) ([]Row, error) {
	br := bufio.NewReaderSize(jsonfile.LineBreaks(r), 1<<16)
	var rows []Row
	for n := 1; ; n++ {
		line, end := br.ReadBytes('\n')
		if end != nil && end != io.EOF {
			return nil, fmt.Errorf("rewrite: %s: %w", name, end)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			row, err := readRow(line, n, f)
			if err != nil {
				return nil, fmt.Errorf("rewrite: %s:%d: %w", name, n, err)
			}
			rows = append(rows, row)
		}
		if end == io.EOF {
			break
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("rewrite: %s holds no rows: want JSON Lines with %s, %s and %s", name, f.Question, f.Answer, f.Solution)
	}
	return rows, nil
}

func readRow(line []byte, n int, f Fields) (Row, error) {
	var fields map[string]json.RawMessage
	if err := jsonfile.Unmarshal(line, &fields); err != nil {
		return Row{}, fmt.Errorf("want one JSON object a line: %w", err)
	}
	text := func(name string, needed bool) (string, error) {
		raw, ok := fields[name]
		if !ok || string(raw) == "null" {
			if needed {
				return "", fmt.Errorf("no field %q: --question, --answer and --solution name the fields", name)
			}
			return "", nil
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return "", err
		}
		switch v := v.(type) {
		case string:
			if needed && strings.TrimSpace(v) == "" {
				return "", fmt.Errorf("field %q is empty", name)
			}
			return v, nil
		case json.Number:
			return v.String(), nil
		}
		return "", fmt.Errorf("field %q: want text or a number", name)
	}
	var errs [5]error
	row := Row{Line: n}
	row.Problem.Question, errs[0] = text(f.Question, true)
	row.Problem.Answer, errs[1] = text(f.Answer, true)
	row.Solution, errs[2] = text(f.Solution, true)
	row.Problem.ID, errs[3] = text("id", false)
	row.Problem.Family, errs[4] = text("family", false)
	if row.Problem.ID == "" {
		row.Problem.ID = fmt.Sprintf("line-%d", n)
	}
	for _, err := range errs { // the first: one sentence
		if err != nil {
			return Row{}, err
		}
	}
	return row, nil
}
