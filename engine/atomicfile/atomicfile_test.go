package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A disk that fills up after half a file costs the new file, not the old one, and leaves nothing behind.
func TestFullDiskLosesNothing(t *testing.T) {
	full, dir := errors.New("no space left on device"), t.TempDir()
	path := filepath.Join(dir, "w")
	require.NoError(t, WriteBytes(path, []byte("whole")))
	require.ErrorIs(t, Write(path, func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		require.NoError(t, err)
		return full
	}), full)
	there := func(want string) {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	}
	there("whole")
	require.NoError(t, WriteBytes(path, []byte("new")))
	there("new")
	require.Error(t, WriteBytes(filepath.Join(dir, "none", "w"), nil), "a folder that is not there")
}
