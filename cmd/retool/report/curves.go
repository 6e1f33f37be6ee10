package report

import (
	"fmt"
	"math"
	"slices"

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
		v := map[string]float64{"loss": m.Loss, "lr": m.LR, "grad_norm": m.Norm, "speed": m.Speed, "skipped": float64(m.Skip)}
		if m.Ranks != nil {
			v["ranks/exchange_share"], v["ranks/wait_share"] = m.Ranks.Exchange, m.Ranks.Wait
		}
		c.add(m.Step, v)
	}
	return c
}

// rlCurves has a column for every number of a step, under its name in metrics.jsonl: what a trainer logs anew has a curve.
func rlCurves(steps []trace.Metrics, shift int) curves {
	c := newCurves()
	finishes, ranks := map[string]bool{}, 0
	for _, m := range steps {
		for name := range m.Finish {
			finishes[name] = true
		}
		if m.Ranks != nil {
			ranks = max(ranks, len(m.Ranks.Rollout))
		}
	}
	for _, m := range steps {
		v := map[string]float64{}
		for _, s := range trace.Scalars(m, "step", "elapsed", "finish") {
			name := s.Name
			if s.Key != "" {
				name += "/" + s.Key
			}
			v[name] = s.Value
		}
		if m.Calls == 0 {
			v["calls_ok"] = math.NaN()
		}
		if m.Checked == 0 {
			v["max_difference"] = math.NaN()
		}
		all := 0
		for _, n := range m.Finish {
			all += n
		}
		for name := range finishes {
			v["finish/"+name] = float64(m.Finish[name]) / float64(max(all, 1))
		}
		if m.Ranks != nil {
			rankColumns(v, m.Ranks.Rollout, ranks)
		}
		c.add(m.Step+shift, v)
	}
	return c
}

// rankColumns adds how long each rank of a step rolled out; of a run of many ranks, the first, the median and the last to end.
func rankColumns(v map[string]float64, seconds []float64, ranks int) {
	const name = "ranks/rollout_seconds/"
	if ranks <= maxRankCurves {
		for r, s := range seconds {
			v[fmt.Sprint(name, r)] = s
		}
		return
	}
	if sorted := slices.Sorted(slices.Values(seconds)); len(sorted) > 0 {
		v[name+"first"], v[name+"median"], v[name+"last"] = sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1]
	}
}

func behaviourCurves(groups []*group, shift int) curves {
	c := newCurves()
	for _, g := range groups {
		c.add(g.Step+shift, g.columns())
	}
	return c
}

// bucket averages neighbouring points until at most limit are left. A bucket's x is its last step's; of `max_difference` it keeps the
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
			case name == "max_difference":
				v[name] = top
			default:
				v[name] = sum / float64(count)
			}
		}
		out.add(c.X[to-1], v)
	}
	return out
}
