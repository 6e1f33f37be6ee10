package probe

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"retool/kernels/driver"
)

// A Result is what a probe's warp wrote: eight words a lane.
type Result struct {
	Name string   `json:"name"`
	Out  []uint32 `json:"out"` // word w of lane l at 8·l + w
}

// A Recording is the results of all probes on one device.
type Recording struct {
	GPU     string   `json:"gpu"`
	Driver  string   `json:"driver"`
	Results []Result `json:"results"`
}

// kinds of inputs: four words a lane.
type kind int

const (
	bits   kind = iota // any
	floats             // float32, of all sizes
	pairs              // two bf16 of about unit size
)

// A probe's body finds its lane in %r0, its inputs in %r1…%r4, and leaves results in %r10…%r17, which begin as 0.
type probe struct {
	name   string
	in     kind
	body   string
	within float64 // 0: bits are equal; else the relative error that a float32 result may have, of the largest of its probe
}

var probes = []probe{
	{name: "shfl", in: bits, body: `
	and.b32 %r5, %r2, 31;
	shfl.sync.idx.b32 %r10, %r1, %r5, 31, -1;
	shfl.sync.up.b32 %r11|%p1, %r1, 3, 0, -1;
	selp.u32 %r12, 1, 0, %p1;
	shfl.sync.down.b32 %r13|%p2, %r1, 2, 6175, -1;
	selp.u32 %r14, 1, 0, %p2;
	shfl.sync.bfly.b32 %r15, %r1, 5, 31, -1;
	shfl.sync.idx.b32 %r16, %r1, 5, 7199, -1;`},
	{name: "integers", in: bits, body: `
	lop3.b32 %r10, %r1, %r2, %r3, 150;
	lop3.b32 %r11, %r1, %r2, %r3, 232;
	and.b32 %r5, %r3, 30583;
	prmt.b32 %r12, %r1, %r2, %r5;
	prmt.b32 %r13, %r1, %r2, 21554;
	shf.l.wrap.b32 %r14, %r1, %r2, %r3;
	mul.hi.u32 %r15, %r1, %r2;
	mad.lo.s32 %r16, %r1, %r2, %r3;
	shr.s32 %r17, %r1, 7;`},
	{name: "convert", in: floats, body: `
	mov.b32 %f1, %r1;
	mov.b32 %f2, %r2;
	cvt.rn.bf16x2.f32 %r10, %f1, %f2;
	cvt.rni.s32.f32 %r11, %f1;
	cvt.rzi.s32.f32 %r12, %f2;
	cvt.rn.f32.s32 %f3, %r3;
	mov.b32 %r13, %f3;`},
	{name: "arithmetic", in: floats, body: `
	mov.b32 %f1, %r1;
	mov.b32 %f2, %r2;
	mov.b32 %f3, %r3;
	add.rn.f32 %f4, %f1, %f2;
	mov.b32 %r10, %f4;
	mul.rn.f32 %f4, %f1, %f2;
	mov.b32 %r11, %f4;
	fma.rn.f32 %f4, %f1, %f2, %f3;
	mov.b32 %r12, %f4;
	div.rn.f32 %f4, %f1, %f2;
	mov.b32 %r13, %f4;
	abs.f32 %f5, %f1;
	sqrt.rn.f32 %f4, %f5;
	mov.b32 %r14, %f4;
	max.f32 %f4, %f1, %f2;
	mov.b32 %r15, %f4;`},
	{name: "ex2", in: floats, within: 1e-6, body: approximation("ex2", "0f3F800000", "0f3F000000")},
	{name: "lg2", in: floats, within: 1e-6, body: approximation("lg2", "0f40A00000", "0f41000000")},
	{name: "rsqrt", in: floats, within: 1e-6, body: approximation("rsqrt", "0f40A00000", "0f3F800000")},
	{name: "ldmatrix", in: bits, body: `
	shl.b32 %r5, %r0, 4;
	mov.u32 %r6, tile;
	add.s32 %r6, %r6, %r5;
	st.shared.v4.u32 [%r6], {%r1, %r2, %r3, %r4};
	bar.sync 0;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r6];
	ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r14, %r15, %r16, %r17}, [%r6];`},
	{name: "mma", in: pairs, within: 1e-6, body: `
	mov.b32 %f1, 0f00000000;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%r1, %r2, %r3, %r4}, {%r3, %r1}, {%f1, %f1, %f1, %f1};
	mov.b32 %r10, %f4;
	mov.b32 %r11, %f5;
	mov.b32 %r12, %f6;
	mov.b32 %r13, %f7;
	mov.b32 %f8, %r1;
	mov.b32 %f9, %r2;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%r4, %r3, %r2, %r1}, {%r2, %r4}, {%f8, %f9, %f8, %f9};
	mov.b32 %r14, %f4;
	mov.b32 %r15, %f5;
	mov.b32 %r16, %f6;
	mov.b32 %r17, %f7;`},
	// Products of zero leave a sum alone, to the bit: what a tile with nothing in it relies on.
	{name: "mma of zeros", in: pairs, body: `
	mov.b32 %r5, 0;
	mov.b32 %f8, %r1;
	mov.b32 %f9, %r2;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%r1, %r2, %r3, %r4}, {%r5, %r5}, {%f8, %f9, %f8, %f9};
	mov.b32 %r10, %f4;
	mov.b32 %r11, %f5;
	mov.b32 %r12, %f6;
	mov.b32 %r13, %f7;`},
	{name: "cp.async", in: bits, body: `
	shl.b32 %r5, %r0, 4;
	mov.u32 %r6, tile;
	add.s32 %r6, %r6, %r5;
	and.b32 %r7, %r0, 15;
	cp.async.cg.shared.global [%r6], [%rd4], 16, %r7;
	cp.async.commit_group;
	cp.async.wait_group 0;
	bar.sync 0;
	ld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r6];`},
}

