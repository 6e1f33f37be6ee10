package kernels

import "cmp"

// A pack is a matrix in panels of 16 columns, as the product kernels read it, derived from one version of a memory's content.
//
// Linear needs wᵀ: panel p holds rows 16p to 16p+15 of w, element (k, j) = w[16p+j, k]. Its gradient by x needs w itself: element
// (k, j) = w[k, 16p+j]. Columns beyond the last are zeros. Of a BF16 matrix, elements (2k, j) and (2k+1, j) share a word: they are
// widened by the kernels. Weights change once per update and are read for every batch, decode step and minibatch between, so that
// packing is some 1 % of an update. A matrix that was arranged is its own pack.
type pack struct {
	version uint64
	data    []float32 // words
	inner   int       // words from a column of a panel to the same of the next, over 16
	paired  bool
}

type packKey struct {
	off, rows, cols, ld int
	transposed          bool
}

const (
	innerBlock  = 384  // terms of a chain between two visits to memory: a panel's part stays in the first-level cache
	longTerms   = 1024 // of a sum that is one chain; longer ones are
	chainTerms  = 512  // terms each, chains that are added: the error of a chain grows with its length
	chainCols   = 128  // of outputs whose chains are computed one after the other
	rowFloats   = 1 << 15
	blockFloats = 1 << 17 // of rows that all panels of a share are multiplied with while both stay in the second-level cache
	farFloats   = 1 << 19 // weights of a matrix that no such cache holds
	farRows     = 512     // rows that are worth reading again for each share of those
)

// farShare: weights are far if all that the device has packed is more than this part of its last-level cache. Nearer ones come soon enough
// without being asked for, and asking costs a tenth; keys, values and whatever else the machine does leave farther ones to memory.
const farShare = 8

// defaultCache stands for the last-level cache of a machine that does not tell its size.
const defaultCache = 32 << 20

type linearJob struct {
	y, x, w, b Tensor
	a          []float32 // x as pack's kernels read it: see operand
	lda        int
	pack       *pack
	tail       *pack // of the columns from full on, where pack has not all
	full       int
	T, N, M    int
	transposed bool
	acc        bool
	far        bool // the weights: see farShare
	dw, db, dy Tensor
}

// packOf returns w in panels, at the price of packing it only if it has been written since. tail is another pack, of the columns from
// full on; nil if there are none.
func (d *cpu) packOf(w Tensor, transposed bool) (p, tail *pack, full int) {
	m := w.mem
	if o := m.panels(w.off); o != nil {
		if !transposed || w.off != o.off || w.dims[0]&^(tileCols-1) != o.rows || w.dims[1] != o.cols {
			needs("Linear", "w", w, "the whole of the matrix that was arranged, and its product the forward one")
		}
		if o.rows < w.dims[0] {
			tail, _, _ = d.packOf(w.Rows(o.rows, w.dims[0]), true)
		}
		return &o.pack, tail, o.rows
	}
	key := packKey{w.off, w.dims[0], w.dims[1], w.ld, transposed}
	full = w.dims[1]
	if transposed {
		full = w.dims[0]
	}
	p = m.packs[key]
	if p != nil && p.version == m.version {
		return p, nil, full
	}
	rows, cols := w.dims[1], w.dims[0]
	if !transposed {
		rows, cols = cols, rows
	}
	panels := (cols + tileCols - 1) / tileCols
	if p == nil {
		if m.packs == nil {
			m.packs = map[packKey]*pack{}
		}
		p = &pack{inner: rows, paired: w.dtype == BF16}
		if p.paired {
			p.inner = (rows + 1) / 2
		}
		p.data = floats(panels * p.inner * tileCols)
		d.whole.packed.Add(int64(4 * len(p.data)))
		m.packs[key] = p
	}
	p.version = m.version
	d.lin.w, d.lin.pack, d.lin.transposed = w, p, transposed
	d.each(panels, 1, rows*cols, packRows)
	return p, nil, full
}

func packRows(d *cpu, _ *worker, from, to int) {
	j := &d.lin
	rows, cols := j.w.dims[0], j.w.dims[1]
	for p := from; p < to; p++ {
		first := p * tileCols
		panel := j.pack.data[first*j.pack.inner:]
		switch {
		case j.pack.paired && j.transposed:
			packTransposedPairs(d.v, panel, j.w, first, min(tileCols, rows-first))
		case j.pack.paired:
			packPairs(d.v, panel, j.w, first, min(tileCols, cols-first))
		case j.transposed:
			packTransposed(d.v, panel, j.w.at(0), first, min(tileCols, rows-first), cols, j.w.ld)
		default:
			packPanel(d.v, panel, j.w.at(0)[first:], min(tileCols, cols-first), rows, j.w.ld)
		}
	}
}

