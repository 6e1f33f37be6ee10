package kernels

import (
	"math"

	"pgregory.net/rapid"
)

// refPolicyLoss is the loss of PolicyLoss's comment.
func refPolicyLoss(logp, weight, old, adv, ref []float64, c Clip) (loss float64) {
	for r := range logp {
		ratio := math.Exp(logp[r] - old[r])
		clipped := math.Min(math.Max(ratio, 1-float64(c.Low)), 1+float64(c.High))
		gain := math.Min(ratio*adv[r], clipped*adv[r])
		if c.Dual > 0 && adv[r] < 0 {
			gain = math.Max(gain, float64(c.Dual)*adv[r])
		}
		loss -= weight[r] * gain
		if c.KL > 0 {
			q := math.Exp(ref[r] - logp[r])
			loss += float64(c.KL) * weight[r] * (q - 1 - (ref[r] - logp[r]))
		}
	}
	return loss
}

// drawWeights draws weights, a third of them 0.
func (s *subject) drawWeights(t *rapid.T, R int) []float64 {
	w := s.numbersOf(t, F32, R, "weight")
	for i := range w {
		if w[i] = math.Abs(w[i]); i%3 == 1 {
			w[i] = 0
		}
	}
	return w
}

func checkPolicyLossOp(t *rapid.T, s *subject) {
	R := rapid.IntRange(1, 60).Draw(t, "R")
	c := Clip{
		Low: rapid.SampledFrom([]float32{0.1, 0.2}).Draw(t, "Low"), High: rapid.SampledFrom([]float32{0.2, 0.3}).Draw(t, "High"),
		Dual: rapid.SampledFrom([]float32{0, 3}).Draw(t, "Dual"), KL: rapid.SampledFrom([]float32{0, 0.1}).Draw(t, "KL"),
	}
	logp, weight, old, adv, ref := s.numbersOf(t, F32, R, "logp"), s.drawWeights(t, R), s.numbersOf(t, F32, R, "old"),
		s.numbersOf(t, F32, R, "adv"), s.numbersOf(t, F32, R, "ref")
	before := s.numbersOf(t, F32, Stats, "stats")
	lt, dl, stats := s.vector(F32, logp), s.vector(F32, make([]float64, R)), s.vector(F32, before)
	targets := Targets{Weight: s.vector(F32, weight), OldLogProb: s.vector(F32, old), Advantage: s.vector(F32, adv)}
	if c.KL > 0 {
		targets.Ref = s.vector(F32, ref)
	}
	s.do(t, func() { s.dev.PolicyLoss(dl, stats, lt, targets, c) })
	loss := func() float64 { return refPolicyLoss(logp, weight, old, adv, ref, c) }
	s.nearGradient(t, "dlogp", s.read(dl), make([]float64, R), logp, 10, loss)
	want := append([]float64(nil), before...)
	want[StatLoss] += loss()
	for r := range R {
		if weight[r] == 0 {
			continue
		}
		diff := logp[r] - old[r]
		ratio := math.Exp(diff)
		want[StatKL] += weight[r] * (ratio - 1 - diff)
		want[StatWeight] += weight[r]
		want[StatMaxDiff] = math.Max(want[StatMaxDiff], math.Abs(diff))
		if ratio > 1+float64(c.High) && adv[r] > 0 || ratio < 1-float64(c.Low) && adv[r] < 0 {
			want[StatClipped] += weight[r]
		}
		if c.Dual > 0 && adv[r] < 0 && ratio > float64(c.Dual) {
			want[StatDual] += weight[r]
		}
		if c.KL > 0 {
			want[StatRef] += weight[r] * (math.Exp(ref[r]-logp[r]) - 1 - (ref[r] - logp[r]))
		}
	}
	s.near(t, "stats", s.read(stats), want, 10)
	s.free(lt, dl, stats, targets.Weight, targets.OldLogProb, targets.Advantage, targets.Ref)
}

func refValueLoss(value, weight, ret, old []float64, clip float64) (loss float64) {
	for r := range value {
		square := (value[r] - ret[r]) * (value[r] - ret[r])
		if clip > 0 {
			near := math.Min(math.Max(value[r], old[r]-clip), old[r]+clip) - ret[r]
			square = math.Max(square, near*near)
		}
		loss += weight[r] * square / 2
	}
	return loss
}

func checkValueLossOp(t *rapid.T, s *subject) {
	R := rapid.IntRange(1, 60).Draw(t, "R")
	clip := rapid.SampledFrom([]float32{0, 0.2, 0.5}).Draw(t, "clip")
	value, weight, ret, old := s.numbersOf(t, F32, R, "value"), s.drawWeights(t, R), s.numbersOf(t, F32, R, "ret"),
		s.numbersOf(t, F32, R, "old")
	before := make([]float64, Stats)
	vt, dv, stats := s.vector(F32, value), s.vector(F32, make([]float64, R)), s.vector(F32, before)
	targets := Targets{Weight: s.vector(F32, weight), Return: s.vector(F32, ret)}
	if clip > 0 {
		targets.OldValue = s.vector(F32, old)
	}
	s.do(t, func() { s.dev.ValueLoss(dv, stats, vt, targets, clip) })
	loss := func() float64 { return refValueLoss(value, weight, ret, old, float64(clip)) }
	s.nearGradient(t, "dvalue", s.read(dv), make([]float64, R), value, 10, loss)
	var sum, variance float64
	for r := range R {
		sum += weight[r]
		variance += weight[r] * (ret[r] - value[r]) * (ret[r] - value[r])
	}
	got := s.read(stats)
	s.near(t, "loss, weight, variance", []float64{got[StatLoss], got[StatWeight], got[StatVariance]}, []float64{loss(), sum, variance}, 10)
	s.free(vt, dv, stats, targets.Weight, targets.Return, targets.OldValue)
}
