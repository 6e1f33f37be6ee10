package kernels

import (
	"container/heap"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stepLengths are a step's rows of sequences, at the end of contexts of so many tokens.
type stepLengths struct{ fresh, lens []int32 }

func drawStepLengths(t *rapid.T) (l stepLengths) {
	for range rapid.IntRange(1, 40).Draw(t, "sequences") {
		n := rapid.IntRange(0, 3000).Draw(t, "length")
		fresh := min(n, 1)
		if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
			fresh = rapid.IntRange(0, min(n, 600)).Draw(t, "fresh")
		}
		l.fresh, l.lens = append(l.fresh, int32(fresh)), append(l.lens, int32(n))
	}
	return l
}

// starts is where sequences begin among a step's rows.
func (l stepLengths) starts() []int32 {
	lengths := make([]int, len(l.fresh))
	for i, n := range l.fresh {
		lengths[i] = int(n)
	}
	starts, _ := startsOf(lengths)
	return starts
}

// pages of an item of a plan, by what its last row sees.
func (l stepLengths) pages(p PagePlan, s, at int32, h Heads) int {
	G := h.Q / h.KV
	seen := int(l.lens[s]-l.fresh[s]) + (min((int(at)>>16+1)*p.Rows, int(l.fresh[s])*G)-1)/G + 1
	if p.Parts {
		seen = min(seen-int(at)&0xffff*h.Chunk, h.Chunk)
	}
	return PagesOf(seen)
}

func drawPlanned(t *rapid.T) (*GPU, Heads) {
	g := h200()
	g.split, g.hopper = 2*132, rapid.Bool().Draw(t, "hopper")
	h := rapid.SampledFrom([]Heads{{Q: 14, KV: 2, Dim: 64}, {Q: 28, KV: 4, Dim: 128}, {Q: 40, KV: 1, Dim: 32}}).Draw(t, "heads")
	h.Chunk = 64 * rapid.IntRange(0, 8).Draw(t, "chunk")
	return g, h
}

// A plan has every chunk that a tile of rows sees, of every tile of every sequence, once, longest items first.
func TestPlansCoverEveryContextOnce(t *testing.T) {
	var p PagePlan
	rapid.Check(t, func(t *rapid.T) {
		g, h := drawPlanned(t)
		l := drawStepLengths(t)
		g.PlanPages(&p, l.fresh, l.lens, h)
		pairs := func(work []int32) (of [][2]int32) {
			for i := 0; i < len(work); i += 2 {
				of = append(of, [2]int32{work[i], work[i+1]})
			}
			return of
		}
		before := math.MaxInt
		for i, item := range pairs(p.Work) {
			n := l.pages(p, item[0], item[1], h)
			if n > before {
				t.Fatalf("item %d has %d pages, after one of %d", i, n, before)
			}
			before = n
		}
		var want []int32
		if len(p.Work) > 0 || slices.Max(l.fresh) > 0 {
			want = workOf(p, l.starts(), l.lens, h)
		}
		compare := func(a, b [2]int32) int { return slices.Compare(a[:], b[:]) }
		got, all := pairs(p.Work), pairs(want)
		slices.SortFunc(got, compare)
		slices.SortFunc(all, compare)
		if !slices.Equal(got, all) {
			t.Fatalf("a plan in tiles of %d, in parts: %v, of %v, %v:\n%v, want\n%v", p.Rows, p.Parts, l.fresh, l.lens, got, all)
		}
	})
}

// places are times at which multiprocessors' places become free.
type places []float64

func (p places) Len() int           { return len(p) }
func (p places) Less(i, j int) bool { return p[i] < p[j] }
func (p places) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *places) Push(x any)        { *p = append(*p, x.(float64)) }
func (p *places) Pop() any          { x := (*p)[len(*p)-1]; *p = (*p)[:len(*p)-1]; return x }

// ends is when the last block ends, if blocks of so many pages start in this order as places become free, in the times of planItems, and
// the states of chunks are merged; and what memory takes for the bytes.
func (l stepLengths) ends(g *GPU, p PagePlan, pages []int, h Heads) (cycles, ideal float64) {
	n, tile := g.planPlaces(h, p.Rows)
	free := make(places, n*132)
	for _, n := range pages {
		free[0] += blockStart + float64(n)*tile
		cycles = max(cycles, free[0])
		heap.Fix(&free, 0)
	}
	states := 0.0
	for s, n := range l.lens {
		if l.fresh[s] > 0 {
			ideal += float64(int(n)*h.KV*4*h.Dim) / cycleDRAM
			if p.Parts {
				states += float64(int(l.fresh[s])*ceil(int(n), h.Chunk)*h.Q*(h.Dim+2)*8) / cycleDRAM
			}
		}
	}
	cycles = max(cycles, ideal)
	if p.Parts {
		cycles += mergeStart + states
	}
	return cycles, ideal
}

