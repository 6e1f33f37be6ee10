package emu

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"retool/kernels/driver"
)

// Options choose what is emulated and how strictly.
type Options struct {
	Capability      int    // 80 or 90; 75 opens too, for those who must refuse it
	Multiprocessors int    // 0: 4
	Queued          bool   // operations take effect as late as they may, when something is waited for; else at once
	Seed            uint64 // 0: blocks and warps in order; else a random schedule
	NoCheck         bool   // races and uninitialised reads are not looked for; bounds, alignment and masks are
	Memory          int64  // bytes of global memory; 0: 4 GiB
	PTX             string // the newest .version that it loads, as an old driver would; "": any

	// Launched, if there is one, is told of every launch: the kernel, and the bytes of each parameter.
	Launched func(entry string, sizes []int)
}

// Device is a GPU in pure Go. It is a driver.Driver. It is not safe for concurrent use.
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
	events   []int // how many operations had been issued when each was last recorded
	queue    queue
	pinned   [][]byte
	loose    []loose
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
	if o.Multiprocessors == 0 {
		o.Multiprocessors = 4
	}
	d := &Device{opt: o, next: globalBase}
	d.info = driver.Info{
		Name: fmt.Sprintf("emulated sm_%d", o.Capability), Capability: o.Capability, Multiprocessors: o.Multiprocessors,
		Memory: o.Memory, SharedPerBlock: 163 << 10, Version: "emu", Immediate: !o.Queued,
	}
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

