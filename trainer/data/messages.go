package data

import (
	"errors"
	"strings"
)

// A message is one of a conversation.
type message struct {
	role string
	text string
	call string // code of a call that is a field of the message, not text
}

// reply reports whether a message is an output: of the tool's role, or a user's that wraps one.
func (m message) reply() bool {
	switch m.role {
	case "tool", "function", "ipython", "interpreter", "observation":
		return true
	}
	text := strings.TrimSpace(m.text)
	return m.role == "user" && (strings.HasPrefix(text, openResponse) || strings.HasPrefix(text, openResult))
}

// messages reads a list of {role, content, tool_calls}, or of ShareGPT's {from, value}. A text column may hold it as JSON.
func (r *row) messages(path string) ([]message, error) {
	v, err := r.get(path)
	if err != nil {
		return nil, err
	}
	if text, ok := v.(string); ok {
		if v, err = parsed(text); err != nil {
			return nil, r.bad("%q is a string that is not JSON: want an array of messages", path)
		}
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, r.bad("%q is %s: want an array of messages", path, kindOf(v))
	}
	var out []message
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, r.bad("%q, message %d is %s: want an object with role and content", path, i+1, kindOf(v))
		}
		m, err := oneMessage(object)
		if err != nil {
			return nil, r.bad("%q, message %d: %w", path, i+1, err)
		}
		out = append(out, m)
	}
	return out, nil
}

var roles = map[string]string{"human": "user", "gpt": "assistant", "model": "assistant", "developer": "system"}

func oneMessage(object map[string]any) (m message, err error) {
	role, content := object["role"], object["content"]
	if role == nil && content == nil {
		role, content = object["from"], object["value"]
	}
	var ok bool
	if m.role, ok = role.(string); !ok || m.role == "" {
		return m, errors.New("no role; it has " + names(columnsOf(object)))
	}
	if r, ok := roles[m.role]; ok {
		m.role = r
	}
	if m.text, err = contentText(content); err != nil {
		return m, err
	}
	calls, ok := object["tool_calls"].([]any)
	if !ok || len(calls) == 0 {
		return m, nil
	}
	m.call = several
	if len(calls) == 1 {
		call, _ := calls[0].(map[string]any)
		if f, ok := call["function"].(map[string]any); ok {
			call = f
		}
		if m.call, err = argument(call["arguments"]); err != nil {
			m.call, err = unreadable, nil
		}
	}
	return m, nil
}

// What stands for the code of calls that hold none to run.
const (
	several    = "\x00several"
	unreadable = "\x00unreadable"
)

// contentText is a text, or a list of parts of which the texts count.
func contentText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []any:
		var b strings.Builder
		for _, part := range v {
			object, _ := part.(map[string]any)
			text, ok := object["text"].(string)
			if !ok {
				return "", errors.New("a content part that is not text")
			}
			b.WriteString(text)
		}
		return b.String(), nil
	}
	return "", errors.New("content is " + kindOf(v) + ": want a string")
}

// talk takes the assistant's turns and the tool's replies of a conversation.
func (c *cutter) talk(talk []message) error {
	for _, m := range talk {
		var err error
		switch {
		case m.reply():
			text := strings.TrimSpace(m.text)
			for _, tags := range [][2]string{{openResponse, closeResponse}, {openResult, closeResult}} {
				if inner, ok := cutSuffix(strings.TrimPrefix(text, tags[0]), tags[1], strings.HasPrefix(text, tags[0])); ok {
					text = inner
				}
			}
			if _, tag := nextTag(text); tag != "" {
				return errNested
			}
			err = c.answer(text)
		case m.role != "assistant":
		case m.call == several:
			err = errManyCalls
		case m.call == unreadable:
			err = errNoCode
		default:
			if err = c.write(m.text); err == nil && m.call != "" {
				err = c.call(m.call, "")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
