package kernels

// lossBlocks depends on the number of rows alone: it fixes the order of the sums.
func lossBlocks(rows int) int { return min(ceil(rows, 256), 256) }

// PolicyLoss adds up in two launches.
func (g *GPU) PolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip) {
	g.begin("PolicyLoss")
	defer g.end()
	R := checkPolicyLoss(dlogp, stats, logp, t, c)
	if R == 0 {
		return
	}
	blocks := lossBlocks(R)
	sums := g.temp(8 * Stats * blocks)
	constant := int32(0)
	if c.Constant {
		constant = 1
	}
	g.launch("policy_loss", [3]int{blocks, 1, 1}, 256, 0,
		g.out(dlogp).p, sums, g.address(logp), g.address(t.Weight), g.address(t.OldLogProb), g.address(t.Advantage), g.address(t.Ref),
		g.address(t.LogRatio), g.address(t.Stay), g.address(t.Imitate), int32(R), 1-c.Low, 1+c.High, c.Dual, c.KL, constant, int32(c.Estimator))
	g.launch("loss_finish", [3]int{1, 1, 1}, 32*Stats, 0, g.out(stats).p, sums, int32(blocks))
}

// ValueLoss adds up in two launches.
func (g *GPU) ValueLoss(dvalue, stats, value Tensor, t Targets, clip float32) {
	g.begin("ValueLoss")
	defer g.end()
	R := checkValueLoss(dvalue, stats, value, t, clip)
	if R == 0 {
		return
	}
	blocks := lossBlocks(R)
	sums := g.temp(8 * Stats * blocks)
	g.launch("value_loss", [3]int{blocks, 1, 1}, 256, 0,
		g.out(dvalue).p, sums, g.address(value), g.address(t.Weight), g.address(t.Return), g.address(t.OldValue), int32(R), clip)
	g.launch("loss_finish", [3]int{1, 1, 1}, 32*Stats, 0, g.out(stats).p, sums, int32(blocks))
}
