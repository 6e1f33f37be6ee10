package kernels

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Operations of random cost, by a caller that is now faster with help, now alone: after a worker was late, it soon works in the better way,
// stays there but for trials, and goes back to untimed help where that is better.
func TestCompanyFollowsTheFasterWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c company
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		clock := time.Unix(1e9, 0)
		now := func() time.Time { return clock }
		speed := [2]float64{1, 1} // of work by estimate, with help and alone
		run := func(most time.Duration) (alone float64) {
			begin, spent := clock, time.Duration(0)
			for clock.Sub(begin) < most {
				cost := 1e5 + random.IntN(3e6)
				mode := 0
				if c.alone {
					mode = 1
				}
				took := time.Duration(float64(cost) / speed[mode])
				clock = clock.Add(took)
				if c.alone {
					spent += took
				}
				if c.watching {
					c.add(cost, took, now)
				} else {
					c.late(clock) // in any case: the trials must be rare by themselves
				}
			}
			return float64(spent) / float64(clock.Sub(begin))
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			better := rapid.IntRange(0, 1).Draw(t, "alone is better")
			speed[better], speed[1-better] = 2, rapid.Float64Range(0.5, 1.6).Draw(t, "the worse")
			run(holdMost + time.Second) // a hold may have to end first
			alone := run(4 * time.Second)
			if better == 0 {
				require.Less(t, alone, 0.1)
			} else {
				require.Greater(t, alone, 0.85)
			}
		}
	})
	var c company
	c.late(time.Unix(1, 0))
	require.True(t, c.watching && !c.alone, "a trial begins with help")
}
