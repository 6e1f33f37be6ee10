package kernels

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"retool/kernels/driver"
	"retool/kernels/ptx"
)

// GPU is the Device behind a driver: the hardware, or the emulator that stands for it.
//
// One goroutine owns the driver, on one OS thread; everybody else sends it work. An operation only records launches; Do submits them at
// its end, in one call. Doors, allocations and replays submit what was recorded before them. With a driver whose operations take effect
// at once, each operation is submitted as it is called, so that a failure names it. To hand work over is a hop from thread to thread of
// some 15 µs, so small uploads and replays are errands, which go with what is handed over next: a decode step is one hop, its download's.
//
// Sums run in fp32. Linear multiplies bf16 unless both factors are F32. Attention and the cache hold bf16 whatever the type of their
// tensors: F32 ones, and views whose rows do not stand on 16-byte borders, are converted on the way in and out.
type GPU struct {
	info        driver.Info
	drv         driver.Driver // only for TensorMap, which needs no thread of its own
	jobs        chan job
	results     chan outcome
	done        chan struct{}
	inDo        atomic.Bool
	do          sync.Mutex // held by Do
	mu          sync.Mutex // guards what follows
	immediate   bool       // every operation is submitted as it is called: the driver's take effect at once, or synchronous
	synchronous bool       // and every launch is waited for
	split       int        // PagedAttention splits contexts if it has fewer blocks than this
	queue       []driver.Launch
	queuedOps   []string // the operation of each launch
	op          string   // at work
	err         error    // the first failure; kept
	copies      *driver.Staging
	errands     []errand // what the driver's thread does before its next job
	carried     []byte   // the bytes of those that upload
	landed      []byte   // where downloads arrive, before they are what the caller asked for
	fetch       download // that of the job copyOut, which is made once: a closure for each copy would be an allocation
	copyOut     func(driver.Driver) error
	hops        int64 // jobs that were handed over
	unwaited    bool  // something was issued since all was last waited for
	funcs       map[string]*gpuFunc
	mods        map[string]driver.Module
	work        []scratch
	graphs      map[string]*graph
	recording   *graph // that of the Repeat at work; nil: none is recorded
	repeats     int64  // counts Repeats
	maps        map[mapKey][128]byte
	pick        func(m, n, k int, of []tiling) tiling // choose; tests take others
	hopper      bool                                  // products of bf16 by wgmma where there is such a kernel
	notes       []string
	loading     atomic.Int64 // nanoseconds that loading kernels has taken
	bytes       atomic.Int64
	held, peak  int64 // bytes, working memory included: now, and at most
}

// mapKey is a matrix of bf16 that the copy engine reads by boxes.
type mapKey struct {
	p                   uint64
	rows, cols, ld, box int
}

// scratch is working memory of operations; only the last one is used, older ones live on because a graph may hold their address.
type scratch struct {
	p driver.Ptr
	n int
}

// job is work for the driver's thread, and what it is for, as an error says it.
type job struct {
	what string
	run  func(drv driver.Driver) error
}

// outcome is a job's. what names the errand that failed, or the job.
type outcome struct {
	what string
	err  error
}

// errand is the replay of a graph, or the upload of carried[from:to] to dst if the graph is 0.
type errand struct {
	what     string
	graph    driver.Graph
	dst      driver.Ptr
	from, to int
}

// download is len(b) bytes at src, on their way to b.
type download struct {
	b   []byte
	src driver.Ptr
}

type gpuFunc struct {
	fn    driver.Func
	sizes []int // of its parameters
}

// NewGPU is the device behind drv, which it calls from a goroutine of its own. The error says why no kernel can run there.
func NewGPU(drv driver.Driver) (*GPU, error) {
	return newGPU(func() (driver.Driver, error) { return drv, nil })
}

// Hopper makes Linear, and attention with heads of 64 and 128, multiply bf16 by wgmma, on sm_90. It is to be called before the first
// operation: its bits are of a class of their own, and one run uses one class. The portable kernels are the default until hardware has
// confirmed these.
func (g *GPU) Hopper() error {
	if g.info.Capability != 90 {
		return fmt.Errorf("kernels: %s is sm_%d: the kernels of Hopper run on sm_90 only", g.info.Name, g.info.Capability)
	}
	g.hopper = true
	return nil
}

// OpenGPU opens GPU number ordinal on the thread that will own it.
func OpenGPU(ordinal int) (*GPU, error) {
	return newGPU(func() (driver.Driver, error) { return driver.Open(ordinal) })
}

