package engine

import (
	"encoding/json"
	"fmt"
	"strings"

	"retool/engine/tokenizer"
)

// Hermes is the function-calling protocol of instruct models, as the verl recipe uses it: the system prompt describes the tool, a turn
// that holds <tool_call>{"name": "code_interpreter", "arguments": {"code": …}}</tool_call> asks for it when it ends, and the output comes
// back in a turn of its own, in the form of the model's chat template, with the begin of the assistant's next turn.
//
// With calls: loose a call that is JSON but for how models misspell it is read, too (calls.go); json takes no other, as verl.
//
// The first call of a turn is executed, and what the turn says behind it is not looked at. A <tool_call> that nothing closes is a word of
// the text, as in verl: the turn asks for nothing, and ends the trajectory. A call that is closed but cannot be run is answered by an
// observation that says why, and the trajectory goes on.
type Hermes struct {
	cfg           ProtocolConfig
	tok           tokenizer.Tokenizer
	chat          *Chat
	before, after string // around an output
	inert         inert  // in what others wrote: questions and outputs
	unspecial     inert  // in what the model is taught to write
}

var hermesKind = protocolKind{validate: validateHermes, build: newHermes}

func validateHermes(c ProtocolConfig) error {
	switch {
	case c.Template != "plain" && c.Template != "verl":
		return fmt.Errorf("protocol.template: %s tells of the tags that protocol.name tags uses; for hermes, want verl or plain", c.Template)
	case c.Chat == chatNone:
		return fmt.Errorf("protocol.chat: none has no turns, which protocol.name hermes is made of: want auto or chatml")
	}
	if err := known("calls", c.Calls, "loose", "json"); err != nil {
		return err
	}
	return validateShared(c)
}

func newHermes(cfg ProtocolConfig, tok tokenizer.Tokenizer, chat *Chat) (Protocol, error) {
	if chat == nil {
		return nil, fmt.Errorf("engine: protocol.name hermes wants a chat template, and the model's folder has none: " +
			"protocol.chat chatml takes Qwen2.5's")
	}
	for _, tag := range []string{openCall, closeCall} {
		if id, ok := tok.Special(tag); ok && tok.Bytes(id) == nil {
			return nil, fmt.Errorf("engine: protocol.name hermes reads %s in the model's text, but in the tokenizer it is a special token, "+
				"which has no text: want \"special\": false in tokenizer.json", tag)
		}
	}
	p := &Hermes{cfg: cfg, tok: tok, chat: chat}
	var err error
	if p.before, p.after, err = chat.reply(); err != nil {
		return nil, remedied(err)
	}
	var special []string
	for _, name := range addedTokens(tok) {
		if id, _ := tok.Special(name); tok.Bytes(id) == nil {
			special = append(special, name)
		}
	}
	p.inert, p.unspecial = newInert(append(protocolMarks(), addedTokens(tok)...)), newInert(special)
	return p, nil
}

// Contract names the template, the shape of the output, how calls are read if not as JSON, and the chat.
func (p *Hermes) Contract() string {
	calls := ""
	if p.cfg.Calls != "json" {
		calls = " calls=" + p.cfg.Calls
	}
	return fmt.Sprintf("hermes template=%s error=%s cap=%d%s%s", p.cfg.Template, p.cfg.Error, p.cfg.Cap, calls, p.chat.contract())
}

// Prompt puts the question into the configured template, and that into the user's turn of a chat in which the tool is on offer.
func (p *Hermes) Prompt(question string) ([]int32, error) {
	if strings.TrimSpace(question) == "" {
		return nil, fmt.Errorf("engine: prompt: the question is empty")
	}
	return p.chat.opening(p.tok, Render(p.cfg.Template, p.inert.in(question)), true)
}

// Why a call cannot be run: statuses, and what the model is told.
var invalidCalls = map[string]string{
	"invalid_json": "Error: the text of the tool call is not valid JSON.",
	"unknown_tool": "Error: there is no such tool; the only one is " + toolName + ".",
	"invalid_arguments": "Error: a tool call is an object with name, a string, and arguments, an object; " +
		"the arguments of " + toolName + " are {\"code\": string}.",
	"empty_code": "Error: the code is empty.",
}

// Call looks for a call where the turn ends.
func (p *Hermes) Call(turn []byte, _ int, ended bool) (Request, bool) {
	if !ended {
		return Request{}, false
	}
	from, to := p.nextCall(string(turn))
	if from < 0 {
		return Request{}, false
	}
	q := Request{From: from}
	q.Code, q.Invalid = parseCall(string(turn[from+len(openCall):to-len(closeCall)]), p.loose())
	return q, true
}

// loose reports whether calls are read that are nearly JSON.
func (p *Hermes) loose() bool { return p.cfg.Calls == "loose" }

// mostClosing is how many closing tags a call may hold in its strings.
const mostClosing = 8

