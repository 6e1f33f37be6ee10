//go:build cuda

package driver

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"gorgonia.org/cu"
)

// gpu is a GPU behind the CUDA driver. Its context is the device's primary one, which NCCL shares; it is current on the thread that
// called Open, and that thread makes every call but those of TensorMap.
type gpu struct {
	dev     cu.Device
	ctx     cu.CUContext
	info    Info
	streams []cu.Stream
	events  []cu.Event
	graphs  map[Graph]bool
	pinned  map[*byte]int
	records launchRecords
	claim   *claim
}

type cuModule struct {
	mod cu.Module
	g   *gpu
}

type cuFunc struct {
	name   string
	fn     cu.Function
	attr   Attr
	params []int
	big    int // dynamic shared bytes the kernel has been allowed so far
}

func (f *cuFunc) Name() string  { return f.name }
func (f *cuFunc) Attr() Attr    { return f.attr }
func (f *cuFunc) Params() []int { return f.params }

// Attributes that are newer than gorgonia.org/cu.
const (
	sharedPerBlockOptin = cu.DeviceAttribute(97)
	smallShared         = 48 << 10 // dynamic shared bytes that need no permission
)

// Count is the number of GPUs that this process may open.
func Count() (int, error) {
	if _, err := library(); err != nil {
		return 0, err
	}
	n, err := cu.NumDevices()
	return n, wrap("count GPUs", err)
}

// Address is where GPU number ordinal is on this machine's PCI bus: domain, bus and device, as in 0000:3b:00. Nothing is taken.
func Address(ordinal int) (string, error) {
	n, err := Count()
	if err != nil {
		return "", err
	}
	if ordinal < 0 || ordinal >= n {
		return "", outOf(ordinal, n)
	}
	d, err := cu.GetDevice(ordinal)
	if err != nil {
		return "", fmt.Errorf("driver: address of GPU %d: %w", ordinal, err)
	}
	return address(d)
}

func address(d cu.Device) (string, error) {
	var pci [3]int
	for i, at := range []cu.DeviceAttribute{cu.PciDomainID, cu.PciBusID, cu.PciDeviceID} {
		var err error
		if pci[i], err = d.Attribute(at); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%04x:%02x:%02x", pci[0], pci[1], pci[2]), nil
}

func outOf(ordinal, n int) error {
	return noGPU(fmt.Sprintf("GPU %d is not among the %d of this machine, which count from 0: check CUDA_VISIBLE_DEVICES", ordinal, n))
}

// Open takes GPU number ordinal for the calling thread, which must stay locked (runtime.LockOSThread) and make every later call.
func Open(ordinal int) (Driver, error) {
	version, err := library()
	if err != nil {
		return nil, err
	}
	n, err := Count()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= n {
		return nil, outOf(ordinal, n)
	}
	g := &gpu{graphs: map[Graph]bool{}, pinned: map[*byte]int{}}
	if g.dev, err = cu.GetDevice(ordinal); err != nil {
		return nil, fmt.Errorf("driver: open GPU %d: %w", ordinal, err)
	}
	if g.info, err = describe(g.dev); err != nil {
		return nil, fmt.Errorf("driver: open GPU %d: %w", ordinal, err)
	}
	g.info.Version = versionName(version)
	if g.info.Capability < 80 {
		return nil, fmt.Errorf("driver: GPU %d, %s, is sm_%d: bf16 kernels need sm_80 or newer: set device: cpu",
			ordinal, g.info.Name, g.info.Capability)
	}
	pci, err := address(g.dev)
	if err != nil {
		return nil, fmt.Errorf("driver: open GPU %d: %w", ordinal, err)
	}
	if g.claim, err = claimGPU(fmt.Sprintf("GPU %d, %s", ordinal, g.info.Name), pci); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.claim.release()
		}
	}()
	// Waiting threads sleep: a spinning one would take a core from the interpreters. Fails where the context is active already.
	_ = g.dev.SetPrimaryCtxFlags(cu.SchedBlockingSync)
	if err = retainPrimary(g.dev, &g.ctx); err != nil {
		if errors.Is(err, result(unavailable)) {
			return nil, fmt.Errorf("driver: GPU %d, %s, is taken by another process, and lets one in at a time: "+
				"wait for it, or choose another with CUDA_VISIBLE_DEVICES", ordinal, g.info.Name)
		}
		return nil, fmt.Errorf("driver: GPU %d, %s: no context: %w", ordinal, g.info.Name, err)
	}
	if err = cu.SetCurrentContext(g.ctx); err != nil {
		return nil, fmt.Errorf("driver: GPU %d: %w", ordinal, err)
	}
	if _, err = g.NewStream(); err != nil { // stream 0
		return nil, err
	}
	return g, nil
}

