package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"retool/engine/jsonfile"
)

// bpeFile is a tokenizer.json. What it can say goes far beyond what this package does; the methods below accept the pipelines of GPT-2,
// Llama 3, Qwen, SmolLM2 and DeepSeek V3 and refuse everything else by name, since a pipeline that is nearly the right one gives ids that
// are nearly right. Truncation and padding are left alone: a caller of the reference sets them by the call.
type bpeFile struct {
	Added         []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
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

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	Special    bool   `json:"special"`
	Normalized bool   `json:"normalized"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
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
	Type             string  `json:"type"`
	Normalizers      []stage `json:"normalizers"`
	PreTokenizers    []stage `json:"pretokenizers"`
	Processors       []stage `json:"processors"`
	AddPrefixSpace   *bool   `json:"add_prefix_space"`  // absent means true
	UseRegex         *bool   `json:"use_regex"`         // absent means true
	IndividualDigits bool    `json:"individual_digits"` // absent means false
	Behavior         string  `json:"behavior"`
	Invert           bool    `json:"invert"`
	Pattern          struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`

	// Of TemplateProcessing: what surrounds one text.
	Single []struct {
		Sequence *struct {
			ID string `json:"id"`
		} `json:"Sequence"`
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// stages reads one part of a pipeline, its sequences taken apart; null is none.
func stages(part string, raw json.RawMessage) ([]stage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var s stage
	if err := jsonfile.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	return s.flat(), nil
}

func (s stage) flat() []stage {
	if s.Type != "Sequence" {
		return []stage{s}
	}
	var out []stage
	for _, e := range slices.Concat(s.Normalizers, s.PreTokenizers, s.Processors) {
		out = append(out, e.flat()...)
	}
	return out
}

// refused is the error of a part that this package does not reproduce.
func refused(part string, raw json.RawMessage, why string, args ...any) error {
	const shown = 300 // bytes: some hold whole tables
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	text := compact.String()
	if len(text) > shown {
		text = strings.ToValidUTF8(text[:shown], "") + "…"
	}
	return fmt.Errorf("%s %s is not supported: %s", part, text, fmt.Sprintf(why, args...))
}

// normaliser accepts none, and NFC.
func (f *bpeFile) normaliser() (func(string) string, error) {
	list, err := stages("normalizer", f.Normalizer)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.Type != "NFC" {
			return nil, refused("normalizer", f.Normalizer, "%s is not known (known: none, NFC)", s.Type)
		}
	}
	if len(list) == 0 {
		return func(s string) string { return s }, nil
	}
	return composed, nil
}

// scanners accepts any number of Digits and of Splits by a known expression, and then ByteLevel, which may cut by GPT-2's expression.
func (f *bpeFile) scanners() ([]scanner, error) {
	list, err := stages("pre_tokenizer", f.PreTokenizer)
	if err != nil {
		return nil, err
	}
	refuse := func(why string, args ...any) ([]scanner, error) {
		return nil, refused("pre_tokenizer", f.PreTokenizer, why, args...)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("pre_tokenizer is missing: want Split and ByteLevel, or ByteLevel")
	}
	var out []scanner
	for i, s := range list {
		last := i == len(list)-1
		switch {
		case last != (s.Type == "ByteLevel"):
			return refuse("%s in place %d of %d: want Splits or Digits, and ByteLevel last", s.Type, i+1, len(list))
		case last && (s.AddPrefixSpace == nil || *s.AddPrefixSpace):
			return refuse("add_prefix_space is on")
		case last && (s.UseRegex == nil || *s.UseRegex):
			out = append(out, nextGPT2)
		case last:
		case s.Type == "Digits" && s.IndividualDigits:
			out = append(out, nextDigit)
		case s.Type == "Digits":
			out = append(out, nextDigits)
		case s.Type != "Split":
			return refuse("%s is not known (known: Split, Digits, ByteLevel)", s.Type)
		case s.Behavior != "Isolated" || s.Invert:
			return refuse("want Split with behavior Isolated, not inverted")
		case s.Pattern.Regex == "":
			return refuse("want Split by a Regex")
		default:
			known := slices.IndexFunc(expressions, func(e expression) bool { return e.pattern == s.Pattern.Regex })
			if known < 0 {
				return refuse("an unknown expression (known: %s)", expressionNames())
			}
			out = append(out, expressions[known].next)
		}
	}
	if len(out) == 0 {
		return refuse("nothing cuts the text into words")
	}
	return out, nil
}

func expressionNames() string {
	names := make([]string, len(expressions))
	for i, e := range expressions {
		names[i] = e.name
	}
	return strings.Join(names, "; ")
}

// bos is what the post-processor puts before a text. ByteLevel there changes no ids.
func (f *bpeFile) bos(size int) ([]int32, error) {
	list, err := stages("post_processor", f.PostProcessor)
	if err != nil {
		return nil, err
	}
	refuse := func(why string, args ...any) ([]int32, error) {
		return nil, refused("post_processor", f.PostProcessor, why, args...)
	}
	var ids []int32
	templates := 0
	for _, s := range list {
		if s.Type == "ByteLevel" {
			continue
		}
		if s.Type != "TemplateProcessing" {
			return refuse("%s is not known (known: ByteLevel, TemplateProcessing)", s.Type)
		}
		if templates++; templates > 1 {
			return refuse("two templates")
		}
		texts := 0
		for _, e := range s.Single {
			switch {
			case e.Sequence != nil && e.Sequence.ID == "A" && texts == 0:
				texts++
			case e.SpecialToken != nil && texts == 0:
				token, ok := s.SpecialTokens[e.SpecialToken.ID]
				if !ok {
					return refuse("%q is not among its special_tokens", e.SpecialToken.ID)
				}
				for _, id := range token.IDs {
					if id < 0 || int(id) >= size {
						return refuse("%q has id %d, the tokenizer has ids below %d", e.SpecialToken.ID, id, size)
					}
				}
				ids = append(ids, token.IDs...)
			case e.SpecialToken != nil:
				return refuse("it puts %q after a text", e.SpecialToken.ID)
			default:
				return refuse("single must be special tokens and then the text A")
			}
		}
		if texts == 0 {
			return refuse("single must be special tokens and then the text A")
		}
	}
	return ids, nil
}

// checkModel refuses models, options of BPE and decoders that would change ids or bytes.
func (f *bpeFile) checkModel() error {
	m := f.Model
	switch {
	case m.Type != "BPE" && (m.Type != "" || m.Merges == nil): // files of GPT-2's time name no type
		return notBPE(m.Type)
	case m.Dropout != 0:
		return fmt.Errorf("model.dropout is %v, want none", m.Dropout)
	case m.Prefix != "" || m.Suffix != "":
		return fmt.Errorf("model.continuing_subword_prefix is %q and end_of_word_suffix %q, want none", m.Prefix, m.Suffix)
	case m.ByteFallback:
		return fmt.Errorf("model.byte_fallback is on: a SentencePiece vocabulary, want byte-level BPE")
	}
	list, err := stages("decoder", f.Decoder)
	switch {
	case err != nil:
		return err
	case len(list) == 0:
		return fmt.Errorf("decoder is missing: want ByteLevel")
	case len(list) > 1 || list[0].Type != "ByteLevel":
		return refused("decoder", f.Decoder, "want ByteLevel")
	}
	return nil
}

func notBPE(kind string) error { return fmt.Errorf("model.type is %q, want BPE", kind) }
