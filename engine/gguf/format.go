package gguf

import (
	"fmt"
	"slices"
	"strings"
)

// magic begins a file: "GGUF" in little-endian.
const magic = 0x46554747

// defaultAlignment is where tensors begin if general.alignment does not say otherwise, in bytes.
const defaultAlignment = 32

// KV is one entry of the metadata. Value is a uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64, bool or string, a
// slice of one of them, or []any of slices.
type KV struct {
	Key   string
	Value any
}

// The numbers of value types in a file.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

// TensorType says how the elements of a tensor are stored.
type TensorType uint32

// The types that are read. The first three and Q8_0 are written too.
const (
	F32  TensorType = 0
	F16  TensorType = 1
	BF16 TensorType = 30
	Q8_0 TensorType = 8
	Q4_0 TensorType = 2
	Q4_1 TensorType = 3
	Q5_0 TensorType = 6
	Q5_1 TensorType = 7
	Q4_K TensorType = 12
	Q5_K TensorType = 13
	Q6_K TensorType = 14
)

// layout is a block: so many elements of a row in so many bytes.
type layout struct {
	name     string
	elements int
	bytes    int
	decode   func(dst []float32, block []byte)
}

var layouts = map[TensorType]layout{
	F32:  {"F32", 1, 4, decodeF32},
	F16:  {"F16", 1, 2, decodeF16},
	BF16: {"BF16", 1, 2, decodeBF16},
	Q8_0: {"Q8_0", 32, 2 + 32, decodeQ8_0},
	Q4_0: {"Q4_0", 32, 2 + 16, decodeQ4_0},
	Q4_1: {"Q4_1", 32, 2 + 2 + 16, decodeQ4_1},
	Q5_0: {"Q5_0", 32, 2 + 4 + 16, decodeQ5_0},
	Q5_1: {"Q5_1", 32, 2 + 2 + 4 + 16, decodeQ5_1},
	Q4_K: {"Q4_K", 256, 2 + 2 + 12 + 128, decodeQ4_K},
	Q5_K: {"Q5_K", 256, 2 + 2 + 12 + 32 + 128, decodeQ5_K},
	Q6_K: {"Q6_K", 256, 128 + 64 + 16 + 2, decodeQ6_K},
}

// otherTypes are those that the format knows and this package does not read.
var otherTypes = map[TensorType]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
	22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
	40: "NVFP4", 41: "Q1_0",
}

func (t TensorType) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	if name, ok := otherTypes[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// knownTypes lists what is read, for error messages.
func knownTypes() string {
	var names []string
	for _, l := range layouts {
		names = append(names, l.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Size is the number of bytes that n elements of a row, or of whole rows, take.
func (t TensorType) Size(n int) int {
	l := layouts[t]
	return n / l.elements * l.bytes
}

// Fits reports whether rows of n elements are whole blocks.
func (t TensorType) Fits(n int) bool { return n%layouts[t].elements == 0 }

// Tensor is one tensor of a file.
type Tensor struct {
	Name  string
	Type  TensorType
	Shape []int // rows first: the file has the dimensions the other way round
	at    int64 // where it begins in the file
}

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// row is the number of elements in a row.
func (t Tensor) row() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

// Size is the number of bytes that it takes in the file.
func (t Tensor) Size() int { return t.Type.Size(t.Len()) }
