package trainer

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/trainer/answer"
	"retool/trainer/trace"
)

// tallied are records of problems with so many right and wrong responses each.
func tallied(problems [][2]int) (rs []trace.Record) {
	for i, p := range problems {
		for s := range p[0] + p[1] {
			outcome, given := "correct", "7"
			if s >= p[0] {
				outcome, given = "wrong", "8"
			}
			rs = append(rs, trace.Record{Problem: fmt.Sprint(i), Outcome: outcome, Answer: given, Finish: "answer", Sources: "pm",
				IDs: []int32{1, 2}, Prompt: 1, Verdicts: trace.Verdicts{Math: outcome, DAPO: "wrong", Lenient: "correct"}})
		}
	}
	return rs
}

// pass@j is the share of the j-subsets of a problem's responses that hold a right one, exactly.
func TestPassAtIsTheShareOfSubsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		c := rapid.IntRange(0, n).Draw(t, "c")
		e := Summarise(tallied([][2]int{{c, n - c}}), answer.Math)
		for _, j := range attempts(n) {
			miss := new(big.Int).Binomial(int64(n-c), int64(j))
			share, _ := new(big.Rat).SetFrac(miss, new(big.Int).Binomial(int64(n), int64(j))).Float64()
			require.InDelta(t, 1-share, e.PassAt[j], 1e-12)
		}
		require.Contains(t, e.PassAt, n, "k itself, a power of two or not")
		require.InDelta(t, e.Accuracy, e.PassAt[1], 1e-12, "pass@1 is avg@k")
	})
}

// A response without a verdict takes its problem out of pass@k, and does not count as a failure there.
func TestALostResponseIsNoFailure(t *testing.T) {
	rs := tallied([][2]int{{4, 0}, {4, 0}})
	rs[0].Finish = "sandbox_error"
	e := Summarise(rs, answer.Math)
	require.Equal(t, 4, e.Samples)
	for j, p := range e.PassAt {
		require.EqualValues(t, 1, p, "pass@%d", j)
	}
}

func TestAccuracyByEveryVerifier(t *testing.T) {
	e := Summarise(tallied([][2]int{{4, 0}, {1, 3}}), answer.Math)
	require.Equal(t, map[string]float64{"math": 0.625, "dapo": 0, "lenient": 1}, e.AccuracyBy, "nothing was judged by dapo-strict")
	require.Equal(t, "math", e.Verifier)
}

// Both intervals cover what they claim to. A model of known chances is asked again and again: the same problems for the interval over
// responses, others for the one over problems.
func TestIntervalsCover(t *testing.T) {
	const problems, samples, trials = 30, 32, 400
	r := rand.New(rand.NewPCG(1, 2))
	chance := func() float64 { return math.Pow(r.Float64(), 2) } // mean 1/3, most problems hard
	fixed, truth := make([]float64, problems), 0.0
	for i := range fixed {
		fixed[i] = chance()
		truth += fixed[i] / problems
	}
	ask := func(of func(i int) float64) trace.Evaluation {
		tally := make([][2]int, problems)
		for i := range tally {
			p := of(i)
			for range samples {
				if r.Float64() < p {
					tally[i][0]++
				} else {
					tally[i][1]++
				}
			}
		}
		return Summarise(tallied(tally), answer.Math)
	}
	same, other := 0, 0
	for range trials {
		e := ask(func(i int) float64 { return fixed[i] })
		if e.SampledLow <= truth && truth <= e.SampledHigh {
			same++
		}
		require.InDelta(t, 1.96*2*math.Sqrt(e.Accuracy*(1-e.Accuracy)/(problems*samples)), e.SampledHigh-e.SampledLow, 0.002)
		e = ask(func(int) float64 { return chance() })
		if e.Low <= 1/3. && 1/3. <= e.High {
			other++
		}
		require.Greater(t, e.High-e.Low, e.SampledHigh-e.SampledLow)
	}
	require.GreaterOrEqual(t, same, trials*95/100)
	require.GreaterOrEqual(t, other, trials*91/100, "few clusters cover a little less than they say")
}
