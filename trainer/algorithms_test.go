package trainer

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/engine"
	"retool/engine/model"
	k "retool/kernels"
	"retool/kernels/emu"
)

// settingsOf is an RL with defaults, what the algorithm publishes, and the given YAML over them.
func settingsOf(t require.TestingT, text string) RL {
	rl := DefaultConfig().RL
	rl.Group = 4
	require.NoError(t, yaml.Unmarshal([]byte(text), &rl))
	return rl
}

// learnt is loss and gradient by log-probability of a minibatch, as training computes them: advantages, weights, passes, the kernel.
// logp is what the policy now says of each step.
func learnt(
	t require.TestingT, dev k.Device, rl RL, eps []*Episode, logp map[*Step]float64, tokens int,
) (loss float64, grad map[*Step]float64) {
	a, err := algorithm(rl.Algorithm)
	require.NoError(t, err)
	if rl.KL > 0 && rl.KLIn == "reward" {
		penalise(eps, rl)
	}
	a.Advantages(rl, eps)
	a.weigh(rl, eps, rand.New(rand.NewPCG(1, 2)))
	r := newRows(dev, tokens)
	defer r.free()
	r.allow(a, rl)
	grad = map[*Step]float64{}
	for _, b := range Pack(eps, tokens, 1/float32(predictions(eps))) {
		r.load(b, 0, 0)
		var now []float32
		var steps []*Step
		for _, e := range b.Episodes {
			for i := range e.Steps {
				steps = append(steps, &e.Steps[i])
				now = append(now, float32(logp[&e.Steps[i]]))
			}
		}
		dev.Upload(r.LogProb.Rows(0, r.n), now)
		if a.Sequence {
			dev.Upload(r.logRatio.Rows(0, r.n), b.logRatios(now))
		}
		require.NoError(t, dev.Do(func() { r.policyLoss(model.Head{To: r.n}, a.clip(rl)) }))
		for i, d := range r.read(r.dlogp) {
			grad[steps[i]] = float64(d)
		}
	}
	var stats [k.Stats]float32
	dev.Download(stats[:], r.stats)
	return float64(stats[k.StatLoss]), grad
}

// onDevices runs f on the CPU and on the GPU's kernels in the emulator.
func onDevices(t *testing.T, f func(t *testing.T, dev k.Device)) {
	t.Run("cpu", func(t *testing.T) {
		dev := k.NewCPU(1)
		t.Cleanup(func() { dev.Close() })
		f(t, dev)
	})
	t.Run("emulated", func(t *testing.T) {
		dev, err := k.NewGPU(emu.New(emu.Options{Capability: 80}))
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() })
		f(t, dev)
	})
}

