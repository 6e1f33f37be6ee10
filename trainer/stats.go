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
	Seconds        float64
	Episodes       []*Episode

	p                         *PPO
	start, rolled, ended      time.Time
	before                    engine.Stats
	updates                   float64
	entropySum, entropyWeight float64
	all                       int // tokens of all trajectories
}

func newStats(p *PPO) *Stats {
	return &Stats{p: p, start: time.Now(), before: p.engine.Stats()}
}

// rolledOut books the graded rollouts.
func (s *Stats) rolledOut(eps []*Episode) {
	s.rolled = time.Now()
	s.Episodes = eps
	s.RL.Finish = map[string]int{}
	n, calls, callsOK := 0.0, 0.0, 0.0
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

func (s *Stats) entropy(rows, weight []float32) {
	for i, h := range rows {
		s.entropySum += float64(h) * float64(weight[i])
		s.entropyWeight += float64(weight[i])
	}
}

// losses books the device's sums of one update and returns its loss. An update whose loss is not finite is not booked: the means of
// a step are over the others, and not numbers where there is none.
func (s *Stats) losses(r *rows) (loss float64) {
	var policy, value [k.Stats]float32
	r.dev.Download(policy[:], r.stats)
	r.dev.Download(value[:], r.valueStats)
	loss = float64(policy[k.StatLoss] + value[k.StatLoss])
	if !finite(loss) {
		return loss
	}
	s.updates++
	s.Loss += (loss - s.Loss) / s.updates
	s.ValueLoss += (float64(value[k.StatLoss]) - s.ValueLoss) / s.updates
	s.KL += (float64(policy[k.StatKL]) - s.KL) / s.updates
	s.Clip += (float64(policy[k.StatClipped]) - s.Clip) / s.updates
	s.DualClip += (float64(policy[k.StatDual]) - s.DualClip) / s.updates
	if s.p.cfg.RL.KLIn == "loss" {
		s.Reference += (float64(policy[k.StatRef]) - s.Reference) / s.updates
	}
	if s.updates == 1 && s.Skipped == 0 { // before the first update, a ratio that is not 1 is a broken contract
		s.Difference = max(s.Difference, float64(policy[k.StatMaxDiff]))
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
	d := s.p.engine.Stats().Sub(s.before)
	s.Rollout = s.rolled.Sub(s.start).Seconds() / s.Seconds
	s.ToolWait = d.ToolWait.Seconds() / s.Seconds
	s.Score = s.ended.Sub(s.rolled).Seconds() / s.Seconds
	s.Train = now.Sub(s.ended).Seconds() / s.Seconds
	s.Sampled, s.Prefilled, s.Recomputed = d.Sampled, d.Prefilled, d.Recomputed
	if t := d.Decode.Seconds(); t > 0 {
		s.DecodeRate = float64(d.Sampled) / t
	}
	if s.entropyWeight > 0 {
		s.Entropy = s.entropySum / s.entropyWeight
	}
}

// Metrics is the step's line of metrics.jsonl.
func (s *Stats) Metrics(step int, elapsed float64) trace.Metrics {
	return trace.Metrics{
		Step: step, Phase: "rl", Loss: s.Loss, LR: s.LR, Norm: s.Norm, Tokens: s.Tokens, Policy: s.Policy,
		Speed: float64(s.all) / s.Seconds, Time: s.Seconds, Since: elapsed, Skip: s.Skipped, RL: &s.RL,
	}
}
