package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retool/engine/gguf"
	"retool/engine/jsonfile"
	"retool/engine/model"
)

// source is a model to be converted.
type source struct {
	path     string
	config   gguf.Config
	params   []gguf.Parameter
	stored   map[string]int // tensors by type
	matrices string         // the type of all matrices, "" if they differ
	bytes    int64
	left     []string // what a conversion leaves out

	read      func(p gguf.Parameter, dst []float32) error // as a folder has it
	files     func(dtype string) (map[string][]byte, error)
	tokenizer func() (*gguf.Tokenizer, error)
	general   func(t gguf.TensorType) []gguf.KV
	close     func()
}

// openSource opens a GGUF file or a folder.
func openSource(path string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	s := &source{path: path, stored: map[string]int{}}
	if info.IsDir() {
		err = s.openFolder()
	} else {
		err = s.openFile()
	}
	if err != nil {
		return nil, err
	}
	s.bytes, err = sizeOf(path)
	return s, err
}

func (s *source) openFile() (err error) {
	f, err := gguf.Open(s.path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if s.config, err = f.Config(); err != nil {
		return err
	}
	tok, err := f.Tokenizer(s.config.Vocab)
	if err != nil {
		return err
	}
	s.params = s.config.Parameters()
	for _, p := range s.params {
		t, _ := f.Tensor(p.GGUF)
		s.count(t.Type.String(), p)
	}
	var scratch []float32
	s.read = func(p gguf.Parameter, dst []float32) error { return f.Parameter(p, dst, &scratch) }
	s.files = func(dtype string) (map[string][]byte, error) { return tok.Files(s.config, dtype) }
	s.tokenizer = func() (*gguf.Tokenizer, error) { return tok, nil }
	s.general = func(t gguf.TensorType) []gguf.KV { return s.config.General(t, s.name(), f.About()) }
	s.close = func() { f.Close() }
	return nil
}

// carried are the files of a folder that a copy of it takes over as they are.
var carried = append(slices.Clone(gguf.FolderFiles), "added_tokens.json", "vocab.json", "merges.txt", "chat_template.json")

func (s *source) openFolder() (err error) {
	c, err := model.ReadConfig(s.path)
	if err != nil {
		return err
	}
	if s.config, err = configOfFolder(c); err != nil {
		return fmt.Errorf("convert: %s: %w", s.path, err)
	}
	sayAltered(s.path)
	stored, err := model.OpenStored(s.path)
	if err != nil {
		return err
	}
	s.params = s.config.Parameters()
	if err := s.checkStored(stored); err != nil {
		stored.Close()
		return fmt.Errorf("convert: %s: %w", s.path, err)
	}
	texts := map[string][]byte{}
	for _, name := range carried {
		text, err := readText(filepath.Join(s.path, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			stored.Close()
			return fmt.Errorf("convert: %w", err)
		}
		texts[name] = text
	}
	s.read = func(p gguf.Parameter, dst []float32) error {
		t, _ := stored.Tensor(p.Name)
		return t.Float32s(dst)
	}
	s.files = func(dtype string) (map[string][]byte, error) { return texts, retyped(texts, dtype) }
	s.tokenizer = func() (*gguf.Tokenizer, error) { return gguf.ParseTokenizer(texts, s.config.Vocab) }
	s.general = func(t gguf.TensorType) []gguf.KV { return s.config.General(t, s.name(), nil) }
	s.close = stored.Close
	return nil
}

// configOfFolder is a folder's shape in GGUF's terms.
func configOfFolder(c model.Config) (gguf.Config, error) {
	arch := map[string]string{model.Llama: gguf.Llama, model.Qwen2: gguf.Qwen2, model.Qwen3: gguf.Qwen3}[c.Arch]
	if !c.LMHead {
		return gguf.Config{}, errors.New("is a critic: it has no language-model head")
	}
	r := c.Rope
	if r.AttentionFactor != 0 || r.MScale != 0 || r.MScaleAllDim != 0 || r.NoTruncate {
		return gguf.Config{}, errors.New("rope type yarn sets attention_factor, mscale, mscale_all_dim or truncate, which is not supported")
	}
	return gguf.Config{
		Arch: arch, Layers: c.Layers, Hidden: c.Hidden, FFN: c.FFN, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, Vocab: c.Vocab,
		MaxPositions: c.MaxPositions, RMSEps: c.RMSEps, RopeTheta: c.RopeTheta, QKVBias: c.QKVBias, OBias: c.OBias, MLPBias: c.MLPBias,
		Tied: c.Tied, Rope: gguf.Rope{
			Type: r.Type, Factor: r.Factor, OriginalMaxPositions: r.OriginalMaxPositions, LowFreqFactor: r.LowFreqFactor,
			HighFreqFactor: r.HighFreqFactor, BetaFast: r.BetaFast, BetaSlow: r.BetaSlow,
		},
	}, nil
}

// checkStored reports a parameter that the folder has not, or has in another shape, and a tensor that is none.
func (s *source) checkStored(stored *model.Stored) error {
	known := map[string]bool{}
	for _, p := range s.params {
		known[p.Name] = true
		t, ok := stored.Tensor(p.Name)
		switch {
		case !ok:
			return fmt.Errorf("%s is missing, config.json says %v", p.Name, p.Shape)
		case !slices.Equal(t.Shape, p.Shape):
			return fmt.Errorf("%s has shape %v, config.json says %v", p.Name, t.Shape, p.Shape)
		case !slices.Contains([]string{"F32", "F16", "BF16", "F64"}, t.DType):
			return fmt.Errorf("%s is %s: only F32, F16, BF16 and F64 are read", p.Name, t.DType)
		}
		s.count(t.DType, p)
	}
	for _, name := range stored.Names() {
		t, _ := stored.Tensor(name)
		embed, _ := stored.Tensor("model.embed_tokens.weight")
		switch {
		case known[name], strings.HasSuffix(name, ".rotary_emb.inv_freq"): // the table follows from the config
		case name == "value_head.weight":
			s.left = append(s.left, "the value head was left out: it is for training alone")
		case name == "lm_head.weight" && t.Same(embed): // stored although it is tied
		default:
			return fmt.Errorf("%s %v: config.json has no place for it", name, t.Shape)
		}
	}
	return nil
}

// retyped makes a folder's config.json one of weights of another type.
func retyped(texts map[string][]byte, dtype string) error {
	var object map[string]json.RawMessage
	if err := jsonfile.Unmarshal(texts["config.json"], &object); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	key := "torch_dtype"
	if _, newer := object["dtype"]; newer {
		key = "dtype"
	}
	object[key] = json.RawMessage(`"` + dtype + `"`)
	if ours, ok := object["retool"]; ok { // the value head is left out
		var of map[string]any
		if err := jsonfile.Unmarshal(ours, &of); err != nil {
			return fmt.Errorf("config.json: retool: %w", err)
		}
		delete(of, "value_head")
		object["retool"], _ = json.Marshal(of)
	}
	text, err := json.MarshalIndent(object, "", "  ")
	texts["config.json"] = append(text, '\n')
	return err
}

// count enters a tensor for the report.
func (s *source) count(t string, p gguf.Parameter) {
	if !p.Vector() {
		if len(s.stored) == 0 {
			s.matrices = t
		} else if s.matrices != t {
			s.matrices = ""
		}
	}
	s.stored[t]++
}

// name is what the model is called after: the path's last part.
func (s *source) name() string {
	path, err := filepath.Abs(s.path)
	if err != nil {
		path = s.path
	}
	return strings.TrimSuffix(filepath.Base(path), ".gguf")
}

// print says what was opened.
func (s *source) print(w io.Writer) {
	fmt.Fprintf(w, "%-10s%s: %v, %.2f M parameters\n", "model", s.path, s.config, float64(s.config.Elements())/1e6)
	fmt.Fprintf(w, "%-10s%s, %s\n", "stored", countLine(s.stored), megabytes(s.bytes))
}
