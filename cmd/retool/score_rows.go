package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/jsonfile"
	"retool/engine/model"
)

// A scoreRow is one row of --in.
type scoreRow struct {
	ids    []int32
	pieces []string // of a text or messages
}

// flaggedRows are the rows that a command gives.
func flaggedRows(c *cli.Context, cfg model.Config) ([]scoreRow, error) {
	r := rowReader{dir: c.String("model"), vocab: cfg.Vocab}
	text, messages, found, err := flaggedText(c)
	if err != nil {
		return nil, err
	}
	if found {
		row, err := r.encoded(text, messages)
		if err != nil {
			err = fmt.Errorf("score: %w", err)
		}
		return []scoreRow{row}, err
	}
	return r.file(c.String("in"))
}

// rowReader reads rows. It opens the folder's tokenizer for the first that is not ids.
type rowReader struct {
	dir   string
	vocab int
	texts *texts
}

// file reads a JSONL file of objects with ids, each inside the vocabulary, with a text or with messages. An error names file and line.
func (r *rowReader) file(path string) (rows []scoreRow, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("score: %w", err)
	}
	defer f.Close()
	in := textReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("score: %s:%d: %w", path, n, err)
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			row, bad := r.row(text)
			if bad != nil {
				return nil, fmt.Errorf("score: %s:%d: %w", path, n, bad)
			}
			rows = append(rows, row)
		}
		if err == io.EOF {
			break
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("score: %s holds no rows", path)
	}
	return rows, nil
}

// row reads one line.
func (r *rowReader) row(line []byte) (row scoreRow, err error) {
	var of struct {
		IDs      []int64         `json:"ids"`
		Text     *string         `json:"text"`
		Messages json.RawMessage `json:"messages"`
	}
	if bad := jsonfile.Unmarshal(line, &of); bad != nil {
		return row, fmt.Errorf("not an object with a list `ids` of integers, a `text` or `messages`: %w", bad)
	}
	given := 0
	for _, there := range []bool{of.IDs != nil, of.Text != nil, of.Messages != nil} {
		if there {
			given++
		}
	}
	switch {
	case given > 1:
		return row, errors.New("want one of `ids`, `text` and `messages`, got more")
	case of.Messages != nil:
		list, err := parseMessages(of.Messages)
		if err != nil {
			return row, fmt.Errorf("messages: %w", err)
		}
		return r.encoded("", list)
	case of.Text != nil:
		return r.encoded(*of.Text, nil)
	}
	row.ids, err = checkedIDs(of.IDs, r.vocab)
	return row, err
}

// encoded is the row of a text, or of messages.
func (r *rowReader) encoded(text string, messages []engine.Message) (row scoreRow, err error) {
	if r.texts == nil {
		if r.texts, err = openTexts(r.dir, false); err != nil {
			return row, err
		}
	}
	if _, row.ids, err = r.texts.idsOf(text, messages, false); err != nil {
		return row, err
	}
	row.pieces = r.texts.pieces(row.ids)
	for _, id := range row.ids {
		if int(id) >= r.vocab {
			return row, fmt.Errorf("tokenizer.json has %d ids, the embedding %d rows", r.texts.tok.Size(), r.vocab)
		}
	}
	if len(row.ids) == 0 {
		return row, errors.New("the text is empty: a row needs at least one token")
	}
	return row, nil
}

// checkedIDs are ids of a row, at least one and each in [0, vocab).
func checkedIDs(ids []int64, vocab int) ([]int32, error) {
	if len(ids) == 0 {
		return nil, errors.New("`ids` is missing or empty: a row needs at least one token")
	}
	out := make([]int32, len(ids))
	for i, id := range ids {
		if id < 0 || id >= int64(vocab) {
			return nil, fmt.Errorf("ids[%d] is %d, outside the vocabulary of %d", i, id, vocab)
		}
		out[i] = int32(id)
	}
	return out, nil
}

// parseIDs reads token ids that are given as 1,2,3 or as a JSON list.
func parseIDs(text string, vocab int) ([]int32, error) {
	list := strings.TrimSpace(text)
	if !strings.HasPrefix(list, "[") {
		list = "[" + list + "]"
	}
	var ids []int64
	if err := jsonfile.Unmarshal([]byte(list), &ids); err != nil {
		return nil, fmt.Errorf("want integers such as 1,2,3 or [1,2,3], got %q", text)
	}
	return checkedIDs(ids, vocab)
}
