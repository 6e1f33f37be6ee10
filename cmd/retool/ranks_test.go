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
