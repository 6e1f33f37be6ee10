package data

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
)

// WriteProblems writes one JSON object a line: {"id","family","question","answer"}.
func WriteProblems(w io.Writer, ps ...Problem) error {
	return writeRows(w, ps, func(p Problem) any { return p })
}

// traceRow is a trace as it lies in a file of ours.
type traceRow struct {
	Problem
	Segments []segmentRow `json:"segments"`
}

type segmentRow struct {
	Text   string `json:"text"`
	Source string `json:"source"`
}

// WriteTraces writes one JSON object a line: {"id","family","question","answer","segments":[{"text","source"}]}; a source is "policy" or
// "tool".
func WriteTraces(w io.Writer, ts ...Trace) error {
	return writeRows(w, ts, func(t Trace) any {
		r := traceRow{Problem: t.Problem}
		for _, s := range t.Segments {
			r.Segments = append(r.Segments, segmentRow{s.Text, s.Source.String()})
		}
		return r
	})
}

// messageRow is a message as chat templates take it.
type messageRow struct {
	Role    string     `json:"role"`
	Content string     `json:"content"`
	Calls   []toolCall `json:"tool_calls,omitempty"`
}

type toolCall struct {
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments struct {
			Code string `json:"code"`
		} `json:"arguments"`
	} `json:"function"`
}

// A Conversation is a trace as chat templates with tools take it: the question, the assistant's turns with their calls, the tool's outputs.
type Conversation struct {
	ID       string       `json:"id"`
	Family   string       `json:"family,omitempty"`
	Messages []messageRow `json:"messages"`
	Answer   string       `json:"answer,omitempty"`
}

// Conversation cuts a trace into messages: code out of its tags, outputs stripped, the <answer> tags taken off. dropped: there was text
// after </answer>, which is left out. It is an error if the trace is not one of calls and replies.
func (t Trace) Conversation() (c Conversation, dropped bool, err error) {
	var cut cutter
	for _, s := range t.Segments {
		if err := cut.write(s.Text); err != nil {
			return c, false, fmt.Errorf("data: trace %s: %w", t.Problem.ID, err)
		}
	}
	turns, err := cut.end()
	if err != nil {
		return c, false, fmt.Errorf("data: trace %s: %w", t.Problem.ID, err)
	}
	c = t.Problem.Conversation()
	for _, t := range turns {
		m := messageRow{Role: "assistant", Content: strings.TrimSpace(t.text)}
		if !t.called {
			m.Content, dropped = withoutAnswerTags(m.Content)
			c.Messages = append(c.Messages, m)
			continue
		}
		call := toolCall{Type: "function"}
		call.Function.Name, call.Function.Arguments.Code = "code_interpreter", t.code
		m.Calls = []toolCall{call}
		c.Messages = append(c.Messages, m, messageRow{Role: "tool", Content: t.output})
	}
	return c, dropped, nil
}

// Conversation is a problem without a response: the user's message alone.
func (p Problem) Conversation() Conversation {
	return Conversation{p.ID, p.Family, []messageRow{{Role: "user", Content: p.Question}}, p.Answer}
}

// Written is a trace whose response is one message as it stands, calls and replies in its text.
func (t Trace) Written() Conversation {
	c := t.Problem.Conversation()
	var text strings.Builder
	for _, s := range t.Segments {
		text.WriteString(s.Text)
	}
	c.Messages = append(c.Messages, messageRow{Role: "assistant", Content: text.String()})
	return c
}

// WriteConversations writes one JSON object a line: {"id","family","messages":[{"role","content","tool_calls"}],"answer"}.
func WriteConversations(w io.Writer, cs ...Conversation) error {
	return writeRows(w, cs, func(c Conversation) any { return c })
}

func writeRows[T any](w io.Writer, items []T, row func(T) any) error {
	buf := bufio.NewWriter(w)
	for _, it := range items {
		line, err := json.Marshal(row(it))
		if err == nil {
			_, err = buf.Write(append(line, '\n'))
		}
		if err != nil {
			return fmt.Errorf("data: write rows: %w", err)
		}
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("data: write rows: %w", err)
	}
	return nil
}