// PyTorch's autograd of the published formulas, by testdata/algorithms.py, gives the loss and the gradient of every algorithm.
func TestEveryAlgorithmIsItsPublishedFormula(t *testing.T) {
	text, err := os.ReadFile("testdata/algorithms.json")
	require.NoError(t, err)
	var golden struct {
		Episodes []struct {
			Group                 int
			Reward                float32
			Correct               bool
			Tool                  []int
			Old, Logp, Ref, Value []float32
		}
		Cases []struct {
			RL       string
			Loss     float64
			Gradient [][]float64
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	seen := map[string]bool{}
	onDevices(t, func(t *testing.T, dev k.Device) {
		for _, c := range golden.Cases {
			rl := settingsOf(t, c.RL)
			seen[rl.Algorithm] = true
			for _, tool := range []bool{false, true} { // tool output between the policy's tokens changes nothing
				for _, tokens := range []int{60, 1000} { // nor does the cut into passes
					var eps []*Episode
					logp := map[*Step]float64{}
					for i, g := range golden.Episodes {
						tr := engine.NewTrajectory(int64(i), []int32{1, 2})
						for j, old := range g.Old {
							if tool && g.Tool[j] > 0 {
								tr.Calls = append(tr.Calls, engine.Call{})
								tr.Observe(len(tr.Calls)-1, make([]int32, g.Tool[j]))
							}
							tr.Sample(3, old)
						}
						e := NewEpisode(tr, &Problem{}, g.Group)
						e.Reward = g.Reward
						if g.Correct {
							e.Grade.Outcome = Correct
						}
						for j := range e.Steps {
							s := &e.Steps[j]
							s.Ref, s.Value = g.Ref[j], g.Value[j]
							logp[s] = float64(g.Logp[j])
						}
						eps = append(eps, e)
					}
					loss, grad := learnt(t, dev, rl, eps, logp, tokens)
					require.InDelta(t, c.Loss, loss, 2e-6, c.RL)
					for i, e := range eps {
						for j := range e.Steps {
							require.InDelta(t, c.Gradient[i][j], grad[&e.Steps[j]], 2e-6, "%s: episode %d, step %d", c.RL, i, j)
						}
					}
				}
			}
		}
	})
	for _, name := range AlgorithmNames() {
		require.True(t, seen[name], "%s has no golden case", name)
	}
}

// reference is the loss of a minibatch in float64, each algorithm from its own words. at is where the gradient is taken.
func reference(rl RL, eps []*Episode, logp, at map[*Step]float64) (loss float64) {
	rows := 0.0
	for _, e := range eps {
		rows += float64(len(e.Steps))
	}
	adv := referenceAdvantages(rl, eps)
	held, stay := referenceMarks(rl, eps, adv)
	right := 0.0
	groups := map[int]float64{}
	for _, e := range eps {
		groups[e.Group] += float64(len(e.Steps))
		if e.Grade.Outcome == Correct {
			right += float64(len(e.Steps))
		}
	}
	for _, e := range eps {
		n := float64(len(e.Steps))
		weight := map[string]float64{
			"token": 1 / rows, "sequence": 1 / (n * float64(len(eps))), "group": 1 / (groups[e.Group] * float64(len(groups))),
			"constant": 1 / (float64(max(1, rl.Horizon)) * float64(len(eps))),
		}[rl.Averages()]
		together := 0.0
		for i := range e.Steps {
			together += (logp[&e.Steps[i]] - float64(e.Steps[i].LogProb)) / n
		}
		for i := range e.Steps {
			s := &e.Steps[i]
			x, a := logp[s], adv[s]
			if held[s] {
				a = 0
			}
			term := referenceTerm(rl, x, at[s], float64(s.LogProb), together, a)
			if rl.KL > 0 && rl.KLIn == "loss" {
				d := float64(s.Ref) - x
				term += rl.KL * map[string]float64{"k1": -d, "k2": d * d / 2, "k3": math.Exp(d) - 1 - d}[rl.KLEstimator]
			}
			loss += weight * (term + stay[s]*math.Abs(x-float64(s.LogProb)))
			if e.Grade.Outcome == Correct {
				loss -= rl.Imitate * x / right
			}
		}
	}
	return loss
}

// referenceTerm is the loss of one token with advantage a, the penalties left out.
func referenceTerm(rl RL, x, at, old, together, a float64) float64 {
	clip := func(r float64) float64 { return min(max(r, 1-rl.ClipLow), 1+rl.ClipHigh) }
	r := math.Exp(x - old)
	switch rl.Algorithm {
	case "rloo", "reinforce":
		return -a * x
	case "cispo":
		return -min(math.Exp(at-old), 1+rl.ClipHigh) * a * x
	case "kl-cov":
		return -r * a
	case "gspo":
		s := math.Exp(together)
		return -min(s*a, clip(s)*a)
	}
	gain := min(r*a, clip(r)*a)
	if a < 0 && rl.DualClip > 0 {
		gain = max(gain, rl.DualClip*a)
	}
	return -gain
}

func referenceAdvantages(rl RL, eps []*Episode) map[*Step]float64 {
	adv := map[*Step]float64{}
	total := func(e *Episode) float64 {
		r := float64(e.Reward)
		for _, s := range e.Steps {
			r += float64(s.Reward)
		}
		return r
	}
	for _, e := range eps {
		var others, same []float64 // of its prompt, of all
		for _, o := range eps {
			if o.Group == e.Group {
				same = append(same, total(o))
				if o != e {
					others = append(others, total(o))
				}
			}
		}
		for i := range e.Steps {
			s := &e.Steps[i]
			switch rl.Algorithm {
			case "ppo", "vapo":
				lambda := rl.Lambda
				if rl.LambdaLength > 0 {
					lambda = max(0, 1-1/(rl.LambdaLength*float64(len(e.Steps))))
				}
				for j := i; j < len(e.Steps); j++ {
					next, r := 0.0, total(e)-float64(sumRewards(e))
					if j+1 < len(e.Steps) {
						next, r = float64(e.Steps[j+1].Value), 0
					}
					r += float64(e.Steps[j].Reward)
					adv[s] += math.Pow(rl.Gamma*lambda, float64(j-i)) * (r + rl.Gamma*next - float64(e.Steps[j].Value))
				}
			case "rloo":
				adv[s] = total(e) - meanOf(others)
			case "reinforce":
				var all []float64
				for _, o := range eps {
					all = append(all, total(o))
				}
				adv[s] = total(e) - meanOf(all)
			case "reinforce++":
				adv[s] = float64(e.Reward)
				for _, later := range e.Steps[i:] {
					adv[s] += float64(later.Reward)
				}
			case "dr-grpo", "reinforce++-baseline":
				adv[s] = total(e) - meanOf(same)
			default:
				adv[s] = total(e) - meanOf(same)
				if rl.Deviation {
					square := 0.0
					for _, r := range same {
						square += (r - meanOf(same)) * (r - meanOf(same))
					}
					adv[s] /= math.Sqrt(square/float64(len(same)-1)) + 1e-6
				}
			}
		}
	}
	if strings.HasPrefix(rl.Algorithm, "reinforce++") || rl.Values() && rl.Whiten {
		values := make([]float64, 0, len(adv))
		for _, a := range adv {
			values = append(values, a)
		}
		mean, square := meanOf(values), 0.0
		for _, a := range values {
			square += (a - mean) * (a - mean) / float64(len(values))
		}
		for s := range adv {
			adv[s] = (adv[s] - mean) / math.Sqrt(square+1e-8)
		}
	}
	return adv
}

func sumRewards(e *Episode) (sum float64) {
	for _, s := range e.Steps {
		sum += float64(s.Reward)
	}
	return sum
}

func meanOf(x []float64) (mean float64) {
	for _, y := range x {
		mean += y / float64(len(x))
	}
	return mean
}

// referenceMarks is what the covariance of the two Cov algorithms takes out of the gradient or holds to the rollout. clip-cov's draw is
// left out: the test's share takes all candidates.
func referenceMarks(rl RL, eps []*Episode, adv map[*Step]float64) (held map[*Step]bool, stay map[*Step]float64) {
	held, stay, _ = referenceChoice(rl, eps, adv)
	return held, stay
}

// referenceChoice is referenceMarks, and how near another choice is.
func referenceChoice(rl RL, eps []*Episode, adv map[*Step]float64) (held map[*Step]bool, stay map[*Step]float64, near float64) {
	near = math.Inf(1)
	held, stay = map[*Step]bool{}, map[*Step]float64{}
	var steps []*Step
	var logps, advs []float64
	for _, e := range eps {
		for i := range e.Steps {
			s := &e.Steps[i]
			steps, logps, advs = append(steps, s), append(logps, float64(s.LogProb)), append(advs, adv[s])
		}
	}
	cov := func(s *Step) float64 { return (float64(s.LogProb) - meanOf(logps)) * (adv[s] - meanOf(advs)) }
	switch rl.Algorithm {
	case "clip-cov":
		for _, s := range steps {
			held[s] = cov(s) > rl.Covariance.Low && cov(s) < rl.Covariance.High
			near = min(near, math.Abs(cov(s)-rl.Covariance.Low), math.Abs(cov(s)-rl.Covariance.High))
		}
	case "kl-cov":
		slices.SortFunc(steps, func(a, b *Step) int { return -compare(cov(a), cov(b)) })
		n := max(1, int(rl.Covariance.Share*float64(len(steps))))
		for _, s := range steps[:n] {
			stay[s] = rl.Covariance.KL
		}
		if n < len(steps) {
			near = cov(steps[n-1]) - cov(steps[n])
		}
	}
	return held, stay, near
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// drawEpisodes draws groups of one prompt each, with tool output, values and a reference, and what the policy now says of each step.
func drawEpisodes(rt *rapid.T) (eps []*Episode, logp map[*Step]float64) {
	logp = map[*Step]float64{}
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "numbers"), 1))
	for g := range rapid.IntRange(1, 4).Draw(rt, "groups") {
		for range rapid.IntRange(2, 4).Draw(rt, "group") {
			tr := engine.NewTrajectory(1, []int32{1, 2})
			for n := 1 + rng.IntN(12); n > 0; n-- {
				tr.Sample(3, -3*rng.Float32())
				if rng.IntN(4) == 0 {
					tr.Calls = append(tr.Calls, engine.Call{})
					tr.Observe(len(tr.Calls)-1, make([]int32, rng.IntN(6)))
				}
			}
			e := NewEpisode(tr, &Problem{}, g)
			if e.Reward = -1; rng.IntN(2) == 0 {
				e.Reward, e.Grade.Outcome = 1, Correct
			}
			for i := range e.Steps {
				s := &e.Steps[i]
				s.Value, s.Ref = rng.Float32()-0.5, s.LogProb+rng.Float32()-0.5
				logp[s] = float64(s.LogProb + 0.3*float32(rng.NormFloat64()))
			}
			eps = append(eps, e)
		}
	}
	return eps, logp
}

