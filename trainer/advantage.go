package trainer

import "math"

// GAE fills Advantage and Return of an episode's steps (Schulman 2016, eq. 16):
//
//	δ_t = r_t + γ·V_{t+1} − V_t,   A_t = δ_t + γλ·A_{t+1},   Return_t = A_t + V_t
//
// The reward falls on the last step, beside those of the steps themselves, and the value after it is 0. Steps are the policy's tokens,
// so t+1 lies beyond any tool output between them. With γ = λ = 1, A_t = Reward − V_t.
func GAE(e *Episode, gamma, lambda float64) {
	next, advantage := 0.0, 0.0
	reward := float64(e.Reward)
	for t := len(e.Steps) - 1; t >= 0; t-- {
		s := &e.Steps[t]
		v := float64(s.Value)
		reward += float64(s.Reward)
		advantage = reward + gamma*next - v + gamma*lambda*advantage
		s.Advantage, s.Return = float32(advantage), float32(advantage+v)
		next, reward = v, 0
	}
}

// Whiten gives the advantages of all steps mean 0 and deviation 1.
func Whiten(eps []*Episode) {
	var n, sum, squares float64
	for _, e := range eps {
		for _, s := range e.Steps {
			n++
			sum += float64(s.Advantage)
			squares += float64(s.Advantage) * float64(s.Advantage)
		}
	}
	if n < 2 {
		return
	}
	mean := sum / n
	scale := 1 / math.Sqrt(max(squares/n-mean*mean, 0)+1e-8)
	for _, e := range eps {
		for i := range e.Steps {
			e.Steps[i].Advantage = float32((float64(e.Steps[i].Advantage) - mean) * scale)
		}
	}
}

// GroupBaseline gives every step of an episode the reward's distance from its group's mean, in deviations of the group if deviation says
// so (GRPO, Shao 2024, §4.1.2; without, Dr. GRPO, Liu 2025): A = (R − mean)/(std + 1e-6), std with n − 1 in the denominator.
func GroupBaseline(eps []*Episode, deviation bool) {
	groups := groupMoments(eps)
	for _, e := range eps {
		m := groups[e.Group]
		a := 0.0
		if m.n > 1 {
			mean := m.sum / m.n
			a = e.total() - mean
			if deviation {
				a /= math.Sqrt(max(0, m.squares-m.n*mean*mean)/(m.n-1)) + 1e-6
			}
		}
		e.advantage(a)
	}
}

// LeaveOneOut gives every step of an episode the reward's distance from the mean of the others of its group (RLOO, Ahmadian 2024).
func LeaveOneOut(eps []*Episode) {
	groups := groupMoments(eps)
	for _, e := range eps {
		a := 0.0
		if m := groups[e.Group]; m.n > 1 {
			a = e.total() - (m.sum-e.total())/(m.n-1)
		}
		e.advantage(a)
	}
}

// BatchBaseline gives every step of an episode the reward's distance from the mean of all.
func BatchBaseline(eps []*Episode) {
	sum := 0.0
	for _, e := range eps {
		sum += e.total()
	}
	for _, e := range eps {
		e.advantage(e.total() - sum/float64(len(eps)))
	}
}

// RewardsToCome gives every step the sum of its reward and all after it.
func RewardsToCome(eps []*Episode) {
	for _, e := range eps {
		sum := float64(e.Reward)
		for i := len(e.Steps) - 1; i >= 0; i-- {
			sum += float64(e.Steps[i].Reward)
			e.Steps[i].Advantage = float32(sum)
		}
	}
}

type moments struct{ n, sum, squares float64 }

// groupMoments are those of the rewards of each group.
func groupMoments(eps []*Episode) map[int]moments {
	groups := map[int]moments{}
	for _, e := range eps {
		m, r := groups[e.Group], e.total()
		groups[e.Group] = moments{m.n + 1, m.sum + r, m.squares + r*r}
	}
	return groups
}

// advantage gives all steps one.
func (e *Episode) advantage(a float64) {
	for i := range e.Steps {
		e.Steps[i].Advantage = float32(a)
	}
}
