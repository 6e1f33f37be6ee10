package trainer

import (
	"encoding/binary"
	"fmt"
	"time"

	"retool/engine/model"
	k "retool/kernels"
	"retool/trainer/dist"
)

// With dist.shard all a model's weights and gradients are divided as its moments are, unit by unit. Slice s of S is rank s mod R's: of each
// round of passes, R neighbours are added across the ranks as soon as a unit's gradient is whole, the S/R sums of neighbours on each
// rank, in the tree, and rounds one after the other. So the bits follow from S, for every R that is a power of two and divides it, and with
// one pass a slice the sums are those of dist.shard optimizer.

// Divided divides a model's units among the ranks of Comm. Name is the model's in messages.
type Divided struct {
	dist.Comm
	Name string
	book func(start time.Time)
}

// Part is this rank's numbers of a unit of n.
func (d *Divided) Part(n int) (from, to int) {
	p := dist.Divide(n, d.Size())[d.Rank()]
	return p.From, p.To
}

// Gather fills whole with all ranks' parts.
func (d *Divided) Gather(unit int, whole, part k.Tensor) (wait func() error) {
	start := time.Now()
	p := d.AllGather(fmt.Sprintf("%s: unit %d", d.Name, unit), whole, part, dist.Divide(whole.Len(), d.Size()))
	d.booked(start)
	return func() error {
		defer d.booked(time.Now())
		return p.Wait()
	}
}

// Say is what rank 0 says.
func (d *Divided) Say(unit int) (int, error) {
	all, err := d.Comm.Gather(d.Name+": unit to save", binary.LittleEndian.AppendUint64(nil, uint64(unit)))
	if err != nil {
		return 0, err
	}
	return int(int64(binary.LittleEndian.Uint64(all[0]))), nil
}

func (d *Divided) booked(start time.Time) {
	if d.book != nil {
		d.book(start)
	}
}

// divides reports whether weights are divided.
func (r *Ranks) divides() bool { return r.Shard == "all" }

// unitSums adds the gradients of a divided model's units into this rank's part.
type unitSums struct {
	l       *Learner
	units   []model.Unit
	all     k.Tensor // (numbers): of the rounds that are in
	waiting k.Tensor // (levels, numbers): of a round's slices, those that wait for their neighbours; absent where a rank has one
	part    k.Tensor // of one unit's pass
	slice   int      // of the round, of this rank

	look func(unit int) error // at a unit's gradient before it is added; nil: nobody does
}

func newUnitSums(l *Learner) *unitSums {
	s := &unitSums{l: l, units: l.Model.Units()}
	s.resume()
	l.Model.OnUnit(s.add)
	return s
}

func (s *unitSums) resume() {
	longest := 1
	for _, u := range s.units {
		longest = max(longest, u.Len())
	}
	n := max(1, s.l.opt.n)
	s.all, s.part = s.l.dev.Alloc(k.F32, n), s.l.dev.Alloc(k.F32, longest)
	if levels := sumLevels(s.l.opt.ranks.each()); levels > 0 {
		s.waiting = s.l.dev.Alloc(k.F32, levels, n)
	}
}

func (s *unitSums) suspend() {
	for _, t := range []k.Tensor{s.all, s.part, s.waiting} {
		if !t.Absent() {
			s.l.dev.Free(t)
		}
	}
	s.all, s.part, s.waiting = k.Tensor{}, k.Tensor{}, k.Tensor{}
}

func (s *unitSums) begin() error {
	s.slice = 0
	return s.l.dev.Do(func() { s.l.dev.Zero(s.all) })
}

// sliced ends a pass of a slice.
func (s *unitSums) sliced() { s.slice = (s.slice + 1) % s.l.opt.ranks.each() }

// add is told of a unit's gradient: it becomes all ranks' sum, and joins those of the slices before it.
func (s *unitSums) add(unit int, g k.Tensor) error {
	u, opt, dev := s.units[unit], s.l.opt, s.l.dev
	if s.look != nil {
		if err := s.look(unit); err != nil {
			return err
		}
	}
	part := s.part.Rows(0, u.Len())
	parts := dist.Divide(g.Len(), opt.ranks.Size())
	err := opt.ranks.wait(time.Now(), opt.ranks.ReduceScatter(fmt.Sprintf("%s: gradient of unit %d", opt.name, unit), part, g, parts))
	if err != nil || u.Len() == 0 {
		return err
	}
	level := func(i int) k.Tensor { return s.waiting.Rows(i, i+1).Reshape(s.waiting.Dim(1)).Rows(u.At, u.At+u.Len()) }
	top := 0 // sums that wait
	for i := s.slice; i > 0; i >>= 1 {
		top += i & 1
	}
	return dev.Do(func() {
		for i := s.slice; i&1 == 1; i >>= 1 {
			top--
			addTo(dev, part, level(top))
		}
		if s.slice+1 < opt.ranks.each() {
			dev.Copy(level(top), part)
			return
		}
		for ; top > 0; top-- {
			addTo(dev, part, level(top-1))
		}
		addTo(dev, s.all.Rows(u.At, u.At+u.Len()), part)
	})
}

// addTo is y += x of vectors: as rows, which a GPU's kernels want.
func addTo(dev k.Device, y, x k.Tensor) {
	n := y.Len()
	whole := n / dist.Tile * dist.Tile
	if whole > 0 {
		dev.Add(y.Rows(0, whole).Reshape(whole/dist.Tile, dist.Tile), x.Rows(0, whole).Reshape(whole/dist.Tile, dist.Tile))
	}
	if rest := n - whole; rest > 0 {
		dev.Add(y.Rows(whole, n).Reshape(1, rest), x.Rows(whole, n).Reshape(1, rest))
	}
}

// Assemble makes a model ready for rollouts: a divided one's weights whole, pages in memory that learning has else. Suspend gives back what
// only learning needs, Resume takes it again. Of models that are neither divided nor lend they do nothing.
func (l *Learner) Assemble() error {
	l.Suspend()
	return l.Model.Assemble()
}

// Suspend gives back the memory of learning.
func (l *Learner) Suspend() {
	if l.sums != nil && !l.sums.all.Absent() {
		l.sums.suspend()
	}
	l.Model.Suspend()
	if l.sums == nil && l.Model.G == nil {
		l.grads, l.rows = nil, k.Tensor{}
	}
}

// Resume takes it again.
func (l *Learner) Resume() error {
	if err := l.Model.Resume(); err != nil {
		return err
	}
	l.room()
	return nil
}

// Generates makes the policy ready for rollouts, in memory that learning has else.
func (p *PPO) Generates() error {
	if p.critic != nil {
		p.critic.Suspend()
	}
	return p.policy.Assemble()
}

// Learns makes all that learn ready for it.
func (p *PPO) Learns() error {
	for _, l := range p.learners() {
		if err := l.Resume(); err != nil {
			return err
		}
	}
	return nil
}

// rehearse takes the memory of rollouts and that of learning once, where they are lent to each other: what does not fit is to be known
// before hours of work, not after.
func (p *PPO) rehearse() error {
	if !p.policy.Model.Options.Lends {
		return nil
	}
	if err := p.Generates(); err != nil {
		return err
	}
	return p.Learns()
}
