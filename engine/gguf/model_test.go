package gguf

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var models = map[string]Config{
	"llama.gguf": {Arch: Llama, Layers: 1, Hidden: 32, FFN: 64, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 64, MaxPositions: 512, Tied: true},
	"llama-biases.gguf": {Arch: Llama, Layers: 1, Hidden: 32, FFN: 64, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 64, MaxPositions: 512,
		QKVBias: true, OBias: true, MLPBias: true,
		Rope: Rope{Type: "llama3", Factor: 8, OriginalMaxPositions: 64, LowFreqFactor: 1, HighFreqFactor: 4}},
	"qwen2.gguf": {Arch: Qwen2, Layers: 1, Hidden: 32, FFN: 64, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 64, MaxPositions: 512, QKVBias: true,
		Rope: Rope{Type: "yarn", Factor: 4, OriginalMaxPositions: 128}},
	"qwen3.gguf": {Arch: Qwen3, Layers: 1, Hidden: 32, FFN: 64, Heads: 4, KVHeads: 2, HeadDim: 16, Vocab: 64, MaxPositions: 512, Tied: true,
		Rope: Rope{Type: "linear", Factor: 4}},
}

func TestModelsOfTheReferenceAreReadUnderAFoldersNamesAndInItsOrder(t *testing.T) {
	for name, want := range models {
		f := open(t, filepath.Join("testdata", name))
		c, err := f.Config()
		require.NoError(t, err)
		want.RMSEps, want.RopeTheta = float64(float32(1e-5)), 50000
		require.Equal(t, want, c, name)
		tensors := golden(t, name)
		var scratch []float32
		for _, p := range c.Parameters() {
			x := make([]float32, p.Len())
			require.NoError(t, f.Parameter(p, x, &scratch))
			got, err := json.Marshal([]any{p.Shape, digest(x)})
			require.NoError(t, err)
			require.JSONEq(t, string(tensors[p.Name]), string(got), "%s of %s", p.Name, name)
		}
		require.Len(t, c.Parameters(), len(tensors))
	}
}

// written is a model's file, written and read again, with changed metadata and tensors.
func written(t testing.TB, f *File, c Config, change func([]KV) []KV, tensors func([]OutTensor) []OutTensor) (*File, error) {
	shape, err := c.Metadata()
	require.NoError(t, err)
	tok, err := f.Tokenizer(c.Vocab)
	require.NoError(t, err)
	meta := append(append(c.General(F32, "x", f.About()), shape...), tok.Metadata()...)
	out := c.Extra()
	var scratch, order []float32
	for _, p := range c.Parameters() {
		out = append(out, OutTensor{Name: p.GGUF, Type: F32, Shape: p.Shape, Data: func() ([]float32, error) {
			x := make([]float32, p.Len())
			err := f.Parameter(p, x, &scratch)
			return p.FromFolder(x, &order), err
		}})
	}
	if change != nil {
		meta = change(meta)
	}
	if tensors != nil {
		out = tensors(out)
	}
	var b bytes.Buffer
	require.NoError(t, Write(&b, meta, out))
	return parseBytes(b.Bytes())
}

func TestWhatIsWrittenIsReadAgainBitForBit(t *testing.T) {
	for name := range models {
		f := open(t, filepath.Join("testdata", name))
		c, err := f.Config()
		require.NoError(t, err)
		g, err := written(t, f, c, nil, nil)
		require.NoError(t, err)
		d, err := g.Config()
		require.NoError(t, err)
		require.Equal(t, c, d)
		require.Equal(t, "Golden", g.Value("general.name"))
		require.Equal(t, "none", g.Value("general.license"))
		var scratch []float32
		for _, p := range c.Parameters() {
			x, y := make([]float32, p.Len()), make([]float32, p.Len())
			require.NoError(t, f.Parameter(p, x, &scratch))
			require.NoError(t, g.Parameter(p, y, &scratch))
			require.Equal(t, digest(x), digest(y), p.Name)
		}
	}
}