// packTransposedPairs is packTransposed where w is bf16, in words.
func packTransposedPairs(v *simd, dst []float32, w Tensor, row, n int) {
	if M := w.dims[1]; M%2 == 0 && w.off%2 == 0 && w.ld%2 == 0 {
		packTransposed(v, dst, w.mem.words[w.off/2:], row, n, M/2, w.ld/2)
		return
	}
	for j := range n {
		at, M := w.place(row + j)
		for k, x := range w.mem.b16[at : at+M] {
			halves(dst[k/2*tileCols+j:], 2)[k%2] = x
		}
	}
}

// packPairs is packPanel where w is bf16, in words: rows 2k and 2k+1 of w share one, the last, if it is alone, with zeros.
func packPairs(v *simd, dst []float32, w Tensor, col, n int) {
	rows := w.dims[0]
	for k := 0; k < rows; k += 2 {
		even, to := w.mem.b16[w.off+k*w.ld+col:], dst[k/2*tileCols:][:tileCols]
		if k+1 < rows && n == tileCols {
			v.pairs(&to[0], &even[0], &w.mem.b16[w.off+(k+1)*w.ld+col])
			continue
		}
		for j := range n {
			pair := halves(to[j:], 2)
			if pair[0] = even[j]; k+1 < rows {
				pair[1] = even[w.ld+j]
			}
		}
	}
}

// packTransposed writes dst[k·16+j] = src[(row+j)·ld+k] for j below n and k below inner.
func packTransposed(v *simd, dst, src []float32, row, n, inner, ld int) {
	if n == tileCols && inner%4 == 0 && inner > 0 && v.turn != nil {
		v.turn(&dst[0], &src[row*ld], 4*ld, inner/4)
		return
	}
	j, blocks := 0, inner/8
	if blocks > 0 {
		for ; j+8 <= n; j += 8 {
			v.transpose(&dst[j], &src[(row+j)*ld], 4*ld, blocks)
			for i := range 8 {
				for k := 8 * blocks; k < inner; k++ {
					dst[k*tileCols+j+i] = src[(row+j+i)*ld+k]
				}
			}
		}
	}
	for ; j < n; j++ {
		from := src[(row+j)*ld:][:inner]
		to := dst[j:]
		for k, x := range from {
			to[k*tileCols] = x
		}
	}
}

// packPanel writes dst[k·16+j] = src[k·ld+j] for j below n and k below inner.
func packPanel(v *simd, dst, src []float32, n, inner, ld int) {
	if n == tileCols {
		v.panel(&dst[0], &src[0], 4*ld, inner)
		return
	}
	for k := range inner {
		copy(dst[k*tileCols:][:n], src[k*ld:])
	}
}

// packStrip writes dst[k·24+j] = src[k·ld+j] for j below n and k below inner.
func packStrip(v *simd, dst, src []float32, n, inner, ld int) {
	if n == stripCols {
		v.strip(&dst[0], &src[0], 4*ld, inner)
		return
	}
	for k := range inner {
		copy(dst[k*stripCols:][:n], src[k*ld:])
	}
}

func (d *cpu) Linear(y, x, w, b Tensor) {
	const op = "Linear"
	d.begin(op)
	T, N, M := checkLinear(y, x, w, b)
	d.reads(op, x)
	d.readsMatrix(op, w)
	d.reads(op, b)
	if T == 0 || N == 0 {
		return
	}
	p, tail, full := d.packOf(w, true)
	d.writes(op, y)
	a, lda := d.operand(0, x, p)
	d.lin = linearJob{y: y, a: a, lda: lda, b: b, pack: p, tail: tail, full: full, T: T, N: N, M: M}
	d.multiply()
}

