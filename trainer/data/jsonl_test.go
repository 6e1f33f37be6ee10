package data

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRowsSurviveTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{rapid.String().Draw(t, "id") + "x", rapid.String().Draw(t, "family"), rapid.String().Draw(t, "q") + "?", rapid.String().Draw(t, "a") + "!"}
		want := []Trace{{p, []Segment{
			{rapid.String().Draw(t, "one") + "</code>", Policy}, {"<&>\u2028" + rapid.String().Draw(t, "two"), Tool}, {"z", Policy},
		}}}
		var traces, problems bytes.Buffer
		require.NoError(t, WriteTraces(&traces, want))
		got, err := ReadTraces(&traces, "x")
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, WriteProblems(&problems, []Problem{p}))
		ps, err := ReadProblems(&problems, "x")
		require.NoError(t, err)
		require.Equal(t, []Problem{p}, ps)
	})
}

func TestBadRowsAreNamed(t *testing.T) {
	const ok = `{"question":"q","answer":"1"}` + "\n"
	for _, c := range []struct{ file, want string }{
		{"", "p.jsonl: no rows: want one JSON object a line"},
		{"\n \n", "p.jsonl: no rows"},
		{ok + "\n{bad\n", "p.jsonl:3: not a JSON object: "},
		{ok + `{"question":"q"}`, `p.jsonl:2: "answer" is missing or empty`},
		{ok + `{"answer":"q"}`, `p.jsonl:2: "question" is missing or empty`},
		{`{"question":"q","answer":["1","2"]}`, `p.jsonl:1: "answer" is a JSON array: want a string or a number`},
		{`{"question":"q","answer":true}`, `p.jsonl:1: "answer" is a JSON boolean: want a string or a number`},
		{`{"question":7,"answer":"1"}`, `p.jsonl:1: "question" is a JSON number: want a string`},
		{`{"question":"q","answer":" \t"}`, `p.jsonl:1: "answer" is missing or empty`},
		{`{"question":"q","answer":null}`, `p.jsonl:1: "answer" is missing or empty`},
		{`{"Question":"q","Answer":"1"}`, `p.jsonl:1: "question" is missing or empty; other fields of the row: "Answer", "Question"`},
		{`{"question":"q","answer":"1","answer":"2"}`, `duplicate`},
		{`{"question":"a \ud800 b","answer":"1"}`, `p.jsonl:1: not a JSON object`},
		{`[1]`, `p.jsonl:1: the row is a JSON array: want an object`},
		{ok + `{"question":"q","answer":"1"} {}`, `p.jsonl:2: not a JSON object`},
		{"{\"question\":\"\xff\",\"answer\":\"1\"}", "p.jsonl:1: not valid UTF-8"},
		{`{"id":"a","question":"q","answer":"1"}` + "\n" + `{"id":"a","question":"r","answer":"1"}`, `p.jsonl:2: id "a" occurs in line 1 already`},
		{ok + strings.Repeat("x", MaxLine+1), "p.jsonl:2: the line is longer than"},
	} {
		_, err := ReadProblems(strings.NewReader(c.file), "p.jsonl")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want one with %q", c.file, err, c.want)
		}
	}
	const head = `{"question":"q","answer":"1",`
	for _, c := range []struct{ file, want string }{
		{`{"question":"q","answer":"1"}`, `t:1: "segments" is missing or empty`},
		{head + `"segments":"x"}`, `t:1: "segments" is a JSON string: want an array`},
		{head + `"segments":[{"text":"a","source":"policy"},{"text":"a","source":"user"}]}`, `t:1: segment 2: source is "user"`},
		{head + `"segments":[{"source":"policy"}]}`, `t:1: segment 1 has no text`},
		{head + `"segments":[{"text":"a","source":"policy"},{"text":"a","source":"tool"}]}`, `begins and ends with a segment of the policy`},
	} {
		_, err := ReadTraces(strings.NewReader(c.file), "t")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want one with %q", c.file, err, c.want)
		}
	}
	numbers, err := ReadProblems(strings.NewReader(`{"id":1,"question":"q","answer":5}`+"\n"+`{"id":2,"question":"q","answer":-0.50e3}`), "n")
	require.NoError(t, err)
	require.Equal(t, []Problem{{"1", "", "q", "5"}, {"2", "", "q", "-0.50e3"}}, numbers)
	long := strings.Repeat("y", 200<<10) // beyond what bufio.Scanner reads by default
	ps, err := ReadProblems(strings.NewReader("\ufeff"+`{"question":"`+long+`","answer":"1","level":3}`+"\r\n"+ok), "p")
	if err != nil || len(ps) != 2 || ps[0].Question != long || ps[0].ID != "line-1" || ps[1].ID != "line-2" {
		t.Errorf("a long row, an extra field, a byte-order mark: %d problems, %v", len(ps), err)
	}
}
