package data

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var forms = map[string]Form{
	"retool-eval": {Before: "\n<interpreter>\n", After: "</interpreter>\n\n"},
	"agent-r1":    {Before: "\n<interpreter>\n", After: "\n</interpreter>\n"},
	"slime":       {Before: "\n\n<interpreter>\n", After: "\n</interpreter>\n\n"},
	"hermes":      {Hermes: true},
}

// line draws a text that is not empty, without tags, white space at its ends or a fence.
func line(t *rapid.T, name string) string {
	s := strings.TrimSpace(strings.NewReplacer("<", "‹", "`", "'").Replace(rapid.String().Draw(t, name)))
	return "z" + s + "z"
}

// What the policy writes, calls and reads is the same in every form, and going through another changes nothing.
func TestFormsHoldTheSameTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var turns []turn
		for range rapid.IntRange(0, 3).Draw(t, "calls") {
			turns = append(turns, turn{text: line(t, "text"), code: line(t, "code"), called: true, output: strings.TrimSpace(line(t, "output"))})
		}
		turns = append(turns, turn{text: line(t, "end")})
		for from, a := range forms {
			first, _ := a.segments(turns)
			for to, b := range forms {
				there, changed := b.convert(first)
				require.Equal(t, len(turns) > 1 && from != to, changed, "%s to %s", from, to)
				back, _ := a.convert(there)
				require.Equal(t, first, back, "%s to %s", from, to)
				again, changed := b.convert(there)
				require.Equal(t, there, again)
				require.False(t, changed)
			}
			var c cutter
			for _, s := range first {
				require.NoError(t, c.write(s.Text))
			}
			got, err := c.end()
			require.NoError(t, err)
			for i := range turns {
				require.Equal(t, turns[i].code, got[i].code)
				require.Equal(t, turns[i].output, got[i].output)
				require.Equal(t, turns[i].text, strings.TrimSpace(got[i].text))
			}
		}
	})
}

// A trace written as messages is read again as the trace it was.
func TestConversationsAreReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{"id", "", line(t, "question"), line(t, "answer")}
		turns := []turn{{text: line(t, "text"), code: line(t, "code"), called: true, output: line(t, "output")}, {text: line(t, "end")}}
		for _, f := range forms {
			segments, _ := f.segments(turns)
			want := Trace{p, segments}
			talk, _, err := want.Conversation()
			require.NoError(t, err)
			for _, c := range []Conversation{talk, want.Written()} {
				var b bytes.Buffer
				require.NoError(t, WriteConversations(&b, c))
				r := &row{values: nil, where: "t:1"}
				var err error
				r.values, err = decodeRow(b.Bytes())
				require.NoError(t, err)
				reader := &Reader{Layout: Layout{Columns: Columns{ID: "id", Answer: "answer", Messages: "messages"}, traces: true}, Form: f}
				got, err := reader.trace(r)
				require.NoError(t, err, b.String())
				require.Equal(t, want, got)
			}
		}
	})
}

func TestResponsesThatCannotBeCut(t *testing.T) {
	const call, reply = "<code>\nprint(1)\n</code>", "<interpreter>1</interpreter>"
	for text, want := range map[string]error{
		"x" + call + reply + "y":                                 nil,
		"x" + call + "\n \n" + reply + "\n" + call + reply + "y": nil,
		"no call at all":                                         nil,
		"x <code> y":                                             errUnbalanced,
		"x </code> y":                                            errUnbalanced,
		"x" + call + "<interpreter>1":                            errUnbalanced,
		"x </interpreter>":                                       errUnbalanced,
		"<code><code>1</code></code>" + reply + "y":              errNested,
		call + "<interpreter><code></interpreter>y":              errNested,
		call + "y":                                               errNoResult,
		call:                                                     errNoResult,
		call + call + reply + "y":                                errNoResult,
		"x" + reply:                                              errNoCall,
		"<code>```python\n```</code>" + reply + "y":              errNoCode,
		"<code> </code>" + reply + "y":                           errNoCode,
		call + reply:                                             errUnfinished,
		"<tool_call>{\"name\":\"x\",\"arguments\":{\"code\":\"1\"}}</tool_call><tool_response>1</tool_response>y":             nil,
		"<tool_call>{\"name\":\"x\",\"arguments\":\"{\\\"code\\\":\\\"1\\\"}\"}</tool_call><tool_response>1</tool_response>y": nil,
		"<tool_call>{\"name\":\"x\",\"arguments\":{\"input\":\"1\"}}</tool_call><|im_end|>\n<|im_start|>user\n" +
			"<tool_response>1</tool_response><|im_end|>\n<|im_start|>assistant\ny": nil,
		"<tool_call>print(1)</tool_call><tool_response>1</tool_response>y":                                                 errNoCode,
		"<tool_call>{\"name\":\"x\"}</tool_call><tool_response>1</tool_response>y":                                         errNoCode,
		"<tool_call>{\"arguments\":{\"code\":\"1\"}}</tool_call>\n<tool_call>{\"arguments\":{\"code\":\"2\"}}</tool_call>": errManyCalls,
	} {
		var c cutter
		err := c.write(text)
		if err == nil {
			_, err = c.end()
		}
		require.ErrorIs(t, err, want, text)
	}
}

