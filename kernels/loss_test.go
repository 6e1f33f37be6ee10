package kernels

import (
	"math"

	"pgregory.net/rapid"
)

// lossRows are the columns of a PolicyLoss, in float64; logRatio, stay and imitate may be nil.
type lossRows struct{ logp, weight, old, adv, ref, logRatio, stay, imitate []float64 }

// refPolicyLoss is the loss of PolicyLoss's comment. at is where the gradient is taken: what it holds constant depends on that.
func refPolicyLoss(x lossRows, at []float64, c Clip) (loss float64) {
	for r, logp := range x.logp {
		if x.weight[r] == 0 {
			continue
		}
		ratio, held := math.Exp(logp-x.old[r]), math.Exp(at[r]-x.old[r])
		if x.logRatio != nil { // sg[ratio]·π/sg[π]
			held = math.Exp(x.logRatio[r])
			ratio = held * math.Exp(logp-at[r])
		}
		clip := func(ratio float64) float64 { return math.Min(math.Max(ratio, 1-float64(c.Low)), 1+float64(c.High)) }
		gain := math.Min(ratio*x.adv[r], clip(ratio)*x.adv[r])
		if c.Dual > 0 && x.adv[r] < 0 {
			gain = math.Max(gain, float64(c.Dual)*x.adv[r])
		}
		if c.Constant {
			gain = clip(held) * x.adv[r] * logp
		}
		loss -= x.weight[r] * gain
		if c.KL > 0 {
			loss += float64(c.KL) * x.weight[r] * refDivergence(c.Estimator, x.ref[r]-logp)
		}
		if x.stay != nil {
			loss += x.stay[r] * math.Abs(logp-x.old[r])
		}
		if x.imitate != nil {
			loss -= x.imitate[r] * logp
		}
	}
	return loss
}

// refDivergence is Schulman's k1, k2, k3 of ln(reference/policy).
func refDivergence(e Estimator, x float64) float64 {
	return map[Estimator]float64{K1: -x, K2: x * x / 2, K3: math.Exp(x) - 1 - x}[e]
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
		KL:        rapid.SampledFrom([]float32{0, 0.1}).Draw(t, "KL"),
		Estimator: rapid.SampledFrom([]Estimator{K1, K2, K3}).Draw(t, "estimator"),
	}
	if c.Constant = rapid.Bool().Draw(t, "constant"); c.Constant {
		if rapid.Bool().Draw(t, "reinforce") {
			c.Low, c.High = 0, 0
		}
	} else {
		c.Dual = rapid.SampledFrom([]float32{0, 3}).Draw(t, "Dual")
	}
	weight := s.drawWeights(t, R)
	column := func(name string) []float64 {
		x := s.numbersOf(t, F32, R, name)
		for r, w := range weight {
			if w == 0 {
				x[r] = math.NaN() // of prompt and tool output: nobody may look
			}
		}
		return x
	}
	x := lossRows{logp: s.numbersOf(t, F32, R, "logp"), weight: weight, old: column("old"), adv: column("adv"), ref: column("ref")}
	before := s.numbersOf(t, F32, Stats, "stats")
	lt, dl, stats := s.vector(F32, x.logp), s.vector(F32, make([]float64, R)), s.vector(F32, before)
	targets := Targets{Weight: s.vector(F32, x.weight), OldLogProb: s.vector(F32, x.old), Advantage: s.vector(F32, x.adv)}
	if c.KL > 0 {
		targets.Ref = s.vector(F32, x.ref)
	}
	for _, o := range []struct {
		name   string
		column *[]float64
		tensor *Tensor
	}{{"log ratio", &x.logRatio, &targets.LogRatio}, {"stay", &x.stay, &targets.Stay}, {"imitate", &x.imitate, &targets.Imitate}} {
		if rapid.Bool().Draw(t, o.name) {
			*o.column = column(o.name)
			*o.tensor = s.vector(F32, *o.column)
		}
	}
	s.do(t, func() { s.dev.PolicyLoss(dl, stats, lt, targets, c) })
	at := append([]float64(nil), x.logp...)
	loss := func() float64 { return refPolicyLoss(x, at, c) }
	s.nearGradient(t, "dlogp", s.read(dl), make([]float64, R), x.logp, 10, loss)
	want := append([]float64(nil), before...)
	want[StatLoss] += loss()
	for r := range R {
		if x.weight[r] != 0 {
			refPolicyStats(want, x, r, c)
		}
	}
	s.near(t, "stats", s.read(stats), want, 10)
	s.free(lt, dl, stats, targets.Weight, targets.OldLogProb, targets.Advantage, targets.Ref, targets.LogRatio, targets.Stay, targets.Imitate)
}

// refPolicyStats adds what row r is to the stats, the loss left out.
func refPolicyStats(want []float64, x lossRows, r int, c Clip) {
	w, diff := x.weight[r], x.logp[r]-x.old[r]
	ratio := math.Exp(diff)
	want[StatKL] += w * (ratio - 1 - diff)
	want[StatWeight] += w
	want[StatMaxDiff] = math.Max(want[StatMaxDiff], math.Abs(diff))
	if x.logRatio != nil {
		ratio = math.Exp(x.logRatio[r])
	}
	above, below := ratio > 1+float64(c.High), ratio < 1-float64(c.Low)
	if c.Constant && (above || below) || !c.Constant && (above && x.adv[r] > 0 || below && x.adv[r] < 0) {
		want[StatClipped] += w
	}
	if c.Dual > 0 && x.adv[r] < 0 && ratio > float64(c.Dual) {
		want[StatDual] += w
	}
	if c.KL > 0 {
		want[StatRef] += w * refDivergence(c.Estimator, x.ref[r]-x.logp[r])
	}
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
