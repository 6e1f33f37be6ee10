package engine

import "fmt"

// pages counts the references to each KV page; nobody but the stream's goroutine touches it. Page 0 is never given out: unused
// entries of a page table are 0.
type pages struct {
	refs  []int32
	free  []int32
	spare int // the fewest that were ever free: those have never been given out, for the one freed last is the next
}

func newPages(n int) *pages {
	p := &pages{refs: make([]int32, n)}
	for i := n - 1; i > 0; i-- {
		p.free = append(p.free, int32(i))
	}
	p.spare = len(p.free)
	return p
}

// take gives out a free page with one reference.
func (p *pages) take() (int32, bool) {
	if len(p.free) == 0 {
		return 0, false
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.refs[i] = 1
	p.spare = min(p.spare, len(p.free))
	return i, true
}

func (p *pages) share(list []int32) {
	for _, i := range list {
		p.refs[i]++
	}
}

func (p *pages) release(list []int32) {
	for _, i := range list {
		if p.refs[i]--; p.refs[i] == 0 {
			p.free = append(p.free, i)
		} else if p.refs[i] < 0 {
			panic(fmt.Sprintf("engine: page %d released twice", i))
		}
	}
}
