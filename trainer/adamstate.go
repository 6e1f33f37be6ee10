package trainer

import k "retool/kernels"

// adamState is what an optimizer keeps for each number that it updates, in float32: two moments and, of a sharded bf16 model, the master
// copy. Of a model of halves it keeps the half of the master copy that the weights are not, and moments in bf16. It lies on the device;
// offloaded, in the host's memory, from where it passes through the device a window at a time. Where it lies changes no bit.
type adamState struct {
	dev  k.Device
	n    int          // numbers
	half bool         // of a model of halves
	on   [3]k.Tensor  // m, v, master: all of them, or of one window; absent: none
	host [3][]float32 // offloaded: all of them
	off  bool
}

// Kinds of what there is.
const (
	stateM = iota
	stateV
	stateMaster
)

// Window is how many numbers pass through the device at a time.
const Window = 1 << 22

// newAdamState makes room for n numbers, of zero. A master copy that is elsewhere, on the device or on the host, is taken as it is.
func newAdamState(dev k.Device, n int, offload, masters, halves bool, master k.Tensor, host []float32) *adamState {
	h := &adamState{dev: dev, n: n, off: offload, half: halves}
	dtype := k.F32
	if halves {
		dtype = k.BF16
	}
	for i := range h.on {
		if n == 0 || i == stateMaster && !masters {
			continue
		}
		if offload {
			if h.host[i] = host; i != stateMaster || host == nil {
				h.host[i] = make([]float32, n)
			}
			h.on[i] = dev.Alloc(k.F32, min(n, Window))
		} else {
			h.on[i] = dev.Alloc(dtype, n)
		}
	}
	if !masters {
		h.on[stateMaster] = master
	}
	return h
}

// free gives back what newAdamState allocated.
func (h *adamState) free(masters bool) {
	for i, t := range h.on {
		if i != stateMaster || masters {
			h.dev.Free(t)
		}
	}
}

// forget sets the moments to zero.
func (h *adamState) forget() error {
	if h.off {
		clear(h.host[stateM])
		clear(h.host[stateV])
		return nil
	}
	if h.n == 0 {
		return nil
	}
	return h.dev.Do(func() { h.dev.Zero(h.on[stateM]); h.dev.Zero(h.on[stateV]) })
}

// each gives numbers [from, to) to f, inside Do, with their m, v and master (absent: none): all at once, or a window after another.
func (h *adamState) each(from, to int, f func(from, to int, m, v, master k.Tensor)) error {
	step := max(1, to-from)
	if h.off {
		step = Window
	}
	for at := from; at < to; at += step {
		end := min(at+step, to)
		var part [3]k.Tensor
		for i, t := range h.on {
			switch {
			case t.Absent():
			case h.off:
				part[i] = t.Rows(0, end-at)
				h.dev.Upload(part[i], h.host[i][at:end])
			default:
				part[i] = t.Rows(at, end)
			}
		}
		if err := h.dev.Do(func() { f(at, end, part[stateM], part[stateV], part[stateMaster]) }); err != nil {
			return err
		}
		for i := range part {
			if h.off && !part[i].Absent() {
				h.dev.Download(h.host[i][at:end], part[i])
			}
		}
	}
	return nil
}

// read copies the numbers of a kind from number from on to the host.
func (h *adamState) read(kind, from int, to []float32) {
	if h.off {
		copy(to, h.host[kind][from:])
		return
	}
	h.dev.Download(to, h.on[kind].Rows(from, from+len(to)))
}

// write takes numbers of a kind, from number from on, from the host.
func (h *adamState) write(kind, from int, values []float32) {
	if h.off {
		copy(h.host[kind][from:], values)
		return
	}
	h.dev.Upload(h.on[kind].Rows(from, from+len(values)), values)
}

// take makes src, on the device, the master copy; put is the way back. w is the weights of the same numbers.
func (h *adamState) take(src, w k.Tensor) {
	switch {
	case h.n == 0:
	case h.off:
		h.dev.Download(h.host[stateMaster], src)
	default:
		_ = h.dev.Do(func() { // a failure of the device is the next pass's to report
			if h.half {
				h.dev.Split(w, h.on[stateMaster], src)
			} else {
				h.dev.Copy(h.on[stateMaster], src)
			}
		})
	}
}

func (h *adamState) put(dst, w k.Tensor) error {
	switch {
	case h.n == 0:
		return nil
	case h.off:
		h.dev.Upload(dst, h.host[stateMaster])
		return nil
	}
	return h.dev.Do(func() {
		if h.half {
			h.dev.Join(dst, w, h.on[stateMaster])
		} else {
			h.dev.Copy(dst, h.on[stateMaster])
		}
	})
}
