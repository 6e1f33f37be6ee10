package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// Tensor is one tensor of a file, as it is stored.
type Tensor struct {
	Name  string
	DType string // "F32", "BF16", …
	Shape []int  // empty: a scalar
	Bytes []byte // little-endian, row-major; read only
}

// Len is the number of elements.
func (t Tensor) Len() int { return len(t.Bytes) / widths[t.DType] }

// Part is the elements [from, to) of the tensor, as a vector.
func (t Tensor) Part(from, to int) Tensor {
	w := widths[t.DType]
	t.Shape, t.Bytes = []int{to - from}, t.Bytes[from*w:to*w]
	return t
}

// Float32s fills dst, of as many elements, from F32, BF16, F16 (both exactly) or F64 (rounded).
func (t Tensor) Float32s(dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("safetensors: %s has %d elements, the destination %d", t.Name, t.Len(), len(dst))
	}
	switch t.DType {
	case "F32":
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Bytes[4*i:]))
		}
	case "BF16":
		for i := range dst {
			dst[i] = bf16Value(binary.LittleEndian.Uint16(t.Bytes[2*i:]))
		}
	case "F16":
		for i := range dst {
			dst[i] = fromFloat16(binary.LittleEndian.Uint16(t.Bytes[2*i:]))
		}
	case "F64":
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Bytes[8*i:])))
		}
	default:
		return fmt.Errorf("safetensors: %s is %s: only F32, BF16, F16 and F64 are read as numbers", t.Name, t.DType)
	}
	return nil
}

// Dense is the tensor as an array in float32 with its shape, a copy that outlives the file. A scalar is an array of one
// element; a tensor without elements is an error.
func (t Tensor) Dense() (*tensor.Dense, error) {
	if t.Len() == 0 {
		return nil, fmt.Errorf("safetensors: %s%v holds no number", t.Name, t.Shape)
	}
	values := make([]float32, t.Len())
	if err := t.Float32s(values); err != nil {
		return nil, err
	}
	shape := t.Shape
	if len(shape) == 0 {
		shape = []int{1}
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values)), nil
}

// Same reports whether two tensors are stored alike, bit for bit.
func (t Tensor) Same(o Tensor) bool {
	return t.DType == o.DType && slices.Equal(t.Shape, o.Shape) && bytes.Equal(t.Bytes, o.Bytes)
}

// fromFloat16 is the number that the bits of IEEE binary16 mean; every one has a float32.
func fromFloat16(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0: // zero or subnormal: frac · 2^−24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*(1.0/(1<<24))))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// bf16Value is the number that the bits of bf16 mean.
func bf16Value(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
