package emu

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"retool/kernels/driver"
)

// bench is an emulator with the planted kernels and some memory.
type bench struct {
	t   *testing.T
	d   *Device
	m   driver.Module
	ptr map[string]driver.Ptr
}

func planted(t *testing.T, o Options) *bench {
	t.Helper()
	text, err := os.ReadFile("testdata/planted.sm80.ptx")
	if err != nil {
		t.Fatal(err)
	}
	return newBench(t, o, text)
}

func newBench(t *testing.T, o Options, text []byte) *bench {
	t.Helper()
	if o.Capability == 0 {
		o.Capability = 80
	}
	b := &bench{t: t, d: New(o), ptr: map[string]driver.Ptr{}}
	var err error
	if b.m, err = b.d.Load(text); err != nil {
		t.Fatal(err)
	}
	return b
}

// floats places n numbers 1, 2, 3, …
func (b *bench) floats(name string, n int) driver.Ptr {
	buf := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(float32(i+1)))
	}
	return b.bytes(name, buf)
}

func (b *bench) bytes(name string, buf []byte) driver.Ptr {
	b.t.Helper()
	p, err := b.d.Alloc(len(buf))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := driver.NewStaging(b.d).In(0, p, buf); err != nil {
		b.t.Fatal(err)
	}
	b.ptr[name] = p
	return p
}

// read copies from the device.
func (b *bench) read(buf []byte, p driver.Ptr) {
	b.t.Helper()
	if err := driver.NewStaging(b.d).Out(0, buf, p); err != nil {
		b.t.Fatal(err)
	}
}

// launch packs uint64, driver.Ptr and int32.
func (b *bench) launch(entry string, grid, block, shared int, args ...any) error {
	b.t.Helper()
	f, err := b.m.Func(entry)
	if err != nil {
		b.t.Fatal(err)
	}
	var p []byte
	var sizes []int
	for _, a := range args {
		was := len(p)
		switch v := a.(type) {
		case driver.Ptr:
			p = binary.LittleEndian.AppendUint64(p, uint64(v))
		case int:
			p = binary.LittleEndian.AppendUint32(p, uint32(v))
		}
		sizes = append(sizes, len(p)-was)
	}
	return b.d.Launch(0, []driver.Launch{{
		Func: f, Grid: [3]uint32{uint32(grid), 1, 1}, Block: [3]uint32{uint32(block), 1, 1}, Shared: shared, Params: p, Sizes: sizes,
	}})
}

func kinds(err error) (ks []Kind) {
	for _, r := range Reports(err) {
		if !slices.Contains(ks, r.Kind) {
			ks = append(ks, r.Kind)
		}
	}
	slices.Sort(ks)
	return ks
}

// runPlanted launches a kernel of planted.cu on data that suits it.
func runPlanted(b *bench, entry string) error {
	switch strings.SplitN(entry, "_", 2)[0] {
	case "norm":
		const rows, n = 5, 130
		return b.launch(entry, 2, 128, 0, b.floats("y", rows*n), b.floats("x", rows*n), rows, n)
	case "tile":
		return b.launch(entry, 3, 64, 0, b.floats("out", 150))
	case "turns":
		return b.launch(entry, 1, 128, 0, b.floats("out", 256))
	case "neighbours":
		return b.launch(entry, 1, 128, 0, b.floats("out", 128))
	case "count":
		return b.launch(entry, 3, 1, 0, b.bytes("out", make([]byte, 4)))
	case "stage":
		return b.launch(entry, 1, 128, 0, b.floats("out", 512), b.floats("in", 400), 100)
	case "crooked":
		return b.launch(entry, 1, 32, 0, b.floats("out", 32), b.floats("in", 33))
	}
	panic(entry)
}

