package kernels

import (
	"encoding/binary"
	"fmt"
	"math"

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
	if g.now {
		g.submit()
	}
}

// in and out are a tensor as an argument, checked to live on this device.
func (g *GPU) in(t Tensor) arg {
	if t.mem == nil {
		return arg{dtype: int32(F32)}
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
	f := &gpuFunc{entry: entry}
	g.call("load "+fam, func(drv driver.Driver) error {
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
		f.fn, err = m.Func(name)
		return err
	})
	if g.err == nil {
		g.funcs[name] = f
	}
	return f
}

// launch records one launch. Arguments are packed by the manifest's table of parameters: an argument whose size is not the parameter's
// panics with both.
func (g *GPU) launch(name string, grid [3]int, threads, shared int, args ...any) {
	if grid[0] == 0 || grid[1] == 0 || grid[2] == 0 {
		return
	}
	f := g.fn(name)
	if g.err != nil {
		return
	}
	l := driver.Launch{Func: f.fn, Block: [3]uint32{uint32(threads), 1, 1}, Shared: shared, Params: packParams(name, f.entry, args)}
	for i, n := range grid {
		l.Grid[i] = uint32(n)
	}
	g.queue = append(g.queue, l)
	g.names = append(g.names, g.op)
	if g.modes {
		g.record = append(g.record, l)
	}
}

// packParams lays arguments out as the kernel's parameters.
func packParams(name string, e ptx.Entry, args []any) []byte {
	if len(args) != len(e.Params) {
		panic(fmt.Sprintf("kernels: launch %s: it takes %d parameters, Go passes %d", name, len(e.Params), len(args)))
	}
	b := make([]byte, e.Bytes())
	for i, a := range args {
		p := e.Params[i]
		size := 0
		to := b[p.Offset:]
		switch v := a.(type) {
		case arg:
			if size = 16; size == p.Size {
				binary.LittleEndian.PutUint64(to, v.p)
				binary.LittleEndian.PutUint32(to[8:], uint32(v.ld))
				binary.LittleEndian.PutUint32(to[12:], uint32(v.dtype))
			}
		case [128]byte:
			if size = 128; size == p.Size {
				copy(to, v[:])
			}
		case uint64:
			if size = 8; size == p.Size {
				binary.LittleEndian.PutUint64(to, v)
			}
		case int64:
			if size = 8; size == p.Size {
				binary.LittleEndian.PutUint64(to, uint64(v))
			}
		case int32:
			if size = 4; size == p.Size {
				binary.LittleEndian.PutUint32(to, uint32(v))
			}
		case uint32:
			if size = 4; size == p.Size {
				binary.LittleEndian.PutUint32(to, v)
			}
		case float32:
			if size = 4; size == p.Size {
				binary.LittleEndian.PutUint32(to, math.Float32bits(v))
			}
		}
		if size != p.Size {
			panic(fmt.Sprintf("kernels: launch %s: parameter %d has %d bytes, Go passes %T", name, i, p.Size, a))
		}
	}
	return b
}

// tensorMap describes a bf16 matrix to the copy engine: boxes of `box` rows and 64 columns, swizzled.
func (g *GPU) tensorMap(a arg, rows, cols, box int) (m [128]byte) {
	key := mapKey{a.p, rows, cols, int(a.ld), box}
	if m, ok := g.maps[key]; ok {
		return m
	}
	g.call(g.op, func(drv driver.Driver) (err error) {
		m, err = drv.TensorMap(driver.TensorMapSpec{
			ElemBytes: 2, Base: driver.Ptr(a.p), Dims: []uint64{uint64(cols), uint64(rows)}, Strides: []uint64{2 * uint64(a.ld)}, Box: []uint32{64, uint32(box)}, Swizzle: driver.Swizzle128,
		})
		return err
	})
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
