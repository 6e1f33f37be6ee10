package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine"
	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/engine/tokenizer"
	"retool/trainer"
	"retool/trainer/data"
)

// foreign are folders that transformers wrote, with what it says of them; see testdata/make_folders.py.
var foreign = []string{"qwen2", "llama", "qwen3"}

func foreignFolder(name string) string { return filepath.Join("testdata", "folders", name) }

// copied is a folder of transformers that a test may spoil.
func copied(t *testing.T, name string) string {
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.CopyFS(dir, os.DirFS(foreignFolder(name))))
	return dir
}

type golden struct {
	text                string
	ids, prompt, greedy []int32
	logits              []float32
}

func goldenOf(t *testing.T, dir string) (g golden) {
	path := filepath.Join(dir, "golden.safetensors")
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	g.logits = storedFloats(t, f, "logits.0")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var header struct {
		Meta map[string]string `json:"__metadata__"`
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(string(data[8:]))).Decode(&header))
	g.text = header.Meta["text"]
	for key, ids := range map[string]*[]int32{"ids": &g.ids, "prompt": &g.prompt, "greedy": &g.greedy} {
		require.NoError(t, json.Unmarshal([]byte(header.Meta[key]), ids))
	}
	return g
}

func jsonIDs(t *testing.T, ids []int32) string {
	text, err := json.Marshal(ids)
	require.NoError(t, err)
	return string(text)
}

// logitsOf are those of the command, after every token of ids.
func logitsOf(t *testing.T, dir string, ids []int32, more ...string) []float32 {
	out := filepath.Join(t.TempDir(), "logits.safetensors")
	args := append([]string{"score", "--model", dir, "--in", rowsFile(t, `{"ids":`+jsonIDs(t, ids)+`}`), "--logits", out}, more...)
	_, err := runModelCommand(args...)
	require.NoError(t, err)
	f, err := safetensors.Open(out)
	require.NoError(t, err)
	defer f.Close()
	return storedFloats(t, f, "logits.0")
}

func TestFoldersOfTransformersAgreeWithIt(t *testing.T) {
	for _, name := range foreign {
		dir := foreignFolder(name)
		want := goldenOf(t, dir)
		tok, err := tokenizer.Open(dir)
		require.NoError(t, err)
		require.Equal(t, want.ids, slices.Concat(tok.BOS(), tok.Encode(want.text)), name)
		// By the largest logit there is; in bf16, the numbers that the folder's weights are rounded to count too.
		for dtype, tol := range map[string]float64{"float32": 1e-4, "bfloat16": 2e-2} {
			got := logitsOf(t, dir, want.ids, "--dtype", dtype)
			require.Len(t, got, len(want.logits))
			diff, top := 0.0, 0.0
			for i, w := range want.logits {
				diff, top = max(diff, math.Abs(float64(got[i]-w))), max(top, math.Abs(float64(w)))
			}
			require.LessOrEqual(t, diff, tol*top, "%s %s", name, dtype)
			if name != "llama" { // these say bfloat16 in config.json, and need no flag
				require.Equal(t, dtype == "bfloat16", slices.Equal(got, logitsOf(t, dir, want.ids)), dtype)
			}
		}
		// The continuation ends at a token that config.json or generation_config.json names and the tokenizer does not.
		require.NotEqual(t, tok.EOS(), want.greedy[len(want.greedy)-1])
		g := generateIDs(t, "--model", dir, "--ids", jsonIDs(t, want.prompt), "--greedy", "--max-tokens", "60", "--dtype", "float32")
		require.Equal(t, want.greedy, g.IDs, name)
	}
}

// onFolder are settings under which a byte-level tokenizer has room for the embedded task.
func onFolder(run, dir string, more ...string) []string {
	args := []string{"tiny", "--set", "run=" + run, "--set", "model.path=" + dir}
	for _, s := range append([]string{
		"engine.max_tokens=320", "engine.turn_tokens=24", "sft.tokens=640", "rl.tokens=640", "sft.steps=3", "rl.steps=2", "checkpoint.every=2",
		"checkpoint.keep=9",
	}, soon(more)...) {
		args = append(args, "--set", s)
	}
	return args
}

