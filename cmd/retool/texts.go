package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine"
	"retool/engine/jsonfile"
	"retool/engine/tokenizer"
)

// texts turns what people write into a model's tokens.
type texts struct {
	dir  string
	tok  tokenizer.Tokenizer
	chat *engine.Chat // nil: the folder has no chat template
}

// openTexts reads the tokenizer and the chat template of a model's folder, whose weights need not be there. tools picks the template for
// them where there are two.
func openTexts(dir string, tools bool) (*texts, error) {
	if err := wantFolder(dir, "a model's folder with tokenizer.json"); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tok, err := tokenizer.Open(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{tok: tok}
	if err := f.read(dir); err != nil {
		return nil, err
	}
	chat, err := f.chat(engine.ProtocolConfig{Name: map[bool]string{true: "hermes"}[tools], Chat: "auto"})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, inFolder(dir))
	}
	return &texts{dir, tok, chat}, nil
}

// plain is a text's tokens, after what the tokenizer puts before one. No special token comes of the text itself.
func (t *texts) plain(text string) []int32 { return slices.Concat(t.tok.BOS(), t.tok.Encode(text)) }

// messages is a conversation's tokens.
func (t *texts) messages(list []engine.Message, tools, generate bool) (text string, ids []int32, err error) {
	if t.chat == nil {
		return "", nil, fmt.Errorf("messages want a chat template, and %s has none "+
			"(chat_template.jinja, or chat_template in tokenizer_config.json)", t.dir)
	}
	return t.chat.Conversation(list, tools, generate)
}

// pieces are tokens as people read them. A token that is part of a character shows it as �.
func (t *texts) pieces(ids []int32) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = strings.ToValidUTF8(t.tok.Name(id), "\uFFFD")
	}
	return out
}

// special reports whether a token is no text.
func (t *texts) special(id int32) bool { return t.tok.Bytes(id) == nil }

// parseMessages reads a JSON list of messages.
func parseMessages(text []byte) ([]engine.Message, error) {
	var list []engine.Message
	if err := jsonfile.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("want a JSON list of objects with role and content, both text: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("want at least one message, got an empty list")
	}
	for i, m := range list {
		if m.Role == "" {
			return nil, fmt.Errorf("message %d has no role: want system, user, assistant or tool", i+1)
		}
		if m.Content == "" && m.Role != "assistant" {
			return nil, fmt.Errorf("message %d, of role %s, has no content", i+1, m.Role)
		}
	}
	return list, nil
}

// textFlags give a text, or messages, on the command line.
func textFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "text", Usage: what + " as `TEXT`; - is standard input"},
		&cli.StringFlag{Name: "messages", Usage: what + ` as a conversation, which the chat template renders: a JSON list of ` +
			`{"role", "content"}, ` + "a `FILE` of one, or - for standard input"},
	}
}

// flaggedText is what --text or --messages give; found is false where the command has neither.
func flaggedText(c *cli.Context) (text string, list []engine.Message, found bool, err error) {
	switch {
	case c.IsSet("text") && c.IsSet("messages"):
		return "", nil, false, fmt.Errorf("%s: --text and --messages exclude each other", c.Command.Name)
	case c.IsSet("text"):
		text = c.String("text")
		if text == "-" {
			read, err := io.ReadAll(c.App.Reader)
			if err != nil {
				return "", nil, false, fmt.Errorf("%s: standard input: %w", c.Command.Name, err)
			}
			text = string(read)
		}
		return text, nil, true, nil
	case c.IsSet("messages"):
		list, err := flaggedMessages(c.App.Reader, c.String("messages"))
		if err != nil {
			return "", nil, false, fmt.Errorf("%s: --messages: %w", c.Command.Name, err)
		}
		return "", list, true, nil
	}
	return "", nil, false, nil
}

// flaggedMessages reads messages from the flag's own text, from a file or from standard input.
func flaggedMessages(in io.Reader, value string) ([]engine.Message, error) {
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(value, "["):
		return parseMessages([]byte(value))
	case value == "-":
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		list, err := parseMessages(text)
		if err != nil {
			err = fmt.Errorf("standard input: %w", err)
		}
		return list, err
	}
	text, err := readText(value)
	if err != nil {
		return nil, err
	}
	list, err := parseMessages(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", value, err)
	}
	return list, err
}

// idsOf are the tokens of what --text or --messages give, with the text as it was rendered.
func (t *texts) idsOf(text string, list []engine.Message, generate bool) (string, []int32, error) {
	if list != nil {
		return t.messages(list, false, generate)
	}
	return text, t.plain(text), nil
}

// hasTokenizer reports whether a folder has one.
func hasTokenizer(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, tokenizerFile))
	return !errors.Is(err, fs.ErrNotExist)
}