func TestModelsThatWouldComputeSomethingElseAreRefused(t *testing.T) {
	set := func(key string, v any) func([]KV) []KV {
		return func(meta []KV) []KV {
			meta = slices.DeleteFunc(meta, func(kv KV) bool { return kv.Key == key })
			if v == nil {
				return meta
			}
			return append(meta, KV{key, v})
		}
	}
	extra := func(name string, shape ...int) func([]OutTensor) []OutTensor {
		return func(list []OutTensor) []OutTensor {
			return append(list, OutTensor{Name: name, Type: F32, Shape: shape, Data: zeros(Tensor{Shape: shape}.Len())})
		}
	}
	without := func(name string) func([]OutTensor) []OutTensor {
		return func(list []OutTensor) []OutTensor {
			return slices.DeleteFunc(list, func(o OutTensor) bool { return o.Name == name })
		}
	}
	for _, c := range []struct {
		meta    func([]KV) []KV
		tensors func([]OutTensor) []OutTensor
		want    string
	}{
		{set("general.architecture", "gemma3"), nil, `general.architecture is "gemma3", which is not supported (known: llama, qwen2, qwen3)`},
		{set("general.type", "adapter"), nil, `general.type is "adapter"`},
		{set("split.count", uint16(3)), nil, "one of 3 parts of a model (split.count)"},
		{set("llama.expert_count", uint32(8)), nil, "llama.expert_count is 8, want 0, none: mixtures of experts"},
		{set("llama.attention.sliding_window", uint32(4096)), nil, "llama.attention.sliding_window is 4096, a key that is not supported"},
		{set("llama.block_count", nil), nil, "llama.block_count is missing"},
		{set("llama.block_count", "one"), nil, "llama.block_count is one (string), want one non-negative integer"},
		{set("llama.block_count", uint32(2)), nil, "blk.1.attn_norm.weight is missing, the metadata says [32]"},
		{set("llama.block_count", uint32(1<<31)), nil, "layers is 2147483648"},
		{set("llama.attention.head_count", []int32{4, 8}), nil, "llama.attention.head_count is [4 8]"},
		{set("llama.attention.value_length", uint32(16)), nil, "llama.attention.value_length is 16, want 8"},
		{set("llama.rope.dimension_count", uint32(4)), nil, "llama.rope.dimension_count is 4, want 8"},
		{set("llama.vocab_size", uint32(65)), nil, "llama.vocab_size is 65, want 64"},
		{set("llama.embedding_length", uint32(64)), nil, "token_embd.weight has shape [64 32], the metadata says [64 64]"},
		{set("llama.rope.scaling.type", "longrope"), nil, `llama.rope.scaling.type is "longrope"`},
		{set("llama.rope.scaling.attn_factor", float32(2)), nil, "llama.rope.scaling.attn_factor is 2"},
		{set("llama.attention.causal", false), nil, "only causal attention"},
		{set("llama.rope.freq_base", uint32(3)), nil, "llama.rope.freq_base is 3 (uint32), want a number"},
		{nil, extra("blk.0.ffn_gate_exps.weight", 2, 4), "blk.0.ffn_gate_exps.weight is of a mixture of experts"},
		{nil, extra("blk.0.attn_q_norm.weight", 8), "blk.0.attn_q_norm.weight [8] is no tensor of the architecture llama"},
		{nil, extra(ropeFreqs, 3), "rope_freqs.weight has shape [3], want [4]"},
		{nil, extra(ropeFreqs, 4), "rope_freqs.weight ends in 0"},
		{nil, without("blk.0.attn_v.weight"), "blk.0.attn_v.weight is missing"},
		{nil, without("token_embd.weight"), "token_embd.weight is missing"},
	} {
		f := open(t, "testdata/llama.gguf")
		config, err := f.Config()
		require.NoError(t, err)
		g, err := written(t, f, config, c.meta, c.tensors)
		require.NoError(t, err)
		_, err = g.Config()
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "gguf: x.gguf: ")
	}
}

