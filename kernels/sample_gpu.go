package kernels

// Sample is a block a row. A temperature of 0 travels as a scale of 0.
func (g *GPU) Sample(ids, logits, lse, keys Tensor, s Sampling) {
	g.begin("Sample")
	defer g.end()
	R, _, N := checkSample(ids, logits, lse, keys, s)
	var scale float32
	topP := float32(1)
	if s.Temperature > 0 {
		scale, topP = 1/s.Temperature, s.TopP
	}
	g.launch("sample", [3]int{R, 1, 1}, 256, 0, g.out(ids).p, g.in(logits), g.address(lse), g.address(keys), int32(N), uint32(s.Seed), uint32(s.Seed>>32), scale, topP, int32(s.TopK))
}
