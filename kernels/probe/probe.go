package probe

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

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

// A probe's body stands in a Kernel.
type probe struct {
	name   string
	in     kind
	body   string
	within float64 // 0: bits are equal; else the relative error that a float32 result may have, of the largest of its probe
	float  int     // 32, 64: each lane has one result, a float of this width, and any NaN is as good as another
}

var probes = slices.Concat(families, instructions)

// Kernel is the PTX of an entry named probe(out, in) around a body. Lane %r0 of its one warp reads four words of 64 bits, %a, %b, %c, %e;
// %ra, %rb, %rc, %re are their low halves, %ha and %hb the low 16 bits of the first two, %p the lowest bit of %e. It stores %r10…%r17, 32
// bits each, which begin as 0. The address of its input is %rd4; tile is shared memory of 2048 bytes.
func Kernel(body string) string {
	return `.version 7.0
.target sm_80
.address_size 64
.visible .entry probe(.param .u64 probe_param_0, .param .u64 probe_param_1)
{
	.reg .pred %p<8>, %p, %q;
	.reg .b16 %ha, %hb;
	.reg .b32 %r<32>, %ra, %rb, %rc, %re, %d;
	.reg .f32 %f<32>;
	.reg .b64 %rd<8>, %a, %b, %c, %e, %x;
	.shared .align 16 .b8 tile[2048];
	ld.param.u64 %rd1, [probe_param_0];
	ld.param.u64 %rd2, [probe_param_1];
	cvta.to.global.u64 %rd1, %rd1;
	cvta.to.global.u64 %rd2, %rd2;
	mov.u32 %r0, %tid.x;
	mul.wide.u32 %rd3, %r0, 32;
	add.s64 %rd4, %rd2, %rd3;
	add.s64 %rd6, %rd1, %rd3;
	ld.global.v2.u64 {%a, %b}, [%rd4];
	ld.global.v2.u64 {%c, %e}, [%rd4+16];
	cvt.u32.u64 %ra, %a;
	cvt.u32.u64 %rb, %b;
	cvt.u32.u64 %rc, %c;
	cvt.u32.u64 %re, %e;
	cvt.u16.u64 %ha, %a;
	cvt.u16.u64 %hb, %b;
	and.b32 %r10, %re, 1;
	setp.ne.s32 %p, %r10, 0;
	mov.u32 %r10, 0;
	mov.u32 %r11, 0;
	mov.u32 %r12, 0;
	mov.u32 %r13, 0;
	mov.u32 %r14, 0;
	mov.u32 %r15, 0;
	mov.u32 %r16, 0;
	mov.u32 %r17, 0;` + body + `
	st.global.v4.u32 [%rd6], {%r10, %r11, %r12, %r13};
	st.global.v4.u32 [%rd6+16], {%r14, %r15, %r16, %r17};
	ret;
}
`
}

const (
	lanes     = 32
	laneBytes = 32 // of input, and of results
)

// Run executes every probe on a driver. It is to be called from the driver's own thread.
func Run(drv driver.Driver) (Recording, error) {
	info := drv.Info()
	rec := Recording{GPU: info.Name, Driver: info.Version}
	in, err := drv.Alloc(laneBytes * lanes)
	if err != nil {
		return rec, err
	}
	defer drv.Free(in)
	out, err := drv.Alloc(laneBytes * lanes)
	if err != nil {
		return rec, err
	}
	defer drv.Free(out)
	copies := driver.NewStaging(drv)
	for _, p := range probes {
		words, err := p.run(drv, copies, in, out, p.inputs(0))
		if err != nil {
			return rec, fmt.Errorf("probe %s: %w", p.name, err)
		}
		rec.Results = append(rec.Results, Result{p.name, words})
	}
	return rec, nil
}

// run executes the probe on the inputs, and returns eight words of every lane.
func (p probe) run(drv driver.Driver, copies *driver.Staging, in, out driver.Ptr, inputs []byte) ([]uint32, error) {
	mod, err := drv.Load([]byte(Kernel(p.body)))
	if err != nil {
		return nil, err
	}
	f, err := mod.Func("probe")
	if err != nil {
		return nil, err
	}
	if err := copies.In(0, in, inputs); err != nil {
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
	b := make([]byte, laneBytes*lanes)
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
	recorded := map[string][]uint32{}
	for _, r := range want.Results {
		recorded[r.Name] = r.Out
	}
	for i, r := range got.Results {
		out := recorded[r.Name]
		if len(out) != len(r.Out) {
			differences = append(differences, fmt.Sprintf(
				"%s: %s has %d words of it, this version writes %d: record it again", r.Name, want.GPU, len(out), len(r.Out)))
			continue
		}
		if j := probes[i].differ(r.Out, out); j >= 0 {
			differences = append(differences, fmt.Sprintf("%s: lane %d word %d is %08x (%g), on %s %08x (%g)",
				r.Name, j/8, j%8, r.Out[j], single32(r.Out[j]), want.GPU, out[j], single32(out[j])))
		}
	}
	return differences
}

func single32(w uint32) float64 { return float64(math.Float32frombits(w)) }

// differ is the first word of got that is not as in want, by more than it may be; −1 if there is none.
func (p probe) differ(got, want []uint32) int {
	top := 0.0
	for _, w := range want {
		if x := math.Abs(single32(w)); p.within > 0 && x > top && !math.IsInf(x, 0) {
			top = x
		}
	}
	for j := range want {
		if got[j] == want[j] || p.within > 0 && math.Abs(single32(got[j])-single32(want[j])) <= p.within*top {
			continue
		}
		if lane := j / 8 * 8; p.float > 0 && p.isNaN(got[lane:]) && p.isNaN(want[lane:]) {
			continue
		}
		return j
	}
	return -1
}

// isNaN says whether a lane's result is a NaN of the probe's width.
func (p probe) isNaN(words []uint32) bool {
	if p.float == 64 {
		return math.IsNaN(math.Float64frombits(uint64(words[1])<<32 | uint64(words[0])))
	}
	return math.IsNaN(single32(words[0]))
}
