package gguf

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"retool/engine/jsonfile"
)

// FolderFiles are those that ParseTokenizer reads, as far as a folder has them.
var FolderFiles = []string{configFile, generationFile, tokenizerFile, tokenizerNotes, "special_tokens_map.json", templateFile}

// ParseTokenizer reads the tokenizer of a folder from its files, for an embedding of so many rows. Rows that are no token become tokens
// marked as unused, as llama.cpp's converter does it. What a GGUF file cannot say is an error that names it.
func ParseTokenizer(files map[string][]byte, rows int) (*Tokenizer, error) {
	t := &Tokenizer{bos: none, eos: none, eot: none, eom: none, pad: none, unk: none}
	data, ok := files[tokenizerFile]
	if !ok {
		return nil, fmt.Errorf("gguf: the folder has no %s, and a GGUF file needs a tokenizer", tokenizerFile)
	}
	if err := t.parse(data, rows); err != nil {
		return nil, fmt.Errorf("gguf: %s: %w", tokenizerFile, err)
	}
	for _, step := range []struct {
		file string
		read func(map[string]json.RawMessage) error
	}{
		{tokenizerNotes, t.readNotes}, {"special_tokens_map.json", t.readNames}, {generationFile, t.readIDs}, {configFile, t.readIDs},
	} {
		data, ok := files[step.file]
		if !ok {
			continue
		}
		var object map[string]json.RawMessage
		err := jsonfile.Unmarshal(data, &object)
		if err == nil {
			err = step.read(object)
		}
		if err == nil && step.file == generationFile {
			err = t.readSampling(object)
		}
		if err != nil {
			return nil, fmt.Errorf("gguf: %s: %w", step.file, err)
		}
	}
	if data, ok := files[templateFile]; ok {
		t.template = string(data)
	}
	if err := t.check(rows); err != nil {
		return nil, fmt.Errorf("gguf: %s: %w", tokenizerFile, err)
	}
	return t, nil
}

func (t *Tokenizer) parse(data []byte, rows int) error {
	var format struct {
		Format string `json:"format"`
	}
	if err := jsonfile.Unmarshal(data, &format); err != nil {
		return err
	}
	if format.Format != "" {
		return fmt.Errorf("is of the format %q, a tokenizer that llama.cpp has not: byte-level BPE is needed", format.Format)
	}
	var f tokenizerJSON
	if err := jsonfile.Unmarshal(data, &f); err != nil {
		return err
	}
	m := f.Model
	switch {
	case m.Type != "BPE" || m.ByteFallback:
		return fmt.Errorf("model is %q, byte_fallback %v: only byte-level BPE is supported", m.Type, m.ByteFallback)
	case m.Dropout != nil && *m.Dropout != 0, m.Prefix != nil && *m.Prefix != "", m.Suffix != nil && *m.Suffix != "":
		return fmt.Errorf("model sets dropout, continuing_subword_prefix or end_of_word_suffix, which GGUF cannot say")
	}
	decoder, err := flatten(f.Decoder)
	if err != nil || len(decoder) != 1 || decoder[0].Type != "ByteLevel" {
		return fmt.Errorf("decoder is %s, want ByteLevel", abridged(string(f.Decoder)))
	}
	if t.pipeline, err = pipelineOf(f.Normalizer, f.PreTokenizer, m.IgnoreMerges); err != nil {
		return err
	}
	if err := t.readTokens(f, rows); err != nil {
		return err
	}
	if t.merges, err = readMerges(m.Merges); err != nil {
		return err
	}
	return t.readSurround(f.PostProcessor)
}

func (t *Tokenizer) readTokens(f tokenizerJSON, rows int) error {
	var vocab map[string]int
	if err := jsonfile.Unmarshal(f.Model.Vocab, &vocab); err != nil {
		return fmt.Errorf("model.vocab: %w", err)
	}
	t.tokens, t.types = make([]string, rows), make([]int32, rows)
	put := func(id int, text string, kind int32) error {
		if id < 0 || id >= rows {
			return fmt.Errorf("token %q has id %d, the embedding has %d rows", text, id, rows)
		}
		if t.types[id] != 0 && t.tokens[id] != text {
			return fmt.Errorf("id %d is both %q and %q", id, t.tokens[id], text)
		}
		t.tokens[id], t.types[id] = text, kind
		return nil
	}
	for text, id := range vocab {
		if err := put(id, text, normalToken); err != nil {
			return err
		}
	}
	for _, a := range f.AddedTokens {
		if a.SingleWord || a.LStrip || a.RStrip {
			return fmt.Errorf("added token %q sets single_word, lstrip or rstrip, which GGUF cannot say", a.Content)
		}
		kind := int32(userToken)
		if a.Special {
			kind = controlToken
		}
		if err := put(a.ID, a.Content, kind); err != nil {
			return err
		}
	}
	for id := range t.tokens {
		if t.types[id] == 0 {
			t.tokens[id], t.types[id] = unusedName(id), unusedToken
		}
	}
	return nil
}

// readMerges reads both spellings: "a b" and ["a", "b"].
func readMerges(data json.RawMessage) ([]string, error) {
	var joined []string
	if json.Unmarshal(data, &joined) == nil {
		return joined, nil
	}
	var pairs [][]string
	if err := jsonfile.Unmarshal(data, &pairs); err != nil {
		return nil, fmt.Errorf("model.merges is %s, want a list of pairs", abridged(string(data)))
	}
	joined = make([]string, len(pairs))
	for i, p := range pairs {
		joined[i] = strings.Join(p, " ")
	}
	return joined, nil
}

