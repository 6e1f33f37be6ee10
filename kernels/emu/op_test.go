package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/probe"
)

// lane runs a probe's kernel around body on one warp, and returns the first 64 bits that each lane stored.
func lane(t *testing.T, body string, in [lanes][4]uint64) (out [lanes]uint64, c Counters, err error) {
	t.Helper()
	b := newBench(t, Options{}, []byte(probe.Kernel("\n\t"+body)))
	var buf []byte
	for _, l := range in {
		for _, v := range l {
			buf = binary.LittleEndian.AppendUint64(buf, v)
		}
	}
	p, q := b.bytes("in", buf), b.bytes("out", make([]byte, len(buf)))
	if err := b.launch("probe", 1, lanes, 0, q, p); err != nil {
		return out, c, err
	}
	b.read(buf, q)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(buf[32*i:])
	}
	return out, b.d.Counters(), nil
}

func TestHalfFloatsRoundTrip(t *testing.T) {
	for v := range uint64(1 << 16) {
		if f := fromF16(v); f == f && toF16(f) != v {
			t.Fatalf("f16 %#x becomes %#x", v, toF16(f))
		}
	}
}

// Lanes that name each other must do so with one mask.
func TestGroupsAgreeOnTheirMask(t *testing.T) {
	var in [lanes][4]uint64
	_, _, err := lane(t, `mov.u32 %r6, -1;
	setp.lt.u32 %q, %r0, 16;
	@%q mov.u32 %r6, 0xffff;
	shfl.sync.bfly.b32 %d, %ra, 1, 31, %r6;`, in)
	if want := "lanes 0xffff0000 names lanes 0xffff, which come with another mask"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// a·b by mma from fragments that ldmatrix took out of shared memory, plain and transposed, against the product itself.
func TestMatrixInstructions(t *testing.T) {
	// A (16,16) lies at tile, B (16,8) by rows of k at tile+512: 16-byte rows. Lane l stores 16 bytes of A, lanes 0-15 a row of B.
	var a [16][16]float64
	var b [16][8]float64
	var in [lanes][4]uint64
	half := func(f float64) uint64 { return uint64(math.Float32bits(float32(f)) >> 16) }
	for r := range 16 {
		for c := range 16 {
			a[r][c] = float64((r*5+c*3)%17 - 8)
			in[r*2+c/8][c%8/4] |= half(a[r][c]) << (c % 4 * 16)
		}
		for c := range 8 {
			b[r][c] = float64((r*7+c*11)%13-6) / 4
			in[r][2+c/4] |= half(b[r][c]) << (c % 4 * 16)
		}
	}
	body := func(e int) string {
		return fmt.Sprintf(`
	.reg .b32 %%a<4>;
	.reg .b32 %%b<2>;
	.reg .f32 %%d<4>;
	mov.u32 %%r6, tile;
	shl.b32 %%r7, %%r0, 4;
	add.s32 %%r7, %%r6, %%r7;
	st.shared.v2.u64 [%%r7], {%%a, %%b};
	setp.lt.u32 %%q, %%r0, 16;
	@%%q st.shared.v2.u64 [%%r7+512], {%%c, %%e};
	bar.sync 0;
	and.b32 %%r7, %%r0, 15;
	shl.b32 %%r7, %%r7, 5;
	shr.u32 %%r8, %%r0, 4;
	shl.b32 %%r8, %%r8, 4;
	add.s32 %%r7, %%r7, %%r8;
	add.s32 %%r7, %%r7, %%r6;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%%a0, %%a1, %%a2, %%a3}, [%%r7];
	and.b32 %%r7, %%r0, 15;
	shl.b32 %%r7, %%r7, 4;
	add.s32 %%r7, %%r7, %%r6;
	ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%%b0, %%b1}, [%%r7+512];
	mov.f32 %%d0, 0f3F800000;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
		{%%d0, %%d1, %%d2, %%d3}, {%%a0, %%a1, %%a2, %%a3}, {%%b0, %%b1}, {%%d0, %%d0, %%d0, %%d0};
	mov.b32 %%r10, %%d%d;`, e)
	}
	for e := range 4 {
		got, counters, err := lane(t, body(e), in)
		if err != nil {
			t.Fatal(err)
		}
		for l := range lanes {
			row, col := l/4+e/2*8, l%4*2+e%2
			want := 1.0
			for k := range 16 {
				want += a[row][k] * b[k][col]
			}
			if v := float64(math.Float32frombits(uint32(got[l]))); v != want {
				t.Errorf("element (%d,%d) is %v, want %v", row, col, v, want)
			}
		}
		if c := counters; c.MMA != 1 || c.Conflicts == 0 {
			t.Errorf("counters %+v: want one mma, and conflicts of the rows of A, 32 bytes apart", c)
		}
	}
}

// What is not understood does not load, and says what and where.
func TestUnknownInstructionsDoNotLoad(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"frobnicate.u32 %d, %ra;", "frobnicate.u32"},
		{"add.sat.s32 %d, %ra, %rb;", ".sat"},
		{"mad.lo.cc.u32 %d, %ra, %rb, %rc;", ".cc"},
		{"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%d,%d,%d,%d}, {%ra,%ra}, {%rb}, {%d,%d,%d,%d};", "m16n8k16"},
		{"wgmma.fence.sync.aligned;", "wgmma"},
		{"mov.u32 %d, %nosuch;", "%nosuch"},
		{"bra $nowhere;", "$nowhere"},
		{"add.rn.bf16 %ha, %ha, %hb;", "bf16"},
	} {
		m, err := New(Options{Capability: 80}).Load([]byte(probe.Kernel(c.body)))
		if err == nil {
			_, err = m.Func("probe")
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "PTX line") {
			t.Errorf("%s: %v, want an error with the line that names %q", c.body, err, c.want)
		}
	}
}

