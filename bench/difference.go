package bench

import (
	"fmt"
	"math"

	"retool/engine"
	"retool/engine/model"
	"retool/trainer"
)

// difference is the largest |rollout − training log-probability| of the tokens that trajectories drew at temperature 1 from m as it is:
// one packed forward scores them, as PPO's does before an update. The numerics contract says 0.
func difference(m *model.Model, drawn []*engine.Trajectory) (float64, error) {
	dev := m.Device()
	eps := make([]*trainer.Episode, len(drawn))
	for i, t := range drawn {
		eps[i] = trainer.NewEpisode(t, &trainer.Problem{}, i)
	}
	most := 0.0
	for _, b := range trainer.Pack(eps, m.Options.MaxTokens, 1) {
		s := model.NewScorer(dev, len(b.Rows))
		s.Load(b.Target)
		err := m.Score(model.Inputs{IDs: b.IDs, Starts: b.Starts, Rows: b.Rows}, func(h model.Head) { s.ScoreTargets(h, 1) })
		got := s.LogProbs()
		s.Close()
		if err != nil {
			return 0, fmt.Errorf("bench: score what was drawn: %w", err)
		}
		for i, old := range b.OldLogProb {
			most = max(most, math.Abs(float64(got[i])-float64(old)))
		}
	}
	if math.IsNaN(most) {
		return 0, fmt.Errorf("bench: score what was drawn: a log-probability is no number")
	}
	return most, nil
}
