package model

import (
	"errors"
	"fmt"

	"retool/kernels"
)

// While a policy generates nothing of a backward pass lives: not the gradients, nor the activations that it reads, nor the units of a
// divided model. While it learns, no page of a cache is needed: a rollout has ended, or feeds its tokens again. So with Options.Lends the
// two have the same memory in turn: Assemble frees the first and allocates the second, Resume the other way round. Both of either are of
// the same size each time, and graphs of steps that touch what is freed are the device's to forget.

// errLent says that a cache has no memory at the moment.
var errLent = errors.New("learning has the memory of the cache's pages: call Assemble first")

// lends reports whether the model's pages and its learning take turns.
func (m *Model) lends() bool { return m.Options.Lends && m.Options.Train }

// learning reports whether what only learning needs is there.
func (m *Model) learning() bool {
	if m.div != nil {
		return m.div.learning
	}
	return m.G != nil
}

// Assemble makes a model that trains ready for Step: a divided one's weights are gathered, and one that lends gives its pages the memory of
// learning. Of others it does nothing; nor do Suspend and Resume.
func (m *Model) Assemble() error {
	m.Suspend()
	if m.div != nil {
		if err := m.div.assemble(); err != nil {
			return err
		}
	}
	if !m.lends() {
		return nil
	}
	if len(m.kv) == 0 {
		m.allocateKV()
	}
	return m.dev.Do(func() {})
}

// Suspend gives back the memory that only learning, or of a divided model scoring, needs. Resume takes it again, empty, and gives back what
// Step needs.
func (m *Model) Suspend() {
	switch {
	case !m.learning():
		return
	case m.div != nil:
		m.div.suspend()
	case m.lends():
		m.dev.Free(m.G.All)
		m.G = nil
	default:
		return
	}
	m.work.suspend()
}

// Resume is Suspend's and Assemble's way back.
func (m *Model) Resume() error {
	if m.lends() {
		m.freeKV()
	}
	switch {
	case m.div == nil && !m.lends():
		return nil
	case m.learning():
	case m.div != nil:
		if err := m.div.disassemble(); err != nil {
			return err
		}
	default:
		m.G = newWeights(m.dev, &m.Config, kernels.F32, m.Options.LoRA)
	}
	m.work.resume()
	return m.dev.Do(func() {})
}

// OpenKV gives the model a cache of pages for Step, each kernels.PageTokens tokens of every layer. One that lends has their memory between
// Assemble and Resume.
func (m *Model) OpenKV(pages int) error {
	if pages < 1 {
		return fmt.Errorf("model: OpenKV: %d pages, must be at least 1", pages)
	}
	m.CloseKV()
	m.pages = pages
	if !m.lends() || !m.learning() {
		m.allocateKV()
	}
	return nil
}

func (m *Model) allocateKV() {
	if m.pages == 0 {
		return
	}
	for range m.Config.Layers {
		m.kv = append(m.kv, m.dev.AllocKV(m.Options.DType, m.pages, m.Config.heads()))
	}
	m.caches++
}

func (m *Model) freeKV() {
	for _, kv := range m.kv {
		m.dev.FreeKV(kv)
	}
	m.kv = m.kv[:0]
}

// CloseKV gives the cache back. Without one it does nothing.
func (m *Model) CloseKV() {
	m.freeKV()
	m.pages = 0
}

// Caches counts how often pages were given memory: what was in them before is lost.
func (m *Model) Caches() int { return m.caches }

// PageBytes is the memory of one page of all layers.
func (m *Model) PageBytes() int64 {
	return int64(m.Config.Layers) * int64(m.dev.KVBytes(m.Options.DType, m.Config.heads()))
}

// Activations is the memory, in bytes, of a model's activations: what every pass needs, and what only learning does. What it has from
// Options.Beside is none of its own.
func (m *Model) Activations() (kept, learning int64) {
	if m.work.users[0] != m {
		return 0, 0
	}
	return m.work.bytes()
}
