package main

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer"
	"retool/trainer/dist"
)

// A phase of a run is what reads or writes a part of its memory. Every part is held through all of them.
type phase string

const (
	inRollout phase = "rollout" // and evaluation
	inScoring phase = "scoring" // values, reference, comparison with the rollout
	inUpdate  phase = "update"  // cold start and RL
	inSaving  phase = "saving"  // checkpoints
)

// A memoryPart is bytes that a rank allocates for one thing.
type memoryPart struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Phases  []phase `json:"phases"`            // that use it
	Sharded bool    `json:"sharded,omitempty"` // Bytes are one rank's share of it
	Lent    bool    `json:"lent,omitempty"`    // held in its phases only: those of rollouts and of learning have the same memory in turn
}

// countingDevice is one that allocates nothing.
type countingDevice interface {
	kernels.Device
	Used() int64
	Peak() int64
}

// countedGPU is a GPU's wrappers over a driver that counts.
type countedGPU struct {
	*kernels.GPU
	counter *driver.Counter
}

func (c countedGPU) Used() int64 { return c.counter.Used() }
func (c countedGPU) Peak() int64 { return c.counter.Peak() }

// unlimited is more memory than any device has: what fits is asked when all is counted.
const unlimited = 1 << 50

func newCounting(device string) (countingDevice, error) {
	if device == "cpu" {
		return kernels.NewCounter(unlimited), nil
	}
	counter := driver.NewCounter(unlimited)
	g, err := kernels.NewGPU(counter)
	return countedGPU{g, counter}, err
}

// memoryPlan is what a rank of a run allocates.
type memoryPlan struct {
	parts []memoryPart
	peak  int64

	data, program, garbage int64 // of peak, what a device of the CPU's holds beside tensors

	pages int   // of the KV cache
	page  int64 // bytes of one
}

// lent is how many pages lie in memory that learning has else.
func (m *memoryPlan) lent() int {
	var room int64 // what learning leaves, less what else takes it
	lent := false
	for _, p := range m.parts {
		switch {
		case p.Name == cachePart:
			lent = p.Lent
		case p.Lent && p.Phases[0] == inRollout:
			room -= p.Bytes
		case p.Lent:
			room += p.Bytes
		}
	}
	if !lent {
		return 0
	}
	return int(min(max(room, 0)/m.page, int64(m.pages)))
}

// training is the use of a configuration that its run makes.
func (c *Config) training() use { return use{train: true, concurrent: c.concurrency()} }

// counter fills a memoryPlan while a program is built on its device, in the order of program.build.
type counter struct {
	memoryPlan
	cfg   *Config
	use   use
	dev   countingDevice
	ranks int
	made  map[string]*model.Model
}

// countMemory builds the last of so many ranks of a run, or of what else a configuration is used for, whose part is the largest, on a
// device that only counts. The memory of their collective operations is estimated.
func countMemory(cfg *Config, u use, shape model.Config, ranks int) (*memoryPlan, error) {
	dev, err := newCounting(cfg.Device)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	c := &counter{cfg: cfg, use: u, dev: dev, ranks: ranks, made: map[string]*model.Model{}}
	for _, m := range cfg.models(shape, u.train, dtypeOf(cfg.Device, cfg.Model.DType, shape), countedRank{&dist.Alone{}, ranks}) {
		m.options.HostCopy = false // the host's memory is not to be taken
		if err := c.model(m); err != nil {
			return nil, err
		}
	}
	tok := nothing{shape.Vocab}
	e, err := c.pages(tok)
	if err != nil {
		return nil, err
	}
	if u.train {
		if err := c.optimizer(e, tok); err != nil {
			return nil, err
		}
	}
	if cfg.Device == "cpu" {
		c.host()
	}
	if ranks > 1 {
		c.between()
	}
	c.memoryPlan.peak = c.dev.Peak()
	if ranks > 1 || c.offloads() || c.divides() {
		c.memoryPlan.peak = max(c.held())
	}
	return &c.memoryPlan, nil
}

// cachePart is the name of the part whose size is a choice.
const cachePart = "KV pages"