// Over random groups, settings and passes, loss and gradient are those of a float64 reference and its finite differences.
func TestEveryAlgorithmIsItsReference(t *testing.T) {
	dev := k.NewCPU(1)
	t.Cleanup(func() { dev.Close() })
	for _, a := range algorithms {
		t.Run(a.Name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				rl := settingsOf(rt, "{algorithm: "+a.Name+", covariance: {share: 1, low: 0.2, high: 0.8}}")
				pick := func(name string, values ...float64) float64 { return rapid.SampledFrom(values).Draw(rt, name) }
				rl.KL = pick("kl", 0, 0.1)
				rl.KLIn = rapid.SampledFrom([]string{"loss", "reward"}).Draw(rt, "in")
				rl.KLEstimator = rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(rt, "estimator")
				rl.Aggregate = rapid.SampledFrom([]string{"", "token", "sequence", "group", "constant"}).Draw(rt, "aggregate")
				rl.Horizon = rapid.IntRange(1, 20).Draw(rt, "horizon")
				rl.Deviation, rl.Whiten = rapid.Bool().Draw(rt, "deviation"), rapid.Bool().Draw(rt, "whiten")
				rl.Gamma, rl.Lambda = pick("gamma", 0.9, 1), pick("lambda", 0, 0.9, 1)
				rl.ClipLow, rl.ClipHigh = pick("low", 0.1, 0.2), pick("high", 0.15, 0.3)
				if a.Values {
					rl.LambdaLength, rl.Imitate = pick("length", 0, 0.5), pick("imitate", 0, 0.1)
				}
				if a.Name == "kl-cov" {
					rl.Covariance.Share = 0.3
				}
				eps, logp := drawEpisodes(rt)
				loss, grad := learnt(rt, dev, rl, eps, logp, rapid.SampledFrom([]int{64, 1000}).Draw(rt, "tokens"))
				at := map[*Step]float64{}
				for s, x := range logp {
					at[s] = x
				}
				if _, _, near := referenceChoice(rl, eps, referenceAdvantages(rl, eps)); near < 1e-5 {
					rt.Skip() // float32 may choose another token
				}
				want := reference(rl, eps, logp, at)
				scale := max(1, math.Abs(want))
				require.InDelta(rt, want, loss, 2e-5*scale)
				e := eps[rapid.IntRange(0, len(eps)-1).Draw(rt, "episode")]
				s := &e.Steps[rapid.IntRange(0, len(e.Steps)-1).Draw(rt, "step")]
				const h = 1e-6
				logp[s] = at[s] + h
				up := reference(rl, eps, logp, at)
				logp[s] = at[s] - h
				down := reference(rl, eps, logp, at)
				require.InDelta(rt, (up-down)/(2*h), grad[s], 2e-5*scale)
			})
		})
	}
}

// Every algorithm learns the tests' task, by the recipe's own step: what it is made of is wired, and none needs more than its settings.
func TestEveryAlgorithmLearns(t *testing.T) {
	for _, a := range algorithms {
		t.Run(a.Name, func(t *testing.T) {
			l := newLab(t, func(c *Config) {
				c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.Steps, c.RL.Horizon = a.Name, 8, 8, 60, 2
				if a.Name == "rloo" || a.Name == "reinforce" {
					c.RL.Minibatch = 64
				}
			})
			run, heard := l.run(t.TempDir())
			_, err := run.Train(context.Background())
			require.NoError(t, err)
			require.Less(t, heard.steps[l.cfg.SFT.Steps].Reward, -0.3)
			require.Greater(t, heard.steps[len(heard.steps)-1].Reward, 0.7)
			for _, m := range heard.steps[l.cfg.SFT.Steps:] {
				require.Zero(t, m.Difference)
			}
		})
	}
}
