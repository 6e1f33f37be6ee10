package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"retool/engine/safetensors"
	"retool/kernels"
)

// loadFolder is Load with what the folder says.
func loadFolder(dev kernels.Device, dir string, opt Options) (*Model, error) {
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	return Load(dev, dir, c, opt)
}

// A saved model is the model: config, every bit of the weights, and what a foreign config.json said besides.
func TestSavedModelsComeBack(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		c.EOS = rapid.SampledFrom([][]int32{nil, {1}, {0, 1}}).Draw(t, "eos")
		opt := Options{MaxTokens: 2, DType: stored(t), Train: rapid.Bool().Draw(t, "train")}
		m, err := New(dev, c, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, rapid.Uint64().Draw(t, "weights"))
		if m.Master != nil {
			m.dev.Copy(m.Master.All, m.W.All)
		}
		if err := m.Save(dir); err != nil {
			t.Fatal(err)
		}
		back, err := loadFolder(dev, dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		read := back.Config
		read.source = nil
		if !reflect.DeepEqual(m.Config, read) {
			t.Fatalf("saved  %+v\nloaded %+v", m.Config, read)
		}
		if !equalBits(download(m, m.W.All), download(back, back.W.All)) {
			t.Fatal("weights differ")
		}
	})
}

// doors records the most numbers that went through a device's doors at a time.
type doors struct {
	kernels.Device
	most int
}

func (d *doors) Upload(dst kernels.Tensor, src any) {
	d.most = max(d.most, dst.Len())
	d.Device.Upload(dst, src)
}

func (d *doors) Download(dst any, src kernels.Tensor) {
	d.most = max(d.most, src.Len())
	d.Device.Download(dst, src)
}

// However small the pieces are in which tensors pass through the host, files have the same bytes, an adapter merged or not, and come back;
// no more than a piece, or a row that is longer, is there at a time.
func TestFoldersAreReadAndWrittenInPieces(t *testing.T) {
	defer func() { hostPiece = HostPiece }()
	dev, dir := &doors{Device: device(t)}, t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		c.LMHead, c.ValueHead = true, false
		opt := Options{MaxTokens: 2, DType: stored(t), Train: true}
		if opt.Sharded = rapid.Bool().Draw(t, "sharded"); rapid.Bool().Draw(t, "adapter") {
			opt.LoRA = LoRA{Rank: 1, Alpha: 3, Targets: []string{"all-linear"}}
		}
		m, err := New(dev, c, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.Init(rapid.Uint64().Draw(t, "weights"))
		m.InitAdapter(1)
		written := func(piece int) string {
			hostPiece, dev.most = piece, 0
			if err := m.Save(dir); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(dir, weightsFile))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		want := written(HostPiece)
		piece := rapid.IntRange(1, 3*c.Hidden).Draw(t, "piece")
		if written(piece) != want {
			t.Fatalf("the file differs in pieces of %d numbers", piece)
		}
		most := max(piece, c.Hidden, c.FFN, c.Heads*c.HeadDim)
		if m.Adapter == nil && dev.most > most {
			t.Fatalf("%d numbers were read at a time, pieces are of %d", dev.most, most)
		}
		opt.LoRA = LoRA{}
		back, err := New(dev, c, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		dev.most = 0
		if err := back.ReadWeights(dir); err != nil {
			t.Fatal(err)
		}
		if dev.most > most {
			t.Fatalf("%d numbers were written at a time, pieces are of %d", dev.most, most)
		}
		if m.Adapter == nil && !equalBits(download(m, m.full().All), download(back, back.full().All)) {
			t.Fatal("weights differ")
		}
	})
}

