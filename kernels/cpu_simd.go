package kernels

import "unsafe"

const (
	tileRows = 12 // rows of the largest product kernel of any set
	tileCols = 16 // columns of a panel
	quadRows = 6  // rows of the largest kernel for four panels at once
)

// simd is one set of inner loops: "go", "avx2", "avx512" or "avx512bf16". An operation calls nothing else in its inner loop. All sets
// compute the same formulas in the same order of lanes, so that all but "go" give the same bits; "go" multiplies and adds in two roundings.
//
// Slices of one call have one length, the first's. Sums over a slice have 32 lanes: element i of a whole block of 32 goes to lane
// i mod 32, the rest to lane i mod 8, and the lanes are added as a tree. attend's sum has the 16 lanes of a panel.
type simd struct {
	name  string
	peak  func(n int) float64 // n turns of nothing but multiply-adds; returns the operations of a turn
	fused bool

	rows    int                       // of its largest product kernel
	product [tileRows + 1]func(*tile) // by rows: rows × 16
	wide    [4]func(*tile)            // by rows: 1 × 64, 2 × 32, 3 × 32
	twin    [tileRows + 1]func(*tile) // product for two panels at once: rows × 32; nil where there are none
	quad    [quadRows + 1]func(*tile) // and for four: rows × 64

	// The same for weights that lie far, twinAhead of 6 rows and more: they ask for all that is multiplied next.
	quadAhead [quadRows + 1]func(*tile)
	twinAhead [tileRows + 1]func(*tile)

	paired  [tileRows + 1]func(*tile) // product where B is pairs of bf16: numbers (2k, j) and (2k+1, j) a word; A's numbers side by side
	pairedW [4]func(*tile)            // and wide
	dots    bool                      // A of these is words of pairs too, and k counts words
	two     [tileRows + 1]func(*tile) // paired for two panels at once, their outputs aks apart: rows × 32; nil where there are none
	long    func(*tile)               // and for four: 1 × 64
	masked  func(*tile)               // 1 × cols, cols below 16; reads and writes nothing beyond them

	// attend is one row's step of the online softmax over a tile: t = s·scale for the first n of 64 scores s; max becomes
	// max(m, t); s becomes exp(t − max), 0 from n on; sum is Σ s.
	attend func(s *float32, n int, scale, m float32) (max, sum float32)
	// attendBack turns scores s into p = exp(s·scale − lse) and dp into p·(dp − delta)·scale for the first n of 64, 0 from n on.
	attendBack func(s, dp *float32, n int, scale, lse, delta float32)
	// attendRows is attend for rows below one another: row r has min(seen + r·grow, 64) scores, m[r] before and top[r], sum[r] after it.
	// attendBackRows is attendBack for such rows, of which r has min(seen + r, 64) scores; its lse and delta are ld bytes apart from the
	// next row's. nil: see attendEach, attendBackEach.
	attendRows     func(s *float32, rows, seen, grow int, scale float32, m, top, sum *float32)
	attendBackRows func(s, dp *float32, rows, seen int, scale float32, lse, delta *float32, ld int)

	// headScores sets the scores of a tile's heads, then top and sum as attend does; what s holds after the first n scores of a head is
	// arbitrary. headValues adds to o, or sets it to, Σ s·values. nil: see tileView.headScores, tileView.headValues.
	headScores, headValues func(*headTile)

	max     func(x []float32) float32                             // −Inf of none
	sumExp  func(x []float32, scale, sub float32) float32         // Σ exp(x·scale − sub)
	sumPL   func(x []float32, scale, lse float32) float32         // Σ p·ln p, ln p = x·scale − lse
	expTo   func(dst, x []float32, scale, sub float32)            // dst = exp(x·scale − sub)
	logGrad func(x []float32, scale, lse, dlogp, dent, h float32) // x = −scale·p·(dlogp + dent·(ln p + h)), ln p = x·scale − lse

	swiglu     func(y, gate, up []float32)
	swigluBack func(dgate, dup, dy, gate, up []float32, fresh bool) // fresh: what dgate and dup hold is of no account
	add        func(y, x []float32)                                 // y += x
	scale      func(y []float32, a float32)                         // y *= a
	dot        func(x, y []float32) float32
	dot3       func(x, y, z []float32) float32 // Σ x·y·z
	norm       func(y, x, w []float32, r float32)
	normBack   func(dx, dy, x, w []float32, r, k float32) // dx += dy·w·r − x·k
	normBackW  func(dw, dy, x []float32, r float32)       // dw += dy·(x·r)
	rope       func(lo, hi, cos, sin []float32, sign float32)
	adam       func(w, g, m, v []float32, c *adamConst)
	sumSquares func(x []float32) float64
	// transpose makes 8 rows of src, ld bytes apart, the columns of dst, whose rows are 16 numbers apart; 8·blocks numbers of each.
	transpose func(dst, src *float32, ld, blocks int)
	// turn is transpose for 16 rows, 4·blocks numbers of each. nil: transpose is as good.
	turn func(dst, src *float32, ld, blocks int)
	// panel copies rows of 16 numbers of src, ld bytes apart, to dst, one after the other.
	panel func(dst, src *float32, ld, rows int)
	// strip is panel for rows of 24.
	strip  func(dst, src *float32, ld, rows int)
	widen  func(dst []float32, src []uint16)     // from bf16
	narrow func(dst []uint16, src []float32)     // to bf16, to nearest and even
	pairs  func(dst *float32, even, odd *uint16) // 16 words of pairs of two rows
	// fetch asks for rows of src, ld bytes apart, of width bytes, which will soon be read. It may name memory that is not there.
	fetch func(src *float32, width, ld, rows int)
	// race is the first j with 1 − u[j] < best·w[j], or a number not below the length. It may read 7 numbers after the last.
	race func(u, w []float32, best float32) int
	// noise fills u (a multiple of 32) with uniforms i·2⁻²⁴, 1 ≤ i < 2²⁴: Philox word (first+j) of key and counter, see philox.
	noise func(u []float32, first uint32, c *philoxKey)
}

