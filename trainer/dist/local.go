package dist

import "time"

// Local is n ranks as goroutines of one process, over the code that processes use.
func Local(n int) []Comm {
	ms := make([]*mesh, n)
	for r := range ms {
		ms[r] = newMesh(r, n)
	}
	out := make([]Comm, n)
	for r, m := range ms {
		post := newPost()
		m.send = func(to int, f frame) { f.at = time.Now(); post.put(func() { ms[to].deliver(r, f) }) }
		m.watch.begin(Limits{}, func(string) {}, nil)
		out[r] = &local{mesh: m, post: post}
	}
	return out
}

// local is one of them.
type local struct {
	*mesh
	post *post
}

// Close says goodbye; what has been sent still arrives.
func (l *local) Close() error {
	l.goodbye()
	l.mesh.mu.Lock()
	l.closed = true
	l.mesh.mu.Unlock()
	l.watch.stop()
	l.post.close()
	return nil
}
