package kernels

const shortRow = 512 // numbers of a row of which the next is asked for

type gluJob struct {
	y, gate, up, dgate, dup, dy Tensor
	addGate, addUp              bool
}

func (d *cpu) SwiGLU(y, gate, up Tensor) {
	const op = "SwiGLU"
	d.begin(op)
	checkSwiGLU(y, gate, up)
	d.reads(op, gate)
	d.reads(op, up)
	d.writes(op, y)
	d.glu = gluJob{y: y, gate: gate, up: up}
	d.each(y.dims[0], 8, y.Len()/3, func(d *cpu, w *worker, from, to int) {
		j := &d.glu
		for t := from; t < to; t++ {
			y := w.roomRow(0, j.y, t)
			d.v.swiglu(y, w.loadRow(d.v, 1, j.gate, t), w.loadRow(d.v, 2, j.up, t))
			storeRow(d.v, j.y, t, y)
		}
	})
}

// SwiGLUBackward, with s = sigmoid(gate): dgate += dy·up·s·(1 + gate·(1−s)), dup += dy·gate·s.
func (d *cpu) SwiGLUBackward(dgate, dup, dy, gate, up Tensor) {
	const op = "SwiGLUBackward"
	d.begin(op)
	checkSwiGLUBackward(dgate, dup, dy, gate, up)
	d.reads(op, dy)
	d.reads(op, gate)
	d.reads(op, up)
	dgate, addGate := dgate.sum()
	dup, addUp := dup.sum()
	d.writes(op, dgate)
	d.writes(op, dup)
	d.glu = gluJob{gate: gate, up: up, dgate: dgate, dup: dup, dy: dy, addGate: addGate, addUp: addUp}
	d.each(dy.dims[0], 8, dy.Len()/2, func(d *cpu, w *worker, from, to int) {
		j := &d.glu
		fresh := !j.addGate && !j.addUp
		short := j.gate.dtype == F32 && j.gate.dims[1] > 0 && j.gate.dims[1] <= shortRow && j.up.dtype == F32
		for t := from; t < to; t++ {
			if short && t+1 < to { // what asks for memory ahead on its own begins anew with each row
				d.v.fetch(&j.gate.at(t + 1)[0], 4*j.gate.dims[1], 0, 1)
				d.v.fetch(&j.up.at(t + 1)[0], 4*j.up.dims[1], 0, 1)
			}
			var dg, du []float32
			if j.dgate.mem != nil {
				dg = w.sumRow(d.v, 0, j.dgate, t, j.addGate, fresh)
			}
			if j.dup.mem != nil {
				du = w.sumRow(d.v, 1, j.dup, t, j.addUp, fresh)
			}
			d.v.swigluBack(dg, du, w.loadRow(d.v, 2, j.dy, t), w.loadRow(d.v, 3, j.gate, t), w.loadRow(d.v, 4, j.up, t), fresh)
			if dg != nil {
				storeRow(d.v, j.dgate, t, dg)
			}
			if du != nil {
				storeRow(d.v, j.dup, t, du)
			}
		}
	})
}

func (d *cpu) Add(y, x Tensor) {
	const op = "Add"
	d.begin(op)
	checkSame(op, "y", y, "x", x)
	d.reads(op, x)
	d.writes(op, y)
	d.glu = gluJob{y: y, up: x}
	d.each(y.dims[0], 16, y.Len()/8, func(d *cpu, w *worker, from, to int) {
		j := &d.glu
		for t := from; t < to; t++ {
			y := w.loadRow(d.v, 0, j.y, t)
			d.v.add(y, w.loadRow(d.v, 1, j.up, t))
			storeRow(d.v, j.y, t, y)
		}
	})
}
