package gguf

import (
	"encoding/json"
	"fmt"
	"strings"

	"retool/engine/jsonfile"
)

// pipeline is what a name in tokenizer.ggml.pre stands for: how text is cut into words, as a tokenizer.json spells it.
type pipeline struct {
	names        []string // those that llama.cpp takes for the same; the first is written
	nfc          bool     // the published tokenizers normalise; llama.cpp does not
	splits       []string // expressions of Splits, in a row
	digits       bool     // each digit alone, before all else
	gpt2         bool     // ByteLevel cuts by GPT-2's expression
	ignoreMerges bool     // a word that is a token is not merged
	bos          bool     // llama.cpp puts a token before a text unless add_bos_token says otherwise
}

const (
	llama3Words = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Words  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// deepSeekV3 is three expressions in a row: numbers, Han and kana, words.
var deepSeekV3 = []string{
	`\p{N}{1,3}`,
	"[一-龥\u3040-ゟ゠-ヿ]+",
	"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" +
		`| ?[\p{P}\p{S}]+` + "[\r\n]*|" + `\s*` + "[\r\n]+|" + `\s+(?!\S)|\s+`,
}

var pipelines = []pipeline{
	{names: []string{"llama-bpe", "llama3", "llama-v3"}, splits: []string{llama3Words}, ignoreMerges: true, bos: true},
	{names: []string{"smaug-bpe", "dbrx"}, splits: []string{llama3Words}},
	{names: []string{"qwen2"}, nfc: true, splits: []string{qwen2Words}},
	{names: []string{"deepseek-r1-qwen"}, splits: []string{qwen2Words}},
	{names: []string{"deepseek-v3"}, splits: deepSeekV3},
	{names: []string{"smollm"}, digits: true, gpt2: true},
	{names: []string{"gpt-2"}, gpt2: true},
}

func knownPipelines() string {
	var names []string
	for _, p := range pipelines {
		names = append(names, p.names...)
	}
	return strings.Join(names, ", ")
}

// pipelineNamed is the pipeline of a file.
func pipelineNamed(name string) (*pipeline, error) {
	for i, p := range pipelines {
		for _, n := range p.names {
			if n == name {
				return &pipelines[i], nil
			}
		}
	}
	if name == "" {
		return nil, fmt.Errorf("tokenizer.ggml.pre is missing: nothing says how text is cut (known: %s)", knownPipelines())
	}
	return nil, fmt.Errorf("tokenizer.ggml.pre is %q, a way to cut text that is not known (known: %s)", name, knownPipelines())
}

// stage is a part of a tokenizer.json's pipeline, with the fields of all kinds in question.
type stage struct {
	Type             string           `json:"type"`
	Normalizers      *[]stage         `json:"normalizers,omitempty"`
	Pretokenizers    *[]stage         `json:"pretokenizers,omitempty"`
	Processors       *[]stage         `json:"processors,omitempty"`
	Pattern          *pattern         `json:"pattern,omitempty"`
	Behavior         string           `json:"behavior,omitempty"`
	Invert           *bool            `json:"invert,omitempty"`
	IndividualDigits *bool            `json:"individual_digits,omitempty"`
	AddPrefixSpace   *bool            `json:"add_prefix_space,omitempty"`
	TrimOffsets      *bool            `json:"trim_offsets,omitempty"`
	UseRegex         *bool            `json:"use_regex,omitempty"`
	Single           []piece          `json:"single,omitempty"`
	Pair             []piece          `json:"pair,omitempty"`
	SpecialTokens    map[string]token `json:"special_tokens,omitempty"`
}

type pattern struct {
	Regex  string `json:"Regex,omitempty"`
	String string `json:"String,omitempty"`
}

// piece is an element of a template: a text or a special token.
type piece struct {
	SpecialToken *reference `json:"SpecialToken,omitempty"`
	Sequence     *reference `json:"Sequence,omitempty"`
}

type reference struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

type token struct {
	ID     string   `json:"id"`
	IDs    []int    `json:"ids"`
	Tokens []string `json:"tokens"`
}

// flatten takes sequences apart.
func flatten(raw json.RawMessage) ([]stage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var s stage
	if err := jsonfile.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	return s.parts(), nil
}

func (s stage) parts() []stage {
	var list []stage
	for _, inner := range []*[]stage{s.Normalizers, s.Pretokenizers, s.Processors} {
		if inner != nil && s.Type == "Sequence" {
			for _, p := range *inner {
				list = append(list, p.parts()...)
			}
		}
	}
	if s.Type == "Sequence" {
		return list
	}
	return append(list, s)
}

func is(v *bool, absent bool) bool {
	if v == nil {
		return absent
	}
	return *v
}

// pipelineOf is the pipeline that a tokenizer.json spells.
func pipelineOf(normalizer, preTokenizer json.RawMessage, ignoreMerges bool) (*pipeline, error) {
	list, err := flatten(normalizer)
	if err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	got := pipeline{ignoreMerges: ignoreMerges}
	for _, s := range list {
		if s.Type != "NFC" {
			return nil, fmt.Errorf("normalizer %s is not known (known: none, NFC)", s.Type)
		}
		got.nfc = true
	}
	if list, err = flatten(preTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	for i, s := range list {
		last := i == len(list)-1
		switch {
		case last && s.Type == "ByteLevel" && !is(s.AddPrefixSpace, true):
			got.gpt2 = is(s.UseRegex, true)
		case !last && s.Type == "Digits" && i == 0 && is(s.IndividualDigits, false):
			got.digits = true
		case !last && s.Type == "Split" && s.Pattern != nil && s.Pattern.Regex != "" && s.Behavior == "Isolated" && !is(s.Invert, false):
			got.splits = append(got.splits, s.Pattern.Regex)
		default:
			return nil, fmt.Errorf("pre_tokenizer: %s in place %d of %d, as it is set there, has no name in GGUF", s.Type, i+1, len(list))
		}
	}
	for i, p := range pipelines {
		if p.nfc == got.nfc && p.digits == got.digits && p.gpt2 == got.gpt2 && p.ignoreMerges == got.ignoreMerges &&
			strings.Join(p.splits, "\x00") == strings.Join(got.splits, "\x00") {
			return &pipelines[i], nil
		}
	}
	return nil, fmt.Errorf("normalizer, pre_tokenizer and model.ignore_merges together have no name in GGUF (known: %s)", knownPipelines())
}

// normalizer and preTokenizer spell the pipeline.
func (p *pipeline) normalizer() *stage {
	if !p.nfc {
		return nil
	}
	return &stage{Type: "NFC"}
}

func (p *pipeline) preTokenizer() *stage {
	yes, no := true, false
	var list []stage
	if p.digits {
		list = append(list, stage{Type: "Digits", IndividualDigits: &yes})
	}
	for _, s := range p.splits {
		list = append(list, stage{Type: "Split", Pattern: &pattern{Regex: s}, Behavior: "Isolated", Invert: &no})
	}
	list = append(list, stage{Type: "ByteLevel", AddPrefixSpace: &no, TrimOffsets: &yes, UseRegex: &p.gpt2})
	if len(list) == 1 {
		return &list[0]
	}
	return &stage{Type: "Sequence", Pretokenizers: &list}
}
