package main

import (
	"strings"

	"retool/engine"
	"retool/trainer"
	"retool/trainer/answer"
	"retool/trainer/data"
)

// prepare brings the question and the ground truth of a public file into the form that this program asks and grades. unwrapped: a template
// was taken off the question.
func (d Data) prepare(q *data.Problem) (unwrapped bool) {
	q.Answer = finalAnswer(q.Answer)
	if d.Wrapper != "strip" {
		return false
	}
	asked := q.Question
	q.Question = withoutTemplate(trainer.StripWrapper(asked))
	return q.Question != asked
}

// finalAnswer is what stands after the #### of a worked solution in GSM8K's form, or in the last box of a text; any other answer is left
// as it is.
func finalAnswer(truth string) string {
	if i := strings.LastIndex(truth, "####"); i >= 0 {
		if rest := strings.TrimSpace(truth[i+4:]); rest != "" && !strings.Contains(rest, "\n") {
			return rest
		}
	}
	if inner, ok := answer.Box(truth); ok && strings.TrimSpace(inner) != "" {
		return strings.TrimSpace(inner)
	}
	return truth
}

// withoutTemplate is the question that one of our prompt templates was filled with, as the rows of ReTool-SFT are; else the text as it is.
// Prompts that begin otherwise but mark the question as the published one does lose what stands around it there.
func withoutTemplate(prompt string) string {
	for _, t := range []string{"retool-repo", "paper-fig7"} {
		before, after, _ := strings.Cut(engine.Render(t, "\x00"), "\x00")
		if q, ok := strings.CutPrefix(prompt, before); ok {
			if q, ok = strings.CutSuffix(q, after); ok {
				return strings.TrimSpace(q)
			}
		}
	}
	_, q, marked := strings.Cut(prompt, "*user question:*")
	if !marked {
		return prompt
	}
	q = strings.TrimSpace(q)
	q = strings.TrimPrefix(q, `Answer the following Math Problem and put the answer in the format of \boxed{answer}`)
	q, _, _ = strings.Cut(q, "Remember to place the final answer in the last part")
	return strings.TrimSpace(q)
}

// form is how traces are to be written: in the tags or the messages that the protocol of rollouts uses.
func (c *Config) form() data.Form { return formOf(c.Protocol.Name, c.Protocol.Feedback) }

func formOf(protocol, feedback string) data.Form {
	if protocol == "hermes" {
		return data.Form{Hermes: true}
	}
	before, after := engine.Feedback(feedback)
	return data.Form{Before: before, After: after}
}
