package kernels

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"retool/kernels/driver"
	"retool/kernels/ptx"
)

// arg is a tensor as kernels take it: struct Tensor of common.cuh.
type arg struct {
	p         uint64
	ld, dtype int32
}

// begin is the first line of every operation: it takes the device until end.
func (g *GPU) begin(op string) {
	if !g.inDo.Load() {
		panic("kernels: " + op + " was called outside Do")
	}
	g.mu.Lock()
	g.start(op)
}

func (g *GPU) start(op string) { g.op = op }

// end is deferred by every operation. After a panic nothing is submitted.
func (g *GPU) end() {
	g.finish()
	g.mu.Unlock()
}

func (g *GPU) finish() {
	if g.immediate {
		g.submit()
	}
}

// in and out are a tensor as an argument, checked to live on this device.
func (g *GPU) in(t Tensor) arg {
	if t.mem == nil {
		return arg{dtype: int32(F32)}
	}
	if t.fresh {
		panic(fmt.Sprintf("kernels: %s: %v cannot be Fresh here", g.op, t))
	}
	if t.mem.owner != Device(g) {
		panic(fmt.Sprintf("kernels: %s: %v belongs to another device", g.op, t))
	}
	if t.mem.ptr == 0 && g.err == nil {
		panic(fmt.Sprintf("kernels: %s: %v was freed", g.op, t))
	}
	if t.mem.ptr == 0 {
		return arg{dtype: int32(F32)}
	}
	if g.recording != nil {
		g.recording.uses[t.mem] = true
	}
	if t.ld > math.MaxInt32 {
		panic(fmt.Sprintf("kernels: %s: rows of %v are too far apart", g.op, t))
	}
	return arg{t.first(), int32(t.ld), int32(t.dtype)}
}

func (g *GPU) out(t Tensor) arg {
	a := g.in(t)
	if t.mem != nil {
		t.mem.version++
	}
	return a
}

// sum is an output that a kernel adds to, if add is 1, or writes.
func (g *GPU) sum(t Tensor) (a arg, add int32) {
	t, more := t.sum()
	if more {
		add = 1
	}
	return g.out(t), add
}

// address is the first element of a contiguous tensor, 0 if absent.
func (g *GPU) address(t Tensor) uint64 { return g.in(t).p }

func ceil(a, b int) int { return (a + b - 1) / b }

// fn finds an entry, loading its family on first use.
func (g *GPU) fn(name string) *gpuFunc {
	if f := g.funcs[name]; f != nil {
		return f
	}
	fam, entry, ok := family(name)
	if !ok {
		panic("kernels: no PTX has an entry " + name)
	}
	f := &gpuFunc{sizes: entry.Sizes()}
	g.call("load "+fam, func(drv driver.Driver) error {
		start := time.Now()
		defer func() { g.loading.Add(int64(time.Since(start))) }()
		m := g.mods[fam]
		if m == nil {
			text, err := ptx.Text(fam)
			if err != nil {
				return err
			}
			if m, err = drv.Load(text); err != nil {
				return err
			}
			g.mods[fam] = m
		}
		var err error
		if f.fn, err = m.Func(name); err != nil {
			return err
		}
		if sizes := f.fn.Params(); sizes != nil && !slices.Equal(sizes, f.sizes) {
			return fmt.Errorf("the driver's %s takes parameters of %v bytes, the manifest has %v: run `make kernels`", name, sizes, f.sizes)
		}
		if note := compareAttr(name, fam, g.info.Capability, entry, f.fn.Attr()); note != "" {
			g.notes = append(g.notes, note)
		}
		return nil
	})
	if g.err == nil {
		g.funcs[name] = f
	}
	return f
}

// compareAttr says in what a driver's assembler came to another result than the one the manifest records, "" in nothing. The manifest
// knows sm_80 and sm_90; elsewhere only local memory is compared, of which no kernel is to have any.
func compareAttr(name, fam string, capability int, e ptx.Entry, a driver.Attr) string {
	registers := 0
	switch {
	case capability == 80 || strings.HasSuffix(fam, ".sm90a"):
		registers = e.Registers
	case capability == 90:
		registers = e.Hopper
	}
	if a.Registers == 0 || registers == 0 { // the emulator's, or not recorded
		registers = a.Registers
	}
	if a.Registers == registers && a.Local == e.Stack {
		return ""
	}
	return fmt.Sprintf("kernels: %s: this driver gives a thread %d registers and %d bytes of local memory, ptxas of the manifest %d and %d",
		name, a.Registers, a.Local, registers, e.Stack)
}

