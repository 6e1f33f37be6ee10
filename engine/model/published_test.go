package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Configurations as published, cut to the keys that matter: what would be another model is refused in one sentence that names file, key and
// what was found; what is one of ours is read.
func TestPublishedConfigurations(t *testing.T) {
	text, err := os.ReadFile("testdata/published.json")
	require.NoError(t, err)
	var cases []struct {
		Name, Want string
		Config     json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	refused := 0
	for _, c := range cases {
		dir := t.TempDir()
		path := filepath.Join(dir, configFile)
		require.NoError(t, os.WriteFile(path, c.Config, 0o644))
		_, err := ReadConfig(dir)
		if c.Want == "" {
			require.NoError(t, err, c.Name)
			continue
		}
		refused++
		require.ErrorContains(t, err, c.Want, c.Name)
		require.True(t, strings.HasPrefix(err.Error(), "model: "+path+": "), "%s: %v", c.Name, err)
		require.NotContains(t, err.Error(), "\n", c.Name)
	}
	require.GreaterOrEqual(t, refused, 25)
}
