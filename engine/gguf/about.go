package gguf

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fileTypes are the numbers of general.file_type.
var fileTypes = map[TensorType]uint32{F32: 0, F16: 1, Q8_0: 7, BF16: 32}

// About is what a file says of the model's name, author, licence and the like.
func (f *File) About() []KV {
	var list []KV
	for _, kv := range f.Meta {
		computed := slices.Contains([]string{
			"general.architecture", "general.type", "general.file_type", "general.quantization_version", "general.alignment",
			"general.size_label",
		}, kv.Key)
		if strings.HasPrefix(kv.Key, "general.") && !strings.HasPrefix(kv.Key, "general.sampling.") && !computed {
			list = append(list, kv)
		}
	}
	return list
}

// General is the general part of the metadata of a file whose matrices are of a type. A name in about goes before name.
func (c Config) General(t TensorType, name string, about []KV) []KV {
	list := []KV{{"general.architecture", c.Arch}, {"general.type", "model"}}
	if !slices.ContainsFunc(about, func(kv KV) bool { return kv.Key == "general.name" }) {
		list = append(list, KV{"general.name", name})
	}
	list = append(list, about...)
	return append(list, KV{"general.size_label", sizeLabel(c.Elements())}, KV{"general.file_type", fileTypes[t]})
}

// Elements is the number of numbers in all parameters; a tied head counts once.
func (c Config) Elements() int {
	n := 0
	for _, p := range c.Parameters() {
		n += p.Len()
	}
	return n
}

// sizeLabel is a number of parameters as llama.cpp rounds it: two digits at least, 135M, 1.5B.
func sizeLabel(n int) string {
	x, unit := float64(n)*1e-3, "K"
	switch {
	case n > 1e12:
		x, unit = float64(n)*1e-12, "T"
	case n > 1e9:
		x, unit = float64(n)*1e-9, "B"
	case n > 1e6:
		x, unit = float64(n)*1e-6, "M"
	}
	whole := strings.TrimLeft(strconv.FormatFloat(math.RoundToEven(x), 'f', 0, 64), "0")
	return fmt.Sprintf("%.*f%s", max(0, 2-len(whole)), x, unit)
}

// String is the shape on one line.
func (c Config) String() string {
	s := fmt.Sprintf("%s, %d layers, hidden %d, heads %d/%d of %d, ffn %d, vocabulary %d, context %d",
		c.Arch, c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN, c.Vocab, c.MaxPositions)
	if c.Rope.Type != "" {
		s += fmt.Sprintf(", rope %s ×%g", c.Rope.Type, c.Rope.Factor)
	}
	if c.Tied {
		s += ", tied"
	}
	return s
}
