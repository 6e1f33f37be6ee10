package dist

import (
	"fmt"
	"sync"
	"time"
)

// Limits are the watchdog's.
type Limits struct {
	Beat    time.Duration // between signs of life
	Silence time.Duration // after which a rank has gone
	Stall   time.Duration // of waiting for a rank without progress, before it is named
	Timeout time.Duration // of waiting for a rank without progress, before the run ends
}

// watch knows what every rank does, and whom this one waits for.
type watch struct {
	mu     sync.Mutex
	m      *mesh
	limits Limits
	states []state
}

// state is what a rank last said.
type state struct {
	progress int64
	text     string
}

func newWatch(m *mesh, l Limits) *watch {
	return &watch{m: m, limits: l, states: make([]state, m.size)}
}

func (w *watch) waits(what string, from int) {}
func (w *watch) goesOn()                     {}
func (w *watch) heard(from int, f frame)     {}
func (w *watch) doing(progress int64, text string) {
	w.mu.Lock()
	w.states[w.m.rank] = state{progress, text}
	w.mu.Unlock()
}

// lastly is what a rank did when it was last heard of.
func (w *watch) lastly(rank int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.states[rank].text; t != "" {
		return fmt.Sprintf(" in %s", t)
	}
	return ""
}
