package report

import (
	"math"

	"retool/trainer/trace"
)

// curves are columns over steps. Every counts the steps of one point.
type curves struct {
	X     []int                `json:"x"`
	Cols  map[string][]float64 `json:"cols"`
	Every int                  `json:"every"`
}

func newCurves() curves { return curves{Cols: map[string][]float64{}, Every: 1} }

func (c *curves) add(x int, values map[string]float64) {
	for name := range c.Cols {
		if _, ok := values[name]; !ok {
			c.Cols[name] = append(c.Cols[name], math.NaN())
		}
	}
	for name, v := range values {
		for len(c.Cols[name]) < len(c.X) { // a column that begins late
			c.Cols[name] = append(c.Cols[name], math.NaN())
		}
		c.Cols[name] = append(c.Cols[name], v)
	}
	c.X = append(c.X, x)
}

func split(steps []trace.Metrics) (sft, rl []trace.Metrics) {
	for _, m := range steps {
		if m.RL == nil {
			sft = append(sft, m)
		} else {
			rl = append(rl, m)
		}
	}
	return sft, rl
}

// offset is the number of steps made when reinforcement learning began.
func offset(sft, rl []trace.Metrics) int {
	switch {
	case len(rl) > 0:
		return rl[0].Step - 1
	case len(sft) > 0:
		return sft[len(sft)-1].Step
	}
	return 0
}

func sftCurves(steps []trace.Metrics) curves {
	c := newCurves()
	for _, m := range steps {
		c.add(m.Step, map[string]float64{"loss": m.Loss, "lr": m.LR, "grad_norm": m.Norm, "speed": m.Speed, "skipped": float64(m.Skip)})
	}
	return c
}

func rlCurves(steps []trace.Metrics, offset int) curves {
	c := newCurves()
	finishes := map[string]bool{}
	for _, m := range steps {
		for name := range m.Finish {
			finishes[name] = true
		}
	}
	for _, m := range steps {
		v := map[string]float64{
			"loss": m.Loss, "lr": m.LR, "grad_norm": m.Norm, "speed": m.Speed, "skipped": float64(m.Skip), "seconds": m.Time,
			"reward": m.Reward, "reward_paper": float64(m.Rewards.Paper), "reward_dapo_strict": float64(m.Rewards.DAPOStrict),
			"reward_tool_shaped": float64(m.Rewards.ToolShaped), "accuracy": m.Accuracy, "code_ratio": m.CodeRatio,
			"calls": m.Calls, "calls_ok": m.CallsOK, "length": m.Length, "observed": m.Observed,
			"kl": m.KL, "clip": m.Clip, "dual_clip": m.DualClip, "entropy": m.RL.Entropy, "difference": m.Difference,
			"value_loss": m.ValueLoss, "explained": m.Explained,
			"rollout": m.Rollout, "tool_wait": m.ToolWait, "score": m.Score, "train": m.Train, "decode": m.DecodeRate,
		}
		if m.Calls == 0 {
			v["calls_ok"] = math.NaN()
		}
		if m.Checked == 0 {
			v["difference"] = math.NaN()
		}
		all := 0
		for _, n := range m.Finish {
			all += n
		}
		for name := range finishes {
			v["finish_"+name] = float64(m.Finish[name]) / float64(max(all, 1))
		}
		c.add(m.Step-offset, v)
	}
	return c
}

func behaviourCurves(groups []*group, offset int) curves {
	c := newCurves()
	for _, g := range groups {
		c.add(g.Step-offset, g.columns())
	}
	return c
}

// bucket averages neighbouring points until at most limit are left. A bucket's x is its last step's; of `difference` it keeps the
// largest, so that no broken step hides in a mean. A gap is left out of the mean.
func bucket(c curves, limit int) curves {
	n := len(c.X)
	k := (n + limit - 1) / limit
	if k <= 1 {
		return c
	}
	out := newCurves()
	out.Every = k
	for from := 0; from < n; from += k {
		to := min(from+k, n)
		v := map[string]float64{}
		for name, col := range c.Cols {
			sum, top, count := 0.0, math.Inf(-1), 0
			for _, x := range col[from:to] {
				if !math.IsNaN(x) {
					sum, top, count = sum+x, max(top, x), count+1
				}
			}
			switch {
			case count == 0:
				v[name] = math.NaN()
			case name == "difference":
				v[name] = top
			default:
				v[name] = sum / float64(count)
			}
		}
		out.add(c.X[to-1], v)
	}
	return out
}
