package engine

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"retool/engine/tokenizer"
)

// The tags of the paper's protocol. Nothing else in this package spells them.
const (
	openCode   = "<code>"
	closeCode  = "</code>"
	openReply  = "<interpreter>"
	closeReply = "</interpreter>"
)

// A feedback form is the text around an observation. There is no line feed before the closing tag of the released evaluation's.
var feedbacks = map[string][2]string{
	"retool-eval": {"\n" + openReply + "\n", closeReply + "\n\n"},
	"agent-r1":    {"\n" + openReply + "\n", "\n" + closeReply + "\n"},
	"slime":       {"\n\n" + openReply + "\n", "\n" + closeReply + "\n\n"},
}

// Tags is the paper's protocol: <code> with a fenced script, </code>, and the output between <interpreter> tags.
//
// The first </code> of a turn closes its request, wherever it stands, as it is the string that sampling stops at. The request begins
// at the last <code> before it, but for one in a string or a comment of the code: a turn may speak of the tag before it uses it. Of
// the request's text, the last fenced block that is Python's is run, else the last one without a language, else the last; without a
// block all of it. Text before the request never matters, unless there is no <code> at all: then a block of the turn is run.
//
// With no_fence: retool-eval the request is cut as the released evaluation does it: a block is looked for in all of the turn, and a
// turn without one is code from its first byte.
type Tags struct {
	cfg      ProtocolConfig
	tok      tokenizer.Tokenizer
	chat     *Chat
	feedback [2]string
	inert    inert
}

// tagsKind is also that of "none": without tools the template of the same name is all that is left of it, and the engine runs without
// a protocol.
var tagsKind = protocolKind{validate: validateTags, build: newTags}

// validateTags names the first setting that is not known.
func validateTags(c ProtocolConfig) error {
	for _, err := range []error{
		known("feedback", c.Feedback, "retool-eval", "agent-r1", "slime"),
		known("template", c.Template, "plain", "retool-repo", "paper-fig7", "verl"),
		known("no_fence", c.NoFence, "code", "retool-eval"),
	} {
		if err != nil {
			return err
		}
	}
	return validateShared(c)
}

// validateShared checks the settings that tags and hermes share.
func validateShared(c ProtocolConfig) error {
	if err := known("chat", c.Chat, chatAuto, chatNative, chatNone); err != nil {
		return err
	}
	if err := known("error", c.Error, "traceback", "last-line"); err != nil {
		return err
	}
	if c.Cap < 8 || c.Cap%2 != 0 {
		return fmt.Errorf("protocol.cap: want an even number of characters, at least 8, got %d", c.Cap)
	}
	return nil
}

// newTags builds the protocol for a tokenizer, whose added tokens no question and no output can spell.
func newTags(cfg ProtocolConfig, tok tokenizer.Tokenizer, chat *Chat) (Protocol, error) {
	names := append(protocolMarks(), addedTokens(tok)...)
	return &Tags{cfg: cfg, tok: tok, chat: chat, feedback: feedbacks[cfg.Feedback], inert: newInert(names)}, nil
}

// Contract names the feedback form, the template and the shape of the output.
func (p *Tags) Contract() string {
	return fmt.Sprintf("%s %s template=%s error=%s cap=%d no_fence=%s%s",
		p.cfg.Name, p.cfg.Feedback, p.cfg.Template, p.cfg.Error, p.cfg.Cap, p.cfg.NoFence, p.chat.contract())
}

// Prompt puts the question into the configured template, after what the tokenizer puts before a text.
func (p *Tags) Prompt(question string) ([]int32, error) {
	if strings.TrimSpace(question) == "" {
		return nil, fmt.Errorf("engine: prompt: the question is empty")
	}
	return p.chat.opening(p.tok, Render(p.cfg.Template, p.inert.in(question)), false)
}

