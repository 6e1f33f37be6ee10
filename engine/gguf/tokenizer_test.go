package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATokenizerComesBackFromItsFolderAsItWas(t *testing.T) {
	for name := range models {
		f := open(t, "testdata/"+name)
		tok, err := f.Tokenizer(64)
		require.NoError(t, err)
		_, files := filesOf(t, name)
		again, err := ParseTokenizer(files, 64)
		require.NoError(t, err)
		again.endsKnown = false
		require.Equal(t, tok, again, name)
	}
}

func TestEveryPipelineIsSpelledAndRecognised(t *testing.T) {
	for i := range pipelines {
		p := &pipelines[i]
		raw := func(v any) json.RawMessage {
			b, err := marshal(v, "")
			require.NoError(t, err)
			return bytes.TrimSpace(b)
		}
		got, err := pipelineOf(raw(p.normalizer()), raw(p.preTokenizer()), p.ignoreMerges)
		require.NoError(t, err)
		require.Same(t, p, got)
		for _, name := range p.names {
			got, err := pipelineNamed(name)
			require.NoError(t, err)
			require.Same(t, p, got)
		}
	}
}

func TestTheFolderOfATokenizer(t *testing.T) {
	config, files := filesOf(t, "qwen2.gguf")
	require.JSONEq(t, `[53, 51]`, string(config["eos_token_id"]), "eos and eot")
	var tok tokenizerJSON
	require.NoError(t, json.Unmarshal(files[tokenizerFile], &tok))
	require.Equal(t, []addedToken{
		{ID: 50, Content: "<tool_call>"}, {ID: 51, Content: "<|endoftext|>", Special: true}, {ID: 52, Content: "<|im_start|>", Special: true},
		{ID: 53, Content: "<|im_end|>", Special: true},
	}, tok.AddedTokens)
	var vocab map[string]int
	require.NoError(t, json.Unmarshal(tok.Model.Vocab, &vocab))
	require.Len(t, vocab, 50, "neither added tokens nor unused rows are in the vocabulary")
	require.JSONEq(t, `{"type": "NFC"}`, string(tok.Normalizer))
	require.NotContains(t, string(tok.PostProcessor), "TemplateProcessing")
	require.Contains(t, string(files[templateFile]), "<|im_start|>")
	require.Contains(t, string(files[tokenizerNotes]), `"eos_token": "<|im_end|>"`)

	_, files = filesOf(t, "llama-biases.gguf") // special tokens first: they are in the vocabulary, and one begins a text
	require.NoError(t, json.Unmarshal(files[tokenizerFile], &tok))
	vocab = nil
	require.NoError(t, json.Unmarshal(tok.Model.Vocab, &vocab))
	require.Equal(t, 1, vocab["<|im_start|>"])
	require.True(t, tok.Model.IgnoreMerges)
	post, err := flatten(tok.PostProcessor)
	require.NoError(t, err)
	require.Equal(t, []piece{{SpecialToken: &reference{"<|im_start|>", 0}}, {Sequence: &reference{"A", 0}}}, post[1].Single)
}

// tokenizerWith reads the fixture's tokenizer with one key changed; nil removes it.
func tokenizerWith(t *testing.T, key string, v any) error {
	f := open(t, "testdata/llama.gguf")
	c, err := f.Config()
	require.NoError(t, err)
	meta := slices.DeleteFunc(slices.Clone(f.Meta), func(kv KV) bool { return kv.Key == key })
	if v != nil {
		meta = append(meta, KV{key, v})
	}
	var b bytes.Buffer
	require.NoError(t, Write(&b, meta, nil))
	g, err := parseBytes(b.Bytes())
	require.NoError(t, err)
	_, err = g.Tokenizer(c.Vocab)
	return err
}