func TestTheRopeOfLlama3IsFoundFromItsDivisors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Arch: Llama, HeadDim: 2 * rapid.IntRange(4, 64).Draw(t, "pairs")}
		c.RopeTheta = rapid.SampledFrom([]float64{1e4, 5e5, 1e6}).Draw(t, "theta")
		c.Rope = Rope{
			Type: "llama3", Factor: float64(float32(rapid.Float64Range(2, 40).Draw(t, "factor"))), LowFreqFactor: 1,
			HighFreqFactor:       rapid.SampledFrom([]float64{2, 4, 4, 4, 8}).Draw(t, "high"),
			OriginalMaxPositions: rapid.IntRange(512, 1<<17).Draw(t, "context"),
		}
		d := c.llama3Divisors()
		if c.Rope.HighFreqFactor != 4 && blended(d, c.Rope.Factor) < 2 || d[len(d)-1] != float32(c.Rope.Factor) {
			t.Skip("these divisors do not determine it")
		}
		if blended(d, c.Rope.Factor) == 0 {
			t.Skip("these divisors do not determine it")
		}
		found := false
		for _, r := range c.llama3Candidates(d, c.Rope.Factor) {
			try := c
			try.Rope = r
			found = found || near(try.llama3Divisors(), d)
		}
		require.True(t, found, "%+v: %v", c.Rope, d)
	})
}

func blended(d []float32, factor float64) (n int) {
	for _, x := range d {
		if x > 1 && float64(x) < factor {
			n++
		}
	}
	return n
}

func TestSizeLabelsAreThoseOfTheConverter(t *testing.T) {
	for n, want := range map[int]string{
		134515008: "135M", 494032768: "494M", 1543714304: "1.5B", 7615616512: "7.6B", 32763876352: "33B", 500: "0.50K", 3260000: "3.3M",
	} {
		require.Equal(t, want, sizeLabel(n))
	}
}

func TestHalfPrecisionIsRoundedToTheNearest(t *testing.T) {
	for h := range 1 << 16 { // every number of F16 is itself; between two neighbours the nearer wins, and the even one of a tie
		x := half([]byte{byte(h), byte(h >> 8)})
		if x != x {
			require.True(t, halfBits(x)&0x7fff > 0x7c00)
			continue
		}
		require.Equal(t, uint16(h), halfBits(x))
		next := half([]byte{byte(h + 1), byte((h + 1) >> 8)})
		if h&0x7fff >= 0x7bff {
			continue
		}
		mid := float32((float64(x) + float64(next)) / 2)
		require.Equal(t, uint16(h+h&1), halfBits(mid))
		require.Equal(t, uint16(h), halfBits(math.Nextafter32(mid, x)))
		require.Equal(t, uint16(h+1), halfBits(math.Nextafter32(mid, next)))
	}
}

func TestRopeScalingOfAFolderIsWhatTransformersReads(t *testing.T) {
	for name, want := range map[string]string{
		"llama.gguf": `null`,
		"llama-biases.gguf": `{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
			"original_max_position_embeddings": 64}`,
		"qwen2.gguf": `{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 128}`,
		"qwen3.gguf": `{"rope_type": "linear", "factor": 4}`,
	} {
		config, _ := filesOf(t, name)
		require.JSONEq(t, want, string(config["rope_scaling"]), name)
		require.Equal(t, "0.00001", strings.TrimSpace(string(config["rms_norm_eps"])))
		require.JSONEq(t, `"bfloat16"`, string(config["torch_dtype"]))
	}
}

// filesOf is config.json, and all files, of a fixture.
func filesOf(t testing.TB, name string) (map[string]json.RawMessage, map[string][]byte) {
	f := open(t, filepath.Join("testdata", name))
	c, err := f.Config()
	require.NoError(t, err)
	tok, err := f.Tokenizer(c.Vocab)
	require.NoError(t, err)
	files, err := tok.Files(c, "bfloat16")
	require.NoError(t, err)
	var config map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(files[configFile], &config))
	return config, files
}