func describe(d cu.Device) (Info, error) {
	var in Info
	var err error
	if in.Name, err = d.Name(); err != nil {
		return in, err
	}
	if in.Memory, err = d.TotalMem(); err != nil {
		return in, err
	}
	var major, minor int
	for _, a := range []struct {
		at cu.DeviceAttribute
		to *int
	}{
		{cu.ComputeCapabilityMajor, &major}, {cu.ComputeCapabilityMinor, &minor},
		{cu.MultiprocessorCount, &in.Multiprocessors}, {sharedPerBlockOptin, &in.SharedPerBlock},
	} {
		if *a.to, err = d.Attribute(a.at); err != nil {
			return in, err
		}
	}
	in.Capability = 10*major + minor
	return in, nil
}

func (g *gpu) Info() Info { return g.info }

func (g *gpu) Alloc(bytes int) (Ptr, error) {
	p, err := cu.MemAlloc(int64(max(bytes, 1)))
	if err == nil {
		return Ptr(p), nil
	}
	free, total, infoErr := cu.MemInfo()
	if infoErr == nil && free < int64(bytes) {
		return 0, &ErrMemory{Asked: int64(bytes), Free: free, Total: total}
	}
	return 0, fmt.Errorf("driver: alloc %d bytes: %w", bytes, err)
}

func (g *gpu) Free(p Ptr) error { return wrap("free", cu.MemFree(cu.DevicePtr(p))) }

func (g *gpu) Pinned(bytes int) ([]byte, error) {
	b, err := pinnedAlloc(max(bytes, 1))
	if err != nil {
		return nil, fmt.Errorf("driver: pin %d bytes of host memory: %w", bytes, err)
	}
	g.pinned[unsafe.SliceData(b)] = bytes
	return b[:bytes], nil
}

func (g *gpu) FreePinned(b []byte) error {
	p := unsafe.SliceData(b)
	if _, ok := g.pinned[p]; !ok {
		panic("driver: FreePinned of memory that Pinned did not return")
	}
	delete(g.pinned, p)
	return wrap("free pinned", cu.MemFreeHost(unsafe.Pointer(p)))
}

// isPinned says whether b lies in memory of Pinned.
func (g *gpu) isPinned(b []byte) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for p, n := range g.pinned {
		if from := uintptr(unsafe.Pointer(p)); at >= from && at+uintptr(len(b)) <= from+uintptr(n) {
			return true
		}
	}
	return false
}

func (g *gpu) CopyIn(s Stream, dst Ptr, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	if !g.isPinned(src) {
		panic("driver: CopyIn from memory that Pinned did not return")
	}
	from := unsafe.Pointer(unsafe.SliceData(src))
	return wrap("copy to the GPU", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), from, int64(len(src)), g.stream(s)))
}

func (g *gpu) CopyOut(s Stream, dst []byte, src Ptr) error {
	if len(dst) == 0 {
		return nil
	}
	if !g.isPinned(dst) {
		panic("driver: CopyOut to memory that Pinned did not return")
	}
	to := unsafe.Pointer(unsafe.SliceData(dst))
	return wrap("copy from the GPU", cu.MemcpyDtoHAsync(to, cu.DevicePtr(src), int64(len(dst)), g.stream(s)))
}

