package model

import "retool/kernels"

// A workspace is memory for the activations of a pass, for one model or for several that never work at the same time: policy, critic and
// reference. What only learning needs lies apart, so that it can be given back while the policy generates.
type workspace struct {
	dev      kernels.Device
	floats   kernels.Tensor    // of Options.DType
	exact    kernels.Tensor    // of float32
	learning [2]kernels.Tensor // the same, of what only learning needs; absent while that is given back
	users    []*Model          // the first one owns it
}

// allocate gives the model memory for its activations: that of Options.Beside, if it is enough, or its own.
func (m *Model) allocate() {
	var kept, learning [2]arena
	m.place(&kept, &learning)
	if b := m.Options.Beside; b != nil && b.work.holds(&kept, &learning, m.Options.DType) {
		m.work = b.work
	} else {
		m.work = &workspace{dev: m.dev}
		m.work.floats, m.work.exact = m.dev.Alloc(m.Options.DType, kept[0].off), m.dev.Alloc(kernels.F32, kept[1].off)
		m.work.learning = [2]kernels.Tensor{m.dev.Alloc(m.Options.DType, learning[0].off), m.dev.Alloc(kernels.F32, learning[1].off)}
	}
	m.work.users = append(m.work.users, m)
	m.placed()
}

// place takes the model's activations from arenas, or counts them.
func (m *Model) place(kept, learning *[2]arena) {
	m.b.place(kept, learning, m.Config, m.Options, m.dev.Info().Name == "cpu")
}

// placed makes them regions of the workspace.
func (m *Model) placed() {
	w := m.work
	m.place(&[2]arena{{t: w.floats}, {t: w.exact}}, &[2]arena{{t: w.learning[0]}, {t: w.learning[1]}})
}

// holds reports whether there is room for what was counted.
func (w *workspace) holds(kept, learning *[2]arena, dtype kernels.DType) bool {
	return w.floats.DType() == dtype && kept[0].off <= w.floats.Len() && kept[1].off <= w.exact.Len() &&
		learning[0].off <= w.learning[0].Len() && learning[1].off <= w.learning[1].Len()
}

// suspend gives back what only learning needs; resume takes it again, at another address. What it held is lost.
func (w *workspace) suspend() {
	for i, t := range w.learning {
		if !t.Absent() {
			w.dev.Free(t)
		}
		w.learning[i] = kernels.Tensor{}
	}
}

func (w *workspace) resume() {
	if !w.learning[0].Absent() {
		return
	}
	var kept, learning [2]arena
	w.users[0].place(&kept, &learning)
	w.learning = [2]kernels.Tensor{w.dev.Alloc(w.users[0].Options.DType, learning[0].off), w.dev.Alloc(kernels.F32, learning[1].off)}
	for _, m := range w.users {
		m.placed()
	}
}

// bytes is what the workspace takes while its owner learns: always, and only then.
func (w *workspace) bytes() (kept, learning int64) {
	return bytesOf(w.floats, w.exact), bytesOf(w.learning[:]...)
}

func bytesOf(ts ...kernels.Tensor) (n int64) {
	for _, t := range ts {
		n += int64(t.Len() * t.DType().Size())
	}
	return n
}

// close gives all of it back.
func (w *workspace) close() {
	w.suspend()
	w.dev.Free(w.floats)
	w.dev.Free(w.exact)
}

// leave takes a model out of the workspace; it is closed with its owner, which outlives the others.
func (m *Model) leave() {
	if m.work.users[0] == m {
		m.work.close()
		return
	}
	for i, u := range m.work.users {
		if u == m {
			m.work.users = append(m.work.users[:i:i], m.work.users[i+1:]...)
			return
		}
	}
}
