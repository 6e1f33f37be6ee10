package data

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// One row of each public set under the columns that it is published with, read without a setting. Of traces, the answer is the ground truth
// and the segments are counted.
func TestPublishedColumnsAreRead(t *testing.T) {
	const q, a = "What is 40 + 2?", "42"
	const response = `I compute.\n<code>\n` + "```python\\nprint(40+2)\\n```" + `\n</code>\n<interpreter>\n42</interpreter>\n\nSo \\boxed{42}`
	sampled := map[string]bool{}
	for _, c := range []struct {
		set, layout, row string
		segments         int // of a trace; 0: a problem
	}{
		{"ours", "question and answer", `{"question":"Q","answer":"42"}`, 0},
		{"ours, traces", "retool traces", `{"question":"Q","answer":"42","segments":[{"text":"a","source":"policy"}]}`, 1},
		{"DAPO-Math-17k", "verl rows (DAPO-Math-17k)", `{"data_source":"math_dapo","prompt":[{"content":"Q","role":"user"}],"ability":"MATH",
			"reward_model":{"ground_truth":"42","style":"rule-lighteval/MATH_v2"},"extra_info":{"index":"9a9b"}}`, 0},
		{"DeepScaleR", "problem and answer (AIME)", `{"problem":"Q","answer":"42","solution":"It is 42."}`, 0},
		{"MATH-500", "problem and answer (AIME)", `{"problem":"Q","solution":"$\\boxed{42}$","answer":"42","subject":"Algebra","level":2,
			"unique_id":"test/algebra/1.json"}`, 0},
		{"MATH", "problem and solution (MATH)", `{"problem":"Q","level":"Level 1","type":"Algebra","solution":"42"}`, 0},
		{"AIME 2024", "Problem and Answer (AIME)", `{"ID":"2024-I-1","Problem":"Q","Solution":"It is 42.","Answer":42}`, 0},
		{"AIME 2025", "problem and answer (AIME)", `{"id":"0","problem":"Q","answer":"42"}`, 0},
		{"AMC", "problem and answer (AIME)", `{"id":0,"problem":"Q","answer":42.0,"url":"https://example.org"}`, 0},
		{"GSM8K", "GSM8K", `{"question":"Q","answer":"40 and 2.\n#### 42"}`, 0},
		{"OpenR1-Math", "problem and answer (AIME)", `{"problem":"Q","solution":"It is 42.","answer":"42","problem_type":"Algebra","uuid":"u",
			"generations":["x"],"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"42"}]}`, 0},
		{"Big-Math", "problem and answer (AIME)", `{"problem":"Q","answer":"42","source":"orca_math","domain":["Algebra"],
			"llama8b_solve_rate":0.5}`, 0},
		{"prompts", "prompt and answer", `{"prompt":"Q","answer":"42"}`, 0},
		{"slime", "prompt and label (slime)", `{"prompt":[{"role":"user","content":"Q"}],"label":"42"}`, 0},
		{"responses", "prompt, answer and response", `{"prompt":"Q","answer":"42","response":"` + response + `"}`, 3},
		{"messages", "messages", `{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"\\boxed{42}"}],"answer":"42"}`, 1},
		{"ReTool-SFT", "messages (ReTool-SFT)", `{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"` + response + `"}],
			"answer":"42"}`, 3},
		{"OpenThoughts", "conversations (ShareGPT)", `{"conversations":[{"from":"user","value":"Q"},
			{"from":"assistant","value":"` + response + `"}],"answer":"42"}`, 3},
	} {
		path := written(t, "rows.jsonl", strings.NewReplacer("\n", "", "\t", "", `"Q"`, `"`+q+`"`).Replace(c.row))
		r, err := reading(path, Columns{}, c.segments > 0)
		require.NoError(t, err, c.set)
		require.Equal(t, c.layout, r.Layout.Name, c.set)
		sampled[c.layout] = true
		r.Form = Form{Before: "\n<interpreter>\n", After: "</interpreter>\n\n"}
		if c.segments > 0 {
			n := 0
			for trace, err := range r.Traces() {
				require.NoError(t, err, c.set)
				require.Equal(t, q, trace.Problem.Question, c.set)
				require.Equal(t, a, trace.Problem.Answer, c.set)
				require.Len(t, trace.Segments, c.segments, c.set)
				n++
			}
			require.Equal(t, 1, n)
			continue
		}
		ps, err := readProblems(path, Columns{})
		require.NoError(t, err, c.set)
		require.Len(t, ps, 1)
		require.Equal(t, q, ps[0].Question, c.set)
		require.True(t, strings.HasSuffix(ps[0].Answer, a) || ps[0].Answer == "42.0", "%s: %s", c.set, ps[0].Answer)
	}
	for _, k := range known {
		require.True(t, sampled[k.name], "no row of layout %q: samples %v", k.name, slices.Sorted(maps.Keys(sampled)))
	}
}