// launch records one launch, its arguments held against the manifest's table of parameters.
func (g *GPU) launch(name string, grid [3]int, threads, shared int, args ...any) {
	if grid[0] == 0 || grid[1] == 0 || grid[2] == 0 {
		return
	}
	f := g.fn(name)
	if g.err != nil {
		return
	}
	l := driver.Launch{Func: f.fn, Block: [3]uint32{uint32(threads), 1, 1}, Shared: shared, Params: packParams(name, f.sizes, args)}
	l.Sizes = f.sizes
	for i, n := range grid {
		l.Grid[i] = uint32(n)
	}
	g.queue = append(g.queue, l)
	g.queuedOps = append(g.queuedOps, g.op)
	if g.recording != nil {
		g.recording.launches = append(g.recording.launches, l)
	}
	if g.synchronous {
		g.submit()
	}
}

// packParams lays arguments out one after the other. An argument of another size than the kernel's parameter panics with both.
func packParams(name string, sizes []int, args []any) []byte {
	if len(args) != len(sizes) {
		panic(fmt.Sprintf("kernels: launch %s: it takes %d parameters, Go passes %d", name, len(sizes), len(args)))
	}
	total := 0
	for _, n := range sizes {
		total += n
	}
	b := make([]byte, 0, total)
	for i, a := range args {
		was := len(b)
		switch v := a.(type) {
		case arg:
			b = binary.LittleEndian.AppendUint64(b, v.p)
			b = binary.LittleEndian.AppendUint32(b, uint32(v.ld))
			b = binary.LittleEndian.AppendUint32(b, uint32(v.dtype))
		case drawing:
			b = binary.LittleEndian.AppendUint64(b, v.units)
			b = binary.LittleEndian.AppendUint64(b, v.keys)
			b = binary.LittleEndian.AppendUint32(b, v.low)
			b = binary.LittleEndian.AppendUint32(b, v.high)
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v.scale))
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v.scaled))
			b = binary.LittleEndian.AppendUint64(b, uint64(v.open)) // and four bytes of nothing
		case [128]byte:
			b = append(b, v[:]...)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, v)
		case int64:
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		case int32:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, v)
		case float32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		if len(b)-was != sizes[i] {
			panic(fmt.Sprintf("kernels: launch %s: parameter %d has %d bytes, Go passes %T", name, i, sizes[i], a))
		}
	}
	return b
}

// tensorMap describes a bf16 matrix to the copy engine: boxes of `box` rows and 64 columns, swizzled.
func (g *GPU) tensorMap(a arg, rows, cols, box int) [128]byte {
	key := mapKey{a.p, rows, cols, int(a.ld), box}
	if m, ok := g.maps[key]; ok {
		return m
	}
	if g.err != nil {
		return [128]byte{}
	}
	m, err := g.drv.TensorMap(driver.TensorMapSpec{
		ElemBytes: 2, Base: driver.Ptr(a.p), Dims: []uint64{uint64(cols), uint64(rows)}, Strides: []uint64{2 * uint64(a.ld)},
		Box: []uint32{64, uint32(box)}, Swizzle: driver.Swizzle128,
	})
	if err != nil {
		g.fail(g.op, err)
		return m
	}
	if len(g.maps) > 1<<14 {
		clear(g.maps) // activations move from pass to pass in a badly behaved caller
	}
	g.maps[key] = m
	return m
}

// rowwise launches a kernel of swiglu.cu: eight neighbouring elements a thread.
func (g *GPU) rowwise(name string, rows, cols int, tensors ...arg) {
	if rows == 0 || cols == 0 {
		return
	}
	args := make([]any, 0, len(tensors)+2)
	for _, t := range tensors {
		args = append(args, t)
	}
	g.launch(name, [3]int{ceil(cols, 2048), min(rows, 65535), 1}, 256, 0, append(args, int32(rows), int32(cols))...)
}
