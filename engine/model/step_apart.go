package model

import (
	"math/bits"
	"time"

	"retool/kernels"
)

// Steps of a small model on several threads: the sequences of a step depend on nothing but their own pages, so each thread can take some of
// them through all layers. No operation waits for another thread then, and no row moves from one core's cache to another's, which of a
// small model is most of a step; but each thread reads all weights. What is quicker depends on the model, the batch, and how far apart the
// cores lie, so steps are taken both ways now and then, and the quicker is kept. Results have the same bits either way.

// apartSteps is what a model knows of steps that threads take apart.
type apartSteps struct {
	dev   kernels.Apart // nil: the device cannot
	lanes []lane        // one for each thread, made when they are first wanted
	run   func()
	lane  func(i int)
	steps [8]apartTimes // by the logarithm of a lane's tokens
	ws    []kernels.Tensor
	cost  int
	how   kernels.Sampling
	force apartWay // for tests
}

// A lane is a thread's model: the same weights and pages, activations of its own.
type lane struct {
	m      *Model
	batch  []Feed
	index  []int // of its feeds, in the whole batch
	tokens int
	err    error
}

// apartTimes are ns a token of the two ways, smoothed; 0: not known. since counts steps since both were last known.
type apartTimes struct {
	ns    [2]float64
	since int
}

type apartWay int

const (
	apartFree apartWay = iota
	apartNever
	apartAlways
)

const (
	laneTokens = 64  // most of a lane's step, on average, and of one feed: more are better shared operation by operation
	laneRoom   = 128 // so that any lane has room
	laneLeast  = 2   // fewest feeds of a lane
	laneCache  = 4   // times that weights fit into the last cache
	laneProbe  = 64  // steps after which the slower way is tried again
)

// init finds out whether steps can be taken apart at all: weights that the last cache does not hold easily are better read once.
func (a *apartSteps) init(m *Model) {
	dev, ok := m.dev.(kernels.Apart)
	if !ok || m.Options.Base != nil || m.low != nil || m.div != nil || !m.Config.LMHead || len(dev.Parts()) < 2 {
		return
	}
	if laneCache*int(bytesOf(m.W.All)) > m.dev.Info().Cache {
		return
	}
	a.dev, a.run, a.lane = dev, m.stepLanes, m.stepLane
	for l := range m.W.Blocks {
		b := &m.W.Blocks[l]
		a.ws = append(a.ws, b.QKV.Weight, b.O.Weight, b.GateUp.Weight, b.Down.Weight)
	}
	a.ws = append(a.ws, m.W.Head.Weight)
}

func (a *apartSteps) close() {
	for i := range a.lanes {
		m := a.lanes[i].m
		m.kv, m.pages = nil, 0 // the whole model's
		m.Close()
	}
	a.lanes = nil
}

// of is what is known of steps of t tokens; nil: they are not taken apart.
func (a *apartSteps) of(t int) *apartTimes {
	if a.dev == nil || t > laneTokens*len(a.dev.Parts()) {
		return nil
	}
	return &a.steps[bits.Len(uint(t/len(a.dev.Parts())))]
}

// wants says whether a step of t tokens is taken apart: the way that is not known, or was not tried for long, else the quicker.
func (a *apartSteps) wants(batch []Feed, t int, sets bool) bool {
	known := a.of(t)
	if known == nil || sets || a.force == apartNever || len(batch) < laneLeast*len(a.dev.Parts()) {
		return false
	}
	for i := range batch {
		if len(batch[i].IDs) > laneTokens {
			return false
		}
	}
	known.since++
	switch quicker := known.ns[1] < known.ns[0]; {
	case a.force == apartAlways || known.ns[1] == 0 && known.ns[0] > 0:
		return true
	case known.since >= laneProbe:
		known.since = 0
		return !quicker
	default:
		return quicker
	}
}

// took notes how long a step took. One that lost its core counts as twice what is known at most.
func (a *apartSteps) took(apart bool, t int, took time.Duration) {
	known := a.of(t)
	if known == nil {
		return
	}
	way := 0
	if apart {
		way = 1
	}
	ns := float64(took) / float64(t)
	if was := known.ns[way]; was > 0 {
		ns = was + (min(ns, 2*was)-was)/4
	}
	known.ns[way] = ns
}

// openLanes makes the lanes. Their pages are the model's, which may have been given other memory.
func (m *Model) openLanes() error {
	a := &m.step.apart
	for i := len(a.lanes); i < len(a.dev.Parts()); i++ {
		cfg := m.Config
		cfg.ValueHead = false
		sub, err := New(a.dev.Parts()[i], cfg, Options{
			MaxTokens: laneRoom, HeadRows: min(m.Options.HeadRows, laneRoom), Positions: m.Options.Positions, DType: m.Options.DType, Base: m,
		})
		if err != nil {
			return err
		}
		a.lanes = append(a.lanes, lane{m: sub})
	}
	for i := range a.lanes {
		l := &a.lanes[i]
		l.m.kv, l.m.pages = m.kv, m.pages
		l.batch, l.index, l.tokens = l.batch[:0], l.index[:0], 0
	}
	return nil
}

// stepApart is a step of t tokens, whose feeds were checked. Lanes take them in turns, or the one with the fewest tokens: neighbours are of
// an age, so that all end at about the same time.
func (m *Model) stepApart(batch []Feed, t int, s kernels.Sampling) error {
	a := &m.step.apart
	if err := m.openLanes(); err != nil {
		return err
	}
	for i := range batch {
		l := &a.lanes[0]
		for j := range a.lanes {
			if a.lanes[j].tokens < l.tokens {
				l = &a.lanes[j]
			}
		}
		l.batch, l.index, l.tokens = append(l.batch, batch[i]), append(l.index, i), l.tokens+len(batch[i].IDs)
	}
	a.how, a.cost = s, t*int(bytesOf(m.W.All))/100 // at two operations a weight of four bytes, 50 of them a ns
	if err := m.run("Step", a.run); err != nil {
		return err
	}
	for i := range a.lanes {
		l := &a.lanes[i]
		if l.err != nil {
			return l.err
		}
		for j, at := range l.index {
			m.step.next[at], m.step.logp[at] = l.m.step.next[j], l.m.step.logp[j]
		}
	}
	return nil
}

// stepLanes is what stepApart does inside Do.
func (m *Model) stepLanes() {
	a := &m.step.apart
	a.dev.Pack(a.ws)
	a.dev.Apart(a.cost, a.lane)
}

// stepLane is a thread's part of a step.
func (m *Model) stepLane(i int) {
	l := &m.step.apart.lanes[i]
	_, _, l.err = l.m.Step(l.batch, m.step.apart.how)
}
