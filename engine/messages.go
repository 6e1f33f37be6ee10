package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Message is one turn of a conversation, as chat templates know it.
type Message struct {
	Role    string `json:"role"` // system, user, assistant, tool
	Content string `json:"content"`
}

// Conversation is messages as the chat's template renders them, and as tokens. Contents are made inert first: what spells an added token in
// them becomes none. tools: the code interpreter is on offer; generate: the assistant's next turn is begun.
func (c *Chat) Conversation(messages []Message, tools, generate bool) (text string, ids []int32, err error) {
	if c == nil {
		return "", nil, errors.New("engine: messages want a chat template, and the model's folder has none")
	}
	names := newInert(addedTokens(c.tok))
	talk := conversation{tools: tools, generate: generate}
	for _, m := range messages {
		talk.messages = append(talk.messages, message{m.Role, names.in(m.Content)})
	}
	if text, err = c.render(talk); err != nil {
		return "", nil, err
	}
	return text, c.tok.EncodeTemplate(text), nil
}

// Next is what follows an assistant's turn when the user says something more, from behind the token that ended that turn to the begin of
// the assistant's next. It is appended to the tokens there are, none of which is rendered again.
func (c *Chat) Next(content string) ([]int32, error) {
	if strings.TrimSpace(content) == "" {
		return nil, errors.New("engine: message: it is empty")
	}
	text, err := c.render(conversation{
		messages: []message{{"user", question}, {"assistant", response}, {"user", output}}, generate: true,
	})
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(text, response)
	rest, ended := strings.CutPrefix(rest, c.tok.Name(c.end))
	if !ended || !strings.Contains(rest, output) {
		return nil, fmt.Errorf("engine: the model's chat template renders a user's second message as %.60q: want it behind %s",
			rest, c.tok.Name(c.end))
	}
	said := newInert(slices.Concat(protocolMarks(), addedTokens(c.tok))).in(content)
	return c.tok.EncodeTemplate(strings.Replace(rest, output, said, 1)), nil
}

// End is the token that ends an assistant's turn.
func (c *Chat) End() int32 { return c.end }