// readSurround accepts a post-processor that puts one token before a text, one after it, or none.
func (t *Tokenizer) readSurround(data json.RawMessage) error {
	list, err := flatten(data)
	if err != nil {
		return fmt.Errorf("post_processor: %w", err)
	}
	for _, s := range list {
		switch s.Type {
		case "ByteLevel":
			continue
		case "TemplateProcessing":
		default:
			return fmt.Errorf("post_processor %s is not known (known: ByteLevel, TemplateProcessing)", s.Type)
		}
		texts := 0
		for _, p := range s.Single {
			switch {
			case p.Sequence != nil:
				texts++
			case p.SpecialToken == nil:
			case texts == 0 && !t.addBOS:
				t.bos, t.addBOS = t.id(p.SpecialToken.ID), true
			case texts == 1 && !t.addEOS:
				t.eos, t.addEOS = t.id(p.SpecialToken.ID), true
			default:
				texts = 2
			}
		}
		if texts != 1 {
			return fmt.Errorf("post_processor: want one text, with at most one token before it and one after it")
		}
	}
	if t.addBOS && t.bos == none || t.addEOS && t.eos == none {
		return fmt.Errorf("post_processor: a token that stands there is not in the vocabulary")
	}
	return nil
}

func (t *Tokenizer) id(text string) int { return slices.Index(t.tokens, text) }

// readNames reads the special tokens by their texts; what is known already stays.
func (t *Tokenizer) readNames(object map[string]json.RawMessage) error {
	for name, id := range map[string]*int{"bos_token": &t.bos, "eos_token": &t.eos, "pad_token": &t.pad, "unk_token": &t.unk} {
		raw, ok := object[name]
		if !ok || string(raw) == "null" || *id != none {
			continue
		}
		var text string
		var token struct {
			Content string `json:"content"`
		}
		if json.Unmarshal(raw, &text) != nil && json.Unmarshal(raw, &token) == nil {
			text = token.Content
		}
		if *id = t.id(text); *id == none {
			return fmt.Errorf("%s is %s, which is no token", name, raw)
		}
	}
	return nil
}

// readNotes reads tokenizer_config.json.
func (t *Tokenizer) readNotes(object map[string]json.RawMessage) error {
	if err := t.readNames(object); err != nil {
		return err
	}
	raw, ok := object["chat_template"]
	if !ok || string(raw) == "null" || json.Unmarshal(raw, &t.template) == nil {
		return nil
	}
	var list []struct{ Name, Template string }
	if err := jsonfile.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("chat_template is %s, want a string or a list of named ones", abridged(string(raw)))
	}
	t.templates = map[string]string{}
	for _, named := range list {
		if named.Name == "default" {
			t.template = named.Template
		} else {
			t.templates[named.Name] = named.Template
		}
	}
	return nil
}

// readIDs reads the ids of generation_config.json, and then of config.json: what is not known by its text, and other tokens that end a
// text, which the first of the two that names any decides.
func (t *Tokenizer) readIDs(object map[string]json.RawMessage) error {
	read := func(key string) ([]int, error) {
		raw, ok := object[key]
		if !ok || string(raw) == "null" {
			return nil, nil
		}
		var one int
		list := []int{}
		if json.Unmarshal(raw, &one) == nil {
			list = append(list, one)
		} else if err := jsonfile.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("%s is %s, want an id or a list of ids", key, abridged(string(raw)))
		}
		for _, id := range list {
			if id < 0 || id >= len(t.tokens) {
				return nil, fmt.Errorf("%s holds %d, ids are 0 to %d", key, id, len(t.tokens)-1)
			}
		}
		return list, nil
	}
	for key, id := range map[string]*int{"bos_token_id": &t.bos, "pad_token_id": &t.pad} {
		list, err := read(key)
		if err != nil {
			return err
		}
		if len(list) > 0 && *id == none {
			*id = list[0]
		}
	}
	ends, err := read("eos_token_id")
	if err != nil || t.endsKnown {
		return err
	}
	t.endsKnown = len(ends) > 0
	for _, id := range ends {
		for _, place := range []*int{&t.eos, &t.eot, &t.eom} {
			if *place == none || *place == id {
				*place = id
				break
			}
		}
		if !slices.Contains(t.ends(), id) {
			return fmt.Errorf("a text ends at more tokens than the three that GGUF can name: %v, and %d", t.ends(), id)
		}
	}
	return nil
}

// readSampling keeps what a file can say of sampling.
func (t *Tokenizer) readSampling(object map[string]json.RawMessage) error {
	for _, s := range samplingKeys {
		raw, ok := object[s.name]
		if !ok || string(raw) == "null" {
			continue
		}
		var x float64
		if err := jsonfile.Unmarshal(raw, &x); err != nil || s.integer && x != math.Trunc(x) || math.Abs(x) > math.MaxInt32 {
			return fmt.Errorf("%s is %s, want a number", s.name, abridged(string(raw)))
		}
		if s.integer {
			t.set(s.name, int(x))
		} else {
			t.set(s.name, x)
		}
	}
	return nil
}
