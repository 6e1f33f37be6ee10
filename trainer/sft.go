package trainer

import (
	"fmt"

	"retool/engine/model"
	k "retool/kernels"
)

// ColdStart is supervised fine-tuning: cross-entropy on the tokens the policy is to write, tool output left out as in RL.
type ColdStart struct {
	cfg    SFT
	ranks  *Ranks
	dev    k.Device
	policy *Learner
	rows   *rows
	fault  string // where the first of the updates that were left out in a row was not finite; "": none was
}

// NewColdStart prepares the fine-tuning of m. Close frees what it allocates.
func NewColdStart(cfg SFT, ranks *Ranks, dev k.Device, m *model.Model) *ColdStart {
	policy := NewLearner(dev, m, cfg.Optimizer, ranks, "policy", false)
	return &ColdStart{cfg: cfg, ranks: ranks, dev: dev, policy: policy, rows: newRows(dev, cfg.Tokens)}
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
	Fault          string // where, if Skipped, numbers were not finite
}

// Step trains on the examples once, as step i of n: one update, whatever number of slices and passes they are packed into.
//
//	loss = −(1/N) Σ log π(token)      over the N policy tokens of all examples
func (f *ColdStart) Step(examples []*Episode, i, n int) (SFTStats, error) {
	s := SFTStats{LR: f.cfg.Rate(i, n), Policy: predictions(examples)}
	if err := f.policy.Resume(); err != nil {
		return s, err
	}
	if err := f.policy.Begin(); err != nil {
		return s, err
	}
	sums, err := f.ranks.passes(fmt.Sprintf("losses of sft step %d", i+1), examples, f.cfg.Tokens, 1/float32(s.Policy), 2,
		func(b *Batch, where string, _ float64) ([]float64, error) { // loss and tokens
			f.ranks.did("sft step %d: %s", i+1, where)
			if b == nil {
				return nil, f.policy.Accumulate(nil, nil, nil)
			}
			loss, err := f.pass(b, s.Policy)
			if err != nil {
				return nil, fmt.Errorf("trainer: sft step %d: %w", i+1, err)
			}
			return []float64{loss, float64(len(b.IDs))}, nil
		}, f.policy.Sliced)
	if err != nil {
		return s, err
	}
	for j := 0; j < len(sums); j += 2 {
		s.Loss += sums[j]
		s.Tokens += int(sums[j+1])
	}
	ok := finite(s.Loss)
	if ok {
		s.Norm, ok, err = f.policy.Apply(everything, s.LR, f.cfg.WeightDecay)
	}
	switch s.Skipped = !ok; {
	case err != nil:
		return s, err
	case ok:
		f.fault = ""
	case f.fault == "":
		f.fault, err = f.ranks.firstFault(examples, 1/float32(s.Policy), []*Learner{f.policy}, func(b *Batch) (float64, error) {
			if b == nil {
				return 0, f.policy.Accumulate(nil, nil, nil)
			}
			return f.pass(b, s.Policy)
		})
	}
	s.Fault = f.fault
	return s, err
}

// pass adds the gradients of a pass and returns its part of the loss, n being the predictions of all passes.
func (f *ColdStart) pass(b *Batch, n int) (loss float64, err error) {
	f.rows.load(b, 0, 0)
	// ∂loss/∂logp is −Weight, whatever the prediction: the vector is ready before the forward pass.
	gradient := make([]float32, len(b.Weight))
	for j, w := range b.Weight {
		gradient[j] = -w
	}
	f.dev.Upload(f.rows.dlogp.Rows(0, f.rows.n), gradient)
	err = f.policy.Accumulate(b, nil, func(h model.Head) {
		f.rows.ScoreTargets(h, 1)
		f.rows.Backward(h, f.rows.dlogp, k.Tensor{}, 1)
		if !h.Values.Absent() {
			f.dev.Zero(h.Values)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, logp := range f.rows.LogProbs() {
		loss -= float64(logp) / float64(n)
	}
	return loss, nil
}

// inputs is the batch as the model reads it.
func (b *Batch) inputs() model.Inputs {
	return model.Inputs{IDs: b.IDs, Starts: b.Starts, Rows: b.Rows}
}