func (g *gpu) Copy(s Stream, dst, src Ptr, bytes int) error {
	if bytes == 0 {
		return nil
	}
	return wrap("copy", cu.MemcpyDtoDAsync(cu.DevicePtr(dst), cu.DevicePtr(src), int64(bytes), g.stream(s)))
}

func (g *gpu) Fill32(s Stream, dst Ptr, v uint32, n int) error {
	if n == 0 {
		return nil
	}
	return wrap("fill", cu.MemsetD32Async(cu.DevicePtr(dst), uint(v), int64(n), g.stream(s)))
}

func (g *gpu) Load(ptx []byte) (Module, error) {
	m, err := loadModule(ptx)
	if err != nil {
		return nil, fmt.Errorf("driver: load PTX on %s (sm_%d, driver %s): %w", g.info.Name, g.info.Capability, g.info.Version, err)
	}
	return &cuModule{m, g}, nil
}

func (m *cuModule) Func(name string) (Func, error) {
	fn, err := m.mod.Function(name)
	if err != nil {
		return nil, fmt.Errorf("driver: module has no kernel %s: %w", name, err)
	}
	f := &cuFunc{name: name, fn: fn, big: smallShared}
	for _, a := range []struct {
		at cu.FunctionAttribute
		to *int
	}{
		{cu.NumRegs, &f.attr.Registers}, {cu.LocalSizeBytes, &f.attr.Local},
		{cu.SharedSizeBytes, &f.attr.Shared}, {cu.FnMaxThreadsPerBlock, &f.attr.Threads},
	} {
		if *a.to, err = fn.Attribute(a.at); err != nil {
			return nil, fmt.Errorf("driver: kernel %s: %w", name, err)
		}
	}
	f.params = paramSizes(functionHandle(fn))
	return f, nil
}

func (g *gpu) Launch(s Stream, ls []Launch) error {
	if err := g.allow(ls); err != nil {
		return err
	}
	if at, err := g.records.launch(streamHandle(g.stream(s)), ls); err != nil {
		return fmt.Errorf("driver: launch %s: %w", ls[at].Func.Name(), err)
	}
	return nil
}

// allow raises a kernel's limit of dynamic shared memory to what its launches ask for.
func (g *gpu) allow(ls []Launch) error {
	for i := range ls {
		f, ok := ls[i].Func.(*cuFunc)
		if !ok {
			panic(fmt.Sprintf("driver: launch of %T, which another driver made", ls[i].Func))
		}
		// The driver copies as many bytes as the kernel has, from where it is told: it cannot see a wrong size.
		if err := ls[i].check(f.params); err != nil {
			return err
		}
		if ls[i].Shared <= f.big {
			continue
		}
		if err := setShared(functionHandle(f.fn), ls[i].Shared); err != nil {
			return fmt.Errorf("driver: kernel %s asks for %d shared bytes, %s has %d a block: %w",
				f.name, ls[i].Shared, g.info.Name, g.info.SharedPerBlock, err)
		}
		f.big = ls[i].Shared
	}
	return nil
}

func (g *gpu) Capture(ls []Launch) (Graph, error) {
	if err := g.allow(ls); err != nil {
		return 0, err
	}
	h, at, err := g.records.capture(streamHandle(g.streams[0]), ls)
	if err != nil {
		if at < len(ls) {
			return 0, fmt.Errorf("driver: capture %s: %w", ls[at].Func.Name(), err)
		}
		return 0, fmt.Errorf("driver: make a graph of %d launches: %w", len(ls), err)
	}
	g.graphs[h] = true
	return h, nil
}

func (g *gpu) Replay(s Stream, h Graph) error {
	if !g.graphs[h] {
		panic("driver: replay of a graph that this driver does not hold")
	}
	return wrap("replay a graph", replay(h, streamHandle(g.stream(s))))
}

