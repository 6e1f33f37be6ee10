package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// patched lays change over file as RFC 7386 does, but for null, which stays a value.
func patched(file, change any) any {
	f, ok := file.(map[string]any)
	c, changes := change.(map[string]any)
	if !ok || !changes {
		return change
	}
	out := map[string]any{}
	for k, v := range f {
		out[k] = v
	}
	for k, v := range c {
		if k == "model" { // of the others, each is a pipeline of its own
			v = patched(out[k], v)
		}
		out[k] = v
	}
	return out
}

// Tokenizers as published, cut to their pipelines over one small vocabulary: what this package does not reproduce is refused in one
// sentence that names file, part and kind; what it does opens.
func TestPublishedPipelines(t *testing.T) {
	text, err := os.ReadFile("testdata/published.json")
	require.NoError(t, err)
	var cases []struct {
		Name, Want string
		Base       bool
		File       any
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	var base any
	require.NoError(t, json.Unmarshal(fixture(t, "gpt2"), &base))
	refused := 0
	for _, c := range cases {
		file := c.File
		if c.Base {
			file = patched(base, file)
		}
		data, err := json.Marshal(file)
		require.NoError(t, err)
		dir := t.TempDir()
		path := filepath.Join(dir, tokenizerFile)
		require.NoError(t, os.WriteFile(path, data, 0o644))
		tok, err := Open(dir)
		if c.Want == "" {
			require.NoError(t, err, c.Name)
			require.Equal(t, "It's 12 naïve words", tok.Decode(tok.Encode("It's 12 naïve words")), c.Name)
			continue
		}
		refused++
		require.ErrorContains(t, err, c.Want, c.Name)
		require.True(t, strings.HasPrefix(err.Error(), "tokenizer: "+path+": "), "%s: %v", c.Name, err)
		require.NotContains(t, err.Error(), "\n", c.Name)
	}
	require.GreaterOrEqual(t, refused, 25)
}
