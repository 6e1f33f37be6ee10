package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func TestGradeAnswersEachRowInOrder(t *testing.T) {
	for _, c := range []struct{ row, want string }{
		{`{"id":"a","text":"\\boxed{\\frac12}","truth":"0.5"}`, `{"id":"a","math":"correct","dapo":"correct","answer":"\\frac12"}`},
		{`{"id":7,"text":"\\boxed{12, 3}","truth":"1, 23"}`, `{"id":7,"math":"wrong","dapo":"correct","answer":"12, 3"}`},
		{`{"id":null,"text":"Answer: 17","truth":"17"}`, `{"id":null,"math":"no_answer","dapo":"no_answer","answer":""}`},
		{`{"id":{"n": [1]},"text":"\\boxed 7","truth":"7","more":1}`, `{"id":{"n":[1]},"math":"correct","dapo":"no_answer","answer":"7"}`},
		{`{"id":3,"text":"\\boxed{5}","truth":5}`, `{"id":3,"math":"correct","dapo":"correct","answer":"5"}`},
		{`{"id":4,"text":"<code>\nprint(5)\n</code>\n<interpreter>\n\\boxed{5}\n</interpreter>","truth":"5"}`,
			`{"id":4,"math":"no_answer","dapo":"no_answer","answer":""}`},
		{`{"id":5,"text":"\\boxed{4}</code>\n<interpreter>\n\\boxed{5}","truth":"4"}`,
			`{"id":5,"math":"correct","dapo":"correct","answer":"4"}`},
		{`{"id":true,"text":"\\boxed{x<y}","truth":"\\text{ }"}`, `{"id":true,"math":"verifier_error","dapo":"verifier_error","answer":"x<y"}`},
		{`{"id":1,"text":"\\boxed{4} <code>\n'''\n\\boxed{5}\n</code> done","truth":"4"}`,
			`{"id":1,"math":"correct","dapo":"correct","answer":"4"}`},
	} {
		var out bytes.Buffer
		require.NoError(t, grade("rows", strings.NewReader(c.row), &out))
		require.Equal(t, c.want+"\n", out.String())
	}
	var in, want strings.Builder
	in.WriteString("\ufeff")
	for i := range 3000 {
		fmt.Fprintf(&in, "{\"id\": %d, \"text\": \"\\\\boxed{%d}\", \"truth\": \"%d\"}\r\n\n", i, i, i%7)
		verdict := "wrong"
		if i < 7 {
			verdict = "correct"
		}
		fmt.Fprintf(&want, "{\"id\":%d,\"math\":%q,\"dapo\":%q,\"answer\":\"%d\"}\n", i, verdict, verdict, i)
	}
	var out bytes.Buffer
	require.NoError(t, grade("rows", iotest.HalfReader(strings.NewReader(strings.TrimRight(in.String(), "\r\n"))), &out))
	require.Equal(t, want.String(), out.String())
}

func TestGradeStopsAtABadRowAfterAnsweringThoseBefore(t *testing.T) {
	const good = `{"id":1,"text":"\\boxed{1}","truth":"1"}` + "\n"
	for _, c := range []struct{ row, want string }{
		{`{"id":2,"text":"\\boxed{1}"}`, `grade: rows.jsonl:3: "truth": want a string, got nothing`},
		{`{"id":2,"truth":"1"}`, `grade: rows.jsonl:3: "text": want a string, got nothing`},
		{`{"text":"x","truth":"1"}`, `grade: rows.jsonl:3: "id" is missing: want {"id", "text", "truth"}`},
		{`{"id":2,"Text":"x","truth":"1"}`, `grade: rows.jsonl:3: "text": want a string, got nothing`},
		{`{"id":2,"text":"x","truth":[17]}`, `grade: rows.jsonl:3: "truth": want a string, got [17]`},
		{`{"id":2,"text":17,"truth":"17"}`, `grade: rows.jsonl:3: "text": want a string, got 17`},
		{`{"id":2,"text":"x","truth":"1","text":"y"}`,
			`grade: rows.jsonl:3: want an object {"id", "text", "truth"}, each once, got "text" twice`},
		{"{\"id\":2,\"text\":\"\xff\",\"truth\":\"1\"}",
			`grade: rows.jsonl:3: want an object {"id", "text", "truth"} in UTF-8, got bytes that are not`},
		{`null`, `grade: rows.jsonl:3: want an object {"id", "text", "truth"}, got null`},
		{`[1]`, `grade: rows.jsonl:3: want an object {"id", "text", "truth"}: `},
		{`{"id":2,`, `grade: rows.jsonl:3: want an object {"id", "text", "truth"}: `},
	} {
		var out bytes.Buffer
		err := grade("rows.jsonl", strings.NewReader(good+good+c.row+"\n"+good), &out)
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
	}
	require.ErrorContains(t, grade("rows", iotest.ErrReader(io.ErrUnexpectedEOF), io.Discard), "grade: rows: unexpected EOF")
}

func TestGradeStreams(t *testing.T) {
	in, rows := io.Pipe()
	lines, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- grade("rows", in, out) }()
	dec := json.NewDecoder(lines)
	for i := range 3 { // an answer comes before the next row is there
		_, err := fmt.Fprintf(rows, "{\"id\":%d,\"text\":\"\\\\boxed{%d}\",\"truth\":\"1\"}\n", i, i)
		require.NoError(t, err)
		var got gradeResult
		require.NoError(t, dec.Decode(&got))
		require.Equal(t, fmt.Sprint(i), string(got.ID))
	}
	require.NoError(t, rows.Close())
	require.NoError(t, <-done)
}
