package model

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxHeader is the longest header that is read, in bytes.
const maxHeader = 100_000_000

// widths is the size in bytes of an element of each type that a file may hold.
var widths = map[string]int{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}

// Safetensors is an open file, mapped into memory. Its tensors are views of the mapping: they are good until Close, and must not be
// written to. The file must not be truncated while it is open.
type Safetensors struct {
	path  string
	data  []byte // the whole file
	unmap func() error
	names []string // in the order of the data
	of    map[string]StoredTensor
	meta  map[string]string // strings of the header; "format" says for whom the file was written
}

// StoredTensor is one tensor of a file, as it is stored.
type StoredTensor struct {
	Name  string
	DType string // "F32", "BF16", …
	Shape []int  // empty: a scalar
	Bytes []byte // little-endian, row-major; read only
}

// OpenSafetensors maps a file and checks all of its header: sizes, types, and that the tensors fill the data without a hole or an
// overlap. An error names the file, the tensor and both numbers.
func OpenSafetensors(path string) (*Safetensors, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err) // which names the file
	}
	f := &Safetensors{path: path, data: data, unmap: unmap}
	if err := f.parse(); err != nil {
		unmap()
		return nil, fmt.Errorf("model: %s: %w", path, err)
	}
	return f, nil
}

// Close unmaps the file.
func (f *Safetensors) Close() error {
	if f.unmap == nil {
		return nil
	}
	err := f.unmap()
	f.unmap, f.data, f.of = nil, nil, nil
	return err
}

// Tensor is the tensor of that name; false if there is none.
func (f *Safetensors) Tensor(name string) (StoredTensor, bool) {
	t, ok := f.of[name]
	return t, ok
}

func (f *Safetensors) parse() error {
	if len(f.data) < 8 {
		return fmt.Errorf("a file of %d bytes, a header's length alone takes 8", len(f.data))
	}
	n := binary.LittleEndian.Uint64(f.data)
	switch {
	case n > maxHeader:
		return fmt.Errorf("the header is said to be %d bytes long, more than %d", n, maxHeader)
	case n > uint64(len(f.data)-8):
		return fmt.Errorf("the header is said to be %d bytes long, %d follow", n, len(f.data)-8)
	}
	header, data := f.data[8:8+n], f.data[8+n:]
	if !utf8.Valid(header) {
		return errors.New("the header is not UTF-8")
	}
	entries, meta, err := parseHeader(header)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	f.meta, f.of = meta, make(map[string]StoredTensor, len(entries))

	// By offset; a tensor without elements before the one that begins where it does.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	at, last := uint64(0), ""
	for _, e := range entries {
		size, err := e.size()
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		switch {
		case e.to < e.from:
			return fmt.Errorf("%s: begins at %d and ends at %d", e.name, e.from, e.to)
		case e.to > uint64(len(data)):
			return fmt.Errorf("%s: ends at %d, the data has %d bytes", e.name, e.to, len(data))
		case e.to-e.from != size:
			return fmt.Errorf("%s: %s%v takes %d bytes, offsets %d to %d hold %d", e.name, e.dtype, e.shape, size, e.from, e.to, e.to-e.from)
		case e.from < at:
			return fmt.Errorf("%s: begins at %d, inside %s, which ends at %d", e.name, e.from, last, at)
		case e.from > at:
			return fmt.Errorf("%s: begins at %d, the data before it ends at %d: a hole", e.name, e.from, at)
		}
		at, last = e.to, e.name
		f.of[e.name] = StoredTensor{Name: e.name, DType: e.dtype, Shape: e.shape, Bytes: data[e.from:e.to:e.to]}
		f.names = append(f.names, e.name)
	}
	if at != uint64(len(data)) {
		return fmt.Errorf("the last tensor ends at %d, the data at %d", at, len(data))
	}
	return nil
}

// entry is one tensor of a header, not yet checked against the data.
type entry struct {
	name, dtype string
	shape       []int
	from, to    uint64
}

// size is the number of bytes that type and shape take.
func (e entry) size() (uint64, error) {
	w, ok := widths[e.dtype]
	if !ok {
		return 0, fmt.Errorf("unknown type %q", e.dtype)
	}
	n := uint64(w)
	for _, d := range e.shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			// A later 0 would make the product 0, but then the sizes before it are nonsense too.
			return 0, fmt.Errorf("the size of %s%v overflows", e.dtype, e.shape)
		}
		n = lo
	}
	return n, nil
}