// approximation applies op to lane·scale + offset, and to the lane's own float.
func approximation(op, offset, scale string) string {
	return fmt.Sprintf(`
	cvt.rn.f32.u32 %%f1, %%r0;
	fma.rn.f32 %%f2, %%f1, %[3]s, %[2]s;
	%[1]s.approx.ftz.f32 %%f3, %%f2;
	mov.b32 %%r10, %%f3;
	rcp.rn.f32 %%f4, %%f2;
	%[1]s.approx.ftz.f32 %%f3, %%f4;
	mov.b32 %%r11, %%f3;`, op, offset, scale)
}

// text is the probe's PTX.
func (p probe) text() string {
	return `.version 7.0
.target sm_80
.address_size 64
.visible .entry probe(.param .u64 probe_param_0, .param .u64 probe_param_1)
{
	.reg .pred %p<8>;
	.reg .b32 %r<32>;
	.reg .f32 %f<32>;
	.reg .b64 %rd<8>;
	.shared .align 16 .b8 tile[512];
	ld.param.u64 %rd1, [probe_param_0];
	ld.param.u64 %rd2, [probe_param_1];
	cvta.to.global.u64 %rd1, %rd1;
	cvta.to.global.u64 %rd2, %rd2;
	mov.u32 %r0, %tid.x;
	mul.wide.u32 %rd3, %r0, 16;
	add.s64 %rd4, %rd2, %rd3;
	ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd4];
	mov.u32 %r10, 0;
	mov.u32 %r11, 0;
	mov.u32 %r12, 0;
	mov.u32 %r13, 0;
	mov.u32 %r14, 0;
	mov.u32 %r15, 0;
	mov.u32 %r16, 0;
	mov.u32 %r17, 0;` + p.body + `
	mul.wide.u32 %rd5, %r0, 32;
	add.s64 %rd6, %rd1, %rd5;
	st.global.v4.u32 [%rd6], {%r10, %r11, %r12, %r13};
	st.global.v4.u32 [%rd6+16], {%r14, %r15, %r16, %r17};
	ret;
}
`
}

