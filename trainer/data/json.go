package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"retool/engine/jsonfile"
)

// MaxRow is the longest row of a JSON file that is read, in bytes.
const MaxRow = 8 << 20

// decodeRow reads one JSON object.
func decodeRow(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not valid UTF-8")
	}
	d := jsontext.NewDecoder(bytes.NewReader(text))
	v, err := decodeValue(d)
	if err == nil {
		if _, more := d.ReadToken(); more == nil {
			err = errors.New("text follows the object")
		} else if more != io.EOF {
			err = more
		}
	}
	if err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", jsonfile.Plain(err))
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the row is %s: want an object", kindOf(v))
	}
	return object, nil
}

// decodeValue reads one value; a repeated name is an error of the decoder.
func decodeValue(d *jsontext.Decoder) (any, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return t.Bool(), nil
	case '"':
		return t.String(), nil
	case '0':
		return number(t.String()), nil
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	}
	object := map[string]any{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if object[key], err = decodeValue(d); err != nil {
			return nil, err
		}
	}
	_, err = d.ReadToken()
	return object, err
}

// lines calls yield with each row of a JSON Lines file. Blank lines are skipped. A line that is no object is a RowError, after which
// reading goes on.
func lines(r io.Reader, name string, yield func(*row, error) bool) {
	br := bufio.NewReaderSize(jsonfile.LineBreaks(r), 64<<10)
	for n := 1; ; n++ {
		text, err := readLine(br)
		out := &row{where: fmt.Sprintf("%s:%d", name, n), name: fmt.Sprintf("line-%d", n)}
		if err != nil && err != io.EOF {
			yield(nil, out.end("%w", err))
			return
		}
		if n == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			var bad error
			if out.values, bad = decodeRow(text); bad != nil {
				if n == 1 && text[0] != '{' && utf8.Valid(text) {
					bad = fmt.Errorf("it begins with %.20q: want JSON Lines, a JSON array of objects, or Parquet", text)
				} else if n == 1 && errors.Is(bad, io.ErrUnexpectedEOF) && err == nil {
					bad = errors.New("an object over several lines: want one JSON object a line, or an array of objects")
				}
				bad = out.bad("%w", bad)
			}
			if !yield(out, bad) {
				return
			}
		}
		if err == io.EOF {
			return
		}
	}
}

// readLine reads up to and including a newline, or to the end of the file, then with io.EOF.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxRow {
			return nil, fmt.Errorf("the line is longer than %d bytes", MaxRow)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// array calls yield with each object of a JSON array, one at a time.
func array(r io.Reader, name string, yield func(*row, error) bool) {
	br := bufio.NewReaderSize(r, 64<<10)
	if head, _ := br.Peek(3); string(head) == "\ufeff" {
		_, _ = br.Discard(3)
	}
	d := jsontext.NewDecoder(br)
	broken := func(n int, err error) {
		at := &row{where: fmt.Sprintf("%s: row %d", name, n)}
		if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
			err = errors.New("the file ends inside its array: is it whole?")
		}
		yield(nil, at.end("not a JSON array of objects: %w", jsonfile.Plain(err)))
	}
	if _, err := d.ReadToken(); err != nil {
		broken(1, err)
		return
	}
	n := 1
	for ; d.PeekKind() != ']'; n++ {
		text, err := d.ReadValue()
		if err == nil && len(text) > MaxRow {
			err = fmt.Errorf("it is longer than %d bytes", MaxRow)
		}
		if err != nil {
			broken(n, err)
			return
		}
		out := &row{where: fmt.Sprintf("%s: row %d", name, n), name: fmt.Sprintf("row-%d", n)}
		var bad error
		if out.values, bad = decodeRow(text); bad != nil {
			bad = out.bad("%w", bad)
		}
		if !yield(out, bad) {
			return
		}
	}
	_, err := d.ReadToken()
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("text follows the array")
		}
	}
	if err != nil && err != io.EOF {
		broken(n, err)
	}
}

// parsed is the value of a text column that holds JSON.
func parsed(text string) (any, error) {
	d := jsontext.NewDecoder(strings.NewReader(text))
	v, err := decodeValue(d)
	if err == nil {
		if _, more := d.ReadToken(); more != io.EOF {
			err = errors.New("text follows the value")
		}
	}
	return v, err
}
