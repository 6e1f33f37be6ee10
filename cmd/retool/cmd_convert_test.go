package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"retool/engine/gguf"
	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/kernels"
)

// fixtures are small models that the reference library wrote.
const fixtures = "../../engine/gguf/testdata/"

// runConvert runs `retool convert` and returns what it printed.
func runConvert(args ...string) (string, error) {
	var out bytes.Buffer
	app := &cli.App{
		Name: "retool", Writer: &out, ErrWriter: &out, ExitErrHandler: func(*cli.Context, error) {},
		Commands: checked("", []*cli.Command{convertCommand()}),
	}
	err := app.Run(flagsFirst(append([]string{"retool", "convert"}, args...), app.Commands))
	return out.String(), err
}

func mustConvert(t *testing.T, args ...string) string {
	out, err := runConvert(args...)
	require.NoError(t, err)
	return out
}

func sameFile(t *testing.T, a, b string) {
	x, err := os.ReadFile(a)
	require.NoError(t, err)
	y, err := os.ReadFile(b)
	require.NoError(t, err)
	require.True(t, bytes.Equal(x, y), "%s and %s differ", a, b)
}

// scoredLogits is what `retool score` computes with a folder.
func scoredLogits(t *testing.T, dir string) []byte {
	rows, out := filepath.Join(t.TempDir(), "rows.jsonl"), filepath.Join(t.TempDir(), "logits.safetensors")
	require.NoError(t, os.WriteFile(rows, []byte(`{"ids": [1, 17, 9, 30, 30, 4, 50]}`), 0o666))
	_, err := runModelCommand("score", "--model", dir, "--in", rows, "--logits", out)
	require.NoError(t, err)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	return b
}

func TestAModelSurvivesTheWayToGGUFAndBack(t *testing.T) {
	for _, name := range []string{"llama", "llama-biases", "qwen2", "qwen3"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			said := mustConvert(t, fixtures+name+".gguf", at("a"))
			require.Contains(t, said, "64, context 512")
			require.Regexp(t, `written +\S+/a: tensors: \d+ F32, `, said)
			mustConvert(t, at("a"), at("b.gguf"))
			mustConvert(t, at("b.gguf"), at("c"))
			for _, file := range []string{
				"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
			} {
				sameFile(t, filepath.Join(at("a"), file), filepath.Join(at("c"), file))
			}
			require.Equal(t, scoredLogits(t, at("a")), scoredLogits(t, at("c")))
		})
	}
}

