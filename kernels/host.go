package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// Numbers of the host are a []float32, an []int32 or a []uint16 of bf16 bits. A tensor of F32 or BF16 takes and gives the first and the
// last, one of I32 the second.

// hostNumbers is what Upload reads or Download writes, out of its *tensor.Dense: as many numbers as t has, and of a kind that fits.
func hostNumbers(op, side string, t Tensor, x any) any {
	if dense, ok := x.(*tensor.Dense); ok {
		x = dense.Data()
	}
	n, fits := -1, false
	switch x := x.(type) {
	case []float32:
		n, fits = len(x), t.dtype != I32
	case []uint16:
		n, fits = len(x), t.dtype != I32
	case []int32:
		n, fits = len(x), t.dtype == I32
	}
	if n != t.Len() || !fits {
		panic(fmt.Sprintf("kernels: %s: the tensor is %v, the %s %T of %d elements", op, t, side, x, n))
	}
	return x
}

// convert writes n numbers of src, from the given one on, to dst[to:]. float32 is rounded to bf16 as roundBF16 does.
func convert(dst any, to int, src any, from, n int) {
	switch dst := dst.(type) {
	case []int32:
		copy(dst[to:to+n], src.([]int32)[from:])
	case []float32:
		dst = dst[to : to+n]
		switch src := src.(type) {
		case []float32:
			copy(dst, src[from:])
		case []uint16:
			for i, x := range src[from : from+n] {
				dst[i] = math.Float32frombits(uint32(x) << 16)
			}
		}
	case []uint16:
		dst = dst[to : to+n]
		switch src := src.(type) {
		case []float32:
			for i, x := range src[from : from+n] {
				dst[i] = BF16Bits(x)
			}
		case []uint16:
			copy(dst, src[from:])
		}
	}
}

// BF16Bits is x rounded to the nearest number that bf16 has, as its bits.
func BF16Bits(x float32) uint16 { return uint16(math.Float32bits(roundBF16(x)) >> 16) }

// roundBF16 rounds to the nearest number that bf16 has, ties to even.
func roundBF16(x float32) float32 {
	b := math.Float32bits(x)
	if x != x {
		return math.Float32frombits(b&0xffff0000 | 0x400000)
	}
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

// runs calls f for each run of t's elements without a gap: n of them, at an index into the memory, the from-th of the tensor.
func (t Tensor) runs(f func(at, from, n int)) {
	if t.Len() == 0 {
		return // a view of nothing may begin beyond the memory
	}
	if t.Contiguous() {
		f(t.off, 0, t.Len())
		return
	}
	width := t.dims[1] * t.dims[2]
	for r := range t.dims[0] {
		f(t.off+r*t.ld, r*width, width)
	}
}

// A GPU keeps numbers as the host does, little-endian.

// appendBytes appends to b the bytes that a tensor of the type holds for n numbers of the host.
func appendBytes(b []byte, dtype DType, src any, n int) []byte {
	stored := src
	if !storedAs(dtype, src) {
		stored = numbersOf(dtype, n)
		convert(stored, 0, src, 0, n)
	}
	b, err := binary.Append(slices.Grow(b, n*dtype.Size()), binary.LittleEndian, stored)
	if err != nil {
		panic(err) // the kinds are fixed
	}
	return b
}

// fromBytes is appendBytes backwards.
func fromBytes(dst any, dtype DType, b []byte, n int) {
	stored := dst
	if !storedAs(dtype, dst) {
		stored = numbersOf(dtype, n)
	}
	if _, err := binary.Decode(b, binary.LittleEndian, stored); err != nil {
		panic(err) // the lengths are equal
	}
	if !storedAs(dtype, dst) {
		convert(dst, 0, stored, 0, n)
	}
}

// storedAs reports whether a tensor of the type holds numbers of the host as they are.
func storedAs(dtype DType, x any) bool {
	switch x.(type) {
	case []float32:
		return dtype == F32
	case []uint16:
		return dtype == BF16
	}
	return dtype == I32
}

// numbersOf is n numbers of the host as a tensor of the type holds them.
func numbersOf(dtype DType, n int) any {
	switch dtype {
	case F32:
		return make([]float32, n)
	case BF16:
		return make([]uint16, n)
	}
	return make([]int32, n)
}
