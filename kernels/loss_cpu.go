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
	var ref []float32
	if c.KL != 0 {
		ref = t.Ref.vec()
	}
	low, high := 1-float64(c.Low), 1+float64(c.High)
	var s [Stats]float64
	for r := range R {
		w := float64(weight[r])
		if w == 0 {
			out[r] = 0 // whatever the other columns hold there
			continue
		}
		diff, a := float64(lp[r])-float64(old[r]), float64(adv[r])
		ratio := math.Exp(diff)
		gain, grad := ratio*a, ratio*a
		if bound := min(max(ratio, low), high) * a; bound < gain {
			gain, grad = bound, 0
			s[StatClipped] += w
		}
		if c.Dual > 0 && a < 0 && gain < float64(c.Dual)*a {
			gain, grad = float64(c.Dual)*a, 0
			s[StatDual] += w
		}
		loss, dl := -w*gain, -w*grad
		if ref != nil {
			diff := float64(ref[r]) - float64(lp[r])
			q := math.Exp(diff)
			s[StatRef] += w * (q - 1 - diff)
			loss += float64(c.KL) * w * (q - 1 - diff)
			dl += float64(c.KL) * w * (1 - q)
		}
		out[r] = float32(dl)
		s[StatLoss] += loss
		s[StatKL] += w * (ratio - 1 - diff)
		s[StatWeight] += w
		s[StatMaxDiff] = max(s[StatMaxDiff], math.Abs(diff))
	}
	addStats(stats.vec(), &s)
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
