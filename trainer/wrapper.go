package trainer

import "strings"

// DAPO-Math-17k wraps every problem in instructions that ask for another answer format than the box.
const (
	wrapperBefore = "Solve the following math problem step by step. " +
		"The last line of your response should be of the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
	wrapperAfter = "\n\nRemember to put your answer on its own line after \"Answer:\"."
)

// StripWrapper takes exactly that prefix and that suffix off a question that has both; any other is left as it is.
func StripWrapper(question string) string {
	s, before := strings.CutPrefix(question, wrapperBefore)
	s, after := strings.CutSuffix(s, wrapperAfter)
	if !before || !after {
		return question
	}
	return s
}