// operand is x as a product with p reads it, and the distance of its rows: its numbers, widened, or, for weights in pairs, rounded to
// bf16 first where they are float32; for kernels that multiply pairs by pairs, words of those.
func (d *cpu) operand(slot int, x Tensor, p *pack) (a []float32, lda int) {
	M := x.dims[1]
	switch {
	case !p.paired, x.dtype == BF16 && !d.v.dots:
		x = d.wide(slot, x)
		return x.mem.f32[x.off:], x.ld
	case x.dtype == BF16 && (M|x.off|x.ld)%2 == 0:
		return x.mem.words[x.off/2:], x.ld / 2
	}
	u := d.temp(slot, x)
	if d.v.dots {
		u.ld = (M + 1) / 2
	}
	d.move = moveJob{u, x}
	d.each(x.dims[0], 1+2048/max(M, 1), x.Len()/4, func(d *cpu, w *worker, from, to int) {
		j := &d.move
		for i := from; i < to; i++ {
			row := w.bf16Row(d.v, 0, j.src, i)
			if !d.v.dots {
				d.v.widen(j.dst.row(i), row)
				continue
			}
			words := halves(j.dst.mem.f32[i*j.dst.ld:], 2*j.dst.ld)
			words[2*j.dst.ld-1] = 0
			copy(words, row)
		}
	})
	return u.mem.f32, u.ld
}

// readRows is how many rows a product has that takes as long to read its weights, from a cache of the third level, as to multiply.
const readRows = 3

// multiply runs the job y (+)= x·pack, pack M × N. Threads share rows where those are many, so that each reads all weights for its own
// few; else panels, so that each reads all rows. The latter also for more rows where weights come from memory: they come once.
func (d *cpu) multiply() {
	j := &d.lin
	j.far = farShare*int(d.whole.packed.Load()) > cmp.Or(d.cache, defaultCache)
	cost := max(j.T, readRows) * j.N * j.M / 24
	panels := (j.N + tileCols - 1) / tileCols
	many := 2 * len(d.workers) // panels for all threads
	byPanels := j.T < 48 || j.T < 48*len(d.workers) && panels >= many || j.T <= farRows && j.N*j.M >= farFloats && panels >= 4*many
	if !byPanels {
		d.each(j.T, evenRows(j.T, len(d.workers)), cost, linearRows)
		return
	}
	grain := 1 // panels that are multiplied together
	if d.v.quad[1] != nil && !j.pack.paired && j.T > 1 {
		for grain < 4 && panels >= 2*grain*len(d.workers) {
			grain *= 2
		}
	} else if j.T <= 3 {
		grain = wideCols[j.T] / tileCols
	}
	// A share below a microsecond or two is lost in handing it over.
	d.each(panels, max(grain, panels*worthNs/2/max(cost, 1)/grain*grain), cost, linearPanels)
}

// evenRows is how many rows a share of a product has: about 48, so many that all threads end together.
func evenRows(rows, threads int) int {
	shares := (rows + 47) / 48
	if shares >= 8*threads {
		return 48
	}
	shares = (shares + threads - 1) / threads * threads
	return (rows + shares - 1) / shares
}

func linearRows(d *cpu, w *worker, from, to int) {
	j := &d.lin
	w.until = j.N
	block := max(rowFloats/max(j.M, 1)/48*48, 48)
	for r := from; r < to; r += block {
		linearBlock(d, w, r, min(r+block, to), 0, j.N)
	}
}

func linearPanels(d *cpu, w *worker, from, to int) {
	j := &d.lin
	w.until = min(w.follows(to)*tileCols, j.N)
	block := max(blockFloats/max(j.M, 1)/48*48, 48)
	for r := 0; r < j.T; r += block {
		linearBlock(d, w, r, min(r+block, j.T), from*tileCols, min(to*tileCols, j.N))
	}
}

// roundedFloats is how many outputs a thread computes before it rounds them to bf16.
const roundedFloats = 1 << 14

// linearBlock computes rows [r0, r1) and columns [c0, c1), c0 the first of a panel.
func linearBlock(d *cpu, w *worker, r0, r1, c0, c1 int) {
	j := &d.lin
	width := c1 - c0
	if j.y.dtype == BF16 || j.M > longTerms {
		width = max(roundedFloats/(r1-r0)/tileCols, 1) * tileCols
	}
	if j.M > longTerms { // weights of all chains of some panels, then those of the next: few streams of memory
		width = min(width, chainCols)
	}
	for c := c0; c < c1; {
		to := min(c+width, c1)
		if c < j.full {
			to = min(to, j.full)
		}
		linearPart(d, w, r0, r1, c, to)
		c = to
	}
}