func (g *gpu) FreeGraph(h Graph) error {
	if !g.graphs[h] {
		panic("driver: free of a graph that this driver does not hold")
	}
	delete(g.graphs, h)
	return wrap("free a graph", freeGraph(h))
}

func (g *gpu) NewStream() (Stream, error) {
	st, err := cu.MakeStream(cu.NonBlocking)
	if err != nil {
		return 0, fmt.Errorf("driver: new stream: %w", err)
	}
	g.streams = append(g.streams, st)
	return Stream(len(g.streams) - 1), nil
}

func (g *gpu) stream(s Stream) cu.Stream {
	if int(s) >= len(g.streams) {
		panic(fmt.Sprintf("driver: stream %d of %d", s, len(g.streams)))
	}
	return g.streams[s]
}

// RawStream is the CUstream behind s, for libraries that take one.
func (g *gpu) RawStream(s Stream) uintptr { return streamHandle(g.stream(s)) }

func (g *gpu) NewEvent() (Event, error) {
	e, err := cu.MakeEvent(cu.BlockingSyncEvent)
	if err != nil {
		return 0, fmt.Errorf("driver: new event: %w", err)
	}
	g.events = append(g.events, e)
	return Event(len(g.events)), nil
}

func (g *gpu) event(e Event) cu.Event {
	if e < 1 || int(e) > len(g.events) {
		panic(fmt.Sprintf("driver: event %d of %d", e, len(g.events)))
	}
	return g.events[e-1]
}

func (g *gpu) Record(e Event, s Stream) error {
	return wrap("record an event", g.event(e).Record(g.stream(s)))
}

func (g *gpu) WaitEvent(s Stream, e Event) error {
	return wrap("wait for an event", g.stream(s).Wait(g.event(e), 0))
}

func (g *gpu) Sync(e Event) error { return wrap("wait for an event", g.event(e).Synchronize()) }

func (g *gpu) Elapsed(a, b Event) (float32, error) {
	if err := g.event(b).Synchronize(); err != nil {
		return 0, wrap("wait for an event", err)
	}
	ms, err := g.event(a).Elapsed(g.event(b))
	return float32(ms), wrap("time between events", err)
}

func (g *gpu) TensorMap(spec TensorMapSpec) ([128]byte, error) {
	if err := spec.Check(); err != nil {
		return [128]byte{}, err
	}
	return tensorMap(spec)
}

func (g *gpu) Wait(s Stream) error { return wrap("wait", g.stream(s).Synchronize()) }

func (g *gpu) Close() error {
	var errs []error
	for i := range g.streams {
		_ = g.streams[i].Synchronize() // nothing may be under way in what is freed; a failure was reported to whom it concerns
	}
	for h := range g.graphs {
		errs = append(errs, freeGraph(h))
	}
	for i := range g.events {
		errs = append(errs, cu.DestroyEvent(&g.events[i]))
	}
	for i := range g.streams {
		errs = append(errs, g.streams[i].Destroy())
	}
	for p := range g.pinned {
		errs = append(errs, wrap("free pinned", cu.MemFreeHost(unsafe.Pointer(p))))
	}
	errs = append(errs, g.dev.ReleasePrimaryCtx())
	g.claim.release()
	return errors.Join(errs...)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("driver: %s: %w", what, err)
}

// check holds what is passed against what the kernel takes, as far as that is known.
func (l *Launch) check(params []int) error {
	total := 0
	for _, n := range l.Sizes {
		total += n
	}
	if total != len(l.Params) || len(l.Sizes) > maxParams {
		return fmt.Errorf("driver: launch %s: %d bytes of parameters, and %d sizes, at most %d, that add up to %d",
			l.Func.Name(), len(l.Params), len(l.Sizes), maxParams, total)
	}
	if params != nil && !slices.Equal(params, l.Sizes) {
		return fmt.Errorf("driver: launch %s: parameters of %v bytes are passed, it takes %v", l.Func.Name(), l.Sizes, params)
	}
	return nil
}

// maxParams is the most parameters that a kernel may have here.
const maxParams = 64
