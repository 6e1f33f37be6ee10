package arith

import "strings"

// What the runtime puts around the output of a call, after the </code> that the model wrote. There is no newline before the closing
// tag: the output is stripped.
const (
	feedbackOpen  = "\n<interpreter>\n"
	feedbackClose = "</interpreter>\n\n"
)

// maxOutput is how much of an output is shown, in characters; of a longer one the two ends are.
const maxOutput = 400

// Observe returns what the model is shown of a call: its standard output, stripped; if it failed, the last line of its traceback alone.
// More than 400 characters become the first 200, "..." and the last 200.
func Observe(stdout, lastTracebackLine string, failed bool) string {
	s := strings.TrimSpace(stdout)
	if failed {
		s = strings.TrimSpace(lastTracebackLine)
	}
	if len(s) > maxOutput {
		if r := []rune(s); len(r) > maxOutput {
			s = string(r[:maxOutput/2]) + "..." + string(r[len(r)-maxOutput/2:])
		}
	}
	return s
}

// Feedback returns the text that follows a call in a trajectory: one text, to be tokenised as one.
func Feedback(output string) string { return feedbackOpen + output + feedbackClose }
