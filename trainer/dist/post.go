package dist

import "sync"

// post does things in order, on a goroutine of its own. Nobody who adds one waits.
type post struct {
	mu     sync.Mutex
	more   *sync.Cond
	queue  []func()
	closed bool
	idle   chan struct{} // closed when the last is done
}

func newPost() *post {
	p := &post{idle: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	go p.run()
	return p
}

func (p *post) put(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.queue = append(p.queue, f)
		p.more.Signal()
	}
}

// close lets what is there be done, and takes no more.
func (p *post) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Signal()
}

func (p *post) run() {
	defer close(p.idle)
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.closed {
			p.more.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			return
		}
		f := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		f()
	}
}
