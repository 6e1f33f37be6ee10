package emu

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"retool/kernels/driver"
)

// Options choose what is emulated and how strictly.
type Options struct {
	Capability int    // 80 or 90; 75 opens too, for those who must refuse it
	Seed       uint64 // 0: blocks and warps in order; else a random schedule
	NoCheck    bool   // bounds, alignment and masks are checked all the same; races and uninitialised reads are not
	Memory     int64  // bytes of global memory; 0: 4 GiB
	PTX        string // the newest .version that it loads, as an old driver would; "": any
}

// Device is a GPU in pure Go. It is a driver.Driver; operations take effect at once. It is not safe for concurrent use.
type Device struct {
	opt      Options
	info     driver.Info
	rng      *rand.Rand
	pages    []*alloc
	next     uint64
	used     int64
	spare    [][]cell
	stamp    uint32
	counters Counters
	graphs   [][]driver.Launch
	streams  int
	events   int
}

var _ driver.Driver = (*Device)(nil)

// New is an emulated GPU. It panics if the capability is not one it knows.
func New(o Options) *Device {
	if o.Capability != 75 && o.Capability != 80 && o.Capability != 90 {
		panic(fmt.Sprintf("emu: New: capability %d, want 75, 80 or 90", o.Capability))
	}
	if o.Memory == 0 {
		o.Memory = 4 << 30
	}
	d := &Device{opt: o, next: globalBase}
	d.info = driver.Info{Name: fmt.Sprintf("emulated sm_%d", o.Capability), Capability: o.Capability, Multiprocessors: 4, Memory: o.Memory, SharedPerBlock: 163 << 10, Version: "emu", Immediate: true}
	if o.Capability == 90 {
		d.info.SharedPerBlock = 227 << 10
	}
	if o.Seed != 0 {
		d.rng = rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15))
	}
	return d
}

// Info names the emulated GPU.
func (d *Device) Info() driver.Info { return d.info }

// Counters are the sums over all launches since the last Reset.
func (d *Device) Counters() Counters { return d.counters }

// Reset sets the counters to zero.
func (d *Device) Reset() { d.counters = Counters{} }

// Alloc returns memory whose bytes are 0xFF: NaN in every float type.
func (d *Device) Alloc(bytes int) (driver.Ptr, error) {
	if d.used+int64(bytes) > d.opt.Memory {
		return 0, &driver.ErrMemory{Asked: int64(bytes), Free: d.opt.Memory - d.used, Total: d.opt.Memory}
	}
	d.used += int64(bytes)
	return driver.Ptr(d.alloc(bytes, 0xff).base), nil
}

// Free ends an allocation. Its addresses are never given out again: an access is reported as a use after free.
func (d *Device) Free(p driver.Ptr) error {
	a := d.find(uint64(p))
	if a == nil || a.base != uint64(p) || a.dead {
		return fmt.Errorf("emu: free of %#x: %s", uint64(p), d.describe(uint64(p)))
	}
	a.dead, a.size, a.data = true, len(a.data), nil // the size stays, for reports
	d.used -= int64(len(a.data))
	return nil
}

// Pinned is ordinary memory here.
func (d *Device) Pinned(bytes int) ([]byte, error) { return make([]byte, bytes), nil }

// FreePinned does nothing: the collector does.
func (d *Device) FreePinned(b []byte) error { return nil }

// CopyIn copies to the device.
func (d *Device) CopyIn(s driver.Stream, dst driver.Ptr, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	b, err := d.host("copy to the device", dst, len(src))
	if err != nil {
		return err
	}
	copy(b, src)
	return nil
}

// CopyOut copies to the host.
func (d *Device) CopyOut(s driver.Stream, dst []byte, src driver.Ptr) error {
	if len(dst) == 0 {
		return nil
	}
	b, err := d.host("copy from the device", src, len(dst))
	if err != nil {
		return err
	}
	copy(dst, b)
	return nil
}

