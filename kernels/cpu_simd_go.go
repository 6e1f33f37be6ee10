package kernels

import (
	"math"
	"unsafe"
)

// goSIMD is the set of inner loops in plain Go. A product is rounded before it is added, by a conversion that no compiler may fuse
// away, so that one formula has one result in all its places and on all processors.
var goSIMD = &simd{
	name: "go",
	peak: goPeak,
	rows: 6,
	product: [tileRows + 1]func(*tile){
		nil,
		func(t *tile) { goProduct(t, 1, 1) }, func(t *tile) { goProduct(t, 2, 1) }, func(t *tile) { goProduct(t, 3, 1) },
		func(t *tile) { goProduct(t, 4, 1) }, func(t *tile) { goProduct(t, 5, 1) }, func(t *tile) { goProduct(t, 6, 1) },
	},
	wide: [4]func(*tile){
		nil,
		func(t *tile) { goProduct(t, 1, 4) }, func(t *tile) { goProduct(t, 2, 2) }, func(t *tile) { goProduct(t, 3, 2) },
	},
	paired: [tileRows + 1]func(*tile){
		nil,
		func(t *tile) { goPaired(t, 1, 1) }, func(t *tile) { goPaired(t, 2, 1) }, func(t *tile) { goPaired(t, 3, 1) },
		func(t *tile) { goPaired(t, 4, 1) }, func(t *tile) { goPaired(t, 5, 1) }, func(t *tile) { goPaired(t, 6, 1) },
	},
	pairedW: [4]func(*tile){
		nil,
		func(t *tile) { goPaired(t, 1, 4) }, func(t *tile) { goPaired(t, 2, 2) }, func(t *tile) { goPaired(t, 3, 2) },
	},
	widen:      goWiden,
	narrow:     goNarrow,
	pairs:      goPairs,
	masked:     goMasked,
	attend:     goAttend,
	attendBack: goAttendBack,
	max:        goMax,
	sumExp:     goSumExp,
	sumPL:      goSumPL,
	expTo:      goExpTo,
	logGrad:    goLogGrad,
	swiglu:     goSwiGLU,
	swigluBack: goSwiGLUBack,
	add:        goAdd,
	scale:      goScale,
	dot:        goDot,
	dot3:       goDot3,
	norm:       goNorm,
	normBack:   goNormBack,
	normBackW:  goNormBackW,
	rope:       goRope,
	adam:       goAdam,
	sumSquares: goSumSquares,
	transpose:  goTranspose,
	panel:      goPanel,
	strip:      goStrip,
	fetch:      func(*float32, int, int, int) {},
	race:       goRace,
	noise:      goNoise,
}

// The constants of exp: x = n·ln 2 + r with ln 2 in two parts, then a polynomial in r (Cephes' expf).
const (
	expLow  = -87.33654 // exp is 0 below: there are no results below the normal numbers
	expHigh = 88.37626  // and stays there above
	log2e   = 1.44269504088896341
	ln2High = 0.693359375
	ln2Low  = -2.12194440e-4
	magic   = 12582912 // 1.5·2²³: adding it rounds to a whole number, which stands in the low bits
	expC0   = 1.9875691500e-4
	expC1   = 1.3981999507e-3
	expC2   = 8.3334519073e-3
	expC3   = 4.1665795894e-2
	expC4   = 1.6666665459e-1
	expC5   = 5.0000001201e-1
)

// exp32 is eˣ, off by about one unit in the last place; 0 below −87.3.
func exp32(x float32) float32 {
	if x < expLow {
		return 0
	}
	if x > expHigh {
		x = expHigh
	}
	t := float32(x*log2e) + magic
	n := t - magic
	r := x - float32(n*ln2High)
	r -= float32(n * ln2Low)
	p := float32(expC0)
	p = float32(p*r) + expC1
	p = float32(p*r) + expC2
	p = float32(p*r) + expC3
	p = float32(p*r) + expC4
	p = float32(p*r) + expC5
	p = float32(p*float32(r*r)) + r + 1
	if x != x {
		return x
	}
	return p * math.Float32frombits((math.Float32bits(t)+127)<<23)
}

// ln32 is the natural logarithm of a positive normal x, off by half a unit in the last place and a little: with x = 2ⁿ·m and
// s = (m−1)/(m+1), it is n·ln 2 + 2·artanh s. Infinity and NaN stay what they are.
func ln32(x float32) float32 {
	if !(x <= math.MaxFloat32) {
		return x
	}
	bits := math.Float32bits(x)
	n := int32(bits-0x3f3504f3) >> 23 // m between √½ and √2
	m := float64(math.Float32frombits(bits - uint32(n)<<23))
	s := (m - 1) / (m + 1)
	z := s * s
	series := float64(z*(1./13)) + 1./11
	series = float64(z*series) + 1./9
	series = float64(z*series) + 1./7
	series = float64(z*series) + 1./5
	series = float64(z*series) + 1./3
	series = float64(z*series) + 1
	return float32(float64(float64(n)*math.Ln2) + float64(2*s*series))
}

