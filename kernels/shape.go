package kernels

import "fmt"

// The checks of this file are the first line of every operation of every device. They read headers only, allocate nothing
// unless they panic, and return the sizes by the letters of the package comment.

// wrong panics with both sides of a disagreement.
func wrong(op, nameA string, a Tensor, nameB string, b Tensor, why string) {
	panic(fmt.Sprintf("kernels: %s: %s is %v, %s is %v: %s", op, nameA, a, nameB, b, why))
}

// needs panics because t is not what op takes.
func needs(op, name string, t Tensor, want string) {
	panic(fmt.Sprintf("kernels: %s: %s is %v, it must be %s", op, name, t, want))
}

// checkFloats demands a tensor of floating-point numbers of the given rank.
func checkFloats(op, name string, t Tensor, rank int8) {
	if t.mem == nil || t.dtype == I32 || t.rank != rank {
		needs(op, name, t, fmt.Sprintf("floating point of %d dimensions", rank))
	}
}

// checkVector demands n contiguous numbers of one type.
func checkVector(op, name string, t Tensor, dtype DType, n int) {
	if t.mem == nil || t.dtype != dtype || t.rank != 1 || t.dims[0] != n {
		needs(op, name, t, fmt.Sprintf("%v[%d]", dtype, n))
	}
}

// checkOptional is checkVector where absent is allowed.
func checkOptional(op, name string, t Tensor, dtype DType, n int) {
	if t.mem != nil {
		checkVector(op, name, t, dtype, n)
	}
}

// checkSame demands two floating-point tensors of one shape; their types and row distances may differ.
func checkSame(op, nameA string, a Tensor, nameB string, b Tensor) {
	if a.mem == nil || b.mem == nil || a.dtype == I32 || b.dtype == I32 {
		wrong(op, nameA, a, nameB, b, "both must be floating point")
	}
	if a.dims != b.dims || a.rank != b.rank {
		wrong(op, nameA, a, nameB, b, "shapes differ")
	}
}
