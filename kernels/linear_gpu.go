package kernels

// product launches c (m,n) (+)= a·b over k. kernel is nt, nn or tn.
func (g *GPU) product(kernel string, c, a, b, bias arg, m, n, k int, add int32, wgmma bool) {
	g.multiply(kernel, a, b, m, n, k, wgmma, func(a, b any) []any {
		return []any{c, a, b, bias, int32(m), int32(n), int32(k), add}
	})
}

// multiply launches a product's kernel: nt, nn, tn, or draw, which is nt with another end. args are its parameters, given those of both
// factors. Which class multiplies depends on the sizes alone: what the copy engine cannot take was staged.
func (g *GPU) multiply(kernel string, a, b arg, m, n, k int, wgmma bool, args func(a, b any) []any) {
	wgmma = wgmma && m > 0 && n > 0 && k > 0
	t := g.pick(m, n, k, tilesOf(kernel, wgmma))
	if !wgmma {
		g.launch("linear_"+kernel+t.name, [3]int{t.tiles(m, n), 1, 1}, t.threads, t.shared, args(a, b)...)
		return
	}
	boxA, boxB := t.rows, t.cols
	if t.pair.down() { // each block brings half of what is common
		boxB /= 2
	}
	if t.pair.across() {
		boxA /= 2
	}
	mapA, mapB := [128]byte{}, [128]byte{}
	if kernel == "tn" { // 64 of k down the rows, in panels of 64 columns
		mapA = g.tensorMap(a, k, m, 64)
	} else {
		mapA = g.tensorMap(a, m, k, boxA)
	}
	if kernel == "nn" || kernel == "tn" {
		mapB = g.tensorMap(b, k, n, 64)
	} else {
		mapB = g.tensorMap(b, n, k, boxB)
	}
	list := args(mapA, mapB)
	if t.pair.blocks() == 2 {
		list = append(list, int32(t.pair-stacked))
	}
	g.launch("linear_"+kernel+t.name, [3]int{min(t.tiles(m, n), t.pair.resident(g.info.Multiprocessors)), 1, 1}, t.threads, t.shared, list...)
}

// product32 is product in fp32: strides say which.
func (g *GPU) product32(kernel string, c, a, b, bias arg, m, n, k int, add int32) {
	am, ak, bn, bk := int64(a.ld), int64(1), int64(b.ld), int64(1)
	if kernel == "tn" {
		am, ak = ak, am
	}
	if kernel != "nt" {
		bn, bk = bk, bn
	}
	g.launch("linear_f32", [3]int{ceil(n, 64), ceil(m, 64), 1}, 256, 0, c, a.p, am, ak, b.p, bn, bk, bias, int32(m), int32(n), int32(k), add)
}

// Arrange does nothing: products read rows.
func (g *GPU) Arrange(Tensor) {}

// Linear is y = x·wᵀ + b. Factors are taken as bf16 unless both are F32.
func (g *GPU) Linear(y, x, w, b Tensor) {
	g.begin("Linear")
	defer g.end()
	T, N, M := checkLinear(y, x, w, b)
	c, bias := g.out(y), g.in(b)
	if x.dtype == F32 && w.dtype == F32 {
		g.product32("nt", c, g.in(x), g.in(w), bias, T, N, M, 0)
		return
	}
	wgmma := g.hopper && M%8 == 0
	st := staging{g: g}
	sx, sw := st.use(x, wgmma), st.use(w, wgmma)
	st.begin()
	g.product("nt", c, sx.a, sw.a, bias, T, N, M, 0, wgmma)
}

// LinearBackward is two more products and a sum over rows.
func (g *GPU) LinearBackward(dx, dw, db, dy, x, w Tensor) {
	g.begin("LinearBackward")
	defer g.end()
	T, N, M := checkLinearBackward(dx, dw, db, dy, x, w)
	dxExact, dwExact := dy.dtype == F32 && w.dtype == F32, dy.dtype == F32 && x.dtype == F32
	dxMixed, dwMixed := dx.mem != nil && !dxExact, dw.mem != nil && !dwExact
	// Whole pieces of 16 bytes are copied in the background. Gradients of logits are F32: they are rounded once, not by every tile that reads
	// them.
	pieces := N%8 == 0 && M%8 == 0
	st := staging{g: g}
	sdy, sw, sx := st.use(dy, pieces && (dxMixed || dwMixed)), st.use(w, pieces && dxMixed), st.use(x, pieces && dwMixed)
	st.begin()
	none, wgmma := g.in(Tensor{}), g.hopper && pieces
	if dx.mem != nil {
		switch c, add := g.sum(dx); {
		case dxMixed:
			g.product("nn", c, sdy.a, sw.a, none, T, M, N, add, wgmma)
		default:
			g.product32("nn", c, g.in(dy), g.in(w), none, T, M, N, add)
		}
	}
	if dw.mem != nil {
		switch c, add := g.sum(dw); {
		case dwMixed:
			g.product("tn", c, sdy.a, sx.a, none, N, M, T, add, wgmma)
		default:
			g.product32("tn", c, g.in(dy), g.in(x), none, N, M, T, add)
		}
	}
	if db.mem != nil && T > 0 {
		n := slabs(T)
		part := g.temp(4 * n * N)
		g.launch("column_sum", [3]int{ceil(N, 32), n, 1}, 256, 0, part, g.in(dy), int32(T), int32(N))
		g.columnFinish(db, part, n, N)
	}
}