const lanes = 32

// inputs are the same on every machine.
func (p probe) inputs() []byte {
	r := rand.New(rand.NewPCG(uint64(len(p.name)), uint64(p.name[0])))
	b := make([]byte, 16*lanes)
	for i := 0; i < len(b); i += 4 {
		x := r.Uint32()
		switch p.in {
		case floats:
			x = math.Float32bits(float32(math.Ldexp(r.NormFloat64(), r.IntN(30)-15)))
		case pairs:
			one := func() uint32 { return math.Float32bits(float32(r.NormFloat64())) >> 16 }
			x = one()<<16 | one()
		}
		binary.LittleEndian.PutUint32(b[i:], x)
	}
	return b
}

// Run executes every probe on a driver. It is to be called from the driver's own thread.
func Run(drv driver.Driver) (Recording, error) {
	info := drv.Info()
	rec := Recording{GPU: info.Name, Driver: info.Version}
	in, err := drv.Alloc(16 * lanes)
	if err != nil {
		return rec, err
	}
	defer drv.Free(in)
	out, err := drv.Alloc(32 * lanes)
	if err != nil {
		return rec, err
	}
	defer drv.Free(out)
	copies := driver.NewStaging(drv)
	for _, p := range probes {
		words, err := p.run(drv, copies, in, out)
		if err != nil {
			return rec, fmt.Errorf("probe %s: %w", p.name, err)
		}
		rec.Results = append(rec.Results, Result{p.name, words})
	}
	return rec, nil
}

func (p probe) run(drv driver.Driver, copies *driver.Staging, in, out driver.Ptr) ([]uint32, error) {
	mod, err := drv.Load([]byte(p.text()))
	if err != nil {
		return nil, err
	}
	f, err := mod.Func("probe")
	if err != nil {
		return nil, err
	}
	if err := copies.In(0, in, p.inputs()); err != nil {
		return nil, err
	}
	if err := drv.Fill32(0, out, 0xdeadbeef, 8*lanes); err != nil {
		return nil, err
	}
	params := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(out)), uint64(in))
	launch := driver.Launch{Func: f, Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{lanes, 1, 1}, Params: params, Sizes: []int{8, 8}}
	if err := drv.Launch(0, []driver.Launch{launch}); err != nil {
		return nil, err
	}
	b := make([]byte, 32*lanes)
	if err := copies.Out(0, b, out); err != nil {
		return nil, err
	}
	words := make([]uint32, 8*lanes)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return words, nil
}

// Compare lists in what got, of the emulator, differs from want, of hardware, by more than it may.
func Compare(got, want Recording) (differences []string) {
	say := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	recorded := map[string][]uint32{}
	for _, r := range want.Results {
		recorded[r.Name] = r.Out
	}
	for i, r := range got.Results {
		p, out := probes[i], recorded[r.Name]
		if len(out) != len(r.Out) {
			say("%s: %s has %d words of it, this version writes %d: record it again", r.Name, want.GPU, len(out), len(r.Out))
			continue
		}
		top := 0.0
		for _, w := range out {
			if x := math.Abs(float64(math.Float32frombits(w))); p.within > 0 && x > top && !math.IsInf(x, 0) {
				top = x
			}
		}
		for j := range out {
			if r.Out[j] == out[j] {
				continue
			}
			a, b := float64(math.Float32frombits(r.Out[j])), float64(math.Float32frombits(out[j]))
			if p.within > 0 && math.Abs(a-b) <= p.within*top {
				continue
			}
			say("%s: lane %d word %d is %08x (%g), on %s %08x (%g)", r.Name, j/8, j%8, r.Out[j], a, want.GPU, out[j], b)
			break
		}
	}
	return differences
}