// Copy copies on the device.
func (d *Device) Copy(s driver.Stream, dst, src driver.Ptr, bytes int) error {
	if bytes == 0 {
		return nil
	}
	to, err := d.host("copy", dst, bytes)
	if err != nil {
		return err
	}
	from, err := d.host("copy", src, bytes)
	if err != nil {
		return err
	}
	copy(to, from)
	return nil
}

// Fill32 writes n words of v.
func (d *Device) Fill32(s driver.Stream, dst driver.Ptr, v uint32, n int) error {
	if n == 0 {
		return nil
	}
	b, err := d.host("fill", dst, n*4)
	if err != nil {
		return err
	}
	for i := range n {
		put(b[4*i:], 4, uint64(v))
	}
	return nil
}

// loaded is a module on a device.
type loaded struct {
	d       *Device
	mod     *module
	entries map[string]*program
}

// kernel is an entry of a loaded module.
type kernel struct {
	p *program
}

func (k *kernel) Name() string { return k.p.f.name }

// Attr says what PTX says; registers are the compiler's business, and 0 here.
func (k *kernel) Attr() driver.Attr {
	return driver.Attr{Local: k.p.f.localSize, Shared: k.p.static, Threads: k.p.f.threads}
}

// Load parses PTX. What is not understood is an error, here or when the entry is first asked for.
func (d *Device) Load(ptx []byte) (driver.Module, error) {
	m, err := parse(ptx)
	if err != nil {
		return nil, err
	}
	if v := d.opt.PTX; v != "" && newer(m.version, v) {
		return nil, fmt.Errorf("emu: load PTX: it is version %s, this driver is too old and takes up to %s: install a newer one", m.version, v)
	}
	want := fmt.Sprintf("sm_%d", d.opt.Capability)
	switch target := m.target; {
	case target == "sm_90a":
		if d.opt.Capability != 90 {
			return nil, fmt.Errorf("emu: load PTX: .target %s does not run on %s", target, want)
		}
	case strings.HasPrefix(target, "sm_") && target <= want:
	default:
		return nil, fmt.Errorf("emu: load PTX: .target %s does not run on %s", target, want)
	}
	return &loaded{d: d, mod: m, entries: map[string]*program{}}, nil
}

// newer compares versions of PTX, major.minor.
func newer(a, b string) bool {
	var am, an, bm, bn int
	fmt.Sscanf(a, "%d.%d", &am, &an)
	fmt.Sscanf(b, "%d.%d", &bm, &bn)
	return am > bm || am == bm && an > bn
}

// Func compiles an entry.
func (m *loaded) Func(name string) (driver.Func, error) {
	p := m.entries[name]
	if p == nil {
		var err error
		if p, err = m.compile(name); err != nil {
			return nil, err
		}
		m.entries[name] = p
	}
	return &kernel{p}, nil
}

// global places a module's variable in memory when an entry first names it.
func (m *loaded) global(v *variable) uint64 {
	if v.addr == 0 {
		a := m.d.alloc(v.size, 0)
		copy(a.data, v.init)
		v.addr = a.base
	}
	return v.addr
}

// Launch runs the launches, one after the other. The error holds what the checker reports: see Reports.
func (d *Device) Launch(s driver.Stream, ls []driver.Launch) error {
	for i := range ls {
		if err := d.launch(&ls[i]); err != nil {
			return err
		}
	}
	return nil
}

const maxGrid = 1<<31 - 1