// linearPart is linearBlock for columns of one pack, which are rounded together.
func linearPart(d *cpu, w *worker, r0, r1, c0, c1 int) {
	j := &d.lin
	y, ldy, acc := []float32(nil), j.y.ld, j.acc
	if j.y.dtype == BF16 {
		ldy = c1 - c0
		y = w.lane(0, (r1-r0)*ldy)
		if acc {
			for r := r0; r < r1; r++ {
				d.v.widen(y[(r-r0)*ldy:][:ldy], j.y.mem.b16[j.y.off+r*j.y.ld+c0:][:ldy])
			}
		}
	} else {
		y = j.y.at(r0)[c0:]
	}
	if j.b.mem != nil || j.M == 0 && !acc {
		for r := range r1 - r0 {
			if row := y[r*ldy:][:c1-c0]; j.b.mem != nil {
				copy(row, w.load(d.v, 1, j.b, j.b.off+c0, c1-c0))
			} else {
				clear(row)
			}
		}
		acc = true
	}
	j.chain(d.v, w, y, ldy, r0, r1, c0, c1, 0, j.firstTerms(), acc)
	if from := j.firstTerms(); from < j.M {
		part, ld := w.lane(2, (r1-r0)*(c1-c0)), c1-c0
		for ; from < j.M; from += chainTerms {
			j.chain(d.v, w, part, ld, r0, r1, c0, c1, from, min(from+chainTerms, j.M), false)
			for r := range r1 - r0 {
				d.v.add(y[r*ldy:][:ld], part[r*ld:][:ld])
			}
		}
	}
	if j.y.dtype == BF16 {
		for r := r0; r < r1; r++ {
			d.v.narrow(j.y.mem.b16[j.y.off+r*j.y.ld+c0:][:ldy], y[(r-r0)*ldy:])
		}
	}
}

// firstTerms is how many terms the first chain of a sum has: all, unless they are so many that rounding would tell.
func (j *linearJob) firstTerms() int {
	if j.M <= longTerms {
		return j.M
	}
	return chainTerms
}

// chain is terms [from, to) of the sums of a block, to or onto y.
func (j *linearJob) chain(v *simd, w *worker, y []float32, ldy, r0, r1, c0, c1, from, to int, acc bool) {
	block := to - from
	if r1-r0 >= 2*tileRows && block > innerBlock+innerBlock/2 {
		block = innerBlock
	}
	of, first := j.pack, c0
	if c0 >= j.full {
		of, first = j.tail, c0-j.full
	}
	for k := from; k < to; k += block {
		inB, inA, terms := k, k, min(block, to-k)
		if of.paired {
			inB /= 2
			if v.dots {
				inA, terms = inB, (terms+1)/2
			}
		}
		p := product{
			c: &y[0], ldc: ldy,
			a: &j.a[r0*j.lda+inA], ars: j.lda, aks: 1,
			b: &of.data[first*of.inner+inB*tileCols], bps: tileCols * of.inner, bks: tileCols,
			rows: r1 - r0, cols: c1 - c0, k: terms, acc: acc, padded: true, paired: of.paired,
		}
		if j.far {
			p.soon = p.cols / tileCols
			if block == j.M {
				p.soon = (w.until - c0 + tileCols - 1) / tileCols
			}
		}
		w.product(v, &p)
		acc = true
	}
}

func (d *cpu) LinearBackward(dx, dw, db, dy, x, w Tensor) {
	const op = "LinearBackward"
	d.begin(op)
	T, N, M := checkLinearBackward(dx, dw, db, dy, x, w)
	d.reads(op, dy)
	d.reads(op, x)
	d.reads(op, w)
	dx, addX := dx.sum()
	dw, addW := dw.sum()
	if T == 0 || N == 0 {
		if !addX {
			d.Zero(dx)
		}
		if !addW {
			d.Zero(dw)
		}
		return
	}
	if dx.mem != nil && M > 0 {
		p, _, _ := d.packOf(w, false)
		d.writes(op, dx)
		a, lda := d.operand(0, dy, p)
		d.lin = linearJob{y: dx, a: a, lda: lda, pack: p, full: M, T: T, N: M, M: N, acc: addX}
		d.multiply()
	}
	if dw.mem != nil || db.mem != nil {
		dy = d.wide(0, dy)
	}
	if dw.mem != nil && M > 0 {
		d.writes(op, dw)
		sum, x := d.wide(2, dw), d.wide(1, x)
		d.lin = linearJob{dw: sum, dy: dy, x: x, T: T, N: N, M: M, acc: addW}
		d.weightGradient()
		d.settle(dw, sum)
	}
	if db.mem != nil {
		d.writes(op, db)
		sum := d.wide(2, db)
		d.lin = linearJob{db: sum, dy: dy, T: T, N: N}
		d.each(N, 64, T*N/8, biasColumns)
		d.settle(db, sum)
	}
}

func biasColumns(d *cpu, _ *worker, from, to int) {
	j := &d.lin
	for t := range j.T {
		d.v.add(j.db.at(from)[:to-from], j.dy.at(t)[from:to])
	}
}