// A folder that transformers wrote trains, evaluates, rolls out, and comes back: every checkpoint is a folder with the same files, of which
// only the weights have changed, and the settings in config.json that are this program's.
func TestFoldersOfTransformersTrainAndComeBack(t *testing.T) {
	for _, name := range foreign {
		t.Run(name, func(t *testing.T) {
			dir, run := foreignFolder(name), filepath.Join(t.TempDir(), "run")
			ids := goldenOf(t, dir).ids
			out := retool(t, append([]string{"train"}, onFolder(run, dir)...)...)
			require.Contains(t, out, "step  5/5")
			require.Contains(t, out, "|Δlogp| 0 ")
			for _, end := range map[string][]string{
				"qwen2": {"ends at <|im_end|> (382), <|endoftext|> (380), <|im_start|> (381)"},
				"llama": {"ends at <|eot_id|> (382), <|end_of_text|> (381)"},
				"qwen3": {"ends at <|im_end|> (382), <|endoftext|> (380)"},
			}[name] {
				require.Contains(t, out, end)
			}
			checkpoints, err := filepath.Glob(filepath.Join(run, "checkpoints", "*"))
			require.NoError(t, err)
			require.Len(t, checkpoints, 4) // before any step, after SFT and RL, and one in SFT
			for _, c := range checkpoints {
				sameFiles(t, dir, c)
			}
			require.Equal(t, logitsOf(t, dir, ids), logitsOf(t, filepath.Join(run, "checkpoints", "0"), ids),
				"weights changed before the first step")

			// The last checkpoint is a folder like the one that the run began with.
			last := trainer.Latest(run)
			require.NotEqual(t, logitsOf(t, dir, ids), logitsOf(t, last, ids), "nothing was learnt")
			again := filepath.Join(t.TempDir(), "again")
			retool(t, append([]string{"sft"}, onFolder(again, last, "sft.steps=1", "eval.problems=0")...)...)
			require.Equal(t, logitsOf(t, last, ids), logitsOf(t, filepath.Join(again, "checkpoints", "0"), ids))
			sameFiles(t, last, trainer.Latest(again))

			require.Contains(t, retool(t, "eval", "--from", last, "--json"), `"problems": 4`)
			require.Contains(t, retool(t, "eval", "--from", dir, "--json", filepath.Join(run, "config.yaml")), `"problems": 4`)
			shown := retool(t, "rollout", "--from", run, "--question", "What is 3 plus 4?", "--answer", "7")
			require.Contains(t, shown, "What is 3 plus 4?")
			require.Contains(t, retool(t, "generate", "--model", last, "--ids", jsonIDs(t, ids), "--max-tokens", "4"), `"ids"`)
		})
	}
}

// Rollouts stop, as generate does, at every token that any file of a folder names; SFT teaches the tokenizer's, and a prompt begins with
// what // the tokenizer puts there.
func TestRolloutsStopWhereTheFolderSays(t *testing.T) {
	for _, name := range foreign {
		dir := foreignFolder(name)
		var sets []string
		for i, s := range onFolder("", dir, "protocol.name=none") {
			if i > 2 && i%2 == 0 { // not the recipe, not run=
				sets = append(sets, s)
			}
		}
		cfg, err := loadConfig("tiny", sets)
		require.NoError(t, err)
		p, err := build(t.Context(), cfg, use{from: dir, concurrent: 1})
		require.NoError(t, err)
		defer p.Close()

		want := goldenOf(t, dir)
		trs, err := p.engine.Rollouts(t.Context(), []engine.Group{{Prompt: want.prompt, Keys: []int64{1}}}, engine.Sampling{})
		require.NoError(t, err)
		var got []int32
		for _, token := range trs[0].Tokens()[trs[0].Prompt:] {
			got = append(got, token.ID)
		}
		require.Equal(t, want.greedy, got, name)
		require.Equal(t, engine.Answer, trs[0].Finish)

		e, err := p.example(0, data.Trace{Problem: data.Problem{Question: "1+1"}, Segments: []data.Segment{{Text: "2", Source: data.Policy}}})
		require.NoError(t, err)
		tokens := e.Tokens()
		require.Equal(t, p.tok.EOS(), tokens[len(tokens)-1].ID)
		require.Contains(t, p.ends, p.tok.EOS())
		if name == "llama" {
			bos, _ := p.tok.Special("<|begin_of_text|>")
			require.Equal(t, bos, tokens[0].ID)
		}
	}
}

func TestEndsAreNamed(t *testing.T) {
	tok, err := tokenizer.Open(foreignFolder("qwen2"))
	require.NoError(t, err)
	for _, c := range []struct {
		config []int32
		want   string
	}{
		{nil, "ends at <|im_end|> (382)"},
		{[]int32{382, 380}, "ends at <|im_end|> (382), <|endoftext|> (380)"},
		{[]int32{198}, "ends at <|im_end|> (382), \"\\n\" (198)"},
	} {
		ends, err := endsOf("d", model.Config{EOS: c.config}, tok)
		require.NoError(t, err)
		require.Equal(t, c.want, endsLine(tok, ends))
	}
	// Without the tokenizer's word the configs' goes; without either there is no end to teach.
	dir := copied(t, "qwen3")
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer_config.json")))
	f, err := openFolder(dir)
	require.NoError(t, err)
	require.Equal(t, []int32{380}, f.ends)
	_, err = endsOf(dir, model.Config{}, f.tok)
	require.ErrorContains(t, err, "nothing says at which token a text ends")
}

