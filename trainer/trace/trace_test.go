package trace

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine"
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
	torn, err := Read(path, func(v map[string]int) error { got = append(got, v["n"]); return nil })
	require.NoError(t, err)
	require.Equal(t, []int{1, 3}, got)
	require.Contains(t, torn, "log.jsonl:3: the last line is cut off after 7 bytes")
	_, err = Open(path, 1<<20)
	require.ErrorContains(t, err, "the checkpoint says 1048576")
	require.NoError(t, os.WriteFile(path, []byte("{}\nnot json\n"), 0o644))
	_, err = Read(path, func(any) error { return nil })
	require.ErrorContains(t, err, "log.jsonl:2: ")
}

func TestAWholeLastLineNeedsNoLineFeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("\ufeff{\"n\": 1}\r\n\n{\"n\": 2}"), 0o644))
	var got []int
	torn, err := Read(path, func(v map[string]int) error { got = append(got, v["n"]); return nil })
	require.NoError(t, err)
	require.Empty(t, torn)
	require.Equal(t, []int{1, 2}, got)
}

// Any float of anything that is logged may be NaN or infinite: it is written as null and read back as NaN, and nothing else changes.
func TestNumbersThatAreNotFiniteAreNull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		any := func(name string) float64 {
			return rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)})).Draw(t, name)
		}
		m := Metrics{Step: 3, Phase: "rl", Loss: any("loss"), Norm: any("norm"),
			RL: &RL{KL: any("kl"), Rewards: Rewards{Paper: float32(any("reward"))}}}
		r := response("pmm", "wrong")
		r.Advantage, r.LogProbs[2] = float32(any("advantage")), float32(any("logprob"))
		text, err := Marshal(m)
		require.NoError(t, err)
		var m2 Metrics
		require.NoError(t, Unmarshal(text, &m2))
		more, err := Marshal(r)
		require.NoError(t, err)
		var r2 Record
		require.NoError(t, Unmarshal(more, &r2))
		for _, pair := range [][2]float64{
			{m.Loss, m2.Loss}, {m.Norm, m2.Norm}, {m.KL, m2.KL}, {float64(m.Rewards.Paper), float64(m2.Rewards.Paper)},
			{float64(r.Advantage), float64(r2.Advantage)}, {float64(r.LogProbs[2]), float64(r2.LogProbs[2])},
		} {
			if math.IsNaN(pair[0]) || math.IsInf(pair[0], 0) {
				require.True(t, math.IsNaN(pair[1]))
			} else {
				require.Equal(t, pair[0], pair[1])
			}
		}
		require.Equal(t, 3, m2.Step)
	})
}

// pairs is a vocabulary of two-byte tokens, so that characters of three and four bytes lie across them, and one special token.
type pairs [][]byte

func (p pairs) Bytes(id int32) []byte { return p[id] }
func (p pairs) Name(int32) string     { return "<end>" }

func TestTextComesBackWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[aπ四😀é \n]{0,12}`).Draw(t, "text")
		v, ids := pairs{nil}, []int32{}
		for rest := []byte(text); len(rest) > 0; {
			n := min(2, len(rest))
			v, ids, rest = append(v, rest[:n]), append(ids, int32(len(v))), rest[n:]
		}
		tr := engine.NewTrajectory(1, []int32{0})
		for _, id := range append(ids, 0) {
			tr.SampleOf([]int32{id, id + 3}, id, -1)
		}
		stored := Of(tr, v)
		line, err := Marshal(stored)
		require.NoError(t, err)
		var r Record
		require.NoError(t, Unmarshal(line, &r))
		var got []byte
		bytes := r.Bytes()
		for _, k := range r.Trajectory().Tokens() {
			got = append(got, bytes(k.ID)...)
		}
		require.Equal(t, text, string(got))
		require.NoError(t, engine.CheckSets(r.Sets, append(ids, 0)))
		require.Equal(t, tr.SetBytes(), r.Trajectory().SetBytes())
	})
}

func TestRecordsThatAreNoneAreRefused(t *testing.T) {
	good := response("ppmm", "correct", CallData{From: 2, To: 3, ReplyFrom: 3, ReplyTo: 3})
	require.NoError(t, good.Check())
	for _, spoil := range []func(*Record){
		func(r *Record) { r.IDs = nil }, func(r *Record) { r.Phase = "" }, func(r *Record) { r.Sources = "p" },
		func(r *Record) { r.LogProbs = nil },
		func(r *Record) { r.Prompt = 0 }, func(r *Record) { r.Prompt = 9 }, func(r *Record) { r.Calls[0].To = 9 },
		func(r *Record) { r.Sets = []byte{0} }, func(r *Record) { r.Sets = []byte{0, 0, 0} }, // for two tokens of the model
		func(r *Record) { r.Calls[0].ReplyTo = 9 }, func(r *Record) { r.Calls[0].ReplyFrom = 1 },
	} {
		r := response("ppmm", "correct", CallData{From: 2, To: 3, ReplyFrom: 3, ReplyTo: 3})
		spoil(&r)
		require.Error(t, r.Check())
	}
}

// summary.json is what it always was: its headlines in order, null for what is not finite, and the same figures when it is read.
func TestASummaryIsItsHeadlines(t *testing.T) {
	e := Evaluation{Name: "rl", Step: 480, Problems: 256, Samples: 1, Accuracy: .98, Low: .955, High: .992, Sampling: math.NaN(),
		AccuracyCode: .975,
		Majority:     .5, Behaviour: Behaviour{CodeRatio: 1, ResponseLength: 30, Turns: 4}}
	text, err := Marshal(Summary{RL: &e, Seconds: 216})
	require.NoError(t, err)
	require.Equal(t, `{"rl":{"accuracy":0.98,"code_ratio":1,"problems":256,"samples":1,"low":0.955,"high":0.992,"sampling_error":null,`+
		`"accuracy_with_code":0.975,"response_length":30,"step":480},"seconds":216}`, string(text))
	var back Summary
	require.NoError(t, Unmarshal(text, &back))
	require.Nil(t, back.ColdStart)
	require.True(t, math.IsNaN(back.RL.Sampling))
	back.RL.Sampling = 0
	require.Equal(t, &Evaluation{Step: 480, Problems: 256, Samples: 1, Accuracy: .98, Low: .955, High: .992, AccuracyCode: .975,
		Behaviour: Behaviour{CodeRatio: 1, ResponseLength: 30}}, back.RL)
	require.Equal(t, []Row{{"after RL", false, back.RL}}, back.Rows())
}

// What is wrong with a line is said in the words of JSON; only a last line that is cut off is left out, not one that is another thing.
func TestErrorsNameNoTypeOfGo(t *testing.T) {
	for text, want := range map[string]string{
		`{"phase":3}`:                  "phase is a JSON number, must be a string",
		`{"ids":["a"]}`:                "ids.0 is a JSON string, must be an integer of 32 bits",
		`[1,2]`:                        "is a JSON array, must be an object",
		`{"step":true}`:                "step is a JSON bool, must be an integer of 64 bits",
		`{phase`:                       "is no JSON: invalid character 'p'",
		`{"phase":"rl","phase":"rl"} `: `is no JSON: duplicate object member name of phase`,
	} {
		var r Record
		err := Unmarshal([]byte(text), &r)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "json:", text)
	}
	_, err := ReadFrom(strings.NewReader("[1,2]"), "a.jsonl", func(Record) error { return nil })
	require.EqualError(t, err, "trace: a.jsonl:1: is a JSON array, must be an object")
	torn, err := ReadFrom(strings.NewReader(`{"phase":`), "a.jsonl", func(Record) error { return nil })
	require.NoError(t, err)
	require.Contains(t, torn, "a.jsonl:1: the last line is cut off")
}
