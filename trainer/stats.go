package trainer

import (
	"math"
	"time"

	"retool/engine"
	k "retool/kernels"
	"retool/trainer/trace"
)

// Stats is what one RL step reports. Averages over policy tokens weigh every update of the step alike.
type Stats struct {
	trace.RL
	Loss, Norm, LR float64
	Tokens, Policy int // trained on; policy tokens sampled
	Skipped        int
	Fault          string // where an update that was left out was not finite
	Seconds        float64
	Episodes       []*Episode

	p                         *PPO
	start, rolled, ended      time.Time
	booked                    booked // when the step began
	ranks                     *trace.Ranks
	updates                   float64
	entropySum, entropyWeight float64
	all                       int // tokens of all trajectories
}

func newStats(p *PPO) *Stats {
	return &Stats{p: p, start: time.Now(), booked: p.ranks.booked}
}

// rolledOut books the graded rollouts.
func (s *Stats) rolledOut(eps []*Episode) {
	s.rolled = time.Now()
	s.Episodes = eps
	s.RL.Finish = map[string]int{}
	n, calls, callsOK, kept := 0.0, 0.0, 0.0, 0.0
	judged := 0
	for _, e := range eps {
		s.RL.Finish[e.Finish.String()]++
		s.all += e.Len()
		if e.Finish != engine.Lost {
			judged++
			if e.Grade.Outcome == VerifierError {
				s.Unjudged++
			}
		}
		if !e.Trains() {
			continue
		}
		n++
		s.Policy += len(e.Steps)
		for set := range e.Sets() {
			kept += float64(len(set))
		}
		s.Reward += float64(e.Reward)
		s.Rewards.Paper += e.Grade.Rewards.Paper
		s.Rewards.DAPOStrict += e.Grade.Rewards.DAPOStrict
		s.Rewards.ToolShaped += e.Grade.Rewards.ToolShaped
		if e.Grade.Outcome == Correct {
			s.Accuracy++
		}
		if len(e.Calls) > 0 {
			s.CodeRatio++
		}
		for _, c := range e.Calls {
			calls++
			if c.Result.OK() {
				callsOK++
			}
		}
		s.Length += float64(e.Len() - e.Prompt)
		s.Observed += float64(e.Count(engine.Tool))
	}
	if judged > 0 {
		s.UnjudgedShare = float64(s.Unjudged) / float64(judged)
	}
	s.Kept = kept / float64(max(1, s.Policy))
	if n > 0 {
		for _, x := range []*float64{&s.Reward, &s.Accuracy, &s.CodeRatio, &s.Length, &s.Observed} {
			*x /= n
		}
		for _, x := range []*float32{&s.Rewards.Paper, &s.Rewards.DAPOStrict, &s.Rewards.ToolShaped} {
			*x /= float32(n)
		}
		s.Calls = calls / n
	}
	if calls > 0 {
		s.CallsOK = callsOK / calls
	}
}

// scored books the comparison of log-probabilities and how well the values foretold the rewards.
func (s *Stats) scored(eps []*Episode) {
	var n, sumR, sumR2, sumE, sumE2 float64
	for _, e := range eps {
		if e.Difference == e.Difference {
			s.Checked += len(e.Steps)
			s.Difference = max(s.Difference, float64(e.Difference))
		}
		for _, t := range e.Steps {
			r, d := float64(e.Reward), float64(e.Reward-t.Value)
			n++
			sumR, sumR2 = sumR+r, sumR2+r*r
			sumE, sumE2 = sumE+d, sumE2+d*d
		}
	}
	if variance := sumR2 - sumR*sumR/max(n, 1); variance > 0 && s.p.method.Values {
		s.Explained = 1 - (sumE2-sumE*sumE/n)/variance
	}
	s.ended = time.Now()
}

// losses books the sums of one update's passes, on all ranks, and returns its loss. The means of a step are over the updates whose loss is
// finite, and not numbers where there is none.
func (s *Stats) losses(sums []float64) (loss float64) {
	t := total(sums)
	s.Tokens += int(t[sumTokens])
	s.entropySum, s.entropyWeight = s.entropySum+t[sumEntropy], s.entropyWeight+t[sumWeight]
	loss = t[k.StatLoss] + t[sumValue+k.StatLoss]
	if !finite(loss) {
		return loss
	}
	s.updates++
	s.Loss += (loss - s.Loss) / s.updates
	s.ValueLoss += (t[sumValue+k.StatLoss] - s.ValueLoss) / s.updates
	s.KL += (t[k.StatKL] - s.KL) / s.updates
	s.Clip += (t[k.StatClipped] - s.Clip) / s.updates
	s.DualClip += (t[k.StatDual] - s.DualClip) / s.updates
	if s.p.cfg.RL.KLIn == "loss" {
		s.Reference += (t[k.StatRef] - s.Reference) / s.updates
	}
	if s.updates == 1 && s.Skipped == 0 { // before the first update, a ratio that is not 1 is a broken contract
		s.Difference = max(s.Difference, t[k.StatMaxDiff])
	}
	return loss
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// done closes the step's accounts.
func (s *Stats) done() {
	if s.updates == 0 && s.Skipped > 0 {
		for _, x := range []*float64{&s.Loss, &s.ValueLoss, &s.KL, &s.Clip, &s.DualClip} {
			*x = math.NaN()
		}
	}
	now := time.Now()
	s.Seconds = now.Sub(s.start).Seconds()
	s.Rollout = s.rolled.Sub(s.start).Seconds() / s.Seconds
	s.Score = s.ended.Sub(s.rolled).Seconds() / s.Seconds
	s.Train = now.Sub(s.ended).Seconds() / s.Seconds
	for _, r := range s.p.shares {
		d := r.stats
		s.ToolWait += d.ToolWait.Seconds() / s.Seconds / float64(len(s.p.shares))
		s.Sampled, s.Prefilled, s.Recomputed = s.Sampled+d.Sampled, s.Prefilled+d.Prefilled, s.Recomputed+d.Recomputed
		if t := d.Decode.Seconds(); t > 0 {
			s.DecodeRate += float64(d.Sampled) / t
		}
	}
	if n := len(s.p.shares); n > 1 {
		s.ranks = s.p.ranks.since(s.booked, s.Seconds)
		var sum, longest float64
		for _, r := range s.p.shares {
			s.ranks.Rollout = append(s.ranks.Rollout, r.seconds)
			sum, longest = sum+r.seconds, max(longest, r.seconds)
		}
		if longest > 0 {
			s.ranks.Tail = 1 - sum/(float64(n)*longest)
		}
	}
	if s.entropyWeight > 0 {
		s.Entropy = s.entropySum / s.entropyWeight
	}
}

// Metrics is the step's line of metrics.jsonl.
func (s *Stats) Metrics(step int, elapsed float64) trace.Metrics {
	return trace.Metrics{
		Step: step, Phase: "rl", Loss: s.Loss, LR: s.LR, Norm: s.Norm, Tokens: s.Tokens, Policy: s.Policy,
		Speed: float64(s.all) / s.Seconds, Time: s.Seconds, Since: elapsed, Skip: s.Skipped, Ranks: s.ranks, RL: &s.RL,
	}
}
