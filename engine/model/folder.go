package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retool/kernels"
)

// Names of the files of a model folder.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// Load makes a model from a folder of Hugging Face's layout: config.json, and model.safetensors or the shards that
// model.safetensors.index.json lists. Weights of F32, BF16 or F16 become Options.DType, and float32 in a master copy. Every parameter must be there, and nothing else.
func Load(dev kernels.Device, dir string, opt Options) (*Model, error) {
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	m, err := New(dev, cfg, opt)
	if err != nil {
		return nil, err
	}
	if err := m.readWeights(dir, false); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// ReadWeights fills a model from a folder whose trunk has the same shape. Heads may differ: one that the folder lacks keeps what it
// holds, one that the model lacks is passed over. So a critic starts from a policy.
func (m *Model) ReadWeights(dir string) error { return m.readWeights(dir, true) }

func (m *Model) readWeights(dir string, headsMayDiffer bool) error {
	stored, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer stored.close()
	fail := func(format string, args ...any) error {
		return fmt.Errorf("model: load %s: %w", dir, fmt.Errorf(format, args...))
	}
	isHead := func(name string) bool { return name == headName || name == valueName }

	var buf []float32
	known := map[string]bool{}
	var done, all int64
	for _, t := range m.full().Named() {
		all += int64(t.Len())
	}
	progress := func(n int) {
		if done += int64(n); m.Progress != nil {
			m.Progress(done, all)
		}
	}
	progress(0)
	for name, t := range m.full().Named() {
		known[name] = true
		s, ok := stored.of[name]
		if !ok && name == headName && headsMayDiffer {
			s, ok = stored.of["model.embed_tokens.weight"] // the folder is tied, the model is not
		}
		switch {
		case !ok && headsMayDiffer && isHead(name):
			progress(t.Len())
			continue
		case !ok:
			return fail("%s is missing, config says %v", name, t.Shape())
		case !slices.Equal(s.Shape, t.Shape()):
			return fail("%s: shape %v, config says %v", name, s.Shape, t.Shape())
		}
		if cap(buf) < t.Len() {
			buf = make([]float32, t.Len())
		}
		buf = buf[:t.Len()]
		if err := s.Float32s(buf); err != nil {
			return fail("%w", err)
		}
		m.dev.Upload(t, buf)
		progress(t.Len())
	}
	for name, s := range stored.of {
		switch {
		case known[name]:
		case strings.HasSuffix(name, ".rotary_emb.inv_freq"): // old files hold this table; it follows from the config
		case headsMayDiffer && isHead(name):
		case name == headName && m.Config.Tied:
			// Some tied checkpoints store the head all the same. It must then be the embedding.
			e := stored.of["model.embed_tokens.weight"]
			if s.DType != e.DType || !slices.Equal(s.Bytes, e.Bytes) {
				return fail("%s differs from model.embed_tokens.weight, config says that they are tied", name)
			}
		default:
			return fail("unknown tensor %s %v: config has no place for it", name, s.Shape)
		}
	}
	m.round()
	return nil
}

// Save writes the model to a folder in Hugging Face's layout, as float32, from the master copy where there is one: config.json and model.safetensors, each whole or not at
// all, and on the disk when Save returns.
func (m *Model) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("model: save: %w", err)
	}
	if err := m.saveWeights(filepath.Join(dir, weightsFile), m.full()); err != nil {
		return err
	}
	return m.Config.write(filepath.Join(dir, configFile))
}

// SaveGradients writes G under the parameters' names.
func (m *Model) SaveGradients(path string) error {
	if m.G == nil {
		return fmt.Errorf("model: SaveGradients: the model was made without Options.Train")
	}
	return m.saveWeights(path, m.G)
}

// saveWeights downloads and writes one tensor at a time.
func (m *Model) saveWeights(path string, w *Weights) error {
	var buf []float32
	var list []NamedTensor
	for name, t := range w.Named() {
		list = append(list, NamedTensor{Name: name, Shape: t.Shape(), Data: func() ([]float32, error) {
			if cap(buf) < t.Len() {
				buf = make([]float32, t.Len())
			}
			buf = buf[:t.Len()]
			m.dev.Download(buf, t)
			return buf, nil
		}})
	}
	return WriteSafetensors(path, list, nil)
}

// folder is the tensors of a model folder.
type folder struct {
	files []*Safetensors
	of    map[string]StoredTensor
}

func (f *folder) close() {
	for _, s := range f.files {
		s.Close()
	}
}

// openFolder opens the one file, or the shards of the index.
func openFolder(dir string) (*folder, error) {
	f := &folder{of: map[string]StoredTensor{}}
	single := filepath.Join(dir, weightsFile)
	if _, err := os.Stat(single); err == nil {
		s, err := OpenSafetensors(single)
		if err != nil {
			return nil, err
		}
		f.files = append(f.files, s)
		f.of = s.of
		return f, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("model: %s holds neither %s nor %s", dir, weightsFile, indexFile)
	}
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := f.openShards(dir, data); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// openShards opens what an index lists: each name is found in the shard that the index says, and in no other.
func (f *folder) openShards(dir string, index []byte) error {
	path := filepath.Join(dir, indexFile)
	var list struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &list); err != nil {
		return fmt.Errorf("model: %s: %w", path, err)
	}
	if len(list.WeightMap) == 0 {
		return fmt.Errorf("model: %s: weight_map lists no tensor", path)
	}
	shards := map[string]bool{}
	for name, file := range list.WeightMap {
		if file != filepath.Base(file) || !filepath.IsLocal(file) {
			return fmt.Errorf("model: %s: %s is in %q, which is no file of the folder", path, name, file)
		}
		shards[file] = true
	}
	in := map[string]string{} // name to the shard that holds it
	for _, file := range sortedKeys(shards) {
		s, err := OpenSafetensors(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		f.files = append(f.files, s)
		for name, t := range s.of {
			if other, twice := in[name]; twice {
				return fmt.Errorf("model: %s: %s is in both %s and %s", path, name, other, file)
			}
			if want, ok := list.WeightMap[name]; !ok || want != file {
				return fmt.Errorf("model: %s: %s is in %s, the index says %q", path, name, file, want)
			}
			in[name], f.of[name] = file, t
		}
	}
	for _, name := range sortedKeys(list.WeightMap) {
		if _, ok := in[name]; !ok {
			return fmt.Errorf("model: %s: %s is not in %s", path, name, list.WeightMap[name])
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
