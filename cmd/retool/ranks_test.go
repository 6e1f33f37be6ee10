package main

import (
	"testing"

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

// Ranks that may use the same cores of a host share them; one that was bound to cores of its own has those.
func TestCoresAreShared(t *testing.T) {
	all := []dist.Member{{Host: "a", Affinity: "0-7"}, {Host: "a", Affinity: "0-7"}, {Host: "b", Affinity: "0-7"},
		{Host: "a", Affinity: "8-11"}}
	require.Equal(t, 4, shareOf(8, all, 0))
	require.Equal(t, 8, shareOf(8, all, 2))
	require.Equal(t, 4, shareOf(4, all, 3))
	require.Equal(t, 1, shareOf(1, all, 0))
}
