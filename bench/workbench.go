package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"retool/kernels"
)

var absent kernels.Tensor

// A workbench is where an operation's tensors stand on a device.
type workbench struct {
	dev     kernels.Device
	dtype   kernels.DType // of activations and weights: bf16 on a GPU, float32 on the CPU
	numbers []uint16      // what tensors are filled with, bits of bf16
	held    []kernels.Tensor
	pages   []kernels.KV
	err     error // the first failure of once
}

// A workload is a case on a device: its operation, ready to be called inside Do, and what it writes.
type workload struct {
	run   func()
	out   kernels.Tensor
	close func()
}

// prepare puts a case on a device, with tensors of a type: bf16 on a GPU, float32 on the CPU.
func prepare(dev kernels.Device, dtype kernels.DType, numbers []uint16, c Case) (workload, error) {
	b := &workbench{dev: dev, dtype: dtype, numbers: numbers}
	out, run := operationOf(c.Op).set(b, sizesOf(c.Dims, dtype))
	return workload{run, out, b.close}, b.err
}

func (b *workbench) close() {
	for _, t := range slices.Backward(b.held) {
		b.dev.Free(t)
	}
	for _, kv := range b.pages {
		b.dev.FreeKV(kv)
	}
}

// empty is zeros of a type.
func (b *workbench) empty(dtype kernels.DType, shape ...int) kernels.Tensor {
	t := b.dev.Alloc(dtype, shape...)
	b.held = append(b.held, t)
	return t
}

// output is zeros of the bench's type.
func (b *workbench) output(shape ...int) kernels.Tensor { return b.empty(b.dtype, shape...) }

// filled is numbers in a tensor of a type.
func (b *workbench) filled(dtype kernels.DType, shape ...int) kernels.Tensor {
	t := b.empty(dtype, shape...)
	x := make([]uint16, t.Len())
	for at, from := 0, 7919*len(b.held)%len(b.numbers); at < len(x); from = 0 {
		at += copy(x[at:], b.numbers[from:])
	}
	b.dev.Upload(t, x)
	return t
}

// random is numbers of the bench's type.
func (b *workbench) random(shape ...int) kernels.Tensor { return b.filled(b.dtype, shape...) }

// ints is n integers given by index; without a shape a vector.
func (b *workbench) ints(n int, at func(i int) int, shape ...int) kernels.Tensor {
	if len(shape) == 0 {
		shape = []int{n}
	}
	t := b.empty(kernels.I32, shape...)
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(at(i))
	}
	b.dev.Upload(t, x)
	return t
}

// kv is pages, for attention or to be written.
func (b *workbench) kv(pages int, h kernels.Heads) kernels.KV {
	kv := b.dev.AllocKV(b.dtype, pages, h)
	b.pages = append(b.pages, kv)
	return kv
}

// once runs what an operation needs to have happened before it.
func (b *workbench) once(f func()) {
	if b.err == nil {
		b.err = b.dev.Do(f)
	}
}

// normals is numbers of unit size that bf16 has, the same every time; zeros would draw less power, and so inflate clocks.
var normals = bf16Numbers(func(r *rand.Rand) float64 { return r.NormFloat64() })

// uniforms is numbers between −½ and ½: logits of a model that knows little, of which a draw considers many.
var uniforms = bf16Numbers(func(r *rand.Rand) float64 { return r.Float64() - 0.5 })

// bf16Numbers is a million draws, made when first asked for.
func bf16Numbers(draw func(r *rand.Rand) float64) func() []uint16 {
	return sync.OnceValue(func() []uint16 {
		r := rand.New(rand.NewPCG(1, 2))
		x := make([]uint16, 1<<20-3) // no multiple of a row: neighbouring rows differ
		for i := range x {
			x[i] = uint16(math.Float32bits(float32(draw(r))) >> 16)
		}
		return x
	})
}