// parseHeader reads the JSON by its tokens, because encoding/json would accept repeated and misspelt keys.
func parseHeader(header []byte) (entries []entry, meta map[string]string, err error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, nil, errors.New("does not begin with {")
	}
	d := json.NewDecoder(bytes.NewReader(header))
	d.UseNumber()
	seen := map[string]bool{}
	err = object(d, func(name string) error {
		if seen[name] {
			return fmt.Errorf("%s: stands there twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			meta = map[string]string{}
			return object(d, func(key string) error {
				v, err := d.Token()
				if err != nil {
					return err
				}
				s, ok := v.(string)
				if _, twice := meta[key]; !ok || twice {
					return fmt.Errorf("__metadata__: %q must be one string", key)
				}
				meta[key] = s
				return nil
			})
		}
		e, err := parseEntry(d, name)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if rest := bytes.TrimRight(header[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, nil, fmt.Errorf("%d bytes follow its end", len(rest))
	}
	return entries, meta, nil
}

func parseEntry(d *json.Decoder, name string) (entry, error) {
	e := entry{name: name}
	seen := map[string]bool{}
	err := object(d, func(key string) error {
		if seen[key] {
			return fmt.Errorf("%s: %s stands there twice", name, key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			v, err := d.Token()
			if err != nil {
				return err
			}
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("%s: dtype is %v, must be a string", name, v)
			}
			e.dtype = s
			return nil
		case "shape":
			sizes, err := numbers(d, name, key)
			e.shape = make([]int, len(sizes))
			for i, n := range sizes {
				if n > math.MaxInt32*1024 {
					return fmt.Errorf("%s: dimension %d is %d, more than any file holds", name, i, n)
				}
				e.shape[i] = int(n)
			}
			return err
		case "data_offsets":
			offsets, err := numbers(d, name, key)
			if err != nil {
				return err
			}
			if len(offsets) != 2 {
				return fmt.Errorf("%s: %d data_offsets, must be 2", name, len(offsets))
			}
			e.from, e.to = offsets[0], offsets[1]
			return nil
		}
		return fmt.Errorf("%s: unknown key %q (known: dtype, shape, data_offsets)", name, key)
	})
	if err != nil {
		return e, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return e, fmt.Errorf("%s: has no %s", name, key)
		}
	}
	return e, nil
}

// object reads an object; f reads the value of each key.
func object(d *json.Decoder, f func(key string) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return cmp.Or(err, fmt.Errorf("%v where { must be", t))
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if err := f(t.(string)); err != nil { // the decoder lets nothing but strings be keys
			return err
		}
	}
	_, err := d.Token()
	return err
}

// numbers reads a list of non-negative integers.
func numbers(d *json.Decoder, name, key string) ([]uint64, error) {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, cmp.Or(err, fmt.Errorf("%s: %s is %v, must be a list", name, key, t))
	}
	var list []uint64
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, ok := t.(json.Number)
		n, err := strconv.ParseUint(string(text), 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %s holds %v, must hold integers from 0", name, key, t)
		}
		list = append(list, n)
	}
	_, err := d.Token()
	return list, err
}

// Len is the number of elements.
func (t StoredTensor) Len() int { return len(t.Bytes) / widths[t.DType] }

// Float32s fills dst, of as many elements, from F32, BF16, F16 (both exactly) or F64 (rounded).
func (t StoredTensor) Float32s(dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("model: %s has %d elements, the destination %d", t.Name, t.Len(), len(dst))
	}
	switch t.DType {
	case "F32":
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Bytes[4*i:]))
		}
	case "BF16":
		for i := range dst {
			dst[i] = bf16Value(binary.LittleEndian.Uint16(t.Bytes[2*i:]))
		}
	case "F16":
		for i := range dst {
			dst[i] = fromFloat16(binary.LittleEndian.Uint16(t.Bytes[2*i:]))
		}
	case "F64":
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Bytes[8*i:])))
		}
	default:
		return fmt.Errorf("model: %s is %s: only F32, BF16, F16 and F64 are read as numbers", t.Name, t.DType)
	}
	return nil
}

