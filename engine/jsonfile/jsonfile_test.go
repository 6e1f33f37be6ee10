package jsonfile

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestErrorsNameNoTypeOfGo(t *testing.T) {
	type file struct {
		Model struct {
			Vocab   map[string]int32 `json:"vocab"`
			Dropout float64          `json:"dropout"`
		} `json:"model"`
		Added []struct {
			Special bool `json:"special"`
		} `json:"added_tokens"`
		Name *string `json:"name"`
	}
	for text, want := range map[string]string{
		`[]`:                                "is a JSON array, must be an object",
		`{"model": 1}`:                      "model is a JSON number, must be an object",
		`{"model": {"vocab": []}}`:          "model.vocab is a JSON array, must be an object",
		`{"model": {"vocab": {"a":"b"}}}`:   "model.vocab is a JSON string, must be an integer of 32 bits",
		`{"model": {"vocab": {"a":1.5}}}`:   "model.vocab is a JSON number 1.5, must be an integer of 32 bits",
		`{"model": {"dropout": "x"}}`:       "model.dropout is a JSON string, must be a number",
		`{"added_tokens": {}}`:              "added_tokens is a JSON object, must be a list",
		`{"added_tokens": [{"special":0}]}`: "added_tokens.special is a JSON number, must be true or false",
		`{"name": 3}`:                       "name is a JSON number, must be a string",
		``:                                  "unexpected end of JSON input",
		`{"name": `:                         "unexpected end of JSON input",
	} {
		var f file
		require.EqualError(t, Unmarshal([]byte(text), &f), want, text)
	}
	require.ErrorContains(t, Unmarshal([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), &file{}), "is a Git LFS pointer")
	require.NoError(t, Plain(nil))
	_, err := jsontext.NewDecoder(strings.NewReader(strings.Repeat("[", 1<<16))).ReadValue()
	require.Less(t, len(Plain(err).Error()), 200)
}

func TestAByteOrderMarkIsNoPartOfAText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, os.WriteFile(path, []byte("\ufeff{}\ufeff"), 0o644))
	text, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, "{}\ufeff", string(text))
}

// Lines end in what ends them anywhere, however a text comes; and what has none is as it was.
func TestLinesEndInAnyLineBreak(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-c ]{0,3}`)).Draw(rt, "lines")
		for _, end := range []string{"\n", "\r\n", "\r"} {
			text := strings.Join(lines, end)
			var in io.Reader = strings.NewReader(text)
			if rapid.Bool().Draw(rt, "slow") {
				in = iotest.OneByteReader(in)
			}
			got, err := io.ReadAll(LineBreaks(in))
			require.NoError(rt, err)
			require.Equal(rt, lines, strings.Split(strings.ReplaceAll(string(got), "\r\n", "\n"), "\n")[:len(lines)])
			require.Len(rt, got, len(text))
		}
	})
}
