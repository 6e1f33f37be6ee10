package gguf

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kinds of tokens, as tokenizer.ggml.token_type numbers them.
const (
	normalToken  = 1
	unknownToken = 2
	controlToken = 3 // an added token that is special
	userToken    = 4 // an added token that is text
	unusedToken  = 5
)

// none is the id of a token that there is not.
const none = -1

// Tokenizer is a byte-level BPE tokenizer with what a file says of its special tokens and of sampling.
type Tokenizer struct {
	pipeline *pipeline
	tokens   []string // by id, as many as the embedding has rows
	types    []int32
	merges   []string // "a b"

	bos, eos, eot, eom, pad, unk int // ids or none: eot and eom end a text too
	addBOS, addEOS               bool
	endsKnown                    bool // while a folder is read: generation_config.json named some

	template  string            // of a chat, in Jinja; "" without one
	templates map[string]string // others by name
	sampling  map[string]any    // by the names of generation_config.json
}

// samplingKeys are the settings of generation_config.json that a file can have.
var samplingKeys = []struct {
	name, key string
	integer   bool
}{
	{"temperature", "general.sampling.temp", false},
	{"top_k", "general.sampling.top_k", true},
	{"top_p", "general.sampling.top_p", false},
	{"min_p", "general.sampling.min_p", false},
	{"repetition_penalty", "general.sampling.penalty_repeat", false},
}

// Tokens is the number of tokens in use; rows of the embedding may follow that are none.
func (t *Tokenizer) Tokens() int {
	n := len(t.tokens)
	for n > 0 && t.types[n-1] == unusedToken && t.tokens[n-1] == unusedName(n-1) {
		n--
	}
	return n
}

// Pre names the way in which text is cut, as tokenizer.ggml.pre does.
func (t *Tokenizer) Pre() string { return t.pipeline.names[0] }

func unusedName(id int) string { return fmt.Sprintf("[PAD%d]", id) }

// Tokenizer reads the tokenizer of a model whose embedding has so many rows.
func (f *File) Tokenizer(rows int) (*Tokenizer, error) {
	t, err := f.tokenizer(rows)
	if err != nil {
		return nil, fmt.Errorf("gguf: %s: %w", f.path, err)
	}
	return t, nil
}

func (f *File) tokenizer(rows int) (*Tokenizer, error) {
	k := keys{f: f, read: map[string]bool{}}
	const p = "tokenizer.ggml."
	switch kind := k.text(p+"model", ""); kind {
	case "gpt2":
	case "":
		return nil, fmt.Errorf("%smodel is missing: the file has no tokenizer", p)
	default:
		return nil, fmt.Errorf("%smodel is %q, which is not supported: only gpt2 is, byte-level BPE", p, kind)
	}
	t := &Tokenizer{tokens: texts(&k, p+"tokens"), merges: texts(&k, p+"merges")}
	types, ok := k.get(p + "token_type").([]int32)
	if !ok {
		k.fail("%stoken_type is %s, want a list of int32: without it nothing says which tokens are special", p, abridged(k.get(p+"token_type")))
	}
	t.types = types
	if k.err != nil {
		return nil, k.err
	}
	var err error
	if t.pipeline, err = pipelineNamed(k.text(p+"pre", "")); err != nil {
		return nil, err
	}
	t.bos, t.eos, t.pad = k.token("bos_token_id", rows), k.token("eos_token_id", rows), k.token("padding_token_id", rows)
	t.unk, t.eot, t.eom = k.token("unknown_token_id", rows), k.token("eot_token_id", rows), k.token("eom_token_id", rows)
	t.addBOS, t.addEOS = k.flag(p+"add_bos_token", t.pipeline.bos), k.flag(p+"add_eos_token", false)
	if k.flag(p+"add_space_prefix", false) {
		k.fail("%sadd_space_prefix is true: no such tokenizer is known", p)
	}
	t.template = k.text("tokenizer.chat_template", "")
	for _, kv := range f.Meta {
		if name, ok := strings.CutPrefix(kv.Key, "tokenizer.chat_template."); ok {
			if t.templates == nil {
				t.templates = map[string]string{}
			}
			t.templates[name] = k.text(kv.Key, "")
		}
	}
	for _, s := range samplingKeys {
		switch v := k.get(s.key).(type) {
		case nil:
			continue
		case float32:
			t.set(s.name, decimal(float64(v)))
		case int32:
			t.set(s.name, int(v))
		default:
			k.fail("%s is %v (%T), want a float32 or an int32", s.key, abridged(v), v)
		}
	}
	if k.err != nil {
		return nil, k.err
	}
	return t, t.check(rows)
}

