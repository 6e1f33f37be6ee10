package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"retool/engine/tokenizer"
)

// A Protocol is how a model asks for code and reads the reply. It is immutable and safe for concurrent use. Each is one file, which
// registers it: tags.go is the paper's.
type Protocol interface {
	// Prompt renders and tokenises a question, once per trajectory.
	Prompt(question string) ([]int32, error)
	// Call looks at the bytes of the turn so far, of which the last `fresh` came with the newest token, and reports whether that
	// token closed a request for code. ended: the model ended its turn.
	Call(turn []byte, fresh int, ended bool) (Request, bool)
	// Reply is Fragment as tokens.
	Reply(q Request, r Result) (ids []int32, seamless bool)
	// Fragment is the text that answers a request: an observation and what stands around it. seamless is false when the closing
	// token carried bytes that the fragment does not begin with.
	Fragment(q Request, r Result) (text string, seamless bool)
	// Observation is the text that a result shows. Nothing in it can pass for the protocol's own marks, nor for a special token.
	Observation(r Result) string
	// OutsideCode is what a response says outside its requests: what a verifier may look for an answer in.
	OutsideCode(text string) string
	// Turn is a stored turn of the policy as tokens: as it would have sampled them. called: a reply follows, so the turn holds what ends
	// it. The token that ends a text is not part of it.
	Turn(text string, called bool) []int32
	// Observed is a stored reply as tokens.
	Observed(reply string) []int32
	// ReplyFault says what keeps a stored reply from being one that this protocol gives to a stored turn; "" if nothing does. A model
	// that learns from another form waits in rollouts for white space that never comes.
	ReplyFault(turn, reply string) string
	// TextFault says what a stored turn holds that only the runtime writes; "" if nothing. It would be trained on.
	TextFault(turn string) string
	// Contract is one line that names everything which changes the token stream; checkpoints store it.
	Contract() string
}

// protocols are the protocols by the names that protocol.name knows.
var protocols = map[string]protocolKind{"tags": tagsKind, "hermes": hermesKind, "none": tagsKind}

// A protocolKind checks the settings of a protocol, all but its name, and builds it for a tokenizer.
type protocolKind struct {
	validate func(ProtocolConfig) error
	build    func(ProtocolConfig, tokenizer.Tokenizer, *Chat) (Protocol, error)
}

// Request is code a model asked to run. From is the byte of the turn at which the request begins, its tag included. Extra are the bytes
// its closing token carried beyond the tag. Invalid, when not empty, is the status of a request that holds nothing to run.
type Request struct {
	Code    string
	From    int
	Extra   []byte
	Invalid string
}

// ProtocolConfig selects and shapes a protocol. A run that goes on compares its contract, which names how calls are read.
type ProtocolConfig struct {
	Name     string `yaml:"name" doc:"tags: the paper's code and interpreter tags; hermes: function calls in chat turns; none: text only"`
	Feedback string `yaml:"feedback" doc:"retool-eval (the released evaluation's), agent-r1, slime: white space around output"`
	Chat     string `yaml:"chat" doc:"auto: the turns of the model's chat template, where it has one; chatml: Qwen's; none: no turns"`
	Template string `yaml:"template" doc:"plain, retool-repo (the published one), paper-fig7, verl: text around a question"`
	Error    string `yaml:"error" doc:"traceback (as in the paper's figure 4), last-line: what a failed snippet shows"`
	Cap      int    `yaml:"cap" doc:"characters of output shown, the middle cut; released evaluation"`
	Calls    string `yaml:"calls" doc:"hermes: loose (choice) reads what is nearly JSON, too; json: as verl and older runs" resume:"free"`
	NoFence  string `yaml:"no_fence" doc:"without a fence run what follows the opening tag: code (choice); all of the turn: retool-eval"`
}

// DefaultProtocol is the released evaluation's form.
func DefaultProtocol() ProtocolConfig {
	return ProtocolConfig{Name: "tags", Feedback: "retool-eval", Chat: chatAuto, Template: "retool-repo",
		Error: "traceback", Cap: 400, Calls: "loose", NoFence: "code"}
}

// Validate names the first setting that is not known.
func (c ProtocolConfig) Validate() error {
	if err := known("name", c.Name, slices.Sorted(maps.Keys(protocols))...); err != nil {
		return err
	}
	return protocols[c.Name].validate(c)
}

// known checks a setting that has one of some values.
func known(key, value string, values ...string) error {
	if !slices.Contains(values, value) {
		return fmt.Errorf("protocol.%s: %q is not known (known: %s)", key, value, strings.Join(values, ", "))
	}
	return nil
}

// NewProtocol builds the configured protocol for a tokenizer. chat is what [NewChat] makes of cfg.Chat; nil: no turns.
func NewProtocol(cfg ProtocolConfig, tok tokenizer.Tokenizer, chat *Chat) (Protocol, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return protocols[cfg.Name].build(cfg, tok, chat)
}