// lanes adds 32 lanes as the vector kernels do.
func lanes(a *[32]float32) float32 {
	for j := range 8 {
		a[j] = (a[j] + a[8+j]) + (a[16+j] + a[24+j])
	}
	for j := range 4 {
		a[j] += a[4+j]
	}
	return (a[0] + a[2]) + (a[1] + a[3])
}

// lane is where element i of n goes.
func lane(i, n int) int {
	if i < n&^31 {
		return i & 31
	}
	return i & 7
}

// The pointers of these two never leave what they point into: a pointer after the last number is one that the collector may not see.

func goProduct(t *tile, rows, panels int) {
	for block := range t.tiles {
		for r := range rows {
			r += block * rows
			for p := range panels {
				out := (*[16]float32)(unsafe.Add(t.c, r*t.ldc+64*p))
				var acc [16]float32
				if t.acc != 0 {
					acc = *out
				}
				for k := range t.k {
					f, row := *(*float32)(unsafe.Add(t.a, r*t.ars+k*t.aks)), (*[16]float32)(unsafe.Add(t.b, p*t.bps+k*t.bks))
					for j := range acc {
						acc[j] += float32(f * row[j])
					}
				}
				*out = acc
			}
		}
	}
}

func goTranspose(dst, src *float32, ld, blocks int) {
	to := unsafe.Slice(dst, (8*blocks-1)*tileCols+8)
	for j := range 8 {
		for k, x := range unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(src), j*ld)), 8*blocks) {
			to[k*tileCols+j] = x
		}
	}
}

func goPanel(dst, src *float32, ld, rows int) {
	to := unsafe.Slice((*[tileCols]float32)(unsafe.Pointer(dst)), rows)
	for k := range to {
		to[k] = *(*[tileCols]float32)(unsafe.Add(unsafe.Pointer(src), k*ld))
	}
}

func goStrip(dst, src *float32, ld, rows int) {
	to := unsafe.Slice((*[stripCols]float32)(unsafe.Pointer(dst)), rows)
	for k := range to {
		to[k] = *(*[stripCols]float32)(unsafe.Add(unsafe.Pointer(src), k*ld))
	}
}

func goRace(u, w []float32, best float32) int {
	for j := range u {
		if 1-u[j] < float32(best*w[j]) {
			return j
		}
	}
	return len(u)
}

func goMasked(t *tile) {
	for r := range t.tiles {
		out := unsafe.Slice((*float32)(unsafe.Add(t.c, r*t.ldc)), t.cols)
		if t.acc == 0 {
			clear(out)
		}
		for k := range t.k {
			f, row := *(*float32)(unsafe.Add(t.a, r*t.ars+k*t.aks)), unsafe.Slice((*float32)(unsafe.Add(t.b, k*t.bks)), t.cols)
			for j := range out {
				out[j] += float32(f * row[j])
			}
		}
	}
}

func goAttend(s *float32, n int, scale, m float32) (float32, float32) {
	p := (*[PageTokens]float32)(unsafe.Pointer(s))
	for i := range n {
		p[i] *= scale
		if p[i] > m {
			m = p[i]
		}
	}
	var a [32]float32 // a panel's 16 lanes are used
	for i := range n {
		p[i] = exp32(p[i] - m)
		a[i&15] += p[i]
	}
	clear(p[n:])
	return m, lanes(&a)
}

func goAttendBack(s, dp *float32, n int, scale, lse, delta float32) {
	p, ds := (*[PageTokens]float32)(unsafe.Pointer(s)), (*[PageTokens]float32)(unsafe.Pointer(dp))
	for i := range n {
		p[i] = exp32(float32(p[i]*scale) - lse)
		ds[i] = p[i] * (ds[i] - delta) * scale
	}
	clear(p[n:])
	clear(ds[n:])
}

