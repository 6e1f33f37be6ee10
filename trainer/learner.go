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
	grads []*model.Weights // for a slice, and for each sum that may wait; Model.G is one of them
	rows  k.Tensor         // all of them, (levels, numbers); absent where a rank has one slice
	top   int              // gradients that hold a sum; the slice at work has the next
	done  int              // slices that are in

	sums *unitSums // of a divided model, in place of all these
}

// NewLearner prepares m, made with Options.Train, to learn; name is the model's in messages, offload keeps
// the optimizer's memory on the host. Close frees what it allocates, not the model.
func NewLearner(dev k.Device, m *model.Model, cfg Optimizer, ranks *Ranks, name string, offload bool) *Learner {
	l := &Learner{Model: m, dev: dev, opt: newAdamW(dev, m, cfg, ranks, name, offload)}
	if d, ok := m.Options.Division.(*Divided); ok {
		d.book = ranks.book
	}
	if (m.Units() != nil) != ranks.divides() {
		panic("trainer: dist.shard all is for models made with Options.Division, and they for it")
	}
	if m.Units() != nil {
		l.sums = newUnitSums(l)
	}
	l.room()
	return l
}

// room takes memory for the sums of slices, where there is none.
func (l *Learner) room() {
	switch n := l.opt.ranks.each(); {
	case l.sums == nil && n > 1 && l.rows.Absent():
		l.grads, l.rows = l.Model.Gradients(sumLevels(n) + 1)
	case l.sums != nil && l.sums.all.Absent():
		l.sums.resume()
	}
}

// sumLevels is how many sums wait for their neighbours at most, of n that come one after the other.
func sumLevels(n int) int { return bits.Len(uint(n - 1)) }

// Close frees the moments.
func (l *Learner) Close() {
	l.opt.free()
	if l.sums != nil {
		l.sums.suspend()
	}
}

// Begin forgets the gradients of the step before, also of one that was given up.
func (l *Learner) Begin() error {
	l.top, l.done = 0, 0
	if l.sums != nil {
		return l.sums.begin()
	}
	l.next()
	return nil
}

// next gives a slice an empty gradient, which its first pass writes.
func (l *Learner) next() {
	if !l.rows.Absent() {
		l.Model.G = l.grads[l.top]
	}
	l.Model.ForgetGrad()
}

// Accumulate adds the gradients of one pass, or of a divided model goes along with the other ranks' where b is nil; see
// model.Train for what loss is given and leaves, and model.Seen, which may be nil.
func (l *Learner) Accumulate(b *Batch, seen *model.Seen, loss func(model.Head)) error {
	if b == nil {
		return l.Model.Idle(true)
	}
	return l.Model.TrainSeen(b.inputs(), seen, loss)
}

// Sliced ends a slice, of a divided model a slice's pass: its gradient joins those of its neighbours.
func (l *Learner) Sliced() error {
	if l.sums != nil {
		l.sums.sliced()
		return nil
	}
	if err := l.Model.SettleGrad(); err != nil || l.rows.Absent() { // a slice may have had no pass
		return err
	}
	last := l.done+1 == l.opt.ranks.each()
	err := l.dev.Do(func() {
		l.top++
		for i := l.done; i&1 == 1; i >>= 1 {
			l.join()
		}
		for last && l.top > 1 {
			l.join()
		}
	})
	if l.done++; err != nil || last {
		return err
	}
	l.next()
	return nil
}

// join adds the two sums that came last.
func (l *Learner) join() {
	l.top--
	l.dev.SumTree(l.grads[l.top-1].All, l.rows.Rows(l.top-1, l.top+1))
}

// gradient is the sum of this rank's slices.
func (l *Learner) gradient() k.Tensor {
	switch {
	case l.sums != nil:
		return l.sums.all
	case l.rows.Absent():
		return l.Model.G.All
	}
	return l.grads[0].All
}

// Apply moves a part of the parameters by what has been accumulated on all ranks; see adamW.update.
func (l *Learner) Apply(over part, lr, decay float64) (norm float64, ok bool, err error) {
	return l.opt.update(l.gradient(), over(l.Model), lr, decay)
}

// Use takes other settings and keeps the moments; Restart forgets them too.
func (l *Learner) Use(cfg Optimizer) { l.opt.cfg = cfg }

// Restart begins a new phase: zero moments, no updates made.
func (l *Learner) Restart(cfg Optimizer) error { return l.opt.reset(cfg) }

// Updates is how many updates were made since Restart.
func (l *Learner) Updates() int { return l.opt.step }
