package kernels

import (
	"container/heap"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// A plan covers every chunk of every context once, longest items first, and is not dearer than another.
func TestPlansCoverEveryContextOnce(t *testing.T) {
	g := h200()
	var p PagePlan
	rapid.Check(t, func(t *rapid.T) {
		h := Heads{Q: 14, KV: 2, Dim: 64, Chunk: 64 * rapid.IntRange(0, 3).Draw(t, "chunk")}
		lens := rapid.SliceOfN(rapid.Int32Range(0, 3000), 1, 40).Draw(t, "lengths")
		g.PlanPages(&p, lens, h)
		seen := map[[2]int]bool{}
		before := math.MaxInt
		for i := 0; i < len(p.Work); i += 2 {
			s, c := int(p.Work[i]), int(p.Work[i+1])
			n := int(lens[s])
			if seen[[2]int{s, c}] || c*h.Chunk >= n {
				t.Fatalf("chunk %d of sequence %d, of %d tokens, stands twice or is none", c, s, n)
			}
			seen[[2]int{s, c}] = true
			if p.Parts {
				n = min(n-c*h.Chunk, h.Chunk)
			}
			if PagesOf(n) > before {
				t.Fatalf("item %d has %d pages, after one of %d", i/2, PagesOf(n), before)
			}
			before = PagesOf(n)
		}
		want := 0
		for _, n := range lens {
			switch {
			case p.Parts:
				want += ceil(int(n), h.Chunk)
			case n > 0:
				want++
			}
		}
		if len(seen) != want {
			t.Fatalf("%d of %d are in the plan of %v", len(seen), want, lens)
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

// With 256 contexts of unlike lengths, blocks in the order of a plan end about together; in the order of the step, all sequences of one
// head after those of the other, the last long one ends late. Times are those of planCost, against what memory takes for the bytes; blocks
// start as places become free.
func TestPlannedBlocksEndTogether(t *testing.T) {
	for _, c := range []struct {
		name string
		h    Heads
		most float64 // of the time of the bytes
	}{{"7B", Heads{Q: 28, KV: 4, Dim: 128, Chunk: 1024}, 1.05}, {"0.5B", Heads{Q: 14, KV: 2, Dim: 64, Chunk: 512}, 1.05}} {
		g := h200()
		g.hopper = true
		rng := newRand(7)
		lens := make([]int32, 256)
		for i := range lens {
			lens[i] = int32(min(max(math.Exp(7+0.9*rng.normal()), 64), 16384))
		}
		n := min(227<<10/(g.pagedShared(c.h)+1<<10), mostBlocks)
		token := float64(4*c.h.Dim) * float64(n) / cycleContext
		ends := func(items []float64) (last float64) {
			free := make(places, n*132)
			for _, t := range items {
				free[0] += t
				last = max(last, free[0])
				heap.Fix(&free, 0)
			}
			return last
		}
		time := func(tokens int) float64 { return blockStart + float64(tokens)*token }
		var stepped, planned []float64
		ideal := 0.0
		for range c.h.KV {
			for i := range lens { // find_rows takes the last sequence first
				stepped = append(stepped, time(int(lens[len(lens)-1-i])))
				ideal += float64(lens[i]) * float64(4*c.h.Dim) / cycleDRAM
			}
		}
		var p PagePlan
		g.PlanPages(&p, lens, c.h)
		for i := 0; i < len(p.Work); i += 2 {
			n := int(lens[p.Work[i]])
			if p.Parts {
				n = min(n-int(p.Work[i+1])*c.h.Chunk, c.h.Chunk)
			}
			for range c.h.KV {
				planned = append(planned, time(n))
			}
		}
		was, is := max(ends(stepped)/ideal, 1), max(ends(planned)/ideal, 1)
		t.Logf("%s: %d items, in parts: %v: %.2f of the time of the bytes, %.2f in the order of the step", c.name, len(p.Work)/2, p.Parts,
			is, was)
		if is > c.most || is > was {
			t.Errorf("%s: the last block ends at %.2f of the time of the bytes, unplanned at %.2f", c.name, is, was)
		}
	}
}
