package kernels

import "retool/kernels/driver"

// graph is what Repeat keeps of a key: the launches of the operations, as the driver replays them. Where they are not all there was to
// it, or the driver's handle is 0, there is nothing to replay.
type graph struct {
	what       string // "Repeat …"
	h          driver.Graph
	replayable bool  // it consists of launches alone
	turn       int64 // of its last replay
	launches   []driver.Launch
	uses       map[*memory]bool // that launches may touch: when one of these is freed, the graph is void
}

// Repeat runs operations that never change: the first call with a key runs f and records its launches as a graph, later ones replay that
// without calling f. If f allocates, frees, or uses a door, there is no graph, and f is called each time. What a graph touches is the
// memory that f did; once some of it is freed, f is called and recorded again.
func (g *GPU) Repeat(key string, f func()) {
	if !g.inDo.Load() {
		panic("kernels: Repeat was called outside Do")
	}
	g.mu.Lock()
	if g.recording != nil {
		g.mu.Unlock()
		panic("kernels: Repeat " + key + " inside Repeat")
	}
	known := g.graphs[key]
	g.repeats++
	if known != nil {
		known.turn = g.repeats
	}
	if g.synchronous || known != nil && known.h == 0 {
		g.mu.Unlock()
		f()
		return
	}
	if known != nil {
		g.submit() // what was recorded before comes first
		g.replay(known)
		g.mu.Unlock()
		return
	}
	r := &graph{what: "Repeat " + key, turn: g.repeats, replayable: true, uses: map[*memory]bool{}}
	g.recording = r
	g.mu.Unlock()
	defer func() { // also when f panics: then nothing is kept
		g.mu.Lock()
		g.recording = nil
		g.mu.Unlock()
	}()
	f()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return
	}
	if r.replayable && len(r.launches) > 0 {
		g.submit()
		g.call(r.what, func(drv driver.Driver) (err error) {
			r.h, err = drv.Capture(r.launches)
			return err
		})
	}
	r.launches = nil
	if g.graphs[key] = r; len(g.graphs) > mostGraphs {
		oldest := key
		for k, x := range g.graphs {
			if x.turn < g.graphs[oldest].turn {
				oldest = k
			}
		}
		g.drop(oldest)
	}
}

// mostGraphs is how many graphs are kept: a handful of a decode step's sizes times a handful of its lengths.
const mostGraphs = 128

// replay issues a graph. It holds mu, and the queue is empty.
func (g *GPU) replay(r *graph) { g.send(errand{what: r.what, graph: r.h}) }

// forget drops the graphs that touch memory which is about to be freed. It holds mu.
func (g *GPU) forget(m *memory) {
	for key, r := range g.graphs {
		if r.uses[m] {
			g.drop(key)
		}
	}
}

// drop ends a graph, when the replays of it that were issued are done.
func (g *GPU) drop(key string) {
	r := g.graphs[key]
	delete(g.graphs, key)
	if r.h != 0 {
		g.call(r.what, func(drv driver.Driver) error {
			if err := drv.Wait(0); err != nil {
				return err
			}
			return drv.FreeGraph(r.h)
		})
	}
}

// notReplayable says that the Repeat at work cannot become a graph.
func (g *GPU) notReplayable() {
	if g.recording != nil {
		g.recording.replayable = false
	}
}
