package kernels

import "fmt"

// Products multiply by weights.
type Products interface {
	// Linear is y = x·wᵀ + b. y (T,N), x (T,M), w (N,M), b (N) or absent.
	Linear(y, x, w, b Tensor)
	// Arrange lets the device keep w (N,M), the whole of a contiguous matrix, in the order in which Linear reads it, rather than in two.
	// What it holds is lost. From then on it is for Linear, Embed, Copy, Zero and the doors, whole rows at a time. A device whose
	// products read rows does nothing.
	Arrange(w Tensor)
	// LinearBackward adds dx += dy·w, dw += dyᵀ·x, db += Σ_t dy[t]. A dx or dw that is Fresh is written: the bits of adding to zeros.
	LinearBackward(dx, dw, db, dy, x, w Tensor)
}

func checkLinear(y, x, w, b Tensor) (T, N, M int) {
	const op = "Linear"
	checkFloats(op, "y", y, 2)
	checkFloats(op, "x", x, 2)
	checkFloats(op, "w", w, 2)
	if x.dims[1] != w.dims[1] {
		wrong(op, "x", x, "w", w, fmt.Sprintf("inner sizes %d and %d differ", x.dims[1], w.dims[1]))
	}
	if y.dims[0] != x.dims[0] {
		wrong(op, "y", y, "x", x, "numbers of rows differ")
	}
	if y.dims[1] != w.dims[0] {
		wrong(op, "y", y, "w", w, "y must have a column for each row of w")
	}
	if b.mem != nil {
		checkFloats(op, "b", b, 1)
		if b.dims[0] != w.dims[0] {
			wrong(op, "b", b, "w", w, "b must have a number for each row of w")
		}
	}
	return y.dims[0], y.dims[1], x.dims[1]
}

// checkLinearBackward lets dx, dw and db be absent, x where dw is, and w where dx is. M is 0 if neither is wanted.
func checkLinearBackward(dx, dw, db, dy, x, w Tensor) (T, N, M int) {
	const op = "LinearBackward"
	checkFloats(op, "dy", dy, 2)
	T, N = dy.dims[0], dy.dims[1]
	if dx.mem != nil {
		checkFloats(op, "dx", dx, 2)
		checkFloats(op, "w", w, 2)
		if dx.dims[0] != T {
			wrong(op, "dx", dx, "dy", dy, "numbers of rows differ")
		}
		if w.dims[0] != N {
			wrong(op, "w", w, "dy", dy, "dy must have a column for each row of w")
		}
		if dx.dims[1] != w.dims[1] {
			wrong(op, "dx", dx, "w", w, "inner sizes differ")
		}
		M = w.dims[1]
	}
	if dw.mem != nil {
		checkFloats(op, "dw", dw, 2)
		checkFloats(op, "x", x, 2)
		if x.dims[0] != T {
			wrong(op, "x", x, "dy", dy, "numbers of rows differ")
		}
		if dw.dims[0] != N {
			wrong(op, "dw", dw, "dy", dy, "dy must have a column for each row of dw")
		}
		if dw.dims[1] != x.dims[1] {
			wrong(op, "dw", dw, "x", x, "inner sizes differ")
		}
		if dx.mem != nil && x.dims[1] != M {
			wrong(op, "x", x, "w", w, "inner sizes differ")
		}
		M = x.dims[1]
	}
	if db.mem != nil {
		checkFloats(op, "db", db, 1)
		if db.dims[0] != N {
			wrong(op, "db", db, "dy", dy, "db must have a number for each column of dy")
		}
	}
	return T, N, M
}
