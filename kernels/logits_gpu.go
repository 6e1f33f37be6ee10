package kernels

// Keep is a block a row.
func (g *GPU) Keep(logits, starts, ids Tensor) {
	g.begin("Keep")
	defer g.end()
	R, V := checkKeep(logits, starts, ids)
	g.launch("keep", [3]int{R, 1, 1}, 256, 0, g.out(logits), g.address(starts), g.address(ids), int32(V))
}

// LogSumExp is a block a row.
func (g *GPU) LogSumExp(lse, logits Tensor, temperature float32) {
	g.begin("LogSumExp")
	defer g.end()
	R, V := checkLogSumExp(lse, logits, temperature)
	g.launch("log_sum_exp", [3]int{R, 1, 1}, 256, 0, g.out(lse).p, g.in(logits), int32(V), 1/temperature)
}

// LogProb gives NaN for an id that the vocabulary does not have.
func (g *GPU) LogProb(logp, entropy, logits, lse, ids Tensor, temperature float32) {
	g.begin("LogProb")
	defer g.end()
	R, V := checkLogProb(logp, entropy, logits, lse, ids, temperature)
	g.launch("log_prob", [3]int{R, 1, 1}, 256, 0,
		g.out(logp).p, g.out(entropy).p, g.in(logits), g.address(lse), g.address(ids), int32(V), 1/temperature)
}

// LogProbBackward replaces the logits.
func (g *GPU) LogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy Tensor, temperature float32) {
	g.begin("LogProbBackward")
	defer g.end()
	R, V := checkLogProbBackward(dlogits, logits, lse, ids, dlogp, dentropy, temperature)
	g.launch("log_prob_bwd", [3]int{R, 1, 1}, 256, 0,
		g.out(dlogits), g.out(logits), g.address(lse), g.address(ids), g.address(dlogp), g.address(dentropy), int32(V), 1/temperature)
}
