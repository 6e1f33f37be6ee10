package kernels

// warpRow is the longest row that one warp takes; longer ones get a block. The order of a row's sum depends on its length alone.
const warpRow = 1024

// rowGrid gives the grid and block of a kernel that takes a row a warp, or a row a block.
func rowGrid(kernel string, rows, n int) (string, [3]int, int) {
	if n <= warpRow {
		return kernel + "_warp", [3]int{ceil(rows, 4), 1, 1}, 128
	}
	return kernel + "_block", [3]int{rows, 1, 1}, 256
}

// RMSNorm is one row a warp, or a block.
func (g *GPU) RMSNorm(y, rstd, x, add, w Tensor, eps float32) {
	g.begin("RMSNorm")
	defer g.end()
	T, H, C := checkRMSNorm(y, rstd, x, add, w)
	r := g.out(rstd)
	r.ld = int32(H) // contiguous: head h of token t at t·H + h
	name, grid, threads := rowGrid("rmsnorm_fwd", T*H, C)
	in := g.in(x)
	if add.mem != nil {
		in = g.out(x)
	}
	g.launch(name, grid, threads, 0, g.out(y), r, in, g.in(add), g.in(w), int32(T*H), int32(H), int32(C), eps)
}

// slabs is into how many parts a sum over rows is cut: it depends on the number of rows alone.
func slabs(rows int) int { return min(ceil(rows, 256), 32) }

// normSlabs is into how many parts the rows of a norm are cut backward: of at least 16 rows, and, of many short rows, so many that they
// fill a GPU and their sums stay few beside the rows.
func normSlabs(rows, n int) int { return min(ceil(rows, 16), max(512, (1<<20)/n)) }

// RMSNormBackward takes dw as sums over slabs of rows, in the pass that takes dx, then the slabs.
func (g *GPU) RMSNormBackward(dx, dw, dy, x, w, rstd Tensor) {
	g.begin("RMSNormBackward")
	defer g.end()
	T, H, C := checkNormBackward(dx, dw, dy, x, w, rstd)
	r := g.in(rstd)
	r.ld = int32(H)
	rows := T * H
	if rows == 0 || dx.mem == nil && dw.mem == nil {
		return
	}
	n := normSlabs(rows, C)
	name, grid, threads := rowGrid("rmsnorm_bwd", n, C)
	var part uint64
	if dw.mem != nil {
		part = g.temp(4 * n * C)
	}
	to, add := g.sum(dx)
	g.launch(name, grid, threads, 0, to, part, g.in(dy), g.in(x), g.in(w), r, int32(rows), int32(n), int32(H), int32(C), add)
	if dw.mem != nil {
		g.columnFinish(dw, part, n, C)
	}
}

// columnFinish adds n rows of C sums at part to out (C).
func (g *GPU) columnFinish(out Tensor, part uint64, n, C int) {
	g.launch("column_finish", [3]int{ceil(C, 8), 1, 1}, 256, 0, g.out(out), part, int32(n), int32(C))
}
