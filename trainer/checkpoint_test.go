package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A cursor that no run writes is refused by the name of what is wrong with it.
func TestAStateThatNoRunWritesIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"phase": "rl", "step": 2}`:               "",
		`{}`:                                       `state.json: phase is "" (known: sft, rl, done)`,
		`{"phase": "RL"}`:                          `state.json: phase is "RL"`,
		`{"phase": "sft", "step": -1}`:             "state.json: step is -1: want 0 or more",
		`{"phase": "done", "metrics_bytes": -7}`:   "state.json: metrics_bytes is -7",
		`{"phase": "done", "reference": -1}`:       "state.json: reference is -1",
		`{"phase": "rl", "step": 1.5}`:             "state.json: ",
		strings.Repeat(`{"phase": "rl", "a": `, 5): "state.json: is no JSON",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(text), 0o644))
		_, err := ReadState(dir)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "\n")
	}
}

// Folders that save does not call so are no checkpoints.
func TestCheckpointsAreCalledByTheirSteps(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"4", "12", "007", "-1", "+3", "1e3", "٣", ".partial-9", "99999999999999999999", "x"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "13"), nil, 0o644))
	require.Equal(t, []int{4, 12}, checkpoints(root))
}
