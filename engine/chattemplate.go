package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// A ChatTemplate is what a model's folder says of its chat: a Jinja template, and the special tokens that it may print.
type ChatTemplate struct {
	Text     string
	BOS, EOS string
}

// ReadChatTemplate finds the chat template among the files of a model's folder, by name; nil: there is none. As in transformers,
// chat_template.jinja goes before chat_template.json, and both before tokenizer_config.json. Of several templates in one file tools picks
// the one named tool_use, where there is such, else it is the one named default.
func ReadChatTemplate(files map[string][]byte, tools bool) (*ChatTemplate, error) {
	const configFile, jsonFile = "tokenizer_config.json", "chat_template.json"
	var t ChatTemplate
	for _, file := range []string{configFile, jsonFile} {
		text, ok := files[file]
		if !ok {
			continue
		}
		var f struct {
			Template json.RawMessage `json:"chat_template"`
			BOS      tokenText       `json:"bos_token"`
			EOS      tokenText       `json:"eos_token"`
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("engine: chat template: %s: %w", file, err)
		}
		if file == configFile {
			t.BOS, t.EOS = string(f.BOS), string(f.EOS)
		}
		found, err := namedTemplate(f.Template, tools)
		if err != nil {
			return nil, fmt.Errorf("engine: chat template: %s: %w", file, err)
		}
		if found != "" {
			t.Text = found
		}
	}
	if text, ok := files["chat_template.jinja"]; ok {
		t.Text = string(text)
	}
	if t.Text == "" {
		return nil, nil
	}
	return &t, nil
}

// tokenText is a token in a tokenizer_config.json: a string, an object with content, or null.
type tokenText string

func (t *tokenText) UnmarshalJSON(data []byte) error {
	var object struct{ Content string }
	if json.Unmarshal(data, (*string)(t)) != nil && json.Unmarshal(data, &object) == nil {
		*t = tokenText(object.Content)
	}
	return nil
}

// namedTemplate is a template, or one of a list of {name, template}.
func namedTemplate(raw json.RawMessage, tools bool) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var list []struct{ Name, Template string }
	if json.Unmarshal(raw, &list) != nil {
		return "", fmt.Errorf("chat_template is %.40s: want a string, or a list of objects with name and template", raw)
	}
	named := map[string]string{}
	for _, t := range list {
		named[t.Name] = t.Template
	}
	if text, ok := named["tool_use"]; ok && tools {
		return text, nil
	}
	if text, ok := named["default"]; ok {
		return text, nil
	}
	return "", errors.New("chat_template lists no template named default")
}

// Tags by which transformers marks what an assistant wrote. They print nothing.
var (
	generationTag = regexp.MustCompile(`\{%([-+]?)\s*generation\s*([-+]?)%\}`)
	generationEnd = regexp.MustCompile(`\{%([-+]?)\s*endgeneration\s*([-+]?)%\}`)
)

// compile parses the template. What it returns renders a conversation as transformers does; it is safe for concurrent use.
func (t *ChatTemplate) compile() (func(conversation) (string, error), error) {
	const name = "/chat_template"
	text := generationTag.ReplaceAllString(t.Text, "{%$1 if true $2%}")
	text = generationEnd.ReplaceAllString(text, "{%$1 endif $2%}")
	loader, err := loaders.NewMemoryLoader(map[string]string{name: text})
	if err != nil {
		return nil, err
	}
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	parsed, err := exec.NewTemplate(name, settings, loader, chatEnvironment)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // the outer one holds the whole template
		}
		return nil, fmt.Errorf("engine: the model's chat template does not parse: %w", err)
	}
	return func(c conversation) (text string, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("engine: the model's chat template does not render: %v", p)
			}
		}()
		messages := make([]any, len(c.messages))
		for i, m := range c.messages {
			messages[i] = map[string]any{"role": m.role, "content": m.content}
		}
		var tools any
		if c.tools {
			tools = []any{tool}
		}
		text, err = render(parsed, exec.NewContext(map[string]any{
			"messages": messages, "tools": tools, "documents": nil, "add_generation_prompt": c.generate,
			"bos_token": t.BOS, "eos_token": t.EOS,
		}))
		if err != nil {
			return "", fmt.Errorf("engine: the model's chat template does not render: %w", err)
		}
		return text, nil
	}, nil
}

func render(t *exec.Template, c *exec.Context) (string, error) {
	var b strings.Builder
	err := t.Execute(&b, c)
	return b.String(), err
}

// chatEnvironment is gonja's, with what transformers adds to Jinja's.
var chatEnvironment = &exec.Environment{
	Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables).Update(exec.NewContext(map[string]any{
		"raise_exception": raiseException, "strftime_now": strftimeNow,
	})),
	Filters:           exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters).Update(chatFilters),
	Tests:             builtins.Tests,
	ControlStructures: builtins.ControlStructures,
	Methods:           builtins.Methods,
}

var chatFilters = exec.NewFilterSet(map[string]exec.FilterFunction{"tojson": toJSON, "items": items})

// tool is toolJSON as gonja's ordered dictionary, so that a template that prints it keeps the order of its keys.
var tool = func() any {
	d := json.NewDecoder(strings.NewReader(toolJSON))
	v, err := ordered(d)
	if err != nil {
		panic("engine: the tool's schema: " + err.Error())
	}
	return v
}()

// ordered decodes the next value of a JSON stream, objects as exec.Dict.
func ordered(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		dict := exec.Dict{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			dict.Pairs = append(dict.Pairs, &exec.Pair{Key: exec.AsValue(key), Value: exec.AsValue(value)})
		}
		_, err = d.Token()
		return dict, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := ordered(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	}
	return token, nil
}
