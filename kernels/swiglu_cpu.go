package kernels

type gluJob struct{ y, gate, up, dgate, dup, dy Tensor }

func (d *cpu) SwiGLU(y, gate, up Tensor) {
	const op = "SwiGLU"
	d.begin(op)
	checkSwiGLU(y, gate, up)
	d.reads(op, gate)
	d.reads(op, up)
	d.writes(op, y)
	d.glu = gluJob{y: y, gate: gate, up: up}
	d.each(y.dims[0], 8, y.Len()/3, func(d *cpu, _ *worker, from, to int) {
		j := &d.glu
		for t := from; t < to; t++ {
			d.v.swiglu(j.y.row(t), j.gate.row(t), j.up.row(t))
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
	d.writes(op, dgate)
	d.writes(op, dup)
	d.glu = gluJob{gate: gate, up: up, dgate: dgate, dup: dup, dy: dy}
	d.each(dy.dims[0], 8, dy.Len()/2, func(d *cpu, _ *worker, from, to int) {
		j := &d.glu
		for t := from; t < to; t++ {
			var dg, du []float32
			if j.dgate.mem != nil {
				dg = j.dgate.row(t)
			}
			if j.dup.mem != nil {
				du = j.dup.row(t)
			}
			d.v.swigluBack(dg, du, j.dy.row(t), j.gate.row(t), j.up.row(t))
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
	d.each(y.dims[0], 16, y.Len()/8, func(d *cpu, _ *worker, from, to int) {
		j := &d.glu
		for t := from; t < to; t++ {
			d.v.add(j.y.row(t), j.up.row(t))
		}
	})
}
