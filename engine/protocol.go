package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"retool/engine/tokenizer"
)

// A Protocol is how a model asks for code and reads the reply. It is immutable and safe for concurrent use.
type Protocol interface {
	// Prompt renders and tokenises a question, once per trajectory.
	Prompt(question string) ([]int32, error)
	// Call looks at the bytes of the turn so far, of which the last `fresh` came with the newest token, and reports whether that
	// token closed a request for code. ended: the model ended its turn.
	Call(turn []byte, fresh int, ended bool) (Request, bool)
	// Reply is the fragment that answers a request, tokenised as one text. seamless is false when the closing token carried bytes
	// that the fragment does not begin with.
	Reply(q Request, r Result) (ids []int32, seamless bool)
	// Contract is one line that names everything which changes the token stream; checkpoints store it.
	Contract() string
}

// Request is code a model asked to run. Extra are the bytes its closing token carried beyond the tag. Invalid, when not empty,
// is the status of a request that holds nothing to run.
type Request struct {
	Code    string
	Extra   []byte
	Invalid string
}

// ProtocolConfig selects and shapes a protocol.
type ProtocolConfig struct {
	Name     string `yaml:"name"`     // tags: the paper's; none: text only
	Feedback string `yaml:"feedback"` // retool-eval | agent-r1 | slime: white space around the reply
	Template string `yaml:"template"` // plain | retool-repo | paper-fig7: text around the question
	Error    string `yaml:"error"`    // traceback | last-line: what a failed snippet shows
	Cap      int    `yaml:"cap"`      // characters of output shown; more than that loses its middle
	NoFence  string `yaml:"no_fence"` // code | retool-eval: a turn without a fence runs what follows <code>, or all of it
}

// DefaultProtocol is the released evaluation's form.
func DefaultProtocol() ProtocolConfig {
	return ProtocolConfig{Name: "tags", Feedback: "retool-eval", Template: "retool-repo", Error: "traceback", Cap: 400, NoFence: "code"}
}

var feedbacks = map[string][2]string{
	"retool-eval": {"\n<interpreter>\n", "</interpreter>\n\n"},
	"agent-r1":    {"\n<interpreter>\n", "\n</interpreter>\n"},
	"slime":       {"\n\n<interpreter>\n", "\n</interpreter>\n\n"},
}

// Validate names the first setting that is not known.
func (c ProtocolConfig) Validate() error {
	check := func(key, value string, known ...string) error {
		for _, k := range known {
			if value == k {
				return nil
			}
		}
		return fmt.Errorf("protocol.%s: %q is not known (known: %s)", key, value, strings.Join(known, ", "))
	}
	for _, err := range []error{
		check("name", c.Name, "tags", "none"),
		check("feedback", c.Feedback, "retool-eval", "agent-r1", "slime"),
		check("template", c.Template, "plain", "retool-repo", "paper-fig7"),
		check("error", c.Error, "traceback", "last-line"),
		check("no_fence", c.NoFence, "code", "retool-eval"),
	} {
		if err != nil {
			return err
		}
	}
	if c.Cap < 8 || c.Cap%2 != 0 {
		return fmt.Errorf("protocol.cap: want an even number of characters, at least 8, got %d", c.Cap)
	}
	return nil
}

const (
	openCode  = "<code>"
	closeCode = "</code>"
	fence     = "```"
	python    = "```python"
)

// Tags is the paper's protocol: <code> with a fenced script, </code>, and the output between <interpreter> tags.
type Tags struct {
	cfg      ProtocolConfig
	tok      tokenizer.Tokenizer
	feedback [2]string
	inert    *strings.Replacer
}

// NewProtocol builds the configured protocol for a tokenizer.
func NewProtocol(cfg ProtocolConfig, tok tokenizer.Tokenizer) (*Tags, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var pairs []string
	tags := []string{openCode, closeCode, "<interpreter>", "</interpreter>", "<tool_response>", "</tool_response>", "<answer>", "</answer>"}
	for id := range int32(tok.Size()) {
		if tok.Bytes(id) == nil {
			tags = append(tags, tok.Name(id)) // a special token
		}
	}
	for _, tag := range tags {
		pairs = append(pairs, tag, tag[:1]+" "+tag[1:])
	}
	return &Tags{cfg: cfg, tok: tok, feedback: feedbacks[cfg.Feedback], inert: strings.NewReplacer(pairs...)}, nil
}

