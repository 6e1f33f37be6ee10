package gguf

import (
	"fmt"
	"strconv"
)

// The architectures that are read and written, as general.architecture names them.
const (
	Llama = "llama"
	Qwen2 = "qwen2"
	Qwen3 = "qwen3"
)

// classes are the names that config.json has for them.
var classes = map[string]string{Llama: "LlamaForCausalLM", Qwen2: "Qwen2ForCausalLM", Qwen3: "Qwen3ForCausalLM"}

// Config is the shape of a model.
type Config struct {
	Arch string // Llama, Qwen2 or Qwen3

	Layers, Hidden, FFN     int
	Heads, KVHeads          int
	HeadDim                 int
	Vocab                   int // rows of the embedding
	MaxPositions            int
	RMSEps, RopeTheta       float64
	Rope                    Rope
	QKVBias, OBias, MLPBias bool
	Tied                    bool // the head is the embedding
}

// Rope stretches the rotary embedding; the zero value does not.
type Rope struct {
	Type                          string // "" (none), "linear", "llama3", "yarn"
	Factor                        float64
	OriginalMaxPositions          int     // llama3, yarn
	LowFreqFactor, HighFreqFactor float64 // llama3
	BetaFast, BetaSlow            float64 // yarn; 0 means 32 and 1
}

// ropeFreqs is the tensor that holds the divisors of llama3's frequencies, (HeadDim/2).
const ropeFreqs = "rope_freqs.weight"

// Config reads the shape of the model and checks that its tensors are those of that shape, and no others.
func (f *File) Config() (Config, error) {
	c, err := f.config()
	if err == nil {
		err = f.checkTensors(c)
	}
	if err != nil {
		return Config{}, fmt.Errorf("gguf: %s: %w", f.path, err)
	}
	return c, nil
}

func (f *File) config() (Config, error) {
	k := keys{f: f, read: map[string]bool{}}
	if n := k.count("split.count", 1); n > 1 {
		return Config{}, fmt.Errorf("is one of %d parts of a model (split.count): join them first, llama-gguf-split --merge does", n)
	}
	c := Config{Arch: k.text("general.architecture", "")}
	if _, ok := classes[c.Arch]; !ok && k.err == nil {
		return c, fmt.Errorf("general.architecture is %q, which is not supported (known: llama, qwen2, qwen3)", c.Arch)
	}
	if kind := k.text("general.type", "model"); kind != "model" && k.err == nil {
		return c, fmt.Errorf("general.type is %q, want \"model\"", kind)
	}
	p := c.Arch + "."
	c.Layers, c.Hidden = k.must(p+"block_count"), k.must(p+"embedding_length")
	c.FFN, c.MaxPositions = k.must(p+"feed_forward_length"), k.must(p+"context_length")
	c.Heads = k.must(p + "attention.head_count")
	c.KVHeads = k.count(p+"attention.head_count_kv", c.Heads)
	c.HeadDim = k.count(p+"attention.key_length", c.Hidden/max(1, c.Heads))
	c.RMSEps = k.mustNumber(p + "attention.layer_norm_rms_epsilon")
	c.RopeTheta = k.number(p+"rope.freq_base", 10000)
	k.same(p+"attention.value_length", c.HeadDim, "the size of a head")
	k.same(p+"rope.dimension_count", c.HeadDim, "the size of a head: only whole heads are rotated")
	k.same(p+"expert_count", 0, "none: mixtures of experts are not supported")
	k.same(p+"expert_used_count", 0, "none: mixtures of experts are not supported")
	if !k.flag(p+"attention.causal", true) && k.err == nil {
		return c, fmt.Errorf("%sattention.causal is false: only causal attention is supported", p)
	}
	embed, ok := f.Tensor("token_embd.weight")
	if !ok || len(embed.Shape) != 2 {
		return c, fmt.Errorf("token_embd.weight is missing or no matrix, a model has an embedding")
	}
	c.Vocab = embed.Shape[0]
	k.same(p+"vocab_size", c.Vocab, "the rows of token_embd.weight")
	has := func(name string) bool { _, ok := f.Tensor(name); return ok }
	c.Tied = !has("output.weight")
	c.QKVBias, c.OBias = has("blk.0.attn_q.bias"), has("blk.0.attn_output.bias")
	c.MLPBias = c.Arch == Llama && has("blk.0.ffn_gate.bias")
	if k.err != nil {
		return c, k.err
	}
	if err := c.supported(); err != nil {
		return c, err
	}
	k.rope(&c, p)
	if k.err != nil {
		return c, k.err
	}
	if t, ok := f.Tensor(ropeFreqs); ok {
		if err := f.llama3Rope(&c, t); err != nil {
			return c, err
		}
	}
	return c, k.unread(p)
}

