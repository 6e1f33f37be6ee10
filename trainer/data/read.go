package data

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Why a row is left out, besides what keeps its response from being cut into turns.
const (
	EmptyQuestion = "rows left out, their question is empty"
	Unreadable    = "rows left out, their responses cannot be cut into calls and replies"
)

// A Reader reads the rows of a file by a layout. Note, where it is set, hears of what it changes or leaves aside, a kind and a row at a
// time.
type Reader struct {
	File   *File
	Layout Layout
	Form   Form // of traces
	Note   func(kind, example string)
}

func (r *Reader) note(at *row, kind, detail string) {
	if r.Note != nil {
		r.Note(kind, strings.TrimSpace(at.where+" "+detail))
	}
}

// Problems reads problem after problem. Blank lines are skipped. An error is a *[RowError] with file and row, after which the next row
// may be asked for, or the end. A row without an id is named for its place; in our own layout an id occurs once.
func (r *Reader) Problems() iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		ids := map[string]string{}
		for row, err := range r.File.rows() {
			var p Problem
			if err == nil {
				p, _, err = r.problem(row)
			}
			if err == nil {
				if before, again := ids[p.ID]; again && r.Layout.plain {
					err = row.bad("id %q occurs in %s already", p.ID, strings.Replace(before, "-", " ", 1))
				} else if again {
					p.ID = row.name
				}
				ids[p.ID] = row.name
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Traces reads trace after trace, in the form of the Reader, by the rules of [Reader.Problems]; traces may share an id, and
// need no answer. Segments are not empty, the first and the last are the policy's.
func (r *Reader) Traces() iter.Seq2[Trace, error] {
	return func(yield func(Trace, error) bool) {
		for row, err := range r.File.rows() {
			var t Trace
			if err == nil {
				t, err = r.trace(row)
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// problem reads the columns of a problem, and the conversation it comes from if it does.
func (r *Reader) problem(row *row) (p Problem, talk []message, err error) {
	l := r.Layout
	if l.Messages != "" {
		if talk, err = row.messages(l.Messages); err != nil {
			return p, nil, err
		}
	}
	switch {
	case l.Question != "":
		p.Question, err = r.question(row, l.Question)
	default:
		p.Question, err = r.asked(row, talk)
	}
	if err != nil {
		return p, nil, err
	}
	if l.Answer != "" {
		if p.Answer, err = row.text(l.Answer, true); err != nil {
			return p, nil, err
		}
		if p.Answer = blank(p.Answer); p.Answer == "" && !l.traces {
			return p, nil, row.bad("%q is empty: want a ground truth", l.Answer)
		}
	}
	if p.ID, err = r.label(row, l.ID); err != nil {
		return p, nil, err
	}
	if p.ID == "" {
		p.ID = row.name
	}
	if p.Family, err = r.label(row, l.Family); err != nil {
		return p, nil, err
	}
	if strings.TrimSpace(p.Question) == "" {
		path := l.Question
		if path == "" {
			path = l.Messages
		}
		return p, nil, row.drop(EmptyQuestion, "%q is empty: want a question", path)
	}
	return p, talk, nil
}

// blank is "" for a text of white space alone.
func blank(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return text
}

// label is an id or a family: what a row need not have.
func (r *Reader) label(row *row, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if _, err := row.get(path); err != nil {
		return "", nil
	}
	return row.text(path, true)
}

// question is a text, or the user's message of a list of messages.
func (r *Reader) question(row *row, path string) (string, error) {
	v, err := row.get(path)
	if err != nil {
		return "", err
	}
	if _, list := v.([]any); !list {
		return row.text(path, false)
	}
	talk, err := row.messages(path)
	if err != nil {
		return "", err
	}
	if n := len(talk); n > 0 && talk[n-1].role != "user" {
		return "", row.bad("%q ends with a message of role %q: want the user's question last", path, talk[n-1].role)
	}
	return r.asked(row, talk)
}

// asked is the one question of a conversation. System messages are left aside: the protocol has its own prompt.
func (r *Reader) asked(row *row, talk []message) (string, error) {
	question, found := "", false
	for _, m := range talk {
		switch {
		case m.role == "system":
			r.note(row, "system messages left aside, the prompt is protocol.template's", fmt.Sprintf("%.60q", m.text))
		case m.role == "user" && !m.reply() && found:
			return "", row.drop(Unreadable, "several_questions: a second message of the user: want one question a row")
		case m.role == "user" && !m.reply():
			question, found = m.text, true
		}
	}
	return question, nil
}

// trace reads a row with its response.
func (r *Reader) trace(row *row) (t Trace, err error) {
	var talk []message
	if t.Problem, talk, err = r.problem(row); err != nil {
		return t, err
	}
	l := r.Layout
	if l.Segments != "" {
		written, err := row.segments(l.Segments)
		if err != nil {
			return t, err
		}
		var changed bool
		if t.Segments, changed = r.Form.convert(written); changed {
			r.note(row, "traces put into the configured form of calls and replies", "")
		}
		return t, nil
	}
	var c cutter
	var text string
	if l.Messages != "" {
		err = c.talk(talk)
	} else if text, err = row.text(l.Response, false); err != nil {
		return t, err
	} else {
		err = c.write(text)
	}
	var turns []turn
	if err == nil {
		turns, err = c.end()
	}
	if err != nil {
		return t, row.drop(Unreadable, "%w: %s", err, excerpt(talk, text))
	}
	form := r.Form
	if !form.known() {
		form.Before, form.After = "\n"+openResult+"\n", closeResult+"\n\n"
	}
	var dropped bool
	if t.Segments, dropped = form.segments(turns); dropped {
		r.note(row, "texts after </answer> left out", "")
	}
	if first := t.Segments[0].Text; strings.TrimSpace(first) == "" {
		return t, row.drop(Unreadable, "%w", errUnfinished)
	}
	return t, nil
}

// excerpt is the beginning of a response, for a message.
func excerpt(talk []message, text string) string {
	for _, m := range talk {
		if m.role == "assistant" {
			text = m.text
			break
		}
	}
	return fmt.Sprintf("%.80q", text)
}

// segments reads our own column of segments.
func (r *row) segments(path string) ([]Segment, error) {
	v, err := r.get(path)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return nil, r.bad("%q is %s: want an array", path, kindOf(v))
	}
	if len(list) == 0 {
		return nil, r.bad(`%q is empty: want [{"text": …, "source": "policy" or "tool"}, …]`, path)
	}
	var out []Segment
	for i, v := range list {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, r.bad("segment %d is %s: want an object", i+1, kindOf(v))
		}
		text, isText := object["text"].(string)
		source, isSource := object["source"].(string)
		seg := Segment{Text: text}
		switch {
		case !isText && object["text"] != nil:
			return nil, r.bad("segment %d: text is %s: want a string", i+1, kindOf(object["text"]))
		case !isSource && object["source"] != nil:
			return nil, r.bad("segment %d: source is %s: want a string", i+1, kindOf(object["source"]))
		case source == "tool":
			seg.Source = Tool
		case source != "policy":
			return nil, r.bad(`segment %d: source is %q: want "policy" or "tool"`, i+1, source)
		}
		if text == "" {
			return nil, r.bad("segment %d has no text", i+1)
		}
		out = append(out, seg)
	}
	if out[0].Source != Policy || out[len(out)-1].Source != Policy {
		return nil, r.bad("a trace begins and ends with a segment of the policy; this one has a tool segment there")
	}
	return out, nil
}

// Faulty reports whether an error is of one row alone, and by which reason it may be counted: "" where the row cannot be read.
func Faulty(err error) (reason string, one bool) {
	var e *RowError
	if errors.As(err, &e) && !e.Last {
		return e.Reason, true
	}
	return "", false
}
