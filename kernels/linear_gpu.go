package kernels

// fewRows is up to how many rows Linear takes tiles of 16 of them, for decoding. Bits do not depend on it.
const fewRows = 32

const linearShared = 4 * 2 * 128 * 32 * 2 // bytes: 4 stages of two tiles of 128 by 32 bf16

// product launches c (m,n) (+)= a·b over k. kernel is nt, nn or tn; with two F32 factors it is the fp32 kernel with the strides that say so.
func (g *GPU) product(kernel string, c arg, a, b Tensor, bias arg, m, n, k int, add int32) {
	x, y := g.in(a), g.in(b)
	if a.dtype == F32 && b.dtype == F32 {
		am, ak, bn, bk := int64(x.ld), int64(1), int64(y.ld), int64(1)
		if kernel == "tn" {
			am, ak = ak, am
		}
		if kernel != "nt" {
			bn, bk = bk, bn
		}
		g.launch("linear_f32", [3]int{ceil(n, 64), ceil(m, 64), 1}, 256, 0, c, x.p, am, ak, y.p, bn, bk, bias, int32(m), int32(n), int32(k), add)
		return
	}
	if g.hopper && kernel == "nt" && m > 0 && n > 0 && k > 0 && k%8 == 0 {
		// What the copy engine cannot take is copied first: which class multiplies depends on k alone, not on where a view begins.
		st := staging{g: g}
		sa, sb := st.take(a, true), st.take(b, true)
		st.begin()
		g.launch("linear_nt_wgmma", [3]int{ceil(m, 128) * ceil(n, 128), 1, 1}, 288, 4*2*128*64*2+1024, c, g.tensorMap(sa.a, m, k, 128), g.tensorMap(sb.a, n, k, 128), bias, int32(m), int32(n), int32(k), add)
		return
	}
	rows, shared := 128, linearShared
	if kernel == "nt" && m <= fewRows {
		kernel, rows, shared = "nt16", 16, 4*(16+128)*32*2
	}
	g.launch("linear_"+kernel, [3]int{ceil(m, rows) * ceil(n, 128), 1, 1}, 128, shared, c, x, y, bias, int32(m), int32(n), int32(k), add)
}

// Linear is y = x·wᵀ + b. Factors are taken as bf16 unless both are F32.
func (g *GPU) Linear(y, x, w, b Tensor) {
	g.begin("Linear")
	defer g.end()
	T, N, M := checkLinear(y, x, w, b)
	g.product("nt", g.out(y), x, w, g.in(b), T, N, M, 0)
}

// LinearBackward is two more products and a sum over rows.
func (g *GPU) LinearBackward(dx, dw, db, dy, x, w Tensor) {
	g.begin("LinearBackward")
	defer g.end()
	T, N, M := checkLinearBackward(dx, dw, db, dy, x, w)
	none := g.in(Tensor{})
	if dx.mem != nil {
		g.product("nn", g.out(dx), dy, w, none, T, M, N, 1)
	}
	if dw.mem != nil {
		g.product("tn", g.out(dw), dy, x, none, N, M, T, 1)
	}
	if db.mem != nil && T > 0 {
		n := slabs(T)
		part := g.temp(4 * n * N)
		g.launch("column_sum", [3]int{ceil(N, 32), n, 1}, 256, 0, part, g.in(dy), int32(T), int32(N))
		g.launch("column_finish", [3]int{ceil(N, 256), 1, 1}, 256, 0, g.out(db), part, int32(n), int32(N))
	}
}
