package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A wave is the longest beginning of those that are ready which has room, and all of them where that is shorter than it is worth.
func TestWaveIsTheOldestThatHaveRoom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var live []*sequence
		var lengths []int // of those that are ready
		for range rapid.IntRange(0, 30).Draw(rt, "sequences") {
			q := &sequence{state: rapid.SampledFrom([]state{waiting, ready, ready, paused}).Draw(rt, "state")}
			q.ids = make([]int32, rapid.IntRange(1, 50).Draw(rt, "tokens"))
			if live = append(live, q); q.state == ready {
				lengths = append(lengths, len(q.ids))
			}
		}
		w := wave{rapid.IntRange(0, 4000).Draw(rt, "room"), rapid.IntRange(1, 4).Draw(rt, "bytes"), rapid.IntRange(0, 10).Draw(rt, "least")}
		n := w.of(live)
		sum := func(n int) (bytes int) {
			for _, k := range lengths[:n] {
				bytes += k * w.token
			}
			return bytes
		}
		switch {
		case n < len(lengths):
			require.GreaterOrEqual(t, n, w.least)
			require.LessOrEqual(t, sum(n), w.room)
			require.Greater(t, sum(n+1), w.room)
		case w.room > 0 && sum(len(lengths)) > w.room: // all advance though they have no room: fewer than are worth it would
			require.Greater(t, sum(min(w.least, len(lengths))), w.room)
		}
	})
}

func TestWavesArePlannedWhereWeightsAreSmall(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		cache, weights, token int
		room                  int
	}{
		{48 * mib, 3 * mib, 4096, 13 * mib},
		{48 * mib, 8 * mib, 4096, 8 * mib},
		{48 * mib, 9 * mib, 4096, 0}, // weights would be the most of what a wave reads
		{32 * mib, 21 * mib, 12288, 0},
		{0, 3 * mib, 4096, 0}, // nobody knows the cache, or the device has none of this kind
	} {
		require.Equal(t, c.room, newWave(c.cache, c.weights, c.token).room, "%+v", c)
	}
}
