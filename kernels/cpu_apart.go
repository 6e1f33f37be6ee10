package kernels

// Apart is a device whose threads can work on their own, each with whole operations: rows that depend on no other need not wait for those
// of other threads, operation after operation, nor move from one core's cache to another's.
type Apart interface {
	// Parts has a device for each thread; nil: there is one thread. A part reads and writes the memory of the whole, and is closed with it.
	Parts() []Device
	// Apart calls f, inside Do, with the number of each part, each on a thread of its own, and waits for all. f uses its part alone; what
	// several read, weights among it, nobody writes meanwhile. cost estimates the time of all, in ns on one thread.
	Apart(cost int, f func(part int))
	// Pack makes what Linear and Draw read of matrices ready, so that parts only read it.
	Pack(ws []Tensor)
}

type apartJob struct {
	parts   []Device
	f       func(part int)
	packed  *memory // whose matrices were packed last
	count   int     // of them
	version uint64  // of its content
}

func (d *cpu) Parts() []Device {
	if len(d.workers) == 1 {
		return nil
	}
	for len(d.apart.parts) < len(d.workers) {
		p := newCPU(1, d.v)
		p.whole, p.cache = d, d.cache
		d.apart.parts = append(d.apart.parts, p)
	}
	return d.apart.parts
}

func (d *cpu) Apart(cost int, f func(part int)) {
	d.begin("Apart")
	d.apart.f = f
	d.each(len(d.workers), 1, cost, func(d *cpu, _ *worker, from, to int) {
		for i := from; i < to; i++ {
			d.apart.f(i)
		}
	})
}

func (d *cpu) Pack(ws []Tensor) {
	const op = "Pack"
	d.begin(op)
	j := &d.apart
	if len(ws) == 0 || j.packed == ws[0].mem && j.count == len(ws) && j.version == ws[0].mem.version {
		return
	}
	one := true
	for _, w := range ws {
		d.readsMatrix(op, w)
		d.packOf(w, true)
		one = one && w.mem == ws[0].mem
	}
	if j.packed = nil; one {
		j.packed, j.count, j.version = ws[0].mem, len(ws), ws[0].mem.version
	}
}