// Every planted bug is reported, as what it is and where it is; the line is marked "bug N" in planted.cu.
func TestPlantedBugsAreReported(t *testing.T) {
	source, err := os.ReadFile("testdata/planted.cu")
	if err != nil {
		t.Fatal(err)
	}
	line := func(marker string) string {
		for i, l := range strings.Split(string(source), "\n") {
			if strings.Contains(l, marker) {
				return fmt.Sprintf("planted.cu:%d", i+1)
			}
		}
		t.Fatalf("no %q in planted.cu", marker)
		return ""
	}
	for _, c := range []struct {
		entry  string
		want   []Kind
		at     string // somewhere in the text
		detail string
	}{
		{"norm_1", []Kind{GlobalBounds}, line("const float v = in[c]"), "an allocation of 2600 bytes"},
		{"norm_2", []Kind{DivergentBarrier, ReadAfterWrite, WriteAfterRead}, "warps 0 and 3 meet at barrier 0", line("bug 3")},
		{"norm_3", []Kind{Uninitialised, ReadAfterWrite, WriteAfterRead}, "", "part"},
		{"norm_4", []Kind{Uninitialised}, line("bug 4"), "shared part+16"},
		{"norm_5", []Kind{SharedBounds, WriteAfterWrite}, line("bug 5"), "shared part+"},
		{"norm_6", []Kind{Mask}, line("sum += __shfl"), "0xffff0000"},
		{"tile_10", []Kind{BlockRace, GlobalBounds}, line("bug 10"), ""},
		{"turns_14", []Kind{Uninitialised, ReadAfterWrite, WriteAfterRead}, line("out[t] = box[(t + 32)"), "box"},
		{"neighbours_16", []Kind{ReadAfterWrite}, line("out[t] = box[t ^ 1]"), ""},
		{"count_17", []Kind{BlockRace}, line("bug 17"), ""},
		{"stage_7", []Kind{AsyncInFlight, ReadAfterWrite}, line("out[t] = box[127"), "a copy is under way"},
		{"stage_8", []Kind{Uninitialised, ReadAfterWrite, WriteAfterRead}, line("out[t] = box[127"), ""},
		{"stage_19", []Kind{GlobalBounds}, line("bug 19"), "byte 1600 of an allocation of 1600"},
		{"crooked_18", []Kind{Misaligned}, line("void crooked("), ""},
	} {
		// Which threads meet depends on the schedule; what is reported does not, but for those that a schedule has to bring about.
		err := runPlanted(planted(t, Options{}), c.entry)
		got := kinds(err)
		if err == nil {
			t.Errorf("%s: nothing is reported, want %v", c.entry, c.want)
			continue
		}
		text := err.Error()
		for _, k := range got {
			if !slices.Contains(c.want, k) {
				t.Errorf("%s: reports %q, want %v:\n%s", c.entry, k, c.want, text)
			}
		}
		for seed := uint64(1); seed < 6; seed++ {
			got = append(got, kinds(runPlanted(planted(t, Options{Seed: seed}), c.entry))...)
		}
		for _, k := range c.want {
			if !slices.Contains(got, k) {
				t.Errorf("%s: never reports %q:\n%s", c.entry, k, text)
			}
		}
		if !strings.Contains(text, c.at) || !strings.Contains(text, c.detail) {
			t.Errorf("%s: the report names neither %q nor %q:\n%s", c.entry, c.at, c.detail, text)
		}
		if n := len(Reports(err)); n > maxReports {
			t.Errorf("%s: %d reports", c.entry, n)
		}
	}
}

// The same kernels without their bug are silent, under every schedule, and right.
func TestCorrectKernelsAreSilent(t *testing.T) {
	for seed := range uint64(16) {
		for _, entry := range []string{"norm_0", "tile_0", "turns_0", "neighbours_0", "count_0", "stage_0"} {
			b := planted(t, Options{Seed: seed})
			if err := runPlanted(b, entry); err != nil {
				t.Errorf("%s, seed %d: %v", entry, seed, err)
			}
			out := make([]byte, 4)
			switch entry {
			case "count_0":
				b.read(out, b.ptr["out"])
				if n := binary.LittleEndian.Uint32(out); n != 3 {
					t.Errorf("3 blocks counted to %d", n)
				}
			case "stage_0": // element 0 comes from thread 127, whose source is zero-filled
				b.read(out, b.ptr["out"])
				if n := binary.LittleEndian.Uint32(out); n != 0 {
					t.Errorf("beyond src-size stands %#x, want 0", n)
				}
			case "norm_0":
				b.read(out, b.ptr["y"])
				sum := 0.0
				for i := 1; i <= 130; i++ {
					sum += float64(i * i)
				}
				if got, want := float64(math.Float32frombits(binary.LittleEndian.Uint32(out))), 1/math.Sqrt(sum); math.Abs(got-want) > 1e-6*want {
					t.Errorf("norm: %v, want %v", got, want)
				}
			}
		}
	}
}

