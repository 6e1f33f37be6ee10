package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// golden is a part of testdata/golden.json, which the reference library wrote: see make_golden.py.
func golden(t *testing.T, file string) map[string]json.RawMessage {
	data, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var all map[string]map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &all))
	require.NotEmpty(t, all[file])
	return all[file]
}

func open(t testing.TB, path string) *File {
	f, err := Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func digest(x []float32) string {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestEveryTypeIsDequantisedAsTheReferenceDoes(t *testing.T) {
	f := open(t, "testdata/types.gguf")
	want := golden(t, "types.gguf")
	require.Len(t, want, len(layouts), "a type without a fixture")
	for _, tensor := range f.Tensors {
		x := make([]float32, tensor.Len())
		require.NoError(t, f.Float32s(tensor, x))
		require.JSONEq(t, string(want[tensor.Name]), `"`+digest(x)+`"`, tensor.Name)
		require.Equal(t, tensor.Name, tensor.Type.String())
	}
	require.Len(t, f.Tensors, len(want))
}

func TestEveryMetadataTypeIsRead(t *testing.T) {
	f := open(t, "testdata/types.gguf")
	for name, want := range map[string][2]any{
		"u8": {uint8(200), []uint8{200, 200}}, "i8": {int8(-100), []int8{-100, -100}}, "u16": {uint16(60000), []uint16{60000, 60000}},
		"i16": {int16(-30000), []int16{-30000, -30000}}, "u32": {uint32(4e9), []uint32{4e9, 4e9}}, "i32": {int32(-2e9), []int32{-2e9, -2e9}},
		"f32": {float32(0.15625), []float32{0.15625, 0.15625}}, "bool": {true, []bool{true, true}},
		"string": {"naïve 模型", []string{"naïve 模型", "naïve 模型"}}, "u64": {uint64(1<<63 + 1), []uint64{1<<63 + 1, 1<<63 + 1}},
		"i64": {int64(-1 << 62), []int64{-1 << 62, -1 << 62}}, "f64": {0.1, []float64{0.1, 0.1}},
	} {
		require.Equal(t, want[0], f.Value("one."+name), name)
		require.Equal(t, want[1], f.Value("list."+name), name)
	}
	var again bytes.Buffer
	meta := append(f.Meta, KV{"nested", []any{[]int8{1}, []string{"a", ""}, []any{[]bool{}}}})
	require.NoError(t, Write(&again, meta, nil))
	g, err := parse(bytes.NewReader(again.Bytes()), int64(again.Len()), "again")
	require.NoError(t, err)
	require.Equal(t, meta, g.Meta, "written and read again")
}

func TestNumbersAreRoundedAsTheReferenceDoes(t *testing.T) {
	f := open(t, "testdata/rounding.gguf")
	data, err := os.ReadFile("testdata/rounding.gguf")
	require.NoError(t, err)
	src, ok := f.Tensor("F32")
	require.True(t, ok)
	x := make([]float32, src.Len())
	require.NoError(t, f.Float32s(src, x))
	for _, tensor := range f.Tensors {
		got, err := encode(nil, tensor.Type, x)
		require.NoError(t, err)
		require.Equal(t, data[tensor.at:][:tensor.Size()], got, tensor.Name)
	}
	require.Len(t, f.Tensors, 4)
}

func TestWhatATypeCannotHoldIsRefused(t *testing.T) {
	block := func(v float32) []float32 { return append(make([]float32, 31), v) }
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, c := range []struct {
		t    TensorType
		x    float32
		want string
	}{
		{F16, 65520, "65520 is beyond F16"}, {F16, -1e9, "beyond F16"}, {Q8_0, 1e7, "1e+07 is beyond Q8_0"}, {Q8_0, nan, "NaN cannot"},
		{Q8_0, inf, "+Inf cannot"}, {F16, inf, ""}, {F16, nan, ""}, {BF16, nan, ""}, {BF16, 3.4e38, ""},
	} {
		b, err := encode(nil, c.t, block(c.x))
		if c.want != "" {
			require.ErrorContains(t, err, c.want)
			continue
		}
		require.NoError(t, err)
		var v [1]float32
		layouts[c.t].decode(v[:], b[len(b)-2:])
		require.Equal(t, math.IsNaN(float64(c.x)), math.IsNaN(float64(v[0])), "%v", c)
	}
}

// file is a file of two keys and two tensors of 8 F32 each.
func file(t testing.TB) []byte {
	var b bytes.Buffer
	one := OutTensor{Name: "a", Type: F32, Shape: []int{2, 4}, Data: func() ([]float32, error) { return make([]float32, 8), nil }}
	two := one
	two.Name = "b"
	require.NoError(t, Write(&b, []KV{{"key", "value"}, {"general.alignment", uint32(32)}}, []OutTensor{one, two}))
	return b.Bytes()
}

func parseBytes(b []byte) (*File, error) { return parse(bytes.NewReader(b), int64(len(b)), "x.gguf") }

func TestEveryTruncationIsAnErrorAndNamesTheFile(t *testing.T) {
	for _, name := range []string{"llama.gguf", "types.gguf"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		last := open(t, filepath.Join("testdata", name))
		end := int(last.Tensors[len(last.Tensors)-1].at) + last.Tensors[len(last.Tensors)-1].Size()
		for n := 0; n < end; n += 1 + n/200 {
			_, err := parseBytes(whole[:n])
			require.ErrorContains(t, err, "x.gguf: ", "%s cut to %d bytes", name, n)
		}
	}
}

func TestHostileHeadsAreRefused(t *testing.T) {
	at := func(n int, v uint64, size int) func([]byte) {
		return func(b []byte) { copy(b[n:], binary.LittleEndian.AppendUint64(nil, v)[:size]) }
	}
	find := func(s string, skip int, v uint64, size int) func([]byte) {
		return func(b []byte) { at(bytes.Index(b, []byte(s))+skip, v, size)(b) }
	}
	// after a tensor's name: dimensions, two sizes, type, offset
	const dims, size0, size1, kind, offset = 1, 5, 13, 21, 25
	tensor := func(name string, skip int, v uint64, size int) func([]byte) {
		return find("\x01\x00\x00\x00\x00\x00\x00\x00"+name+"\x02", 8+skip, v, size)
	}
	for _, c := range []struct {
		change func([]byte)
		want   string
	}{
		{at(0, 0x20202020, 4), `begins with "    "`},
		{at(4, 1, 4), "version is 1: only 2 and 3"},
		{at(4, 3<<24, 4), "big-endian"},
		{at(8, 1<<60, 8), "said to hold 1152921504606846976 tensors"},
		{at(16, 1<<60, 8), "said to hold 1152921504606846976 keys"},
		{at(24, 1<<40, 8), "key 0: takes 1099511627776 bytes"},
		{find("key", 3, 99, 4), "key: value type is 99"},
		{find("key", 7, 1<<50, 8), "key: takes 1125899906842624 bytes"},
		{find("general.alignment", 21, 3, 4), "general.alignment is 3 (uint32), must be"},
		{find("general.alignment", 17, typeInt32, 4), "(int32), must be"},
		{tensor("a", dims, 5, 4), "tensor 0: a has 5 dimensions"},
		{tensor("a", size0, 0, 8), "tensor 0: a has a dimension of 0"},
		{tensor("a", size0, 1<<62, 8), "tensor 0: a has a dimension of 4611686018427387904"},
		{tensor("a", size1, 1<<61, 8), "a has a dimension of 2305843009213693952 after 4"},
		{tensor("a", size1, 3, 8), "tensor b begins at 32 of the data, inside a"},
		{tensor("a", kind, 16, 4), "a is of IQ2_XXS, which is not read (known: BF16"},
		{tensor("a", kind, 4, 4), "a is of type 4, which is not read"},
		{tensor("a", kind, uint64(Q8_0), 4), "a: rows of 4 elements are no whole blocks of Q8_0"},
		{tensor("b", offset, 33, 8), "tensor b begins at 33 of the data, must be a multiple of 32"},
		{tensor("b", offset, 0, 8), "inside"},
		{tensor("b", offset, 1<<62, 8), "it is truncated"},
		{tensor("b", 0, 'a', 1), "tensor a: stands there twice"},
		{tensor("b", 0, 0xff, 1), "tensor 1: is called"},
	} {
		b := file(t)
		c.change(b)
		_, err := parseBytes(b)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "gguf: x.gguf: ")
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestVersion2IsReadToo(t *testing.T) {
	b := file(t)
	b[4] = 2
	f, err := parseBytes(b)
	require.NoError(t, err)
	require.Equal(t, 2, f.Version)
	require.Len(t, f.Tensors, 2)
}

func TestNestedListsHaveADepth(t *testing.T) {
	deep := any([]int8{1})
	for range 5 {
		deep = []any{deep}
	}
	var b bytes.Buffer
	require.NoError(t, Write(&b, []KV{{"deep", deep}}, nil))
	_, err := parseBytes(b.Bytes())
	require.ErrorContains(t, err, "deep: lists within lists")
}

func TestWriteRefusesWhatNobodyCouldRead(t *testing.T) {
	good := OutTensor{Name: "a", Type: F32, Shape: []int{2}, Data: func() ([]float32, error) { return make([]float32, 2), nil }}
	with := func(change func(*OutTensor)) []OutTensor {
		bad := good
		change(&bad)
		return []OutTensor{bad}
	}
	for want, c := range map[string]struct {
		meta    []KV
		tensors []OutTensor
	}{
		`"" is no key`:              {[]KV{{"", 1}}, nil},
		`"k" is no key`:             {[]KV{{"k", "a"}, {"k", "b"}}, nil},
		"int is no value":           {[]KV{{"k", 1}}, nil},
		`"a" is no name`:            {nil, []OutTensor{good, good}},
		"a cannot be Q8_0 of [2]":   {nil, with(func(o *OutTensor) { o.Type = Q8_0 })},
		"a cannot be type 99":       {nil, with(func(o *OutTensor) { o.Type = 99 })},
		"a cannot be F32 of [0]":    {nil, with(func(o *OutTensor) { o.Shape = []int{0} })},
		"a: 2 elements for [3]":     {nil, with(func(o *OutTensor) { o.Shape = []int{3} })},
		"Q4_0 is not written":       {nil, with(func(o *OutTensor) { o.Type, o.Shape, o.Data = Q4_0, []int{32}, zeros(32) })},
		"a cannot be F32 of [1 1 1": {nil, with(func(o *OutTensor) { o.Shape = []int{1, 1, 1, 1, 2} })},
	} {
		var b strings.Builder
		require.ErrorContains(t, Write(&b, c.meta, c.tensors), want)
	}
}

func zeros(n int) func() ([]float32, error) {
	return func() ([]float32, error) { return make([]float32, n), nil }
}

// FuzzOpen asks of any bytes that they are a file or an error in one line, and that what a file holds can be read.
func FuzzOpen(f *testing.F) {
	f.Add(file(f))
	for _, name := range []string{"types.gguf", "llama.gguf", "qwen3.gguf"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseBytes(b)
		if err != nil {
			return
		}
		for _, tensor := range g.Tensors {
			require.NoError(t, g.Float32s(tensor, make([]float32, tensor.Len())))
		}
		c, err := g.Config()
		if err != nil {
			return
		}
		tok, err := g.Tokenizer(c.Vocab)
		if err != nil {
			return
		}
		files, err := tok.Files(c, "float32")
		require.NoError(t, err)
		if !json.Valid(files[tokenizerFile]) {
			t.Fatal("tokenizer.json is no JSON")
		}
	})
}