func TestTokenizersThatAreNotKnownAreRefusedByName(t *testing.T) {
	const p = "tokenizer.ggml."
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = fmt.Sprint(i)
	}
	twice := slices.Clone(tokens)
	twice[7] = "5"
	for _, c := range []struct {
		key  string
		v    any
		want string
	}{
		{p + "model", "llama", `tokenizer.ggml.model is "llama", which is not supported: only gpt2 is`},
		{p + "model", nil, "tokenizer.ggml.model is missing"},
		{p + "pre", "tekken", `tokenizer.ggml.pre is "tekken", a way to cut text that is not known (known: llama-bpe`},
		{p + "pre", "default", `tokenizer.ggml.pre is "default"`},
		{p + "pre", nil, "tokenizer.ggml.pre is missing"},
		{p + "tokens", nil, "tokenizer.ggml.tokens is <nil>, want a list of strings"},
		{p + "tokens", tokens[:63], "tokenizer.ggml.tokens has 63 tokens, the embedding 64 rows"},
		{p + "tokens", twice, `token 7 is "5", as is token 5`},
		{p + "tokens", append(slices.Clone(tokens[:63]), "\xff"), `token 63 is "\xff", which is not UTF-8`},
		{p + "tokens", tokens, `merge 0 is "t h": "t" is no token`},
		{p + "token_type", nil, "tokenizer.ggml.token_type is <nil>"},
		{p + "token_type", make([]int32, 63), "has 63 entries for 64 tokens"},
		{p + "token_type", slices.Repeat([]int32{6}, 64), "is of type 6"},
		{p + "merges", []string{"th"}, `merge 0 is "th", want two tokens`},
		{p + "merges", []string{"t h e"}, `merge 0 is "t h e", want two tokens`},
		{p + "merges", []string{"h t"}, `merge 0 is "h t": "ht" is no token`},
		{p + "eos_token_id", uint32(64), "tokenizer.ggml.eos_token_id is 64, the embedding has 64 rows"},
		{p + "eos_token_id", "x", "tokenizer.ggml.eos_token_id is x (string)"},
		{p + "bos_token_id", nil, "tokenizer.ggml.bos_token_id is missing"},
		{p + "add_space_prefix", true, "tokenizer.ggml.add_space_prefix is true"},
		{"tokenizer.chat_template", uint32(1), "tokenizer.chat_template is 1 (uint32), want a string"},
	} {
		require.ErrorContains(t, tokenizerWith(t, c.key, c.v), c.want)
	}
	require.NoError(t, tokenizerWith(t, "nothing", nil))
}