// Call finds the closing tag in the newest bytes; the tags have no other trigger, so the end of a turn asks for nothing.
func (p *Tags) Call(turn []byte, fresh int, ended bool) (Request, bool) {
	from := max(0, len(turn)-fresh-len(closeCode)+1)
	at := bytes.Index(turn[from:], []byte(closeCode))
	if ended || at < 0 {
		return Request{}, false
	}
	at += from
	text := lineBreaks(string(turn[:at]))
	q := Request{Extra: turn[at+len(closeCode):]}
	open, found := lastOpen(text), true
	switch {
	case p.cfg.NoFence == "retool-eval":
		if q.Code, found = fenced(text); !found {
			q.Code, found = unfenced(text), true
		}
	case open < 0:
		q.Code, found = fenced(text)
	default:
		body := text[open+len(openCode):]
		if q.Code, found = fenced(body); !found {
			q.Code, found = unfenced(body), true
		}
	}
	q.From = max(0, open)
	switch {
	case !found:
		q.Invalid = "no_code"
	case strings.TrimSpace(q.Code) == "":
		q.Invalid = "empty_code"
	}
	return q, true
}

// fenced is the block of a request that is run.
func fenced(text string) (code string, found bool) {
	best := -1
	all := blocks(text)
	for i, b := range all {
		if best < 0 || b.kind > all[best].kind || b.kind == all[best].kind && (!blank(b.code) || blank(all[best].code)) {
			best = i
		}
	}
	if best < 0 || stray(text, all) {
		return "", false
	}
	return all[best].code, true
}

// stray says whether a text's only fence closes what none opened.
func stray(text string, all []block) bool {
	return len(all) == 1 && all[0].kind == plainBlock && !all[0].closed && all[0].code == "" && !blank(text[:all[0].from])
}

// unfenced is a request without a block: all of it but the line breaks beside the tags, the language's name in a line before it, and a
// fence that closes what none opened.
func unfenced(text string) string {
	if all := blocks(text); stray(text, all) {
		text = text[:all[0].from]
	}
	first, rest, found := strings.Cut(text, "\n")
	if found && blank(first) {
		text = rest
	}
	return dedent(strings.TrimRight(withoutName(text), " \t\r\n"))
}

// lastOpen is where the tag stands at which the last request of a text begins; -1: nowhere.
func lastOpen(text string) int {
	at := strings.Index(text, openCode)
	for at >= 0 {
		next := nextOpen(text[at+len(openCode):])
		if next < 0 {
			break
		}
		at += len(openCode) + next
	}
	return at
}

// nextOpen is where the first tag stands that opens a request, in text that may be code: neither in a string nor in a comment.
func nextOpen(text string) int {
	var q quotes
	for i := 0; i < len(text); {
		switch text[i] {
		case '#':
			i = lineEnd(text, i)
		case '"', '\'':
			i = q.skip(text, i)
		case openCode[0]:
			if strings.HasPrefix(text[i:], openCode) {
				return i
			}
			i++
		default:
			i++
		}
	}
	return -1
}

// OutsideCode is text without the requests in it, tags included; see the function of that name.
func (p *Tags) OutsideCode(text string) string { return OutsideCode(text) }

// OutsideCode is what a response in the paper's tags says outside its code, for texts that come without a protocol: it is text without
// the requests in it, tags included. A request whose <code> is never
// closed ends with its fence; if that is open as well, the response was cut off in the middle of a program, which is code to its end.
// A <code> that nothing closes and no fence follows is a word of the text.
func OutsideCode(text string) string {
	text = lineBreaks(text)
	var out strings.Builder
	for from, closing := 0, -1; ; {
		at := strings.Index(text[from:], openCode)
		if at < 0 {
			out.WriteString(text[from:])
			return out.String()
		}
		at += from
		out.WriteString(text[from:at])
		if closing < at {
			if closing = len(text); strings.Contains(text[at:], closeCode) {
				closing = at + strings.Index(text[at:], closeCode)
			}
		}
		if from = requestEnd(text, at, closing); from == at {
			from += len(openCode)
			out.WriteString(openCode)
		}
	}
}

// OutsideReplies is text without the outputs in it, tags included. One whose tag is never closed goes to the end of the text. The text
// around an output is not joined.
func OutsideReplies(text string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, openReply)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteByte('\n')
		_, text, _ = strings.Cut(rest, closeReply)
	}
}