func (d *Device) launch(l *driver.Launch) error {
	k, ok := l.Func.(*kernel)
	if !ok {
		panic(fmt.Sprintf("emu: launch of %T, which another driver made", l.Func))
	}
	p := k.p
	bad := func(format string, args ...any) error {
		return fmt.Errorf("emu: launch %s: "+format, append([]any{p.f.name}, args...)...)
	}
	threads := int(l.Block[0]) * int(l.Block[1]) * int(l.Block[2])
	switch {
	case len(l.Params) != p.f.paramSize:
		return bad("%d bytes of parameters, its PTX declares %d", len(l.Params), p.f.paramSize)
	case threads < 1 || threads > 1024 || threads > p.f.threads:
		return bad("blocks of %d threads, want 1 to %d", threads, min(1024, p.f.threads))
	case l.Grid[0] < 1 || l.Grid[0] > maxGrid || l.Grid[1] < 1 || l.Grid[1] > 65535 || l.Grid[2] < 1 || l.Grid[2] > 65535:
		return bad("grid %v, want 1 to 2³¹−1, 65535 and 65535", l.Grid)
	case l.Cluster != [3]uint32{}:
		return bad("clusters are not emulated")
	case l.Shared > 0 && p.dyn == nil:
		return bad("%d dynamic shared bytes, and it declares none", l.Shared)
	case p.dynAt+l.Shared > d.info.SharedPerBlock:
		return bad("%d shared bytes, a block of %s has at most %d", p.dynAt+l.Shared, d.info.Name, d.info.SharedPerBlock)
	case p.module.mod.target == "sm_80" && p.dynAt+l.Shared > 99<<10:
		return bad("%d shared bytes: a portable kernel keeps to %d, so that sm_86 and sm_89 run it", p.dynAt+l.Shared, 99<<10)
	}
	d.stamp++
	run := &launch{d: d, p: p, params: l.Params, grid: l.Grid, block: l.Block, dynamic: l.Shared, check: !d.opt.NoCheck, rng: d.rng, stamp: d.stamp}
	err := run.run()
	run.release()
	run.counters.Launches = 1
	d.counters.add(run.counters)
	return err
}

func (c *Counters) add(o Counters) {
	c.Launches += o.Launches
	c.Instructions += o.Instructions
	c.MMA += o.MMA
	c.SharedRequests += o.SharedRequests
	c.Wavefronts += o.Wavefronts
	c.Conflicts += o.Conflicts
	c.GlobalSectors += o.GlobalSectors
}

// Capture keeps a copy of the launches.
func (d *Device) Capture(ls []driver.Launch) (driver.Graph, error) {
	g := make([]driver.Launch, len(ls))
	for i, l := range ls {
		l.Params = append([]byte(nil), l.Params...)
		g[i] = l
	}
	d.graphs = append(d.graphs, g)
	return driver.Graph(len(d.graphs)), nil
}

// Replay runs the launches of a graph.
func (d *Device) Replay(s driver.Stream, g driver.Graph) error {
	if g < 1 || int(g) > len(d.graphs) || d.graphs[g-1] == nil {
		panic(fmt.Sprintf("emu: replay of graph %d, which does not exist", g))
	}
	return d.Launch(s, d.graphs[g-1])
}

// FreeGraph forgets a graph.
func (d *Device) FreeGraph(g driver.Graph) error {
	d.graphs[g-1] = nil
	return nil
}

// NewStream numbers a stream. All streams run in the order issued.
func (d *Device) NewStream() (driver.Stream, error) {
	d.streams++
	return driver.Stream(d.streams), nil
}

// NewEvent numbers an event.
func (d *Device) NewEvent() (driver.Event, error) {
	d.events++
	return driver.Event(d.events), nil
}

// Record does nothing: everything issued before is done.
func (d *Device) Record(driver.Event, driver.Stream) error { return nil }

// WaitEvent does nothing, for the same reason.
func (d *Device) WaitEvent(driver.Stream, driver.Event) error { return nil }

// Elapsed is 0: the emulator has no clock that would mean anything.
func (d *Device) Elapsed(a, b driver.Event) (float32, error) { return 0, nil }

// Wait returns at once.
func (d *Device) Wait(driver.Stream) error { return nil }

// Close does nothing: the collector does.
func (d *Device) Close() error { return nil }
