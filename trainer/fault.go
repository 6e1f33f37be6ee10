package trainer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
)

// fault is where an update's numbers were first not finite, as one rank found it.
type fault struct {
	Slice int    // of the minibatch's
	What  string // the sentence
}

// firstFault says, on every rank, where the first number came from that made an update fail: it goes through the update's sequences once
// more, one at a time, each with gradients of its own. do is a pass of one, whose loss it returns; of divided models the ranks go along
// with each other, and it is given nil where a rank has none left. The answer names rank, slice, trajectory and parameter. Where each
// sequence alone is finite, it says so.
func (r *Ranks) firstFault(mini []*Episode, weight float32, ls []*Learner, do func(b *Batch) (loss float64, err error)) (string, error) {
	sequences := slicesOf(mini, r.Slices)
	rounds := 0
	for _, s := range sequences {
		rounds = max(rounds, len(s))
	}
	var found *fault
	for i := range r.each() {
		slice := r.Rank()*r.each() + i
		if r.divides() {
			slice = r.Rank() + i*r.Size()
		}
		for j := range rounds {
			var b *Batch
			if mine := sequences[slice]; j < len(mine) {
				if packed := Pack(mine[j:j+1], mine[j].Len(), weight); len(packed) > 0 {
					b = packed[0]
				}
			}
			if !r.divides() && (b == nil || found != nil) {
				continue
			}
			r.did("looking for what is not finite: slice %d of %d, sequence %d of %d", slice+1, r.Slices, j+1, rounds)
			what, err := faultOf(b, ls, do)
			if err != nil {
				return "", err
			}
			if what != "" && found == nil && b != nil {
				host, _ := os.Hostname()
				found = &fault{slice, fmt.Sprintf("rank %d (%s), slice %d of %d, %s: %s", r.Rank(), host, slice+1, r.Slices,
					called(b.Episodes[0]), what)}
			}
		}
	}
	text, err := json.Marshal(found)
	if err != nil {
		return "", err
	}
	all, err := r.gather("where numbers are not finite", text)
	if err != nil {
		return "", err
	}
	var first *fault
	for _, text := range all {
		var f *fault
		if err := json.Unmarshal(text, &f); err != nil {
			return "", err
		}
		if f != nil && (first == nil || f.Slice < first.Slice) {
			first = f
		}
	}
	if first == nil {
		return "no rank: every sequence alone is finite, and their sum is not", nil
	}
	return first.What, nil
}

// called names an episode: a trajectory of reinforcement learning, or a trace.
func called(e *Episode) string {
	if e.Key>>56 != trainKeys {
		return "trace " + e.Problem.ID
	}
	return fmt.Sprintf("trajectory %d (problem %s)", e.Key, e.Problem.ID)
}

// faultOf makes one pass and says which of its numbers was first not finite: a weight that it read, a gradient that it made, its loss; "":
// none.
func faultOf(b *Batch, ls []*Learner, do func(b *Batch) (float64, error)) (what string, err error) {
	var weight, gradient string
	var of *Learner // weight's
	look := func(l *Learner, unit int) error {
		name, err := l.Model.GradientFault(unit)
		if name == "" {
			return err
		}
		if gradient == "" {
			gradient = fmt.Sprintf("the gradient of %s (%s)", name, l.opt.name)
		}
		// A weight makes all gradients so. Units of a divided model come in the order of the backward pass: the weight used first is the last.
		if name := l.Model.WeightFault(unit); name != "" && (of == nil || of == l) {
			of, weight = l, fmt.Sprintf("the weight of %s (%s)", name, l.opt.name)
		}
		return nil
	}
	for _, l := range ls {
		if l.sums != nil {
			l.sums.look = func(unit int) error { return look(l, unit) }
			defer func() { l.sums.look = nil }()
		}
		if err := l.Begin(); err != nil {
			return "", err
		}
	}
	loss, err := do(b)
	if err != nil {
		return "", err
	}
	for _, l := range ls {
		if l.sums == nil {
			if err := look(l, 0); err != nil {
				return "", err
			}
		}
	}
	if what = cmp.Or(weight, gradient); what == "" && !finite(loss) {
		what = fmt.Sprintf("the loss, %g, and no gradient", loss)
	}
	return what, nil
}
