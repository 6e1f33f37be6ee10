package kernels

// Elementwise operations see each number by itself.
type Elementwise interface {
	// SwiGLU is y = silu(gate)·up, all (T,F).
	SwiGLU(y, gate, up Tensor)
	// SwiGLUBackward adds dgate += dy·up·silu′(gate), dup += dy·silu(gate), or writes those that are Fresh.
	SwiGLUBackward(dgate, dup, dy, gate, up Tensor)
	// Add is y += x.
	Add(y, x Tensor)
}

func checkSwiGLU(y, gate, up Tensor) {
	const op = "SwiGLU"
	checkSame(op, "y", y, "gate", gate)
	checkSame(op, "up", up, "gate", gate)
}

func checkSwiGLUBackward(dgate, dup, dy, gate, up Tensor) {
	const op = "SwiGLUBackward"
	checkSame(op, "dy", dy, "gate", gate)
	checkSame(op, "up", up, "gate", gate)
	if dgate.mem != nil {
		checkSame(op, "dgate", dgate, "gate", gate)
	}
	if dup.mem != nil {
		checkSame(op, "dup", dup, "gate", gate)
	}
}
