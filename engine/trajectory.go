package engine

import (
	"fmt"
	"time"
)

// Source says who wrote a token. The loss sees Policy tokens only.
type Source uint8

const (
	Prompt Source = iota
	Policy        // sampled from the model
	Tool          // appended by the runtime: the reply to a call, its template included
)

func (s Source) String() string { return [...]string{"prompt", "policy", "tool"}[s] }

// Token is a token id with its provenance. Version is that of the weights it was drawn from. LogProb is the natural logarithm of the
// probability it was sampled with, at the rollout's temperature: among the ids of its set where the trajectory has sets, else before any
// truncation; 0 unless Source is Policy.
type Token struct {
	ID      int32
	Source  Source
	LogProb float32
	Version int32
}

// Finish is why a trajectory ended.
type Finish uint8

const (
	Running Finish = iota
	Answer         // the model sampled the end of text
	Turns          // it closed a call in its last allowed turn
	Length         // it used up its tokens, in all or in one turn
	Context        // a reply would not have fitted
	Lost           // no interpreter could be had: not the model's doing, so kept out of loss and baselines
)

func (f Finish) String() string {
	return [...]string{"running", "answer", "turns", "length", "context", "sandbox_error"}[f]
}

// Call is one request to run code, and what came of it. From and To delimit the tokens of the turn that made it, from the one
// in which the code's tag opens to the one that closed it; ReplyFrom and ReplyTo those of the reply (equal when none was appended).
type Call struct {
	Code               string
	From, To           int
	ReplyFrom, ReplyTo int
	Prefilled          int // tokens fed to the model for the reply; eviction apart, ReplyTo − ReplyFrom
	Result             Result
	Wait               time.Duration // from the pause to the resume
}

// Trajectory is one prompt and one response. It grows by Sample and Observe only, so every token has been produced exactly once,
// and nothing is tokenised twice. Rollouts is its only writer; after it returns nobody writes.
type Trajectory struct {
	Key       int64 // unique in a run; with the seed and the position it determines every draw
	Prompt    int   // number of prompt tokens
	Calls     []Call
	Finish    Finish
	Err       error // of Lost: why
	Overshoot int   // replies that could not continue the bytes a closing token carried beyond the tag
	Evicted   int   // times its pages were taken

	tokens []Token
	sets   []byte // of the policy's tokens: see sets.go
}

// NewTrajectory begins a trajectory with its prompt.
func NewTrajectory(key int64, prompt []int32) *Trajectory {
	t := &Trajectory{Key: key, Prompt: len(prompt), tokens: make([]Token, 0, len(prompt)+64)}
	for _, id := range prompt {
		t.tokens = append(t.tokens, Token{ID: id})
	}
	return t
}

// Tokens is the trajectory so far; the caller must not change it.
func (t *Trajectory) Tokens() []Token { return t.tokens }

// Len is the number of tokens.
func (t *Trajectory) Len() int { return len(t.tokens) }

// Sample appends a token the policy chose.
func (t *Trajectory) Sample(id int32, logProb float32) {
	t.tokens = append(t.tokens, Token{ID: id, Source: Policy, LogProb: logProb})
}

// SampleOf is Sample of a token that was drawn from a set of ids, ascending. All of a trajectory's are, or none.
func (t *Trajectory) SampleOf(set []int32, id int32, logProb float32) {
	t.Sample(id, logProb)
	t.sets = appendSet(t.sets, id, set)
}

// Observe appends the reply to call c.
func (t *Trajectory) Observe(c int, ids []int32) {
	if c != len(t.Calls)-1 {
		panic(fmt.Sprintf("engine: reply to call %d of %d: only the last can be answered", c, len(t.Calls)))
	}
	t.Calls[c].ReplyFrom = len(t.tokens)
	for _, id := range ids {
		t.tokens = append(t.tokens, Token{ID: id, Source: Tool})
	}
	t.Calls[c].ReplyTo = len(t.tokens)
}

// Count is the number of tokens of one source.
func (t *Trajectory) Count(s Source) int {
	n := 0
	for _, k := range t.tokens {
		if k.Source == s {
			n++
		}
	}
	return n
}
