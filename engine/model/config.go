package model

import (
	"encoding/json"
	"fmt"
	"strings"

	"retool/kernels"
)

// The architectures a Config can have, as Hugging Face's config.json names them.
const (
	Llama = "LlamaForCausalLM"
	Qwen2 = "Qwen2ForCausalLM"
	Qwen3 = "Qwen3ForCausalLM"
)

// Config is the shape of a model. The zero value is not usable; Validate says what is wrong with one.
type Config struct {
	Arch string // Llama, Qwen2 or Qwen3: the class that Hugging Face's tools take for it

	Layers, Hidden int // L, C
	Heads, KVHeads int // H, K: query head h reads key head h/(H/K)
	HeadDim        int // D, even; H·D need not be C
	FFN, Vocab     int // F, V: rows of the embedding, which may be more than the tokenizer has ids
	MaxPositions   int // longest sequence the model was made for

	// KVChunk is the number of keys after which a device that splits long contexts restarts its softmax: a multiple of
	// kernels.PageTokens. It fixes bits, so it is saved with the model. 0 means DefaultKVChunk.
	KVChunk int

	RMSEps    float64
	RopeTheta float64
	Rope      RopeScaling

	QKVBias bool // biases of the query, key and value projections: every Qwen2
	OBias   bool // of the attention's output projection: attention_bias of Llama and Qwen3 means these and QKVBias
	MLPBias bool // of gate, up and down: mlp_bias of Llama
	QKNorm  bool // RMSNorm of every query and key head before rotation: every Qwen3
	Tied    bool // the language-model head is the embedding

	// A policy has LMHead, a critic with a trunk of its own ValueHead (one row), a trunk that both share has both.
	LMHead, ValueHead bool

	// DType is the type that weights, keys and values and activations have in memory, of a model in use; of a folder, the one that its
	// config.json names: BF16 where that is bfloat16, or where a BF16 model was saved, else F32. It fixes bits.
	DType kernels.DType

	EOS []int32 // ids that end a text; may be empty

	source map[string]json.RawMessage // the config.json that this was read from; written back by Save
}

// RopeScaling stretches the rotary embedding to contexts longer than those of pre-training. The zero value does not.
type RopeScaling struct {
	Type                          string  // "" (none), "linear", "llama3", "yarn"
	Factor                        float64 // context of the model / context of pre-training
	OriginalMaxPositions          int     // context of pre-training: llama3, yarn
	LowFreqFactor, HighFreqFactor float64 // llama3
	AttentionFactor               float64 // yarn: multiplies cosines and sines; 0 means 0.1·ln(Factor)+1, or the ratio of the MScales
	BetaFast, BetaSlow            float64 // yarn: 0 means 32 and 1
	MScale, MScaleAllDim          float64 // yarn: used if both are given
	NoTruncate                    bool    // yarn: bounds of the ramp are not rounded to whole dimensions
}

// DefaultKVChunk is the chunk for a model of kvHeads: the fewer heads a step can spread over processors, the shorter the chunks.
func DefaultKVChunk(kvHeads int) int {
	if kvHeads <= 2 {
		return 512
	}
	return 1024
}

// Shape is a model shape by name, for benchmarks and plans; see Shapes.
func Shape(name string) (Config, error) {
	c := Config{Arch: Llama, MaxPositions: 2048, RMSEps: 1e-6, RopeTheta: 10000, Tied: true, LMHead: true, Vocab: 512, KVChunk: 64}
	switch name {
	case "d128":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 4, 128, 4, 4, 32, 384
	case "d256":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 6, 256, 8, 8, 32, 768
	case "q05":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 24, 896, 14, 2, 64, 4864
	case "q15":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 28, 1536, 12, 2, 128, 8960
	case "q3":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 36, 2048, 16, 2, 128, 11008
	case "q7":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 28, 3584, 28, 4, 128, 18944
	case "q32":
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 64, 5120, 40, 8, 128, 27648
	default:
		return Config{}, fmt.Errorf("model: unknown shape %q (known: %s)", name, strings.Join(Shapes(), ", "))
	}
	if name[0] == 'q' { // Qwen2.5; from 7B on the head is a matrix of its own
		c.Arch, c.QKVBias, c.Vocab, c.MaxPositions, c.RopeTheta, c.KVChunk = Qwen2, true, 151936, 32768, 1e6, DefaultKVChunk(c.KVHeads)
		if c.Hidden > 2048 {
			c.Tied, c.Vocab = false, 152064
		}
	}
	return c, nil
}

// Shapes are the names that Shape knows: the embedded models by their width, Qwen2.5 by its billions of parameters.
func Shapes() []string { return []string{"d128", "d256", "q05", "q15", "q3", "q7", "q32"} }

// Validate reports the first thing that keeps c from being a model.
func (c Config) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("model: config: %w", err)
	}
	return nil
}

