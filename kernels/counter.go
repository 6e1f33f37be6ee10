package kernels

import (
	"fmt"

	"retool/kernels/driver"
)

// A Counter is a CPU that computes nothing and holds nothing: it says how much memory a program would have taken, by the program's own
// calls. Passes are not run. [driver.Counter] is its like behind the wrappers of a GPU.
type Counter struct {
	*cpu
	limit, used, peak int64
	err               error
}

var _ Device = (*Counter)(nil)

// NewCounter is a CPU with so many bytes; from the first allocation beyond them on, Do fails.
func NewCounter(limit int64) *Counter { return &Counter{cpu: newCPU(1, bestSIMD()), limit: limit} }

// Used is what is allocated now, Peak the most that ever was, both in bytes.
func (c *Counter) Used() int64 { return c.used }
func (c *Counter) Peak() int64 { return c.peak }

func (c *Counter) reserve(bytes int) *memory {
	if c.used+int64(bytes) > c.limit && c.err == nil {
		c.err = &driver.ErrMemory{Asked: int64(bytes), Free: c.limit - c.used, Total: c.limit}
	}
	c.used += int64(bytes)
	c.peak = max(c.peak, c.used)
	return &memory{owner: c, bytes: bytes}
}

func (c *Counter) Alloc(dtype DType, shape ...int) Tensor {
	n := 1
	for _, s := range shape {
		if s < 0 {
			panic(fmt.Sprintf("kernels: Alloc of %v", shape))
		}
		n *= s
	}
	return newTensor(c.reserve(dtype.Size()*n), dtype, shape)
}

func (c *Counter) AllocKV(dtype DType, pages int, h Heads) KV {
	return KV{mem: c.reserve(max(pages, 1) * c.KVBytes(dtype, h)), Pages: pages, Heads: h}
}

// Pack counts what Linear keeps of a weight, or with backward what LinearBackward does: the weight once more, in whole panels.
func (c *Counter) Pack(w Tensor, backward bool) {
	cols, rows := w.dims[0], w.dims[1]
	if backward {
		cols, rows = rows, cols
	}
	if w.dtype == BF16 {
		rows = (rows + 1) &^ 1 // two lie in a word
	}
	c.reserve(w.dtype.Size() * ((cols + tileCols - 1) / tileCols * tileCols) * rows)
}

func (c *Counter) Free(t Tensor) { c.release(t.mem) }
func (c *Counter) FreeKV(kv KV)  { c.release(kv.mem) }
func (c *Counter) release(m *memory) {
	if m != nil {
		c.used -= int64(m.bytes)
		m.bytes = 0
	}
}

func (c *Counter) Upload(Tensor, any)    {}
func (c *Counter) Download(any, Tensor)  {}
func (c *Counter) Copy(Tensor, Tensor)   {}
func (c *Counter) Arrange(Tensor)        {}
func (c *Counter) Zero(Tensor)           {}
func (c *Counter) Do(func()) error       { return c.err }
func (c *Counter) Repeat(string, func()) {}