// sameFiles holds a checkpoint against the folder that its run began with.
func sameFiles(t *testing.T, dir, checkpoint string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		name := e.Name()
		there, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		switch {
		case strings.HasPrefix(name, "model"), name == "golden.safetensors": // one file where there were shards
			continue
		case !slices.Contains(handedOn, name) && name != "config.json": // of a run's checkpoint
			continue
		}
		here, err := os.ReadFile(filepath.Join(checkpoint, name))
		require.NoError(t, err)
		if name != "config.json" {
			require.Equal(t, string(there), string(here), name)
			continue
		}
		values := func(text []byte) (v map[string]any) {
			require.NoError(t, json.Unmarshal(text, &v))
			delete(v, "retool")
			v["dtype"] = "of the weights"
			return v
		}
		require.Equal(t, values(there), values(here))
	}
	f, err := safetensors.Open(filepath.Join(checkpoint, "model.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	_, found := f.Tensor("value_head.weight")
	require.False(t, found, "a value head, which transformers does not know")
}

// What does not fit in a folder is said by one sentence, in every command the same.
func TestFoldersThatDoNotFit(t *testing.T) {
	text := func(dir, file string) string {
		data, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		return string(data)
	}
	replace := func(file, from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			old := text(dir, file)
			require.Contains(t, old, from)
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(old, from, to, 1)), 0o644))
		}
	}
	remove := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, file))) }
	}
	const all, weights, sampling = 3, 2, 1 // which commands say so: score needs no tokenizer
	for _, c := range []struct {
		name, folder string
		spoil        func(*testing.T, string)
		want         string
		commands     int
	}{
		{"tied, with another head", "llama", replace("config.json", `"tie_word_embeddings": false`, `"tie_word_embeddings": true`),
			"lm_head.weight differs from model.embed_tokens.weight, config.json says that they are one", all},
		{"untied, without a head", "qwen2", replace("config.json", `"tie_word_embeddings": true`, `"tie_word_embeddings": false`),
			"model.safetensors: lm_head.weight is missing, config.json says that it is a tensor of its own", all},
		{"another size", "qwen3", replace("config.json", `"intermediate_size": 48`, `"intermediate_size": 64`),
			"mlp.gate_proj.weight has shape [48 24], config.json says [64 24]", all},
		{"a negative size", "qwen3", replace("config.json", `"num_hidden_layers": 2`, `"num_hidden_layers": -2`),
			"config.json: num_hidden_layers is -2", all},
		{"a missing shard", "llama", remove("model-00002-of-00003.safetensors"), "model-00002-of-00003.safetensors: no such file", all},
		{"an end beyond the vocabulary", "qwen2", replace("generation_config.json", "381", "151643"),
			"generation_config.json: eos_token_id holds 151643", all},
		{"an end that is a padded row", "llama", replace("generation_config.json", "381", "399"),
			"holds 399, tokenizer.json has ids from 0 to 382", sampling},
		{"no tokenizer", "qwen2", remove("tokenizer.json"), "tokenizer.json: no such file", 0},
		{"a tokenizer of more ids", "qwen3", replace("config.json", `"vocab_size": 383`, `"vocab_size": 381`),
			"tokenizer.json has 383 ids, the embedding 381 rows", sampling},
		{"ids with a hole", "qwen3", replace("tokenizer.json", `"id": 382,`, `"id": 900,`), "tokenizer.json: id 900 occurs, but",
			sampling},
		{"a normaliser", "qwen2", replace("tokenizer.json", `"NFC"`, `"NFKD"`), "NFKD is not known", sampling},
		{"an unknown end", "qwen3", replace("tokenizer_config.json", `"<|im_end|>"`, `"<|end|>"`),
			`the end of a text is "<|end|>", which is no added token`, sampling},
	} {
		dir := copied(t, c.folder)
		c.spoil(t, dir)
		yaml := filepath.Join(t.TempDir(), "settings.yaml")
		require.NoError(t, os.WriteFile(yaml, []byte(retool(t,
			append([]string{"config"}, onFolder(filepath.Join(t.TempDir(), "run"), dir)...)...)), 0o644))
		commands := [][]string{{"train", yaml}, {"sft", yaml}, {"eval", "--from", dir, yaml}, {"rollout", "--from", dir, yaml}}
		if c.commands >= sampling {
			commands = append(commands, []string{"generate", "--model", dir, "--ids", "[1]"})
		}
		if c.commands >= weights {
			commands = append(commands, []string{"score", "--model", dir, "--in", rowsFile(t, `{"ids":[1,2]}`), "--loss"})
		}
		for _, args := range commands {
			cmd, out, errs := command(args...)
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit, "%s: %v\n%s%s", c.name, args, out, errs)
			require.Equal(t, 1, exit.ExitCode())
			message := strings.TrimSpace(errs.String())
			require.Contains(t, message, c.want, "%s: %v", c.name, args)
			require.NotContains(t, message, "\n", fmt.Sprint(args))
		}
	}
}
