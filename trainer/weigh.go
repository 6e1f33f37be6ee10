package trainer

import (
	"math/rand/v2"

	k "retool/kernels"
)

// weigh says what each step of a minibatch counts in its loss: Share, Held, Stay, Imitate. It is a function of the whole minibatch, taken
// before any pass, so neither the cut into passes nor that into ranks shows in it. With 1/N the weight of a step whose Share is 1, N being
// the steps of the minibatch, the loss is
//
//	token      the mean over all steps (DAPO)
//	sequence   the mean over responses of the mean over their steps (GRPO, GSPO)
//	group      the mean over prompts of the mean over the steps of all their responses
//	constant   the mean over responses of the sum over their steps ÷ horizon (Dr. GRPO)
func (a Algorithm) weigh(rl RL, mini []*Episode, draw *rand.Rand) {
	n, episodes, right := 0, 0, 0
	groups := map[int]int{} // steps of each
	for _, e := range mini {
		if len(e.Steps) == 0 {
			continue
		}
		n += len(e.Steps)
		episodes++
		groups[e.Group] += len(e.Steps)
		if e.Grade.Outcome == Correct {
			right += len(e.Steps)
		}
	}
	for _, e := range mini {
		share := 1.0
		switch rl.Averages() {
		case "sequence":
			share = float64(n) / float64(episodes*max(1, len(e.Steps)))
		case "group":
			share = float64(n) / float64(len(groups)*max(1, groups[e.Group]))
		case "constant":
			share = float64(n) / float64(episodes*max(1, rl.Horizon))
		}
		imitate := 0.0
		if e.Grade.Outcome == Correct && right > 0 {
			imitate = rl.Imitate * float64(n) / float64(right)
		}
		for i := range e.Steps {
			s := &e.Steps[i]
			s.Share, s.Held, s.Stay, s.Imitate = float32(share), false, 0, float32(imitate)
		}
	}
	if a.Mark != nil {
		a.Mark(rl, mini, draw)
	}
}

// Averages that rl.aggregate can name.
var averages = []string{"token", "sequence", "group", "constant"}

// estimators that rl.kl_estimator can name.
var estimators = map[string]k.Estimator{"k1": k.K1, "k2": k.K2, "k3": k.K3}
