//go:build unix

package trainer

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A disk that has no more room, in earnest: the kernel writes a part of a file and refuses the rest. Nothing of what was there is lost, no
// part of a file stays, and the sentence says what could not be written.
func TestFullDiskLeavesNothingHalf(t *testing.T) {
	if os.Getenv("RETOOL_FULL_DISK") == "" {
		again(t, "RETOOL_FULL_DISK=1")
		return
	}
	dir := t.TempDir()
	way := func(c *Config) { c.RL.Steps, c.SFT.Steps, c.Checkpoint.Every = 0, 3, 1 }
	for _, shard := range []string{"optimizer", "all"} {
		run := filepath.Join(dir, shard)
		mode := func(c *Config) { c.Dist.Shard = shard }
		_, _, err := together(t, run, 2, 1, way, mode)
		require.Error(t, err)
		before, name := files(t, run), Latest(run)
		largest, size := "", 0 // the one file that meets the limit
		for name, text := range before {
			if len(text) > size {
				largest, size = filepath.Base(name), len(text)
			}
		}
		for name, text := range before {
			require.True(t, filepath.Base(name) == largest || len(text) < size-1000, name)
		}

		var old syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size - 1000), Max: old.Max}))
		_, _, err = together(t, run, 2, 0, way, mode)
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		rank := strings.TrimSuffix(strings.TrimPrefix(largest, "optimizer-00"), ".safetensors")
		require.ErrorContains(t, err, "rank "+rank)
		require.ErrorContains(t, err, largest)
		require.ErrorContains(t, err, "file too large; the checkpoints before it are intact")
		require.Equal(t, name, Latest(run))
		after := files(t, run)
		for f := range before {
			require.True(t, before[f] == after[f], "%s: %s", shard, f)
		}
		entries, err := os.ReadDir(filepath.Join(run, "checkpoints"))
		require.NoError(t, err)
		for _, e := range entries {
			require.False(t, strings.HasPrefix(e.Name(), partial), "the partial folder is gone")
		}
		s, _, err := together(t, run, 2, 0, way, mode) // room again: the run ends as one that met no limit
		require.NoError(t, err)
		whole := filepath.Join(dir, shard+"-whole")
		w, _, err := together(t, whole, 2, 0, way, mode)
		require.NoError(t, err)
		same(t, outcome(t, whole, w), outcome(t, run, s), shard)
	}
}
