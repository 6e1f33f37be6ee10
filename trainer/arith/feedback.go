package arith

// What the runtime puts around the output of a call, after the </code> that the model wrote. There is no newline before the closing
// tag: the output is stripped.
const (
	feedbackOpen  = "\n<interpreter>\n"
	feedbackClose = "</interpreter>\n\n"
)

// feedback is the text that follows a call in a trace: one text, to be tokenised as one.
func feedback(output string) string { return feedbackOpen + output + feedbackClose }
