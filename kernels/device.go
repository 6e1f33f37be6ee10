package kernels

import "time"

// Info names a device and what fixes its bits.
type Info struct {
	Name     string // "cpu", or the GPU's product name
	Variant  string // kernels chosen at start: "avx512bf16", "avx512", "avx2", "go", "sm80", "sm90a"
	Threads  int    // CPU: workers; GPU: multiprocessors
	Contract string // one line that a checkpoint stores: all that fixes the bits of a log-probability
	BF16     string // what weights in bf16 add to it; empty: nothing
	Replays  bool   `json:"-"` // Repeat saves work here: batches are worth padding to few sizes
	Cache    int    `json:"-"` // CPU: bytes of last-level cache that its threads have; 0: unknown, or a GPU
	HeadDims []int  `json:"-"` // sizes of heads that attention has kernels for; nil: any

	Compile time.Duration `json:",omitzero"` // what loading kernels has taken so far, compilation by a GPU's driver included
}

// A Device executes the operations of a transformer and of its training.
//
// Operations are called only inside Do, return nothing, and take effect in the order called. A wrong shape panics with both
// sides. A failure of the device is kept, and Do returns it with the operation's name. Every Backward adds into its gradient
// outputs, or writes those that are Fresh; an absent output is skipped. Do may be called from any goroutine, runs one f at a time, and is
// never nested. Alloc, Free and the two doors may be called inside or outside Do; outside, they wait for it.
//
// A matrix may be a view of some columns of a wider one (Tensor.Cols): rows are then LD apart.
type Device interface {
	Memory

	Embedding
	Products
	Norms
	Elementwise
	Rotation
	Attention
	Pages

	Logits
	Sampler
	Losses
	Optimizer
	Sums

	Info() Info
	Do(f func()) error           // one per pass, not one per operation
	Repeat(key string, f func()) // inside Do: runs operations that never change; a GPU records them once and replays a graph
	Close() error
}

// Memory is the device's: allocation, and the two doors, Upload and Download.
type Memory interface {
	Alloc(dtype DType, shape ...int) Tensor // zeroed
	Free(t Tensor)
	Upload(dst Tensor, src any)   // src: []float32, []int32, []uint16 (bf16 bits) or *tensor.Dense of as many elements
	Download(dst any, src Tensor) // dst: the same kinds
	Copy(dst, src Tensor)         // equal shapes; converts between F32 and BF16
	Zero(t Tensor)
}