// Free ends an allocation, when all that was issued is done. Its addresses are never given out again: an access is reported as a use
// after free.
func (d *Device) Free(p driver.Ptr) error {
	if err := d.queue.drain(d.queue.issued()); err != nil {
		return err
	}
	a := d.find(uint64(p))
	if a == nil || a.base != uint64(p) || a.dead {
		return fmt.Errorf("emu: free of %#x: %s", uint64(p), d.describe(uint64(p)))
	}
	a.dead, a.size, a.data = true, len(a.data), nil // the size stays, for reports
	d.used -= int64(len(a.data))
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

// Params are what PTX declares.
func (k *kernel) Params() []int {
	sizes := make([]int, len(k.p.f.params))
	for i, v := range k.p.f.params {
		sizes[i] = v.size
	}
	return sizes
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

// Launch issues the launches, one after the other. The error, which may be that of an earlier one, holds what the checker reports: see
// Reports.
func (d *Device) Launch(s driver.Stream, ls []driver.Launch) error {
	for i := range ls {
		run, err := d.prepare(&ls[i])
		if err != nil {
			return err
		}
		if err := d.issue(run); err != nil {
			return err
		}
	}
	return nil
}

const maxGrid = 1<<31 - 1

// prepare does what the driver does at once: it checks a launch, and copies its parameters to where the kernel has them.
func (d *Device) prepare(l *driver.Launch) (run func() error, err error) {
	k, ok := l.Func.(*kernel)
	if !ok {
		panic(fmt.Sprintf("emu: launch of %T, which another driver made", l.Func))
	}
	err = d.fits(k.p, l)
	var params []byte
	if err == nil {
		params, err = k.p.pack(l)
	}
	if err != nil {
		return nil, fmt.Errorf("emu: launch %s: %w", k.p.f.name, err)
	}
	if d.opt.Launched != nil {
		d.opt.Launched(k.p.f.name, l.Sizes)
	}
	grid, block, dynamic, clusters := l.Grid, l.Block, l.Shared, k.p.clusterOf(l)
	return func() error {
		d.stamp++
		run := &launch{
			d: d, p: k.p, params: params, grid: grid, block: block, dynamic: dynamic, clusters: clusters,
			check: !d.opt.NoCheck, rng: d.rng, stamp: d.stamp,
		}
		err := run.run()
		run.release()
		run.counters.Launches = 1
		d.counters.add(run.counters)
		return err
	}, nil
}

// fits holds the shape of a launch against what the kernel and the device allow.
func (d *Device) fits(p *program, l *driver.Launch) error {
	threads := int(l.Block[0]) * int(l.Block[1]) * int(l.Block[2])
	total := p.dynAt + l.Shared
	switch {
	case threads < 1 || threads > 1024 || threads > p.f.threads:
		return fmt.Errorf("blocks of %d threads, want 1 to %d", threads, min(1024, p.f.threads))
	case l.Grid[0] < 1 || l.Grid[0] > maxGrid || l.Grid[1] < 1 || l.Grid[1] > 65535 || l.Grid[2] < 1 || l.Grid[2] > 65535:
		return fmt.Errorf("grid %v, want 1 to 2³¹−1, 65535 and 65535", l.Grid)
	case l.Cluster != [3]uint32{} && p.f.cluster != [3]uint32{} && l.Cluster != p.f.cluster:
		return fmt.Errorf("clusters of %v, its PTX requires %v", l.Cluster, p.f.cluster)
	case p.clusterOf(l) < 1 || p.clusterOf(l) > 8 || int(l.Grid[0])%p.clusterOf(l) != 0:
		return fmt.Errorf("clusters of %d blocks in a grid of %v: want 1 to 8 side by side, and whole ones", p.clusterOf(l), l.Grid)
	case p.clusterOf(l) > 1 && d.opt.Capability < 90:
		return fmt.Errorf("clusters of %d blocks: %s has none", p.clusterOf(l), d.info.Name)
	case l.Shared > 0 && p.dyn == nil:
		return fmt.Errorf("%d dynamic shared bytes, and it declares none", l.Shared)
	case total > d.info.SharedPerBlock:
		return fmt.Errorf("%d shared bytes, a block of %s has at most %d", total, d.info.Name, d.info.SharedPerBlock)
	case p.module.mod.target == "sm_80" && total > 99<<10:
		return fmt.Errorf("%d shared bytes: a portable kernel keeps to %d, so that sm_86 and sm_89 run it", total, 99<<10)
	}
	return nil
}

// clusterOf is how many blocks of a launch form a cluster, as it or its PTX says; 0 where they do not stand side by side.
func (p *program) clusterOf(l *driver.Launch) int {
	c := l.Cluster
	if c == [3]uint32{} {
		c = p.f.cluster
	}
	switch {
	case c == [3]uint32{}:
		return 1
	case c[1] != 1 || c[2] != 1:
		return 0
	}
	return int(c[0])
}

// pack copies a launch's parameters to where the kernel has them.
func (p *program) pack(l *driver.Launch) ([]byte, error) {
	params, from := make([]byte, p.f.paramSize), l.Params
	if len(l.Sizes) != len(p.f.params) {
		return nil, fmt.Errorf("%d parameters, its PTX declares %d", len(l.Sizes), len(p.f.params))
	}
	for i, v := range p.f.params {
		if l.Sizes[i] != v.size || len(from) < v.size {
			return nil, fmt.Errorf("parameter %d has %d bytes of %d left, its PTX declares %d", i, l.Sizes[i], len(from), v.size)
		}
		copy(params[v.addr:], from[:v.size])
		from = from[v.size:]
	}
	if len(from) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last parameter", len(from))
	}
	return params, nil
}

func (c *Counters) add(o Counters) {
	c.Launches += o.Launches
	c.Instructions += o.Instructions
	c.MMA += o.MMA
	c.SharedRequests += o.SharedRequests
	c.Wavefronts += o.Wavefronts
	c.Conflicts += o.Conflicts
	c.GlobalSectors += o.GlobalSectors
	c.BulkBytes += o.BulkBytes
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

// Replay issues the launches of a graph.
func (d *Device) Replay(s driver.Stream, g driver.Graph) error {
	if g < 1 || int(g) > len(d.graphs) || d.graphs[g-1] == nil {
		panic(fmt.Sprintf("emu: replay of graph %d, which does not exist", g))
	}
	d.counters.Replays++
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
	d.events = append(d.events, 0)
	return driver.Event(len(d.events)), nil
}

func (d *Device) event(e driver.Event) *int {
	if e < 1 || int(e) > len(d.events) {
		panic(fmt.Sprintf("emu: event %d of %d", e, len(d.events)))
	}
	return &d.events[e-1]
}

// Record remembers what has been issued.
func (d *Device) Record(e driver.Event, s driver.Stream) error {
	*d.event(e) = d.queue.issued()
	return d.queue.failed
}

// WaitEvent does nothing: all streams run in the order issued.
func (d *Device) WaitEvent(driver.Stream, driver.Event) error { return d.queue.failed }

// Sync carries out what had been issued when the event was recorded.
func (d *Device) Sync(e driver.Event) error {
	at := *d.event(e)
	if at > d.queue.done {
		d.counters.Waits++
	}
	return d.queue.drain(at)
}

// Elapsed is 0: the emulator has no clock that would mean anything.
func (d *Device) Elapsed(a, b driver.Event) (float32, error) { return 0, d.Sync(b) }

// Wait carries out all that was issued.
func (d *Device) Wait(driver.Stream) error {
	d.counters.Waits++
	return d.queue.drain(d.queue.issued())
}

// Close does nothing: the collector does.
func (d *Device) Close() error { return nil }