// requestEnd is where the request ends whose tag stands at `at`; at itself: the tag opens none. closing is the place of the next
// closing tag, or the end of the text.
func requestEnd(text string, at, closing int) int {
	begin := at + len(openCode)
	body := text[begin:closing]
	if next := nextOpen(body); next >= 0 {
		body = body[:next]
	} else if closing < len(text) {
		return closing + len(closeCode)
	}
	if all := blocks(body); len(all) > 0 && strings.Trim(body[:all[0].from], " \t\r\n\ufeff") == "" {
		return begin + all[0].to
	}
	return at
}

// Reply is the fragment that answers a request, as tokens.
func (p *Tags) Reply(q Request, r Result) (ids []int32, seamless bool) {
	text, seamless := p.Fragment(q, r)
	return p.tok.Encode(text), seamless
}

// Fragment is the text that follows a request: the observation in the configured feedback form, less what the closing token carried of
// it. seamless is false when that token carried other bytes; the fragment is then appended whole.
func (p *Tags) Fragment(q Request, r Result) (text string, seamless bool) {
	return strings.CutPrefix(p.feedback[0]+p.Observation(r)+p.feedback[1], string(q.Extra))
}

// Observation is the text a result shows: printed output, the error's traceback or its last line, cleaned, made inert and cut
// in the middle. Nothing in it can open or close a tag, nor spell a special token. `retool exec` prints it.
func (p *Tags) Observation(r Result) string {
	var s string
	switch {
	case r.Status == "no_code" || r.Status == "empty_code":
		return "None"
	case r.Timeout():
		return "Timeout Error"
	case r.OK():
		s = r.Stdout
	case p.cfg.Error == "last-line":
		s = lastLine(r.Traceback)
	default:
		s = strings.TrimRight(r.Stdout, "\n")
		if s != "" {
			s += "\n"
		}
		s += r.Traceback
	}
	s = strings.TrimSpace(p.inert.in(chatToken.ReplaceAllString(Clean(s), "< $1")))
	return cut(s, p.cfg.Cap, "...")
}

// lastLine is the line that a traceback ends with.
func lastLine(traceback string) string {
	s := strings.TrimSpace(Clean(traceback))
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// cut leaves the middle out of a text of more than limit characters, which mark then stands for.
func cut(s string, limit int, mark string) string {
	if u := []rune(s); len(u) > limit {
		return string(u[:limit/2]) + mark + string(u[len(u)-limit/2:])
	}
	return s
}

// Turn is a stored turn as tokens: its closing tag ends one that calls.
func (p *Tags) Turn(text string, _ bool) []int32 { return p.tok.Encode(text) }

// Observed is a stored reply as tokens.
func (p *Tags) Observed(reply string) []int32 { return p.tok.Encode(reply) }

// Feedback is what stands before and after an output in a reply of the form that protocol.feedback names.
func Feedback(name string) (before, after string) { return feedbacks[name][0], feedbacks[name][1] }

// ReplyFault asks for a turn that ends as it closes its one call, but for what a closing token may carry, and for a reply in the configured
// feedback form.
func (p *Tags) ReplyFault(turn, reply string) string {
	request, closed := p.Call([]byte(turn), len(turn), false)
	if !closed {
		return "tool segments after text that closes no call"
	}
	text := p.feedback[0]
	if rest, ok := strings.CutPrefix(text, string(request.Extra)); ok {
		text = rest
	} else if bytes.ContainsFunc(request.Extra, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		return "tool segments after text that goes on behind its first " + closeCode + ", where a rollout has the output"
	}
	if !strings.HasPrefix(reply, text) || !strings.HasSuffix(reply, p.feedback[1]) {
		return fmt.Sprintf("tool segments that are not in the form protocol.feedback %s, %q … %q", p.cfg.Feedback, p.feedback[0], p.feedback[1])
	}
	return ""
}

// TextFault looks for the tags of a reply.
func (p *Tags) TextFault(turn string) string {
	for _, tag := range []string{openReply, closeReply} {
		if strings.Contains(turn, tag) {
			return "policy segments that hold " + tag + ", which the model would learn to write"
		}
	}
	return ""
}
