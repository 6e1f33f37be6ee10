package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine/model"
	"retool/kernels"
)

func (b *bench) stream(t testing.TB, cfg Config) *Stream {
	e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, upper{delay: time.Millisecond}, 16)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e.Stream(Sampling{Seed: 7, Temperature: 1, TopP: 1})
}

// Groups that come in while others are in flight become the trajectories that they would have been in one list.
func TestGroupsMayComeAtAnyTime(t *testing.T) {
	b := newBench(t, 1)
	rapid.Check(t, func(rt *rapid.T) {
		groups := randomGroups(rt)
		want, _ := b.rollouts(t, testConfig(), upper{}, groups)
		s := b.stream(t, testConfig())
		defer s.Engine.Close()
		byKey := map[int64]*Trajectory{}
		for len(groups) > 0 || s.Live() > 0 {
			if n := rapid.IntRange(0, 2).Draw(rt, "more"); n > 0 || s.Live() == 0 {
				n = min(max(n, 1), len(groups))
				require.NoError(t, s.Add(groups[:n]...))
				groups = groups[n:]
			}
			ended, err := s.Step(context.Background())
			require.NoError(t, err)
			for _, tr := range ended {
				require.Nil(t, byKey[tr.Key], "it ended before")
				byKey[tr.Key] = tr
			}
		}
		s.Close()
		require.Equal(t, s.Pages()-1, len(s.pages.free))
		var got []*Trajectory
		for _, tr := range want {
			got = append(got, byKey[tr.Key])
		}
		requireSame(t, want, got)
	})
}

// When the weights change under a stream, every token carries the version it was drawn from, and unless stale keys were asked for it has
// the log-probability that those weights give it.
func TestTokensCarryTheVersionOfTheirWeights(t *testing.T) {
	b := newBench(t, 1)
	groups := []Group{{Prompt: []int32{7, 8, 9}, Keys: []int64{1, 2, 3}}, {Prompt: []int32{10, 11}, Keys: []int64{4, 5}}}
	for _, keep := range []bool{false, true} {
		b.model.Init(1)
		s := b.stream(t, testConfig())
		require.NoError(t, s.Add(groups...))
		var ended []*Trajectory
		for n := 0; s.Live() > 0; n++ {
			if n == 20 {
				b.model.Init(2)
				s.NewWeights(1, keep)
			}
			more, err := s.Step(context.Background())
			require.NoError(t, err)
			ended = append(ended, more...)
		}
		require.Len(t, ended, 5)
		drawn := map[int32]int{}
		same := map[int32]bool{0: true, 1: true}
		for version, seed := range []uint64{1, 2} {
			b.model.Init(seed)
			for _, tr := range ended {
				got := b.logProbs(t, tr, 1)
				for i, k := range tr.Tokens() {
					if k.Source == Policy && k.Version == int32(version) {
						drawn[k.Version]++
						same[k.Version] = same[k.Version] && got[i] == k.LogProb
					}
				}
			}
		}
		require.Positive(t, drawn[0])
		require.Positive(t, drawn[1])
		require.True(t, same[0])
		require.Equal(t, !keep, same[1], "over stale keys the log-probability is of no weights that there are")
		if keep {
			require.Equal(t, int64(drawn[1]), s.Engine.Stats().Stale)
		} else {
			require.Zero(t, s.Engine.Stats().Stale)
			require.Positive(t, s.Engine.Stats().Recomputed)
		}
		s.Engine.Close()
	}
}

// A stream may outlive a time in which the model learns in the memory of its pages: sequences that share a prompt, pause, or wait for their
// turn feed their tokens again, and become what they would have been.
func TestWhatWasInLentPagesIsFedAgain(t *testing.T) {
	plain, b := newBench(t, 1), newBench(t, 1)
	m, err := model.New(b.dev, b.model.Config, model.Options{MaxTokens: 1024, Train: true, Lends: true})
	require.NoError(t, err)
	defer m.Close()
	m.Init(1)
	b.model = m
	rapid.Check(t, func(rt *rapid.T) {
		groups := randomGroups(rt)
		cfg := testConfig()
		cfg.Pages = 2*kernels.PagesOf(cfg.MaxTokens) + 1 // few: some are evicted besides
		want, _ := plain.rollouts(t, testConfig(), upper{}, groups)
		require.NoError(t, m.Resume())
		e, err := New(m, cfg, few{b.tok}, []int32{testEOS}, b.proto, upper{delay: time.Millisecond}, 16)
		require.NoError(t, err)
		defer e.Close()
		_, _, err = m.Step([]model.Feed{{IDs: []int32{1}, Pages: []int32{1}}}, kernels.Sampling{})
		require.ErrorContains(t, err, "learning has the memory of the cache's pages")
		require.NoError(t, m.Assemble())
		require.ErrorContains(t, m.Train(model.Inputs{}, nil), "Suspend has given back what it needs")
		s := e.Stream(Sampling{Seed: 7, Temperature: 1, TopP: 1})
		require.NoError(t, s.Add(groups...))
		byKey := map[int64]*Trajectory{}
		lost := 0
		for s.Live() > 0 {
			if rapid.IntRange(0, 15).Draw(rt, "0: learn") == 0 {
				for _, q := range s.live {
					lost += q.cached
				}
				require.NoError(t, m.Resume())
				m.ForgetGrad()
				require.NoError(t, m.SettleGrad())
				require.NoError(t, m.Assemble())
			}
			ended, err := s.Step(context.Background())
			require.NoError(t, err)
			for _, tr := range ended {
				byKey[tr.Key] = tr
			}
		}
		require.Equal(t, s.Pages()-1, len(s.pages.free))
		if lost > 0 {
			require.Positive(t, s.Engine.Stats().Recomputed)
		}
		var got []*Trajectory
		for _, tr := range want {
			got = append(got, byKey[tr.Key])
		}
		requireSame(t, want, got)
	})
}