// tile is what a product kernel reads: C (+)= A·B with A(r,k) at a + r·ars + k·aks, and B(k, 16p+j) at b + p·bps + k·bks + 4j. It
// does tiles blocks of rows one below the other. Distances are in bytes. The order and size of fields are known to the assembly.
//
// Cols is memory that will be read soon. Kernels of AVX2 for one panel ask with each step for the line that it is in, and add bps to it,
// wide ones for the next line of as many panels as they multiply. Kernels of AVX-512 for four panels ask with each block of rows for as
// many lines as they have steps, and add bps to it; those named ahead for four or two times as many, of so many panels.
type tile struct {
	c, a, b                 unsafe.Pointer
	ldc, ars, aks, bks, bps int
	k, tiles, acc, cols     int // acc 1: the chains go on from C; 0: they start at 0
}

// adamConst is an AdamWStep, prepared. The order of fields is known to the assembly.
type adamConst struct {
	scale, b1, b1c, b2, b2c float32 // b1c = 1 − Beta1
	rate                    float32 // LR / (1 − Beta1^Step)
	root                    float32 // 1 / (1 − Beta2^Step)
	eps                     float32
	decay                   float32 // 1 − LR·WeightDecay
}

// philoxKey is the key and the upper three counter words of a row's draws.
type philoxKey struct{ k0, k1, c1, c2, c3 uint32 }

// floats is n zeros, aligned to a cache line.
func floats(n int) []float32 {
	x := make([]float32, n+15)
	adviseHuge(x)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(x)))&63) / 4
	return x[skip : skip+n : skip+n]
}

// product is C (+)= A·B of any size: C(r,j), A(r,k), B in panels of 16 columns, panel p at b + p·bps, row k of it at + k·bks.
// Distances are in elements. Where padded is false, the last panel holds only its own columns and nothing beyond may be read.
type product struct {
	c, a, b       *float32
	ldc           int
	ars, aks      int
	bps, bks      int
	rows, cols, k int
	acc, padded   bool
	soon          int  // panels from B on, P's own and more, that lie far and are multiplied in turn: each is asked for ahead; 0: B is near
	paired        bool // B is words of pairs of bf16: bps and bks count words, A's numbers stand side by side, and B is padded; see simd.dots
}

func step(p unsafe.Pointer, elements int) unsafe.Pointer { return unsafe.Add(p, 4*elements) }

