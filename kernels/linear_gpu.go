package kernels

// fewRows is up to how many rows Linear takes tiles of 16 of them, for decoding. Bits do not depend on it.
const fewRows = 32

// tiling is a kernel for products a·bᵀ.
type tiling struct {
	kernel          string
	rows, cols      int // of a tile
	threads, shared int
}

// The portable ones and Hopper's, the largest tiles first.
var (
	portableNT = []tiling{{"linear_nt", 128, 128, 128, 4 * (128 + 128) * 32 * 2}, {"linear_nt64", 64, 64, 128, 4 * (64 + 64) * 64 * 2}}
	portable16 = tiling{"linear_nt16", 16, 32, 64, 8 * (16 + 32) * 64 * 2}
	hopperNT   = []tiling{
		{"linear_nt_wgmma", 128, 256, 384, wgmmaTile(128, 256, 4)},
		{"linear_nt64_wgmma", 64, 128, 160, wgmmaTile(64, 128, 8)},
		{"linear_nt32_wgmma", 64, 32, 160, wgmmaTile(64, 32, 12)},
	}
)

// wgmmaTile is the dynamic shared memory of such a kernel: stages of two tiles of 64 columns, and for each warp 16 rows of fp32 sums.
func wgmmaTile(rows, cols, stages int) int {
	return 1024 + stages*(rows+cols)*64*2 + rows*min(cols, 64)*4
}

func (t tiling) tiles(m, n int) int { return ceil(m, t.rows) * ceil(n, t.cols) }

// choose takes the largest tiles that give every multiprocessor one, or else the smallest.
func (g *GPU) choose(m, n int, of []tiling) tiling {
	for _, t := range of {
		if t.tiles(m, n) >= g.info.Multiprocessors {
			return t
		}
	}
	return of[len(of)-1]
}

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
		t := g.choose(m, n, hopperNT)
		grid := min(t.tiles(m, n), g.info.Multiprocessors)
		g.launch(t.kernel, [3]int{grid, 1, 1}, t.threads, t.shared, c, g.tensorMap(sa.a, m, k, t.rows), g.tensorMap(sb.a, n, k, t.cols), bias, int32(m), int32(n), int32(k), add)
		return
	}
	t := portableNT[0]
	switch {
	case kernel != "nt":
		t.kernel = "linear_" + kernel
	case m <= fewRows:
		t = portable16
	default:
		t = g.choose(m, n, portableNT)
	}
	g.launch(t.kernel, [3]int{t.tiles(m, n), 1, 1}, t.threads, t.shared, c, x, y, bias, int32(m), int32(n), int32(k), add)
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
