package trainer

import (
	"fmt"

	"retool/engine/model"
	k "retool/kernels"
)

// ColdStart is supervised fine-tuning: cross-entropy on the tokens the policy is to write, tool output left out as in RL.
type ColdStart struct {
	cfg    SFT
	dev    k.Device
	policy *Learner
	rows   *rows
}

// NewColdStart prepares the fine-tuning of m. Close frees what it allocates.
func NewColdStart(cfg SFT, dev k.Device, m *model.Model) *ColdStart {
	return &ColdStart{cfg: cfg, dev: dev, policy: NewLearner(dev, m, cfg.Optimizer), rows: newRows(dev, cfg.Tokens)}
}

// Close frees what NewColdStart allocated.
func (f *ColdStart) Close() {
	f.policy.Close()
	f.rows.free()
}

// SFTStats is what one step reports. Loss is in nats a token.
type SFTStats struct {
	Loss, Norm, LR float64
	Tokens, Policy int
	Skipped        bool
}

// Step trains on the examples once, as step i of n: one update, whatever number of passes they are packed into.
//
//	loss = −(1/N) Σ log π(token)      over the N policy tokens of all examples
func (f *ColdStart) Step(examples []*Episode, i, n int) (SFTStats, error) {
	s := SFTStats{LR: f.cfg.Rate(i, n), Policy: predictions(examples)}
	weight := 1 / float32(s.Policy)
	if err := f.policy.Begin(); err != nil {
		return s, err
	}
	for _, b := range Pack(examples, f.cfg.Tokens, weight) {
		f.rows.load(b, 0, 0)
		// ∂loss/∂logp is −Weight, whatever the prediction: the vector is ready before the forward pass.
		gradient := make([]float32, len(b.Weight))
		for j, w := range b.Weight {
			gradient[j] = -w
		}
		f.dev.Upload(f.rows.dlogp.Rows(0, f.rows.n), gradient)
		err := f.policy.Accumulate(b, nil, func(h model.Head) {
			f.rows.Score(h, 1)
			f.rows.Backward(h, f.rows.dlogp, k.Tensor{}, 1)
			if !h.Values.Absent() {
				f.dev.Zero(h.Values)
			}
		})
		if err != nil {
			return s, fmt.Errorf("trainer: sft step %d: %w", i+1, err)
		}
		for _, logp := range f.rows.LogProbs() {
			s.Loss -= float64(logp) / float64(s.Policy)
		}
		s.Tokens += len(b.IDs)
	}
	if !finite(s.Loss) {
		s.Skipped = true
		return s, nil
	}
	norm, ok, err := f.policy.Apply(everything, s.LR, f.cfg.WeightDecay)
	s.Norm, s.Skipped = norm, !ok
	return s, err
}

// inputs is the batch as the model reads it.
func (b *Batch) inputs() model.Inputs {
	return model.Inputs{IDs: b.IDs, Starts: b.Starts, Rows: b.Rows}
}
