package kernels

import (
	"fmt"
	"strings"
	"sync/atomic"
	"unsafe"
)

// DType is the type of a tensor's elements.
type DType uint8

const (
	F32 DType = iota + 1
	BF16
	I32
)

// Size is the number of bytes of an element.
func (d DType) Size() int {
	if d == BF16 {
		return 2
	}
	return 4
}

func (d DType) String() string {
	switch d {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// memory is one allocation of one device. The CPU keeps its elements in f32, b16 or i32, a GPU at ptr.
type memory struct {
	owner   Device
	home    *cpu // the owner, or what it is a part of, if it is a CPU device and the memory was not freed
	f32     []float32
	b16     []uint16
	i32     []int32
	words   []float32     // f32, or the memory of b16: two numbers a word, which is moved and never computed with
	ordered []panelled    // matrices that lie in panels, by their place: see Arrange
	pages   []pageState   // of the CPU's KV
	stamp   atomic.Uint32 // of the last AppendKV to them
	ptr     uint64
	bytes   int
	version uint64            // counts writes; what a device derives from the content (packed weights) is valid for one version
	packs   map[packKey]*pack // the CPU's packed weights
}

// A Tensor is a dense row-major array in one Device's memory. It is a value: copying it copies the header, slicing it
// allocates nothing. The zero Tensor means "absent". Whoever called Alloc calls Free.
type Tensor struct {
	mem   *memory
	off   int    // first element
	dims  [3]int // sizes of the rank first dimensions, 1 beyond
	ld    int    // elements from one row (index of the first dimension) to the next
	rank  int8
	dtype DType
	fresh bool // see Fresh
}

// newTensor describes the whole of mem.
func newTensor(mem *memory, dtype DType, shape []int) Tensor {
	if len(shape) < 1 || len(shape) > 3 {
		panic(fmt.Sprintf("kernels: a tensor has 1 to 3 dimensions, got %v", shape))
	}
	t := Tensor{mem: mem, rank: int8(len(shape)), dtype: dtype, dims: [3]int{1, 1, 1}}
	copy(t.dims[:], shape)
	t.ld = t.dims[1] * t.dims[2]
	return t
}

// Fresh is t as an output of a Backward that writes where it would add: what t holds is of no account, as if it were zero. LinearBackward
// takes such a dx and dw, SwiGLUBackward such a dgate and dup, AttentionBackward such dq, dk, dv, RMSNormBackward such a dx; other
// operations panic.
func (t Tensor) Fresh() Tensor {
	t.fresh = t.mem != nil
	return t
}

// Written is t once it is Fresh no more.
func (t Tensor) Written() Tensor {
	t.fresh = false
	return t
}

// sum is t itself, for an operation that takes it Fresh, and whether to add to it.
func (t Tensor) sum() (Tensor, bool) {
	return t.Written(), !t.fresh
}

// Absent reports whether t is the zero Tensor.
func (t Tensor) Absent() bool { return t.mem == nil }

// Device is the one whose memory holds the elements; nil of the zero Tensor.
func (t Tensor) Device() Device {
	if t.Absent() {
		return nil
	}
	return t.mem.owner
}

// DType is the type of the elements.
func (t Tensor) DType() DType { return t.dtype }

// Rank is the number of dimensions.
func (t Tensor) Rank() int { return int(t.rank) }

// Dim is the size of dimension i; 1 beyond the rank.
func (t Tensor) Dim(i int) int { return t.dims[i] }

// Shape is a copy of the sizes.
func (t Tensor) Shape() []int { return append([]int(nil), t.dims[:t.rank]...) }

// Len is the number of elements.
func (t Tensor) Len() int {
	if t.Absent() {
		return 0
	}
	return t.dims[0] * t.dims[1] * t.dims[2]
}

// Offset is where t begins in its allocation, in elements.
func (t Tensor) Offset() int { return t.off }

// SameMemory reports whether two tensors lie in one allocation.
func SameMemory(t, u Tensor) bool { return t.mem == u.mem }

// LD is the number of elements from one row to the next.
func (t Tensor) LD() int { return t.ld }

// Contiguous reports whether rows follow one another without a gap.
func (t Tensor) Contiguous() bool { return t.dims[0] <= 1 || t.ld == t.dims[1]*t.dims[2] }

// Rows is the view of rows [from, to) of the first dimension.
func (t Tensor) Rows(from, to int) Tensor {
	if from < 0 || to < from || to > t.dims[0] {
		panic(fmt.Sprintf("kernels: rows %d to %d of %v", from, to, t))
	}
	t.off += from * t.ld
	t.dims[0] = to - from
	return t
}

// Cols is the view of columns [from, to) of a matrix; its rows stay as far apart as they were.
func (t Tensor) Cols(from, to int) Tensor {
	if t.rank != 2 || from < 0 || to < from || to > t.dims[1] {
		panic(fmt.Sprintf("kernels: columns %d to %d of %v", from, to, t))
	}
	t.off += from
	t.dims[1] = to - from
	return t
}

// Split is the view of a matrix (T, n·d) as (T, n, d).
func (t Tensor) Split(d int) Tensor {
	if t.rank != 2 || d <= 0 || t.dims[1]%d != 0 {
		panic(fmt.Sprintf("kernels: split of %v into heads of %d", t, d))
	}
	t.dims[1], t.dims[2], t.rank = t.dims[1]/d, d, 3
	return t
}

// Reshape is the view of a contiguous tensor, or of its first elements, in another shape.
func (t Tensor) Reshape(shape ...int) Tensor {
	u := newTensor(t.mem, t.dtype, shape)
	u.off = t.off
	if !t.Contiguous() || u.Len() > t.Len() {
		panic(fmt.Sprintf("kernels: reshape of %v to %v", t, shape))
	}
	return u
}

// As is the view of a tensor of I32 as one of F32, of the same bits.
func (t Tensor) As(dtype DType) Tensor {
	if t.dtype != I32 || dtype != F32 {
		panic(fmt.Sprintf("kernels: As: %v as %v", t, dtype))
	}
	if m := t.mem; m.i32 != nil && m.f32 == nil {
		m.f32 = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m.i32))), len(m.i32))
	}
	t.dtype = F32
	return t
}

// Halved is the view of a matrix of F32 on a GPU as one of BF16, each row of which lies in the first half of the row: see LogProbBackward.
func (t Tensor) Halved() Tensor {
	if t.dtype != F32 || t.rank != 2 || t.mem.home != nil {
		panic(fmt.Sprintf("kernels: halves of %v: it must be a matrix of f32 on a GPU", t))
	}
	t.dtype, t.off, t.ld = BF16, 2*t.off, 2*t.ld
	return t
}

// String prints type and shape, never content: the content may live on another device.
func (t Tensor) String() string {
	if t.Absent() {
		return "absent"
	}
	var b strings.Builder
	b.WriteString(t.dtype.String())
	b.WriteByte('[')
	for i := range int(t.rank) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, t.dims[i])
	}
	if !t.Contiguous() {
		fmt.Fprintf(&b, " ld %d", t.ld)
	}
	b.WriteByte(']')
	return b.String()
}

// KV is one layer's pages of keys and values, PageTokens tokens a page. Only its device knows their layout.
type KV struct {
	mem   *memory
	Pages int
	Heads Heads
}
