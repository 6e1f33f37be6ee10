package trainer

import (
	"math"

	"retool/engine"
	"retool/trainer/data"
	"retool/trainer/trace"
)

// Problem is a question with its ground truth.
type Problem = data.Problem

// Step is one token that the policy chose, with everything training learns about it. Index is its place in the trajectory.
type Step struct {
	Index     int32
	ID        int32
	LogProb   float32 // of the rollout
	Ref       float32 // log-probability under the policy that RL began with; only with rl.kl
	Value     float32
	Reward    float32 // beside the episode's, which falls on the last step: the penalty of rl.kl_in reward
	Advantage float32
	Return    float32

	// What weigh says of the step in one minibatch.
	Share   float32 // weight of its loss, in means of a token
	Held    bool    // its advantage does not count
	Stay    float32 // weight of |ln ratio|, in means of a token
	Imitate float32 // weight of −log π, likewise
}

// Episode is a graded trajectory. Its Steps follow one another whatever tool output lay between them.
type Episode struct {
	*engine.Trajectory
	Problem *Problem
	Group   int // episodes of one prompt share it
	Steps   []Step
	Grade   Grade
	Reward  float32 // the one that trains
	// Difference is the largest |rollout − training log-probability| of its steps, NaN while not measured.
	Difference float32
}

// NewEpisode lists the policy's tokens of a trajectory.
func NewEpisode(t *engine.Trajectory, p *Problem, group int) *Episode {
	e := &Episode{Trajectory: t, Problem: p, Group: group, Difference: float32(math.NaN())}
	for i, k := range t.Tokens() {
		if k.Source == engine.Policy {
			e.Steps = append(e.Steps, Step{Index: int32(i), ID: k.ID, LogProb: k.LogProb, Share: 1})
		}
	}
	return e
}

// total is the reward with those of its steps.
func (e *Episode) total() float64 {
	r := float64(e.Reward)
	for _, s := range e.Steps {
		r += float64(s.Reward)
	}
	return r
}

// Trains reports whether the episode belongs into loss and baselines: not when the sandbox lost it or the verifier gave up.
func (e *Episode) Trains() bool { return e.Finish != engine.Lost && e.Grade.Outcome != VerifierError }

// Record is what the episode leaves on disk.
func (e *Episode) Record(step int, phase string, v trace.Vocabulary) trace.Record {
	r := trace.Of(e.Trajectory, v)
	r.Step, r.Phase = step, phase
	r.Problem, r.Family, r.Question, r.Truth = e.Problem.ID, e.Problem.Family, e.Problem.Question, e.Problem.Answer
	e.Grade.Into(&r)
	r.Reward = e.Reward
	for _, s := range e.Steps {
		r.Advantage += s.Advantage / float32(len(e.Steps))
	}
	if d := e.Difference; d == d {
		r.Difference = d
	}
	return r
}