// kvMemory is how many MiB of so much memory KV pages may take: engine.kv_memory, or on a GPU what all else that rollouts need leaves, but
// for a sixteenth of all, in which kernels' working memory, CUDA's context and its libraries have room. 0: the engine's own choice.
func kvMemory(cfg *Config, u use, shape model.Config, memory int64, ranks int) (int, error) {
	if cfg.Device != "gpu" || cfg.Engine.Pages > 0 || cfg.Engine.KVMemory > 0 || memory >= unlimited {
		return cfg.Engine.KVMemory, nil
	}
	least := *cfg
	least.Engine.KVMemory = 1
	m, err := countMemory(&least, u, shape, ranks)
	if err != nil {
		return 0, err
	}
	_, rollout := m.held()
	rest := memory - memory/16 - (rollout - int64(m.pages)*m.page)
	return int(max(rest>>20, 1)), nil
}

// add counts a part, if it has any bytes, and returns it for what else is to be said of it.
func (c *counter) add(name string, bytes int64, phases ...phase) *memoryPart {
	p := memoryPart{Name: name, Bytes: bytes, Phases: phases}
	if bytes <= 0 {
		return &p
	}
	c.parts = append(c.parts, p)
	return &c.parts[len(c.parts)-1]
}

// share is add of a rank's share.
func (c *counter) share(name string, bytes int64, phases ...phase) *memoryPart {
	p := c.add(name, bytes, phases...)
	p.Sharded = c.ranks > 1
	return p
}

// held is what is held while the run learns and while it rolls out.
func (m *memoryPlan) held() (learning, rollout int64) {
	for _, p := range m.parts {
		if !p.Lent || p.Phases[0] != inRollout {
			learning += p.Bytes
		}
		if !p.Lent || p.Phases[0] == inRollout {
			rollout += p.Bytes
		}
	}
	return learning, rollout
}

// divides reports whether weights and gradients are divided among the ranks.
func (c *counter) divides() bool { return c.cfg.Dist.Shard == "all" }

// offloads reports whether the optimizer's memory is the host's, but for a window.
func (c *counter) offloads() bool { return c.cfg.Dist.Offload == "optimizer" }

// failed is what the device kept.
func (c *counter) failed() error { return c.dev.Do(func() {}) }

// model counts one model, taken apart.
func (c *counter) model(m modelOf) error {
	before := c.dev.Used()
	m.share(c.made[policyModel])
	made, err := model.New(c.dev, m.shape, m.options)
	if err == nil {
		err = c.failed()
	}
	if err != nil {
		return err
	}
	c.made[m.name] = made
	use := []phase{inRollout, inScoring, inUpdate}
	switch m.name {
	case criticModel:
		use = []phase{inScoring, inUpdate}
	case referenceModel:
		use = []phase{inScoring}
	}
	rest := c.dev.Used() - before
	part := func(of string, w *model.Weights, phases ...phase) {
		if w == nil {
			return
		}
		n := int64(w.All.Len() * w.All.DType().Size())
		rest -= n
		c.add(m.name+": "+of, n, phases...)
	}
	if made.Units() != nil {
		c.divided(m.name, made, rest, use)
		return nil
	}
	if m.options.Base == nil {
		part("weights", made.W, use...)
	}
	part("adapter", made.Adapter, use...)
	part("float32 master copy", made.Master, inUpdate, inSaving)
	if made.Options.Lends && made.G != nil {
		_, learning := made.Activations()
		rest -= learning
		c.add(m.name+": activations of learning", learning, inUpdate).Lent = true
	}
	if made.G != nil {
		n := int64(made.G.All.Len() * 4)
		rest -= n
		c.add(m.name+": gradients", n, inUpdate).Lent = made.Options.Lends
	}
	c.add(m.name+": activations", rest, use...)
	return nil
}

// divided counts a model whose weights are, of which rest bytes were allocated.
func (c *counter) divided(name string, m *model.Model, rest int64, use []phase) {
	exact, _, _ := m.Own()
	size := int64(m.Options.DType.Size())
	own, units := m.Memory()
	_, activations := m.Activations()
	numbers := int64(4 * exact.Len())
	rest -= numbers + own + units + activations
	if m.Options.DType == kernels.BF16 {
		if !c.offloads() {
			c.share(name+": float32 master copy", numbers, inUpdate, inSaving)
		}
		c.share(name+": weights", own, inScoring, inUpdate).Lent = true
	} else {
		c.share(name+": weights", numbers, inScoring, inUpdate, inSaving)
	}
	if name == policyModel {
		u := m.Units()
		c.add(name+": weights, gathered", size*int64(u[len(u)-1].To), inRollout).Lent = true
	}
	c.add(name+": units at work", units, inScoring, inUpdate, inSaving).Lent = true
	c.add(name+": activations of learning", activations, inUpdate).Lent = true
	c.add(name+": activations", rest, use...)
}

