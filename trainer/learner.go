package trainer

import (
	"fmt"

	"retool/engine/model"
	"retool/engine/safetensors"
	k "retool/kernels"
)

// A Learner is a model and its optimizer. One step of it is Begin, Accumulate for every pass of a batch, Apply: one update, whatever
// number of passes the batch is packed into. Policy and critic are one each; the cold start teaches the policy's.
type Learner struct {
	Model *model.Model
	dev   k.Device
	opt   *adamW
}

// NewLearner prepares m, made with Options.Train, to learn. Close frees what it allocates, not the model.
func NewLearner(dev k.Device, m *model.Model, cfg Optimizer) *Learner {
	return &Learner{Model: m, dev: dev, opt: newAdamW(dev, m, cfg)}
}

// Close frees the moments.
func (l *Learner) Close() { l.opt.free() }

// Begin forgets the gradients of the step before.
func (l *Learner) Begin() error { return l.Model.ZeroGrad() }

// Accumulate adds the gradients of one pass; see model.Train for what loss is given and leaves, and model.Seen, which may be nil.
func (l *Learner) Accumulate(b *Batch, seen *model.Seen, loss func(model.Head)) error {
	return l.Model.TrainSeen(b.inputs(), seen, loss)
}

// Apply moves a part of the parameters by what has been accumulated; see adamW.update.
func (l *Learner) Apply(over part, lr, decay float64) (norm float64, ok bool, err error) {
	return l.opt.update(over, lr, decay)
}

// Use takes other settings and keeps the moments; Restart forgets them too.
func (l *Learner) Use(cfg Optimizer) { l.opt.cfg = cfg }

// Restart begins a new phase: zero moments, no updates made.
func (l *Learner) Restart(cfg Optimizer) error { return l.opt.reset(cfg) }

// Updates is how many updates were made since Restart.
func (l *Learner) Updates() int { return l.opt.step }

// moments are the optimizer's, for a checkpoint; name comes before theirs. They are downloaded when they are written.
func (l *Learner) moments(name string) []safetensors.Named {
	named := func(name string, t k.Tensor) safetensors.Named {
		return safetensors.Named{Name: name, Shape: []int{t.Len()}, Data: func() ([]float32, error) {
			values := make([]float32, t.Len())
			l.dev.Download(values, t)
			return values, nil
		}}
	}
	return []safetensors.Named{named(name+"m", l.opt.m.All), named(name+"v", l.opt.v.All)}
}

// restore reads what moments wrote, after so many updates.
func (l *Learner) restore(f *safetensors.File, path, name string, updates int) error {
	for _, t := range []struct {
		name string
		to   k.Tensor
	}{{name + "m", l.opt.m.All}, {name + "v", l.opt.v.All}} {
		stored, ok := f.Tensor(t.name)
		if !ok {
			return fmt.Errorf("trainer: %s: %s is missing", path, t.name)
		}
		if stored.Len() != t.to.Len() {
			return fmt.Errorf("trainer: %s: %s has %d numbers, the model %d", path, t.name, stored.Len(), t.to.Len())
		}
		values, err := stored.Dense()
		if err != nil {
			return fmt.Errorf("trainer: %s: %w", path, err)
		}
		l.dev.Upload(t.to, values)
	}
	l.opt.step = updates
	return nil
}