// product computes p on one thread. The bits of an output depend on its row of A, its column of B and k alone: whatever kernel
// computes it, it is one chain over k, ascending.
func (w *worker) product(v *simd, p *product) {
	if p.rows <= 0 || p.cols <= 0 {
		return
	}
	t := &w.tile
	t.ldc, t.ars, t.aks, t.bks, t.bps, t.k = 4*p.ldc, 4*p.ars, 4*p.aks, 4*p.bks, 4*p.bps, p.k
	t.acc = 0
	if p.acc {
		t.acc = 1
	}
	kernels, wideKernels := &v.product, &v.wide
	if p.paired {
		kernels, wideKernels = &v.paired, &v.pairedW
	}
	c, a, b := unsafe.Pointer(p.c), unsafe.Pointer(p.a), unsafe.Pointer(p.b)
	panels := p.cols / tileCols
	i := w.streams(v, p, panels)
	for i < panels {
		c, b := step(c, i*tileCols), step(b, i*p.bps)
		switch n := w.together(v, p, panels-i); {
		case n > 1:
			w.several(v, p, i, n, c, a, b)
			i += n
		case p.rows <= 3 && wideKernels[p.rows] != nil && panels-i >= wideCols[p.rows]/tileCols:
			t.c, t.a, t.b, t.tiles = c, a, b, 1
			t.cols, _ = p.following(b, i, wideCols[p.rows]/tileCols, p.rows)
			wideKernels[p.rows](t)
			i += wideCols[p.rows] / tileCols
		default:
			t.cols, t.bps = p.following(b, i, 1, v.rows)
			w.column(kernels[:], v.rows, c, a, b, p.rows, p.ldc, p.ars)
			t.bps = 4 * p.bps
			i++
		}
	}
	last := p.cols - panels*tileCols
	if last == 0 {
		return
	}
	c, b = step(c, panels*tileCols), step(b, panels*p.bps)
	if !p.padded {
		t.c, t.a, t.b, t.tiles, t.cols = c, a, b, p.rows, last
		v.masked(t)
		return
	}
	// All 16 columns, beside C, and back.
	t.ldc, t.cols, t.bps = 4*tileCols, int(uintptr(b)), 0
	for r := 0; r < p.rows; {
		n := min(p.rows-r, tileRows)
		for i := range n {
			if row := unsafe.Slice((*float32)(step(c, (r+i)*p.ldc)), last); p.acc {
				copy(w.tail[i*tileCols:], row)
			}
		}
		w.column(kernels[:], v.rows, unsafe.Pointer(&w.tail[0]), step(a, r*p.ars), b, n, tileCols, p.ars)
		for i := range n {
			copy(unsafe.Slice((*float32)(step(c, (r+i)*p.ldc)), last), w.tail[i*tileCols:])
		}
		r += n
	}
}

// streams does the panels that kernels for several at once can: each of these begins a part of them, so that weights are read in as many
// long streams. It returns how many it has done.
func (w *worker) streams(v *simd, p *product, panels int) int {
	if !p.paired || v.two[1] == nil {
		return 0
	}
	t, count := &w.tile, 2
	if p.rows == 1 {
		count = 4
	}
	n := panels / count
	t.bps, t.aks = 4*n*p.bps, 4*n*tileCols
	for i := range n {
		c, b := step(unsafe.Pointer(p.c), i*tileCols), step(unsafe.Pointer(p.b), i*p.bps)
		if count == 2 {
			w.column(v.two[:], v.rows, c, unsafe.Pointer(p.a), b, p.rows, p.ldc, p.ars)
			continue
		}
		t.c, t.a, t.b, t.tiles = c, unsafe.Pointer(p.a), b, 1
		v.long(t)
	}
	t.bps, t.aks = 4*p.bps, 4*p.aks
	return count * n
}

var wideCols = [4]int{0, 64, 32, 32}

// together is how many of the panels that are left are multiplied at once: with one row, none, for want of chains, unless memory is slower.
// Far weights are read once by as many rows as a kernel has, or by its two halves.
func (w *worker) together(v *simd, p *product, panels int) int {
	switch {
	case p.paired || p.rows == 1 && (p.soon == 0 || v.quadAhead[1] == nil):
		return 1
	case panels >= 4 && v.quad[1] != nil && !p.twins():
		return 4
	case panels >= 2 && v.twin[1] != nil:
		return 2
	}
	return 1
}

// twinAheadRows is how many rows gain by twins: more have blocks of six enough to ask for all that comes next.
const twinAheadRows = 18

// twins: of so many rows, far weights are multiplied two panels at once, which asks for all that comes next.
func (p *product) twins() bool { return p.soon > 0 && p.rows > quadRows && p.rows <= twinAheadRows }

// severalTerms is how many terms of n panels are multiplied before the next: with many rows they stay in the first-level cache.
const severalTerms = 128

