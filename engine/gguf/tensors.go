package gguf

import (
	"fmt"
	"slices"
	"strings"
)

// Parameter is one parameter of a model: what it is called in a Hugging Face folder and in a GGUF file.
type Parameter struct {
	Name  string // model.layers.0.self_attn.q_proj.weight
	GGUF  string // blk.0.attn_q.weight
	Shape []int  // rows first

	// heads is not 0 where a file has the rows in another order: those of each of so many heads, by pairs that are rotated together.
	heads int
}

// Len is the number of elements.
func (p Parameter) Len() int { return Tensor{Shape: p.Shape}.Len() }

// Vector reports whether it is a norm or a bias, which files keep in F32.
func (p Parameter) Vector() bool { return len(p.Shape) < 2 }

// Parameters are those of the shape, in the order of the forward pass. A tied head is not stored.
func (c Config) Parameters() []Parameter {
	var list []Parameter
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	permuted := func(heads int) int {
		if c.Arch == Llama { // its rotary embedding turns neighbours in llama.cpp, and halves of a head in transformers
			return heads
		}
		return 0
	}
	add := func(name, gguf string, heads int, shape ...int) {
		list = append(list, Parameter{Name: name, GGUF: gguf, Shape: shape, heads: heads})
	}
	add("model.embed_tokens.weight", "token_embd.weight", 0, c.Vocab, c.Hidden)
	for l := range c.Layers {
		layer, block := fmt.Sprintf("model.layers.%d.", l), fmt.Sprintf("blk.%d.", l)
		linear := func(name, gguf string, bias bool, heads, out, in int) {
			add(layer+name+".weight", block+gguf+".weight", heads, out, in)
			if bias {
				add(layer+name+".bias", block+gguf+".bias", heads, out)
			}
		}
		norm := func(name, gguf string, n int) { add(layer+name+".weight", block+gguf+".weight", 0, n) }
		norm("input_layernorm", "attn_norm", c.Hidden)
		linear("self_attn.q_proj", "attn_q", c.QKVBias, permuted(c.Heads), q, c.Hidden)
		linear("self_attn.k_proj", "attn_k", c.QKVBias, permuted(c.KVHeads), kv, c.Hidden)
		linear("self_attn.v_proj", "attn_v", c.QKVBias, 0, kv, c.Hidden)
		if c.Arch == Qwen3 {
			norm("self_attn.q_norm", "attn_q_norm", c.HeadDim)
			norm("self_attn.k_norm", "attn_k_norm", c.HeadDim)
		}
		linear("self_attn.o_proj", "attn_output", c.OBias, 0, c.Hidden, q)
		norm("post_attention_layernorm", "ffn_norm", c.Hidden)
		linear("mlp.gate_proj", "ffn_gate", c.MLPBias, 0, c.FFN, c.Hidden)
		linear("mlp.up_proj", "ffn_up", c.MLPBias, 0, c.FFN, c.Hidden)
		linear("mlp.down_proj", "ffn_down", c.MLPBias, 0, c.Hidden, c.FFN)
	}
	add("model.norm.weight", "output_norm.weight", 0, c.Hidden)
	if !c.Tied {
		add("lm_head.weight", "output.weight", 0, c.Vocab, c.Hidden)
	}
	return list
}

// checkTensors reports a tensor that the shape wants and the file has not, or the other way round.
func (f *File) checkTensors(c Config) error {
	known := map[string]bool{ropeFreqs: true}
	for _, p := range c.Parameters() {
		known[p.GGUF] = true
		t, ok := f.Tensor(p.GGUF)
		if !ok {
			return fmt.Errorf("%s is missing, the metadata says %v", p.GGUF, p.Shape)
		}
		if !slices.Equal(t.Shape, p.Shape) {
			return fmt.Errorf("%s has shape %v, the metadata says %v", p.GGUF, t.Shape, p.Shape)
		}
	}
	for _, t := range f.Tensors {
		switch {
		case known[t.Name]:
		case strings.Contains(t.Name, "_exps") || strings.Contains(t.Name, "ffn_gate_inp"):
			return fmt.Errorf("%s is of a mixture of experts, which is not supported", t.Name)
		default:
			return fmt.Errorf("%s %v is no tensor of the architecture %s", t.Name, t.Shape, c.Arch)
		}
	}
	return nil
}

// Parameter reads a parameter as a Hugging Face folder has it. scratch is grown as needed.
func (f *File) Parameter(p Parameter, dst []float32, scratch *[]float32) error {
	t, ok := f.Tensor(p.GGUF)
	if !ok {
		return fmt.Errorf("gguf: %s: %s is missing", f.path, p.GGUF)
	}
	if p.heads == 0 {
		return f.Float32s(t, dst)
	}
	if cap(*scratch) < len(dst) {
		*scratch = make([]float32, len(dst))
	}
	src := (*scratch)[:len(dst)]
	if err := f.Float32s(t, src); err != nil {
		return err
	}
	p.eachRow(func(folder, file, n int) { copy(dst[folder:][:n], src[file:][:n]) })
	return nil
}

// FromFolder brings the rows of a parameter as a folder has it into a file's order. Where the orders are the same, that is src itself;
// else scratch, grown as needed.
func (p Parameter) FromFolder(src []float32, scratch *[]float32) []float32 {
	if p.heads == 0 {
		return src
	}
	if cap(*scratch) < len(src) {
		*scratch = make([]float32, len(src))
	}
	dst := (*scratch)[:len(src)]
	p.eachRow(func(folder, file, n int) { copy(dst[file:][:n], src[folder:][:n]) })
	return dst
}

// eachRow says where each row of n elements begins in a folder and in a file. Of a head's D rows, a folder's rows i and D/2+i, which the
// rotary embedding turns together, are a file's rows 2i and 2i+1.
func (p Parameter) eachRow(move func(folder, file, n int)) {
	rows := p.Shape[0]
	n, d := p.Len()/rows, rows/p.heads
	for h := range p.heads {
		for i := range d / 2 {
			for j := range 2 {
				move((h*d+j*d/2+i)*n, (h*d+2*i+j)*n, n)
			}
		}
	}
}

// Extra are tensors of a file beside the parameters: the divisors of a llama3 rope.
func (c Config) Extra() []OutTensor {
	if c.Rope.Type != "llama3" {
		return nil
	}
	data := func() ([]float32, error) { return c.llama3Divisors(), nil }
	return []OutTensor{{Name: ropeFreqs, Type: F32, Shape: []int{c.HeadDim / 2}, Data: data}}
}
