package trainer

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// sharing is a lab whose algorithm compares groups, with everything that a run must remember: fresh prompts, a reference that moves.
func sharing(c *Config) {
	c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.Steps, c.RL.Resample = "dapo", 4, 8, 9, 3
	c.RL.KL, c.RL.KLRefresh, c.RL.LR = 0.01, 2, 2e-3
	c.Eval.Every, c.Checkpoint.Every, c.Checkpoint.Keep = 4, 3, 1
}

// A run that is stopped at random moments, in the middle of a rollout or of an update as between steps, ends in the bits of one that is
// not: the prompts that replaced others, and the references that replaced others, are the same.
func TestResampledRunsResumeInTheSameBits(t *testing.T) {
	whole := t.TempDir()
	l := newLab(t, sharing)
	run, heard := l.run(whole)
	end, err := run.Train(context.Background())
	require.NoError(t, err)
	require.Positive(t, end.Fresh, "groups were replaced")
	require.Equal(t, l.cfg.SFT.Steps+8, end.Reference, "the last of every second step")
	fresh, tokens := 0, int64(0)
	for _, m := range heard.steps[l.cfg.SFT.Steps:] {
		fresh, tokens = fresh+m.Resampled, tokens+m.ResampledIn
	}
	require.Equal(t, end.Fresh, fresh)
	require.Positive(t, tokens, "what they cost is counted")

	rng := rand.New(rand.NewPCG(3, 4))
	for range 3 {
		parts := t.TempDir()
		var state *State
		for tries := 0; state == nil; tries++ {
			require.Less(t, tries, 60)
			l := newLab(t, sharing)
			run, heard := l.run(parts)
			ctx, cancel := context.WithCancel(context.Background())
			left := rng.IntN(9)
			heard.stop = func() {
				if left--; left < 0 {
					cancel()
				}
			}
			l.engine.Progress = func(done, all int) { // among the rollouts of a step or of an evaluation
				if left == 0 && rng.IntN(8) == 0 {
					cancel()
				}
			}
			state, err = run.Train(ctx)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				state = nil
			}
			cancel()
		}
		require.Equal(t, files(t, whole), files(t, parts))
		require.Equal(t, end.Fresh, state.Fresh)
		require.Equal(t, end.Reference, state.Reference)
	}
}

// Groups that teach nothing are replaced by the next prompts of the run's sequence; every trajectory is recorded and counts in the
// averages, and none of those left out is learnt from.
func TestFlatGroupsAreReplaced(t *testing.T) {
	l := newLab(t, func(c *Config) { sharing(c); c.RL.Resample, c.RL.KL = 5, 0 })
	p := l.ppo(t)
	s := newStats(p)
	at := 0
	next := func(n int) (out []*Problem) {
		for range n {
			out = append(out, &Problem{ID: l.data.Train[at%4].ID, Question: l.data.Train[at%4].Question, Answer: l.data.Train[at%4].Answer})
			at++
		}
		return out
	}
	eps, use, err := p.collect(context.Background(), 0, next(4), next, s)
	require.NoError(t, err)
	require.Equal(t, 4+s.Resampled, at)
	require.Len(t, eps, at*8)
	require.Empty(t, flatGroups(use, 0))
	require.Equal(t, 4-s.Flat, taught(use))
	require.LessOrEqual(t, taught(use), 4)
	keys, groups, sampled, used := map[int64]bool{}, map[int]*Problem{}, int64(0), int64(0)
	for _, e := range eps {
		require.False(t, keys[e.Key], "a draw is nobody else's")
		keys[e.Key] = true
		if q := groups[e.Group]; q != nil {
			require.Same(t, q, e.Problem, "a group has one prompt")
		}
		groups[e.Group] = e.Problem
		sampled += int64(len(e.Steps))
	}
	require.Len(t, groups, at)
	for _, e := range use {
		used += int64(len(e.Steps))
	}
	require.Equal(t, sampled-used, s.ResampledIn)

	// Without an end to flat groups the bound ends the search, and the step says so.
	wrong := func(n int) (out []*Problem) {
		for range n {
			out = append(out, &Problem{Question: "a?", Answer: "none of the letters"})
		}
		return out
	}
	s = newStats(p)
	_, use, err = p.collect(context.Background(), 0, wrong(4), wrong, s)
	require.NoError(t, err)
	require.Empty(t, use)
	require.Equal(t, 4, s.Flat)
	require.Equal(t, 20, s.Resampled)
	s.rolledOut(nil)
	require.NoError(t, p.Learn(use, 0, s), "a step without anything to learn from is a step")
	require.Zero(t, p.policy.Updates())
	var notes []string
	var w watch
	w.step(s, func(text string) { notes = append(notes, text) })
	w.step(s, func(text string) { notes = append(notes, text) })
	require.Len(t, notes, 1, "once, not every step")
	require.Contains(t, notes[0], "the rewards of 4 of 0 groups are equal")
}

