package trainer

import (
	"strings"

	"retool/engine"
	"retool/trainer/answer"
	"retool/trainer/trace"
)

// Outcome is the verifier's word on a response, as [answer.Outcome] spells it.
type Outcome string

const (
	Correct       Outcome = "correct"
	Wrong         Outcome = "wrong"
	NoAnswer      Outcome = "no_answer"
	VerifierError Outcome = "verifier_error" // a limit was hit: never a reward, the trajectory leaves its group
)

// Grade is a response's verdict and its three rewards.
type Grade struct {
	Answer   string  // content of the last box, as found
	Outcome  Outcome // by the configured verifier
	Verdicts trace.Verdicts
	Rewards  trace.Rewards
}

// Grade scores a trajectory. The paper's reward sees what the policy wrote outside its code, never prompt or tool output; the
// other two see all that it wrote, special tokens left out, as the programs they come from do. The penalty of a long response is in the
// reward that trains alone.
func (r Reward) Grade(t *engine.Trajectory, truth string, bytes func(int32) []byte, outside func(string) string) (Grade, float32) {
	sampled := sampledText(t, bytes)
	text := outside(sampled)
	g := Grade{}
	g.Answer, _ = r.Verifier.Box(text)
	g.Verdicts = trace.Verdicts{
		Math: answer.Math.Grade(text, truth).String(), DAPO: answer.DAPO.Grade(text, truth).String(),
		Strict: answer.Strict.Grade(sampled, truth).String(), Lenient: answer.Lenient.Grade(text, truth).String(),
	}
	g.Outcome = Outcome(verdictBy(g.Verdicts, r.Verifier))
	if r.Verifier == answer.Strict {
		g.Answer, _ = r.Verifier.Box(sampled)
	}
	switch g.Outcome {
	case Correct:
		g.Rewards.Paper = 1
	case Wrong, NoAnswer:
		g.Rewards.Paper = -1
	}
	dapo, _ := answer.DAPOStrict(sampled, truth, r.Strict)
	strict, _ := answer.DAPOStrict(sampled, truth, true)
	n := len(t.Calls)
	if r.Count == "turns" {
		n = answer.Turns(len(t.Calls), len(t.Calls)+1)
	}
	g.Rewards.DAPOStrict, g.Rewards.ToolShaped = float32(dapo), float32(answer.ToolShaped(strict, n))
	reward := g.Rewards.Paper
	switch r.Use {
	case "dapo-strict":
		reward = g.Rewards.DAPOStrict
	case "tool-shaped":
		reward = g.Rewards.ToolShaped
	}
	return g, reward - float32(r.Overlong.of(t.Len()-t.Prompt))
}

// Into writes the grade into a record.
func (g Grade) Into(r *trace.Record) {
	r.Answer, r.Outcome, r.Verdicts, r.Rewards = g.Answer, string(g.Outcome), g.Verdicts, g.Rewards
}

// sampledText is all that the policy wrote. Turns are joined as they follow one another.
func sampledText(t *engine.Trajectory, bytes func(int32) []byte) string {
	var b strings.Builder
	for _, k := range t.Tokens() {
		if k.Source == engine.Policy {
			b.Write(bytes(k.ID))
		}
	}
	return b.String()
}
