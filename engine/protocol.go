package engine

import (
	"fmt"
	"strings"

	"retool/engine/tokenizer"
)

// A Protocol is how a model asks for code and reads the reply. It is immutable and safe for concurrent use. Each is one file: tags.go
// is the paper's.
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

// Request is code a model asked to run. From is the byte of the turn at which the request begins, its tag included. Extra are the bytes
// its closing token carried beyond the tag. Invalid, when not empty, is the status of a request that holds nothing to run.
type Request struct {
	Code    string
	From    int
	Extra   []byte
	Invalid string
}

// ProtocolConfig selects and shapes a protocol.
type ProtocolConfig struct {
	Name     string `yaml:"name" doc:"tags: the paper's <code> and <interpreter>; none: text only"`
	Feedback string `yaml:"feedback" doc:"retool-eval (the released evaluation's), agent-r1, slime: white space around output"`
	Template string `yaml:"template" doc:"plain, retool-repo (the published one), paper-fig7: text around a question"`
	Error    string `yaml:"error" doc:"traceback (as in the paper's figure 4), last-line: what a failed snippet shows"`
	Cap      int    `yaml:"cap" doc:"characters of output shown, the middle cut; released evaluation"`
	NoFence  string `yaml:"no_fence" doc:"without a fence run what follows <code>: code (choice); all of the turn: retool-eval"`
}

// DefaultProtocol is the released evaluation's form.
func DefaultProtocol() ProtocolConfig {
	return ProtocolConfig{Name: "tags", Feedback: "retool-eval", Template: "retool-repo", Error: "traceback", Cap: 400, NoFence: "code"}
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

// NewProtocol builds the configured protocol for a tokenizer.
func NewProtocol(cfg ProtocolConfig, tok tokenizer.Tokenizer) (*Tags, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newTags(cfg, tok), nil
}
