package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"

	"retool/engine/atomicfile"
	"retool/engine/jsonfile"
	"retool/kernels"
)

// ReadConfig reads the config.json of a model folder, in the spelling of transformers 4 (rope_theta, rope_scaling) or 5
// (rope_parameters). What is absent there has the default of transformers; what would change the computation and is not supported,
// such as sliding windows, is an error. EOS is the eos_token_id of config.json and then that of generation_config.json, where there is
// one. An error names the file and the key.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, configFile)
	data, err := jsonfile.Read(path)
	if err != nil {
		return Config{}, fmt.Errorf("model: read config: %w", err)
	}
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("model: %s: %w", path, err)
	}
	path = filepath.Join(dir, generationFile)
	data, err = jsonfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("model: read config: %w", err)
	}
	gen := fields{}
	if gen.of, gen.err = jsonObject(data); gen.err == nil {
		c.EOS = gen.ends(c.EOS, c.Vocab)
	}
	if gen.err != nil {
		return Config{}, fmt.Errorf("model: %s: %w", path, gen.err)
	}
	return c, nil
}

// fields reads the values of a JSON object, and keeps the first error.
type fields struct {
	of  map[string]json.RawMessage
	err error
}

// get decodes key into v; absent and null leave v and return false.
func (f *fields) get(key string, v any) bool {
	raw, ok := f.of[key]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil && f.err == nil {
		var line bytes.Buffer
		_ = json.Compact(&line, raw) // it was decoded once already
		f.err = fmt.Errorf("%s is %s, must be %s", key, &line, kindOf(v))
	}
	return true
}

// kindOf says in words what get takes.
func kindOf(v any) string {
	switch v.(type) {
	case *float64:
		return "a number"
	case *bool:
		return "true or false"
	case *string:
		return "a string"
	case *int32:
		return "an id or a list of ids"
	case *[]int32:
		return "a list of ids"
	case *[]string:
		return "a list of strings"
	}
	return "an object"
}

func (f *fields) count(key string, absent int) int {
	v := float64(absent) // some writers spell integers 1e6
	f.get(key, &v)
	if v != float64(int(v)) && f.err == nil {
		f.err = fmt.Errorf("%s is %v, must be an integer", key, v)
	}
	return int(v)
}

func (f *fields) number(key string, absent float64) float64 {
	f.get(key, &absent)
	return absent
}

func (f *fields) flag(key string, absent bool) bool {
	f.get(key, &absent)
	return absent
}

func (f *fields) text(key, absent string) string {
	f.get(key, &absent)
	return absent
}

// says reports whether key has that value; one of another type is another.
func (f *fields) says(key, value string) bool {
	var text string
	return json.Unmarshal(f.of[key], &text) == nil && text == value
}

// must reports that key is needed.
func (f *fields) must(keys ...string) {
	for _, key := range keys {
		if raw, ok := f.of[key]; (!ok || string(raw) == "null") && f.err == nil {
			f.err = fmt.Errorf("%s is missing", key)
		}
	}
}

