package data

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Columns name where a row holds what: dotted paths, such as reward_model.ground_truth. Empty ones are found by the layout.
type Columns struct {
	ID       string `yaml:"id" doc:"names a row; a dotted path, such as extra_info.index; empty: as the layout says"`
	Family   string `yaml:"family" doc:"the kind of problem"`
	Question string `yaml:"question" doc:"the question: text, or messages that end with the user's"`
	Answer   string `yaml:"answer" doc:"the ground truth, such as reward_model.ground_truth"`
	Messages string `yaml:"messages" doc:"traces: a conversation of roles user, assistant, tool"`
	Response string `yaml:"response" doc:"traces: a response in one text, <code> and <interpreter> or <tool_call> and <tool_response> in it"`
}

// A Layout is what the columns of a file hold. Name is that of the public set it is known from, or its columns.
type Layout struct {
	Name string
	Columns
	Segments string // our own: who wrote what

	plain  bool // ours, of which nothing need be said
	traces bool // read for its responses
}

// Traces reports whether the rows hold responses.
func (l Layout) Traces() bool { return l.Segments != "" || l.Messages != "" || l.Response != "" }

// Ours reports whether the rows are as this program writes them.
func (l Layout) Ours() bool { return l.plain }

// String says which column is read as what.
func (l Layout) String() string {
	var parts []string
	for _, c := range []struct{ role, path string }{
		{"question", l.Question}, {"answer", l.Answer}, {"messages", l.Messages}, {"response", l.Response},
		{"segments", l.Segments}, {"id", l.ID}, {"family", l.Family},
	} {
		if c.path != "" {
			parts = append(parts, c.role+" from "+c.path)
		}
	}
	return l.Name + ": " + strings.Join(parts, ", ")
}

// known are the layouts that are recognised, the first that fits first. A path with ? may be missing.
var known = []struct {
	name                                                     string
	question, answer, messages, response, segments, id, kind string
}{
	{name: "retool traces", question: "question", answer: "answer?", segments: "segments", id: "id?", kind: "family?"},
	{name: "verl rows (DAPO-Math-17k)",
		question: "prompt", answer: "reward_model.ground_truth", id: "extra_info.index?", kind: "data_source?"},
	{name: "question and answer", question: "question", answer: "answer", id: "id?", kind: "family?"},
	{name: "problem and answer (AIME)", question: "problem", answer: "answer", id: "id?"},
	{name: "Problem and Answer (AIME)", question: "Problem", answer: "Answer", id: "ID?"},
	{name: "problem and solution (MATH)", question: "problem", answer: "solution", id: "id?", kind: "type?"},
	{name: "prompt, answer and response", question: "prompt", answer: "answer", response: "response", id: "id?"},
	{name: "prompt and answer", question: "prompt", answer: "answer", id: "id?"},
	{name: "prompt and label (slime)", question: "prompt", answer: "label", id: "id?"},
	{name: "messages", messages: "messages", answer: "answer?", id: "id?", kind: "family?"},
	{name: "conversations (ShareGPT)", messages: "conversations", answer: "answer?", id: "id?"},
}

const howToMap = "name the columns with data.columns, such as data.columns.question=… and data.columns.answer=…"

// Layout finds out where the rows hold what. Columns that c names come before what is recognised, and must be there. traces: responses
// are wanted, else problems.
func (f *File) Layout(c Columns, traces bool) (Layout, error) {
	if err := f.check(c); err != nil {
		return Layout{}, err
	}
	var fits []Layout
	for _, k := range known {
		l := Layout{Name: k.name, Segments: k.segments}
		l.Columns = Columns{k.id, k.kind, k.question, k.answer, k.messages, k.response}
		if c.Messages != "" || c.Response != "" {
			l.Segments, l.Messages, l.Response = "", "", ""
		}
		named := l.override(c)
		if f.has(&l) && (!traces || l.Traces() && f.answered(l)) && (traces || l.Answer != "" && l.Segments == "") {
			l.traces = traces
			l.plain = !named && strings.HasPrefix(k.name, "question and") || l.Segments != ""
			if named {
				l.Name = "data.columns"
			}
			fits = append(fits, l)
		}
	}
	switch i := slices.IndexFunc(fits, func(l Layout) bool { return l.Question != fits[0].Question && !fits[0].sure() && !l.sure() }); {
	case len(fits) == 0 && traces:
		return Layout{}, fmt.Errorf("data: %s: no responses in its columns (%s): want question, answer and segments, or messages; "+
			"else name theirs with data.columns.messages or data.columns.response", f.Path, names(f.columns))
	case len(fits) == 0 && c.Answer == "" && f.hasPath("messages"):
		return Layout{}, fmt.Errorf("data: %s: its columns (%s) hold responses and no ground truths: want an answer beside messages; "+
			"name it with data.columns.answer", f.Path, names(f.columns))
	case len(fits) == 0:
		return Layout{}, fmt.Errorf("data: %s: its columns (%s) are of no known layout (%s): %s",
			f.Path, names(f.columns), layoutNames(), howToMap)
	case i > 0:
		return Layout{}, fmt.Errorf("data: %s: ambiguous: its columns (%s) may be read as %s, or as %s: %s",
			f.Path, names(f.columns), fits[0], fits[i], howToMap)
	}
	return f.specific(fits[0]), nil
}

