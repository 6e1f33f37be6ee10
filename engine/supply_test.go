package engine

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Groups that come one by one, as there is room for them, end as those that are all there; and no more are in flight than asked.
func TestGroupsOnDemandEndAlike(t *testing.T) {
	b := newBench(t, 9)
	rapid.Check(t, func(r *rapid.T) {
		groups := randomGroups(r)
		cfg := testConfig()
		want, _ := b.rollouts(t, cfg, upper{time.Millisecond}, groups)
		cfg.Pages = rapid.IntRange(6, 40).Draw(r, "pages")
		e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, upper{time.Millisecond}, 1)
		require.NoError(t, err)
		defer e.Close()
		most := rapid.IntRange(0, 6).Draw(r, "most")
		given, steps := 0, 0
		done, all := 0, 0
		e.Progress = func(d, a int) { done, all = d, a }
		got, err := e.RolloutsFrom(context.Background(), Supply{
			Next: func() (Group, bool, error) {
				if given == len(groups) {
					return Group{}, false, nil
				}
				given++
				return groups[given-1], true, nil
			},
			Most: most, All: 1000,
			Step: func(done, live int) {
				steps++
				if most > 0 {
					require.LessOrEqual(t, live, most+3, "a group has 1 to 4: the next may be larger than the last")
				}
			},
		}, Sampling{Seed: 7, Temperature: 1, TopP: 1})
		require.NoError(t, err)
		require.Positive(t, steps)
		require.Equal(t, [2]int{len(want), len(want)}, [2]int{done, all}, "the others were others' to take")
		requireSame(r, want, got)
		require.Equal(t, e.Pages()-1, len(e.pages.free))
	})
	cfg := testConfig()
	e, err := New(b.model, cfg, few{b.tok}, []int32{testEOS}, b.proto, upper{}, 1)
	require.NoError(t, err)
	defer e.Close()
	late := Supply{Next: func() (Group, bool, error) { return Group{}, false, context.DeadlineExceeded }}
	_, err = e.RolloutsFrom(context.Background(), late, Sampling{Temperature: 1, TopP: 1})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// What one process sends another, it has; and what was cut off is no trajectory.
func TestTrajectoriesTravel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var trs []*Trajectory
		for i := range rapid.IntRange(0, 4).Draw(t, "trajectories") {
			tr := NewTrajectory(int64(i)<<40, rapid.SliceOf(rapid.Int32()).Draw(t, "prompt"))
			versions := rapid.SliceOfN(rapid.Int32Range(3, 4), 1, 2).Draw(t, "versions")
			for range rapid.IntRange(0, 3).Draw(t, "turns") {
				for range rapid.IntRange(0, 5).Draw(t, "sampled") {
					id, logp := rapid.Int32Min(0).Draw(t, "id"), math.Float32frombits(rapid.Uint32().Draw(t, "log-probability")&0x7f7fffff)
					if i%2 == 1 {
						tr.SampleOf(drawSet(t, id), id, logp)
					} else {
						tr.Sample(id, logp)
					}
					tr.tokens[len(tr.tokens)-1].Version = versions[len(tr.tokens)%len(versions)]
				}
				tr.Calls = append(tr.Calls, Call{Code: rapid.String().Draw(t, "code"), To: tr.Len(), Result: Result{Status: "ok", CPU: time.Second},
					Wait: time.Duration(rapid.Int64().Draw(t, "wait"))})
				tr.Observe(len(tr.Calls)-1, rapid.SliceOf(rapid.Int32()).Draw(t, "reply"))
			}
			tr.Finish = Finish(rapid.IntRange(0, int(Lost)).Draw(t, "finish"))
			if tr.Finish == Lost {
				tr.Err = errors.New("no interpreter")
			}
			trs = append(trs, tr)
		}
		head := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		b, err := AppendTrajectories(head, trs)
		require.NoError(t, err)
		b = b[len(head):]
		got, err := ReadTrajectories(b)
		require.NoError(t, err)
		require.Equal(t, len(trs), len(got))
		for i := range trs {
			require.Equal(t, trs[i].Err, got[i].Err)
			require.ElementsMatch(t, trs[i].Calls, got[i].Calls)
			require.Equal(t, trs[i].Tokens(), got[i].Tokens())
			require.Equal(t, trs[i].HasSets(), got[i].HasSets())
			a, c := *trs[i], *got[i]
			require.Equal(t, string(a.sets), string(c.sets))
			a.Calls, c.Calls, a.tokens, c.tokens, a.sets, c.sets = nil, nil, nil, nil, nil, nil
			require.Equal(t, a, c)
		}
		_, err = ReadTrajectories(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		require.Error(t, err)
	})
}
