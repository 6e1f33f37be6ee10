package kernels

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// cpu is the Device that is always there. It computes in float32; BF16 is storage: an operation widens what it reads and rounds, once,
// what it writes. See cpu_bf16.go.
//
// An operation has taken effect when its method returns. Workers exist for the length of an operation's rows only: see pool.
type cpu struct {
	pool
	v     *simd
	mu    sync.Mutex // held by Do
	inDo  atomic.Bool
	bytes atomic.Int64
	cache int // see Info.Cache

	packed atomic.Int64 // bytes of packs

	whole *cpu // itself, or the device that this is a part of: see Apart
	apart apartJob

	// What the current operation's rows need, read by all workers. One operation runs at a time.
	norm   normJob
	glu    gluJob
	rope   ropeJob
	lin    linearJob
	blocks weightBlocks
	att    attentionJob
	head   headJob
	adam   adamJob
	embed  embedJob
	tree   treeJob
	zero   []float32
	move   moveJob
	order  orderJob
	temps  [tempSlots]*memory // tensors that an operation works on in place of BF16 ones
}

// NewCPU returns the CPU device with that many threads, the caller's among them; 0 takes Threads. The kernels are the fastest that
// the processor has.
//
// Operations run at once, so Upload, Download, Copy and Zero do too; from outside Do they must not name memory that a running Do
// works on.
func NewCPU(threads int) Device {
	return newCPU(threads, bestSIMD())
}

// NewCPUVariant is NewCPU with given kernels: "go", "avx2", "avx512" or "avx512bf16". The error says that the processor lacks them.
func NewCPUVariant(threads int, variant string) (Device, error) {
	for _, v := range variants() {
		if v.name == variant {
			return newCPU(threads, v), nil
		}
	}
	return nil, fmt.Errorf("kernels: this processor has no %q kernels (it has %v)", variant, variantNames())
}

func variantNames() (names []string) {
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}

func newCPU(threads int, v *simd) *cpu {
	if threads <= 0 {
		threads = Threads()
	}
	d := &cpu{v: v, cache: cacheOf(threads)}
	d.whole = d
	d.pool.init(d, threads)
	return d
}

func (d *cpu) Info() Info {
	fused := "fma"
	if !d.v.fused {
		fused = "mul, add"
	}
	return Info{
		Name:     "cpu",
		Variant:  d.v.name,
		Threads:  len(d.workers),
		Contract: fmt.Sprintf("cpu f32 (%s), keys in tiles of %d, exp of degree 6, sums in chains of %d", fused, PageTokens, chainTerms),
		BF16:     "bf16 products by pairs",
		Cache:    d.cache,
	}
}

func (d *cpu) Alloc(dtype DType, shape ...int) Tensor {
	n := 1
	for _, s := range shape {
		if s < 0 {
			panic(fmt.Sprintf("kernels: Alloc of %v", shape))
		}
		n *= s
	}
	m := &memory{owner: d, home: d.whole, bytes: dtype.Size() * n}
	switch dtype {
	case F32:
		m.f32 = floats(n)
		m.words = m.f32
	case BF16:
		m.words = floats((n + 1) / 2)
		m.b16 = halves(m.words, n)
	case I32:
		m.i32 = make([]int32, n)
	default:
		panic(fmt.Sprintf("kernels: Alloc of %v", dtype))
	}
	d.bytes.Add(int64(m.bytes))
	return newTensor(m, dtype, shape)
}

func (d *cpu) Free(t Tensor) {
	if t.mem != nil {
		d.free(t.mem, "Free")
	}
}

func (d *cpu) FreeKV(kv KV) {
	if kv.mem != nil {
		d.free(kv.mem, "FreeKV")
	}
}

func (d *cpu) free(m *memory, op string) {
	if m.owner != Device(d) {
		panic("kernels: " + op + ": the memory belongs to another device")
	}
	if m.home == nil {
		panic("kernels: " + op + ": the memory was freed before")
	}
	d.bytes.Add(-int64(m.bytes))
	d.whole.packed.Add(-int64(m.packBytes()))
	m.home, m.f32, m.b16, m.i32, m.words, m.ordered, m.packs, m.pages = nil, nil, nil, nil, nil, nil, nil, nil
}

func (d *cpu) Do(f func()) error {
	d.mu.Lock()
	d.inDo.Store(true)
	defer func() {
		d.inDo.Store(false)
		d.mu.Unlock()
	}()
	f()
	return nil
}

// Repeat calls f each time: there is no launch to save.
func (d *cpu) Repeat(_ string, f func()) {
	d.begin("Repeat")
	f()
}

// Close lets the workers go. The device must not be used afterwards.
func (d *cpu) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pool.close()
	return nil
}

// begin is called by every operation before its rows.
func (d *cpu) begin(op string) {
	if !d.inDo.Load() {
		panic("kernels: " + op + " was called outside Do")
	}
}

// reads demands memory of this device. It is small enough to be compiled into its callers.
func (d *cpu) reads(op string, t Tensor) {
	if t.mem != nil && (t.mem.home != d.whole || t.mem.ordered != nil || t.fresh) {
		d.refuse(op, t)
	}
}

// writes is reads of an output: what was derived from its content is stale from now on.
func (d *cpu) writes(op string, t Tensor) {
	if t.mem != nil {
		if t.mem.home != d.whole || t.mem.ordered != nil || t.fresh {
			d.refuse(op, t)
		}
		t.mem.version++
	}
}

// readsMatrix is reads where a matrix that was arranged will do.
func (d *cpu) readsMatrix(op string, t Tensor) {
	if t.mem != nil && t.mem.home != d.whole {
		d.refuse(op, t)
	}
}

func (d *cpu) refuse(op string, t Tensor) {
	switch {
	case t.fresh:
		panic(fmt.Sprintf("kernels: %s: %v cannot be Fresh here", op, t))
	case t.mem.home == nil && t.mem.owner == Device(d):
		panic(fmt.Sprintf("kernels: %s: %v was freed", op, t))
	case t.mem.home != d.whole:
		panic(fmt.Sprintf("kernels: %s: %v belongs to another device", op, t))
	case t.mem.overlapsPanels(t):
		panic(fmt.Sprintf("kernels: %s: %v was arranged for Linear: only Linear, Embed, Copy and the doors read it", op, t))
	}
}

// at is a pointer to the first element of row i of the first dimension, and the distance of rows.
func (t Tensor) at(i int) []float32 { return t.mem.f32[t.off+i*t.ld:] }

// row is row i of a matrix, or all heads of token i.
func (t Tensor) row(i int) []float32 {
	from := t.off + i*t.ld
	return t.mem.f32[from : from+t.dims[1]*t.dims[2] : from+t.dims[1]*t.dims[2]]
}

// vec is all of a contiguous tensor of floats.
func (t Tensor) vec() []float32 {
	if t.mem == nil {
		return nil
	}
	n := t.Len()
	return t.mem.f32[t.off : t.off+n : t.off+n]
}

// ints is all of a contiguous tensor of integers.
func (t Tensor) ints() []int32 {
	if t.mem == nil {
		return nil
	}
	n := t.Len()
	return t.mem.i32[t.off : t.off+n : t.off+n]
}

func (d *cpu) door(op string, t Tensor) {
	if t.mem == nil || t.mem.home != d.whole {
		panic(fmt.Sprintf("kernels: %s: %v is not in this device's memory", op, t))
	}
}
