package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retool/engine"
	"retool/engine/model"
	"retool/engine/tokenizer"
	"retool/kernels"
	"retool/trainer"
	"retool/trainer/arith"
)

// folder is what a model's folder says, its weights apart. Every command that samples from a model, or trains one, opens it here.
type folder struct {
	config model.Config
	tok    tokenizer.Tokenizer
	ends   []int32           // tokens at which a text ends, at least one; SFT teaches the first
	files  map[string][]byte // those that a checkpoint hands on as they are
}

// cached begins a model.path that names a folder of the program's own cache, so that a recipe holds no path of a machine.
const cached = "cache:"

// folder is where the model lies that the settings name; "" for a new one.
func (m Model) folder() (string, error) {
	name, ok := strings.CutPrefix(m.Path, cached)
	if !ok {
		return m.Path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("model.path: %s: %w", m.Path, err)
	}
	dir := filepath.Join(cache, "retool", "models", name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("model.path: %s: there is no folder %s: run `make pretrained`, which fetches smollm2-135m", m.Path, dir)
	}
	return dir, nil
}

const tokenizerFile = "tokenizer.json"

// handedOn are the files of transformers that a checkpoint takes over as they are but for a byte-order mark, where there are such: they
// say how text becomes ids and how to sample, and training changes neither.
var handedOn = []string{
	tokenizerFile, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"generation_config.json", "chat_template.jinja", "chat_template.json",
}

// openFolder opens a folder that retool or transformers wrote.
func openFolder(dir string) (*folder, error) {
	f := &folder{}
	var err error
	if f.config, err = readModelConfig(dir); err != nil {
		return nil, err
	}
	if !f.config.LMHead {
		return nil, fmt.Errorf("model: %s is a critic: it has no language-model head", dir)
	}
	if f.tok, err = tokenizer.Open(dir); err != nil {
		return nil, err
	}
	if f.tok.Size() > f.config.Vocab {
		return nil, fmt.Errorf("model: %s: tokenizer.json has %d ids, the embedding %d rows (vocab_size of config.json)",
			dir, f.tok.Size(), f.config.Vocab)
	}
	if f.ends, err = endsOf(dir, f.config, f.tok); err != nil {
		return nil, err
	}
	return f, f.read(dir)
}

// sayAltered says on standard error what in a checkpoint's folder is not as it was written. It is read all the same: people mend a
// template, or stretch a model's positions.
func sayAltered(dir string) {
	if text := trainer.Altered(dir, handedOn); text != "" {
		fmt.Fprintln(os.Stderr, "note      "+text)
	}
}

// read reads the files that a checkpoint hands on.
func (f *folder) read(dir string) error {
	f.files = map[string][]byte{}
	for _, name := range handedOn {
		text, err := readText(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("model: %w", err)
		default:
			f.files[name] = text
		}
	}
	return nil
}

// protocolOf builds the configured protocol for a model's folder, chat template included, and says at which tokens a turn ends.
func protocolOf(cfg engine.ProtocolConfig, f *folder) (engine.Protocol, []int32, error) {
	chat, err := f.chat(cfg)
	if err != nil {
		return nil, nil, err
	}
	p, err := engine.NewProtocol(cfg, f.tok, chat)
	return p, chat.Ends(f.ends), err
}

// chat is the configured chat of a model's folder; nil: it has no turns.
func (f *folder) chat(cfg engine.ProtocolConfig) (*engine.Chat, error) {
	template, err := engine.ReadChatTemplate(f.files, cfg.Name == "hermes")
	if err != nil {
		return nil, err
	}
	return engine.NewChat(cfg.Chat, f.tok, template)
}

// inFolder names the folder that an error is about.
func inFolder(dir string) string {
	if dir == "" {
		return ""
	}
	return ", in " + dir
}

// endsOf is the union of what the files of a folder say: the tokenizer's token goes first, since it ends what is taught.
func endsOf(dir string, c model.Config, tok tokenizer.Tokenizer) ([]int32, error) {
	var ends []int32
	if eos := tok.EOS(); eos != tokenizer.NoEOS {
		ends = append(ends, eos)
	}
	for _, id := range c.EOS {
		if int(id) >= tok.Size() {
			return nil, fmt.Errorf("model: %s: eos_token_id of config.json or generation_config.json holds %d, tokenizer.json has ids from 0 to %d",
				dir, id, tok.Size()-1)
		}
		if !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	if len(ends) == 0 {
		return nil, fmt.Errorf("model: %s: nothing says at which token a text ends: "+
			"give eos_token in tokenizer_config.json, or eos_token_id in config.json", dir)
	}
	return ends, nil
}

// folder is that of a directory; without one, what the settings say of a new model, with the embedded task's tokenizer.
func (c *Config) folder(dir string) (*folder, error) {
	if dir != "" {
		return openFolder(dir)
	}
	tok, err := tokenizer.Words(arith.Vocabulary())
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := tok.Save(&text); err != nil {
		return nil, err
	}
	m, ends := c.Model, []int32{tok.EOS()}
	mc := model.Config{
		Arch: model.Llama, Layers: m.Layers, Hidden: m.Hidden, Heads: m.Heads, KVHeads: m.KVHeads, HeadDim: m.HeadDim, FFN: m.FFN,
		Vocab: tok.Size(), MaxPositions: c.Engine.MaxTokens, KVChunk: kernels.PageTokens, RMSEps: 1e-6, RopeTheta: m.RopeTheta,
		Tied: m.Tied, LMHead: true, EOS: ends,
	}
	return &folder{config: mc, tok: tok, ends: ends, files: map[string][]byte{tokenizerFile: text.Bytes()}}, mc.Validate()
}

// endsLine names the tokens at which a text ends.
func endsLine(tok tokenizer.Tokenizer, ends []int32) string {
	names := make([]string, len(ends))
	for i, id := range ends {
		name := tok.Name(id)
		if tok.Bytes(id) != nil { // text, of which the model may mean nothing by it
			name = fmt.Sprintf("%q", name)
		}
		names[i] = fmt.Sprintf("%s (%d)", name, id)
	}
	return "ends at " + strings.Join(names, ", ")
}
