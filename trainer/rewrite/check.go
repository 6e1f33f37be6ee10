package rewrite

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"retool/trainer/answer"
	"retool/trainer/data"
)

// Reason says why a row was dropped.
type Reason string

const (
	NoProcess        Reason = "no_revised_process"
	Unbalanced       Reason = "unbalanced_tags"
	Nested           Reason = "nested_tags"
	NoCode           Reason = "no_code"
	NoResult         Reason = "no_result_for_code"
	NoPrint          Reason = "no_print"
	ExecError        Reason = "exec_error"
	ExecTimeout      Reason = "exec_timeout"
	Mismatch         Reason = "result_mismatch"
	Nondeterministic Reason = "nondeterministic" // two runs differ
	NoAnswer         Reason = "no_answer"
	WrongAnswer      Reason = "wrong_answer"
	AnswerNotLast    Reason = "answer_not_last"
	TooLong          Reason = "too_long"
	ReasoningChanged Reason = "reasoning_changed" // too little of the text outside code is the original's
	EndpointError    Reason = "endpoint_error"
	Duplicate        Reason = "duplicate" // its question was asked before
)

// A Drop is a row that was not accepted.
type Drop struct {
	Reason Reason
	Detail string
}

// Execution is what a snippet did.
type Execution struct {
	OK, Timeout bool
	Output      string // printed, or a failed snippet's traceback
	Shown       string // what a rollout would show of it
}

// Interpreter runs a snippet in a process of its own. An error means that no interpreter could be had.
type Interpreter interface {
	Run(ctx context.Context, code string) (Execution, error)
}

// Checker verifies replies. It is safe for concurrent use.
type Checker struct {
	Interpreter Interpreter
	Tokens      func(text string) int // of a text
	MaxTokens   int                   // of question and trace
	Replace     bool                  // write the interpreter's result where another is stated, instead of dropping the row
	Kept        float64               // least share of the words outside code that are the original's, in their order
}

// Accepted is a verified rewriting.
type Accepted struct {
	Segments []data.Segment
	Replaced int // results that were stated wrongly
}

// span is a stretch of the rewritten text: reasoning, or a snippet with its stated result.
type span struct {
	text         string
	code, result string
	isCode       bool
}

var (
	tag       = regexp.MustCompile(`</?(?:code|interpreter|answer)>`)
	printCall = regexp.MustCompile(`\bprint\s*\(`)
)

// Check verifies a reply about a row. The error is that of the interpreter or of ctx.
func (c *Checker) Check(ctx context.Context, row Row, reply string) (*Accepted, *Drop, error) {
	text, drop := process(reply)
	if drop != nil {
		return nil, drop, nil
	}
	spans, drop := split(text)
	if drop == nil {
		drop = c.form(row, spans)
	}
	if drop != nil {
		return nil, drop, nil
	}
	a, drop, err := c.execute(ctx, spans)
	if err != nil || drop != nil {
		return nil, drop, err
	}
	n := c.Tokens(row.Problem.Question)
	for _, s := range a.Segments {
		n += c.Tokens(s.Text)
	}
	if n > c.MaxTokens {
		return nil, &Drop{TooLong, fmt.Sprintf("%d tokens, at most %d", n, c.MaxTokens)}, nil
	}
	return a, nil, nil
}

// process is what stands between the tags of a reply.
func process(reply string) (string, *Drop) {
	_, text, ok := strings.Cut(reply, openProcess)
	end := strings.LastIndex(text, closeProcess)
	if !ok || end < 0 {
		return "", &Drop{NoProcess, fmt.Sprintf("no %s … %s in a reply of %d bytes", openProcess, closeProcess, len(reply))}
	}
	text = strings.TrimSpace(strings.ReplaceAll(text[:end], "\r\n", "\n"))
	if text == "" || strings.Contains(text, openProcess) || strings.Contains(text, closeProcess) {
		return "", &Drop{NoProcess, "the process is empty, or there are several"}
	}
	return text, nil
}

