package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"retool/trainer/dist"
)

func TestOrdinalFollowsTheLocalRank(t *testing.T) {
	four := func(local int) dist.ID { return dist.ID{Rank: 4 + local, Size: 8, LocalRank: local, LocalSize: 4} }
	for _, c := range []struct{ local, visible, want int }{{3, 4, 3}, {3, 8, 3}, {3, 1, 0}, {0, 4, 0}} {
		got, err := gpuOrdinal(four(c.local), c.visible)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := gpuOrdinal(four(1), 3)
	require.ErrorContains(t, err, "rank 5 is local rank 1 of 4, and this host shows 3 GPUs: want as many as local ranks, or exactly one")
	got, err := gpuOrdinal(dist.ID{Size: 1, LocalSize: 1}, 8)
	require.NoError(t, err)
	require.Zero(t, got)
}

// Two ranks whose large files have one size, and differ in one byte of a middle block, are refused, and the file is named; a copy, read by
// another number of threads, is the same file.
func TestRanksCompareWhatLargeFilesHold(t *testing.T) {
	const small = 1 << 20
	listed := func(threads int, at int64) string {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "model.safetensors"))
		require.NoError(t, err)
		require.NoError(t, f.Truncate(3*fileBlock+5))
		_, err = f.WriteAt([]byte{1}, at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644))
		text, err := listFiles(small, threads, [2]string{"model.path", dir}, [2]string{"data.test", ""})
		require.NoError(t, err)
		return text
	}
	const middle = fileBlock + fileBlock/2
	texts := []string{listed(1, middle), listed(3, middle+1)}
	require.Equal(t, texts[0], listed(3, middle))
	require.NotEqual(t, texts[0], listed(1, 3*fileBlock+4))
	dir := t.TempDir()
	var wait sync.WaitGroup
	for r, text := range texts {
		wait.Go(func() {
			_, _, err := dist.Join(t.Context(), dist.ID{Rank: r, Size: 2, LocalSize: 2, Job: "1"}, dist.Options{
				Dir: dir, Wait: 20 * time.Second, Log: func(string) {}, Same: []dist.Fact{{Name: "files", Text: text}},
			})
			if err == nil || !strings.Contains(err.Error(), `files: rank 0 (`) ||
				!strings.Contains(err.Error(), `"model.path model.safetensors: 12582917 bytes, blocks `) {
				t.Errorf("rank %d: %v", r, err)
			}
		})
	}
	wait.Wait()
}