// planned is when a step ends by its plan, and unplanned when by what PagedAttention takes without one, in the order of find_rows: one head
// after the other, and of each the sequences' tiles, of each the last one first.
func (l stepLengths) planned(g *GPU, h Heads) (p PagePlan, cycles, ideal float64) {
	g.PlanPages(&p, l.fresh, l.lens, h)
	var pages []int
	for i := 0; i < len(p.Work); i += 2 {
		pages = append(pages, slices.Repeat([]int{l.pages(p, p.Work[i], p.Work[i+1], h)}, h.KV)...)
	}
	cycles, ideal = l.ends(g, p, pages, h)
	return p, cycles, ideal
}

func (l stepLengths) unplanned(g *GPU, h Heads) (p PagePlan, cycles float64) {
	starts, chunks, G := l.starts(), 1, h.Q/h.KV
	if h.Chunk > 0 {
		chunks = ceil(PagesOf(int(slices.Max(l.lens)))*PageTokens, h.Chunk)
	}
	p.Rows, p.Parts = g.unplanned(int(starts[len(starts)-1]), len(l.lens), chunks, h)
	if !p.Parts {
		chunks = 1
	}
	var pages []int
	for z := range chunks {
		for range h.KV {
			for s := range l.lens {
				for tile := ceil(int(l.fresh[s])*G, p.Rows) - 1; tile >= 0; tile-- {
					if n := l.pages(p, int32(s), int32(tile<<16|z), h); n > 0 {
						pages = append(pages, n)
					}
				}
			}
		}
	}
	cycles, _ = l.ends(g, p, pages, h)
	return p, cycles
}

// Whatever a step mixes, by the cost of blocks it ends no later with a plan than without: in one of thousands, where longest first is not
// the best order, by 3 %.
func TestPlannedStepsEndNoLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, h := drawPlanned(t)
		l := drawStepLengths(t)
		if slices.Max(l.fresh) == 0 {
			return
		}
		p, is, _ := l.planned(g, h)
		u, was := l.unplanned(g, h)
		if is > 1.05*was {
			t.Fatalf("%+v, hopper: %v: %v of %v: planned in tiles of %d, parts %v: %.0f cycles, unplanned in tiles of %d, parts %v: %.0f (%.3f)",
				h, g.hopper, l.fresh, l.lens, p.Rows, p.Parts, is, u.Rows, u.Parts, was, is/was)
		}
	})
}

// Steps of a rollout, all decoding or some with a tool's output or a prompt: the blocks of a plan end about together, and sooner than in
// the order of the step.
func TestPlannedBlocksEndTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     Heads
		seqs  int
		fresh func(s int) int // a sequence's rows
		most  float64         // of the time of the bytes, or of a step without a plan
	}{
		{"7B, 256 decode", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 256, func(int) int { return 1 }, 1.1},
		{"0.5B, 256 decode", Heads{Q: 14, KV: 2, Dim: 64, Chunk: 512}, 256, func(int) int { return 1 }, 1.1},
		{"7B, 240 decode, 16 read 200", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 256, func(s int) int { return 1 + s%16/15*199 }, 0},
		{"0.5B, 240 decode, 16 read 200", Heads{Q: 14, KV: 2, Dim: 64, Chunk: 512}, 256, func(s int) int { return 1 + s%16/15*199 }, 0},
		{"7B, 1 reads 200", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 1, func(int) int { return 200 }, 0},
		{"7B, 4 read 1024", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 4, func(int) int { return 1024 }, 0},
		{"7B, 63 decode, 1 reads 2048", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 64, func(s int) int { return 1 + s/63*2047 }, 0},
	} {
		g := h200()
		g.hopper, g.split = true, 2*132
		rng := newRand(7)
		var l stepLengths
		for s := range c.seqs {
			n := c.fresh(s)
			l.fresh = append(l.fresh, int32(n))
			l.lens = append(l.lens, int32(min(max(math.Exp(7+0.9*rng.normal()), 64), 16384))+int32(n)-1)
		}
		p, is, ideal := l.planned(g, c.h)
		u, was := l.unplanned(g, c.h)
		t.Logf("%-30s %4d items of %3d rows, in parts: %-5v: %8.0f cycles, %5.2f of the time of the bytes; unplanned, of %3d rows, in parts: "+
			"%-5v: %5.2f", c.name, len(p.Work)/2, p.Rows, p.Parts, is, is/ideal, u.Rows, u.Parts, was/ideal)
		if is > was || c.most > 0 && is > c.most*ideal {
			t.Errorf("%s: the last block ends at %.2f of the time of the bytes, unplanned at %.2f", c.name, is/ideal, was/ideal)
		}
	}
}
