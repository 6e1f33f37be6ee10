package model

import (
	"fmt"

	"retool/kernels"
)

// A Division is how the ranks of a run share a model whose weights none of them has whole while it learns: every unit is divided among all
// ranks. All ranks make the same calls in the same order.
type Division interface {
	// Part is this rank's numbers of a unit of n.
	Part(n int) (from, to int)
	// Gather begins to fill whole, a unit's numbers, with all ranks' parts. part may be its own place in whole. wait ends it.
	Gather(unit int, whole, part kernels.Tensor) (wait func() error)
	// Say is what rank 0 says, on every rank.
	Say(unit int) (int, error)
}

// A Unit is numbers [From, To) of all of a model's, in their flat order, and the part of them that is this rank's, which it keeps from its
// own number At on.
type Unit struct {
	From, To       int
	OwnFrom, OwnTo int
	At             int
}

// Len is how many numbers are this rank's.
func (u Unit) Len() int { return u.OwnTo - u.OwnFrom }

// divided is what a rank has of a divided model. Always: its own numbers, in float32. While it learns: those of Options.DType, and
// memory for the few units that a pass is at: embedding or head, two layers, the rest. While it generates: all weights.
type divided struct {
	m     *Model
	with  Division
	units []Unit
	own   kernels.Tensor // float32; absent with HostCopy
	host  []float32      // with HostCopy
	n     int            // of them

	learning bool
	w, g     *Weights          // views of units' memory
	shard    kernels.Tensor    // own numbers as they are gathered: own itself of a model of float32
	weights  [4]kernels.Tensor // of a unit each, by place
	grads    [3]kernels.Tensor // embedding or head, a layer, the rest
	in       [4]int            // the unit whose weights a place holds; -1: none
	ahead    int               // the unit that is being gathered; -1: none
	wait     func() error
	whole    *Weights
	done     func(unit int, g kernels.Tensor) error
}

func newDivided(m *Model) *divided {
	d := &divided{m: m, with: m.Options.Division, ahead: -1}
	w := &Weights{Blocks: make([]Block, m.Config.Layers), cfg: &m.Config}
	var a arena
	w.place(&a)
	for i, from := range a.cuts {
		to := a.off
		if i+1 < len(a.cuts) {
			to = a.cuts[i+1]
		}
		f, t := d.with.Part(to - from)
		d.units = append(d.units, Unit{From: from, To: to, OwnFrom: from + f, OwnTo: from + t, At: d.n})
		d.n += t - f
	}
	if m.Options.HostCopy && m.Options.DType == kernels.BF16 {
		d.host = make([]float32, d.n)
	} else {
		d.own = m.dev.Alloc(kernels.F32, max(1, d.n)).Rows(0, d.n)
	}
	d.resume()
	return d
}

// rest is the unit of all that is small, which stays where it is through a pass.
func (d *divided) rest() int { return len(d.units) - 1 }

// head is the unit that holds the language-model head; -1: there is none.
func (d *divided) head() int {
	switch c := &d.m.Config; {
	case !c.LMHead:
		return -1
	case c.Tied:
		return 0
	}
	return d.m.Config.Layers + 1
}

// place is where a unit's weights lie, gradient where its gradient does.
func (d *divided) place(u int) int {
	switch {
	case u == d.rest():
		return 3
	case u == 0 || u > d.m.Config.Layers:
		return 0
	}
	return 1 + u%2
}

func (d *divided) gradient(u int) kernels.Tensor {
	t := d.grads[min(d.place(u), 1)]
	if u == d.rest() {
		t = d.grads[2]
	}
	return t.Rows(0, d.units[u].To-d.units[u].From)
}

func (d *divided) weight(u int) kernels.Tensor {
	return d.weights[d.place(u)].Rows(0, d.units[u].To-d.units[u].From)
}

// mine is this rank's place in a unit's memory.
func (d *divided) mine(u int, whole kernels.Tensor) kernels.Tensor {
	x := d.units[u]
	return whole.Rows(x.OwnFrom-x.From, x.OwnTo-x.From)
}

// resume takes the memory that learning needs.
func (d *divided) resume() {
	dev, c := d.m.dev, &d.m.Config
	size := func(u int) int { return d.units[u].To - d.units[u].From }
	ends, layer := size(0), size(1)
	if h := d.head(); h > 0 {
		ends = max(ends, size(h))
	}
	for i, n := range []int{ends, layer, layer, size(d.rest())} {
		d.weights[i] = dev.Alloc(d.m.Options.DType, n)
		d.in[i] = -1
	}
	for i, n := range []int{ends, layer, size(d.rest())} {
		d.grads[i] = dev.Alloc(kernels.F32, n)
	}
	d.w = unitWeights(c, d.weight)
	d.g = unitWeights(c, d.gradient)
	d.shard = d.own
	if d.m.Options.DType == kernels.BF16 {
		d.shard = dev.Alloc(kernels.BF16, max(1, d.n)).Rows(0, d.n)
	}
	d.m.W, d.m.G, d.learning = d.w, d.g, true
}

// suspend gives it back. What is gathered ahead has been waited for: a pass ends so.
func (d *divided) suspend() {
	dev := d.m.dev
	for _, t := range append(d.weights[:], d.grads[:]...) {
		dev.Free(t)
	}
	if d.m.Options.DType == kernels.BF16 {
		dev.Free(d.shard)
	}
	d.learning = false
}

