package kernels

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/kernels/ptx"
)

// What a GPU that works through a queue does with mistakes that one which acts at once forgives. Each is planted here, and must be seen.

func queued(t testing.TB) *GPU { return emulated(t, emu.Options{Capability: 80, Queued: true}) }

// over is the device on a driver that stands in front of an emulator.
func over(t testing.TB, drv driver.Driver) *GPU {
	g, err := NewGPU(drv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// sees demands a report of a kind.
func sees(t testing.TB, what string, err error, kind emu.Kind) {
	t.Helper()
	if !slices.ContainsFunc(emu.Reports(err), func(r emu.Report) bool { return r.Kind == kind }) {
		t.Errorf("%s: %v, want a report of %q", what, err, kind)
	}
}

// A replay that overtakes what was recorded before it computes from old numbers. A GPU that acts at once has nothing pending.
func TestGPUAReplayThatOvertakesIsSeen(t *testing.T) {
	for _, c := range []struct {
		name    string
		d       *GPU
		visible bool
	}{{"queued", queued(t), true}, {"at once", emulated(t, emu.Options{Capability: 80}), false}} {
		d := c.d
		x, y := upload(d, normals(1, 64), 1, 64), upload(d, normals(2, 64), 1, 64)
		mustDo(t, d, func() { d.Repeat("y += x", func() { d.Add(y, x) }) })
		for _, submits := range []bool{true, false} {
			want := bits16(d, y)
			mustDo(t, d, func() {
				d.Zero(x) // pending
				if submits {
					d.Repeat("y += x", nil)
					return
				}
				d.mu.Lock()
				d.replay(d.graphs["y += x"]) // the planted mistake
				d.mu.Unlock()
			})
			if wrong := !slices.Equal(bits16(d, y), want); wrong != (c.visible && !submits) {
				t.Errorf("%s, submitted first: %v: a wrong sum: %v", c.name, submits, wrong)
			}
			d.Upload(x, normals(3, 64))
		}
	}
}

// pageable copies as cuMemcpyHtoD does from pageable memory.
type pageable struct{ *emu.Device }

func (p pageable) CopyIn(_ driver.Stream, dst driver.Ptr, src []byte) error {
	return p.CopyPageable(dst, src)
}

// hasty waits for no event, so buffers are used again too early.
type hasty struct{ *emu.Device }

func (hasty) Sync(driver.Event) error { return nil }

func TestGPURacesOfCopiesAreSeen(t *testing.T) {
	for _, capability := range []int{80, 90} {
		d := over(t, pageable{emu.New(emu.Options{Capability: capability, Queued: true})})
		if capability == 90 {
			if err := d.Hopper(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := linearOnHopper(t, d)
		sees(t, fmt.Sprintf("sm_%d: a product of what a pageable copy brings", capability), err, emu.HostRace)
	}
	d := over(t, pageable{emu.New(emu.Options{Capability: 80, Queued: true})})
	d.Download(make([]float32, 64), upload(d, normals(1, 64), 1, 64))
	sees(t, "a copy of what a pageable copy brings", d.Do(func() {}), emu.HostRace)

	d = over(t, hasty{emu.New(emu.Options{Capability: 80, Queued: true})})
	for i := range uint64(3) {
		upload(d, normals(i, 64), 1, 64)
	}
	sees(t, "a staging buffer that is used again too early", d.Do(func() {}), emu.HostRace)
	d = over(t, hasty{emu.New(emu.Options{Capability: 80, Queued: true})})
	x := upload(d, normals(1, 64), 1, 64)
	if got := bits16(d, x); got[0] != 0xffff {
		t.Errorf("a buffer that is read too early holds %#x, want 0xffff", got[0])
	}
}

// other hands launches on with one thing changed, and says other things of kernels.
type other struct {
	*emu.Device
	launch func(l *driver.Launch)
	params func(sizes []int) []int
	attr   driver.Attr
}

type otherModule struct {
	driver.Module
	o *other
}

type otherFunc struct {
	driver.Func
	o *other
}

func (o *other) Load(text []byte) (driver.Module, error) {
	m, err := o.Device.Load(text)
	return otherModule{m, o}, err
}

func (m otherModule) Func(name string) (driver.Func, error) {
	f, err := m.Module.Func(name)
	return otherFunc{f, m.o}, err
}

func (f otherFunc) Attr() driver.Attr {
	if f.o.attr != (driver.Attr{}) {
		return f.o.attr
	}
	return f.Func.Attr()
}

func (f otherFunc) Params() []int {
	if f.o.params != nil {
		return f.o.params(f.Func.Params())
	}
	return f.Func.Params()
}

func (o *other) Launch(s driver.Stream, ls []driver.Launch) error {
	ls = slices.Clone(ls)
	for i := range ls {
		ls[i].Func = ls[i].Func.(otherFunc).Func
		if o.launch != nil {
			o.launch(&ls[i])
		}
	}
	return o.Device.Launch(s, ls)
}

func TestGPUParametersOfAnotherSizeAreRefused(t *testing.T) {
	opened := func(o *other) *GPU {
		o.Device = emu.New(emu.Options{Capability: 90, Queued: true})
		d := over(t, o)
		if err := d.Hopper(); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if _, err := linearOnHopper(t, opened(&other{})); err != nil {
		t.Fatalf("nothing changed: %v", err)
	}
	for _, c := range []struct {
		name, want string
		o          *other
	}{
		{"a tensor as 4 bytes", "launch linear_nt32_wgmma: parameter 0 has 4 bytes of 292 left, its PTX declares 16", &other{
			launch: func(l *driver.Launch) {
				l.Params, l.Sizes = l.Params[:len(l.Params)-12], append([]int{4}, l.Sizes[1:]...)
			},
		}},
		// What was passed before: C's layout in one buffer, with tensor maps at multiples of 64.
		{"a gap before a tensor map", "48 bytes behind the last parameter", &other{
			launch: func(l *driver.Launch) { l.Params = slices.Concat(l.Params[:16], make([]byte, 48), l.Params[16:]) },
		}},
		{"one parameter less", "7 parameters, its PTX declares 8", &other{
			launch: func(l *driver.Launch) { l.Params, l.Sizes = l.Params[:len(l.Params)-4], l.Sizes[:len(l.Sizes)-1] },
		}},
		{"another kernel than the manifest's", "load linear.sm90a: the driver's linear_nt32_wgmma takes parameters of [16 128", &other{
			params: func(sizes []int) []int { return sizes[:len(sizes)-1] },
		}},
	} {
		_, err := linearOnHopper(t, opened(c.o))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A graph ends with the memory that its launches touch, and what is freed and made anew is not written by an old one.
func TestGPUGraphsEndWithTheirMemory(t *testing.T) {
	d := queued(t)
	x := upload(d, normals(1, 64), 1, 64)
	calls := 0
	add := func(y Tensor) []uint16 {
		mustDo(t, d, func() { d.Repeat("y += x", func() { calls++; d.Add(y, x) }) })
		return bits16(d, y)
	}
	y := upload(d, normals(2, 64), 1, 64)
	add(y)
	add(y)
	unrelated := d.Alloc(F32, 3)
	d.Free(unrelated)
	add(y)
	if calls != 1 {
		t.Errorf("recorded %d times, want once: what was freed is no part of it", calls)
	}
	d.Free(y)
	y = upload(d, normals(2, 64), 1, 64)
	first := add(y)
	again := upload(d, normals(2, 64), 1, 64)
	mustDo(t, d, func() { d.Add(again, x) })
	if calls != 2 || !slices.Equal(bits16(d, again), first) {
		t.Errorf("recorded %d times, want twice; equal sums: %v", calls, slices.Equal(bits16(d, again), first))
	}
	for i := range mostGraphs + 9 { // the least recently used make room
		mustDo(t, d, func() { d.Repeat(fmt.Sprint("key ", i), func() { d.Add(y, x) }) })
		add(y)
	}
	if len(d.graphs) != mostGraphs || calls != 2 {
		t.Errorf("%d graphs are kept, want %d; the one in use was recorded %d times, want twice", len(d.graphs), mostGraphs, calls)
	}
	mustDo(t, d, func() {
		d.Repeat("outer", func() {
			mustPanic(t, func() { d.Repeat("inner", func() {}) }, "Repeat inner inside Repeat")
		})
	})
	mustPanic(t, func() { d.Repeat("y += x", nil) }, "Repeat was called outside Do")
}

// A fault of a queue comes back from what waits; a synchronous device names the operation and its kernel.
func TestGPUSynchronousNamesTheKernel(t *testing.T) {
	fault := func(d *GPU) error {
		kv, src, dst, x := d.AllocKV(BF16, 1, Heads{Q: 1, KV: 1, Dim: 16}), d.Alloc(I32, 1), d.Alloc(I32, 1), d.Alloc(BF16, 1, 64)
		d.Upload(src, []int32{9}) // there is one page
		return d.Do(func() { d.Zero(x); d.CopyPages(kv, dst, src); d.Add(x, x) })
	}
	if err := fault(queued(t)); err == nil || !strings.HasPrefix(err.Error(), "kernels: Do: ") {
		t.Errorf("queued: %v, want it from Do's wait", err)
	}
	d := queued(t)
	d.Synchronous()
	if err := fault(d); err == nil || !strings.HasPrefix(err.Error(), "kernels: CopyPages: copy_pages: emu: ") {
		t.Errorf("synchronous: %v, want the operation and its kernel", err)
	}
	d = queued(t)
	d.Synchronous()
	calls := 0
	x := d.Alloc(BF16, 1, 64)
	for range 2 {
		mustDo(t, d, func() { d.Repeat("x", func() { calls++; d.Add(x, x) }) })
	}
	if calls != 2 {
		t.Errorf("a synchronous device called f %d times of 2: a graph has no kernel to name", calls)
	}
}

// What another assembler made of a kernel is a note; the emulator, which allots no registers, has none. Loading takes time, which is
// counted.
func TestGPUNotesWhatIsNotAsRecorded(t *testing.T) {
	e := ptx.Entry{Registers: 40, Hopper: 42}
	for _, c := range []struct {
		fam        string
		capability int
		a          driver.Attr
		want       string
	}{
		{"norm.sm80", 80, driver.Attr{Registers: 40}, ""},
		{"norm.sm80", 90, driver.Attr{Registers: 42}, ""},
		{"linear.sm90a", 90, driver.Attr{Registers: 40}, ""},
		{"norm.sm80", 86, driver.Attr{Registers: 57}, ""},
		{"norm.sm80", 90, driver.Attr{Registers: 40}, "40 registers and 0 bytes of local memory, ptxas of the manifest 42 and 0"},
		{"norm.sm80", 80, driver.Attr{Registers: 40, Local: 16}, "40 registers and 16 bytes of local memory, ptxas of the manifest 40 and 0"},
	} {
		if got := compareAttr("k", c.fam, c.capability, e, c.a); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s on sm_%d, %+v: %q, want %q", c.fam, c.capability, c.a, got, c.want)
		}
	}
	load := func(drv driver.Driver) *GPU {
		d := over(t, drv)
		if d.Info().Compile != 0 {
			t.Errorf("nothing is loaded, and took %v", d.Info().Compile)
		}
		x := d.Alloc(BF16, 1, 64)
		mustDo(t, d, func() { d.Add(x, x) })
		if d.Info().Compile <= 0 {
			t.Error("loading took no time")
		}
		return d
	}
	if notes := load(emu.New(emu.Options{Capability: 80})).Notes(); len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
	notes := load(&other{Device: emu.New(emu.Options{Capability: 80}), attr: driver.Attr{Registers: 255, Local: 8, Threads: 256}}).Notes()
	if len(notes) != 1 || !strings.Contains(notes[0], "kernels: add: this driver gives a thread 255 registers and 8 bytes of local memory") {
		t.Errorf("notes %q", notes)
	}
}

// Do waits for what nothing has waited for: an empty download waits for nothing.
func TestGPUDoWaitsForWhatIsUnderWay(t *testing.T) {
	e := emu.New(emu.Options{Capability: 80, Queued: true})
	d := over(t, e)
	x, none := d.Alloc(BF16, 1, 64), d.Alloc(F32, 0)
	for _, c := range []struct {
		name  string
		f     func()
		waits int
	}{
		{"a launch", func() { d.Add(x, x) }, 1},
		{"nothing", func() {}, 0},
		{"a launch, then a download", func() { d.Add(x, x); d.Download(make([]uint16, 64), x) }, 1},
		{"a launch, then a download of nothing", func() { d.Add(x, x); d.Download([]float32{}, none) }, 1},
		{"a download, then a launch", func() { d.Download(make([]uint16, 64), x); d.Add(x, x) }, 2},
	} {
		e.Reset()
		mustDo(t, d, c.f)
		if n := e.Counters().Waits; n != c.waits {
			t.Errorf("%s: %d waits, want %d", c.name, n, c.waits)
		}
	}
}
