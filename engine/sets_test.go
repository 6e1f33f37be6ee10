package engine

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// drawSet draws a set that holds an id: few others, far ones, or a dense beginning of a vocabulary.
func drawSet(t *rapid.T, id int32) []int32 {
	var set []int32
	if rapid.Bool().Draw(t, "dense") {
		for v := range int32(rapid.IntRange(0, 400).Draw(t, "vocabulary")) {
			if rapid.IntRange(0, 3).Draw(t, "in") > 0 {
				set = append(set, v)
			}
		}
	} else {
		set = rapid.SliceOfN(rapid.Int32Range(0, 1<<18), 0, 6).Draw(t, "few")
	}
	set = append(set, id)
	slices.Sort(set)
	return slices.Compact(set)
}

// Sets come back as they were, each token's its own, tool output between them or not; they take less than a list or a bit for each id
// would, and a set of one a byte. Bytes that are cut off, are too many, or are for other tokens are refused.
func TestSetsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := NewTrajectory(1, []int32{1, 2})
		var want [][]int32
		for range rapid.IntRange(1, 12).Draw(t, "tokens") {
			id := rapid.Int32Range(0, 1<<18).Draw(t, "id")
			set, before := drawSet(t, id), len(tr.sets)
			tr.SampleOf(set, id, -1)
			took := len(tr.sets) - before
			require.LessOrEqual(t, took, 5+min(3*len(set), int(set[len(set)-1])/8+1), "%v", set)
			if len(set) == 1 {
				require.Equal(t, 1, took)
			}
			want = append(want, set)
			if rapid.IntRange(0, 3).Draw(t, "call") == 0 {
				tr.Calls = append(tr.Calls, Call{})
				tr.Observe(len(tr.Calls)-1, make([]int32, 3))
			}
		}
		var got [][]int32
		for set := range tr.Sets() {
			got = append(got, slices.Clone(set))
		}
		require.Equal(t, want, got)
		require.True(t, tr.HasSets())

		again, b := *tr, tr.SetBytes()
		again.sets = nil
		require.NoError(t, again.UseSets(b))
		require.Error(t, again.UseSets(append(slices.Clone(b), 0)))
		if cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); cut > 0 {
			require.Error(t, again.UseSets(b[:cut]))
		}
		require.NoError(t, again.UseSets(nil))
		require.False(t, again.HasSets())
		_ = again.UseSets(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "noise")) // accepted or refused, nothing worse
		for range again.Sets() {
		}
	})
	require.Error(t, CheckSets([]byte{2, 7}, []int32{7}), "the token itself stands in no set")
}

// Truncated rollouts draw what they draw without sets, and record of each token what it was drawn from: no more ids than top-k, the token
// among them. A training forward over the sets gives their log-probabilities bit for bit; a set of one has probability 1.
func TestTruncatedRolloutsRecordTheirSets(t *testing.T) {
	b := newBench(t, 4)
	rapid.Check(t, func(rt *rapid.T) {
		groups := randomGroups(rt)
		s := Sampling{Seed: 7, Temperature: rapid.SampledFrom([]float32{0.8, 1}).Draw(rt, "temperature"),
			TopP: rapid.SampledFrom([]float32{0.5, 0.9, 1}).Draw(rt, "top-p"), TopK: rapid.IntRange(2, 12).Draw(rt, "top-k"),
			MinP: rapid.SampledFrom([]float32{0, 0.1}).Draw(rt, "min-p")}
		plain := b.rolled(t, s, groups)
		s.Sets = true
		for i, tr := range b.rolled(t, s, groups) {
			require.False(t, plain[i].HasSets())
			require.Equal(t, plain[i].Len(), tr.Len())
			got := b.logProbs(t, tr, s.Temperature)
			next := pull(tr)
			for j, k := range tr.Tokens() {
				require.Equal(t, plain[i].Tokens()[j].ID, k.ID)
				if k.Source != Policy {
					continue
				}
				set := next()
				require.LessOrEqual(t, len(set), s.TopK)
				require.Contains(t, set, k.ID)
				require.Equal(t, k.LogProb, got[j], "token %d of %d", j, tr.Len())
				require.GreaterOrEqual(t, k.LogProb, plain[i].Tokens()[j].LogProb)
				if len(set) == 1 {
					require.Zero(t, k.LogProb)
				}
			}
			require.Nil(t, next())
		}
	})
}

// pull is the sets one by one; nil when there are no more.
func pull(tr *Trajectory) (next func() []int32) {
	var all [][]int32
	for set := range tr.Sets() {
		all = append(all, slices.Clone(set))
	}
	return func() []int32 {
		if len(all) == 0 {
			return nil
		}
		set := all[0]
		all = all[1:]
		return set
	}
}

// rolled is the trajectories of groups.
func (b *bench) rolled(t testing.TB, s Sampling, groups []Group) []*Trajectory {
	e, err := New(b.model, testConfig(), few{b.tok}, []int32{testEOS}, b.proto, upper{time.Microsecond}, len(groups)*8)
	require.NoError(t, err)
	defer e.Close()
	trs, err := e.Rollouts(context.Background(), groups, s)
	require.NoError(t, err)
	return trs
}
