package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"retool/engine/tokenizer"
)

// A Chat puts a question into the turns of a model's chat: system prompt, user, and the begin of the assistant's turn. A template is
// rendered once per trajectory, for its opening; what follows is appended as tokens. A nil *Chat puts nothing around a question. It is
// immutable and safe for concurrent use.
type Chat struct {
	tok    tokenizer.Tokenizer
	name   string
	render func(conversation) (string, error)
	end    int32 // token that ends an assistant's turn
}

// The settings of protocol.chat.
const (
	chatAuto   = "auto"   // the model's own template, if it has one
	chatNative = "chatml" // Qwen2.5's
	chatNone   = "none"
)

// Words that no template holds, to find the places of contents in what it renders.
const question, response, output = "retoolquestion", "retoolresponse", "retooloutput"

// NewChat builds the chat that protocol.chat asks for; template is the model's own, nil where it has none. A template of the ChatML kind
// must render a fixed conversation as this package's own renderer does. The error names what does not fit, with the template's line
// where it does not parse.
func NewChat(mode string, tok tokenizer.Tokenizer, template *ChatTemplate) (*Chat, error) {
	c := &Chat{tok: tok}
	switch {
	case mode == chatNone, mode == chatAuto && template == nil:
		return nil, nil
	case mode == chatNative:
		c.name, c.render = chatNative, chatML
		for _, name := range []string{turnStart, turnEnd} {
			if _, ok := tok.Special(name); !ok {
				return nil, fmt.Errorf("engine: protocol.chat chatml wants the added token %s, which the tokenizer lacks: use auto or none", name)
			}
		}
	case mode == chatAuto:
		var err error
		if c.render, err = template.compile(); err != nil {
			return nil, remedied(err)
		}
		sum := sha256.Sum256([]byte(template.Text + "\x00" + template.BOS + "\x00" + template.EOS))
		c.name = fmt.Sprintf("template:%x", sum[:6])
		if err := c.compare(); err != nil {
			return nil, remedied(err)
		}
	}
	return c, c.findEnd()
}

func remedied(err error) error {
	return fmt.Errorf("%w (protocol.chat: none leaves the template out, chatml takes Qwen2.5's)", err)
}

// compare checks a template of the ChatML kind against chatML. A template may add to the begin of the assistant's turn.
func (c *Chat) compare() error {
	talk := conversation{messages: []message{{"system", "Be brief."}, {"user", "1 < 2 & \"π\" > 'e'?"}}}
	for _, tools := range []bool{false, true} {
		for _, talk.generate = range []bool{false, true} {
			talk.tools = tools
			want, _ := chatML(talk)
			got, err := c.render(talk)
			if err != nil {
				return err
			}
			kind := strings.HasPrefix(got, turnStart+"system\n") && (!tools || strings.Contains(got, "<tools>"))
			if same := got == want || talk.generate && strings.HasPrefix(got, want); kind && !same {
				at := 0
				for at < len(got) && at < len(want) && got[at] == want[at] {
					at++
				}
				return fmt.Errorf("engine: the model's chat template is of the ChatML kind, "+
					"but renders %.40q where ChatML has %.40q, at byte %d of a fixed conversation",
					got[at:], want[at:], at)
			}
		}
	}
	return nil
}

// findEnd finds the token that follows an assistant's turn.
func (c *Chat) findEnd() error {
	text, err := c.render(conversation{messages: []message{{"user", question}, {"assistant", response}}})
	if err != nil {
		return remedied(err)
	}
	if !strings.Contains(text, question) {
		return remedied(fmt.Errorf("engine: the model's chat template leaves the user's message out"))
	}
	_, after, _ := strings.Cut(text, response)
	end := ""
	for _, name := range addedTokens(c.tok) {
		if strings.HasPrefix(after, name) && len(name) > len(end) {
			end = name
		}
	}
	if end == "" {
		return remedied(fmt.Errorf("engine: the model's chat template ends an assistant's turn with %.40q, "+
			"which begins with no added token of the tokenizer", after))
	}
	c.end, _ = c.tok.Special(end)
	return nil
}

// addedTokens are the names of a tokenizer's added tokens, those of nothing but white space left out.
func addedTokens(tok tokenizer.Tokenizer) (names []string) {
	for id := range int32(tok.Size()) {
		name := tok.Name(id)
		if same, ok := tok.Special(name); ok && same == id && strings.TrimSpace(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

// Ends are the tokens at which a turn ends, the one that SFT teaches first: the chat's, then those of the model's folder.
func (c *Chat) Ends(ends []int32) []int32 {
	if c == nil {
		return ends
	}
	return append([]int32{c.end}, slices.DeleteFunc(slices.Clone(ends), func(id int32) bool { return id == c.end })...)
}

// contract is what a contract says of the chat: nothing without one.
func (c *Chat) contract() string {
	if c == nil {
		return ""
	}
	return " chat=" + c.name
}

// opening is a prompt whose user's turn is content, as tokens. The text is encoded as a whole, added tokens recognised: content must spell
// none. Without a chat it is the content alone, after what the tokenizer puts before a text; a template writes that itself.
func (c *Chat) opening(tok tokenizer.Tokenizer, content string, tools bool) ([]int32, error) {
	if c == nil {
		return slices.Concat(tok.BOS(), tok.Encode(content)), nil
	}
	content = strings.TrimSuffix(content, "\n") // of a plain prompt, where the template ends the line
	text, err := c.render(conversation{messages: []message{{"user", content}}, tools: tools, generate: true})
	if err != nil {
		return nil, err
	}
	return tok.EncodeTemplate(text), nil
}

// reply is what the template puts before and after a tool's output, from behind the token that ends the assistant's turn to the begin of
// its next one.
func (c *Chat) reply() (before, after string, err error) {
	text, err := c.render(conversation{
		messages: []message{{"user", question}, {"assistant", response}, {"tool", output}}, tools: true, generate: true,
	})
	if err != nil {
		return "", "", err
	}
	opening, rest, _ := strings.Cut(text, response)
	if !strings.Contains(opening, toolName) || !strings.Contains(opening, openCall) {
		return "", "", fmt.Errorf("engine: the model's chat template does not tell of tools that are called by %s, "+
			"which protocol.name hermes wants", openCall)
	}
	rest, ended := strings.CutPrefix(rest, c.tok.Name(c.end))
	before, after, found := strings.Cut(rest, output)
	if !ended || !found {
		return "", "", fmt.Errorf("engine: the model's chat template renders a tool's output as %.60q: want it behind %s",
			rest, c.tok.Name(c.end))
	}
	return before, after, nil
}