// split takes the text apart at its tags: code spans, each followed by the span of its result, neither inside another.
func split(text string) ([]span, *Drop) {
	var spans []span
	open, from, before := "", 0, 0 // the tag that is open; where its content began; where the text before it began
	for _, at := range append(tag.FindAllStringIndex(text, -1), []int{len(text), len(text)}) {
		name := text[at[0]:at[1]]
		switch {
		case name == "" && open != "":
			return nil, &Drop{Unbalanced, open + " is not closed"}
		case name == "":
			return append(spans, span{text: text[before:]}), nil
		case name == "<answer>" || name == "</answer>":
			if open != "" {
				return nil, &Drop{Nested, name + " inside " + open}
			}
		case name[1] != '/' && open != "":
			return nil, &Drop{Nested, name + " inside " + open}
		case name == "<interpreter>":
			if n := len(spans); n == 0 || !spans[n-1].isCode || spans[n-1].result != "" || strings.TrimSpace(text[before:at[0]]) != "" {
				return nil, &Drop{Unbalanced, "a result follows no code"}
			}
			open, from = name, at[1]
		case name == "<code>":
			if n := len(spans); n > 0 && spans[n-1].isCode && spans[n-1].result == "" {
				return nil, &Drop{NoResult, "code is followed by code"}
			}
			spans = append(spans, span{text: text[before:at[0]]})
			open, from = name, at[1]
		case open == "" || name != "</"+open[1:]:
			return nil, &Drop{Unbalanced, name + " closes nothing"}
		case name == "</code>":
			code, drop := unfence(text[from:at[0]])
			if drop != nil {
				return nil, drop
			}
			spans = append(spans, span{isCode: true, code: code})
			open, before = "", at[1]
			if rest := strings.TrimLeft(text[at[1]:], " \t\n"); !strings.HasPrefix(rest, "<interpreter>") {
				return nil, &Drop{NoResult, fmt.Sprintf("after a snippet stands %.40q", rest)}
			}
		case name == "</interpreter>":
			spans[len(spans)-1].result = "\n" + strings.TrimSpace(text[from:at[0]]) // never empty: the mark of a result
			open, before = "", at[1]
		}
	}
	return spans, nil
}

// unfence is the script in a code span, without the fence around it.
func unfence(text string) (string, *Drop) {
	code := strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(code, "```"); ok {
		first, body, _ := strings.Cut(rest, "\n")
		if f := strings.TrimSpace(first); f != "" && f != "python" && f != "py" && f != "python3" {
			return "", &Drop{Nested, fmt.Sprintf("a snippet begins with a fence of %.20q", f)}
		}
		if code, ok = strings.CutSuffix(strings.TrimSpace(body), "```"); !ok {
			return "", &Drop{Unbalanced, "a fence is not closed"}
		}
		code = strings.TrimSpace(code)
	}
	switch {
	case code == "":
		return "", &Drop{NoCode, "a snippet is empty"}
	case strings.Contains(code, "```"):
		return "", &Drop{Nested, "a snippet contains a fence"}
	case !printCall.MatchString(code):
		return "", &Drop{NoPrint, fmt.Sprintf("%.60q", code)}
	}
	return code, nil
}