// ends appends the ids of eos_token_id, one, a list or null, that are not in the list yet.
func (f *fields) ends(list []int32, vocab int) []int32 {
	const key = "eos_token_id"
	var ids []int32
	if raw := f.of[key]; len(raw) > 0 && raw[0] != '[' {
		var id int32
		if f.get(key, &id) {
			ids = []int32{id}
		}
	} else {
		f.get(key, &ids)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			if f.err == nil && vocab > 0 {
				f.err = fmt.Errorf("%s holds %d, the vocabulary has ids from 0 to %d", key, id, vocab-1)
			}
			return list
		}
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

// modelTypes maps the model_type of a config.json to the class.
var modelTypes = map[string]string{"llama": Llama, "qwen2": Qwen2, "qwen3": Qwen3}

// own is what config.json says for this package alone.
type own struct {
	LMHead    *bool  `json:"lm_head,omitempty"`
	ValueHead bool   `json:"value_head,omitempty"`
	KVChunk   int    `json:"kv_chunk,omitempty"`
	DType     string `json:"dtype,omitempty"` // of the model in memory: "bfloat16", or absent; its files hold float32
}

// bfloat16 is how files spell it.
const bfloat16 = "bfloat16"

func parseConfig(data []byte) (Config, error) {
	of, err := jsonObject(data)
	if err != nil {
		return Config{}, err
	}
	return configOf(of)
}

// jsonObject takes an object apart.
func jsonObject(data []byte) (of map[string]json.RawMessage, err error) {
	err = jsonfile.Unmarshal(data, &of)
	return of, err
}

func configOf(of map[string]json.RawMessage) (Config, error) {
	f := fields{of: of}
	c := Config{source: of}
	var classes []string
	f.get("architectures", &classes)
	modelType := f.text("model_type", "")
	byType, knownType := modelTypes[modelType]
	switch {
	case len(classes) > 0:
		c.Arch = classes[0]
	case knownType:
		c.Arch = byType
	default:
		return c, fmt.Errorf("model_type is %q%s (known: llama, qwen2, qwen3)", modelType, f.other())
	}
	if f.err != nil {
		return c, f.err
	}
	if c.Arch != Llama && c.Arch != Qwen2 && c.Arch != Qwen3 {
		return c, fmt.Errorf("architectures: %q is not supported%s (known: %s, %s, %s)", c.Arch, f.other(), Llama, Qwen2, Qwen3)
	}
	if modelType != "" && byType != c.Arch {
		return c, fmt.Errorf("model_type is %q, architecture %s", modelType, c.Arch)
	}

	f.must("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
	c.Layers, c.Hidden = f.count("num_hidden_layers", 0), f.count("hidden_size", 0)
	c.FFN, c.Vocab = f.count("intermediate_size", 0), f.count("vocab_size", 0)
	c.Heads = f.count("num_attention_heads", 0)
	c.KVHeads = f.count("num_key_value_heads", c.Heads)
	if _, there := f.of["head_dim"]; there || c.Arch != Qwen3 {
		if c.Heads > 0 {
			c.HeadDim = f.count("head_dim", c.Hidden/c.Heads)
		}
	} else {
		c.HeadDim = 128 // Qwen3's default does not depend on the hidden size
	}
	longest := 32768
	if c.Arch == Llama {
		longest = 2048
	}
	c.MaxPositions = f.count("max_position_embeddings", longest)
	c.RMSEps = f.number("rms_norm_eps", 1e-6)
	c.Tied = f.flag("tie_word_embeddings", false)
	switch c.Arch {
	case Qwen2:
		c.QKVBias = true
	case Qwen3:
		c.QKNorm = true
		fallthrough
	default:
		c.QKVBias = f.flag("attention_bias", false)
		c.OBias = c.QKVBias
	}
	if c.Arch == Llama {
		c.MLPBias = f.flag("mlp_bias", false)
	}
	c.EOS = f.ends(nil, c.Vocab)
	f.rope(&c)
	f.unsupported(c)

	var o own
	f.get("retool", &o)
	c.LMHead, c.ValueHead = o.LMHead == nil || *o.LMHead, o.ValueHead
	if c.DType = kernels.F32; o.DType == bfloat16 || f.says("dtype", bfloat16) || f.says("torch_dtype", bfloat16) {
		c.DType = kernels.BF16
	}
	c.KVChunk = o.KVChunk
	if c.KVChunk == 0 && c.KVHeads > 0 {
		c.KVChunk = DefaultKVChunk(c.KVHeads)
	}

	if f.err != nil {
		return Config{}, f.err
	}
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// rope reads the rotary embedding in either spelling.
func (f *fields) rope(c *Config) {
	p, where := fields{}, "rope_parameters"
	f.get(where, &p.of)
	var older map[string]json.RawMessage
	if f.get("rope_scaling", &older) && len(older) > 0 { // transformers 5 lets it go first
		p.of, where = older, "rope_scaling"
	}
	for _, key := range sortedKeys(p.of) {
		if raw := p.of[key]; len(raw) > 0 && raw[0] == '{' && f.err == nil {
			f.err = fmt.Errorf("%s.%s is an object: another rotation for each type of layer is not supported", where, key)
		}
	}
	c.RopeTheta = p.number("rope_theta", f.number("rope_theta", 10000))
	kind := p.text("rope_type", p.text("type", "default"))
	part := p.number("partial_rotary_factor", f.number("partial_rotary_factor", 1))
	if part != 1 && f.err == nil {
		f.err = fmt.Errorf("partial_rotary_factor is %g: only whole heads are rotated", part)
	}
	r := RopeScaling{Type: kind}
	original := f.count("original_max_position_embeddings", p.count("original_max_position_embeddings", c.MaxPositions))
	switch kind {
	case "default":
		r.Type = ""
	case "linear":
		p.must("factor")
		r.Factor = p.number("factor", 0)
	case "llama3":
		p.must("factor", "low_freq_factor", "high_freq_factor")
		r.Factor, r.OriginalMaxPositions = p.number("factor", 0), original
		r.LowFreqFactor, r.HighFreqFactor = p.number("low_freq_factor", 0), p.number("high_freq_factor", 0)
	case "yarn":
		r.OriginalMaxPositions = original
		if original > 0 {
			r.Factor = p.number("factor", float64(c.MaxPositions)/float64(original))
		}
		r.AttentionFactor = p.number("attention_factor", 0)
		r.BetaFast, r.BetaSlow = p.number("beta_fast", 0), p.number("beta_slow", 0)
		r.MScale, r.MScaleAllDim = p.number("mscale", 0), p.number("mscale_all_dim", 0)
		r.NoTruncate = !p.flag("truncate", true)
	}
	if !slices.Contains([]string{"", "linear", "llama3", "yarn"}, r.Type) && f.err == nil {
		f.err = fmt.Errorf("%s: rope_type is %q (known: %s)", where, r.Type, knownRope)
	}
	c.Rope = r
	if p.err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", where, p.err)
	}
}

// expertKeys are what configs of mixtures of experts call the number of them.
var expertKeys = []string{"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"}

// experts is the key that makes a config one of a mixture of experts; "" if none does.
func (f *fields) experts() string {
	for _, key := range expertKeys {
		var n float64
		if raw, ok := f.of[key]; ok && json.Unmarshal(raw, &n) == nil && n > 0 {
			return fmt.Sprintf("%s is %g", key, n)
		}
	}
	return ""
}

// other says what keeps a config of another class from being near to one of ours, where that is known.
func (f *fields) other() string {
	var whole bool
	_, inner := f.of["text_config"]
	switch experts := f.experts(); {
	case experts != "":
		return fmt.Sprintf(", a mixture of experts (%s)", experts)
	case json.Unmarshal(f.of["is_encoder_decoder"], &whole) == nil && whole:
		return ", an encoder and a decoder (is_encoder_decoder)"
	case inner:
		return ", a language model inside another (text_config)"
	}
	return ""
}

// unsupported refuses what would make another model of the same tensors.
func (f *fields) unsupported(c Config) {
	refuse := func(format string, args ...any) {
		if f.err == nil {
			f.err = fmt.Errorf(format, args...)
		}
	}
	if act := f.text("hidden_act", "silu"); act != "silu" && act != "swish" {
		refuse("hidden_act is %q: only silu is supported", act)
	}
	if experts := f.experts(); experts != "" {
		refuse("%s: mixtures of experts are not supported", experts)
	}
	var quantised map[string]json.RawMessage
	if f.get("quantization_config", &quantised) {
		refuse("the weights are quantised (quantization_config): only F32, BF16 and F16 are supported")
	}
	var kinds []string
	if f.get("layer_types", &kinds) {
		if i := slices.IndexFunc(kinds, func(k string) bool { return k != "full_attention" }); i >= 0 {
			refuse("layer %d is of type %q: only full_attention is supported", i, kinds[i])
		}
	} else if window := f.count("sliding_window", 4096); f.flag("use_sliding_window", false) && f.count("max_window_layers", 28) < c.Layers {
		refuse("layers attend to a sliding window of %d tokens (use_sliding_window): only full attention is supported", window)
	}
}

// json is c as config.json: that of the folder which c was read from, with what this package changes, else in the spelling that
// transformers 4 and 5 both read.
func (c Config) json() ([]byte, error) {
	out := make(map[string]any, len(c.source))
	for k, v := range c.source {
		out[k] = v
	}
	if !c.isSource() {
		for _, key := range []string{"rope_parameters", "dtype"} { // spelt otherwise below
			delete(out, key)
		}
		maps.Copy(out, c.fields())
	}
	dtype := "torch_dtype"
	if _, five := out["dtype"]; five {
		dtype = "dtype"
	}
	out[dtype] = "float32"
	mine := own{LMHead: &c.LMHead, ValueHead: c.ValueHead, KVChunk: c.KVChunk}
	if c.DType == kernels.BF16 {
		mine.DType = bfloat16
	}
	out["retool"] = mine
	data, err := json.MarshalIndent(out, "", "  ")
	return append(data, '\n'), err
}

// isSource reports whether the config.json that c was read from still says what c is, heads and KV chunk apart.
func (c Config) isSource() bool {
	if c.source == nil {
		return false
	}
	p, err := configOf(c.source)
	if err != nil || len(p.EOS) > len(c.EOS) || !slices.Equal(p.EOS, c.EOS[:len(p.EOS)]) { // generation_config.json adds some
		return false
	}
	p.LMHead, p.ValueHead, p.KVChunk, p.DType, p.EOS = c.LMHead, c.ValueHead, c.KVChunk, c.DType, c.EOS
	return reflect.DeepEqual(p, c)
}

// fields is what a config.json says of c.
func (c Config) fields() map[string]any {
	var modelType string
	for k, v := range modelTypes {
		if v == c.Arch {
			modelType = k
		}
	}
	out := map[string]any{
		"architectures": []string{c.Arch}, "model_type": modelType,
		"num_hidden_layers": c.Layers, "hidden_size": c.Hidden, "intermediate_size": c.FFN, "vocab_size": c.Vocab,
		"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"max_position_embeddings": c.MaxPositions, "rms_norm_eps": c.RMSEps, "tie_word_embeddings": c.Tied,
		"rope_theta": c.RopeTheta, "rope_scaling": c.Rope.json(), "hidden_act": "silu",
		"bos_token_id": nil, // Llama's default, 1, is no token of ours
		"eos_token_id": nil,
	}
	if c.Arch != Qwen2 {
		out["attention_bias"] = c.OBias
	}
	if c.Arch == Llama {
		out["mlp_bias"] = c.MLPBias
	}
	switch len(c.EOS) {
	case 0:
	case 1:
		out["eos_token_id"] = c.EOS[0]
	default:
		out["eos_token_id"] = c.EOS
	}
	return out
}

// json is the value of rope_scaling; nil means null.
func (r RopeScaling) json() map[string]any {
	if r.Type == "" {
		return nil
	}
	out := map[string]any{"rope_type": r.Type, "factor": r.Factor}
	set := func(key string, v float64) {
		if v != 0 {
			out[key] = v
		}
	}
	if r.OriginalMaxPositions != 0 {
		out["original_max_position_embeddings"] = r.OriginalMaxPositions
	}
	set("low_freq_factor", r.LowFreqFactor)
	set("high_freq_factor", r.HighFreqFactor)
	set("attention_factor", r.AttentionFactor)
	set("beta_fast", r.BetaFast)
	set("beta_slow", r.BetaSlow)
	set("mscale", r.MScale)
	set("mscale_all_dim", r.MScaleAllDim)
	if r.NoTruncate {
		out["truncate"] = false
	}
	return out
}

// write puts config.json on the disk.
func (c Config) write(path string) error {
	data, err := c.json()
	if err == nil {
		err = atomicfile.WriteBytes(path, data)
	}
	if err != nil {
		return fmt.Errorf("model: write %s: %w", path, err)
	}
	return nil
}
