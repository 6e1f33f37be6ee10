package kernels

// PolicyLoss is one block.
func (g *GPU) PolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip) {
	g.begin("PolicyLoss")
	defer g.end()
	R := checkPolicyLoss(dlogp, stats, logp, t, c)
	g.launch("policy_loss", [3]int{1, 1, 1}, 256, 0, g.out(dlogp).p, g.out(stats).p, g.address(logp), g.address(t.Weight), g.address(t.OldLogProb), g.address(t.Advantage), g.address(t.Ref), int32(R), 1-c.Low, 1+c.High, c.Dual, c.KL)
}

// ValueLoss is one block.
func (g *GPU) ValueLoss(dvalue, stats, value Tensor, t Targets, clip float32) {
	g.begin("ValueLoss")
	defer g.end()
	R := checkValueLoss(dvalue, stats, value, t, clip)
	g.launch("value_loss", [3]int{1, 1, 1}, 256, 0, g.out(dvalue).p, g.out(stats).p, g.address(value), g.address(t.Weight), g.address(t.Return), g.address(t.OldValue), int32(R), clip)
}