// A model in shards of any size is the model, whatever was in the folder before, and nothing of that is left.
func TestShardsComeBack(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(dev, randomConfig(t), Options{MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, rapid.Uint64().Draw(t, "weights"))
		limit := rapid.SampledFrom([]int64{1, 4000, 10000, 40000, safetensors.ShardBytes}).Draw(t, "limit")
		if err := m.save(dir, limit); err != nil {
			t.Fatal(err)
		}
		back, err := loadFolder(dev, dir, Options{MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		if !equalBits(download(m, m.W.All), download(back, back.W.All)) {
			t.Fatal("weights differ")
		}
		index, err := safetensors.ReadIndex(filepath.Join(dir, indexFile))
		if err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
		if err != nil || len(found) != len(index.Files()) {
			t.Fatalf("%d files, the index lists %d (%v)", len(found), len(index.Files()), err)
		}
		for _, path := range found {
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			bytes := int64(0)
			for _, name := range f.Names() {
				s, _ := f.Tensor(name)
				bytes += int64(len(s.Bytes))
			}
			if bytes > limit && len(f.Names()) > 1 {
				t.Fatalf("%s holds %d tensors of %d bytes, at most %d were asked for", path, len(f.Names()), bytes, limit)
			}
			f.Close()
		}
	})
}

// rewrite changes the tensors of a saved folder.
func rewrite(t *testing.T, dir string, change func(map[string]safetensors.Named)) {
	path := filepath.Join(dir, weightsFile)
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]safetensors.Named{}
	for _, name := range f.Names() {
		s, _ := f.Tensor(name)
		x := make([]float32, s.Len())
		if err := s.Float32s(x); err != nil {
			t.Fatal(err)
		}
		of[name] = safetensors.Named{Name: name, Shape: s.Shape, Data: x}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	change(of)
	if err := safetensors.Write(path, slices.Collect(maps.Values(of)), nil); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersThatDoNotFitAreNamed(t *testing.T) {
	dev := device(t)
	const q, o = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight"
	save := func(tied bool) string {
		dir := t.TempDir()
		m := tiny(t, dev, Options{MaxTokens: 2})
		c := m.Config
		c.Tied = tied
		m, err := New(dev, c, Options{MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		randomize(m, 1)
		if err := m.Save(dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	// By either way into a model: none may let a folder pass that the other refuses.
	load := func(dir string) error {
		m, err := loadFolder(dev, dir, Options{MaxTokens: 2})
		if err == nil {
			defer m.Close()
		}
		if c, bad := ReadConfig(dir); bad == nil {
			other, bad := New(dev, c, Options{MaxTokens: 2})
			if bad != nil {
				t.Fatal(bad)
			}
			defer other.Close()
			if again := other.ReadWeights(dir); fmt.Sprint(again) != fmt.Sprint(err) {
				t.Errorf("Load says %v, ReadWeights %v", err, again)
			}
		}
		return err
	}
	embedding := func(of map[string]safetensors.Named) safetensors.Named { return of["model.embed_tokens.weight"] }
	for _, c := range []struct {
		want   string
		tied   bool
		change func(map[string]safetensors.Named)
	}{
		{"", false, func(map[string]safetensors.Named) {}},
		{"/model.safetensors: " + q + " is missing, config.json says [32 24]", false, func(of map[string]safetensors.Named) { delete(of, q) }},
		{
			q + " has shape [24 32], config.json says [32 24]", false,
			func(of map[string]safetensors.Named) { w := of[q]; w.Shape = []int{24, 32}; of[q] = w },
		},
		{
			o + " has shape [32 24], config.json says [24 32]", false,
			func(of map[string]safetensors.Named) { w := of[o]; w.Shape = []int{32, 24}; of[o] = w },
		},
		{o + " is missing", false, func(of map[string]safetensors.Named) { delete(of, o) }},
		{"/model.safetensors: unknown tensor model.layers.2.mlp.up_proj.weight [1]: " +
			"config.json has no place", false, func(of map[string]safetensors.Named) {
			of["x"] = safetensors.Named{Name: "model.layers.2.mlp.up_proj.weight", Shape: []int{1}, Data: []float32{1}}
		}},
		{"unknown tensor a [1] and 1 others", false, func(of map[string]safetensors.Named) {
			of["b"] = safetensors.Named{Name: "b", Shape: []int{1}, Data: []float32{1}}
			of["a"] = safetensors.Named{Name: "a", Shape: []int{1}, Data: []float32{1}}
		}},
		{"/model.safetensors: lm_head.weight is missing, " +
			"config.json says that it is a tensor of its own", false, func(of map[string]safetensors.Named) {
			delete(of, headName)
		}},
		{"model.safetensors holds value_head.weight, which an older retool put there", false, func(of map[string]safetensors.Named) {
			of["x"] = safetensors.Named{Name: valueName, Shape: []int{1, 24}, Data: make([]float32, 24)}
		}},
		{q + " is I32", false, func(of map[string]safetensors.Named) { w := of[q]; w.Data = make([]int32, 24*32); of[q] = w }},
		{"", true, func(of map[string]safetensors.Named) { w := embedding(of); w.Name = headName; of[headName] = w }},
		{"/model.safetensors: lm_head.weight differs from model.embed_tokens.weight", true, func(of map[string]safetensors.Named) {
			w := embedding(of)
			w.Name, w.Data = headName, make([]float32, 61*24)
			of[headName] = w
		}},
		{"", false, func(of map[string]safetensors.Named) {
			of["r"] = safetensors.Named{Name: "model.layers.0.self_attn.rotary_emb.inv_freq", Shape: []int{1}, Data: []float32{1}}
			of["s"] = safetensors.Named{Name: "model.rotary_emb.inv_freq", Shape: []int{1}, Data: []float32{1}}
		}},
	} {
		dir := save(c.tied)
		rewrite(t, dir, c.change)
		if err := load(dir); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("an empty folder: %v", err)
	}
	dir := save(false)
	for _, file := range []string{weightsFile, indexFile} {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	if err := load(dir); err == nil || !strings.Contains(err.Error(), "neither model.safetensors nor model.safetensors.index.json") {
		t.Errorf("a folder without weights: %v", err)
	}
}

func TestShardsThatDoNotFitAreNamed(t *testing.T) {
	one := func(name string) []safetensors.Named {
		return []safetensors.Named{{Name: name, Shape: []int{1}, Data: []float32{1}}}
	}
	for want, c := range map[string]struct {
		index string
		files map[string][]safetensors.Named
	}{
		"":                     {`{"weight_map":{"a":"1","b":"2"}}`, map[string][]safetensors.Named{"1": one("a"), "2": one("b")}},
		"a is in both 1 and 2": {`{"weight_map":{"a":"1","b":"2"}}`, map[string][]safetensors.Named{"1": one("a"), "2": one("a")}},
		`b is in 2, the index says "1"`: {
			`{"weight_map":{"a":"1","b":"1","c":"2"}}`, map[string][]safetensors.Named{"1": one("a"), "2": one("b")},
		},
		`x is in 1, the index says ""`:               {`{"weight_map":{"a":"1"}}`, map[string][]safetensors.Named{"1": one("x")}},
		"b is not in 1":                              {`{"weight_map":{"a":"1","b":"1"}}`, map[string][]safetensors.Named{"1": one("a")}},
		`a is in "../1", which is no file of`:        {`{"weight_map":{"a":"../1"}}`, nil},
		`a is in "/etc/passwd", which is no file of`: {`{"weight_map":{"a":"/etc/passwd"}}`, nil},
		`a is in "..", which is no file of`:          {`{"weight_map":{"a":".."}}`, nil},
		"weight_map lists no tensor":                 {`{}`, nil},
		"no such file":                               {`{"weight_map":{"a":"1"}}`, nil},
		"unexpected end":                             {`{`, nil},
	} {
		dir := t.TempDir()
		for file, list := range c.files {
			if err := safetensors.Write(filepath.Join(dir, file), list, nil); err != nil {
				t.Fatal(err)
			}
		}
		const config = `{"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,` +
			`"vocab_size":50}`
		for file, text := range map[string]string{indexFile: c.index, configFile: config} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		f, err := openFolder(dir)
		if err == nil {
			f.close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// bf16Bits cuts x to bf16.
func bf16Bits(x float32) uint16 { return uint16(math.Float32bits(x) >> 16) }

// bf16 files load as exactly the numbers they hold.
func TestBF16IsReadExactly(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	m := tiny(t, dev, Options{MaxTokens: 2})
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	want := download(m, m.W.All)
	for i, x := range want {
		want[i] = math.Float32frombits(uint32(bf16Bits(x)) << 16)
	}
	rewrite(t, dir, func(of map[string]safetensors.Named) {
		for name, w := range of {
			x := w.Data.([]float32)
			b := make([]uint16, len(x))
			for i := range x {
				b[i] = bf16Bits(x[i])
			}
			w.Data = b
			of[name] = w
		}
	})
	back, err := loadFolder(dev, dir, Options{MaxTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if !equalBits(want, download(back, back.W.All)) {
		t.Error("numbers changed")
	}
}

// A value head may be on one side only; it lies in a file of its own, which the index does not list, so that the
// others hold what every reader of such folders expects.
func TestValueHeadsAreOnTheSide(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	names := func(file string) []string {
		f, err := safetensors.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return f.Names()
	}
	policy := tiny(t, dev, Options{MaxTokens: 2})
	c := policy.Config
	c.ValueHead = !c.ValueHead
	other, err := New(dev, c, Options{MaxTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	with, without := policy, other
	if c.ValueHead {
		with, without = other, policy
	}
	randomize(with, 3)
	value := download(with, with.W.Value.Weight)
	if err := without.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := with.ReadWeights(dir); err != nil {
		t.Fatal(err)
	}
	if !equalBits(value, download(with, with.W.Value.Weight)) ||
		!equalBits(download(with, with.W.Blocks[1].Down.Weight), download(without, without.W.Blocks[1].Down.Weight)) {
		t.Error("the trunk was to be read, the value head to stay")
	}
	added, err := Load(dev, dir, with.Config, Options{MaxTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer added.Close()
	if !equalBits(download(added, added.W.Value.Weight), make([]float32, c.Hidden)) {
		t.Error("a value head that the folder lacks does not begin with zeros")
	}
	if err := with.Save(dir); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names(weightsFile), valueName) || !slices.Equal(names(valueFile), []string{valueName}) {
		t.Errorf("%s holds %v", weightsFile, names(weightsFile))
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	data, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	listed := names(weightsFile)
	slices.Sort(listed)
	if err != nil || !slices.Equal(sortedKeys(index.WeightMap), listed) || index.WeightMap[embedName] != weightsFile {
		t.Errorf("the index lists %v (%v)", index.WeightMap, err)
	}
	if err := without.ReadWeights(dir); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, valueFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := loadFolder(dev, dir, Options{MaxTokens: 2}); err == nil ||
		!strings.Contains(err.Error(), "value_head.safetensors: no such file") {
		t.Errorf("error %v", err)
	}
}

// The config.json of a folder that others wrote is written back as it was, but for the type of the weights and what is this package's
// own; sizes that were changed here are spelt for both generations of readers.
func TestForeignConfigsStayAsTheyAre(t *testing.T) {
	const four = `{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,` +
		`"num_attention_heads":4,"vocab_size":50,"rope_theta":5e5,"rope_scaling":null,"eos_token_id":7,"pad_token_id":3,"use_cache":true,` +
		`"sliding_window":32,"torch_dtype":"bfloat16","transformers_version":"4.57.6","x":{"y":[1]}}`
	five := strings.NewReplacer(
		`"rope_theta":5e5,"rope_scaling":null`, `"rope_parameters":{"rope_type":"default","rope_theta":5e5}`, "torch_dtype", "dtype",
	).Replace(four)
	values := func(text []byte) (v map[string]any) {
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, text := range []string{four, five} {
		dir := t.TempDir()
		for file, text := range map[string]string{configFile: text, generationFile: `{"eos_token_id":[7,9]}`} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		c, err := ReadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		c.ValueHead, c.KVChunk = true, 128
		data, err := c.json()
		if err != nil {
			t.Fatal(err)
		}
		want := values([]byte(strings.Replace(text, "bfloat16", "float32", 1)))
		want["retool"] = map[string]any{"lm_head": true, "value_head": true, "kv_chunk": 128.0, "dtype": "bfloat16"}
		if got := values(data); !reflect.DeepEqual(got, want) {
			t.Errorf("%v\nbecame %v", want, got)
		}
		c.FFN = 128
		if data, err = c.json(); err != nil {
			t.Fatal(err)
		}
		got := values(data)
		if got["intermediate_size"] != 128.0 || got["rope_theta"] != 5e5 || got["rope_parameters"] != nil || got["pad_token_id"] != 3.0 {
			t.Errorf("another size: %v", got)
		}
	}
}

// A text ends at the ids of either file.
func TestEndsAreAUnion(t *testing.T) {
	const base = `{"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":50`
	for _, c := range []struct {
		config, generation string // eos_token_id; "": no file, "-": no key
		want               []int32
		err                string
	}{
		{"-", "", nil, ""},
		{"-", "-", nil, ""},
		{"null", "null", nil, ""},
		{"3", "", []int32{3}, ""},
		{"3", "-", []int32{3}, ""},
		{"-", "4", []int32{4}, ""},
		{"3", "4", []int32{3, 4}, ""},
		{"3", "[5, 3, 4]", []int32{3, 5, 4}, ""},
		{"[3, 4, 3]", "4", []int32{3, 4}, ""},
		{"[]", "[]", nil, ""},
		{"50", "", nil, "config.json: eos_token_id holds 50, the vocabulary has ids from 0 to 49"},
		{"-1", "", nil, "config.json: eos_token_id holds -1"},
		{"3", "[4, 128009]", nil, "generation_config.json: eos_token_id holds 128009"},
		{"3", `"</s>"`, nil, `generation_config.json: eos_token_id is "</s>", must be an id or a list of ids`},
		{"3", `[4, "x"]`, nil, `generation_config.json: eos_token_id is [4,"x"], must be a list of ids`},
		{"3.5", "", nil, "config.json: eos_token_id is 3.5, must be an id or a list of ids"},
	} {
		dir := t.TempDir()
		put := func(file, text, id string) {
			if id != "-" {
				text += `,"eos_token_id":` + id
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"}"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		put(configFile, base, c.config)
		if c.generation != "" {
			put(generationFile, `{"do_sample":true`, c.generation)
		}
		got, err := ReadConfig(dir)
		if c.err == "" && (err != nil || !slices.Equal(got.EOS, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s and %s: %v, %v", c.config, c.generation, got.EOS, err)
		}
	}
}

// Whatever stands in a config.json, the answer is a model that can be, or one sentence: no panic, and nothing allocated by it that the
// tensors do not bear out.
func TestSpoiltConfigsAreRefused(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	if err := tiny(t, dev, Options{MaxTokens: 2}).Save(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, configFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatal(err)
	}
	values := []string{
		"-1", "0", "1", "3", "1e300", "268435456", "2147483648", "1.5", `"x"`, "[]", "{}", "null", "true", `["x"]`, "[1, 2]",
		`{"rope_type":"yarn","factor":-3}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		spoilt := maps.Clone(whole)
		for _, key := range rapid.SliceOfN(rapid.SampledFrom(sortedKeys(whole)), 1, 2).Draw(t, "keys") {
			if value := rapid.SampledFrom(append(values, "")).Draw(t, key); value == "" {
				delete(spoilt, key)
			} else {
				spoilt[key] = json.RawMessage(value)
			}
		}
		data, err := json.MarshalIndent(spoilt, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := loadFolder(dev, dir, Options{MaxTokens: 2, Positions: 8})
		if err == nil {
			m.Close()
			return
		}
		if message := err.Error(); !strings.HasPrefix(message, "model: "+dir) || strings.Contains(message, "\n") ||
			strings.Contains(message, "Go value") {
			t.Fatalf("%s\nis answered by %s", data, message)
		}
	})
	for want, text := range map[string]string{
		"config.json: unexpected end of JSON":             `{`,
		"config.json: is a JSON array, must be an object": `[]`,
		"config.json: hidden_size is -24, must be at": strings.Replace(
			string(data), `"hidden_size": 24`, `"hidden_size": -24`, 1,
		),
		"embed_tokens.weight has shape [61 24], config.json says [61 4096]": strings.Replace(
			string(data), `"hidden_size": 24`, `"hidden_size": 4096`, 1,
		),
		"model.layers.3.self_attn.q_proj.weight is missing": strings.Replace(
			string(data), `"num_hidden_layers": 2`, `"num_hidden_layers": 4`, 1,
		),
		"unknown tensor model.layers.1.": strings.Replace(
			string(data), `"num_hidden_layers": 2`, `"num_hidden_layers": 1`, 1,
		),
	} {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := loadFolder(dev, dir, Options{MaxTokens: 2}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// A file that was cut short, or a shard that is missing, is named.
func TestTornFilesAreNamed(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	if err := tiny(t, dev, Options{MaxTokens: 2}).Save(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, weightsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(data)-1).Draw(t, "bytes")
		if err := os.WriteFile(path, data[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := loadFolder(dev, dir, Options{MaxTokens: 2})
		if err == nil || !strings.HasPrefix(err.Error(), "safetensors: "+path+": ") || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	})
	golden := goldenFolder(t, "llama", "testdata/llama.v5.json", 3)
	if err := os.Remove(filepath.Join(golden, "model-00002-of-00003.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := loadFolder(dev, golden, Options{MaxTokens: 2}); err == nil ||
		!strings.Contains(err.Error(), "model-00002-of-00003.safetensors: no such file or directory (listed by model.safetensors.index.json)") {
		t.Errorf("error %v", err)
	}
}

func TestConfigSpellings(t *testing.T) {
	const base = `"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":50`
	read := func(text string) (Config, error) { return parseConfig([]byte("{" + text + "}")) }
	for _, s := range []struct {
		text string
		is   func(Config) bool
	}{
		{`"model_type":"llama",` + base, func(c Config) bool {
			return c.Arch == Llama && c.HeadDim == 16 && c.KVHeads == 4 && c.MaxPositions == 2048 && c.RopeTheta == 10000 && c.RMSEps == 1e-6 &&
				!c.Tied
		}},
		{`"model_type":"qwen3",` + base, func(c Config) bool { return c.HeadDim == 128 && c.QKNorm }},
		{`"model_type":"qwen3","head_dim":null,` + base, func(c Config) bool { return c.HeadDim == 16 }},
		{`"model_type":"qwen2","head_dim":10,` + base, func(c Config) bool { return c.HeadDim == 10 && c.QKVBias && !c.OBias }},
		{
			`"architectures":["LlamaForCausalLM"],"attention_bias":true,` + base,
			func(c Config) bool { return c.QKVBias && c.OBias && !c.MLPBias },
		},
		{`"model_type":"llama","eos_token_id":[3,5],` + base, func(c Config) bool { return slices.Equal(c.EOS, []int32{3, 5}) }},
		{
			`"model_type":"llama","eos_token_id":2,"num_key_value_heads":null,` + base,
			func(c Config) bool { return slices.Equal(c.EOS, []int32{2}) && c.KVHeads == 4 },
		},
		{
			`"model_type":"llama","rope_theta":5e5,"rope_scaling":null,` + base,
			func(c Config) bool { return c.RopeTheta == 5e5 && c.Rope.Type == "" },
		},
		{
			`"model_type":"llama","rope_parameters":{"rope_type":"default","rope_theta":7},` + base,
			func(c Config) bool { return c.RopeTheta == 7 && c.Rope.Type == "" },
		},
		{
			`"model_type":"llama","rope_scaling":{"type":"linear","factor":2},` + base,
			func(c Config) bool { return c.Rope == RopeScaling{Type: "linear", Factor: 2} },
		},
		{`"model_type":"llama","max_position_embeddings":64,"rope_parameters":{"rope_type":"yarn","factor":2,"rope_theta":9},` + base,
			func(c Config) bool {
				return c.RopeTheta == 9 && c.Rope == RopeScaling{Type: "yarn", Factor: 2, OriginalMaxPositions: 64}
			}},
		{
			`"model_type":"qwen2","use_sliding_window":true,"max_window_layers":2,"sliding_window":8,` + base,
			func(c Config) bool { return true },
		},
	} {
		if c, err := read(s.text); err != nil || !s.is(c) {
			t.Errorf("%s: %+v, %v", s.text, c, err)
		}
	}
	for _, s := range []struct{ text, want string }{
		{`"model_type":"gpt2",` + base, `model_type is "gpt2" (known: llama, qwen2, qwen3)`},
		{`"architectures":["LlamaModel"],` + base, `architectures: "LlamaModel" is not supported`},
		{`"model_type":"qwen2","architectures":["LlamaForCausalLM"],` + base, `model_type is "qwen2", architecture LlamaForCausalLM`},
		{`"model_type":"llama"`, "hidden_size is missing"},
		{
			`"model_type":"llama","rope_scaling":{"rope_type":"dynamic","factor":2},` + base,
			`rope_scaling: rope_type is "dynamic" (known: default, linear, llama3, yarn)`,
		},
		{`"model_type":"llama","rope_scaling":{"rope_type":"linear"},` + base, "rope_scaling: factor is missing"},
		{`"model_type":"llama","partial_rotary_factor":0.5,` + base, "partial_rotary_factor is 0.5"},
		{`"model_type":"llama","hidden_act":"gelu",` + base, `hidden_act is "gelu"`},
		{`"model_type":"qwen2","use_sliding_window":true,"max_window_layers":1,` + base, "use_sliding_window"},
		{`"model_type":"qwen2","layer_types":["full_attention","sliding_attention"],` + base, `layer 1 is of type "sliding_attention"`},
		{`"model_type":"qwen2","quantization_config":{"bits":4},` + base, "quantised"},
		{`"model_type":"llama","num_key_value_heads":3,` + base, "4 heads are no multiple of 3"},
		{`"model_type":"llama","rms_norm_eps":"small",` + base, `rms_norm_eps is "small", must be a number`},
		{
			`"model_type":"llama","vocab_size":5.5,"hidden_size":4,"intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":1`,
			"vocab_size is 5.5, must be an integer",
		},
	} {
		if _, err := read(s.text); err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%s: error %v, want %q", s.text, err, s.want)
		}
	}
}
