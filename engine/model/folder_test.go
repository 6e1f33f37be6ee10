package model

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A saved model is the model: config, every bit of the weights, and what a foreign config.json said besides.
func TestSavedModelsComeBack(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c := randomConfig(t)
		c.EOS = rapid.SampledFrom([][]int32{nil, {1}, {0, 1}}).Draw(t, "eos")
		c.extra = map[string]json.RawMessage{"pad_token_id": json.RawMessage("1")}
		m, err := New(dev, c, Options{MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, rapid.Uint64().Draw(t, "weights"))
		if err := m.Save(dir); err != nil {
			t.Fatal(err)
		}
		back, err := Load(dev, dir, Options{MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		for _, key := range []string{"bos_token_id", "hidden_act"} { // Save adds what readers need
			delete(back.Config.extra, key)
		}
		if !reflect.DeepEqual(m.Config, back.Config) {
			t.Fatalf("saved  %+v\nloaded %+v", m.Config, back.Config)
		}
		if !equalBits(download(m, m.W.All), download(back, back.W.All)) {
			t.Fatal("weights differ")
		}
	})
}

// rewrite changes the tensors of a saved folder.
func rewrite(t *testing.T, dir string, change func(map[string]NamedTensor)) {
	path := filepath.Join(dir, weightsFile)
	f, err := OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]NamedTensor{}
	for _, name := range f.Names() {
		s, _ := f.Tensor(name)
		x := make([]float32, s.Len())
		if err := s.Float32s(x); err != nil {
			t.Fatal(err)
		}
		of[name] = NamedTensor{Name: name, Shape: s.Shape, Data: x}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	change(of)
	if err := WriteSafetensors(path, slices.Collect(maps.Values(of)), nil); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersThatDoNotFitAreNamed(t *testing.T) {
	dev := device(t)
	const q = "model.layers.1.self_attn.q_proj.weight"
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
	load := func(dir string) error {
		m, err := Load(dev, dir, Options{MaxTokens: 2})
		if err == nil {
			m.Close()
		}
		return err
	}
	embedding := func(of map[string]NamedTensor) NamedTensor { return of["model.embed_tokens.weight"] }
	for _, c := range []struct {
		want   string
		tied   bool
		change func(map[string]NamedTensor)
	}{
		{"", false, func(map[string]NamedTensor) {}},
		{q + " is missing, config says [32 24]", false, func(of map[string]NamedTensor) { delete(of, q) }},
		{q + ": shape [24 32], config says [32 24]", false, func(of map[string]NamedTensor) { w := of[q]; w.Shape = []int{24, 32}; of[q] = w }},
		{"unknown tensor model.layers.2.mlp.up_proj.weight [1]", false, func(of map[string]NamedTensor) {
			of["x"] = NamedTensor{Name: "model.layers.2.mlp.up_proj.weight", Shape: []int{1}, Data: []float32{1}}
		}},
		{"lm_head.weight is missing", false, func(of map[string]NamedTensor) { delete(of, headName) }},
		{q + " is I32", false, func(of map[string]NamedTensor) { w := of[q]; w.Data = make([]int32, 24*32); of[q] = w }},
		{"", true, func(of map[string]NamedTensor) { w := embedding(of); w.Name = headName; of[headName] = w }},
		{"lm_head.weight differs from model.embed_tokens.weight", true, func(of map[string]NamedTensor) {
			w := embedding(of)
			w.Name, w.Data = headName, make([]float32, 61*24)
			of[headName] = w
		}},
		{"", false, func(of map[string]NamedTensor) {
			of["r"] = NamedTensor{Name: "model.layers.0.self_attn.rotary_emb.inv_freq", Shape: []int{1}, Data: []float32{1}}
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
	if err := os.Remove(filepath.Join(dir, weightsFile)); err != nil {
		t.Fatal(err)
	}
	if err := load(dir); err == nil || !strings.Contains(err.Error(), "neither model.safetensors nor model.safetensors.index.json") {
		t.Errorf("a folder without weights: %v", err)
	}
}

func TestShardsThatDoNotFitAreNamed(t *testing.T) {
	one := func(name string) []NamedTensor {
		return []NamedTensor{{Name: name, Shape: []int{1}, Data: []float32{1}}}
	}
	for want, c := range map[string]struct {
		index string
		files map[string][]NamedTensor
	}{
		"":                                    {`{"weight_map":{"a":"1","b":"2"}}`, map[string][]NamedTensor{"1": one("a"), "2": one("b")}},
		"a is in both 1 and 2":                {`{"weight_map":{"a":"1","b":"2"}}`, map[string][]NamedTensor{"1": one("a"), "2": one("a")}},
		`b is in 2, the index says "1"`:       {`{"weight_map":{"a":"1","b":"1","c":"2"}}`, map[string][]NamedTensor{"1": one("a"), "2": one("b")}},
		`x is in 1, the index says ""`:        {`{"weight_map":{"a":"1"}}`, map[string][]NamedTensor{"1": one("x")}},
		"b is not in 1":                       {`{"weight_map":{"a":"1","b":"1"}}`, map[string][]NamedTensor{"1": one("a")}},
		`a is in "../1", which is no file of`: {`{"weight_map":{"a":"../1"}}`, nil},
		`a is in "/etc/passwd", which is no file of`: {`{"weight_map":{"a":"/etc/passwd"}}`, nil},
		`a is in "..", which is no file of`:          {`{"weight_map":{"a":".."}}`, nil},
		"weight_map lists no tensor":                 {`{}`, nil},
		"no such file":                               {`{"weight_map":{"a":"1"}}`, nil},
		"unexpected end":                             {`{`, nil},
	} {
		dir := t.TempDir()
		for file, list := range c.files {
			if err := WriteSafetensors(filepath.Join(dir, file), list, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, indexFile), []byte(c.index), 0o666); err != nil {
			t.Fatal(err)
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

// bf16 files load as exactly the numbers they hold.
func TestBF16IsReadExactly(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	m := tiny(t, dev, Options{MaxTokens: 2})
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	want := download(m, m.W.All)
	for i, x := range want {
		want[i] = bf16Value(BF16Bits(x))
	}
	rewrite(t, dir, func(of map[string]NamedTensor) {
		for name, w := range of {
			x := w.Data.([]float32)
			b := make([]uint16, len(x))
			for i := range x {
				b[i] = BF16Bits(x[i])
			}
			w.Data = b
			of[name] = w
		}
	})
	back, err := Load(dev, dir, Options{MaxTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if !equalBits(want, download(back, back.W.All)) {
		t.Error("numbers changed")
	}
}

// A critic starts from a policy's folder, and a policy ignores a critic's head.
func TestHeadsMayDifferInReadWeights(t *testing.T) {
	dev, dir := device(t), t.TempDir()
	policy := tiny(t, dev, Options{MaxTokens: 2})
	if err := policy.Save(dir); err != nil {
		t.Fatal(err)
	}
	c := policy.Config
	c.LMHead, c.ValueHead = false, true
	critic, err := New(dev, c, Options{MaxTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer critic.Close()
	if err := critic.ReadWeights(dir); err != nil {
		t.Fatal(err)
	}
	if !equalBits(download(policy, policy.W.Blocks[1].Down), download(critic, critic.W.Blocks[1].Down)) {
		t.Error("trunks differ")
	}
	if err := critic.Save(dir); err != nil {
		t.Fatal(err)
	}
	if back, err := ReadConfig(dir); err != nil || back.LMHead || !back.ValueHead {
		t.Errorf("a critic's config comes back as %+v (%v)", back, err)
	}
	if err := policy.ReadWeights(dir); err != nil {
		t.Error(err)
	}
}

func TestConfigSpellings(t *testing.T) {
	const base = `"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":50`
	read := func(text string) (Config, error) { return parseConfig([]byte("{" + text + "}")) }
	for text, want := range map[string]func(Config) bool{
		`"model_type":"llama",` + base: func(c Config) bool {
			return c.Arch == Llama && c.HeadDim == 16 && c.KVHeads == 4 && c.MaxPositions == 2048 && c.RopeTheta == 10000 && c.RMSEps == 1e-6 && !c.Tied
		},
		`"model_type":"qwen3",` + base:                                                          func(c Config) bool { return c.HeadDim == 128 && c.QKNorm },
		`"model_type":"qwen3","head_dim":null,` + base:                                          func(c Config) bool { return c.HeadDim == 16 },
		`"model_type":"qwen2","head_dim":10,` + base:                                            func(c Config) bool { return c.HeadDim == 10 && c.QKVBias && !c.OBias },
		`"architectures":["LlamaForCausalLM"],"attention_bias":true,` + base:                    func(c Config) bool { return c.QKVBias && c.OBias && !c.MLPBias },
		`"model_type":"llama","eos_token_id":[3,5],` + base:                                     func(c Config) bool { return slices.Equal(c.EOS, []int32{3, 5}) },
		`"model_type":"llama","eos_token_id":2,"num_key_value_heads":null,` + base:              func(c Config) bool { return slices.Equal(c.EOS, []int32{2}) && c.KVHeads == 4 },
		`"model_type":"llama","rope_theta":5e5,"rope_scaling":null,` + base:                     func(c Config) bool { return c.RopeTheta == 5e5 && c.Rope.Type == "" },
		`"model_type":"llama","rope_parameters":{"rope_type":"default","rope_theta":7},` + base: func(c Config) bool { return c.RopeTheta == 7 && c.Rope.Type == "" },
		`"model_type":"llama","rope_scaling":{"type":"linear","factor":2},` + base:              func(c Config) bool { return c.Rope == RopeScaling{Type: "linear", Factor: 2} },
		`"model_type":"llama","max_position_embeddings":64,"rope_parameters":{"rope_type":"yarn","factor":2,"rope_theta":9},` + base: func(c Config) bool {
			return c.RopeTheta == 9 && c.Rope == RopeScaling{Type: "yarn", Factor: 2, OriginalMaxPositions: 64}
		},
		`"model_type":"qwen2","use_sliding_window":true,"max_window_layers":2,"sliding_window":8,` + base: func(c Config) bool { return true },
	} {
		if c, err := read(text); err != nil || !want(c) {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
	for text, want := range map[string]string{
		`"model_type":"gpt2",` + base:                                                                                               `model_type is "gpt2" (known: llama, qwen2, qwen3)`,
		`"architectures":["LlamaModel"],` + base:                                                                                    `architecture "LlamaModel" is not supported`,
		`"model_type":"qwen2","architectures":["LlamaForCausalLM"],` + base:                                                         `model_type is "qwen2", architecture LlamaForCausalLM`,
		`"model_type":"llama"`:                                                                                                      "hidden_size is missing",
		`"model_type":"llama","rope_scaling":{"rope_type":"dynamic","factor":2},` + base:                                            `unknown rope type "dynamic" (known: default, linear, llama3, yarn)`,
		`"model_type":"llama","rope_scaling":{"rope_type":"linear"},` + base:                                                        "rope: factor is missing",
		`"model_type":"llama","partial_rotary_factor":0.5,` + base:                                                                  "partial_rotary_factor is 0.5",
		`"model_type":"llama","hidden_act":"gelu",` + base:                                                                          `hidden_act is "gelu"`,
		`"model_type":"qwen2","use_sliding_window":true,"max_window_layers":1,` + base:                                              "use_sliding_window",
		`"model_type":"qwen2","layer_types":["full_attention","sliding_attention"],` + base:                                         `layer 1 is of type "sliding_attention"`,
		`"model_type":"qwen2","quantization_config":{"bits":4},` + base:                                                             "quantised",
		`"model_type":"llama","num_key_value_heads":3,` + base:                                                                      "4 heads are no multiple of 3",
		`"model_type":"llama","rms_norm_eps":"small",` + base:                                                                       `rms_norm_eps is "small"`,
		`"model_type":"llama","vocab_size":5.5,"hidden_size":4,"intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":1`: "vocab_size is 5.5, must be an integer",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}
