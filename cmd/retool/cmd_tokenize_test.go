package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
	"pgregory.net/rapid"

	"retool/engine"
)

// tokenizing runs the command with a standard input.
func tokenizing(input string, args ...string) (string, error) {
	var out bytes.Buffer
	app := &cli.App{
		Name: "retool", Writer: &out, ErrWriter: &out, Reader: strings.NewReader(input), ExitErrHandler: func(*cli.Context, error) {},
		Commands: checked("", []*cli.Command{tokenizeCommand()}),
	}
	err := app.Run(append([]string{"retool", "tokenize"}, args...))
	return out.String(), err
}

func tokenizedAs(t require.TestingT, input string, args ...string) (v tokenized) {
	text, err := tokenizing(input, append([]string{"--json"}, args...)...)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	require.Equal(t, v.Count, len(v.IDs))
	require.Equal(t, v.Count, len(v.Pieces))
	return v
}

// The ids are those of transformers, and of any text they decode to it again, but for what the tokenizer itself normalises.
func TestTokenizeAgreesAndComesBack(t *testing.T) {
	for _, name := range foreign {
		dir := foreignFolder(name)
		want := goldenOf(t, dir)
		require.Equal(t, want.ids, tokenizedAs(t, want.text, "--model", dir).IDs, name)
		rapid.Check(t, func(t *rapid.T) {
			text := rapid.String().Draw(t, "text") + rapid.SampledFrom([]string{"", "<|im_end|>", " <tool_call>\n", "e\u0301"}).Draw(t, "mark")
			v := tokenizedAs(t, text, "--model", dir, "--bare")
			require.Empty(t, v.Special, "no text is a special token")
			if !v.RoundTrip {
				require.Contains(t, string(must(os.ReadFile(filepath.Join(dir, "tokenizer.json")))), `"NFC"`)
				return
			}
			require.Equal(t, text, v.Text)
			if utf8.ValidString(strings.Join(v.Pieces, "")) && !strings.Contains(strings.Join(v.Pieces, ""), "\uFFFD") {
				require.Equal(t, text, strings.Join(v.Pieces, ""))
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTokenizeShowsSpecialTokens(t *testing.T) {
	dir := foreignFolder("qwen2")
	v := tokenizedAs(t, "", "--model", dir, "--special", "a<|im_end|>")
	require.Equal(t, []int{1}, v.Special)
	require.True(t, v.RoundTrip)
	require.Empty(t, tokenizedAs(t, "", "--model", dir, "a<|im_end|>").Special)
	v = tokenizedAs(t, "", "--model", foreignFolder("llama"), "Hi")
	require.Equal(t, []int{0}, v.Special, "what stands before a text")
	require.Empty(t, tokenizedAs(t, "", "--model", foreignFolder("llama"), "--bare", "Hi").Special)

	v = tokenizedAs(t, `[{"role":"user","content":"Hi <|im_end|>"}]`, "--model", dir, "--messages", "-", "--generate")
	require.Equal(t, "<|im_start|>user\nHi < |im_end|><|im_end|>\n<|im_start|>assistant\n", v.Text)
	require.Len(t, v.Special, 3)
	require.True(t, v.RoundTrip)
	back := tokenizedAs(t, "", "--model", dir, "--ids", jsonIDs(t, v.IDs))
	require.Equal(t, v.Text, back.Text)
	shown, err := tokenizing("Hi", "--model", dir)
	require.NoError(t, err)
	require.Equal(t, " 39  \"H\"\n 72  \"i\"\n2 tokens, 0 special, 2 bytes; they decode to the text again\n", shown)
	shown, err = tokenizing("e\u0301", "--model", dir)
	require.NoError(t, err)
	require.Contains(t, shown, "they decode to another text, from byte 0 on: \"é\"")
	count, err := tokenizing("Hi", "--model", dir, "--count")
	require.NoError(t, err)
	require.Equal(t, "2\n", count)
}

func TestTokenizeRefuses(t *testing.T) {
	dir := foreignFolder("qwen2")
	for want, args := range map[string][]string{
		`tokenize: want [TEXT], got 2: ["a" "b"]`:                  {"a", "b"},
		"exclude each other":                                       {"--ids", "[1]", "a"},
		"--generate and --tools go with --messages":                {"--generate", "a"},
		"ids[0] is 4000, outside the vocabulary of":                {"--ids", "[4000]"},
		"--messages: want a JSON list":                             {"--messages", `[1]`},
		"message 1, of role user, has no content":                  {"--messages", `[{"role":"user"}]`},
		"message 1 has no role":                                    {"--messages", `[{"content":"x"}]`},
		"none.json: no such file":                                  {"--messages", "none.json"},
		"--messages: want at least one message, got an empty list": {"--messages", "[]"},
	} {
		_, err := tokenizing("", append([]string{"--model", dir}, args...)...)
		require.ErrorContains(t, err, want)
	}
	_, err := tokenizing("", "--model", foreignFolder("llama"), "--messages", `[{"role":"user","content":"x"}]`)
	require.ErrorContains(t, err, "has none (chat_template.jinja, or chat_template in tokenizer_config.json)")
	_, err = tokenizing("", "--model", t.TempDir(), "x")
	require.ErrorContains(t, err, "tokenizer.json: no such file")
}

// A text, messages and their ids are one row to score, and one prompt to continue.
func TestTextsAreScoredAndContinuedAsTheirIDs(t *testing.T) {
	dir := foreignFolder("qwen2")
	const talk = `[{"role":"user","content":"Hi"},{"role":"assistant","content":"ok"}]`
	texts, err := openTexts(dir, false)
	require.NoError(t, err)
	_, chat, err := texts.messages([]engine.Message{{Role: "user", Content: "Hi"}, {Role: "assistant", Content: "ok"}}, false, false)
	require.NoError(t, err)
	plain := texts.plain("Hi 12")
	loss := func(args ...string) float64 {
		text, err := runModelCommand(append([]string{"score", "--model", dir, "--loss"}, args...)...)
		require.NoError(t, err)
		var v struct{ Loss float64 }
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		return v.Loss
	}
	rows := rowsFile(t, `{"ids":`+jsonIDs(t, plain)+`}`, `{"ids":`+jsonIDs(t, chat)+`}`)
	require.Equal(t, loss("--in", rows), loss("--in", rowsFile(t, `{"text":"Hi 12"}`, `{"messages":`+talk+`}`)))
	require.False(t, math.IsNaN(loss("--text", "Hi 12")))
	printed, err := runModelCommand("score", "--model", dir, "--messages", talk)
	require.NoError(t, err)
	var row scored
	require.NoError(t, json.Unmarshal([]byte(printed), &row))
	require.Equal(t, chat, row.IDs)
	require.Equal(t, texts.pieces(chat), row.Pieces)

	_, prompt, err := texts.messages([]engine.Message{{Role: "user", Content: "Hi"}}, false, true)
	require.NoError(t, err)
	want := generateIDs(t, "--model", dir, "--ids", jsonIDs(t, prompt), "--greedy", "--max-tokens", "9")
	text, err := runModelCommand("generate", "--model", dir, "--messages", `[{"role":"user","content":"Hi"}]`, "--greedy", "--max-tokens", "9")
	require.NoError(t, err)
	var got continuation
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Equal(t, want.IDs, got.IDs)
	require.Equal(t, prompt, got.Prompt)
	require.Equal(t, strings.ToValidUTF8(texts.tok.Decode(got.IDs), "\uFFFD"), got.Text)

	for want, args := range map[string][]string{
		"score: want one of --in, --text and --messages":      {"score", "--loss"},
		"--text and --messages exclude each other":            {"score", "--text", "x", "--messages", "[]"},
		"in.jsonl:1: want one of `ids`, `text` and":           {"score", "--loss", "--in", rowsFile(t, `{"ids":[1],"text":"x"}`)},
		"in.jsonl:1: the text is empty":                       {"score", "--loss", "--in", rowsFile(t, `{"text":""}`)},
		"in.jsonl:1: messages: message 1 has no role":         {"score", "--loss", "--in", rowsFile(t, `{"messages":[{}]}`)},
		"generate: want one of --text, --messages and --ids":  {"generate"},
		"generate: want one of --text, --messages and --ids,": {"generate", "--text", "x", "--ids", "[1]"},
		"generate: the prompt is empty":                       {"generate", "--text", "-"},
		"generate: --text: want TEXT, got an empty text":      {"generate", "--text", ""},
	} {
		_, err := runModelCommand(append([]string{args[0], "--model", dir}, args[1:]...)...)
		require.ErrorContains(t, err, want)
	}
}