func TestFoldersThatGGUFCannotSayAreRefusedByName(t *testing.T) {
	replace := func(from, to string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			flat := new(bytes.Buffer)
			if err := json.Compact(flat, files[tokenizerFile]); err != nil {
				panic(err)
			}
			changed := strings.Replace(flat.String(), from, to, 1)
			if changed == flat.String() {
				panic(from + " is not there")
			}
			files[tokenizerFile] = []byte(changed)
		}
	}
	put := func(file, text string) func(map[string][]byte) {
		return func(files map[string][]byte) { files[file] = []byte(text) }
	}
	for _, c := range []struct {
		change func(map[string][]byte)
		want   string
	}{
		{func(files map[string][]byte) { delete(files, tokenizerFile) }, "the folder has no tokenizer.json"},
		{put(tokenizerFile, `{"format": "retool-words-1"}`), `is of the format "retool-words-1", a tokenizer that llama.cpp has not`},
		{put(tokenizerFile, `{`), "tokenizer.json: unexpected end"},
		{replace(`"type":"BPE"`, `"type":"Unigram"`), `model is "Unigram"`},
		{replace(`"byte_fallback":false`, `"byte_fallback":true`), "byte_fallback true"},
		{replace(`"dropout":null`, `"dropout":0.1`), "model sets dropout"},
		{replace(`"type":"NFC"`, `"type":"Lowercase"`), "normalizer Lowercase is not known"},
		{replace(`"normalizer":{"type":"NFC"}`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"NFD"}]}`), "normalizer NFD"},
		{replace(`\\p{N}|`, `\\p{N}{1,2}|`), "have no name in GGUF"},
		{replace(`"ignore_merges":false`, `"ignore_merges":true`), "have no name in GGUF"},
		{replace(`"behavior":"Isolated"`, `"behavior":"Removed"`), "pre_tokenizer: Split in place 1 of 2"},
		{replace(`"decoder":{"type":"ByteLevel"`, `"decoder":{"type":"Metaspace"`), "want ByteLevel"},
		{replace(`"post_processor":{"type":"ByteLevel"`, `"post_processor":{"type":"BertProcessing"`), "post_processor BertProcessing"},
		{replace(`"lstrip":false`, `"lstrip":true`), `added token "<tool_call>" sets single_word, lstrip or rstrip`},
		{replace(`"id":53`, `"id":64`), `token "<|im_end|>" has id 64, the embedding has 64 rows`},
		{replace(`"id":53`, `"id":3`), "id 3 is both"},
		{put(tokenizerNotes, `{"eos_token": "<nowhere>"}`), `eos_token is "<nowhere>", which is no token`},
		{put(tokenizerNotes, `{"chat_template": 3}`), "chat_template is 3, want a string"},
		{put(generationFile, `{"eos_token_id": [1, 2, 3]}`), "more tokens than the three"},
		{put(generationFile, `{"eos_token_id": 99}`), "eos_token_id holds 99"},
		{put(generationFile, `{"temperature": "hot"}`), `temperature is "hot"`},
		{put(generationFile, `{"top_k": 2.5}`), `top_k is 2.5`},
	} {
		_, files := filesOf(t, "qwen2.gguf")
		c.change(files)
		_, err := ParseTokenizer(files, 64)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "gguf: ")
	}
}

func TestTemplatesAndSamplingOfAFolderAreCarried(t *testing.T) {
	_, files := filesOf(t, "qwen2.gguf")
	delete(files, templateFile)
	files[tokenizerNotes] = []byte(`{"eos_token": {"content": "<|im_end|>"}, "pad_token": null,
		"chat_template": [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]}`)
	files[generationFile] = []byte(`{"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05, "eos_token_id": [53, 51]}`)
	tok, err := ParseTokenizer(files, 64)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, Write(&b, tok.Metadata(), nil))
	f, err := parseBytes(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, "one", f.Value("tokenizer.chat_template"))
	require.Equal(t, "two", f.Value("tokenizer.chat_template.tool_use"))
	require.Equal(t, []string{"tool_use"}, f.Value("tokenizer.chat_templates"))
	require.Equal(t, int32(20), f.Value("general.sampling.top_k"))
	require.Equal(t, uint32(51), f.Value("tokenizer.ggml.eot_token_id"))
	back, err := f.Tokenizer(64)
	require.NoError(t, err)
	again, err := back.Files(models["qwen2.gguf"], "float32")
	require.NoError(t, err)
	require.JSONEq(t, `{"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05, "eos_token_id": [53, 51],
		"do_sample": true, "bos_token_id": 52, "pad_token_id": 51}`, string(again[generationFile]))
}

func TestATextThatEndsTextsStaysText(t *testing.T) {
	_, files := filesOf(t, "qwen2.gguf")
	files[tokenizerNotes] = []byte(`{}`)
	files[generationFile] = []byte(`{"eos_token_id": 2}`)
	tok, err := ParseTokenizer(files, 64)
	require.NoError(t, err)
	again, err := tok.Files(models["qwen2.gguf"], "float32")
	require.NoError(t, err)
	var f tokenizerJSON
	require.NoError(t, json.Unmarshal(again[tokenizerFile], &f))
	require.False(t, slices.ContainsFunc(f.AddedTokens, func(a addedToken) bool { return a.ID == 2 }))
	require.NotContains(t, string(again[tokenizerNotes]), "eos_token")
	require.Contains(t, string(again[generationFile]), `"eos_token_id": 2`)
}
