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

// Restrict is a block a row.
func (g *GPU) Restrict(logits, kept, lse Tensor, s Sampling) {
	g.begin("Restrict")
	defer g.end()
	R, V, N := checkRestrict(logits, kept, lse, s)
	g.launch("sample_restrict", [3]int{R, 1, 1}, 512, 0,
		g.out(logits), g.out(kept).p, g.address(lse), int32(V), int32(N), 1/s.Temperature, s.TopP, int32(s.TopK), s.floor())
}
