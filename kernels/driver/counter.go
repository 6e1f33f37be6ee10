package driver

// A Counter is a GPU that computes nothing and holds nothing: it says how much memory a program would have taken, by the program's own
// calls. Launches, copies and waits succeed at once.
type Counter struct {
	Calls Calls
	graph []int // launches of each graph

	info Info
	used int64
	peak int64
	size map[Ptr]int64
	next Ptr
}

// Calls are what a program asked of a Counter.
type Calls struct {
	Launches, Replays   int // launches in all, those that replays stand for among them
	CopiesIn, CopiesOut int
	Waits               int // for a stream, or for an event
	Allocs              int // of the GPU's memory, and of page-locked memory
	Maps                int // tensor maps
}

// NewCounter is an H200-like GPU with so many bytes of memory; an allocation beyond them fails as it would there.
func NewCounter(memory int64) *Counter {
	return &Counter{
		info: Info{Name: "counter", Capability: 90, Multiprocessors: 132, Memory: memory, SharedPerBlock: 227 << 10, Version: "0"},
		size: map[Ptr]int64{}, next: 256,
	}
}

// Used is what is allocated now, Peak the most that ever was, both in bytes.
func (c *Counter) Used() int64 { return c.used }
func (c *Counter) Peak() int64 { return c.peak }

func (c *Counter) Info() Info { return c.info }

func (c *Counter) Alloc(bytes int) (Ptr, error) {
	c.Calls.Allocs++
	n := (int64(bytes) + 255) / 256 * 256
	if c.used+n > c.info.Memory {
		return 0, &ErrMemory{Asked: n, Free: c.info.Memory - c.used, Total: c.info.Memory}
	}
	p := c.next
	c.next += Ptr(max(n, 256))
	c.size[p] = n
	c.used += n
	c.peak = max(c.peak, c.used)
	return p, nil
}

func (c *Counter) Free(p Ptr) error {
	c.used -= c.size[p]
	delete(c.size, p)
	return nil
}

func (c *Counter) Pinned(bytes int) ([]byte, error) {
	c.Calls.Allocs++
	return make([]byte, bytes), nil
}

func (c *Counter) CopyIn(Stream, Ptr, []byte) error {
	c.Calls.CopiesIn++
	return nil
}

func (c *Counter) CopyOut(_ Stream, dst []byte, _ Ptr) error {
	c.Calls.CopiesOut++
	clear(dst)
	return nil
}

func (c *Counter) Launch(_ Stream, ls []Launch) error {
	c.Calls.Launches += len(ls)
	return nil
}

func (c *Counter) Capture(ls []Launch) (Graph, error) {
	c.graph = append(c.graph, len(ls))
	return Graph(len(c.graph)), nil
}

func (c *Counter) Replay(_ Stream, g Graph) error {
	c.Calls.Replays++
	c.Calls.Launches += c.graph[g-1]
	return nil
}

func (c *Counter) TensorMap(TensorMapSpec) ([128]byte, error) {
	c.Calls.Maps++
	return [128]byte{}, nil
}

func (c *Counter) Sync(Event) error {
	c.Calls.Waits++
	return nil
}

func (c *Counter) Wait(Stream) error {
	c.Calls.Waits++
	return nil
}

func (c *Counter) FreePinned([]byte) error               { return nil }
func (c *Counter) Copy(Stream, Ptr, Ptr, int) error      { return nil }
func (c *Counter) Fill32(Stream, Ptr, uint32, int) error { return nil }
func (c *Counter) Load([]byte) (Module, error)           { return counted{}, nil }
func (c *Counter) FreeGraph(Graph) error                 { return nil }
func (c *Counter) NewStream() (Stream, error)            { return 1, nil }
func (c *Counter) NewEvent() (Event, error)              { return 1, nil }
func (c *Counter) Record(Event, Stream) error            { return nil }
func (c *Counter) WaitEvent(Stream, Event) error         { return nil }
func (c *Counter) Elapsed(Event, Event) (float32, error) { return 0, nil }
func (c *Counter) Close() error                          { return nil }

// counted is a module of any kernel.
type counted struct{}

func (counted) Func(name string) (Func, error) { return countedFunc(name), nil }

type countedFunc string

func (f countedFunc) Name() string  { return string(f) }
func (f countedFunc) Attr() Attr    { return Attr{} }
func (f countedFunc) Params() []int { return nil }