func (d *divided) close() {
	if d.learning {
		d.suspend()
	}
	if d.whole != nil {
		d.m.dev.Free(d.whole.All)
	}
	if !d.own.Absent() {
		d.m.dev.Free(d.own)
	}
}

// unitWeights are views of units' memory.
func unitWeights(c *Config, of func(u int) kernels.Tensor) *Weights {
	w := &Weights{Blocks: make([]Block, c.Layers), cfg: c}
	w.place(&arena{of: of})
	return w
}

// put writes this rank's numbers of a unit to dst, of either type; keep takes them from a unit's float32 numbers.
func (d *divided) put(u int, dst kernels.Tensor) error {
	at, n := d.units[u].At, d.units[u].Len()
	switch {
	case n == 0:
		return nil
	case d.host != nil:
		d.m.dev.Upload(dst, d.host[at:at+n])
		return d.m.dev.Do(func() {})
	}
	return d.m.dev.Do(func() { d.m.dev.Copy(dst, d.own.Rows(at, at+n)) })
}

func (d *divided) keep(u int) error {
	at, n := d.units[u].At, d.units[u].Len()
	d.in[d.place(u)] = -1
	if n == 0 {
		return nil
	}
	src := d.mine(u, d.gradient(u))
	if d.host != nil {
		d.m.dev.Download(d.host[at:at+n], src)
	}
	return d.m.dev.Do(func() {
		for _, t := range []kernels.Tensor{d.own, d.shard} {
			if !t.Absent() {
				d.m.dev.Copy(t.Rows(at, at+n), src)
			}
		}
	})
}

// begin begins to gather a unit's weights, unless they are there.
func (d *divided) begin(u int) error {
	if d.in[d.place(u)] == u {
		return nil
	}
	if err := d.settle(); err != nil {
		return err
	}
	x := d.units[u]
	d.in[d.place(u)], d.ahead = u, u
	d.wait = d.with.Gather(u, d.weight(u), d.shard.Rows(x.At, x.At+x.Len()))
	return nil
}

// need waits until they are there.
func (d *divided) need(u int) error {
	if err := d.begin(u); err != nil || d.ahead != u {
		return err
	}
	return d.settle()
}

// settle ends what is under way.
func (d *divided) settle() error {
	if d.ahead < 0 {
		return nil
	}
	d.ahead = -1
	return d.wait()
}

// exact gathers a unit's float32 numbers where its gradient lies.
func (d *divided) exact(u int) error {
	whole := d.gradient(u)
	if err := d.put(u, d.mine(u, whole)); err != nil {
		return err
	}
	return d.with.Gather(u, whole, d.mine(u, whole))()
}

// Units are those of a divided model; nil of one that is not.
func (m *Model) Units() []Unit {
	if m.div == nil {
		return nil
	}
	return m.div.units
}

// Own is this rank's numbers of a divided model: float32, on the device or the host, and as passes read them. Of a float32 model both are
// one. After they have changed, Updated is called.
func (m *Model) Own() (exact kernels.Tensor, host []float32, read kernels.Tensor) {
	return m.div.own, m.div.host, m.div.shard
}

// Updated says that this rank's numbers have changed, as all ranks' have.
func (m *Model) Updated() { m.div.in = [4]int{-1, -1, -1, -1} }

// OnUnit makes Train of a divided model give away each unit's gradient when it is whole, instead of adding it to G: all ranks' at the same
// time, and none's is used after that.
func (m *Model) OnUnit(done func(unit int, g kernels.Tensor) error) { m.div.done = done }

// assemble gathers the weights for Step, into memory that learning had.
func (d *divided) assemble() error {
	if d.whole != nil {
		return nil
	}
	m := d.m
	d.whole = newWeights(m.dev, &m.Config, m.Options.DType, LoRA{})
	m.W, m.G = d.whole, nil
	for u, x := range d.units {
		whole := d.whole.All.Rows(x.From, x.To)
		if err := d.put(u, d.mine(u, whole)); err != nil {
			return err
		}
		if err := d.with.Gather(u, whole, d.mine(u, whole))(); err != nil {
			return err
		}
	}
	return nil
}

// disassemble gives them back, and takes what learning needs.
func (d *divided) disassemble() error {
	if d.whole != nil {
		d.m.dev.Free(d.whole.All)
		d.whole = nil
	}
	d.resume()
	if d.m.Options.DType == kernels.BF16 {
		for u, x := range d.units {
			if err := d.put(u, d.shard.Rows(x.At, x.At+x.Len())); err != nil {
				return err
			}
		}
	}
	return nil
}

// unitOf is the unit that a parameter belongs to.
func (m *Model) unitOf(name string, t kernels.Tensor) int {
	switch {
	case name == embedName:
		return 0
	case name == headName:
		return m.div.head()
	case name == valueName || t.Rank() == 1:
		return m.div.rest()
	}
	var l int
	if _, err := fmt.Sscanf(name, "model.layers.%d.", &l); err != nil {
		panic("model: no unit has " + name)
	}
	return 1 + l
}

// Memory is what a divided model takes only while it learns, in bytes: its own numbers as passes read them, units at work.
func (m *Model) Memory() (own, units int64) {
	d := m.div
	if d.shard != d.own {
		own = bytesOf(d.shard)
	}
	return own, bytesOf(append(d.weights[:], d.grads[:]...)...)
}
