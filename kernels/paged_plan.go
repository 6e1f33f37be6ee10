package kernels

import (
	"math"
	"slices"
)

// A PagePlan is how the blocks of a GPU share the contexts of a step. Only lengths decide, and no bit depends on it.
type PagePlan struct {
	Work  []int32 // two numbers an item, a sequence and tile·2¹⁶ + chunk; longest first
	Rows  int     // of a tile, a row being one query head of one token
	Parts bool    // items are chunks, whose states are merged behind them; else whole contexts

	count []int   // of items of so many pages
	free  []int32 // places that become free at that time
}

// planUnits are the units of time until the last block of a plan ends, about.
const planUnits = 1024

// What a block of paged attention takes, beside what an H200 does in a cycle (gpu_tiles.go): published or assumed, not measured. No bit
// depends on it.
const (
	cycleContext = 35   // bytes of pages that one multiprocessor's blocks bring together: 60 GB/s
	blockStart   = 2500 // cycles before a block's first keys are there, and behind its last
	mergeStart   = 2200 // of one launch more
	mostBlocks   = 16   // of a multiprocessor
	softmaxTile  = 512  // cycles in which a warp turns its 16 rows of 64 scores into probabilities
	softmaxBusy  = 384  // of them, those in which no other warp of its quarter could
	mmaShare     = 0.6  // of the tensor cores' rate that mma.sync reaches
)

// planPlaces is how many blocks of so many rows a multiprocessor holds, and the cycles in which each takes a tile of 64 keys while all do:
// the longest of bringing the keys, of one warp's own steps, and of the work of all warps on a quarter. A warp of wgmma multiplies half of
// a tile's products under the softmax, one of mma.sync none.
func (g *GPU) planPlaces(h Heads, rows int) (places int, tile float64) {
	places = min(227<<10/(g.pagedShared(h, rows)+1<<10), mostBlocks)
	products := 2 * 16 * PageTokens * float64(h.Dim) / (cycleMAC / 4)
	alone := products/mmaShare + softmaxTile
	busy := max(products/mmaShare, softmaxBusy)
	if g.wgmma(h) {
		if rows > 64 {
			places = 1 // its registers are all
		}
		alone = products/2 + max(products/2, softmaxTile)
		busy = max(products, softmaxBusy)
	}
	bring := float64(places*PageTokens*4*h.Dim) / cycleContext
	return places, max(bring, alone, float64(ceil(places*rows/16, 4))*busy)
}

// each calls do for every item of a plan of such tiles, parts or not: the pages that it reads, its sequence, and tile·2¹⁶ + chunk.
func (p *PagePlan) each(fresh, lens []int32, h Heads, do func(pages, s, at int)) {
	G := h.Q / h.KV
	for s, n := range lens {
		rows := int(fresh[s]) * G
		for t := range ceil(rows, p.Rows) {
			seen := int(n-fresh[s]) + (min((t+1)*p.Rows, rows)-1)/G + 1 // keys that its last row sees
			if !p.Parts {
				do(PagesOf(seen), s, t<<16)
				continue
			}
			for from := 0; from < seen; from += h.Chunk {
				do(PagesOf(min(seen-from, h.Chunk)), s, t<<16|from/h.Chunk)
			}
		}
	}
}

// planEnd is when the last block of a plan of such tiles ends, in cycles, if blocks start longest first, each when the first place becomes
// free. Times are rounded to a 1024th of what the end cannot be above: the time of all blocks at once, and that of the longest.
func (g *GPU) planEnd(p *PagePlan, fresh, lens []int32, h Heads) float64 {
	clear(p.count)
	p.each(fresh, lens, h, func(pages, _, _ int) { p.count[pages] += h.KV })
	places, tile := g.planPlaces(h, p.Rows)
	places *= g.info.Multiprocessors
	time := func(pages int) float64 { return blockStart + float64(pages)*tile }
	all, longest := 0.0, 0
	for pages, n := range p.count {
		if n > 0 {
			all, longest = all+float64(n)*time(pages), pages
		}
	}
	unit := (all/float64(places) + time(longest)) / planUnits
	p.free = slices.Grow(p.free[:0], 3*planUnits)[:3*planUnits] // rounded up, times may be twice as long
	clear(p.free)
	p.free[0] = int32(places)
	at, last := 0, 0
	for pages := longest; pages > 0; pages-- {
		took := int(math.Round(time(pages) / unit))
		for range p.count[pages] {
			for p.free[at] == 0 {
				at++
			}
			p.free[at]--
			p.free[at+took]++
			last = max(last, at+took)
		}
	}
	return float64(last) * unit
}

