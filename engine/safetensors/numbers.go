package safetensors

import "unsafe"

// littleEndian says that this machine keeps numbers as files do.
var littleEndian = *(*byte)(unsafe.Pointer(&[]uint16{1}[0])) == 1

// Numbers is the tensor where it lies in the file: []uint16, the bits of BF16, or []float32 of F32. It is nil where the type is another,
// or the file's bytes are no numbers of this machine as they stand: Float32s reads all.
func (t Tensor) Numbers() any {
	if !littleEndian || len(t.Bytes) == 0 {
		return nil
	}
	first := unsafe.Pointer(&t.Bytes[0])
	switch at := uintptr(first); {
	case t.DType == "BF16" && at%2 == 0:
		return unsafe.Slice((*uint16)(first), t.Len())
	case t.DType == "F32" && at%4 == 0:
		return unsafe.Slice((*float32)(first), t.Len())
	}
	return nil
}

// Release lets the memory go that the tensor's bytes were read into. They stay readable: from the file once more.
func (t Tensor) Release() { release(t.Bytes) }
