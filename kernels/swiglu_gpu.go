package kernels

// SwiGLU is y = silu(gate)·up.
func (g *GPU) SwiGLU(y, gate, up Tensor) {
	g.begin("SwiGLU")
	defer g.end()
	checkSwiGLU(y, gate, up)
	g.rowwise("swiglu_fwd", y.dims[0], y.dims[1]*y.dims[2], g.out(y), g.in(gate), g.in(up))
}

// SwiGLUBackward adds to dgate and dup, or writes them.
func (g *GPU) SwiGLUBackward(dgate, dup, dy, gate, up Tensor) {
	g.begin("SwiGLUBackward")
	defer g.end()
	checkSwiGLUBackward(dgate, dup, dy, gate, up)
	rows, cols := dy.dims[0], dy.dims[1]*dy.dims[2]
	dg, addGate := g.sum(dgate)
	du, addUp := g.sum(dup)
	if rows > 0 && cols > 0 {
		g.launch("swiglu_bwd", [3]int{ceil(cols, 2048), min(rows, 65535), 1}, 256, 0, dg, du, g.in(dy), g.in(gate), g.in(up),
			addGate, addUp, int32(rows), int32(cols))
	}
}

// Add is y += x.
func (g *GPU) Add(y, x Tensor) {
	g.begin("Add")
	defer g.end()
	checkSame("Add", "y", y, "x", x)
	g.rowwise("add", y.dims[0], y.dims[1]*y.dims[2], g.out(y), g.in(x))
}