// sums counts those of a divided model's gradients.
func (c *counter) sums(name string, units []model.Unit, slices int) int64 {
	all, longest := 0, 0
	for _, u := range units {
		all, longest = all+u.Len(), max(longest, u.Len())
	}
	bytes := int64(4 * (all*(1+bits.Len(uint(slices/c.ranks-1))) + longest))
	c.share(name+": gradients", bytes, inUpdate).Lent = true
	return bytes
}

// pages counts the KV cache, for a rank's part of the trajectories.
func (c *counter) pages(tok engine.Tokens) (*engine.Engine, error) {
	concurrent := (c.use.concurrent + c.ranks - 1) / c.ranks
	e, err := engine.New(c.made[policyModel], c.cfg.Engine, tok, []int32{0}, nil, nil, concurrent)
	if err == nil {
		err = c.failed()
	}
	if err != nil {
		return nil, err
	}
	policy := c.made[policyModel]
	c.memoryPlan.pages, c.memoryPlan.page = e.Pages(), policy.PageBytes()
	c.add(cachePart, int64(e.Pages())*c.page, inRollout).Lent = policy.Options.Lends
	if rl := c.cfg.RL; c.use.train && rl.Steps > 0 && rl.Truncated() {
		c.sets(min((rl.Prompts*rl.Group+c.ranks-1)/c.ranks, c.cfg.Engine.StepTokens))
	}
	return e, nil
}

// sets counts the bits of what truncated sampling keeps in a step of so many draws. The lists that training reads of them are as long as
// the sets, which only a rollout knows: they are not counted.
func (c *counter) sets(draws int) {
	bytes := c.made[policyModel].KeptBytes(draws)
	c.dev.Alloc(kernels.I32, int(bytes/4))
	c.add("kept sets of a step", bytes, inRollout)
}

// optimizer counts what trainer.NewPPO allocates: the moments, and vectors of a pass's predictions.
func (c *counter) optimizer(e *engine.Engine, tok nothing) error {
	before := c.dev.Used()
	ranks := trainer.NewRanks(countedRank{&dist.Alone{}, c.ranks}, c.cfg.Dist.Slices)
	ranks.Shard = c.cfg.Dist.Shard
	cfg := c.cfg.Config
	cfg.Dist.Offload = "none" // the host's memory is not to be taken
	ppo := trainer.NewPPO(cfg, ranks, c.dev, c.made[policyModel], c.made[criticModel], c.made[referenceModel], e, nil, tok.Bytes)
	rest := c.dev.Used() - before
	if c.ranks == 1 && !c.divides() { // others' peaks are sums
		if err := ppo.Generates(); err != nil {
			return err
		}
		if err := ppo.Learns(); err != nil {
			return err
		}
	}
	if err := c.failed(); err != nil {
		return err
	}
	for _, name := range []string{policyModel, criticModel} {
		if m := c.made[name]; m != nil {
			own := c.owned(m)
			there := own
			if c.offloads() {
				there = min(own, trainer.Window)
			}
			moments, master, exact := 8, 4, "float32 master copy"
			if m.Options.Halves {
				moments, master, exact = 4, 2, "low halves of the master copy"
			}
			c.share(name+": moments of AdamW", int64(moments*there), inUpdate, inSaving)
			rest -= int64(moments * own)
			if u := m.Units(); u != nil {
				if c.offloads() && m.Options.DType == kernels.BF16 {
					c.share(name+": float32 master copy", int64(4*there), inUpdate, inSaving)
				}
				rest -= c.sums(name, u, ranks.Slices)
				continue
			}
			if m.Options.Sharded {
				c.share(name+": "+exact, int64(master*there), inUpdate, inSaving)
				rest -= int64(master * own)
			}
			waiting := int64(4 * bits.Len(uint(ranks.Slices/c.ranks-1)) * m.G.All.Len())
			c.add(name+": sums of slices", waiting, inUpdate).Lent = m.Options.Lends
			rest -= waiting
		}
	}
	c.add("rows of a pass", rest, inScoring, inUpdate)
	return nil
}

// owned is how many numbers of a model the rank has.
func (c *counter) owned(m *model.Model) (n int) {
	units := m.Units()
	if units == nil {
		return dist.Divide(m.Learned().All.Len(), c.ranks)[c.ranks-1].Len()
	}
	for _, u := range units {
		n += u.Len()
	}
	return n
}