// supported reports combinations that the architectures do not have.
func (c Config) supported() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"layers", c.Layers}, {"hidden size", c.Hidden}, {"feed-forward size", c.FFN}, {"longest sequence", c.MaxPositions},
		{"heads", c.Heads}, {"key-value heads", c.KVHeads}, {"head size", c.HeadDim}, {"vocabulary", c.Vocab},
	} {
		if n.value < 1 || n.value > 1<<28 {
			return fmt.Errorf("%s is %d, must be from 1 to %d", n.name, n.value, 1<<28)
		}
	}
	switch {
	case c.Layers > 1<<14:
		return fmt.Errorf("%d layers, more than any model has", c.Layers)
	case c.Heads%c.KVHeads != 0 || c.HeadDim%2 != 0:
		return fmt.Errorf("%d heads of %d, %d of keys and values: want a multiple, and an even size", c.Heads, c.HeadDim, c.KVHeads)
	case c.Arch == Llama && c.QKVBias != c.OBias:
		return fmt.Errorf("llama has biases on all four projections of attention or on none")
	case c.Arch == Qwen2 && (!c.QKVBias || c.OBias || c.MLPBias):
		return fmt.Errorf("qwen2 has biases on queries, keys and values and nowhere else")
	case c.Arch == Qwen3 && (c.QKVBias || c.OBias || c.MLPBias):
		return fmt.Errorf("qwen3 in GGUF has no biases")
	}
	return nil
}

// rope reads the keys of rotary scaling.
func (k *keys) rope(c *Config, p string) {
	p += "rope."
	old := k.number(p+"scale_linear", 0)
	kind := k.text(p+"scaling.type", "none")
	r := Rope{Factor: k.number(p+"scaling.factor", old)}
	r.OriginalMaxPositions = k.count(p+"scaling.original_context_length", 0)
	r.BetaFast, r.BetaSlow = k.number(p+"scaling.yarn_beta_fast", 0), k.number(p+"scaling.yarn_beta_slow", 0)
	k.flag(p+"scaling.finetuned", false) // says how the model was made
	for _, key := range []string{"scaling.attn_factor", "scaling.yarn_attn_factor", "scaling.yarn_ext_factor"} {
		if v := k.number(p+key, 1); v != 1 && k.err == nil {
			k.err = fmt.Errorf("%s is %g: only 1 is supported", p+key, v)
		}
	}
	if kind == "none" && old != 0 && old != 1 {
		kind = "linear"
	}
	switch kind {
	case "none":
		return
	case "linear", "yarn":
		r.Type = kind
	default:
		k.fail("%sscaling.type is %q (known: none, linear, yarn)", p, kind)
	}
	if !(r.Factor >= 1) {
		k.fail("%sscaling.factor is %g, %s needs at least 1", p, r.Factor, kind)
	}
	if kind == "linear" {
		r = Rope{Type: kind, Factor: r.Factor}
	} else if r.OriginalMaxPositions == 0 {
		r.OriginalMaxPositions = c.MaxPositions // llama.cpp's default
	}
	c.Rope = r
}

