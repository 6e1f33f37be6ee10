package kernels

// took books memory of the GPU: bytes of it were allocated or, below 0, given back. mu is held.
func (g *GPU) took(bytes int) {
	g.held += int64(bytes)
	g.peak = max(g.peak, g.held)
}

// Peak is the most memory that was allocated at a time, working memory included, in bytes.
func (g *GPU) Peak() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peak
}