// form verifies what can be seen without running anything: use of code, the answer and its place, what was kept of the original.
func (c *Checker) form(row Row, spans []span) *Drop {
	var outside strings.Builder
	code := false
	for _, s := range spans {
		code = code || s.isCode
		outside.WriteString(s.text)
	}
	text := outside.String()
	last := spans[len(spans)-1].text // split ends with reasoning
	switch opened, closed := strings.Count(text, "<answer>"), strings.Count(text, "</answer>"); {
	case !code:
		return &Drop{NoCode, "no snippet"}
	case opened == 0 && closed == 0:
		return &Drop{NoAnswer, "no answer section"}
	case opened != closed:
		return &Drop{Unbalanced, "an answer section is not closed"}
	case opened > 1 || !strings.Contains(last, "<answer>") || !strings.HasSuffix(strings.TrimSpace(last), "</answer>"):
		return &Drop{AnswerNotLast, "the text goes on after an answer section"}
	}
	reasoning, final, _ := strings.Cut(text, "<answer>")
	if strings.Contains(reasoning, "</answer>") {
		return &Drop{Unbalanced, "an answer section is closed before it opens"}
	}
	found, ok := answer.Box(final)
	if !ok {
		return &Drop{NoAnswer, "no \\boxed{} in the answer section"}
	}
	if g := answer.Math.Grade(final, row.Problem.Answer); g != answer.Correct {
		return &Drop{WrongAnswer, fmt.Sprintf("answer %.60q, truth %.60q: %v", found, row.Problem.Answer, g)}
	}
	original, _, _ := strings.Cut(row.Solution, "<answer>")
	if kept := share(strings.Fields(original), strings.Fields(reasoning)); kept < c.Kept {
		return &Drop{ReasoningChanged, fmt.Sprintf("%.0f %% of the words outside code are the original's, want %.0f", 100*kept, 100*c.Kept)}
	}
	return nil
}

// execute runs every snippet twice and writes the segments, in the released evaluation's form.
func (c *Checker) execute(ctx context.Context, spans []span) (*Accepted, *Drop, error) {
	var a Accepted
	text := ""
	for i, s := range spans {
		if !s.isCode {
			if i > 0 {
				s.text = strings.TrimLeft(s.text, "\n") // the result's own line ends come before it
			}
			text += s.text
			continue
		}
		var runs [2]Execution
		for i := range runs {
			var err error
			if runs[i], err = c.Interpreter.Run(ctx, s.code); err != nil {
				return nil, nil, err
			}
			if runs[i].Timeout {
				return nil, &Drop{ExecTimeout, fmt.Sprintf("%.60q", s.code)}, nil
			}
		}
		if runs[0].OK != runs[1].OK || runs[0].Shown != runs[1].Shown {
			return nil, &Drop{Nondeterministic, fmt.Sprintf("%.60q, then %.60q", runs[0].Shown, runs[1].Shown)}, nil
		}
		if stated := strings.TrimSpace(s.result); !runs[0].says(stated) {
			switch {
			case !runs[0].OK:
				return nil, &Drop{ExecError, fmt.Sprintf("%.80q, stated %.60q", lastLine(runs[0].Output), stated)}, nil
			case !c.Replace:
				return nil, &Drop{Mismatch, fmt.Sprintf("%.60q, stated %.60q", runs[0].Shown, stated)}, nil
			}
			a.Replaced++
		}
		text += "<code>\n```python\n" + s.code + "\n```\n</code>"
		a.Segments = append(a.Segments, data.Segment{Text: text, Source: data.Policy},
			data.Segment{Text: "\n<interpreter>\n" + runs[0].Shown + "</interpreter>\n\n", Source: data.Tool})
		text = ""
	}
	a.Segments = append(a.Segments, data.Segment{Text: strings.TrimRight(text, " \t\n"), Source: data.Policy})
	return &a, nil, nil
}

// says reports whether a stated result is what the snippet did: its output, or of a failed one the error.
func (x Execution) says(stated string) bool {
	if stated == strings.TrimSpace(x.Output) || stated == strings.TrimSpace(x.Shown) {
		return true
	}
	return !x.OK && lastLine(x.Output) != "" && lastLine(stated) == lastLine(x.Output)
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// share is how much of the words b are words of a in a's order: the length of their longest common subsequence by that of b.
func share(a, b []string) float64 {
	if len(b) == 0 {
		return 1
	}
	ids := map[string]int32{}
	number := func(words []string) []int32 {
		out := make([]int32, len(words))
		for i, w := range words {
			id, ok := ids[w]
			if !ok {
				id = int32(len(ids))
				ids[w] = id
			}
			out[i] = id
		}
		return out
	}
	x, y := number(a), number(b)
	row := make([]int32, len(y)+1)
	for _, w := range x {
		diagonal := int32(0)
		for j, v := range y {
			above := row[j+1]
			if w == v {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return float64(row[len(y)]) / float64(len(b))
}
