package trainer

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine"
)

// However episodes are packed and whatever tools wrote into them, a row has the set that its token was drawn from; one of an episode
// without sets has none.
func TestSetsFollowTheirTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var eps []*Episode
		want := map[*Step][]int32{}
		for i := range rapid.IntRange(1, 6).Draw(t, "episodes") {
			tr := engine.NewTrajectory(int64(i), []int32{1, 2})
			sets := rapid.Bool().Draw(t, "sets")
			var drawn [][]int32
			for range rapid.IntRange(0, 8).Draw(t, "steps") {
				id := rapid.Int32Range(0, 50).Draw(t, "id")
				set := append(rapid.SliceOfN(rapid.Int32Range(0, 50), 0, 5).Draw(t, "set"), id)
				slices.Sort(set)
				set = slices.Compact(set)
				if sets {
					tr.SampleOf(set, id, -1)
				} else {
					tr.Sample(id, -1)
					set = nil
				}
				drawn = append(drawn, set)
				if n := rapid.IntRange(0, 9).Draw(t, "tool"); n > 5 {
					tr.Calls = append(tr.Calls, engine.Call{})
					tr.Observe(len(tr.Calls)-1, make([]int32, n))
				}
			}
			e := NewEpisode(tr, &Problem{}, 0)
			for j := range e.Steps {
				want[&e.Steps[j]] = drawn[j]
			}
			eps = append(eps, e)
		}
		rows := 0
		for _, b := range Pack(eps, rapid.IntRange(1, 200).Draw(t, "tokens"), 1) {
			require.Len(t, b.Sets.Starts, len(b.Rows)+1)
			r := 0
			for _, e := range b.Episodes {
				for j := range e.Steps {
					set := b.Sets.IDs[b.Sets.Starts[r]:b.Sets.Starts[r+1]]
					require.Equal(t, e.Steps[j].ID, b.Target[r])
					require.True(t, slices.Equal(want[&e.Steps[j]], set), "%v, want %v", set, want[&e.Steps[j]])
					r++
					rows++
				}
			}
		}
		require.Equal(t, predictions(eps), rows)
	})
}

// The reference is asked over the same sets: where it is the policy, their log-probabilities are one, bit for bit; and what training says
// of the rollout's tokens is what the rollout said. Over no set, it is not.
func TestReferenceIsOverTheSameSets(t *testing.T) {
	l := newLab(t, func(c *Config) { c.RL.TopP, c.RL.KL = 0.6, 0.1 })
	require.NoError(t, l.ref.CopyFrom(l.policy))
	p := NewPPO(l.cfg, NewRanks(nil, 1), l.dev, l.policy, nil, l.ref, l.engine, l, l.tok.Bytes)
	t.Cleanup(p.Close)
	eps, err := p.Sample(context.Background(), 0, slices.Repeat(l.data.Train, 4))
	require.NoError(t, err)
	s := newStats(p)
	require.NoError(t, p.score(eps, 0, s))
	s.scored(eps)
	require.Zero(t, s.Difference)
	require.Equal(t, predictions(eps), s.Checked)
	for _, e := range eps {
		require.True(t, e.HasSets())
		for _, step := range e.Steps {
			require.Equal(t, step.LogProb, step.Ref)
		}
	}
	p.rows.sets = false
	require.NoError(t, p.score(eps, 0, s))
	s.scored(eps)
	require.Greater(t, s.Difference, 0.1, "the whole vocabulary is another distribution")
}