// PlanPages plans a step in which sequences have so many rows (fresh) at the end of contexts of so many tokens: whole contexts, or all
// chunks of all of them, in tiles of few rows or of many, by what ends first. A block that took several chunks would leave the state of
// each, for merging has one order; in such a loop ptxas spills, and serialises wgmma. Chunks of many rows would leave many states: there
// are none beyond what 128 rows a multiprocessor leave, but for steps of decoding. There is no plan for numbers that an item cannot hold.
func (g *GPU) PlanPages(p *PagePlan, fresh, lens []int32, h Heads) {
	p.Work, p.Rows, p.Parts = p.Work[:0], 0, false
	T, longest, most, bytes, states := 0, 0, 0, 0.0, 0.0
	for s, n := range lens {
		if fresh := int(fresh[s]); fresh > 0 {
			T, longest, most = T+fresh, max(longest, int(n)), max(most, fresh)
			bytes += float64(int(n) * h.KV * 4 * h.Dim)
			states += float64(fresh * ceil(int(n), max(h.Chunk, 1)) * h.Q * (h.Dim + 2) * 8)
		}
	}
	few, many := g.pagedRows(h)
	rows := most * h.Q / h.KV
	if T == 0 || longest > PageTokens<<16 || rows/few > math.MaxInt16 {
		return
	}
	parts := h.Chunk > 0 && longest > h.Chunk && (most == 1 || T*h.Q <= 128*g.info.Multiprocessors)
	p.count = slices.Grow(p.count[:0], PagesOf(longest)+1)[:PagesOf(longest)+1]
	bestRows, bestParts, soonest := 0, false, math.Inf(1)
	for i := range 4 {
		p.Rows, p.Parts = few, i%2 == 1
		if i >= 2 {
			p.Rows = many
		}
		if p.Rows > few && rows <= few || p.Parts && (!parts || p.Rows > few && !g.wgmma(h)) {
			continue
		}
		end := max(g.planEnd(p, fresh, lens, h), bytes/cycleDRAM)
		if p.Parts {
			end += mergeStart + states/cycleDRAM
		}
		if end < soonest {
			bestRows, bestParts, soonest = p.Rows, p.Parts, end
		}
	}
	p.Rows, p.Parts = bestRows, bestParts
	p.list(fresh, lens, h)
}

// list lists the work, longest items first, then by sequence, tile and chunk.
func (p *PagePlan) list(fresh, lens []int32, h Heads) {
	clear(p.count)
	p.each(fresh, lens, h, func(pages, _, _ int) { p.count[pages]++ })
	items := 0
	for pages := len(p.count) - 1; pages >= 0; pages-- { // where those of so many pages begin
		p.count[pages], items = items, items+p.count[pages]
	}
	p.Work = slices.Grow(p.Work, 2*items)[:2*items]
	p.each(fresh, lens, h, func(pages, s, at int) {
		i := 2 * p.count[pages]
		p.Work[i], p.Work[i+1] = int32(s), int32(at)
		p.count[pages]++
	})
}

// pagedRows are the rows of a tile of paged attention: few, for decoding, and many.
func (g *GPU) pagedRows(h Heads) (few, many int) {
	if g.wgmma(h) {
		return 64, 128
	}
	return 16, 64
}

// pagedShared is the dynamic shared memory of a block of paged attention.
func (g *GPU) pagedShared(h Heads, rows int) int {
	if g.wgmma(h) {
		return wgmmaShared(h, rows/64)
	}
	return (4 + 1) * tileBytes(h)
}