// Contract names the feedback form, the template and the shape of the output.
func (p *Tags) Contract() string {
	return fmt.Sprintf("%s %s template=%s error=%s cap=%d no_fence=%s", p.cfg.Name, p.cfg.Feedback, p.cfg.Template, p.cfg.Error, p.cfg.Cap, p.cfg.NoFence)
}

// Prompt puts the question into the configured template, after what the tokenizer puts before a text.
func (p *Tags) Prompt(question string) ([]int32, error) {
	if strings.TrimSpace(question) == "" {
		return nil, fmt.Errorf("engine: prompt: the question is empty")
	}
	return slices.Concat(p.tok.BOS(), p.tok.Encode(Render(p.cfg.Template, p.inert.Replace(question)))), nil
}

// Call finds the closing tag in the newest bytes; the tags have no other trigger, so the end of a turn asks for nothing.
func (p *Tags) Call(turn []byte, fresh int, ended bool) (Request, bool) {
	from := max(0, len(turn)-fresh-len(closeCode)+1)
	at := bytes.Index(turn[from:], []byte(closeCode))
	if ended || at < 0 {
		return Request{}, false
	}
	at += from
	q := Request{Extra: turn[at+len(closeCode):]}
	text := string(turn[:at])
	switch i, j := strings.LastIndex(text, python), strings.LastIndex(text, openCode); {
	case i >= 0:
		text = text[i+len(python):]
	case p.cfg.NoFence == "retool-eval":
	case j >= 0:
		text = text[j+len(openCode):]
	default:
		q.Invalid = "no_code"
		return q, true
	}
	q.Code = strings.TrimSpace(strings.ReplaceAll(text, fence, ""))
	if q.Code == "" {
		q.Invalid = "empty_code"
	}
	return q, true
}

// Reply is the feedback fragment around Observation.
func (p *Tags) Reply(q Request, r Result) (ids []int32, seamless bool) {
	text := p.feedback[0] + p.Observation(r) + p.feedback[1]
	rest, seamless := strings.CutPrefix(text, string(q.Extra))
	return p.tok.Encode(rest), seamless
}

// Observation is the text a result shows: printed output, the error's traceback or its last line, cleaned, made inert and cut
// in the middle. Nothing in it can open or close a tag, nor spell a special token.
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
		s = strings.TrimSpace(r.Traceback)
		s = s[strings.LastIndexByte(s, '\n')+1:]
	default:
		s = strings.TrimRight(r.Stdout, "\n")
		if s != "" {
			s += "\n"
		}
		s += r.Traceback
	}
	s = strings.TrimSpace(p.inert.Replace(clean(s)))
	if u := []rune(s); len(u) > p.cfg.Cap {
		s = string(u[:p.cfg.Cap/2]) + "..." + string(u[len(u)-p.cfg.Cap/2:])
	}
	return s
}

// clean makes text valid UTF-8 and drops ANSI sequences and control characters other than tab and line feed.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	var b strings.Builder
	b.Grow(len(s))
	const text, escape, sequence = 0, 1, 2
	state := text
	for _, r := range s {
		switch {
		case state == escape && r == '[':
			state = sequence
		case state == escape:
			state = text // ESC and one more
		case state == sequence:
			if r >= 0x40 && r <= 0x7e {
				state = text
			}
		case r == 0x1b:
			state = escape
		case r == '\n' || r == '\t' || (r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f)):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// OutsideCode is what a response says outside its code: text without the spans that a <code> opens and its </code> closes, both tags
// included.
func OutsideCode(text string) string {
	var out strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, openCode)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		if _, rest, found = strings.Cut(after, closeCode); !found {
			return out.String() // an unfinished span is code to its end
		}
	}
}
