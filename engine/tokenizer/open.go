package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"retool/engine/jsonfile"
)

// tokenizerFile is the tokenizer in a model's folder, either in Hugging Face's format or in that of [Greedy].
const tokenizerFile = "tokenizer.json"

// Open reads the tokenizer of a model's folder. Which token ends a text is said by tokenizer_config.json, or else by
// special_tokens_map.json, where there is such a file. An error names the file and what in it is not understood.
func Open(dir string) (Tokenizer, error) {
	path := filepath.Join(dir, tokenizerFile)
	data, err := jsonfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tokenizer: %w%s", err, instead(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := parse(dir, path, data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

// parse reads the tokenizer that is at path in dir. An error names the file that it is about.
func parse(dir, path string, data []byte) (t Tokenizer, err error) {
	var f struct {
		Format string `json:"format"`
	}
	if err := jsonfile.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.Format != "" {
		t, err = loadWords(data)
	} else {
		eos, fault := endOfText(dir)
		if fault != nil {
			return nil, fault
		}
		t, err = loadBPE(data, eos)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// instead says what to do about a folder whose tokenizer comes in older files.
func instead(dir string) string {
	for _, old := range []string{"tokenizer.model", "vocab.json"} {
		if _, err := os.Stat(filepath.Join(dir, old)); err == nil {
			return fmt.Sprintf(": %s alone does not say how text is cut; "+
				"AutoTokenizer of transformers writes the file: from_pretrained, then save_pretrained", old)
		}
	}
	return ""
}

// endOfText is the eos_token of a folder, "" if no file names one.
func endOfText(dir string) (string, error) {
	for _, file := range []string{"tokenizer_config.json", "special_tokens_map.json"} {
		path := filepath.Join(dir, file)
		data, err := jsonfile.Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		var c map[string]json.RawMessage
		if err := jsonfile.Unmarshal(data, &c); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		raw, there := c["eos_token"]
		if !there || string(raw) == "null" {
			continue
		}
		var name string
		var object struct {
			Content string `json:"content"`
		}
		if json.Unmarshal(raw, &name) != nil && json.Unmarshal(raw, &object) == nil {
			name = object.Content
		}
		if name == "" {
			var line bytes.Buffer
			_ = json.Compact(&line, raw) // it was decoded once already
			return "", fmt.Errorf("%s: eos_token is %s: want a string or an object with content", path, &line)
		}
		return name, nil
	}
	return "", nil
}
