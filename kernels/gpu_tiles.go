package kernels

import "math"

// fewRows is up to how many rows Linear takes portable tiles of 16 of them, for decoding. Bits do not depend on it.
const fewRows = 32

// tiling is a kernel for products; its name goes on after "linear_nt", "linear_nn", "linear_tn" or "linear_draw".
type tiling struct {
	name            string
	rows, cols      int // of a tile
	threads, shared int
	back            bool    // there are nn and tn too
	draws           bool    // there is draw too
	share           float64 // of the tensor cores' rate that wgmma of its width reaches: assumed, not measured; 0: mma.sync
	pair            pairing
}

// pairing is whether two or four blocks, a cluster, take tiles side by side, and bring what those have in common once.
type pairing uint8

const (
	alone   pairing = iota
	stacked         // one tile above the other: the columns' factor is common
	abreast         // one beside the other: the rows' factor is
	square          // two above two
)

// blocks of a cluster
func (p pairing) blocks() int { return [...]int{alone: 1, stacked: 2, abreast: 2, square: 4}[p] }

// down and across are whether a cluster has two tiles of rows, and of columns.
func (p pairing) down() bool   { return p == stacked || p == square }
func (p pairing) across() bool { return p == abreast || p == square }

// resident is how many of so many multiprocessors such clusters can fill. An H200 has them in groups of 16 or 18: of 132, clusters of four
// fill 128. That is assumed, not measured; of groups that had fewer they would fill less, and a cluster would wait for another to end.
func (p pairing) resident(processors int) int {
	n := p.blocks()
	if p == square {
		processors = processors * 32 / 33
	}
	return max(processors/n*n, n)
}

// The portable ones and Hopper's, the largest tiles first. By cost, a tile of 64×256 would win hardly anywhere, and by 6 % at most.
var (
	portableTiles = []tiling{
		{name: "", rows: 128, cols: 128, threads: 128, shared: 4 * (128 + 128) * 32 * 2, back: true, draws: true},
		{name: "64", rows: 64, cols: 64, threads: 128, shared: 4 * (64 + 64) * 64 * 2, draws: true},
		{name: "16", rows: 16, cols: 32, threads: 64, shared: 8 * (16 + 32) * 64 * 2, draws: true},
	}
	hopperTiles = []tiling{
		{"_wgmma", 128, 256, 384, wgmmaTile(128, 256, 4), true, true, 1, alone},
		{"128x128_wgmma", 128, 128, 384, wgmmaTile(128, 128, 6), true, false, 1, alone},
		{"64_wgmma", 64, 128, 160, wgmmaTile(64, 128, 8), true, false, 0.9, alone},
		{"64x64_wgmma", 64, 64, 160, wgmmaTile(64, 64, 12), false, false, 0.8, alone},
		{"32_wgmma", 64, 32, 160, wgmmaTile(64, 32, 12), false, false, 0.6, alone},
		{"_pair_wgmma", 128, 256, 384, wgmmaTile(128, 256, 4), true, true, 1, stacked},
		{"_pair_wgmma", 128, 256, 384, wgmmaTile(128, 256, 4), true, true, 1, abreast},
		{"128x128_pair_wgmma", 128, 128, 384, wgmmaTile(128, 128, 6), false, false, 1, stacked},
		{"128x128_pair_wgmma", 128, 128, 384, wgmmaTile(128, 128, 6), false, false, 1, abreast},
		{"64_pair_wgmma", 64, 128, 160, wgmmaTile(64, 128, 8), false, false, 0.9, stacked},
		{"64_pair_wgmma", 64, 128, 160, wgmmaTile(64, 128, 8), false, false, 0.9, abreast},
		{"128x128_square_wgmma", 128, 128, 384, wgmmaTile(128, 128, 6), false, false, 1, square},
		{"64_square_wgmma", 64, 128, 160, wgmmaTile(64, 128, 8), false, false, 0.9, square},
	}
)

// tilesOf are those that there are kernels of for nt, nn, tn or draw.
func tilesOf(kernel string, wgmma bool) (of []tiling) {
	all := portableTiles
	if wgmma {
		all = hopperTiles
	}
	if kernel == "nt" {
		return all
	}
	for _, t := range all {
		if t.back && kernel != "draw" || t.draws && kernel == "draw" {
			of = append(of, t)
		}
	}
	return of
}

// wgmmaTile is the dynamic shared memory of such a kernel: stages of two tiles of 64 columns, and for each warp 16 rows of fp32 sums.
func wgmmaTile(rows, cols, stages int) int {
	return 1024 + stages*(rows+cols)*64*2 + rows*min(cols, 64)*4
}

// tiles are those of a product; of clusters, all of each.
func (t tiling) tiles(m, n int) int {
	down, across := ceil(m, t.rows), ceil(n, t.cols)
	if t.pair.down() {
		down += down % 2
	}
	if t.pair.across() {
		across += across % 2
	}
	return down * across
}

