package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// bpeFile is a tokenizer.json. What it can say goes far beyond what this package does; the methods below accept the pipelines of GPT-2,
// Llama 3 and Qwen and refuse everything else by name, since a pipeline that is nearly the right one gives ids that are nearly right.
type bpeFile struct {
	Added        []addedToken    `json:"added_tokens"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Decoder      json.RawMessage `json:"decoder"`
	Model        struct {
		Type         string           `json:"type"`
		Dropout      float64          `json:"dropout"`
		UnkToken     string           `json:"unk_token"`
		Prefix       string           `json:"continuing_subword_prefix"`
		Suffix       string           `json:"end_of_word_suffix"`
		FuseUnk      bool             `json:"fuse_unk"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Vocab        map[string]int32 `json:"vocab"`
		Merges       mergeList        `json:"merges"`
	} `json:"model"`
}

// mergeList reads both spellings of merges: "a b" and ["a", "b"].
type mergeList [][2]string

func (l *mergeList) UnmarshalJSON(data []byte) error {
	var joined []string
	if err := json.Unmarshal(data, &joined); err == nil {
		*l = make(mergeList, len(joined))
		for i, m := range joined {
			a, b, ok := strings.Cut(m, " ")
			if !ok || a == "" || b == "" || strings.Contains(b, " ") {
				return fmt.Errorf("merge %d is %q: %w", i, m, errPair)
			}
			(*l)[i] = [2]string{a, b}
		}
		return nil
	}
	var pairs [][]string
	if err := json.Unmarshal(data, &pairs); err != nil {
		return fmt.Errorf("merges: %w", errPair)
	}
	*l = make(mergeList, len(pairs))
	for i, m := range pairs {
		if len(m) != 2 {
			return fmt.Errorf("merge %d has %d entries: %w", i, len(m), errPair)
		}
		(*l)[i] = [2]string(m)
	}
	return nil
}

// stage is one element of a pipeline, with all fields that any of those in question has.
type stage struct {
	Type           string  `json:"type"`
	Normalizers    []stage `json:"normalizers"`
	PreTokenizers  []stage `json:"pretokenizers"`
	AddPrefixSpace *bool   `json:"add_prefix_space"` // absent means true
	UseRegex       *bool   `json:"use_regex"`        // absent means true
	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	Pattern        struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func (f *bpeFile) normalises() bool { return !isNull(f.Normalizer) }

// normaliser accepts none, and NFC.
func (f *bpeFile) normaliser() (func(string) string, error) {
	if !f.normalises() {
		return func(s string) string { return s }, nil
	}
	var s stage
	if err := json.Unmarshal(f.Normalizer, &s); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if s.Type == "Sequence" && len(s.Normalizers) == 1 {
		s = s.Normalizers[0]
	}
	if s.Type != "NFC" {
		return nil, fmt.Errorf("normalizer %s is not supported (known: none, NFC)", f.Normalizer)
	}
	return composed, nil
}

// splitter accepts a Split by a known expression followed by ByteLevel without one of its own, and ByteLevel alone, which is GPT-2's.
func (f *bpeFile) splitter() (func(string) int, error) {
	refuse := func(why string) (func(string) int, error) {
		return nil, fmt.Errorf("pre_tokenizer %s is not supported: %s", f.PreTokenizer, why)
	}
	if isNull(f.PreTokenizer) {
		return nil, fmt.Errorf("pre_tokenizer is missing: want Split and ByteLevel")
	}
	var s stage
	if err := json.Unmarshal(f.PreTokenizer, &s); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	stages := []stage{s}
	if s.Type == "Sequence" {
		stages = s.PreTokenizers
	}
	if n := len(stages); n == 0 || n > 2 || stages[n-1].Type != "ByteLevel" {
		return refuse("want Split and ByteLevel, or ByteLevel")
	}
	last := stages[len(stages)-1]
	if last.AddPrefixSpace == nil || *last.AddPrefixSpace {
		return refuse("add_prefix_space is on")
	}
	ownRegex := last.UseRegex == nil || *last.UseRegex
	if len(stages) == 1 {
		if !ownRegex {
			return refuse("nothing cuts the text into words")
		}
		return nextGPT2, nil
	}
	first := stages[0]
	switch {
	case ownRegex:
		return refuse("ByteLevel cuts a second time")
	case first.Type != "Split":
		return refuse("want Split first")
	case first.Behavior != "Isolated" || first.Invert:
		return refuse("want Split with behavior Isolated, not inverted")
	case first.Pattern.Regex == "":
		return refuse("want Split by a Regex")
	}
	var known []string
	for _, sp := range splitters {
		if sp.pattern == first.Pattern.Regex {
			return sp.next, nil
		}
		known = append(known, sp.name)
	}
	return refuse("an unknown expression (known: " + strings.Join(known, ", ") + ")")
}

// checkRest refuses options of the model and decoders that would change ids or bytes.
func (f *bpeFile) checkRest() error {
	m := f.Model
	switch {
	case m.Type != "BPE":
		return fmt.Errorf("model type is %q, want BPE", m.Type)
	case m.Dropout != 0:
		return fmt.Errorf("model.dropout is %v, want none", m.Dropout)
	case m.UnkToken != "":
		return fmt.Errorf("model.unk_token is %q, want none: every text can be written in bytes", m.UnkToken)
	case m.Prefix != "" || m.Suffix != "":
		return fmt.Errorf("model.continuing_subword_prefix is %q and end_of_word_suffix %q, want none", m.Prefix, m.Suffix)
	case m.FuseUnk || m.ByteFallback:
		return fmt.Errorf("model.fuse_unk or byte_fallback is on, want off")
	}
	var decoder stage
	if isNull(f.Decoder) {
		return fmt.Errorf("decoder is missing: want ByteLevel")
	}
	if err := json.Unmarshal(f.Decoder, &decoder); err != nil {
		return fmt.Errorf("decoder: %w", err)
	}
	if decoder.Type != "ByteLevel" {
		return fmt.Errorf("decoder %s is not supported: want ByteLevel", f.Decoder)
	}
	return nil
}
