package data

import (
	"errors"
	"strings"
)

// A turn is what the policy wrote up to one call, and the output that answered it. The last turn of a response calls nothing.
type turn struct {
	text   string // before the call
	call   string // the call as it was written in tags; "" where it came in another form
	code   string
	called bool
	output string
}

// Why a response cannot be cut into turns: the drop reasons that inspection and verification count.
var (
	errUnbalanced = errors.New("unbalanced_tags")
	errNested     = errors.New("nested_tags")
	errNoCode     = errors.New("no_code")
	errNoResult   = errors.New("no_result_for_code")
	errNoCall     = errors.New("result_without_code")
	errManyCalls  = errors.New("several_calls_in_a_turn")
	errUnfinished = errors.New("ends_with_tool")
)

const (
	openCode, closeCode         = "<code>", "</code>"
	openResult, closeResult     = "<interpreter>", "</interpreter>"
	openCall, closeCall         = "<tool_call>", "</tool_call>"
	openResponse, closeResponse = "<tool_response>", "</tool_response>"
)

// markup are the tags that cut a response.
var markup = []string{openCode, closeCode, openResult, closeResult, openCall, closeCall, openResponse, closeResponse}

// nextTag finds the first tag in a text.
func nextTag(text string) (at int, tag string) {
	at = len(text)
	for _, t := range markup {
		if i := strings.Index(text, t); i >= 0 && i < at {
			at, tag = i, t
		}
	}
	return at, tag
}

// A cutter takes a response apart as it comes, text by text. Outputs are found in the text, or given by answer.
type cutter struct {
	turns []turn
	open  turn // text read since the last output; called: its call waits for one
}

// write reads text of the policy, and what of the tool's is in it.
func (c *cutter) write(text string) error {
	for text != "" {
		i, tag := nextTag(text)
		before, rest := text[:i], text[i+len(tag):]
		if c.open.called && strings.TrimSpace(between(before)) != "" {
			return errNoResult
		}
		if !c.open.called {
			c.open.text += before
		}
		if tag == "" {
			return nil
		}
		end := ""
		switch tag {
		case openCode:
			end = closeCode
		case openCall:
			end = closeCall
		case openResult:
			end = closeResult
		case openResponse:
			end = closeResponse
		default:
			return errUnbalanced
		}
		inner, after, closed := strings.Cut(rest, end)
		if !closed {
			return errUnbalanced
		}
		if _, nested := nextTag(inner); nested != "" {
			return errNested
		}
		var err error
		switch tag {
		case openCode:
			err = c.call(fencedCode(inner), openCode+inner+closeCode)
		case openCall:
			var code string
			if code, err = callCode(inner); err == nil {
				err = c.call(code, "")
			}
		default:
			err = c.answer(inner)
		}
		if err != nil {
			return err
		}
		text = after
	}
	return nil
}

// chatMarks are what chat templates put between messages, and what ends a text.
var chatMarks = []string{"<|im_end|>", "<|im_start|>user", "<|im_start|>tool", "<|im_start|>assistant",
	"<|endoftext|>", "<|eot_id|>", "</s>"}

// between is what stands between a call and its output besides the chat markup.
func between(text string) string {
	for _, mark := range chatMarks {
		text = strings.ReplaceAll(text, mark, "")
	}
	return text
}

// bare takes chat markup off both ends of a turn's text: the protocol writes it, or the model's end of text. A text without any is left as
// it is.
func bare(text string) string {
	for {
		before := text
		for _, mark := range chatMarks {
			if rest, ok := strings.CutPrefix(strings.TrimLeft(text, " \t\r\n"), mark); ok {
				text = strings.TrimLeft(rest, " \t\r\n")
			}
			if rest, ok := strings.CutSuffix(strings.TrimRight(text, " \t\r\n"), mark); ok {
				text = strings.TrimRight(rest, " \t\r\n")
			}
		}
		if text == before {
			return text
		}
	}
}

func (c *cutter) call(code, written string) error {
	switch {
	case c.open.called && written == "":
		return errManyCalls
	case c.open.called:
		return errNoResult
	case code == "":
		return errNoCode
	}
	c.open.called, c.open.code, c.open.call = true, code, written
	c.open.text = bare(c.open.text)
	return nil
}

// answer gives the open call its output.
func (c *cutter) answer(output string) error {
	if !c.open.called {
		return errNoCall
	}
	c.open.output = strings.TrimSpace(output)
	c.turns = append(c.turns, c.open)
	c.open = turn{}
	return nil
}

// end is the whole response.
func (c *cutter) end() ([]turn, error) {
	if c.open.called {
		return nil, errNoResult
	}
	if c.open.text = bare(c.open.text); strings.TrimSpace(c.open.text) == "" {
		return nil, errUnfinished
	}
	return append(c.turns, c.open), nil
}

// fencedCode is the code of a <code> span: its first fenced block, or all of it where there is no fence.
func fencedCode(span string) string {
	if _, after, ok := strings.Cut(span, "```"); ok {
		after = strings.TrimPrefix(strings.TrimPrefix(after, "python"), "py")
		block, _, _ := strings.Cut(after, "```")
		return strings.TrimSpace(block)
	}
	return strings.TrimSpace(span)
}

// callCode is the code of a call in JSON: {"name": …, "arguments": {"code": …}}. The arguments may be a text that holds JSON.
func callCode(text string) (string, error) {
	v, err := parsed(strings.TrimSpace(text))
	if err != nil {
		return "", errNoCode
	}
	object, _ := v.(map[string]any)
	return argument(object["arguments"])
}

// argument is the code that the arguments of a call hold: under "code", or their only text.
func argument(v any) (string, error) {
	if text, ok := v.(string); ok {
		inner, err := parsed(text)
		if err != nil {
			return "", errNoCode
		}
		v = inner
	}
	object, ok := v.(map[string]any)
	if !ok {
		return "", errNoCode
	}
	code, ok := object["code"].(string)
	if !ok {
		var texts []string
		for _, v := range object {
			if text, ok := v.(string); ok {
				texts = append(texts, text)
			}
		}
		if len(texts) == 1 {
			code = texts[0]
		}
	}
	if strings.Contains(code, "```") {
		code = fencedCode(code)
	}
	if code = strings.TrimSpace(code); code == "" {
		return "", errNoCode
	}
	return code, nil
}