// The watch names what makes a run learn nothing or lose its way, when it begins, and again when it begins again.
func TestTheWatchSaysWhy(t *testing.T) {
	step := func(edit func(*Stats)) *Stats {
		s := &Stats{updates: 1, entropyWeight: 1, Episodes: []*Episode{{Group: 0}, {Group: 1}}}
		s.Entropy, s.Accuracy = 1, 0.5
		edit(s)
		return s
	}
	for want, edit := range map[string]func(*Stats){
		"the rewards of 2 of 2 groups are equal":     func(s *Stats) { s.Flat = 2 },
		"rl.filter left out 3 trajectories":          func(s *Stats) { s.Filtered, s.updates = trace.Filtered{VoidTurns: 3}, 0 },
		"entropy fell from 1 to 0.001 nats":          func(s *Stats) { s.Entropy = 0.001 },
		"the ratio of 60 % of tokens was clipped":    func(s *Stats) { s.Clip = 0.6 },
		"the policy moved 2 nats a token away":       func(s *Stats) { s.KL = 2 },
		"want rl.entropy, a higher rl.clip_high":     func(s *Stats) { s.Entropy = 0.001 },
		"want easier or harder prompts, a larger rl": func(s *Stats) { s.Flat = 2 },
	} {
		var notes []string
		var w watch
		for _, e := range []func(*Stats){func(*Stats) {}, edit, edit, func(*Stats) {}, edit} {
			w.step(step(e), func(text string) { notes = append(notes, text) })
		}
		require.Len(t, notes, 2, want)
		require.Contains(t, notes[0], want)
	}
}

// A run says how far the search for groups that teach is, after each round, and how far an update is: never backwards, and each update
// to its end.
func TestRunTellsHowFarAStepIs(t *testing.T) {
	l := newLab(t, func(c *Config) { sharing(c); c.RL.Steps = 4 })
	run, heard := l.run(t.TempDir())
	var rounds, updates, last int
	run.Progress = func(what, unit string, done, all int) {
		require.GreaterOrEqual(t, done, 0)
		require.LessOrEqual(t, done, all, what)
		switch what {
		case "resample":
			require.Equal(t, l.cfg.RL.Prompts, all)
			rounds++
		case "update":
			require.GreaterOrEqual(t, done, last)
			if last = done; done == all {
				updates, last = updates+1, 0
			}
		default:
			t.Fatalf("%s of %s", what, unit)
		}
	}
	_, err := run.Train(context.Background())
	require.NoError(t, err)
	require.Zero(t, last)
	require.Positive(t, updates)
	require.LessOrEqual(t, updates, l.cfg.RL.Steps)
	require.Len(t, heard.steps, l.cfg.SFT.Steps+l.cfg.RL.Steps)
	require.Greater(t, rounds, l.cfg.RL.Steps, "some step took more than one round")
}