// planted.sm80.ptx is what gen.go made of planted.cu as it stands.
func TestPlantedPTXMatchesItsSource(t *testing.T) {
	var m struct {
		Families map[string]struct {
			Sources map[string]string
			PTX     string
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := json.Unmarshal(read("manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	sum := func(b []byte) string {
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:])
	}
	if len(m.Families) != 2 {
		t.Errorf("the manifest has %d families, want planted.sm80 and planted.sm90a", len(m.Families))
	}
	for name, f := range m.Families {
		stale := func(file string) {
			t.Errorf("%s changed after %s.ptx was made: run go run kernels/ptx/gen.go -planted", file, name)
		}
		if sum(read(name+".ptx")) != f.PTX {
			stale(name + ".ptx")
		}
		for source, want := range f.Sources {
			b, err := os.ReadFile("testdata/" + source)
			if err != nil {
				b = read("../../" + source)
			}
			if sum(b) != want {
				stale(source)
			}
		}
	}
}

// hopperBench is an emulated sm_90 with the planted kernels for it.
func hopperBench(t *testing.T, o Options) *bench {
	t.Helper()
	text, err := os.ReadFile("testdata/planted.sm90a.ptx")
	if err != nil {
		t.Fatal(err)
	}
	o.Capability = 90
	return newBench(t, o, text)
}

// bf16 image of a·b for product: a (64,64), b (n,64) or, transposed, (64,n), in panels of 64 columns with their pieces swizzled.
func productImage(a, b func(i, k int) float32, transposed bool) []byte {
	image := make([]byte, 32768)
	place := func(base, row, col int, x float32) {
		at := base + col/64*8192 + row*128 + (col%64/8^row&7)*16 + col%8*2
		binary.LittleEndian.PutUint16(image[at:], uint16(math.Float32bits(x)>>16))
	}
	for k := range 64 {
		for m := range 64 {
			place(0, m, k, a(m, k))
		}
		for n := range 128 {
			if transposed {
				place(8192, k, n, b(n, k))
			} else {
				place(8192, n, k, b(n, k))
			}
		}
	}
	return image
}

// wgmma with its left factor in shared memory and in registers, and its right one with either dimension innermost, against the product
// itself.
func TestWarpgroupProducts(t *testing.T) {
	a := func(m, k int) float32 { return float32((m*5+k*3)%17-8) / 8 }
	b := func(n, k int) float32 { return float32((n*7+k*11)%13-6) / 4 }
	for _, c := range []struct {
		entry      string
		cols       int
		transposed bool
	}{{"product_0_0", 128, false}, {"product_1_0", 64, false}, {"product_2_0", 128, true}} {
		for seed := range uint64(3) {
			bn := hopperBench(t, Options{Seed: seed})
			out := bn.bytes("c", make([]byte, 64*128*4))
			if err := bn.launch(c.entry, 1, 128, 32768, out, bn.bytes("image", productImage(a, b, c.transposed))); err != nil {
				t.Fatalf("%s: %v", c.entry, err)
			}
			got := make([]byte, 64*128*4)
			bn.read(got, out)
			for m := range 64 {
				for n := range c.cols {
					want := float32(0) // sums of multiples of 1/32 below 2^19: exact
					for k := range 64 {
						want += a(m, k) * b(n, k)
					}
					if v := math.Float32frombits(binary.LittleEndian.Uint32(got[4*(m*128+n):])); v != want {
						t.Fatalf("%s: element (%d,%d) is %v, want %v", c.entry, m, n, v, want)
					}
				}
			}
		}
	}
}

// Bugs that only Hopper's instructions allow.
func TestPlantedHopperBugsAreReported(t *testing.T) {
	run := func(entry string, seed uint64) (*bench, error) {
		b := hopperBench(t, Options{Seed: seed})
		if strings.HasPrefix(entry, "product") {
			return b, b.launch(entry, 1, 128, 32768, b.bytes("c", make([]byte, 64*128*4)), b.bytes("image", make([]byte, 32768)))
		}
		return b, b.launch(entry, 1, 64, 0, b.bytes("out", make([]byte, 2048)), b.floats("in", 256))
	}
	for seed := range uint64(8) {
		if _, err := run("copies_0", seed); err != nil {
			t.Errorf("copies_0, schedule %d: %v", seed, err)
		}
	}
	for _, c := range []struct {
		entry  string
		want   Kind
		detail string
	}{
		{"copies_20", Proxy, "no fence.proxy.async by it"},
		{"copies_21", Misaligned, "1020 bytes"},
		{"copies_22", MBarrier, "where an mbarrier stands"},
		{"copies_24", AsyncInFlight, "a copy is under way"},
		{"product_2_23", Proxy, "no fence.proxy.async by it"},
	} {
		_, err := run(c.entry, 0)
		if !slices.Contains(kinds(err), c.want) || !strings.Contains(err.Error(), c.detail) || !strings.Contains(err.Error(), ".cu") {
			t.Errorf("%s: %v, want %q that says %q", c.entry, err, c.want, c.detail)
		}
	}
	// What is read of sums under way is NaN.
	b, err := run("product_0_25", 0)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 4)
	b.read(out, b.ptr["c"])
	if v := math.Float32frombits(binary.LittleEndian.Uint32(out)); v == v {
		t.Errorf("a sum that is being made reads as %v, want NaN", v)
	}
}