func newGPU(open func() (driver.Driver, error)) (*GPU, error) {
	g := &GPU{
		jobs: make(chan job), results: make(chan outcome), done: make(chan struct{}),
		funcs: map[string]*gpuFunc{}, mods: map[string]driver.Module{}, graphs: map[string]*graph{},
		maps: map[mapKey][128]byte{},
	}
	g.copyOut = func(driver.Driver) error { return g.copies.Out(0, g.fetch.b, g.fetch.src) }
	g.pick = g.choose
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for life: the context is current on this thread
		drv, err := open()
		if err == nil {
			g.info = drv.Info()
			if g.info.Capability < 80 {
				err = fmt.Errorf("kernels: %s is sm_%d: the kernels need sm_80 or newer: set device: cpu", g.info.Name, g.info.Capability)
			}
			g.drv, g.copies = drv, driver.NewStaging(drv)
		}
		ready <- err
		if err != nil {
			return
		}
		for j := range g.jobs {
			g.results <- g.serve(drv, j)
		}
		close(g.done)
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	g.immediate, g.split = g.info.Immediate, 2*g.info.Multiprocessors
	return g, nil
}

// Synchronous makes the device wait for every launch, and every failure name its kernel: where a GPU works through what was queued, a fault
// comes back from whatever happens to wait next. It is for finding faults, and slow. It is to be called before the first operation.
func (g *GPU) Synchronous() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.immediate, g.synchronous = true, true
}

// Notes say in what this GPU's driver made other kernels of the PTX than the manifest records, of those loaded so far: registers, and
// bytes of local memory. They are no failure.
func (g *GPU) Notes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.notes)
}

// serve is what the driver's thread does with a job.
func (g *GPU) serve(drv driver.Driver, j job) outcome {
	for _, e := range g.errands {
		var err error
		if e.graph != 0 {
			err = drv.Replay(0, e.graph)
		} else {
			err = g.copies.In(0, e.dst, g.carried[e.from:e.to])
		}
		if err != nil {
			return outcome{e.what, err}
		}
	}
	return outcome{j.what, j.run(drv)}
}

// hand gives a job to the driver's thread and waits for its result. It holds mu.
func (g *GPU) hand(what string, f func(drv driver.Driver) error) outcome {
	g.hops++
	g.jobs <- job{what, f}
	r := <-g.results
	g.errands, g.carried = g.errands[:0], g.carried[:0]
	return r
}

// call runs f on the driver's thread and keeps its error. It holds mu.
func (g *GPU) call(what string, f func(drv driver.Driver) error) {
	if g.err != nil {
		return
	}
	g.unwaited = true
	if r := g.hand(what, f); r.err != nil {
		g.fail(r.what, r.err)
	}
}

func (g *GPU) fail(what string, err error) { g.err = fmt.Errorf("kernels: %s: %w", what, err) }

// send makes e an errand, behind what was recorded. It holds mu, and the queue is empty.
func (g *GPU) send(e errand) {
	if g.err != nil {
		return
	}
	g.errands = append(g.errands, e)
	g.unwaited = true
	if g.immediate {
		g.call(e.what, func(driver.Driver) error { return nil })
	}
}

// mostCarried is how many bytes of uploads may wait for the next job: those of a decode step of 256 sequences of 16K tokens.
const mostCarried = 512 << 10

// Hops is how often work was handed to the driver's thread.
func (g *GPU) Hops() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hops
}

// submit issues what was recorded. It holds mu.
func (g *GPU) submit() {
	if len(g.queue) == 0 {
		return
	}
	ls, names := g.queue, g.queuedOps
	g.queue, g.queuedOps = g.queue[:0:0], g.queuedOps[:0:0]
	if g.synchronous {
		for i := range ls {
			g.call(names[i]+": "+ls[i].Func.Name(), func(drv driver.Driver) error {
				if err := drv.Launch(0, ls[i:i+1]); err != nil {
					return err
				}
				return drv.Wait(0)
			})
		}
		return
	}
	what := names[0]
	if last := names[len(names)-1]; last != what {
		what += " … " + last
	}
	g.call(what, func(drv driver.Driver) error { return drv.Launch(0, ls) })
}

// Info names the GPU and what fixes its bits.
func (g *GPU) Info() Info {
	variant, class := "sm80", "mma.m16n8k16"
	if g.hopper {
		variant, class = "sm90a", "wgmma.m64k16"
	}
	return Info{
		Name: g.info.Name, Variant: variant, Threads: g.info.Multiprocessors, Replays: true, Compile: time.Duration(g.loading.Load()),
		Contract: fmt.Sprintf("gpu %s, driver %s, kernels %s: %s chains, keys in tiles of %d",
			g.info.Name, g.info.Version, variant, class, PageTokens),
		HeadDims: gpuHeadDims,
	}
}

