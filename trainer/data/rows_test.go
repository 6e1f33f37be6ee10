package data

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// written is a file with a text in it.
func written(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// reading opens a file by its layout.
func reading(path string, c Columns, traces bool) (*Reader, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	l, err := f.Layout(c, traces)
	return &Reader{File: f, Layout: l}, err
}

func readProblems(path string, c Columns) (ps []Problem, err error) {
	r, err := reading(path, c, false)
	if err != nil {
		return nil, err
	}
	defer r.File.Close()
	for p, err := range r.Problems() {
		if err != nil {
			return ps, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func readTraces(path string, c Columns, form Form) (ts []Trace, err error) {
	r, err := reading(path, c, true)
	if err != nil {
		return nil, err
	}
	defer r.File.Close()
	r.Form = form
	for t, err := range r.Traces() {
		if err != nil {
			return ts, err
		}
		ts = append(ts, t)
	}
	return ts, nil
}

// Rows of ours come back from JSON Lines, from a JSON array and from Parquet as they were.
func TestRowsSurviveTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rows")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		p := Problem{text.Draw(t, "id") + "x", text.Draw(t, "family"), text.Draw(t, "q") + "?", text.Draw(t, "a") + "!"}
		want := []Trace{{p, []Segment{
			{text.Draw(t, "one") + "</code>", Policy}, {"<&>\u2028" + text.Draw(t, "two"), Tool}, {"z", Policy},
		}}}
		var problems, traces bytes.Buffer
		require.NoError(t, WriteProblems(&problems, p))
		require.NoError(t, WriteTraces(&traces, want...))
		for _, wrap := range []string{"", "["} {
			close := strings.ReplaceAll(wrap, "[", "]")
			require.NoError(t, os.WriteFile(path, []byte(wrap+problems.String()+close), 0o644))
			ps, err := readProblems(path, Columns{})
			require.NoError(t, err)
			require.Equal(t, []Problem{p}, ps)
			require.NoError(t, os.WriteFile(path, []byte(wrap+traces.String()+close), 0o644))
			got, err := readTraces(path, Columns{}, Form{})
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		type segment struct {
			Text   string `parquet:"text"`
			Source string `parquet:"source,dict"`
		}
		type columns struct {
			ID       string    `parquet:"id,optional"`
			Family   string    `parquet:"family"`
			Question string    `parquet:"question,zstd"`
			Answer   string    `parquet:"answer,snappy"`
			Segments []segment `parquet:"segments,list"`
		}
		out := columns{ID: p.ID, Family: p.Family, Question: p.Question, Answer: p.Answer}
		for _, s := range want[0].Segments {
			out.Segments = append(out.Segments, segment{s.Text, s.Source.String()})
		}
		require.NoError(t, parquet.WriteFile(path, []columns{out}))
		got, err := readTraces(path, Columns{}, Form{})
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

const ok = `{"question":"q","answer":"1"}` + "\n"

func TestBadRowsAreNamed(t *testing.T) {
	_, err := Open("/dev/zero")
	require.ErrorContains(t, err, "/dev/zero is a device: want a file of rows")
	for _, c := range []struct{ file, want string }{
		{"", "p.jsonl: no rows: want one JSON object a line"},
		{"\n \n", "p.jsonl: no rows"},
		{ok + "\n{bad\n", "p.jsonl:3: not a JSON object: "},
		{ok + `{"question":"q"}`, `p.jsonl:2: "answer" is missing; columns of the row: "question"`},
		{ok + `{"answer":"q"}`, `p.jsonl:2: "question" is missing`},
		{`{"question":"q"}`, `p.jsonl: its columns ("question") are of no known layout`},
		{`{"question":"q","answer":["1","2"]}`, `p.jsonl:1: "answer" is an array: want a string or a number`},
		{`{"question":"q","answer":true}`, `p.jsonl:1: "answer" is a boolean: want a string or a number`},
		{`{"question":7,"answer":"1"}`, `p.jsonl:1: "question" is a number: want a string`},
		{`{"question":{},"answer":"1"}`, `p.jsonl:1: "question" is an object: want a string`},
		{`{"question":"q","answer":" \t"}`, `p.jsonl:1: "answer" is empty: want a ground truth`},
		{`{"question":"q","answer":null}`, `p.jsonl:1: "answer" is empty`},
		{`{"question":" ","answer":"1"}`, `p.jsonl:1: "question" is empty`},
		{`{"Question":"q","Answer":"1"}`, `its columns ("Answer", "Question") are of no known layout`},
		{`{"question":"q","answer":"1","answer":"2"}`, `duplicate`},
		{`{"question":"a \ud800 b","answer":"1"}`, `p.jsonl:1: not a JSON object`},
		{ok + `[1]`, `p.jsonl:2: the row is an array: want an object`},
		{ok + `7`, `p.jsonl:2: the row is a number: want an object`},
		{ok + `{"question":"q","answer":"1"} {}`, `p.jsonl:2: not a JSON object: text follows the object`},
		{"{\"question\":\"\xff\",\"answer\":\"1\"}", "p.jsonl:1: not valid UTF-8"},
		{"\xff\xfe{\x00\"\x00", "p.jsonl:1: not valid UTF-8"},
		{`{"id":"a","question":"q","answer":"1"}` + "\n" + `{"id":"a","question":"r","answer":"1"}`,
			`p.jsonl:2: id "a" occurs in line 1 already`},
		{`[{"id":"a","question":"q","answer":"1"},{"id":"a","question":"r","answer":"1"}]`, `p.jsonl: row 2: id "a" occurs in row 1 already`},
		{ok + strings.Repeat("x", MaxRow+1), "p.jsonl:2: the line is longer than"},
		{"{\n \"question\": \"q\",\n \"answer\": \"1\"\n}\n",
			"p.jsonl:1: an object over several lines: want one JSON object a line, or an array of objects"},
		{`[1]`, `p.jsonl: row 1: the row is a number: want an object`},
		{`[]`, "p.jsonl: no rows"},
		{`[` + ok + `,` + ok, `p.jsonl: row 3: not a JSON array of objects: the file ends inside its array`},
		{`[` + ok + `,{"question":"q","ans`, `p.jsonl: row 2: not a JSON array of objects: the file ends inside its array`},
		{`[` + ok + `,{"question":"q"}]`, `p.jsonl: row 2: "answer" is missing`},
		{`[` + ok + `] x`, "p.jsonl: row 2: not a JSON array of objects"},
		{"question,answer\nq,1\n", `p.jsonl:1: it begins with "question,answer": want JSON Lines, a JSON array of objects, or Parquet`},
		{"\x1f\x8b\x08\x00", "p.jsonl: this is gzip: unpack it first"},
		{"PK\x03\x04", "p.jsonl: this is a ZIP archive"},
		{"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "p.jsonl: this is a Git LFS pointer: fetch the file it stands for"},
		{"<!DOCTYPE html>", "p.jsonl: this is a page of HTML or XML"},
	} {
		_, err := readProblems(written(t, "p.jsonl", c.file), Columns{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: error %v, want one with %q", c.file, err, c.want)
		}
	}
	const head = `{"question":"q","answer":"1",`
	for _, c := range []struct{ file, want string }{
		{`{"question":"q","answer":"1"}`,
			`t: no responses in its columns ("answer", "question"): want question, answer and segments, or messages`},
		{head + `"segments":"x"}`, `t:1: "segments" is a string: want an array`},
		{head + `"segments":[7]}`, `t:1: segment 1 is a number: want an object`},
		{head + `"segments":[]}`, `t:1: "segments" is empty`},
		{head + `"segments":[{"text":"a","source":"policy"},{"text":"a","source":"user"}]}`, `t:1: segment 2: source is "user"`},
		{head + `"segments":[{"source":"policy"}]}`, `t:1: segment 1 has no text`},
		{head + `"segments":[{"text":3,"source":"policy"}]}`, `t:1: segment 1: text is a number: want a string`},
		{head + `"segments":[{"text":"a","source":"policy"},{"text":"a","source":"tool"}]}`, `begins and ends with a segment of the policy`},
		{`{"messages":[{"content":"x"}]}`, `t:1: "messages", message 1: no role; it has "content"`},
		{`{"messages":[{"role":"assistant","content":3}]}`, `t:1: "messages", message 1: content is a number: want a string`},
		{`{"messages":[{"role":"user","content":"x"}]}`, `t: no responses in its columns ("messages")`},
		{`{"messages":7}`, `t:1: "messages" is a number: want an array of messages`},
		{`{"messages":"7 8"}`, `t:1: "messages" is a string that is not JSON`},
	} {
		_, err := readTraces(written(t, "t", c.file), Columns{}, Form{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want one with %q", c.file, err, c.want)
		}
	}
}

func TestUnusualRowsAreRead(t *testing.T) {
	numbers, err := readProblems(written(t, "n", `{"id":1,"question":"q","answer":5}`+"\n"+
		`{"id":2,"question":"q","answer":-0.50e3}`), Columns{})
	require.NoError(t, err)
	require.Equal(t, []Problem{{"1", "", "q", "5"}, {"2", "", "q", "-0.50e3"}}, numbers)
	long := strings.Repeat("y", 200<<10)
	ps, err := readProblems(written(t, "p", "\ufeff"+`{"question":"`+long+`","answer":"1","level":3}`+"\r\n"+ok), Columns{})
	if err != nil || len(ps) != 2 || ps[0].Question != long || ps[0].ID != "line-1" || ps[1].ID != "line-2" {
		t.Errorf("a long row, an extra field, a byte-order mark: %d problems, %v", len(ps), err)
	}
	ps, err = readProblems(written(t, "p.json", "\ufeff \n[ "+ok+","+ok+"]\n"), Columns{})
	require.NoError(t, err)
	require.Equal(t, []string{"row-1", "row-2"}, []string{ps[0].ID, ps[1].ID})
	// A pipe is read once, yet its rows and its hash are to be had.
	r, w, err := os.Pipe()
	require.NoError(t, err)
	_, err = w.WriteString(ok)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	f := &File{Path: "pipe", close: r.Close}
	require.NoError(t, f.open(r))
	hash, err := f.Hash()
	require.NoError(t, err)
	same, err := Open(written(t, "p", ok))
	require.NoError(t, err)
	want, err := same.Hash()
	require.NoError(t, err)
	require.Equal(t, want, hash)
}

// A row that cannot be used leaves those after it readable; a file that breaks off does not.
func TestReadingGoesOnAfterABadRow(t *testing.T) {
	r, err := reading(written(t, "p", ok+"{\n"+`{"question":"","answer":"1"}`+"\n"+ok), Columns{}, false)
	require.NoError(t, err)
	var good, counted, unreadable int
	for _, err := range r.Problems() {
		reason, one := Faulty(err)
		switch {
		case err == nil:
			good++
		case one && reason == EmptyQuestion:
			counted++
		case one:
			unreadable++
		}
	}
	require.Equal(t, [3]int{2, 1, 1}, [3]int{good, counted, unreadable})
	r, err = reading(written(t, "p", "["+ok+",{"), Columns{}, false)
	require.NoError(t, err)
	for _, err := range r.Problems() {
		if err != nil {
			_, one := Faulty(err)
			require.False(t, one)
		}
	}
}