// What an H200 does in a cycle of 1.7 GHz, as published or assumed. No bit depends on it.
const (
	cycleMAC     = 2048          // of bf16, a multiprocessor
	cycleDRAM    = 4.3e12 / 17e8 // bytes
	cycleL2      = 8e12 / 17e8   // bytes, to all multiprocessors
	cycleLoad    = 64            // bytes from the second-level cache to one multiprocessor
	cycleFill    = 110           // bytes that the copy engine writes to its shared memory
	cycleStore   = 128           // bytes of sums that it reads back
	tileOverhead = 1500          // cycles to begin a tile and to end one, beside its sums
)

// tileCost is what becomes of a product of m rows, n columns and k in some tiles.
type tileCost struct {
	cycles  float64
	waves   int     // tiles that the busiest multiprocessor takes
	l2Bytes float64 // that tiles pull from the second-level cache
}

// cost estimates a product by Hopper's kernels on so many multiprocessors. A stage of 64 of k takes as long as the slowest of multiplying,
// bringing its bytes, and writing them to shared memory. If it is multiplying, multiprocessors take their tiles independently and the
// busiest decides; else all share the bandwidth of the second-level cache, and a last incomplete wave costs a part of a tile. A block of a
// cluster asks the cache for half of what is common, and has all of it written. No product is faster than its bytes of memory, or than one
// tile.
func (t tiling) cost(m, n, k, processors int) tileCost {
	processors = t.pair.resident(processors)
	tiles, stages, rows := t.tiles(m, n), float64(ceil(k, 64)), min(m, t.rows) // rows past m are not brought
	bytes := float64(rows+t.cols) * 128
	asked := bytes
	if t.pair.down() {
		asked -= float64(t.cols) * 64
	}
	if t.pair.across() {
		asked -= float64(rows) * 64
	}
	multiply := float64(t.rows*t.cols*64) / cycleMAC / t.share
	bring := asked / min(cycleLoad, cycleL2/float64(min(tiles, processors)))
	stage := max(multiply, bring, bytes/cycleFill)
	tile := stages*stage + tileOverhead + float64(rows*t.cols*8)/cycleStore
	c := tileCost{waves: ceil(tiles, processors), l2Bytes: float64(tiles) * asked * stages}
	if multiply >= 0.9*stage {
		c.cycles = float64(c.waves) * tile
	} else {
		c.cycles = max(c.l2Bytes/cycleL2, float64(tiles)*bytes*stages/cycleFill/float64(processors))
		if tiles%processors != 0 {
			c.cycles += 0.3 * tile
		}
	}
	c.cycles = max(c.cycles, 2*float64(n*k+m*k+m*n)/cycleDRAM, tile)
	return c
}

// choose takes the cheapest of Hopper's tiles. Of the portable ones it takes the largest if they give every multiprocessor one: several
// blocks of these kernels share a multiprocessor, of which cost knows nothing.
func (g *GPU) choose(m, n, k int, of []tiling) tiling {
	if of[0].share == 0 {
		switch {
		case len(of) == 1 || m > fewRows && of[0].tiles(m, n) >= g.info.Multiprocessors:
			return of[0]
		case m > fewRows:
			return of[1]
		}
		return of[2]
	}
	best, least := of[0], math.Inf(1)
	for _, t := range of {
		if c := t.cost(m, n, k, g.info.Multiprocessors); c.cycles < least {
			best, least = t, c.cycles
		}
	}
	return best
}

// HeadRows is how many rows of a head, at most most, are best computed at a time: in whole tiles of 128, those for which by cost a row
// takes the least time forward and in both products back. The sums of dx are over the vocabulary, so that its tiles are few, and what
// counts is how many multiprocessors have one. The portable kernels, of whose time cost knows nothing, take as many.
func (g *GPU) HeadRows(vocab, hidden, most int) int {
	const tile = 128
	best, least := tile, math.Inf(1)
	for rows := tile; rows <= min(most, 2048); rows += tile {
		if t := g.headCycles(rows, vocab, hidden) / float64(rows); t < least {
			best, least = rows, t
		}
	}
	return best
}

// headCycles is the cost of the products of so many rows of a head.
func (g *GPU) headCycles(rows, vocab, hidden int) (cycles float64) {
	for _, p := range []struct {
		kernel  string
		m, n, k int
	}{{"nt", rows, vocab, hidden}, {"nn", rows, hidden, vocab}, {"tn", vocab, hidden, rows}} {
		cycles += g.choose(p.m, p.n, p.k, tilesOf(p.kernel, true)).cost(p.m, p.n, p.k, g.info.Multiprocessors).cycles
	}
	return cycles
}
