package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

func TestARunIsReadFromItsEvaluationsAndMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"step":1,"phase":"sft","seconds":9}
{"step":2,"phase":"rl","seconds":2,"sampled":100,"reward":0}
{"step":3,"phase":"rl","seconds":3,"sampled":200,"reward":0,"resampled_tokens":50}
{"step":4,"phase":"rl","seconds":4,"sampled":400,"reward":0}
`), 0o644))
	evaluations := []trace.Evaluation{
		{Name: "untrained"}, {Name: "cold_start", Step: 1, Accuracy: 0.25, Problems: 64}, {Name: "rl", Step: 2, Accuracy: 0.8, Problems: 64},
		{Name: "rl", Step: 3, Accuracy: 0.9, Problems: 64}, {Name: "rl", Step: 4, Accuracy: 0.85, Problems: 64},
	}
	l, err := Learn("grpo", 7, evaluations, path)
	require.NoError(t, err)
	require.Equal(t, Learned{Algorithm: "grpo", Seed: 7, Before: 0.25, Accuracy: 0.85, Problems: 64, Steps: 3, Tokens: 700, Resampled: 50,
		Seconds: 9, Steps90: 2, Tokens90: 300}, l)
}

func TestRunsOfAnAlgorithmAreCompared(t *testing.T) {
	rows := Compare([]Learned{
		{Algorithm: "b", Accuracy: 0.5, Problems: 100, Tokens: 10, Seconds: 1},
		{Algorithm: "a", Accuracy: 1, Problems: 100, Tokens: 10, Seconds: 1, Steps90: 10, Tokens90: 5},
		{Algorithm: "a", Accuracy: 0.9, Problems: 100, Tokens: 30, Seconds: 3, Steps90: 30, Tokens90: 15},
		{Algorithm: "b", Error: "it diverged"},
	})
	require.Len(t, rows, 2)
	require.Equal(t, "b", rows[0].Algorithm, "in the order they come")
	require.Equal(t, []string{"it diverged"}, rows[0].Failed)
	require.Equal(t, 1, rows[0].Seeds)
	require.InDelta(t, 0.404, rows[0].Low, 1e-3, "Wilson's interval of 50 in 100")
	require.InDelta(t, 0.596, rows[0].High, 1e-3)
	a := rows[1]
	got := []float64{a.Accuracy, a.Least, a.Most, a.Steps90, a.Tokens90, a.Tokens, a.Seconds}
	require.Equal(t, []float64{0.95, 0.9, 1, 20, 10, 20, 2}, got)
	require.Equal(t, []int{2, 2}, []int{a.Seeds, a.Reached})
}
