package engine

import (
	"regexp"
	"slices"
	"strings"

	"retool/engine/tokenizer"
)

// parens is a protocol with other marks than the paper's: a call is print(…), its output comes back as =…;. This file is all that the
// package knows of it.
type parens struct{ tok tokenizer.Tokenizer }

const openParen, closeParen, openOutput, closeOutput = "print(", ")", "=", ";"

func init() { // the one line that a protocol adds to protocol.go
	protocols["parens"] = protocolKind{
		validate: func(ProtocolConfig) error { return nil },
		build:    func(_ ProtocolConfig, tok tokenizer.Tokenizer, _ *Chat) (Protocol, error) { return parens{tok}, nil },
	}
}

func (p parens) Prompt(question string) ([]int32, error) {
	return slices.Concat(p.tok.BOS(), p.tok.Encode(question)), nil
}

func (p parens) Call(turn []byte, fresh int, ended bool) (Request, bool) {
	fed := string(turn[:len(turn)-fresh])
	now, extra, found := strings.Cut(string(turn[len(fed):]), closeParen)
	before := fed + now
	from := strings.LastIndex(before, openParen)
	if ended || !found || from < 0 {
		return Request{}, false
	}
	q := Request{Code: before[from+len(openParen):], From: from, Extra: []byte(extra)}
	if q.Code == "" {
		q.Invalid = "empty_code"
	}
	return q, true
}

func (p parens) Reply(q Request, r Result) (ids []int32, seamless bool) {
	text, seamless := p.Fragment(q, r)
	return p.tok.Encode(text), seamless
}

func (p parens) Turn(text string, _ bool) []int32 { return p.tok.Encode(text) }
func (p parens) Observed(reply string) []int32    { return p.tok.Encode(reply) }

func (p parens) Fragment(q Request, r Result) (text string, seamless bool) {
	return strings.CutPrefix(openOutput+p.Observation(r)+closeOutput, string(q.Extra))
}

func (p parens) Observation(r Result) string {
	if !r.OK() {
		return r.Status
	}
	return strings.NewReplacer("(", "[", ")", "]", "=", ":", ";", ",").Replace(r.Stdout)
}

var parensCall = regexp.MustCompile(`print\([^)]*\)`)

func (p parens) OutsideCode(text string) string { return parensCall.ReplaceAllString(text, "") }

func (p parens) ReplyFault(turn, reply string) string {
	if !strings.HasSuffix(turn, closeParen) || !strings.HasPrefix(reply, openOutput) || !strings.HasSuffix(reply, closeOutput) {
		return "tool segments that are not " + openOutput + "…" + closeOutput
	}
	return ""
}

func (p parens) TextFault(turn string) string {
	if strings.Contains(turn, openOutput) {
		return "policy segments that hold " + openOutput
	}
	return ""
}

func (p parens) Contract() string { return "parens" }