// reserve is zeroed device memory. Without room the failure is kept, and Do returns it.
func (g *GPU) reserve(bytes int) *memory {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := &memory{owner: g, bytes: bytes}
	words := (max(bytes, 1) + 3) / 4
	g.notReplayable()
	g.call("Alloc", func(drv driver.Driver) error {
		p, err := drv.Alloc(words * 4)
		if err != nil {
			return err
		}
		m.ptr = uint64(p)
		return drv.Fill32(0, p, 0, words)
	})
	g.bytes.Add(int64(bytes))
	g.took(bytes)
	return m
}

// Alloc is a zeroed tensor.
func (g *GPU) Alloc(dtype DType, shape ...int) Tensor {
	n := 1
	for _, s := range shape {
		if s < 0 {
			panic(fmt.Sprintf("kernels: Alloc of %v", shape))
		}
		n *= s
	}
	if dtype < F32 || dtype > I32 {
		panic(fmt.Sprintf("kernels: Alloc of %v", dtype))
	}
	return newTensor(g.reserve(n*dtype.Size()), dtype, shape)
}

// Free gives a tensor's memory back.
func (g *GPU) Free(t Tensor) { g.release("Free", t.mem) }

// FreeKV gives the pages back.
func (g *GPU) FreeKV(kv KV) { g.release("FreeKV", kv.mem) }

