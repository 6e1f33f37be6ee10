package kernels

import "fmt"

// Norms scale rows to unit size.
type Norms interface {
	// RMSNorm is x += add, unless that is absent, then y = w · x/√(mean(x²)+eps) over the last dimension. x, add, y (T,C), or (T,H,D)
	// with w (D); rstd (T) or (T,H) f32 keeps 1/√(…), or is absent. Zhang 2019.
	RMSNorm(y, rstd, x, add, w Tensor, eps float32)
	// RMSNormBackward adds to dx and dw. A dx that is Fresh is written.
	RMSNormBackward(dx, dw, dy, x, w, rstd Tensor)
}

func checkRMSNorm(y, rstd, x, add, w Tensor) (T, H, C int) {
	const op = "RMSNorm"
	T, H, C = checkNorm(op, "y", y, rstd, x, w)
	if add.mem != nil {
		checkSame(op, "add", add, "x", x)
	}
	return T, H, C
}

func checkNormBackward(dx, dw, dy, x, w, rstd Tensor) (T, H, C int) {
	const op = "RMSNormBackward"
	if rstd.mem == nil {
		needs(op, "rstd", rstd, "what RMSNorm kept")
	}
	T, H, C = checkNorm(op, "dy", dy, rstd, x, w)
	if dx.mem != nil {
		checkSame(op, "dx", dx, "x", x)
	}
	if dw.mem != nil {
		checkSame(op, "dw", dw, "w", w)
	}
	return T, H, C
}

// checkNorm reads x as T tokens of H rows of C numbers; H is 1 for a matrix.
func checkNorm(op, yName string, y, rstd, x, w Tensor) (T, H, C int) {
	checkSame(op, yName, y, "x", x)
	if x.rank < 2 {
		needs(op, "x", x, "of 2 or 3 dimensions")
	}
	T, H, C = x.dims[0], 1, x.dims[1]
	if x.rank == 3 {
		H, C = x.dims[1], x.dims[2]
	}
	checkFloats(op, "w", w, 1)
	if w.dims[0] != C {
		wrong(op, "w", w, "x", x, "w must have a number for each one of a row of x")
	}
	checkRstd(op, "rstd", rstd, T, H)
	return T, H, C
}

// checkRstd lets a norm's 1/√(…) be absent.
func checkRstd(op, name string, rstd Tensor, T, H int) {
	if rstd.mem != nil && (rstd.dtype != F32 || !rstd.Contiguous() || rstd.Len() != T*H || rstd.dims[0] != T) {
		needs(op, name, rstd, fmt.Sprintf("f32 of %d rows by %d heads, contiguous", T, H))
	}
}
