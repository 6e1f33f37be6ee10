package trainer

import (
	"math/bits"

	"retool/engine/model"
	k "retool/kernels"
)

// A Learner is a model and its optimizer. One step of it is Begin, Accumulate for every pass of a slice and Sliced at its end, for each of
// the rank's slices, then Apply: one update, whatever number of passes, slices and ranks the batch is divided among. Policy and critic
// are one each; the cold start teaches the policy's.
type Learner struct {
	Model *model.Model
	dev   k.Device
	opt   *adamW

	// Sums of slices wait for their neighbours': the tree of SumTree, two rows at a time.
	waiting k.Tensor // (levels, numbers); absent where a rank has one slice
	top     int      // rows of it that hold a sum
	done    int      // slices that are in
}

// NewLearner prepares m, made with Options.Train, to learn; name is the model's in messages. Close frees what it allocates, not the model.
func NewLearner(dev k.Device, m *model.Model, cfg Optimizer, ranks *Ranks, name string) *Learner {
	l := &Learner{Model: m, dev: dev, opt: newAdamW(dev, m, cfg, ranks, name)}
	if n := ranks.each(); n > 1 {
		l.waiting = dev.Alloc(k.F32, bits.Len(uint(n-1))+1, m.G.All.Len())
	}
	return l
}

// Close frees moments and sums.
func (l *Learner) Close() {
	l.opt.free()
	l.dev.Free(l.waiting)
}

// Begin forgets the gradients of the step before, also of one that was given up.
func (l *Learner) Begin() error {
	l.top, l.done = 0, 0
	return l.Model.ZeroGrad()
}

// Accumulate adds the gradients of one pass; see model.Train for what loss is given and leaves, and model.Seen, which may be nil.
func (l *Learner) Accumulate(b *Batch, seen *model.Seen, loss func(model.Head)) error {
	return l.Model.TrainSeen(b.inputs(), seen, loss)
}

// Sliced ends a slice: its gradient joins those of its neighbours.
func (l *Learner) Sliced() error {
	if l.waiting.Absent() {
		return nil
	}
	last := l.done+1 == l.opt.ranks.each()
	return l.dev.Do(func() {
		g := l.Model.G.All
		l.dev.Copy(l.waiting.Rows(l.top, l.top+1).Reshape(g.Len()), g)
		l.top++
		for i := l.done; i&1 == 1; i >>= 1 {
			l.join()
		}
		l.done++
		for last && l.top > 1 {
			l.join()
		}
		if !last {
			l.dev.Zero(g)
		}
	})
}

// join adds the two sums that came last.
func (l *Learner) join() {
	l.top--
	l.dev.SumTree(l.waiting.Rows(l.top-1, l.top).Reshape(l.waiting.Dim(1)), l.waiting.Rows(l.top-1, l.top+1))
}

// gradient is the sum of this rank's slices.
func (l *Learner) gradient() k.Tensor {
	if l.waiting.Absent() {
		return l.Model.G.All
	}
	return l.waiting.Rows(0, 1).Reshape(l.waiting.Dim(1))
}

// Apply moves a part of the parameters by what has been accumulated on all ranks; see adamW.update.
func (l *Learner) Apply(over part, lr, decay float64) (norm float64, ok bool, err error) {
	return l.opt.update(l.gradient(), over(l.Model.W), lr, decay)
}

// Use takes other settings and keeps the moments; Restart forgets them too.
func (l *Learner) Use(cfg Optimizer) { l.opt.cfg = cfg }

// Restart begins a new phase: zero moments, no updates made.
func (l *Learner) Restart(cfg Optimizer) error { return l.opt.reset(cfg) }

// Updates is how many updates were made since Restart.
func (l *Learner) Updates() int { return l.opt.step }
