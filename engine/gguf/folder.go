package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Names of the files of a Hugging Face folder that are made from a file's metadata, or the other way round.
const (
	configFile     = "config.json"
	generationFile = "generation_config.json"
	tokenizerFile  = "tokenizer.json"
	tokenizerNotes = "tokenizer_config.json"
	templateFile   = "chat_template.jinja"
)

// tokenizerJSON is tokenizer.json in the order of the official library.
type tokenizerJSON struct {
	Version       string          `json:"version"`
	Truncation    any             `json:"truncation"`
	Padding       any             `json:"padding"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         bpeJSON         `json:"model"`
}

type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

type bpeJSON struct {
	Type         string          `json:"type"`
	Dropout      *float64        `json:"dropout"`
	UnkToken     *string         `json:"unk_token"`
	Prefix       *string         `json:"continuing_subword_prefix"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUnk      bool            `json:"fuse_unk"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocab        json.RawMessage `json:"vocab"`
	Merges       json.RawMessage `json:"merges"`
}

// Files are those of a folder, its weights apart: config.json, for weights of dtype ("float32", …), generation_config.json,
// tokenizer.json, tokenizer_config.json and, with a chat template, chat_template.jinja.
func (t *Tokenizer) Files(c Config, dtype string) (map[string][]byte, error) {
	config, generation := c.hugging(), map[string]any{}
	config["torch_dtype"] = dtype
	ends := t.ends()
	for name, id := range map[string]int{"bos_token_id": t.bos, "pad_token_id": t.pad} {
		config[name] = nil // or transformers takes the default of its class
		if id != none {
			config[name], generation[name] = id, id
		}
	}
	switch config["eos_token_id"] = nil; len(ends) {
	case 0:
	case 1:
		config["eos_token_id"], generation["eos_token_id"] = ends[0], ends[0]
	default:
		config["eos_token_id"], generation["eos_token_id"] = ends, ends
	}
	if len(t.sampling) > 0 {
		generation["do_sample"] = true
		maps.Copy(generation, t.sampling)
	}
	tok, err := t.json()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, v := range map[string]any{configFile: config, generationFile: generation, tokenizerFile: tok, tokenizerNotes: t.notes(c)} {
		if files[name], err = marshal(v, "  "); err != nil {
			return nil, fmt.Errorf("gguf: %s: %w", name, err)
		}
	}
	if t.template != "" {
		files[templateFile] = []byte(t.template)
	}
	return files, nil
}

// ends are the ids at which a text ends.
func (t *Tokenizer) ends() []int {
	var ends []int
	for _, id := range []int{t.eos, t.eot, t.eom} {
		if id != none && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	return ends
}

// special reports whether a token is no text.
func (t *Tokenizer) special(id int) bool {
	return t.types[id] == controlToken || t.types[id] == unknownToken
}

// notes is tokenizer_config.json. The class is the one that takes tokenizer.json as it is.
func (t *Tokenizer) notes(c Config) map[string]any {
	out := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "model_max_length": c.MaxPositions,
	}
	for name, id := range map[string]int{"bos_token": t.bos, "eos_token": t.eos, "pad_token": t.pad, "unk_token": t.unk} {
		if id != none && t.special(id) { // or transformers would make a text special
			out[name] = t.tokens[id]
		}
	}
	switch {
	case len(t.templates) > 0: // the older spelling of several
		list := []map[string]string{{"name": "default", "template": t.template}}
		for _, name := range sortedKeys(t.templates) {
			list = append(list, map[string]string{"name": name, "template": t.templates[name]})
		}
		out["chat_template"] = list
	case t.template != "":
		out["chat_template"] = t.template
	}
	return out
}

// json is tokenizer.json. Added tokens that follow the vocabulary are not in it, as in published files.
func (t *Tokenizer) json() (*tokenizerJSON, error) {
	yes, no := true, false
	n := t.Tokens()
	vocabulary := n
	for vocabulary > 0 && (t.special(vocabulary-1) || t.types[vocabulary-1] == userToken) {
		vocabulary--
	}
	out := &tokenizerJSON{Version: "1.0", AddedTokens: []addedToken{}, Model: bpeJSON{Type: "BPE", IgnoreMerges: t.pipeline.ignoreMerges}}
	vocab := []byte{'{'}
	for id, s := range t.tokens[:n] {
		if t.special(id) || t.types[id] == userToken {
			out.AddedTokens = append(out.AddedTokens, addedToken{ID: id, Content: s, Special: t.special(id)})
		}
		if id >= vocabulary {
			continue
		}
		if id > 0 {
			vocab = append(vocab, ',')
		}
		text, err := marshal(s, "")
		if err != nil {
			return nil, err
		}
		vocab = fmt.Appendf(vocab, "%s:%d", bytes.TrimSpace(text), id)
	}
	out.Model.Vocab = append(vocab, '}')

	byteLevel := stage{Type: "ByteLevel", AddPrefixSpace: &yes, TrimOffsets: &no, UseRegex: &yes} // changes no ids there
	post := &byteLevel
	if t.addBOS || t.addEOS {
		post = &stage{Type: "Sequence", Processors: &[]stage{byteLevel, t.surround()}}
	}
	decoder := byteLevel
	decoder.TrimOffsets = &yes
	var err error
	put := func(dst *json.RawMessage, v any) {
		if err == nil {
			*dst, err = marshal(v, "")
		}
	}
	put(&out.Normalizer, t.pipeline.normalizer())
	put(&out.PreTokenizer, t.pipeline.preTokenizer())
	put(&out.PostProcessor, post)
	put(&out.Decoder, decoder)
	put(&out.Model.Merges, t.merges)
	return out, err
}

// surround puts tokens before and after a text.
func (t *Tokenizer) surround() stage {
	s := stage{Type: "TemplateProcessing", SpecialTokens: map[string]token{}}
	for i, text := range []string{"A", "B"} {
		var list []piece
		add := func(on bool, id int) {
			if on {
				name := t.tokens[id]
				s.SpecialTokens[name] = token{ID: name, IDs: []int{id}, Tokens: []string{name}}
				list = append(list, piece{SpecialToken: &reference{name, i}})
			}
		}
		add(t.addBOS, t.bos)
		list = append(list, piece{Sequence: &reference{text, i}})
		add(t.addEOS, t.eos)
		if i == 0 {
			s.Single = list
		}
		s.Pair = append(s.Pair, list...)
	}
	return s
}

// marshal is JSON whose text is readable: <, > and & stay.
func marshal(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.Bytes(), err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