func (g *GPU) release(op string, m *memory) {
	if m == nil {
		return
	}
	if m.owner != Device(g) {
		panic("kernels: " + op + ": the memory belongs to another device")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.ptr == 0 {
		if g.err != nil {
			return
		}
		panic("kernels: " + op + ": the memory was freed before")
	}
	g.submit()
	g.forget(m)
	p := driver.Ptr(m.ptr)
	m.ptr = 0
	g.notReplayable()
	g.bytes.Add(-int64(m.bytes))
	g.took(-m.bytes)
	g.call(op, func(drv driver.Driver) error { return drv.Free(p) })
}

// temp is n bytes of working memory until the operation's last launch; 16-byte aligned. The operation asks once. It holds mu.
func (g *GPU) temp(n int) uint64 {
	if k := len(g.work); k > 0 && g.work[k-1].n >= n {
		return uint64(g.work[k-1].p)
	}
	if k := len(g.work); k > 0 {
		n = max(n, 2*g.work[k-1].n)
	}
	var p driver.Ptr
	g.call(g.op+": working memory", func(drv driver.Driver) (err error) {
		p, err = drv.Alloc(n)
		return err
	})
	if g.err == nil {
		g.work = append(g.work, scratch{p, n})
		g.took(n)
	}
	return uint64(p)
}

// Do runs f, submits what it recorded, and returns the first failure of the device.
func (g *GPU) Do(f func()) error {
	g.do.Lock()
	defer g.do.Unlock()
	return g.pass(f)
}

func (g *GPU) pass(f func()) error {
	g.inDo.Store(true)
	defer g.inDo.Store(false)
	f()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.submit()
	if g.unwaited {
		g.call("Do", func(drv driver.Driver) error { return drv.Wait(0) })
		g.unwaited = false
	}
	return g.err
}

// Raw submits what is recorded and runs f on the driver's thread: for libraries that share the GPU, such as NCCL.
func (g *GPU) Raw(f func(drv driver.Driver) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.submit()
	g.notReplayable()
	g.call("Raw", f)
	return g.err
}

// Address is where t's first element lies, for Raw. t is this device's and contiguous.
func (g *GPU) Address(t Tensor) uint64 {
	g.door("Address", t)
	if !t.Contiguous() {
		panic(fmt.Sprintf("kernels: Address: %v has gaps", t))
	}
	t.mem.version++ // it may be written
	return t.first()
}

// Close ends the owner's goroutine. The device must not be used afterwards.
func (g *GPU) Close() error {
	g.do.Lock()
	defer g.do.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.hand("Close", driver.Driver.Close)
	close(g.jobs)
	<-g.done
	return r.err
}

// door checks that t is memory of this device.
func (g *GPU) door(op string, t Tensor) {
	if t.mem == nil || t.mem.owner != Device(g) || t.mem.ptr == 0 && g.err == nil {
		panic(fmt.Sprintf("kernels: %s: %v is not in this device's memory", op, t))
	}
}

// first is the address of t's first element.
func (t Tensor) first() uint64 { return t.mem.ptr + uint64(t.off*t.dtype.Size()) }

// Upload copies from the host, converting float32 to bf16 and back where the types differ.
func (g *GPU) Upload(dst Tensor, src any) {
	g.door("Upload", dst)
	src = hostNumbers("Upload", "source", dst, src)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.submit()
	g.notReplayable()
	dst.mem.version++
	size := dst.dtype.Size()
	if from, n := len(g.carried), dst.Len()*size; dst.Contiguous() && from+n <= mostCarried {
		g.carried = appendBytes(g.carried, dst.dtype, src, dst.Len())
		g.send(errand{what: "Upload", dst: driver.Ptr(dst.first()), from: from, to: from + n})
		return
	}
	b := appendBytes(nil, dst.dtype, src, dst.Len())
	g.call("Upload", func(driver.Driver) (err error) {
		dst.runs(func(at, from, n int) {
			if err == nil {
				err = g.copies.In(0, driver.Ptr(dst.mem.ptr+uint64(at*size)), b[from*size:(from+n)*size])
			}
		})
		return err
	})
}

// Download copies to the host.
func (g *GPU) Download(dst any, src Tensor) {
	g.door("Download", src)
	dst = hostNumbers("Download", "destination", src, dst)
	g.mu.Lock()
	defer g.mu.Unlock()
	n := src.Len() * src.dtype.Size()
	b := g.landed
	if n > len(b) {
		b = make([]byte, n)
		if n <= mostCarried {
			g.landed = b
		}
	}
	g.fetch = download{b: b[:n]}
	if !src.Contiguous() {
		// One kernel gathers the rows: a copy for each would cost microseconds each.
		width := src.dims[1] * src.dims[2]
		p := g.temp(n)
		g.start("Download")
		g.rowwise("copy", src.dims[0], width, arg{p, int32(width), int32(src.dtype)}, g.in(src))
		g.fetch.src = driver.Ptr(p)
	} else {
		g.fetch.src = driver.Ptr(src.first())
	}
	g.submit()
	g.call("Download", g.copyOut)
	if g.err != nil {
		clear(g.fetch.b)
	}
	g.unwaited = g.unwaited && n == 0 // else the copy was the last of all, and is here
	g.notReplayable()
	fromBytes(dst, src.dtype, g.fetch.b, src.Len())
}

// Copy converts between F32 and BF16.
func (g *GPU) Copy(dst, src Tensor) {
	const op = "Copy"
	g.door(op, dst)
	g.door(op, src)
	if dst.dims != src.dims || dst.rank != src.rank || (dst.dtype == I32) != (src.dtype == I32) {
		wrong(op, "dst", dst, "src", src, "shapes differ, or only one holds integers")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.start(op)
	for _, p := range longRows(dst, src) {
		g.rowwise("copy", p[0].dims[0], p[0].dims[1]*p[0].dims[2], g.out(p[0]), g.in(p[1]))
	}
	g.finish()
}

// longRow is how many numbers of a contiguous tensor an elementwise kernel takes for a row.
const longRow = 1 << 20

// longRows cuts tensors of one shape into pieces for elementwise kernels, whose blocks take parts of rows: if all are contiguous, they are
// taken as long rows and a rest, for a vector of n numbers would else be n rows of one.
func longRows(ts ...Tensor) [][]Tensor {
	n := ts[0].Len()
	for _, t := range ts {
		if !t.Contiguous() || n == 0 {
			return [][]Tensor{ts}
		}
	}
	var pieces [][]Tensor
	whole := n / longRow
	for _, shape := range [][3]int{{0, whole, longRow}, {whole * longRow, 1, n % longRow}} {
		if shape[1]*shape[2] == 0 {
			continue
		}
		piece := make([]Tensor, len(ts))
		for i, t := range ts {
			t.off += shape[0]
			t.dims, t.ld, t.rank = [3]int{shape[1], shape[2], 1}, shape[2], 2
			piece[i] = t
		}
		pieces = append(pieces, piece)
	}
	return pieces
}

// Zero clears a tensor.
func (g *GPU) Zero(t Tensor) {
	g.door("Zero", t)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.start("Zero")
	for _, p := range longRows(t) {
		if rows, cols := p[0].dims[0], p[0].dims[1]*p[0].dims[2]; rows > 0 && cols > 0 {
			g.launch("fill", [3]int{ceil(cols, 2048), min(rows, 65535), 1}, 256, 0, g.out(p[0]), float32(0), int32(rows), int32(cols))
		}
	}
	g.finish()
}

// family is the PTX file that holds an entry; names are unique among all files.
func family(entry string) (string, ptx.Entry, bool) {
	for name, f := range ptx.Read().Families {
		if e, ok := f.Entries[entry]; ok {
			return name, e, true
		}
	}
	return "", ptx.Entry{}, false
}