func TestEveryTypeIsWritten(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []struct {
		flag, norm, matrix, config string
		number                     uint32
	}{
		{"f32", "F32", "F32", "float32", 0}, {"f16", "F16", "F16", "float16", 1}, {"bf16", "BF16", "BF16", "bfloat16", 32},
		{"q8_0", "", "Q8_0", "", 7},
	} {
		at := func(name string) string { return filepath.Join(dir, c.flag+name) }
		mustConvert(t, fixtures+"qwen3.gguf", at(".gguf"), "--type", c.flag)
		f, err := gguf.Open(at(".gguf"))
		require.NoError(t, err)
		norm, _ := f.Tensor("blk.0.attn_norm.weight")
		matrix, _ := f.Tensor("blk.0.attn_q.weight")
		require.Equal(t, "F32", norm.Type.String())
		require.Equal(t, c.matrix, matrix.Type.String())
		require.Equal(t, c.number, f.Value("general.file_type"))
		require.Equal(t, "Golden", f.Value("general.name"))
		require.NoError(t, f.Close())
		if i < 3 { // without --type, matrices of these types stay as they are
			mustConvert(t, at(".gguf"), at("2.gguf"))
			sameFile(t, at(".gguf"), at("2.gguf"))
		}
		if c.config == "" {
			_, err := runConvert(fixtures+"qwen3.gguf", at(""), "--type", c.flag)
			require.ErrorContains(t, err, "--type q8_0 is a type of GGUF: a folder takes f32, f16 or bf16")
			continue
		}
		mustConvert(t, at(".gguf"), at(""), "--type", c.flag)
		stored, err := model.OpenStored(at(""))
		require.NoError(t, err)
		for _, name := range stored.Names() {
			s, _ := stored.Tensor(name)
			require.Equal(t, c.norm, s.DType, name)
		}
		stored.Close()
		var config map[string]any
		text, err := os.ReadFile(filepath.Join(at(""), "config.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &config))
		require.Equal(t, c.config, config["torch_dtype"])
	}
}

func TestAFolderIsRetyped(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	mustConvert(t, fixtures+"qwen2.gguf", a, "--type", "f16")
	mustConvert(t, a, b)
	mustConvert(t, b, c, "--type", "f16")
	sameFile(t, filepath.Join(a, "model.safetensors"), filepath.Join(c, "model.safetensors"))
	sameFile(t, filepath.Join(a, "tokenizer.json"), filepath.Join(c, "tokenizer.json"))
}

func TestWhatCannotBeConvertedLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	whole, err := os.ReadFile(fixtures + "llama.gguf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(at("cut.gguf"), whole[:len(whole)-300], 0o666))
	require.NoError(t, os.WriteFile(at("there.gguf"), []byte("mine"), 0o666))
	bare := savedModel(t, 1) // a folder without a tokenizer
	words := savedModel(t, 1)
	require.NoError(t, os.WriteFile(filepath.Join(words, "tokenizer.json"), []byte(`{"format": "retool-words-1"}`), 0o666))
	before, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{fixtures + "llama.gguf"}, "convert: want SRC DST, got 1: ["},
		{[]string{fixtures + "llama.gguf", at("there.gguf")}, "there.gguf is there already: choose another name"},
		{[]string{fixtures + "llama.gguf", dir}, "is there already"},
		{[]string{at("none.gguf"), at("x")}, "none.gguf: no such file"},
		{[]string{fixtures + "llama.gguf", at("x"), "--type", "q4_0"}, `--type "q4_0": must be f32, f16, bf16 or q8_0`},
		{[]string{fixtures + "golden.json", at("x")}, "golden.json: begins with"},
		{[]string{at("cut.gguf"), at("x")}, "of which the file has 8020: it is truncated"},
		{[]string{bare, at("x.gguf")}, "the folder has no tokenizer.json, and a GGUF file needs a tokenizer"},
		{[]string{words, at("x.gguf")}, `is of the format "retool-words-1"`},
		{[]string{t.TempDir(), at("x.gguf")}, "config.json"},
		{[]string{fixtures + "llama.gguf", at("no/where")}, "no such file or directory"},
		{[]string{fixtures + "llama.gguf", at("no/where.gguf")}, "no such file or directory"},
	} {
		_, err := runConvert(c.args...)
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Equal(t, names(before), names(after))
	sameFileText(t, at("there.gguf"), "mine")
}

func TestAnInterruptedConversionLeavesNothingBehind(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	for _, name := range []string{"x", "x.gguf"} {
		dir := t.TempDir()
		app := &cli.App{Writer: io.Discard, ExitErrHandler: func(*cli.Context, error) {}, Commands: checked("", []*cli.Command{convertCommand()})}
		err := app.RunContext(ctx, []string{"retool", "convert", fixtures + "llama.gguf", filepath.Join(dir, name)})
		require.ErrorContains(t, err, "convert: interrupted: ")
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, list)
	}
}

func TestRowsThatAreNoBlocksBecomeF16(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b.gguf")
	mustConvert(t, fixtures+"qwen2.gguf", a)
	narrow := savedModel(t, 1) // hidden size 16
	for _, file := range []string{"tokenizer.json", "tokenizer_config.json"} {
		text, err := os.ReadFile(filepath.Join(a, file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(narrow, file), text, 0o666))
	}
	_, err := runConvert(narrow, b, "--type", "q8_0")
	require.ErrorContains(t, err, "the embedding has 29 rows") // its tokenizer has more
	tok, err := os.ReadFile(filepath.Join(a, "tokenizer.json"))
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, json.Unmarshal(tok, &object))
	bpe := object["model"].(map[string]any)
	bpe["vocab"], bpe["merges"], object["added_tokens"] = map[string]int{"a": 0, "b": 1}, []string{}, []any{}
	tok, err = json.Marshal(object)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(narrow, "tokenizer.json"), tok, 0o666))
	require.NoError(t, os.Remove(filepath.Join(narrow, "tokenizer_config.json")))
	said := mustConvert(t, narrow, b, "--type", "q8_0")
	require.Contains(t, said, "token_embd.weight is F16: its rows of 16 are no whole blocks of Q8_0")
	f, err := gguf.Open(b)
	require.NoError(t, err)
	defer f.Close()
	for _, tensor := range f.Tensors {
		require.NotEqual(t, gguf.Q8_0, tensor.Type)
	}
	require.Equal(t, "[PAD28]", f.Value("tokenizer.ggml.tokens").([]string)[28])
}