// Metadata is what a file says of the shape.
func (c Config) Metadata() ([]KV, error) {
	if _, ok := classes[c.Arch]; !ok {
		return nil, fmt.Errorf("gguf: architecture is %q (known: llama, qwen2, qwen3)", c.Arch)
	}
	if err := c.supported(); err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	p := c.Arch + "."
	n := func(key string, v int) KV { return KV{p + key, uint32(v)} }
	x := func(key string, v float64) KV { return KV{p + key, float32(v)} }
	list := []KV{
		n("block_count", c.Layers), n("context_length", c.MaxPositions), n("embedding_length", c.Hidden), n("feed_forward_length", c.FFN),
		n("attention.head_count", c.Heads), n("attention.head_count_kv", c.KVHeads), x("rope.freq_base", c.RopeTheta),
		x("attention.layer_norm_rms_epsilon", c.RMSEps), n("attention.key_length", c.HeadDim), n("attention.value_length", c.HeadDim),
		n("vocab_size", c.Vocab), n("rope.dimension_count", c.HeadDim),
	}
	switch r := c.Rope; r.Type {
	case "", "llama3": // llama3's is a tensor
	case "linear":
		list = append(list, KV{p + "rope.scaling.type", "linear"}, x("rope.scaling.factor", r.Factor))
	case "yarn":
		list = append(list, KV{p + "rope.scaling.type", "yarn"}, x("rope.scaling.factor", r.Factor),
			n("rope.scaling.original_context_length", r.OriginalMaxPositions))
		if r.BetaFast != 0 {
			list = append(list, x("rope.scaling.yarn_beta_fast", r.BetaFast))
		}
		if r.BetaSlow != 0 {
			list = append(list, x("rope.scaling.yarn_beta_slow", r.BetaSlow))
		}
	default:
		return nil, fmt.Errorf("gguf: rope type %q (known: none, linear, llama3, yarn)", r.Type)
	}
	return list, nil
}

// hugging is config.json in the spelling that transformers 4 and 5 both read.
func (c Config) hugging() map[string]any {
	out := map[string]any{
		"architectures": []string{classes[c.Arch]}, "model_type": c.Arch,
		"num_hidden_layers": c.Layers, "hidden_size": c.Hidden, "intermediate_size": c.FFN, "vocab_size": c.Vocab,
		"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"max_position_embeddings": c.MaxPositions, "rms_norm_eps": decimal(c.RMSEps), "tie_word_embeddings": c.Tied,
		"rope_theta": decimal(c.RopeTheta), "rope_scaling": c.Rope.hugging(), "hidden_act": "silu",
	}
	if c.Arch != Qwen2 {
		out["attention_bias"] = c.QKVBias
	} else {
		out["use_sliding_window"] = false
	}
	if c.Arch == Llama {
		out["mlp_bias"] = c.MLPBias
	}
	return out
}

func (r Rope) hugging() any {
	out := map[string]any{"rope_type": r.Type, "factor": decimal(r.Factor)}
	switch r.Type {
	case "":
		return nil
	case "llama3":
		out["low_freq_factor"], out["high_freq_factor"] = decimal(r.LowFreqFactor), decimal(r.HighFreqFactor)
		out["original_max_position_embeddings"] = r.OriginalMaxPositions
	case "yarn":
		out["original_max_position_embeddings"] = r.OriginalMaxPositions
		if r.BetaFast != 0 {
			out["beta_fast"] = decimal(r.BetaFast)
		}
		if r.BetaSlow != 0 {
			out["beta_slow"] = decimal(r.BetaSlow)
		}
	}
	return out
}

// decimal is the shortest number that is x in float32, in which a file has it: 1e-5 and not 9.999999747378752e-06.
func decimal(x float64) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', -1, 32), 64)
	if err != nil {
		return x
	}
	return v
}
