package data

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Form is how calls and their replies are written. The zero Form leaves traces in the form of their file.
//
// In tags a call is <code>, a fenced script, </code>, and a reply is Before, the stripped output, After. In hermes a segment is the content
// of a message: a call is a <tool_call> with JSON at the end of the policy's text, a reply a <tool_response>; the chat markup between
// messages is the protocol's, which also writes the token that ends each of the policy's.
type Form struct {
	Hermes        bool
	Before, After string // of a reply in tags
}

const hermesBefore, hermesAfter = openResponse + "\n", "\n" + closeResponse

// known reports whether the form is one to write.
func (f Form) known() bool { return f.Hermes || f.Before != "" }

// segments writes turns in the form. changed: what it leaves out that the turns had.
func (f Form) segments(turns []turn) (out []Segment, dropped bool) {
	for i, t := range turns {
		text := t.text
		if i > 0 || f.Hermes {
			text = strings.TrimLeft(text, " \t\r\n") // it belonged to the reply before
		}
		if !t.called {
			if f.Hermes {
				text, dropped = withoutAnswerTags(strings.TrimSpace(text))
			}
			out = append(out, Segment{text, Policy})
			continue
		}
		if f.Hermes {
			call := openCall + "\n" + callJSON(t.code) + "\n" + closeCall
			out = append(out, Segment{joined(text, call), Policy}, Segment{hermesBefore + t.output + hermesAfter, Tool})
			continue
		}
		if call := t.call; call != "" {
			text += call
		} else {
			text = joined(text, openCode+"\n```python\n"+t.code+"\n```\n"+closeCode)
		}
		out = append(out, Segment{text, Policy}, Segment{f.Before + t.output + f.After, Tool})
	}
	return out, dropped
}

// joined is text, then a call on lines of its own.
func joined(text, call string) string {
	if text = strings.TrimRight(text, " \t\r\n"); text != "" {
		text += "\n"
	}
	return text + call
}

// withoutAnswerTags is the last message of a hermes trace: the <answer> tags taken off, what follows them left out.
func withoutAnswerTags(text string) (rest string, dropped bool) {
	before, after, open := strings.Cut(text, "<answer>")
	answer, tail, closed := strings.Cut(after, "</answer>")
	if !open || !closed {
		return text, false
	}
	return strings.TrimSpace(before + strings.TrimSpace(answer)), strings.TrimSpace(tail) != ""
}

// callJSON is a call as chat templates of the Hermes kind print it.
func callJSON(code string) string {
	return `{"name": "code_interpreter", "arguments": {"code": ` + quoted(code) + `}}`
}

// quoted is a text as JSON, everything that need not be escaped left as it is.
func quoted(text string) string {
	b, err := json.Marshal(text, jsontext.EscapeForHTML(false), jsontext.EscapeForJS(false))
	if err != nil {
		panic("data: text that is not UTF-8: " + err.Error()) // rows are checked when they are read
	}
	return string(b)
}

// holds reports whether a reply has the form already, after the text of a turn whose closing token may have carried its first bytes.
func (f Form) holds(policy, reply string) bool {
	before, after, end := f.Before, f.After, closeCode
	if f.Hermes {
		before, after, end = hermesBefore, hermesAfter, closeCall
	}
	i := strings.LastIndex(policy, end)
	if i < 0 {
		return false
	}
	if rest, ok := strings.CutPrefix(before, policy[i+len(end):]); ok {
		before = rest
	}
	output, ok := strings.CutPrefix(reply, before)
	if output, ok = cutSuffix(output, after, ok); !ok {
		return false
	}
	return f.Hermes || output == strings.TrimSpace(output)
}

func cutSuffix(text, suffix string, ok bool) (string, bool) {
	rest, cut := strings.CutSuffix(text, suffix)
	return rest, ok && cut
}

// convert puts segments into the form. Those that have it are left as they are; so are all where one cannot be cut, for the checks of the
// protocol to name.
func (f Form) convert(segments []Segment) (out []Segment, changed bool) {
	fits := f.known()
	for i, s := range segments {
		fits = fits && (s.Source == Policy || i > 0 && f.holds(segments[i-1].Text, s.Text))
	}
	if fits || !f.known() {
		return segments, false
	}
	var c cutter
	for _, s := range segments {
		text := strings.TrimSpace(s.Text)
		switch {
		case s.Source == Tool && !strings.HasPrefix(text, openResult) && !strings.HasPrefix(text, openResponse):
			return segments, false
		case s.Source == Policy && (strings.Contains(text, openResult) || strings.Contains(text, openResponse)):
			return segments, false
		}
		if c.write(s.Text) != nil {
			return segments, false
		}
	}
	turns, err := c.end()
	if err != nil {
		return segments, false
	}
	out, _ = f.segments(turns)
	return out, true
}