// several is column for the n panels from number i on at once, 4 or 2.
func (w *worker) several(v *simd, p *product, i, n int, c, a, b unsafe.Pointer) {
	t := &w.tile
	acc, terms := t.acc, p.k
	if p.rows >= 2*quadRows && n*p.k > 6*severalTerms {
		terms = severalTerms * 4 / n
	}
	kernels, most := v.twin[:], tileRows
	switch {
	case n == 4 && p.soon > 0 && p.rows <= quadRows:
		kernels, most = v.quadAhead[:], quadRows
	case n == 4:
		kernels, most = v.quad[:], quadRows
	case p.twins():
		kernels = v.twinAhead[:]
	}
	for k := 0; ; {
		t.k, t.cols = min(terms, p.k-k), p.next(i, n, k, terms, b)
		w.column(kernels, most, c, step(a, k*p.aks), step(b, k*p.bks), p.rows, p.ldc, p.ars)
		if k += terms; k >= p.k {
			break
		}
		t.acc = 1
	}
	t.acc, t.k = acc, p.k
}

// aheadRows is how many rows wait for their weights, which are asked for while others are multiplied: fewer than 12 do not take as long as
// weights from memory do, and ask only for far ones, with each step for all that comes next; more than 64 hardly notice.
const aheadRows = 64

// next is where the terms that follow [k, k+terms) of the n panels from number i on begin, which lie at b, of these panels or of the next;
// where none are asked for, what is at work itself.
func (p *product) next(i, n, k, terms int, b unsafe.Pointer) int {
	at := 0
	switch {
	case p.rows < 2*quadRows && p.soon == 0 || p.rows > aheadRows:
		at = k * p.bks
	case k+terms < p.k:
		at = (k + terms) * p.bks
	case p.soon == 0 || i+n < p.soon:
		at = n * p.bps
	}
	return int(uintptr(b)) + 4*at
}

// following is where the panels begin that are multiplied after the n from number i on, which lie at b, and how much of each of their lines
// is asked for with a step, so that all have been when the last block of rows ends: a core waits for few lines at a time, and for none that
// its cache has. If none are asked for, it is b itself.
func (p *product) following(b unsafe.Pointer, i, n, most int) (at, distance int) {
	if i+n >= p.soon {
		return int(uintptr(b)), 0
	}
	blocks := (p.rows + most - 1) / most
	return int(uintptr(b)) + 4*n*p.bps, (64 + blocks - 1) / blocks
}

// column is one panel of a product, or several at once, all rows: blocks of the largest kernel, the rest as even as can be, since small
// blocks are slow.
func (w *worker) column(kernels []func(*tile), most int, c, a, b unsafe.Pointer, rows, ldc, ars int) {
	t := &w.tile
	t.b = b
	full, rest := rows/most, rows%most
	first := 0
	if full > 0 && rest > 0 && rest <= most/2 {
		full--
		rest += most
		first = (rest + 1) / 2
		rest -= first
	}
	run := func(n, tiles int, at int) {
		t.c, t.a, t.tiles = step(c, at*ldc), step(a, at*ars), tiles
		kernels[n](t)
	}
	if full > 0 {
		run(most, full, 0)
	}
	if first > 0 {
		run(first, 1, full*most)
	}
	if rest > 0 {
		run(rest, 1, full*most+first)
	}
}

// attendEach is attendRows of any set; rows of s are 64 apart, and there is at least one.
func (v *simd) attendEach(s []float32, rows, seen, grow int, scale float32, m, top, sum []float32) {
	if v.attendRows != nil {
		v.attendRows(&s[0], rows, seen, grow, scale, &m[0], &top[0], &sum[0])
		return
	}
	for r := range rows {
		top[r], sum[r] = v.attend(&s[r*PageTokens], min(seen+r*grow, PageTokens), scale, m[r])
	}
}

// attendBackEach is attendBackRows of any set; lse and delta of two rows are ld numbers apart.
func (v *simd) attendBackEach(s, dp []float32, rows, seen int, scale float32, lse, delta []float32, ld int) {
	if v.attendBackRows != nil {
		v.attendBackRows(&s[0], &dp[0], rows, seen, scale, &lse[0], &delta[0], 4*ld)
		return
	}
	for r := range rows {
		v.attendBack(&s[r*PageTokens], &dp[r*PageTokens], min(seen+r, PageTokens), scale, lse[r*ld], delta[r*ld])
	}
}
