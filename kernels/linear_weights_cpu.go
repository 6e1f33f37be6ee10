package kernels

const (
	weightRows = 96  // tokens between two visits to memory: four panels of x and a strip of dy stay in the first-level cache;
	panelRows  = 192 // where one panel is multiplied at a time, it and the strip
	stripCols  = 24  // columns of a strip: whole blocks of every product kernel's rows
	quadCols   = 4 * tileCols
	weightPart = 1 << 15 // numbers of dw that are worth a block of their own
)

// weightBlocks is how dw (N,M) is divided: into blocks of so many panels of columns by so many strips of rows.
type weightBlocks struct{ panels, strips, across, down int }

func (b *weightBlocks) count() int {
	return (b.panels + b.across - 1) / b.across * ((b.strips + b.down - 1) / b.down)
}

// block is the rows and columns of block i.
func (b *weightBlocks) block(i, N, M int) (r0, r1, c0, c1 int) {
	down := (b.strips + b.down - 1) / b.down
	r0, c0 = i%down*b.down*stripCols, i/down*b.across*tileCols
	return r0, min(r0+b.down*stripCols, N), c0, min(c0+b.across*tileCols, M)
}

// weightGradient adds dyᵀ·x to dw (N,M). Each block's chains run over all tokens, ascending.
//
// A block copies its columns of x and of dy in the order in which they are multiplied, and no block reads another's copy: it would lie in
// another core's cache. So a thread has one block, or where they are large two, so that one that loses its core delays the others less.
func (d *cpu) weightGradient() {
	j, b, threads := &d.lin, &d.blocks, len(d.workers)
	*b = weightBlocks{panels: (j.M + tileCols - 1) / tileCols, strips: (j.N + stripCols - 1) / stripCols}
	b.across, b.down = b.panels, b.strips
	want := threads
	if j.N*j.M >= 2*threads*weightPart {
		want *= 2
	}
	for threads > 1 && b.count() < want && (b.across > 1 || b.down > 1) {
		switch {
		case b.down == 1 || b.across > 1 && b.across*tileCols > b.down*stripCols:
			if b.across = (b.across + 1) / 2; b.across > 4 {
				b.across = (b.across + 3) &^ 3
			}
		default:
			b.down = (b.down + 1) / 2
		}
	}
	d.each(b.count(), 1, j.T*j.N*j.M/24, weightBlock)
}

func weightBlock(d *cpu, w *worker, from, to int) {
	j, b := &d.lin, &d.blocks
	most := weightRows
	if d.v.quad[1] == nil {
		most = panelRows
	}
	for i := from; i < to; i++ {
		r0, r1, c0, c1 := b.block(i, j.N, j.M)
		buf := w.scratch(most * (b.across*tileCols + stripCols))
		strip, panels := buf[:most*stripCols], buf[most*stripCols:]
		for t := 0; t < j.T; t += most {
			n := min(most, j.T-t)
			for c := c0; c < c1; c += tileCols {
				packPanel(d.v, panels[(c-c0)*n:], j.x.at(t)[c:], min(tileCols, c1-c), n, j.x.ld)
			}
			// Columns of dy where they stand share few sets of the cache and need a page each; a strip of them, copied, does not.
			// While one strip is multiplied, the next is asked for, and with it a share of the next tokens' x.
			strips := (r1 - r0 + stripCols - 1) / stripCols
			ahead := (min(most, j.T-t-n) + strips - 1) / strips
			for r := r0; r < r1; r += stripCols {
				rows := min(stripCols, r1-r)
				packStrip(d.v, strip, j.dy.at(t)[r:], rows, n, j.dy.ld)
				if from := t + n + (r-r0)/stripCols*ahead; from < j.T {
					d.v.fetch(&j.x.at(from)[c0], 4*(c1-c0), 4*j.x.ld, min(ahead, j.T-from))
				}
				nextRow, nextCol, next := t, r+rows, n
				if nextCol == r1 {
					nextRow, nextCol, next = t+n, r0, min(most, j.T-t-n)
				}
				share := (next*quadCols + c1 - c0 - 1) / (c1 - c0) // of its rows, for each of the products
				for c := c0; c < c1; c += quadCols {
					if done := (c - c0) / quadCols * share; done < next {
						d.v.fetch(&j.dy.at(nextRow + done)[nextCol], 4*min(stripCols, r1-nextCol), 4*j.dy.ld, min(share, next-done))
					}
					w.product(d.v, &product{
						c: &j.dw.at(r)[c], ldc: j.dw.ld, a: &strip[0], ars: 1, aks: stripCols,
						b: &panels[(c-c0)*n], bps: tileCols * n, bks: tileCols,
						rows: rows, cols: min(quadCols, c1-c), k: n, acc: j.acc || t > 0, padded: true,
					})
				}
			}
		}
	}
}
