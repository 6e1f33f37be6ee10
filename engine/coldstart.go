package engine

import (
	"fmt"
	"strings"
)

// Feedback is what stands before and after an output in a reply of the form that protocol.feedback names.
func Feedback(name string) (before, after string) { return feedbacks[name][0], feedbacks[name][1] }

// ReplyFault says what keeps a stored reply from being one that this protocol gives to a stored turn; "" if nothing does. A model
// that learns from another form waits in rollouts for white space that never comes.
func (p *Tags) ReplyFault(turn, reply string) string {
	request, closed := p.Call([]byte(turn), len(turn), false)
	if !closed {
		return "tool segments after text that closes no call"
	}
	text := p.feedback[0]
	if rest, ok := strings.CutPrefix(text, string(request.Extra)); ok {
		text = rest
	}
	if !strings.HasPrefix(reply, text) || !strings.HasSuffix(reply, p.feedback[1]) {
		return fmt.Sprintf("tool segments that are not in the form protocol.feedback %s, %q … %q", p.cfg.Feedback, p.feedback[0], p.feedback[1])
	}
	return ""
}

// TextFault says what a stored turn holds that only the runtime writes; "" if nothing. It would be trained on.
func (p *Tags) TextFault(turn string) string {
	for _, tag := range []string{"<interpreter>", "</interpreter>"} {
		if strings.Contains(turn, tag) {
			return "policy segments that hold " + tag + ", which the model would learn to write"
		}
	}
	return ""
}