func names(list []os.DirEntry) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func sameFileText(t *testing.T, path, want string) {
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestAValueHeadIsLeftOutAndSaidSo(t *testing.T) {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	m, err := model.New(dev, model.Config{
		Arch: model.Llama, Layers: 1, Hidden: 16, Heads: 2, KVHeads: 1, HeadDim: 8, FFN: 16, Vocab: 9, MaxPositions: 80,
		RMSEps: 1e-6, RopeTheta: 10000, LMHead: true, ValueHead: true,
	}, model.Options{MaxTokens: 1})
	require.NoError(t, err)
	defer m.Close()
	m.Init(1)
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.NoError(t, m.Save(from))
	require.Contains(t, mustConvert(t, from, to), "the value head was left out")
	c, err := model.ReadConfig(to)
	require.NoError(t, err)
	require.True(t, c.LMHead)
	require.False(t, c.ValueHead)
	stored, err := model.OpenStored(to)
	require.NoError(t, err)
	defer stored.Close()
	require.NotContains(t, stored.Names(), "value_head.weight")
}

// A folder in several files is the same model, and its index says of them what transformers' says: see testdata/make_shards.py, by which
// transformers reads such a folder.
func TestFoldersAreWrittenInShards(t *testing.T) {
	dir := t.TempDir()
	one, many := filepath.Join(dir, "one"), filepath.Join(dir, "many")
	mustConvert(t, fixtures+"qwen3.gguf", one)
	mustConvert(t, "--shard", "20KiB", fixtures+"qwen3.gguf", many)
	require.Equal(t, scoredLogits(t, one), scoredLogits(t, many))

	got, err := safetensors.ReadIndex(filepath.Join(many, safetensors.IndexFile))
	require.NoError(t, err)
	theirs, err := safetensors.ReadIndex(filepath.Join("testdata", "shards.index.json"))
	require.NoError(t, err)
	require.Equal(t, slices.Sorted(maps.Keys(theirs.WeightMap)), slices.Sorted(maps.Keys(got.WeightMap)))
	sizes := func(x safetensors.Index) (sizes []int) { // of the files' tensors
		of := map[string]int{}
		for name, file := range x.WeightMap {
			f, err := safetensors.Open(filepath.Join(many, got.WeightMap[name]))
			require.NoError(t, err)
			s, ok := f.Tensor(name)
			require.True(t, ok, name)
			of[file] += len(s.Bytes)
			require.NoError(t, f.Close())
		}
		for _, file := range x.Files() {
			sizes = append(sizes, of[file])
		}
		return sizes
	}
	total := 0
	for _, size := range sizes(got) {
		require.LessOrEqual(t, size, 20<<10)
		total += size
	}
	for i, size := range sizes(theirs) {
		require.LessOrEqual(t, size, 20<<10)
		require.Regexp(t, `^model-0000\d-of-0000\d\.safetensors$`, theirs.Files()[i])
	}
	require.Len(t, got.Files(), len(theirs.Files()))
	require.Equal(t, theirs.Files(), got.Files(), "shards are called otherwise")

	for _, bad := range []string{"0", "5 GB", "-1"} {
		_, err := runConvert("--shard", bad, fixtures+"qwen3.gguf", filepath.Join(dir, "bad"))
		require.ErrorContains(t, err, `convert: --shard "`+bad+`": want a size such as 2GiB`)
	}
	text, err := os.ReadFile(filepath.Join(many, safetensors.IndexFile))
	require.NoError(t, err)
	require.Contains(t, string(text), fmt.Sprintf(`"total_size": %d`, total))
}