// Chat markup at the ends of turns is the protocol's; a model would learn to write it twice.
func TestChatMarkupIsTakenOff(t *testing.T) {
	var c cutter
	require.NoError(t, c.write("a\n<tool_call>\n{\"name\":\"x\",\"arguments\":{\"input\":\"1\",\"code\":null}}\n</tool_call>"+
		"<|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n<|im_start|>assistant\n y <|im_end|>\n"))
	turns, err := c.end()
	require.NoError(t, err)
	require.Equal(t, []turn{{text: "a\n", code: "1", called: true, output: "1"}, {text: "y"}}, turns)
	require.Equal(t, " a <|im_end|> b ", bare(" a <|im_end|> b "))
}

// The answer tags belong to the form in tags; a hermes trace has none, and nothing after its answer.
func TestHermesTracesEndWithTheAnswer(t *testing.T) {
	segments, dropped := forms["hermes"].segments([]turn{{text: "So.\n<answer>\n\\boxed{2}\n</answer>\nBye."}})
	require.Equal(t, []Segment{{"So.\n\\boxed{2}", Policy}}, segments)
	require.True(t, dropped)
	segments, dropped = forms["slime"].segments([]turn{{text: "So.\n<answer>\n\\boxed{2}\n</answer>"}})
	require.Equal(t, []Segment{{"So.\n<answer>\n\\boxed{2}\n</answer>", Policy}}, segments)
	require.False(t, dropped)
}

// Conversations as they are published: calls as fields or in the text, replies with a role of their own or as the user's.
func TestConversationsAsPublished(t *testing.T) {
	for _, name := range []string{"messages.jsonl", "messages.parquet"} {
		ts, err := readTraces("testdata/"+name, Columns{}, forms["retool-eval"])
		require.NoError(t, err)
		for i, trace := range ts[:5] {
			code := "x = " + sums[i][1] + "\nprint(x)"
			if name == "messages.parquet" {
				code = "print(" + sums[i][1] + ")"
			}
			require.Equal(t, []Segment{
				{"I compute.\n<code>\n```python\n" + code + "\n```\n</code>", Policy},
				{"\n<interpreter>\n" + sums[i][1] + "</interpreter>\n\n", Tool},
				{"It is \\boxed{" + sums[i][1] + "}.", Policy},
			}, trace.Segments)
		}
		if name == "messages.jsonl" {
			require.Equal(t, "What is 6 * 7?", ts[5].Problem.Question)
			require.Equal(t, "So:\n<code>\n```python\nprint(6*7)\n```\n</code>", ts[5].Segments[0].Text)
			require.Equal(t, "\n<interpreter>\n42</interpreter>\n\n", ts[5].Segments[1].Text)
		}
	}
	r, err := reading("testdata/retool-sft.parquet", Columns{}, true)
	require.NoError(t, err)
	require.Equal(t, "messages (ReTool-SFT)", r.Layout.Name)
	for name, f := range forms {
		r.Form = f
		var first []Segment
		i := 0
		for trace, err := range r.Traces() {
			switch i++; {
			case i == 5:
				require.ErrorIs(t, err, errNoResult)
				reason, _ := Faulty(err)
				require.Equal(t, Unreadable, reason)
			case i == 4:
				require.Len(t, trace.Segments, 1)
			case first == nil:
				first = trace.Segments
				require.Len(t, first, 5)
			default:
				require.Equal(t, first, trace.Segments, "%s, row %d", name, i)
			}
			if i < 5 {
				require.NoError(t, err)
			}
		}
		require.Equal(t, 5, i)
	}
}