func (t *Tokenizer) set(name string, v any) {
	if t.sampling == nil {
		t.sampling = map[string]any{}
	}
	t.sampling[name] = v
}

// texts reads a list of strings that must be there.
func texts(k *keys, key string) []string {
	list, ok := k.get(key).([]string)
	if !ok {
		k.fail("%s is %s, want a list of strings", key, abridged(k.get(key)))
	}
	return list
}

// token reads the id of a token, none where there is no such key.
func (k *keys) token(name string, rows int) int {
	key := "tokenizer.ggml." + name
	id := k.count(key, none)
	if id >= rows {
		k.fail("%s is %d, the embedding has %d rows", key, id, rows)
	}
	return id
}

// check reports what keeps tokens and merges from being a tokenizer.
func (t *Tokenizer) check(rows int) error {
	if len(t.tokens) != rows {
		return fmt.Errorf("tokenizer.ggml.tokens has %d tokens, the embedding %d rows", len(t.tokens), rows)
	}
	if len(t.types) != len(t.tokens) {
		return fmt.Errorf("tokenizer.ggml.token_type has %d entries for %d tokens", len(t.types), len(t.tokens))
	}
	ids := make(map[string]int, rows)
	for id, s := range t.tokens {
		if other, twice := ids[s]; twice || s == "" {
			return fmt.Errorf("tokenizer.ggml.tokens: token %d is %q, as is token %d: each must be one text", id, s, other)
		}
		if !utf8.ValidString(s) {
			return fmt.Errorf("tokenizer.ggml.tokens: token %d is %q, which is not UTF-8", id, s)
		}
		ids[s] = id
		if kind := t.types[id]; kind < normalToken || kind > unusedToken {
			return fmt.Errorf("tokenizer.ggml.token_type: token %d, %q, is of type %d, byte-level BPE has types 1 to 5", id, s, kind)
		}
	}
	for i, m := range t.merges {
		a, b, ok := strings.Cut(m, " ")
		if !ok || a == "" || b == "" || strings.Contains(b, " ") {
			return fmt.Errorf("tokenizer.ggml.merges: merge %d is %q, want two tokens and a space between them", i, m)
		}
		for _, s := range []string{a, b, a + b} {
			if _, ok := ids[s]; !ok {
				return fmt.Errorf("tokenizer.ggml.merges: merge %d is %q: %q is no token", i, m, s)
			}
		}
	}
	if t.addBOS && t.bos == none {
		return fmt.Errorf("a token is to stand before a text (tokenizer.ggml.add_bos_token), tokenizer.ggml.bos_token_id is missing")
	}
	if t.addEOS && t.eos == none {
		return fmt.Errorf("a token is to stand after a text (tokenizer.ggml.add_eos_token), tokenizer.ggml.eos_token_id is missing")
	}
	return nil
}

// Metadata is what a file says of the tokenizer.
func (t *Tokenizer) Metadata() []KV {
	const p = "tokenizer.ggml."
	list := []KV{
		{p + "model", "gpt2"}, {p + "pre", t.Pre()}, {p + "tokens", t.tokens}, {p + "token_type", t.types}, {p + "merges", t.merges},
	}
	for _, id := range []struct {
		name string
		id   int
	}{
		{"bos_token_id", t.bos}, {"eos_token_id", t.eos}, {"eot_token_id", t.eot}, {"eom_token_id", t.eom}, {"unknown_token_id", t.unk},
		{"padding_token_id", t.pad},
	} {
		if id.id != none {
			list = append(list, KV{p + id.name, uint32(id.id)})
		}
	}
	list = append(list, KV{p + "add_bos_token", t.addBOS}, KV{p + "add_eos_token", t.addEOS}, KV{p + "add_space_prefix", false})
	if t.template != "" {
		list = append(list, KV{"tokenizer.chat_template", t.template})
	}
	if names := sortedKeys(t.templates); len(names) > 0 {
		list = append(list, KV{"tokenizer.chat_templates", names})
		for _, name := range names {
			list = append(list, KV{"tokenizer.chat_template." + name, t.templates[name]})
		}
	}
	for _, s := range samplingKeys {
		switch v := t.sampling[s.name].(type) {
		case int:
			list = append(list, KV{s.key, int32(v)})
		case float64:
			list = append(list, KV{s.key, float32(v)})
		}
	}
	return list
}
