package kernels

import "math"

// The losses see a number per row: they run on the caller alone, in float64.

func (d *cpu) PolicyLoss(dlogp, stats, logp Tensor, t Targets, c Clip) {
	const op = "PolicyLoss"
	d.begin(op)
	R := checkPolicyLoss(dlogp, stats, logp, t, c)
	d.writes(op, dlogp)
	d.writes(op, stats)
	out, lp := dlogp.vec(), logp.vec()
	weight, old, adv := t.Weight.vec(), t.OldLogProb.vec(), t.Advantage.vec()
	logRatio, stay, imitate := optional(t.LogRatio), optional(t.Stay), optional(t.Imitate)
	var ref []float32
	if c.KL != 0 {
		ref = t.Ref.vec()
	}
	var s [Stats]float64
	for r := range R {
		w := float64(weight[r])
		if w == 0 {
			out[r] = 0 // whatever the other columns hold there
			continue
		}
		x, diff := float64(lp[r]), float64(lp[r])-float64(old[r])
		ratio := math.Exp(diff)
		used := ratio
		if logRatio != nil {
			used = math.Exp(float64(logRatio[r]))
		}
		gain, grad := c.gain(used, float64(adv[r]), x, w, &s)
		loss, dl := -w*gain, -w*grad
		if ref != nil {
			term, slope := c.Estimator.of(float64(ref[r]) - x)
			s[StatRef] += w * term
			loss += float64(c.KL) * w * term
			dl += float64(c.KL) * w * slope
		}
		if stay != nil && diff != 0 {
			loss += float64(stay[r]) * math.Abs(diff)
			dl += float64(stay[r]) * diff / math.Abs(diff)
		}
		if imitate != nil {
			loss -= float64(imitate[r]) * x
			dl -= float64(imitate[r])
		}
		out[r] = float32(dl)
		s[StatLoss] += loss
		s[StatKL] += w * (ratio - 1 - diff)
		s[StatWeight] += w
		s[StatMaxDiff] = max(s[StatMaxDiff], math.Abs(diff))
	}
	addStats(stats.vec(), &s)
}

// gain is the clipped objective of a row of weight w and its derivative by logp, and books what was clipped.
func (c Clip) gain(ratio, a, logp, w float64, s *[Stats]float64) (gain, grad float64) {
	near := min(max(ratio, 1-float64(c.Low)), 1+float64(c.High))
	if c.Constant {
		if near != ratio {
			s[StatClipped] += w
		}
		return near * a * logp, near * a
	}
	gain, grad = ratio*a, ratio*a
	if bound := near * a; bound < gain {
		gain, grad = bound, 0
		s[StatClipped] += w
	}
	if c.Dual > 0 && a < 0 && gain < float64(c.Dual)*a {
		gain, grad = float64(c.Dual)*a, 0
		s[StatDual] += w
	}
	return gain, grad
}

// of is the estimate of the divergence where x = Ref − logp, and its derivative by logp.
func (e Estimator) of(x float64) (term, slope float64) {
	switch e {
	case K1:
		return -x, 1
	case K2:
		return x * x / 2, -x
	}
	q := math.Exp(x)
	return q - 1 - x, 1 - q
}

// optional is the numbers of a tensor that may be absent.
func optional(t Tensor) []float32 {
	if t.Absent() {
		return nil
	}
	return t.vec()
}

func addStats(stats []float32, s *[Stats]float64) {
	for i, x := range s {
		if i == StatMaxDiff {
			stats[i] = max(stats[i], float32(x))
		} else {
			stats[i] += float32(x)
		}
	}
}

// ValueLoss adds to StatLoss, StatWeight, StatVariance, and to StatClipped the rows whose clipped term is the larger.
func (d *cpu) ValueLoss(dvalue, stats, value Tensor, t Targets, clip float32) {
	const op = "ValueLoss"
	d.begin(op)
	R := checkValueLoss(dvalue, stats, value, t, clip)
	d.writes(op, dvalue)
	d.writes(op, stats)
	out, val := dvalue.vec(), value.vec()
	weight, ret := t.Weight.vec(), t.Return.vec()
	var old []float32
	if clip != 0 {
		old = t.OldValue.vec()
	}
	var s [Stats]float64
	for r := range R {
		w := float64(weight[r])
		if w == 0 {
			out[r] = 0
			continue
		}
		v, target := float64(val[r]), float64(ret[r])
		err := v - target
		grad := err
		square := err * err
		s[StatVariance] += w * square
		if clip != 0 {
			o := float64(old[r])
			near := min(max(v, o-float64(clip)), o+float64(clip)) - target
			if near*near > square { // then v is outside, where near does not depend on it
				square, grad = near*near, 0
				s[StatClipped] += w
			}
		}
		out[r] = float32(w * grad)
		s[StatLoss] += w * square / 2
		s[StatWeight] += w
	}
	addStats(stats.vec(), &s)
}