// The driver refuses what a GPU's would.
func TestLaunchesAreChecked(t *testing.T) {
	b := planted(t, Options{})
	f, err := b.m.Func("norm_0")
	if err != nil {
		t.Fatal(err)
	}
	good := driver.Launch{Func: f, Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{128, 1, 1}, Params: make([]byte, 24), Sizes: []int{8, 8, 4, 4}}
	for _, c := range []struct {
		want string
		edit func(*driver.Launch)
	}{
		{"parameter 3 has 4 bytes of 0 left, its PTX declares 4", func(l *driver.Launch) { l.Params = l.Params[:20] }},
		{"8 bytes behind the last parameter", func(l *driver.Launch) { l.Params = make([]byte, 32) }},
		{"parameter 1 has 4 bytes of 16 left, its PTX declares 8", func(l *driver.Launch) { l.Sizes = []int{8, 4, 8, 4} }},
		{"3 parameters, its PTX declares 4", func(l *driver.Launch) { l.Sizes = []int{8, 8, 8} }},
		{"blocks of 2048 threads", func(l *driver.Launch) { l.Block[0] = 2048 }},
		{"blocks of 0 threads", func(l *driver.Launch) { l.Block[1] = 0 }},
		{"grid", func(l *driver.Launch) { l.Grid[1] = 65536 }},
		{"declares none", func(l *driver.Launch) { l.Shared = 16 }},
		{"clusters of 2 blocks in a grid", func(l *driver.Launch) { l.Cluster, l.Grid = [3]uint32{2, 1, 1}, [3]uint32{3, 1, 1} }},
		{"side by side", func(l *driver.Launch) { l.Cluster, l.Grid = [3]uint32{1, 2, 1}, [3]uint32{2, 2, 1} }},
		{"has none", func(l *driver.Launch) { l.Cluster, l.Grid = [3]uint32{2, 1, 1}, [3]uint32{2, 1, 1} }},
	} {
		l := good
		c.edit(&l)
		err := b.d.Launch(0, []driver.Launch{l})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "norm_0") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	hopper := strings.Replace(probe.Kernel(""), "sm_80", "sm_90a", 1)
	if _, err := New(Options{Capability: 80}).Load([]byte(hopper)); err == nil || !strings.Contains(err.Error(), "sm_90a") {
		t.Errorf("sm_90a on sm_80: %v", err)
	}
}

func TestMemoryIsGuarded(t *testing.T) {
	d := New(Options{Capability: 80, Memory: 1 << 20})
	p, err := d.Alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	st := driver.NewStaging(d)
	if err := st.Out(0, buf, p); err != nil || buf[0] != 0xff || buf[99] != 0xff {
		t.Errorf("new memory is %v…, %v: want 0xff", buf[0], err)
	}
	if err := st.Out(0, buf, p+1); err == nil || !strings.Contains(err.Error(), "allocation of 100 bytes") {
		t.Errorf("a copy past the end: %v", err)
	}
	if _, err := d.Alloc(1 << 20); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("more than there is: %v", err)
	}
	if err := d.Free(p); err != nil {
		t.Error(err)
	}
	if err := d.Free(p); err == nil {
		t.Error("freed twice")
	}
	if err := st.In(0, p, buf); err == nil || !strings.Contains(err.Error(), "was freed") {
		t.Errorf("use after free: %v", err)
	}
	b := planted(t, Options{})
	y, x := b.floats("y", 650), b.floats("x", 650)
	b.d.Free(x)
	if ks := kinds(b.launch("norm_0", 1, 128, 0, y, x, 1, 130)); len(ks) == 0 || ks[0] != UseAfterFree {
		t.Errorf("a kernel on freed memory reports %v", ks)
	}
}

// A graph replays the same launches.
func TestGraphsReplay(t *testing.T) {
	b := planted(t, Options{})
	out := b.bytes("out", make([]byte, 4))
	f, _ := b.m.Func("count_0")
	g, err := b.d.Capture([]driver.Launch{{
		Func: f, Grid: [3]uint32{3, 1, 1}, Block: [3]uint32{1, 1, 1}, Params: binary.LittleEndian.AppendUint64(nil, uint64(out)), Sizes: []int{8},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.d.Replay(0, g); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 4)
	b.read(buf, out)
	if n := binary.LittleEndian.Uint32(buf); n != 6 {
		t.Errorf("two replays counted to %d, want 6", n)
	}
	if c := b.d.Counters(); c.Launches != 2 || c.Instructions == 0 {
		t.Errorf("counters %+v", c)
	}
}