// nextCall is where the first call of a text lies, its tags included; from < 0: there is none. It ends at the first closing tag: of loose
// calls, at the first that leaves one to be read, for code may hold the tag.
func (p *Hermes) nextCall(text string) (from, to int) {
	from = strings.Index(text, openCall)
	if from < 0 {
		return -1, -1
	}
	first, at := -1, from+len(openCall)
	for range mostClosing {
		n := strings.Index(text[at:], closeCall)
		if n < 0 {
			break
		}
		end := at + n
		at = end + len(closeCall)
		if first < 0 {
			first = at
		}
		if !p.loose() {
			break
		}
		if _, invalid := parseCall(text[from+len(openCall):end], true); invalid != "invalid_json" {
			return from, at
		}
	}
	if first < 0 {
		return -1, -1
	}
	return from, first
}

// parseCall reads the JSON of a call, or what is nearly that. invalid is the status of one that cannot be run.
func parseCall(text string, nearly bool) (code, invalid string) {
	var call any
	var err error
	if json.Valid([]byte(text)) {
		err = json.Unmarshal([]byte(text), &call) // not into structs, which take keys in any case
	} else if err = errCall; nearly {
		call, err = looseJSON(text)
	}
	if err != nil {
		return "", "invalid_json"
	}
	object, _ := call.(map[string]any)
	name, named := object["name"].(string)
	if !named {
		return "", "invalid_arguments"
	}
	if name != toolName {
		return "", "unknown_tool"
	}
	given := object["arguments"]
	if inner, ok := given.(string); ok && nearly { // as OpenAI's interface has them
		given, _ = looseJSON(inner)
	}
	arguments, _ := given.(map[string]any)
	code, ok := arguments["code"].(string)
	if !ok {
		return "", "invalid_arguments"
	}
	for _, b := range blocks(lineBreaks(code)) {
		if b.kind == pythonBlock {
			code = strings.TrimSpace(b.code)
			break
		}
	}
	if strings.TrimSpace(code) == "" {
		return "", "empty_code"
	}
	return code, ""
}

// Reply is the fragment that answers a request, as tokens: the template's added tokens are recognised, and the output spells none.
func (p *Hermes) Reply(q Request, r Result) (ids []int32, seamless bool) {
	text, seamless := p.Fragment(q, r)
	return p.tok.EncodeTemplate(text), seamless
}

// Fragment is the turn of the output and the begin of the assistant's next one. It follows the token that ended the turn, which carries
// nothing else.
func (p *Hermes) Fragment(_ Request, r Result) (text string, seamless bool) {
	return p.before + p.Observation(r) + p.after, true
}

// Observation is the text a result shows: printed output as it is, then a traceback; cleaned, made inert and cut in the middle.
func (p *Hermes) Observation(r Result) string {
	if text, ok := invalidCalls[r.Status]; ok {
		return text
	}
	s := r.Stdout
	switch {
	case r.OK():
	case r.Status != "exception" && r.Status != "exited": // it did not come to its end
		return "no stdout here"
	case p.cfg.Error == "last-line":
		s = lastLine(r.Traceback)
	default:
		s += r.Traceback
	}
	return cut(p.inert.in(chatToken.ReplaceAllString(Clean(s), "< $1")), p.cfg.Cap, "...(truncated)...")
}

// OutsideCode is text without the calls in it. One that the text ends within is code to its end.
func (p *Hermes) OutsideCode(text string) string {
	var out strings.Builder
	for {
		from, to := p.nextCall(text)
		if from < 0 {
			break
		}
		out.WriteString(text[:from])
		text = text[to:]
	}
	before, call, open := strings.Cut(text, openCall)
	if open && strings.HasPrefix(strings.TrimSpace(call), "{") {
		text = before
	}
	out.WriteString(text)
	return out.String()
}

// Turn is a stored turn as tokens. Each ends with the chat's token; that of the last is the caller's, as in every protocol.
func (p *Hermes) Turn(text string, called bool) []int32 {
	ids := p.tok.EncodeTemplate(p.unspecial.in(text))
	if called {
		ids = append(ids, p.chat.end)
	}
	return ids
}

// Observed is a stored reply as tokens: its content, which stands between tags, in the template's form.
func (p *Hermes) Observed(reply string) []int32 {
	content := strings.TrimSuffix(strings.TrimPrefix(reply, openResponse+"\n"), "\n"+closeResponse)
	return p.tok.EncodeTemplate(p.before + p.inert.in(content) + p.after)
}

// ReplyFault asks for a turn that holds one call, which can be run, and for a reply between tags.
func (p *Hermes) ReplyFault(turn, reply string) string {
	q, called := p.Call([]byte(turn), 0, true)
	_, end := p.nextCall(turn)
	switch {
	case !called:
		return "tool segments after text that holds no " + openCall
	case q.Invalid != "":
		return "calls that cannot be run: " + q.Invalid
	case strings.Contains(turn[end:], openCall):
		return "tool segments after several calls, of which a rollout runs the first"
	case !strings.HasPrefix(reply, openResponse+"\n") || !strings.HasSuffix(reply, "\n"+closeResponse):
		return fmt.Sprintf("tool segments that are not in the form of protocol.name hermes, %q … %q", openResponse+"\n", "\n"+closeResponse)
	}
	return ""
}

// TextFault looks for the tags of a reply.
func (p *Hermes) TextFault(turn string) string {
	for _, tag := range []string{openResponse, closeResponse} {
		if strings.Contains(turn, tag) {
			return "policy segments that hold " + tag + ", which the model would learn to write"
		}
	}
	return ""
}
