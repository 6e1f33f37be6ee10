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

// RMSNormBackward takes dw as sums over slabs of rows, then the slabs ascending.
func (g *GPU) RMSNormBackward(dx, dw, dy, x, w, rstd Tensor) {
	g.begin("RMSNormBackward")
	defer g.end()
	T, H, C := checkNormBackward(dx, dw, dy, x, w, rstd)
	r := g.in(rstd)
	r.ld = int32(H)
	rows := T * H
	if dx.mem != nil {
		name, grid, threads := rowGrid("rmsnorm_bwd", rows, C)
		g.launch(name, grid, threads, 0, g.out(dx), g.in(dy), g.in(x), g.in(w), r, int32(rows), int32(H), int32(C))
	}
	if dw.mem != nil && rows > 0 {
		n := slabs(rows)
		part := g.temp(4 * n * C)
		g.launch("rmsnorm_bwd_weight", [3]int{ceil(C, 32), n, 1}, 256, 0, part, g.in(dy), g.in(x), r, int32(rows), int32(H), int32(C))
		g.launch("column_finish", [3]int{ceil(C, 256), 1, 1}, 256, 0, g.out(dw), part, int32(n), int32(C))
	}
}
