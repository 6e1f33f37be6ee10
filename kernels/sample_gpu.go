package kernels

// samplePart is the fewest ids that a block searches.
const samplePart = 4096

// Sample is the best of every part of a row, then of the row. A temperature of 0 travels as a scale of 0.
func (g *GPU) Sample(ids, logits, lse, keys Tensor, s Sampling) {
	g.begin("Sample")
	defer g.end()
	R, _, N := checkSample(ids, logits, lse, keys, s)
	if R == 0 {
		return
	}
	var scale float32
	topP := float32(1)
	if s.Temperature > 0 {
		scale, topP = 1/s.Temperature, s.TopP
	}
	splits := max(1, min(ceil(N, samplePart), ceil(4*g.info.Multiprocessors, R)))
	parts, low, high := g.temp(8*R*splits), uint32(s.Seed), uint32(s.Seed>>32)
	g.launch("sample_part", [3]int{splits, R, 1}, 256, 0, parts, g.in(logits), g.address(keys), int32(N), low, high, scale)
	g.launch("sample_pick", [3]int{R, 1, 1}, 512, 0,
		g.out(ids).p, parts, int32(splits), g.in(logits), g.address(lse), g.address(keys), int32(N), low, high, scale,
		topP, int32(s.TopK), s.floor())
}

// drawUnit is how many ids of a row have statistics of their own: draw.cuh.
const drawUnit = 32

// drawing is struct Drawing of draw.cuh.
type drawing struct {
	units, keys   uint64
	low, high     uint32 // the seed
	scale, scaled float32
	open          int32
}

// Draw keeps no logits where all ids may be drawn: the product keeps of each 32 what the others need, a sixteenth of a row's bytes if
// it is float32. A truncated draw reads the row itself.
func (g *GPU) Draw(ids, logp, y, lse, x, w, keys Tensor, s Sampling) {
	R, V, M, N := checkDraw(ids, logp, y, lse, x, w, keys, s)
	if s.Truncated() || x.dtype == F32 && w.dtype == F32 {
		drawByParts(g, ids, logp, y, lse, x, w, keys, s)
		return
	}
	g.begin("Draw")
	defer g.end()
	if R == 0 {
		return
	}
	wgmma := g.hopper && M%8 == 0
	st := staging{g: g}
	width := ceil(V, drawUnit)
	units := st.bytes(16 * R * width)
	sx, sw := st.use(x, wgmma), st.use(w, wgmma)
	st.begin()
	d := drawing{units: st.at + uint64(units), low: uint32(s.Seed), high: uint32(s.Seed >> 32), scale: 1 / s.Scored(), open: int32(N)}
	if s.Temperature > 0 {
		d.keys, d.scaled = g.address(keys), d.scale
	}
	g.multiply("draw", sx.a, sw.a, R, V, M, wgmma, func(a, b any) []any {
		return []any{d, a, b, int32(R), int32(V), int32(M)}
	})
	g.launch("draw_pick", [3]int{R, 1, 1}, 256, 0,
		g.out(ids).p, g.out(logp).p, d.units, int32(width), d.keys, int32(N), d.low, d.high, d.scale, d.scaled)
}

// Restrict is a block a row.
func (g *GPU) Restrict(logits, kept, lse Tensor, s Sampling) {
	g.begin("Restrict")
	defer g.end()
	R, V, N := checkRestrict(logits, kept, lse, s)
	g.launch("sample_restrict", [3]int{R, 1, 1}, 512, 0,
		g.out(logits), g.out(kept).p, g.address(lse), int32(V), int32(N), 1/s.Temperature, s.TopP, int32(s.TopK), s.floor())
}