// sure layouts need no second look: nothing else has their columns.
func (l Layout) sure() bool {
	return l.Segments != "" || l.Messages != "" || l.Answer == "reward_model.ground_truth"
}

// override puts the columns that were named in the place of those of the layout.
func (l *Layout) override(c Columns) (named bool) {
	dst, src := reflect.ValueOf(&l.Columns).Elem(), reflect.ValueOf(c)
	for i := range src.NumField() {
		if src.Field(i).Len() > 0 {
			dst.Field(i).Set(src.Field(i))
			named = true
		}
	}
	return named
}

// has reports whether the file has the columns of a layout, and takes out those that may be missing and are.
func (f *File) has(l *Layout) bool {
	v := reflect.ValueOf(&l.Columns).Elem()
	for i := range v.NumField() {
		path, optional := strings.CutSuffix(v.Field(i).String(), "?")
		if path == "" {
			continue
		}
		there := f.hasPath(path)
		if !there && !optional {
			return false
		}
		if !there {
			path = ""
		}
		v.Field(i).SetString(path)
	}
	return l.Segments == "" || f.hasPath(l.Segments)
}

// answered reports whether the conversation of the first row has a response, or cannot be read, which its row will say.
func (f *File) answered(l Layout) bool {
	if l.Messages == "" {
		return true
	}
	talk, err := f.first.messages(l.Messages)
	return err != nil || len(talk) == 0 || slices.ContainsFunc(talk, func(m message) bool { return m.role == "assistant" })
}

// specific tells layouts apart that share their columns, by the first row.
func (f *File) specific(l Layout) Layout {
	if text, _ := f.first.text(l.Answer, true); l.plain && l.Segments == "" && strings.Contains(text, "####") {
		l.Name, l.plain = "GSM8K", false
	}
	if l.Name != "messages" {
		return l
	}
	tagged := func(m message) bool { return strings.Contains(m.text, openResult) }
	if list, err := f.first.messages(l.Messages); err == nil && slices.ContainsFunc(list, tagged) {
		l.Name = "messages (ReTool-SFT)"
	}
	return l
}

// hasPath reports whether the schema has a path, or the first row has it or holds null where it would lie.
func (f *File) hasPath(path string) bool {
	if slices.Contains(f.columns, path) {
		return true
	}
	if f.parquet != nil && parquetHas(f.parquet.Schema(), strings.Split(path, ".")) {
		return true
	}
	v, err := f.first.get(path)
	return err == nil && (v != nil || slices.Contains(f.columns, strings.Split(path, ".")[0]))
}

// parquetHas follows a path through groups; lists and maps are followed in rows only.
func parquetHas(n parquet.Node, path []string) bool {
	for _, part := range path {
		if n.Leaf() {
			return false
		}
		i := slices.IndexFunc(n.Fields(), func(f parquet.Field) bool { return f.Name() == part })
		if i < 0 {
			return false
		}
		n = n.Fields()[i]
	}
	return true
}

// A ColumnError is a column that was named and is not there.
type ColumnError struct {
	Path, Setting, Column string
	There                 string // what is, in words
}

func (e *ColumnError) Error() string {
	return fmt.Sprintf("data: %s: %s: no column %q; there are %s", e.Path, e.Setting, e.Column, e.There)
}

// check refuses named columns that the file does not have.
func (f *File) check(c Columns) error {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		path := v.Field(i).String()
		if path == "" || f.hasPath(path) {
			continue
		}
		e := &ColumnError{Path: f.Path, Setting: "data.columns." + v.Type().Field(i).Tag.Get("yaml"), Column: path, There: names(f.columns)}
		if j := strings.LastIndexByte(path, '.'); j > 0 {
			if parent, ok := at(f.first.values, path[:j]); ok {
				if object, ok := parent.(map[string]any); ok {
					e.There = fmt.Sprintf("%s in %s", names(columnsOf(object)), path[:j])
				}
			}
		}
		return e
	}
	return nil
}

// Mapped reports how many of the named columns the file has, and how many there are.
func (f *File) Mapped(c Columns) (has, of int) {
	for v, i := reflect.ValueOf(c), 0; i < v.NumField(); i++ {
		if path := v.Field(i).String(); path != "" {
			of++
			if f.hasPath(path) {
				has++
			}
		}
	}
	return has, of
}

func layoutNames() string {
	var out []string
	for _, k := range known {
		out = append(out, k.name)
	}
	return strings.Join(out, "; ")
}
