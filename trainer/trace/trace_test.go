package trace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// response spells a record by its sources, one letter a token, and its calls.
func response(sources, outcome string, calls ...CallData) Record {
	n := len(sources)
	return Record{
		Phase: "eval", Finish: "answer", Prompt: strings.Count(sources, "p"), Sources: sources, Outcome: outcome, Family: "f",
		IDs: make([]int32, n), LogProbs: make([]float32, n), Pieces: make([]string, n), Calls: calls,
	}
}

func TestBehaviourOfHandMadeTraces(t *testing.T) {
	b := Behave([]Record{
		// 10 tokens of response, code at its 2nd and 6th token; the first snippet fails, the second runs.
		response("pp"+"mmmttmmmtm", "correct",
			CallData{Code: "x\n\n y\n", Status: "exception", From: 3, To: 5},
			CallData{Code: "print(1)", Status: "ok", From: 7, To: 10}),
		// 4 tokens, all text.
		response("ppp"+"mmmm", "wrong"),
		// 8 tokens, the only snippet runs, yet the answer is wrong.
		response("p"+"mmmmttmm", "wrong", CallData{Code: "a\nb\nc", Status: "ok", From: 1, To: 5}),
		// Code that times out.
		response("p"+"mmtm", "no_answer", CallData{Code: "loop", Status: "timeout_cpu", From: 2, To: 3}),
		// Lost to the sandbox: counted by its finish, and nowhere else.
		{Finish: "sandbox_error", Sources: "pm", IDs: []int32{1, 2}, Prompt: 1, Calls: []CallData{{Code: "x", Status: "ok"}}},
	})
	require.Equal(t, 4, b.Responses)
	require.Equal(t, 1, b.Finish["sandbox_error"])
	require.InDelta(t, (10+4+8+4)/4., b.ResponseLength, 1e-12)
	require.InDelta(t, (7+4+6+3)/4., b.ResponseLengthSampled, 1e-12)
	require.InDelta(t, (12+7+9+5)/4., b.ResponseLengthPrompt, 1e-12)
	require.Equal(t, 0.75, b.CodeRatio)
	require.InDelta(t, (3+0+3+1)/4., b.CodeLines, 1e-12)
	require.InDelta(t, (3+3+1)/3., b.CodeLinesWithCode, 1e-12)
	require.InDelta(t, (2+1+3+1)/4., b.CodeLinesSnippet, 1e-12)
	require.Equal(t, 2, b.CorrectCodeCount)
	require.Equal(t, 4, b.Snippets)
	require.Equal(t, 1., b.CodePassCorrect)
	require.Equal(t, 0.5, b.CodePassWrong)
	require.InDelta(t, (1/10.+5/10.+0+1/4.)/4, b.CodeTiming, 1e-12)
	require.InDelta(t, (1/10.+0+1/4.)/3, b.CodeTimingFirst, 1e-12)
	require.Equal(t, 0.5, b.FixedRate, "of two responses with a failed snippet one went on to a snippet that ran")
	require.InDelta(t, (6+2+4+4)/4., b.Turns, 1e-12)
	require.Equal(t, map[string]int{"ok": 2, "exception": 1, "timeout_cpu": 1}, b.Status)
	require.Equal(t, Sum{1, 4}, b.Families["f"])
	require.Zero(t, Behave(nil).CodeRatio)
}

func TestLogGoesOnWhereACheckpointLeftIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	l, err := Open(path, 0)
	require.NoError(t, err)
	require.NoError(t, l.Write(map[string]int{"n": 1}))
	at, err := l.Sync()
	require.NoError(t, err)
	require.NoError(t, l.Write(map[string]int{"n": 2}))
	require.NoError(t, l.Close())

	l, err = Open(path, at)
	require.NoError(t, err)
	require.NoError(t, l.Write(map[string]int{"n": 3}))
	require.NoError(t, l.Close())
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"n": 4`) // a writer that was killed
	require.NoError(t, err)
	require.NoError(t, f.Close())
	var got []int
	require.NoError(t, Read(path, func(v map[string]int) error { got = append(got, v["n"]); return nil }))
	require.Equal(t, []int{1, 3}, got)
	_, err = Open(path, 1<<20)
	require.ErrorContains(t, err, "the checkpoint says 1048576")
	require.NoError(t, os.WriteFile(path, []byte("{}\nnot json\n"), 0o644))
	require.ErrorContains(t, Read(path, func(any) error { return nil }), "log.jsonl:2: ")
}

func TestRecordsThatAreNoneAreRefused(t *testing.T) {
	good := response("ppmm", "correct", CallData{From: 2, To: 3, ReplyFrom: 3, ReplyTo: 3})
	require.NoError(t, good.Check())
	for _, spoil := range []func(*Record){
		func(r *Record) { r.IDs = nil }, func(r *Record) { r.Phase = "" }, func(r *Record) { r.Sources = "p" }, func(r *Record) { r.LogProbs = nil },
		func(r *Record) { r.Prompt = 0 }, func(r *Record) { r.Prompt = 9 }, func(r *Record) { r.Calls[0].To = 9 },
		func(r *Record) { r.Calls[0].ReplyTo = 9 }, func(r *Record) { r.Calls[0].ReplyFrom = 1 },
	} {
		r := response("ppmm", "correct", CallData{From: 2, To: 3, ReplyFrom: 3, ReplyTo: 3})
		spoil(&r)
		require.Error(t, r.Check())
	}
}
