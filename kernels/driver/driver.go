package driver

import "fmt"

// Ptr is an address in the GPU's memory. 0 is never valid.
type Ptr uint64

// Stream, Event and Graph are handles of the driver that made them. Stream 0 is the stream every driver has.
type (
	Stream uintptr
	Event  uintptr
	Graph  uintptr
)

// Info says what one GPU is.
type Info struct {
	Name            string
	Capability      int    // 80 for sm_80, 90 for sm_90
	Multiprocessors int    // streaming multiprocessors
	Memory          int64  // bytes
	SharedPerBlock  int    // bytes a block may ask for after opting in
	Version         string // of the driver; with the name it fixes what PTX is compiled to, and so the bits
	Immediate       bool   // operations take effect at once: an error names the one that caused it
}

// Attr is what the compiler made of one kernel.
type Attr struct {
	Registers int // a thread
	Local     int // bytes a thread keeps in local memory: spills, if it declares none
	Shared    int // static shared bytes
	Threads   int // the most threads a block may have
}

// Func is one kernel of a loaded module.
type Func interface {
	Name() string
	Attr() Attr
	// Params are the bytes of every parameter; nil where the driver does not tell, one before CUDA 12.4.
	Params() []int
}

// Module is PTX that the driver has compiled.
type Module interface {
	// Func finds an entry by its name.
	Func(name string) (Func, error)
}

// Launch is one launch of a kernel. Params holds the values of its parameters one right behind the other, little endian, and Sizes how many
// bytes each has. Where in the kernel's memory they stand is the driver's business: on sm_90 it is not what C's rules of layout give.
type Launch struct {
	Func                 Func
	Grid, Block, Cluster [3]uint32 // Cluster zero: none
	Shared               int       // dynamic shared bytes
	Flags                uint32
	Params               []byte
	Sizes                []int
}

// Flags of a Launch.
const (
	// Dependent lets the kernel start while its predecessor in the stream drains; the kernel itself waits with griddepcontrol.
	Dependent uint32 = 1 << iota
)

// Swizzle is how a tensor map permutes 16-byte pieces in shared memory.
type Swizzle int

// The swizzles of a tensor map, named by the width of their rows in bytes.
const (
	SwizzleNone Swizzle = iota
	Swizzle32
	Swizzle64
	Swizzle128
)

// TensorMapSpec describes a tensor to the copy engine of sm_90. Dimension 0 is the innermost.
type TensorMapSpec struct {
	ElemBytes int // 2: bf16, 4: f32
	Base      Ptr // 16-byte aligned
	Dims      []uint64
	Strides   []uint64 // bytes, of dimensions 1…: one fewer than Dims, multiples of 16
	Box       []uint32 // at most 256 each
	Swizzle   Swizzle
}

// A Driver is one GPU, or the emulator that stands for it. Every call but TensorMap comes from one OS thread, locked for life.
//
// Work on one stream runs in the order issued, copies included: there is no other kind. Both ends of a copy to or from the host are
// page-locked, because one from pageable memory may return before its bytes have arrived, and no stream of a Driver waits for those.
// Staging copies between a GPU and memory of any kind.
type Driver interface {
	Info() Info
	// Alloc reserves bytes of device memory, aligned to 256 bytes and not initialised.
	Alloc(bytes int) (Ptr, error)
	Free(p Ptr) error
	// Pinned is page-locked host memory.
	Pinned(bytes int) ([]byte, error)
	FreePinned(b []byte) error
	// CopyIn queues a copy from memory of Pinned, which must stay as it is until s, or an event behind the copy, has been waited for.
	CopyIn(s Stream, dst Ptr, src []byte) error
	// CopyOut queues a copy to memory of Pinned. It holds the data when s, or an event behind the copy, has been waited for.
	CopyOut(s Stream, dst []byte, src Ptr) error
	Copy(s Stream, dst, src Ptr, bytes int) error
	// Fill32 writes n 32-bit words of value v.
	Fill32(s Stream, dst Ptr, v uint32, n int) error
	// Load compiles PTX text.
	Load(ptx []byte) (Module, error)
	// Launch queues every launch of the list, in order.
	Launch(s Stream, ls []Launch) error
	// Capture turns a list of launches into a graph; Replay queues it.
	Capture(ls []Launch) (Graph, error)
	Replay(s Stream, g Graph) error
	FreeGraph(g Graph) error
	NewStream() (Stream, error)
	NewEvent() (Event, error)
	Record(e Event, s Stream) error
	WaitEvent(s Stream, e Event) error
	// Sync blocks, without spinning, until what was issued before e was last recorded is done.
	Sync(e Event) error
	// Elapsed is the time from a to b; it waits for b.
	Elapsed(a, b Event) (ms float32, err error)
	// TensorMap encodes a description on the host: it needs no context, and any thread may ask while no other call is under way.
	TensorMap(spec TensorMapSpec) ([128]byte, error)
	// Wait blocks, without spinning, until all work of s is done, and returns its failure.
	Wait(s Stream) error
	Close() error
}

// ErrMemory is an allocation that did not fit. It names the budget.
type ErrMemory struct {
	Asked, Free, Total int64 // bytes
}

func (e *ErrMemory) Error() string {
	return fmt.Sprintf("driver: out of memory: asked for %.1f MiB, %.1f MiB of %.1f MiB are free: "+
		"lower the batch, the pages of the KV cache, or the model",
		mib(e.Asked), mib(e.Free), mib(e.Total))
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// Check reports the first reason for which a tensor map would be refused.
func (t TensorMapSpec) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("driver: tensor map: "+format, args...)
	}
	if t.ElemBytes != 2 && t.ElemBytes != 4 {
		return bad("elements of %d bytes, want 2 or 4", t.ElemBytes)
	}
	if t.Base%16 != 0 {
		return bad("base %#x is not a multiple of 16", uint64(t.Base))
	}
	n := len(t.Dims)
	if n < 1 || n > 5 || len(t.Box) != n || len(t.Strides) != n-1 {
		return bad("%d dimensions, %d strides, %d box sizes: want 1 to 5, one fewer, and as many", n, len(t.Strides), len(t.Box))
	}
	for i, s := range t.Strides {
		if s%16 != 0 || s == 0 {
			return bad("stride %d of dimension %d is not a positive multiple of 16 bytes", s, i+1)
		}
	}
	for i, b := range t.Box {
		if b < 1 || b > 256 {
			return bad("box of %d in dimension %d, want 1 to 256", b, i)
		}
		if t.Dims[i] == 0 {
			return bad("dimension %d is empty", i)
		}
	}
	inner := int(t.Box[0]) * t.ElemBytes
	if inner%16 != 0 {
		return bad("inner box of %d bytes is not a multiple of 16", inner)
	}
	if span := [...]int{256 * 4, 32, 64, 128}[t.Swizzle]; inner > span {
		return bad("inner box of %d bytes is wider than the swizzle's %d", inner, span)
	}
	return nil
}