// fromFloat16 is the number that the bits of IEEE binary16 mean; every one has a float32.
func fromFloat16(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch exp {
	case 0: // zero or subnormal: frac · 2^−24
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*(1.0/(1<<24))))
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// bf16Value is the number that the bits of bf16 mean.
func bf16Value(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// NamedTensor is a tensor to be written.
type NamedTensor struct {
	Name  string
	Shape []int // empty: a scalar
	F16   bool  // []uint16 are the bits of F16

	// Data is []float32, []float64, []uint16 (the bits of BF16), []int32, []int64, []uint64 or []byte (U8); or a
	// func() ([]float32, error), called when its turn comes, whose result is written before the next call.
	Data any
}

// dtype is how Data is stored.
func (t NamedTensor) dtype() (string, error) {
	switch t.Data.(type) {
	case []float32, func() ([]float32, error):
		return "F32", nil
	case []float64:
		return "F64", nil
	case []uint16, func() ([]uint16, error):
		if t.F16 {
			return "F16", nil
		}
		return "BF16", nil
	case []int32:
		return "I32", nil
	case []int64:
		return "I64", nil
	case []uint64:
		return "U64", nil
	case []byte:
		return "U8", nil
	}
	return "", fmt.Errorf("%s: %T cannot be stored", t.Name, t.Data)
}

// WriteSafetensors writes a file whole or not at all: under a temporary name in the same folder, synced, renamed, the folder synced.
// "format": "pt" joins the metadata, as Hugging Face's tools want it. Every failure, a full disk among them, is an error, and
// leaves what was at path before.
func WriteSafetensors(path string, tensors []NamedTensor, metadata map[string]string) error {
	err := WriteAtomic(path, func(w io.Writer) error { return encodeSafetensors(w, tensors, metadata) })
	if err != nil {
		return fmt.Errorf("model: write %s: %w", path, err)
	}
	return nil
}

// encodeSafetensors writes the tensors by descending width, then name, so that each is aligned to its width.
func encodeSafetensors(w io.Writer, tensors []NamedTensor, metadata map[string]string) error {
	meta := map[string]string{"format": "pt"}
	for k, v := range metadata {
		meta[k] = v
	}
	entries := make([]entry, len(tensors))
	data := make(map[string]any, len(tensors))
	for i, t := range tensors {
		dtype, err := t.dtype()
		if err != nil {
			return err
		}
		if _, twice := data[t.Name]; twice || t.Name == "__metadata__" || !utf8.ValidString(t.Name) {
			return fmt.Errorf("%q cannot be the name of a tensor, or of two", t.Name)
		}
		for _, d := range t.Shape {
			if d < 0 {
				return fmt.Errorf("%s: shape %v", t.Name, t.Shape)
			}
		}
		data[t.Name], entries[i] = t.Data, entry{name: t.Name, dtype: dtype, shape: t.Shape}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(widths[b.dtype], widths[a.dtype]), strings.Compare(a.name, b.name))
	})

	var header bytes.Buffer
	m, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	fmt.Fprintf(&header, `{"__metadata__":%s`, m)
	at := uint64(0)
	for i := range entries {
		e := &entries[i]
		size, err := e.size()
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		e.from, e.to, at = at, at+size, at+size
		name, err := json.Marshal(e.name)
		if err != nil {
			return err
		}
		shape, err := json.Marshal(append([]int{}, e.shape...))
		if err != nil {
			return err
		}
		fmt.Fprintf(&header, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, name, e.dtype, shape, e.from, e.to)
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("a header of %d bytes, more than the %d that readers accept", header.Len(), maxHeader)
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(header.Len())); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	for _, e := range entries {
		d := data[e.name]
		switch f := d.(type) {
		case func() ([]float32, error):
			d, err = f()
		case func() ([]uint16, error):
			d, err = f()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if n := binary.Size(d); n < 0 || uint64(n) != e.to-e.from {
			return fmt.Errorf("%s: %d bytes of data for %s%v, which takes %d", e.name, n, e.dtype, e.shape, e.to-e.from)
		}
		if err := writeLittleEndian(w, d); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// writeLittleEndian writes a slice of numbers, some at a time: binary.Write would copy all of a large one.
func writeLittleEndian(w io.Writer, data any) error {
	switch d := data.(type) {
	case []float32:
		return writeChunks(w, d)
	case []float64:
		return writeChunks(w, d)
	case []uint16:
		return writeChunks(w, d)
	case []int32:
		return writeChunks(w, d)
	case []int64:
		return writeChunks(w, d)
	case []uint64:
		return writeChunks(w, d)
	case []byte:
		_, err := w.Write(d)
		return err
	}
	return fmt.Errorf("%T cannot be stored", data)
}

func writeChunks[T any](w io.Writer, x []T) error {
	var buf []byte
	for part := range slices.Chunk(x, 1<<16) {
		var err error
		if buf, err = binary.Append(buf[:0], binary.LittleEndian, part); err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// WriteAtomic writes a file whole or not at all: to a temporary name in its folder, synced, renamed over path, the folder synced. If
// anything fails, what was at path stays and the temporary file is removed.
func WriteAtomic(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, fmt.Sprintf(".%s.%d.tmp", filepath.Base(path), os.Getpid()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes a rename in dir survive a crash.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
