package kernels

import "math/bits"

// treeBlock is how many columns are added at a time: the sums that wait for another stay in the cache next to the core.
const treeBlock = 1024

type treeJob struct{ y, x Tensor }

func (d *cpu) SumTree(y, x Tensor) {
	const op = "SumTree"
	d.begin(op)
	rows, n := checkSumTree(y, x)
	d.reads(op, x)
	d.writes(op, y)
	d.tree = treeJob{y: y, x: x}
	d.each((n+treeBlock-1)/treeBlock, 4, rows*n/8, func(d *cpu, w *worker, from, to int) {
		for b := from; b < to; b++ {
			d.treeColumns(w, b*treeBlock)
		}
	})
}

// treeColumns adds the columns of a block. waiting holds the sums that have no partner yet, one for each bit of the number of rows
// that are in.
func (d *cpu) treeColumns(w *worker, from int) {
	x, y := d.tree.x, d.tree.y
	rows, n := x.dims[0], min(treeBlock, x.dims[1]-from)
	all := w.scratch((bits.Len(uint(rows)) + 1) * treeBlock)
	waiting := func(i int) []float32 { return all[i*treeBlock : i*treeBlock+n] }
	top := 0
	merge := func() {
		top--
		d.v.add(waiting(top-1), waiting(top))
	}
	for r := range rows {
		copy(waiting(top), x.at(r)[from:from+n])
		top++
		for i := r; i&1 == 1; i >>= 1 {
			merge()
		}
	}
	for top > 1 {
		merge()
	}
	copy(y.vec()[from:from+n], waiting(0))
}
