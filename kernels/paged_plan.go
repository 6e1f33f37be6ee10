package kernels

import (
	"math"
	"slices"
)

// A PagePlan is how the blocks of a GPU share the contexts of a decode step, in which every sequence has one row or none. Only the lengths
// decide, and no bit depends on it.
type PagePlan struct {
	Work  []int32 // two numbers an item, a sequence and a chunk; longest first
	Parts bool    // items are chunks, whose states are merged behind them; else whole contexts
	keys  []int64
}

// What a block of paged attention takes, beside what an H200 does in a cycle (gpu_tiles.go): published or assumed, not measured.
const (
	cycleContext = 35   // bytes of pages that one multiprocessor's blocks bring together: 60 GB/s
	blockStart   = 2500 // cycles before a block's first keys are there, and behind its last
	mergeStart   = 2200 // of one launch more
	mostBlocks   = 16   // of a multiprocessor
)

// planCost is what becomes of whole contexts, or of their chunks. Blocks are started longest first, as places become
// free: they end with the longest, or when all are busy to the end and one last, short one follows, and not before all bytes are read.
func (g *GPU) planCost(lens []int32, h Heads, parts bool) (cycles float64) {
	places := min(227<<10/(g.pagedShared(h)+1<<10), mostBlocks)
	token := float64(4*h.Dim) * float64(places) / cycleContext
	longest, shortest, busy, bytes, states := 0.0, math.Inf(1), 0.0, 0.0, 0.0
	item := func(tokens, times int) {
		t := blockStart + float64(tokens)*token
		longest, shortest = max(longest, t), min(shortest, t)
		busy += float64(times*h.KV) * t
	}
	for _, n := range lens {
		n := int(n)
		bytes += float64(n * h.KV * 4 * h.Dim)
		if parts {
			states += float64(ceil(n, h.Chunk) * h.Q * (h.Dim + 2) * 8)
			if n >= h.Chunk {
				item(h.Chunk, n/h.Chunk)
				n %= h.Chunk
			}
		}
		if n > 0 {
			item(n, 1)
		}
	}
	cycles = max(longest, busy/float64(places*g.info.Multiprocessors)+shortest, bytes/cycleDRAM)
	if parts {
		cycles += mergeStart + states/cycleDRAM
	}
	return cycles
}

// PlanPages plans a decode step over contexts of so many tokens, 0 for a sequence without rows: whole contexts, or all chunks of all of
// them, by what is cheaper. A block that took several chunks would leave the state of each, for merging has one order; in such a loop
// ptxas spills, and serialises wgmma. There is no plan for groups of more heads than a tile has rows.
func (g *GPU) PlanPages(p *PagePlan, lens []int32, h Heads) {
	p.Work, p.Parts, p.keys = p.Work[:0], false, p.keys[:0]
	longest := 0
	for _, n := range lens {
		longest = max(longest, int(n))
	}
	if longest == 0 || h.Q/h.KV > 16 || longest >= PageTokens<<16 || len(lens) > 1<<20 {
		return
	}
	p.Parts = h.Chunk > 0 && longest > h.Chunk && g.planCost(lens, h, true) < g.planCost(lens, h, false)
	add := func(tokens, s, chunk int) { // sorts by length, falling, then sequence, then chunk
		p.keys = append(p.keys, int64(math.MaxUint16-PagesOf(tokens))<<40|int64(s)<<16|int64(chunk))
	}
	for s, n := range lens {
		n, chunk := int(n), 0
		for ; p.Parts && n > h.Chunk; n -= h.Chunk {
			add(h.Chunk, s, chunk)
			chunk++
		}
		if n > 0 {
			add(n, s, chunk)
		}
	}
	slices.Sort(p.keys)
	for _, k := range p.keys {
		p.Work = append(p.Work, int32(k>>16&(1<<24-1)), int32(k&0xffff))
	}
}

// pagedShared is the dynamic shared memory of a block of a decode step.
func (g *GPU) pagedShared(h Heads) int {
	if g.wgmma(h) {
		return wgmmaShared(h, 1)
	}
	return (4 + 1) * tileBytes(h)
}
