package kernels

// A BF16 tensor takes two bytes a number, and no loop computes in it: a row is widened, exactly, into floats of the worker's own, what
// comes of it is rounded once, to nearest and even, and stored. So each operation is that on float32 numbers, its results rounded where
// its contract says they are stored, and all that holds for the bits of float32 holds for these.
//
// Operations that go row by row widen into lanes of the worker. Attention, the gradients of products and the activations of a product
// are widened as a whole, into temporaries of the device that all operations share. Weights are widened by the product kernels
// themselves: see pack.

const (
	laneSlots = 6 // rows that a worker holds widened at a time
	tempSlots = 9 // tensors that an operation holds widened at a time
)

// lane is n floats of the worker's own, of unknown content.
func (w *worker) lane(slot, n int) []float32 {
	if cap(w.lanes[slot]) < n {
		w.lanes[slot] = floats(n + n/4)
	}
	return w.lanes[slot][:n:n]
}

// load is n numbers of t's memory from at on: where they stand, or, of BF16, widened into a lane.
func (w *worker) load(v *simd, slot int, t Tensor, at, n int) []float32 {
	if t.dtype == F32 {
		return t.mem.f32[at : at+n : at+n]
	}
	x := w.lane(slot, n)
	v.widen(x, t.mem.b16[at:at+n])
	return x
}

// room is load for what will be overwritten.
func (w *worker) room(slot int, t Tensor, at, n int) []float32 {
	if t.dtype == F32 {
		return t.mem.f32[at : at+n : at+n]
	}
	return w.lane(slot, n)
}

// store puts what load or room gave, and was computed since, where it belongs.
func store(v *simd, t Tensor, at int, x []float32) {
	if t.dtype == BF16 {
		v.narrow(t.mem.b16[at:at+len(x)], x)
	}
}

// place is where row i of the first dimension begins in t's memory, and how many numbers it has.
func (t Tensor) place(i int) (at, n int) { return t.off + i*t.ld, t.dims[1] * t.dims[2] }

// loadRow is load of row i.
func (w *worker) loadRow(v *simd, slot int, t Tensor, i int) []float32 {
	at, n := t.place(i)
	return w.load(v, slot, t, at, n)
}

// bf16Row is row i of t in bf16: where it stands, or, of F32, rounded in a lane.
func (w *worker) bf16Row(v *simd, slot int, t Tensor, i int) []uint16 {
	at, n := t.place(i)
	if t.dtype == BF16 {
		return t.mem.b16[at : at+n : at+n]
	}
	x := halves(w.lane(slot, (n+1)/2), n)
	v.narrow(x, t.mem.f32[at:at+n])
	return x
}

// roomRow is room of row i.
func (w *worker) roomRow(slot int, t Tensor, i int) []float32 {
	at, n := t.place(i)
	return w.room(slot, t, at, n)
}

// sumRow is where something is added to row i: to its numbers, or to zeros; or where it is written, whatever is there.
func (w *worker) sumRow(v *simd, slot int, t Tensor, i int, add, written bool) []float32 {
	if add {
		return w.loadRow(v, slot, t, i)
	}
	row := w.roomRow(slot, t, i)
	if !written {
		clear(row)
	}
	return row
}

// storeRow is store of row i.
func storeRow(v *simd, t Tensor, i int, x []float32) { store(v, t, t.off+i*t.ld, x) }

type moveJob struct{ dst, src Tensor }

// temp is a contiguous float32 tensor of t's shape in a slot of the device's; its content is unknown.
func (d *cpu) temp(slot int, t Tensor) Tensor {
	m, n := d.temps[slot], t.Len()
	if m == nil || len(m.f32) < n {
		m = &memory{owner: d, home: d, f32: floats(n + n/4)}
		m.words = m.f32
		d.temps[slot] = m
	}
	m.version++
	t.mem, t.off, t.ld, t.dtype = m, 0, t.dims[1]*t.dims[2], F32
	return t
}

// wide is t itself, or where it is BF16 its numbers in a temporary.
func (d *cpu) wide(slot int, t Tensor) Tensor {
	if t.mem == nil || t.dtype != BF16 {
		return t
	}
	u := d.temp(slot, t)
	d.move = moveJob{u, t}
	n := t.dims[1] * t.dims[2]
	d.each(t.dims[0], 1+2048/max(n, 1), t.Len()/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.move
		for i := from; i < to; i++ {
			at, n := j.src.place(i)
			d.v.widen(j.dst.row(i), j.src.mem.b16[at:at+n])
		}
	})
	return u
}

// wideRoom is wide for what will be overwritten.
func (d *cpu) wideRoom(slot int, t Tensor) Tensor {
	if t.mem == nil || t.dtype != BF16 {
		return t
	}
	return d.temp(slot, t)
}

// settle rounds into t what was computed in u, which wide or wideRoom gave for it.
func (d *cpu) settle(t, u Tensor) {
	if t.mem == nil || t.dtype != BF16 {
		return
	}
	d.move = moveJob{t, u}
	n := t.dims[1] * t.dims[2]
	d.each(t.dims[0], 1+2048/max(n, 1), t.Len()/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.move
		for i := from; i < to; i++ {
			storeRow(d.v, j.dst, i, j.src.row(i))
		}
	})
}

// wideVec is all of a contiguous tensor of floats, such as a norm's weights; nil of an absent one.
func (d *cpu) wideVec(slot int, t Tensor) []float32 {
	if t.mem == nil || t.dtype != BF16 {
		return t.vec()
	}
	u := d.temp(slot, t)
	d.v.widen(u.vec(), t.mem.b16[t.off:t.off+t.Len()])
	return u.vec()
}