// countedRank is the last of so many ranks that need nobody yet.
type countedRank struct {
	*dist.Alone
	n int
}

func (c countedRank) Rank() int { return c.n - 1 }
func (c countedRank) Size() int { return c.n }

// host counts what only the CPU keeps: weights once more in the order that products read them, forward and backward, and the buffers that
// a checkpoint's largest tensor and the ranges of its moments pass through.
func (c *counter) host() {
	dev, ok := c.dev.(*kernels.Counter)
	if !ok {
		return
	}
	buffers := 0
	for _, name := range []string{policyModel, criticModel, referenceModel} {
		m := c.made[name]
		if m == nil {
			continue
		}
		before := dev.Used()
		for i, w := range m.Factors() {
			if m.Units() != nil && i >= 8 && i < 4*m.Config.Layers {
				continue // layers take turns in the memory of two
			}
			dev.Pack(w, false)
			if m.Options.Train {
				dev.Pack(w, true)
			}
		}
		use := []phase{inRollout, inScoring, inUpdate}
		if name != policyModel {
			use = use[1:]
		}
		if m.Units() == nil {
			c.add(name+": packed weights", dev.Used()-before, use...)
		} else {
			c.add(name+": packed weights", dev.Used()-before, inScoring, inUpdate).Lent = true
			if before = dev.Used(); name == policyModel {
				for _, w := range m.Factors() {
					dev.Pack(w, false)
				}
				c.add(name+": packed weights, gathered", dev.Used()-before, inRollout).Lent = true
			}
		}
		if m.Options.Train {
			buffers = max(buffers, min(model.HostPiece, largestTensor(m))+min(trainer.MomentsRange, c.owned(m)))
		}
	}
	dev.Alloc(kernels.F32, buffers)
	c.add("a checkpoint's buffers", int64(4*buffers), inSaving)
	c.beside(dev)
}

// beside counts what a process on the CPU holds that is no tensor: data, as far as settings say how many, trajectories, code, and what Go
// has not collected yet.
func (c *counter) beside(dev *kernels.Counter) {
	all := []phase{inRollout, inScoring, inUpdate, inSaving}
	for _, p := range c.cfg.used(c.use).held(c.use.train, c.ranks) {
		if !p.apart {
			c.data += int64(p.bytes)
		}
	}
	c.program = programBytes
	c.garbage = (dev.Used() + c.data) * int64(collects(dev.Used()+c.data)) / 100
	for _, p := range []struct {
		name  string
		bytes int64
	}{{"data and trajectories", c.data}, {"the program", c.program}, {"garbage at most", c.garbage}} {
		dev.Alloc(kernels.F32, int(p.bytes/4))
		c.add(p.name, p.bytes, all...)
	}
}

// largestTensor is the numbers of a model's largest parameter.
func largestTensor(m *model.Model) (n int) {
	for _, t := range m.W.Named() {
		n = max(n, t.Len())
	}
	return n
}

// Memory of collective operations on a GPU, estimated: CUDA's context, NCCL and its channels; buffers of a reduction and a gathering.
const collectiveMemory = 3_000_000_000

func (c *counter) between() {
	if c.cfg.Device == "gpu" {
		c.add("context, NCCL, its buffers (an estimate)", collectiveMemory, inRollout, inScoring, inUpdate, inSaving)
	}
}

// in is what a phase uses.
func (m *memoryPlan) in(p phase) (bytes int64) {
	for _, x := range m.parts {
		if slices.Contains(x.Phases, p) {
			bytes += x.Bytes
		}
	}
	return bytes
}

// largest names the parts that take most.
func (m *memoryPlan) largest() string {
	parts := slices.SortedStableFunc(slices.Values(m.parts), func(a, b memoryPart) int { return int(b.Bytes>>10 - a.Bytes>>10) })
	var names []string
	for _, p := range parts[:min(3, len(parts))] {
		names = append(names, fmt.Sprintf("%s %s", p.Name, gibibytes(p.Bytes)))
	}
	return strings.Join(names, ", ")
}

// gibibytes writes a size in the unit that memory comes in.
func gibibytes(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// nothing is the tokenizer of a plan: only its size is asked for.
type nothing struct{ size int }

func (nothing) Bytes(int32) []byte { return nil }
func (n nothing) Size() int        { return n.size }