func (c Config) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"num_hidden_layers", c.Layers}, {"hidden_size", c.Hidden}, {"num_attention_heads", c.Heads}, {"num_key_value_heads", c.KVHeads},
		{"head_dim", c.HeadDim}, {"intermediate_size", c.FFN}, {"vocab_size", c.Vocab}, {"max_position_embeddings", c.MaxPositions},
	} {
		if f.value < 1 {
			return fmt.Errorf("%s is %d, must be at least 1", f.name, f.value)
		}
		if f.value > 1<<28 {
			return fmt.Errorf("%s is %d, more than any model has", f.name, f.value)
		}
	}
	if c.Layers > 1<<12 {
		return fmt.Errorf("num_hidden_layers is %d, more than any model has", c.Layers)
	}
	switch {
	case c.Arch != Llama && c.Arch != Qwen2 && c.Arch != Qwen3:
		return fmt.Errorf("unknown architecture %q (known: %s, %s, %s)", c.Arch, Llama, Qwen2, Qwen3)
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%d heads are no multiple of %d key-value heads", c.Heads, c.KVHeads)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head size %d is odd: rotary embedding turns pairs", c.HeadDim)
	case c.KVChunk < 0 || c.KVChunk%kernels.PageTokens != 0:
		return fmt.Errorf("KV chunk %d is no multiple of the page, %d tokens", c.KVChunk, kernels.PageTokens)
	case !(c.RMSEps > 0 && c.RMSEps < 1):
		return fmt.Errorf("RMSNorm epsilon is %g, must be in (0, 1)", c.RMSEps)
	case !(c.RopeTheta > 1):
		return fmt.Errorf("rope theta is %g, must be above 1", c.RopeTheta)
	case !c.LMHead && !c.ValueHead:
		return fmt.Errorf("no head: neither a language-model head nor a value head")
	}
	// What an architecture has by definition, Hugging Face's classes do not read from a file: another combination could not be saved.
	switch c.Arch {
	case Llama:
		if c.QKNorm {
			return fmt.Errorf("%s has no QK-norm; %s has", Llama, Qwen3)
		}
		if c.QKVBias != c.OBias {
			return fmt.Errorf("%s has biases on all four projections of attention or on none; %s has three", Llama, Qwen2)
		}
	case Qwen2:
		if !c.QKVBias || c.OBias || c.MLPBias || c.QKNorm {
			return fmt.Errorf("%s has biases on queries, keys and values, nowhere else, and no QK-norm", Qwen2)
		}
	case Qwen3:
		if !c.QKNorm || c.MLPBias || c.QKVBias != c.OBias {
			return fmt.Errorf("%s has QK-norm, biases on all four projections of attention or on none, and none in the MLP", Qwen3)
		}
	}
	return c.Rope.validate()
}

// knownRope lists what a rope type can be, for error messages.
const knownRope = "default, linear, llama3, yarn"

func (r RopeScaling) validate() error {
	switch r.Type {
	case "":
		return nil
	case "linear", "llama3", "yarn":
	default:
		return fmt.Errorf("unknown rope type %q (known: %s)", r.Type, knownRope)
	}
	if !(r.Factor >= 1) {
		return fmt.Errorf("rope type %s: factor is %g, must be at least 1", r.Type, r.Factor)
	}
	if r.Type == "linear" {
		return nil
	}
	if r.OriginalMaxPositions < 1 {
		return fmt.Errorf("rope type %s: original_max_position_embeddings is %d, must be at least 1", r.Type, r.OriginalMaxPositions)
	}
	if r.Type == "llama3" && !(r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor) {
		return fmt.Errorf("rope type llama3: low_freq_factor %g and high_freq_factor %g must be positive and ascend",
			r.LowFreqFactor, r.HighFreqFactor)
	}
	if r.Type == "yarn" && (r.AttentionFactor < 0 || r.BetaFast < 0 || r.BetaSlow < 0) {
		return fmt.Errorf("rope type yarn: attention_factor %g, beta_fast %g and beta_slow %g must not be negative",
			r.AttentionFactor, r.BetaFast, r.BetaSlow)
	}
	return nil
}

// kvChunk is KVChunk with its default.
func (c Config) kvChunk() int {
	if c.KVChunk == 0 {
		return DefaultKVChunk(c.KVHeads)
	}
	return c.KVChunk
}

// heads is the geometry of attention.
func (c Config) heads() kernels.Heads {
	return kernels.Heads{Q: c.Heads, KV: c.KVHeads, Dim: c.HeadDim, Chunk: c.kvChunk()}
}

// String is the shape on one line.
func (c Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d layers, hidden %d, heads %d/%d of %d, ffn %d, vocabulary %d",
		strings.TrimSuffix(c.Arch, "ForCausalLM"), c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN, c.Vocab)
	if c.Rope.Type != "" {
		fmt.Fprintf(&b, ", rope %s ×%g", c.Rope.Type, c.Rope.Factor)
	}
	if c.Tied {
		b.WriteString(", tied")
	}
	if c.ValueHead {
		b.WriteString(", value head")
	}
	return b.String()
}
