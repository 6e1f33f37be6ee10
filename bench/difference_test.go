package bench

import (
	"math"
	"testing"

	"retool/engine"
	"retool/engine/model"
	"retool/kernels"
)

// What a rollout draws is scored alike by the training forward, and a log-probability that is off by half is seen to be.
func TestDifferenceIsThatOfTheWorstToken(t *testing.T) {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	m, err := model.New(dev, tinyShape, model.Options{MaxTokens: 64, Positions: 64, DType: kernels.F32})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Init(1)
	e, err := plainEngine(m, 20, 64, 6)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	prompt, _ := prompts(tinyShape.Vocab, 5).Prompt("x")
	groups := []engine.Group{{Prompt: prompt, Keys: []int64{1, 2, 3, 4, 5, 6}}}
	drawn, err := e.Rollouts(t.Context(), groups, engine.Sampling{Seed: 1, Temperature: 1, TopP: 1})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := difference(m, drawn); err != nil || d != 0 {
		t.Errorf("|Δlogp| is %v, %v, want 0", d, err)
	}
	wrong := engine.NewTrajectory(9, prompt)
	for _, k := range drawn[5].Tokens()[len(prompt):] {
		by := float32(0)
		if wrong.Len() == 12 {
			by = 0.5
		}
		wrong.Sample(k.ID, k.LogProb+by)
	}
	if d, err := difference(m, append(drawn, wrong)); err != nil || math.Abs(d-0.5) > 1e-6 {
		t.Errorf("|Δlogp| is %v, %v, want 0.5", d, err)
	}
}
