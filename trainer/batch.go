package trainer

import (
	"math"
	"slices"

	"retool/engine/model"
)

// Batch is whole episodes packed into one row of tokens for one pass through the model. Row r of the other slices is one
// prediction: the model reads IDs up to Rows[r] and is scored on Target[r]. Only tokens that the policy chose are predicted, so
// prompts and tool output reach neither the head nor the loss.
type Batch struct {
	IDs, Starts  []int32
	Rows, Target []int32
	Weight       []float32 // 1 / predictions of the minibatch, times Step.Share
	OldLogProb   []float32
	Ref          []float32
	Advantage    []float32
	Return       []float32
	OldValue     []float32
	Stay         []float32 // weights of two more terms, see kernels.Targets
	Imitate      []float32
	Sets         model.Sets // that targets were drawn from; a row without one: the whole vocabulary
	Episodes     []*Episode
}

// Pack cuts episodes, in order, into batches of at most `tokens` tokens each; an episode is never cut. weight is that of a prediction
// whose Step.Share is 1.
func Pack(eps []*Episode, tokens int, weight float32) []*Batch {
	var out []*Batch
	var b *Batch
	for _, e := range eps {
		if len(e.Steps) == 0 {
			continue
		}
		if b == nil || len(b.IDs)+e.Len() > tokens {
			b = &Batch{Starts: []int32{0}, Sets: model.Sets{Starts: []int32{0}}}
			out = append(out, b)
		}
		b.add(e, weight)
	}
	return out
}

// add appends an episode. The token before the one that was chosen is the row that predicts it: here, and nowhere else.
func (b *Batch) add(e *Episode, weight float32) {
	base := int32(len(b.IDs))
	// What follows the last choice is predicted by nobody and read by nobody.
	for _, k := range e.Tokens()[:e.Steps[len(e.Steps)-1].Index] {
		b.IDs = append(b.IDs, k.ID)
	}
	b.Starts = append(b.Starts, int32(len(b.IDs)))
	b.Episodes = append(b.Episodes, e)
	b.addSets(e)
	for _, s := range e.Steps {
		b.Rows = append(b.Rows, base+s.Index-1)
		b.Target = append(b.Target, s.ID)
		b.Weight = append(b.Weight, weight*s.Share)
		b.OldLogProb = append(b.OldLogProb, s.LogProb)
		b.Ref = append(b.Ref, s.Ref)
		advantage := s.Advantage
		if s.Held {
			advantage = 0
		}
		b.Advantage = append(b.Advantage, advantage)
		b.Stay = append(b.Stay, weight*s.Share*s.Stay)
		b.Imitate = append(b.Imitate, weight*s.Imitate)
		b.Return = append(b.Return, s.Return)
		b.OldValue = append(b.OldValue, s.Value)
	}
}

// addSets appends the sets of an episode's steps.
func (b *Batch) addSets(e *Episode) {
	for set := range e.Sets() {
		b.Sets.IDs = append(b.Sets.IDs, set...)
		b.Sets.Starts = append(b.Sets.Starts, int32(len(b.Sets.IDs)))
	}
	for len(b.Sets.Starts) <= len(b.Rows)+len(e.Steps) {
		b.Sets.Starts = append(b.Sets.Starts, int32(len(b.Sets.IDs)))
	}
}

// scored hands what models said of the batch's rows to the steps behind them; nil: not asked. log-probabilities are compared with the
// rollout's.
func (b *Batch) scored(logp, value, ref []float32) {
	r := 0
	for _, e := range b.Episodes {
		if logp != nil {
			e.Difference = 0
		}
		for i := range e.Steps {
			s := &e.Steps[i]
			if logp != nil {
				e.Difference = max(e.Difference, distance(logp[r], s.LogProb))
			}
			if value != nil {
				s.Value = value[r]
			}
			if ref != nil {
				s.Ref = ref[r]
			}
			r++
		}
	}
}

// minibatches cuts episodes, in order, into as few parts of at most size as there must be, all of about one size: what lost trajectories,
// filters or a bound leave over is no update of its own.
func minibatches(eps []*Episode, size int) [][]*Episode {
	n := (len(eps) + size - 1) / size
	out := make([][]*Episode, n)
	for i := range out {
		from, to := (i*len(eps)+n-1)/n, ((i+1)*len(eps)+n-1)/n
		out[i] = eps[from:to]
	}
	return out
}

// logRatios is, for each row, ln of its response's ratio: the mean over its steps of logp − OldLogProb (Zheng 2025, GSPO).
func (b *Batch) logRatios(logp []float32) []float32 {
	out := make([]float32, 0, len(logp))
	for _, e := range b.Episodes {
		sum, from := 0.0, len(out)
		for i, s := range e.Steps {
			sum += float64(logp[from+i]) - float64(s.LogProb)
		}
		for range e.Steps {
			out = append(out, float32(sum/float64(len(e.Steps))))
		}
	}
	return out
}

// distance is |a − b|. Two log-probabilities that are both no number are the same: the policy has diverged, not the contract. If one
// alone is, they are as far apart as can be: NaN is for what was not compared.
func distance(a, b float32) float32 {
	if a == b || a != a && b != b {
		return 0
	}
	if a != a || b != b {
		return math.MaxFloat32
	}
	return float32(math.Abs(float64(a - b)))
}

// predictions is the number of tokens the policy chose in all episodes.
func predictions(eps []*Episode) int {
	n := 0
	for _, e := range eps {
		n += len(e.Steps)
	}
	return n
}

// shuffled is the episodes in an order that depends on the draws alone.
func shuffled(eps []*Episode, draw func(n int) int) []*Episode {
	out := slices.Clone(eps)
	for i := len(out) - 1; i > 0; i-- {
		j := draw(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return out
}
