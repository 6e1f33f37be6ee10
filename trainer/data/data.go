package data

import "fmt"

// A Problem is one question with its ground truth.
type Problem struct {
	ID       string `json:"id"`
	Family   string `json:"family"` // what kind of problem; "" where the file does not say
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

// A Trace is a problem with a response to it. Its policy segments are what a model learns to write; its tool segments are what it
// reads. The end-of-text token is not part of the text: it follows the last segment.
type Trace struct {
	Problem  Problem
	Segments []Segment
}

// A Segment is a stretch of a response with one author. Each is tokenised by itself, as it is during a rollout.
type Segment struct {
	Text   string
	Source Source
}

// Source says who wrote a segment.
type Source int

const (
	Policy Source = iota // the model
	Tool                 // the runtime: an observation with its tags
)

func (s Source) String() string {
	switch s {
	case Policy:
		return "policy"
	case Tool:
		return "tool"
	}
	return fmt.Sprintf("Source(%d)", int(s))
}
