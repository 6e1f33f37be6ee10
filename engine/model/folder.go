package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"retool/engine/safetensors"
	"retool/kernels"
)

// Names of the files of a model folder.
const (
	configFile     = "config.json"
	generationFile = "generation_config.json"
	weightsFile    = safetensors.ModelFile
	indexFile      = safetensors.IndexFile
	valueFile      = "value_head.safetensors" // ours: other tools know no value head, and need not look at it
)

// embedName is the name of the embedding, headName that of the language-model head; a tied one is not stored.
const (
	embedName = "model.embed_tokens.weight"
	normName  = "model.norm.weight"
	headName  = "lm_head.weight"
)

// valueName is the value head's name.
const valueName = "value_head.weight"

// Load makes a model of c with the weights of a folder of Hugging Face's layout: model.safetensors, or the shards that
// model.safetensors.index.json lists, and value_head.safetensors. c is what ReadConfig says of the folder; it may have a value head that
// the folder lacks, whose weights are then zero. Weights of F32, BF16 or F16 become Options.DType, and float32 in a master copy. Every
// parameter must be there, and nothing else: an error names the file and the tensor.
func Load(dev kernels.Device, dir string, c Config, opt Options) (*Model, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.checkSizes(c); err != nil { // before anything is allocated by them
		return nil, err
	}
	m, err := New(dev, c, opt)
	if err != nil {
		return nil, err
	}
	if err := m.fill(f); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// ReadWeights fills a model from a folder of the same shape. A value head may be on one side only: the model's keeps what it holds,
// the folder's is passed over.
func (m *Model) ReadWeights(dir string) error {
	f, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.checkSizes(m.Config); err != nil {
		return err
	}
	return m.fill(f)
}

// fill copies a folder's tensors into the model.
func (m *Model) fill(f *folder) error {
	if err := f.checkHead(); err != nil {
		return err
	}
	var buf []float32
	known := map[string]bool{}
	var done, all int64
	for _, t := range m.full().Named() {
		all += int64(t.Len())
	}
	progress := func(n int) {
		if done += int64(n); m.Options.Progress != nil {
			m.Options.Progress(done, all)
		}
	}
	progress(0)
	into := m.filler(!f.config.ValueHead)
	for name, t := range m.full().Named() {
		into.at(name)
		known[name] = true
		if name == valueName && !f.config.ValueHead {
			progress(t.Len())
			continue
		}
		s, ok := f.of[name]
		if !ok {
			return fmt.Errorf("model: %s: %s is missing, %s says %v", f.file(name), name, configFile, t.Shape())
		}
		if !slices.Equal(s.Shape, t.Shape()) {
			return fmt.Errorf("model: %s: %s has shape %v, %s says %v", f.file(name), name, s.Shape, configFile, t.Shape())
		}
		err := eachPiece(t, func(part kernels.Tensor, from int) error {
			here := s.Part(from, from+part.Len())
			src := here.Numbers()
			if src == nil {
				buf = sized(buf, part.Len())
				if err := here.Float32s(buf); err != nil {
					return err
				}
				src = buf
			}
			err := m.dev.Do(func() { m.dev.Upload(part, src) })
			here.Release()
			return err
		})
		if err != nil {
			return fmt.Errorf("model: %s: %w", f.file(name), err)
		}
		progress(t.Len())
	}
	if err := f.checkUnused(known); err != nil {
		return err
	}
	return into.end()
}

// Save writes the model to a folder in Hugging Face's layout, as float32, from the master copy where there is one, an adapter merged:
// config.json, model.safetensors or, of more than 5 GB, its shards, with their index and, of a model with a value head,
// value_head.safetensors, each file whole or not at all, and on the disk when Save returns.
//
// The ranks of a divided model all call Save at the same time. Rank 0 writes, dir is "" on the others: they give it what they have.
func (m *Model) Save(dir string) error { return m.save(dir, safetensors.ShardBytes) }

// save is Save with another size of shards. Of one file too there is an index: inference servers that find none take every safetensors file
// of a folder for a part of the model, the value head and a checkpoint's optimizer too.
func (m *Model) save(dir string, shard int64) (err error) {
	if m.div != nil {
		if dir == "" {
			return m.serve()
		}
		defer func() { err = errors.Join(err, m.said(-1)) }()
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("model: save: %w", err)
	}
	isValue := func(name string) bool { return name == valueName }
	of := m.reader(m.said)
	list := m.stored(m.full(), of, func(name string) bool { return !isValue(name) })
	if err := safetensors.WriteModel(dir, list, shard); err != nil {
		return err
	}
	if m.Config.ValueHead {
		if err := safetensors.Write(filepath.Join(dir, valueFile), m.stored(m.full(), of, isValue), nil); err != nil {
			return err
		}
	}
	return m.Config.write(filepath.Join(dir, configFile))
}

// SaveGradients writes G under the parameters' names.
func (m *Model) SaveGradients(path string) error {
	if m.G == nil {
		return fmt.Errorf("model: SaveGradients: the model was made without Options.Train")
	}
	if m.div != nil {
		return fmt.Errorf("model: SaveGradients: the gradients of a divided model are nowhere whole")
	}
	return safetensors.Write(path, m.stored(m.G, m.reader(nil), func(string) bool { return true }), nil)
}

// HostPiece is how many numbers of a tensor pass through the host's memory at a time, where they are read or written: 64 MiB of float32.
const HostPiece = 16 << 20

var hostPiece = HostPiece // tests have smaller ones

// eachPiece gives a contiguous tensor to f, whole rows of it at a time, flat, with the number that each begins with.
func eachPiece(t kernels.Tensor, f func(part kernels.Tensor, from int) error) error {
	n, row := t.Len(), 1
	if t.Rank() > 1 {
		row = n / t.Dim(0)
	}
	step := max(hostPiece/row, 1) * row
	flat := t.Reshape(n)
	for from := 0; from < n; from += step {
		if err := f(flat.Rows(from, min(from+step, n)), from); err != nil {
			return err
		}
	}
	return nil
}

// sized is buf with n numbers, or another where it is too small.
func sized(buf []float32, n int) []float32 {
	if cap(buf) < n {
		buf = make([]float32, n)
	}
	return buf[:n]
}

// stored lists the tensors that are to be in a file. They are downloaded piece by piece, when their turn comes.
func (m *Model) stored(w *Weights, of *reader, in func(name string) bool) (list []safetensors.Named) {
	var buf []float32
	for name, t := range w.Named() {
		if !in(name) {
			continue
		}
		list = append(list, safetensors.Named{Name: name, Shape: t.Shape(), Data: safetensors.Pieces(func(write func([]float32) error) error {
			if of.at(name); of.err != nil {
				return of.err
			}
			return eachPiece(t, func(part kernels.Tensor, from int) error {
				buf = sized(buf, part.Len())
				m.dev.Download(buf, part)
				if w == m.W {
					m.merge(name, buf, from)
				}
				return write(buf)
			})
		})})
	}
	return list
}

// folder is the tensors of a model folder, and what its config.json says of them.
type folder struct {
	dir    string
	config Config
	files  []*safetensors.File
	of     map[string]safetensors.Tensor
	in     map[string]string // the file of each tensor, without its directory
	main   string            // the file that is to hold the others
}

func (f *folder) close() {
	for _, s := range f.files {
		s.Close()
	}
}

// file is the path of the file that holds a tensor, or should.
func (f *folder) file(name string) string {
	file, ok := f.in[name]
	switch {
	case !ok && name == valueName:
		file = valueFile
	case !ok:
		file = f.main
	}
	return filepath.Join(f.dir, file)
}

// openFolder opens the files of a folder.
func openFolder(dir string) (*folder, error) {
	f := &folder{dir: dir, of: map[string]safetensors.Tensor{}, in: map[string]string{}, main: weightsFile}
	var err error
	if f.config, err = ReadConfig(dir); err != nil {
		return nil, err
	}
	if err := f.openFiles(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// openFiles opens the one file, or the shards of the index, and the value head's.
func (f *folder) openFiles() error {
	open := f.openShards
	if _, err := os.Stat(filepath.Join(f.dir, weightsFile)); err == nil {
		open = func() error { return f.open(weightsFile) }
	}
	if err := open(); err != nil {
		return err
	}
	if file, ok := f.in[valueName]; ok {
		return fmt.Errorf("model: %s holds %s, which an older retool put there: it belongs in a file of its own, %s",
			filepath.Join(f.dir, file), valueName, valueFile)
	}
	if f.config.ValueHead {
		return f.open(valueFile)
	}
	return nil
}

// open adds the tensors of a file.
func (f *folder) open(file string) error {
	s, err := safetensors.Open(filepath.Join(f.dir, file))
	if err != nil {
		return err
	}
	f.files = append(f.files, s)
	for _, name := range s.Names() {
		t, _ := s.Tensor(name)
		if other, twice := f.in[name]; twice {
			return fmt.Errorf("model: %s: %s is in both %s and %s", f.dir, name, other, file)
		}
		f.in[name], f.of[name] = file, t
	}
	return nil
}

// openShards opens what the index lists: each name is found in the shard that the index says, and in no other.
func (f *folder) openShards() error {
	path := filepath.Join(f.dir, indexFile)
	index, err := safetensors.ReadIndex(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("model: %s holds neither %s nor %s", f.dir, weightsFile, indexFile)
	}
	if err != nil {
		return err
	}
	f.main = indexFile
	for _, file := range index.Files() {
		if err := f.open(file); err != nil {
			return fmt.Errorf("%w (listed by %s)", err, indexFile)
		}
	}
	for _, name := range sortedKeys(f.in) {
		if want, ok := index.WeightMap[name]; !ok || want != f.in[name] {
			return fmt.Errorf("model: %s: %s is in %s, the index says %q", path, name, f.in[name], want)
		}
	}
	for _, name := range sortedKeys(index.WeightMap) {
		if _, ok := f.in[name]; !ok {
			return fmt.Errorf("model: %s: %s is not in %s", path, name, index.WeightMap[name])
		}
	}
	return nil
}

// checkSizes compares the tensors that every size in c follows from.
func (f *folder) checkSizes(c Config) error {
	layer := func(l int, name string) string { return fmt.Sprintf("model.layers.%d.%s.weight", l, name) }
	last := c.Layers - 1
	for _, t := range []struct {
		name  string
		shape []int
	}{
		{embedName, []int{c.Vocab, c.Hidden}},
		{layer(last, "self_attn.q_proj"), []int{c.Heads * c.HeadDim, c.Hidden}},
		{layer(last, "self_attn.k_proj"), []int{c.KVHeads * c.HeadDim, c.Hidden}},
		{layer(last, "mlp.gate_proj"), []int{c.FFN, c.Hidden}},
	} {
		s, ok := f.of[t.name]
		if !ok {
			return fmt.Errorf("model: %s: %s is missing, %s says %v", f.file(t.name), t.name, configFile, t.shape)
		}
		if !slices.Equal(s.Shape, t.shape) {
			return fmt.Errorf("model: %s: %s has shape %v, %s says %v", f.file(t.name), t.name, s.Shape, configFile, t.shape)
		}
	}
	return nil
}

// checkHead holds the language-model head against what config.json says of it: another head than the one that was trained computes
// noise without an error.
func (f *folder) checkHead() error {
	head, stored := f.of[headName]
	c := f.config
	switch {
	case c.Tied && stored: // some tied checkpoints store the head all the same
		e := f.of[embedName]
		if !head.Same(e) {
			return fmt.Errorf("model: %s: %s differs from %s, %s says that they are one (tie_word_embeddings: true)",
				f.file(headName), headName, embedName, configFile)
		}
	case !c.Tied && c.LMHead && !stored:
		return fmt.Errorf("model: %s: %s is missing, %s says that it is a tensor of its own (tie_word_embeddings: false)",
			f.file(headName), headName, configFile)
	}
	return nil
}

// checkUnused names tensors that the model has no place for: what they were made for would not be computed.
func (f *folder) checkUnused(known map[string]bool) error {
	var unused []string
	for _, name := range sortedKeys(f.of) {
		switch {
		case known[name], name == valueName:
		case name == headName && f.config.Tied: // checkHead has compared it
		case strings.HasSuffix(name, "rotary_emb.inv_freq"): // old files hold this table; it follows from the config
		default:
			unused = append(unused, name)
		}
	}
	switch len(unused) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("model: %s: unknown tensor %s %v: %s has no place for it",
			f.file(unused[0]), unused[0], f.of[unused[0]].Shape, configFile)
	}
	return fmt.Errorf("model: %s: unknown tensor %s %v and %d others: %s has no place for them",
		f.file(unused[0]), unused[0], f.of[unused[0]].Shape, len(unused)-1, configFile)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
