package trainer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
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

// A checkpoint knows what it was written with: whatever of its small files is changed later, taken away or put beside them is named, and
// nothing else; a copy, an export without the state, and a checkpoint of before say nothing.
func TestACheckpointKnowsWhatItWasWrittenWith(t *testing.T) {
	files := []string{"tokenizer.json", "config.json", "config.yaml", "adapter/adapter_config.json"}
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		write := func(name, text string) {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		for _, name := range append(files, "model.safetensors") {
			write(name, "was")
		}
		known, err := digests(dir)
		require.NoError(t, err)
		require.ElementsMatch(t, files, slices.Collect(maps.Keys(known)))
		read := []string{"tokenizer.json", "chat_template.jinja"}
		require.Empty(t, Altered(dir, read), "no state: no checkpoint")
		text, err := json.Marshal(State{Phase: "rl", Files: known})
		require.NoError(t, err)
		write("state.json", string(text))
		write("keep", "")
		write("model.safetensors", "is")
		require.Empty(t, Altered(dir, read))
		var want []string
		for _, name := range files {
			switch rapid.SampledFrom([]string{"", "", "edit", "remove", "touch"}).Draw(rt, name) {
			case "edit":
				write(name, "is")
				want = append(want, name+" holds something else (SHA-256 ")
			case "remove":
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
				want = append(want, name+" is gone")
			case "touch":
				write(name, "was")
			}
		}
		if rapid.Bool().Draw(rt, "new") {
			write("chat_template.jinja", "is")
			want = append(want, "chat_template.jinja is new")
		}
		said := Altered(dir, read)
		for _, part := range want {
			require.Contains(t, said, part)
		}
		require.Equal(t, len(want) > 0, said != "", said)
		if said != "" {
			require.Equal(t, len(want)-1, strings.Count(said, ", ")-strings.Count(said, ", now "), said)
		}
		write("state.json", `{"phase": "rl"}`)
		require.Empty(t, Altered(dir, read), "a checkpoint of before")
	})
}