func goMax(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func goSumExp(x []float32, scale, sub float32) float32 {
	var a [32]float32
	for i, v := range x {
		a[lane(i, len(x))] += exp32(float32(v*scale) - sub)
	}
	return lanes(&a)
}

func goSumPL(x []float32, scale, lse float32) float32 {
	var a [32]float32
	for i, v := range x {
		l := float32(v*scale) - lse
		if p := exp32(l); p > 0 { // 0·−Inf counts as 0
			a[lane(i, len(x))] += float32(p * l)
		}
	}
	return lanes(&a)
}

func goExpTo(dst, x []float32, scale, sub float32) {
	for i := range dst {
		dst[i] = exp32(float32(x[i]*scale) - sub)
	}
}

func goLogGrad(x []float32, scale, lse, dlogp, dent, h float32) {
	for i, v := range x {
		lp := float32(v*scale) - lse
		p := exp32(lp)
		if p == 0 {
			x[i] = 0
			continue
		}
		x[i] = -scale * p * (dlogp + float32(dent*(lp+h)))
	}
}

func goSwiGLU(y, gate, up []float32) {
	for i := range y {
		g := gate[i]
		y[i] = g / (1 + exp32(-g)) * up[i]
	}
}

func goSwiGLUBack(dgate, dup, dy, gate, up []float32, fresh bool) {
	if fresh {
		clear(dgate)
		clear(dup)
	}
	for i, d := range dy {
		g := gate[i]
		s := 1 / (1 + exp32(-g))
		gs := float32(g * s)
		if dgate != nil {
			dgate[i] += float32(float32(d*up[i]) * (s + float32(gs*(1-s))))
		}
		if dup != nil {
			dup[i] += float32(d * gs)
		}
	}
}

func goAdd(y, x []float32) {
	for i := range y {
		y[i] += x[i]
	}
}

func goScale(y []float32, a float32) {
	for i := range y {
		y[i] *= a
	}
}

func goDot(x, y []float32) float32 {
	var a [32]float32
	for i := range x {
		a[lane(i, len(x))] += float32(x[i] * y[i])
	}
	return lanes(&a)
}

func goDot3(x, y, z []float32) float32 {
	var a [32]float32
	for i := range x {
		a[lane(i, len(x))] += float32(float32(x[i]*y[i]) * z[i])
	}
	return lanes(&a)
}

func goNorm(y, x, w []float32, r float32) {
	for i := range y {
		y[i] = x[i] * r * w[i]
	}
}

func goNormBack(dx, dy, x, w []float32, r, k float32) {
	for i := range dx {
		dx[i] += float32(float32(dy[i]*w[i])*r) - float32(x[i]*k)
	}
}

func goNormBackW(dw, dy, x []float32, r float32) {
	for i := range dw {
		dw[i] += float32(dy[i] * float32(x[i]*r))
	}
}

func goRope(lo, hi, cos, sin []float32, sign float32) {
	for i := range lo {
		a, b, c, s := lo[i], hi[i], cos[i], sin[i]*sign
		lo[i] = float32(a*c) - float32(b*s)
		hi[i] = float32(b*c) + float32(a*s)
	}
}

func goAdam(w, g, m, v []float32, c *adamConst) {
	for i := range w {
		d := g[i] * c.scale
		m[i] = float32(m[i]*c.b1) + float32(d*c.b1c)
		v[i] = float32(v[i]*c.b2) + float32(float32(d*d)*c.b2c)
		root := float32(math.Sqrt(float64(float32(v[i] * c.root))))
		w[i] = float32(w[i]*c.decay) - float32(m[i]*c.rate)/(root+c.eps)
	}
}

func goSumSquares(x []float32) float64 {
	var a [8]float64
	for i, v := range x {
		f := float64(v)
		a[i&7] += f * f // exact before it is added: 48 bits
	}
	for j := range 4 {
		a[j] += a[4+j]
	}
	return (a[0] + a[2]) + (a[1] + a[3])
}

// philox is Philox4x32-10 (Salmon 2011): four random words of a counter and a key.
func philox(c0, c1, c2, c3, k0, k1 uint32) (uint32, uint32, uint32, uint32) {
	for range 10 {
		p, q := uint64(0xD2511F53)*uint64(c0), uint64(0xCD9E8D57)*uint64(c2)
		c0, c1, c2, c3 = uint32(q>>32)^c1^k0, uint32(q), uint32(p>>32)^c3^k1, uint32(p)
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return c0, c1, c2, c3
}

// uniform is i·2⁻²⁴ with i the upper 24 bits of a random word, at least 1: neither 0 nor 1.
func uniform(word uint32) float32 { return float32(max(word>>8, 1)) * 0x1p-24 }

func goNoise(u []float32, first uint32, c *philoxKey) {
	for j := 0; j < len(u); j += 4 {
		a, b, d, e := philox((first+uint32(j))/4, c.c1, c.c2, c.c3, c.k0, c.k1)
		u[j], u[j+1], u[j+2], u[j+3] = uniform(a), uniform(b), uniform(d), uniform(e)
	}
}
