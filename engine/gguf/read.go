package gguf

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"
	"unicode/utf8"
)

// File is an open file. Only its metadata is in memory; tensors are read when they are asked for.
type File struct {
	Version int
	Meta    []KV     // in the file's order
	Tensors []Tensor // in the file's order

	path   string
	r      io.ReaderAt
	closer io.Closer
	keys   map[string]any
	index  map[string]int // into Tensors
}

// Open reads the head of a file and checks all of it against the file's length: counts, types, that every tensor lies within the file and
// none within another. An error names the file and the key or the tensor.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("gguf: %w", err)
	}
	out, err := parse(f, info.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	out.closer = f
	return out, nil
}

// Close closes the file.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Value is the metadata of a key, nil where there is none.
func (f *File) Value(key string) any { return f.keys[key] }

// Tensor is the tensor of that name; false if there is none.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// Float32s reads a tensor into dst, of as many elements, dequantised.
func (f *File) Float32s(t Tensor, dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("gguf: %s has %d elements, the destination %d", t.Name, t.Len(), len(dst))
	}
	l := layouts[t.Type]
	const blocks = 1 << 14 // at a time
	buf := make([]byte, min(blocks, len(dst)/l.elements)*l.bytes)
	for at := t.at; len(dst) > 0; {
		n := min(blocks, len(dst)/l.elements)
		part := buf[:n*l.bytes]
		if _, err := f.r.ReadAt(part, at); err != nil && !(err == io.EOF && n*l.bytes == len(part)) {
			return fmt.Errorf("gguf: %s: read %s: %w", f.path, t.Name, err)
		}
		for i := range n {
			l.decode(dst[i*l.elements:][:l.elements], part[i*l.bytes:][:l.bytes])
		}
		dst, at = dst[n*l.elements:], at+int64(len(part))
	}
	return nil
}

// parse reads the head of a file of size bytes.
func parse(r io.ReaderAt, size int64, path string) (*File, error) {
	f := &File{path: path, r: r, keys: map[string]any{}, index: map[string]int{}}
	d := &decoder{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), left: uint64(size)}
	if err := f.parse(d, uint64(size)); err != nil {
		return nil, fmt.Errorf("gguf: %s: %w", path, err)
	}
	return f, nil
}

func (f *File) parse(d *decoder, size uint64) error {
	if size < 24 {
		return fmt.Errorf("a file of %d bytes: the head of a GGUF file alone takes 24", size)
	}
	m, version := d.uint32(), d.uint32()
	switch {
	case m != magic:
		return fmt.Errorf("begins with %q, a GGUF file begins with \"GGUF\"", binary.LittleEndian.AppendUint32(nil, m))
	case version<<16 != 0 && version>>16 == 0:
	default:
		return fmt.Errorf("version %d is of a file in big-endian: only little-endian is read", bits.ReverseBytes32(version))
	}
	if version != 2 && version != 3 {
		return fmt.Errorf("version is %d: only 2 and 3 are read", version)
	}
	f.Version = int(version)
	tensors, pairs := d.uint64(), d.uint64()
	if pairs > d.left/13 {
		return fmt.Errorf("said to hold %d keys, %d bytes follow", pairs, d.left)
	}
	for range pairs {
		if err := f.readPair(d); err != nil {
			return err
		}
	}
	if tensors > d.left/24 {
		return fmt.Errorf("said to hold %d tensors, %d bytes follow", tensors, d.left)
	}
	offsets := make([]uint64, 0, tensors)
	for i := range tensors {
		t, offset, err := readTensor(d)
		if err != nil {
			return fmt.Errorf("tensor %d: %w", i, err)
		}
		if _, twice := f.index[t.Name]; twice {
			return fmt.Errorf("tensor %s: stands there twice", t.Name)
		}
		f.index[t.Name] = len(f.Tensors)
		f.Tensors, offsets = append(f.Tensors, t), append(offsets, offset)
	}
	return f.place(offsets, size-d.left, size)
}

func (f *File) readPair(d *decoder) error {
	key := d.text()
	if d.err == nil && (key == "" || !utf8.ValidString(key)) {
		return fmt.Errorf("key %d is %.80q: want a name", len(f.Meta), key)
	}
	kind := d.uint32()
	v := d.value(kind, 0)
	if d.err != nil {
		if key == "" {
			return fmt.Errorf("key %d: %w", len(f.Meta), d.err)
		}
		return fmt.Errorf("%s: %w", key, d.err)
	}
	if _, twice := f.keys[key]; twice {
		return fmt.Errorf("%s: stands there twice", key)
	}
	f.keys[key] = v
	f.Meta = append(f.Meta, KV{key, v})
	return nil
}

// readTensor reads a tensor's name, shape and type, and where in the data it begins.
func readTensor(d *decoder) (t Tensor, offset uint64, err error) {
	t.Name = d.text()
	dims := d.uint32()
	switch {
	case d.err != nil:
		return t, 0, d.err
	case t.Name == "" || !utf8.ValidString(t.Name):
		return t, 0, fmt.Errorf("is called %.80q: want a name", t.Name)
	case dims > 4:
		return t, 0, fmt.Errorf("%s has %d dimensions, at most 4 are known", t.Name, dims)
	}
	n := uint64(1)
	for range dims {
		size := d.uint64()
		hi, lo := bits.Mul64(n, size)
		if d.err == nil && (size == 0 || size > math.MaxInt64 || hi != 0 || lo > math.MaxInt64/4) {
			return t, 0, fmt.Errorf("%s has a dimension of %d after %d elements", t.Name, size, n)
		}
		n = lo
		t.Shape = append(t.Shape, int(size))
	}
	slices.Reverse(t.Shape)
	t.Type = TensorType(d.uint32())
	offset = d.uint64()
	if d.err != nil {
		return t, 0, fmt.Errorf("%s: %w", t.Name, d.err)
	}
	l, ok := layouts[t.Type]
	switch {
	case !ok:
		return t, 0, fmt.Errorf("%s is of %v, which is not read (known: %s)", t.Name, t.Type, knownTypes())
	case t.row()%l.elements != 0:
		return t, 0, fmt.Errorf("%s: rows of %d elements are no whole blocks of %s, which has %d", t.Name, t.row(), l.name, l.elements)
	}
	return t, offset, nil
}

// place checks where tensors lie. The data begins at the first aligned byte after the head.
func (f *File) place(offsets []uint64, head, size uint64) error {
	alignment := uint64(defaultAlignment)
	if v, ok := f.keys["general.alignment"]; ok {
		n, ok := v.(uint32)
		if !ok || n == 0 || n&(n-1) != 0 {
			return fmt.Errorf("general.alignment is %v (%T), must be a uint32 and a power of 2", v, v)
		}
		alignment = uint64(n)
	}
	data := (head + alignment - 1) / alignment * alignment
	order := make([]int, len(offsets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(offsets[a], offsets[b]) })
	end, last := uint64(0), ""
	for _, i := range order {
		t, from := &f.Tensors[i], offsets[i]
		bytes := uint64(t.Size())
		switch {
		case from%alignment != 0:
			return fmt.Errorf("tensor %s begins at %d of the data, must be a multiple of %d", t.Name, from, alignment)
		case from < end:
			return fmt.Errorf("tensor %s begins at %d of the data, inside %s, which ends at %d", t.Name, from, last, end)
		case data > size || from > size-data || bytes > size-data-from:
			return fmt.Errorf("tensor %s takes %d bytes from %d of the data, of which the file has %d: it is truncated",
				t.Name, bytes, from, size-min(data, size))
		}
		end, last = from+bytes, t.Name
		t.at = int64(data + from)
	}
	return nil
}

// decoder reads little-endian numbers and keeps the first error. left is how many bytes follow: nothing longer is allocated for.
type decoder struct {
	r    *bufio.Reader
	left uint64
	err  error
}

var errTruncated = errors.New("the file ends within it")

// bytes reads n bytes.
func (d *decoder) bytes(n uint64) []byte {
	if d.err == nil && n > d.left {
		d.err = fmt.Errorf("takes %d bytes, %d follow: %w", n, d.left, errTruncated)
	}
	if d.err != nil {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.err = err
		return nil
	}
	d.left -= n
	return b
}

// number reads up to 8 bytes.
func (d *decoder) number(n uint64) uint64 {
	var v [8]byte
	if d.err == nil && n > d.left {
		d.err = errTruncated
	}
	if d.err == nil {
		if _, d.err = io.ReadFull(d.r, v[:n]); d.err == nil {
			d.left -= n
		}
	}
	if d.err != nil {
		return 0
	}
	return binary.LittleEndian.Uint64(v[:])
}

func (d *decoder) uint32() uint32 { return uint32(d.number(4)) }
func (d *decoder) uint64() uint64 { return d.number(8) }
func (d *decoder) text() string   { return string(d.bytes(d.uint64())) }

func (d *decoder) bool() bool {
	v := d.number(1)
	if v > 1 && d.err == nil {
		d.err = fmt.Errorf("a bool is %d, must be 0 or 1", v)
	}
	return v == 1
}

// value reads a value of a type.
func (d *decoder) value(kind uint32, depth int) any {
	switch kind {
	case typeUint8:
		return uint8(d.number(1))
	case typeInt8:
		return int8(d.number(1))
	case typeUint16:
		return uint16(d.number(2))
	case typeInt16:
		return int16(d.number(2))
	case typeUint32:
		return d.uint32()
	case typeInt32:
		return int32(d.uint32())
	case typeFloat32:
		return math.Float32frombits(d.uint32())
	case typeBool:
		return d.bool()
	case typeString:
		return d.text()
	case typeArray:
		return d.array(depth)
	case typeUint64:
		return d.uint64()
	case typeInt64:
		return int64(d.uint64())
	case typeFloat64:
		return math.Float64frombits(d.uint64())
	}
	if d.err == nil {
		d.err = fmt.Errorf("value type is %d, types are 0 to %d", kind, typeFloat64)
	}
	return nil
}

// array reads a slice: its type, its length, its elements.
func (d *decoder) array(depth int) any {
	kind, n := d.uint32(), d.uint64()
	const deepest = 4
	if d.err == nil && depth == deepest {
		d.err = fmt.Errorf("lists within lists, more than %d deep", deepest)
	}
	switch kind {
	case typeUint8:
		return list(d, n, 1, func() uint8 { return uint8(d.number(1)) })
	case typeInt8:
		return list(d, n, 1, func() int8 { return int8(d.number(1)) })
	case typeUint16:
		return list(d, n, 2, func() uint16 { return uint16(d.number(2)) })
	case typeInt16:
		return list(d, n, 2, func() int16 { return int16(d.number(2)) })
	case typeUint32:
		return list(d, n, 4, d.uint32)
	case typeInt32:
		return list(d, n, 4, func() int32 { return int32(d.uint32()) })
	case typeFloat32:
		return list(d, n, 4, func() float32 { return math.Float32frombits(d.uint32()) })
	case typeBool:
		return list(d, n, 1, d.bool)
	case typeString:
		return list(d, n, 8, d.text)
	case typeArray:
		return list(d, n, 12, func() any { return d.array(depth + 1) })
	case typeUint64:
		return list(d, n, 8, d.uint64)
	case typeInt64:
		return list(d, n, 8, func() int64 { return int64(d.uint64()) })
	case typeFloat64:
		return list(d, n, 8, func() float64 { return math.Float64frombits(d.uint64()) })
	}
	return d.value(kind, depth) // an error
}

// list reads n elements, each of at least so many bytes; memory grows with what is there, not with n.
func list[T any](d *decoder, n, least uint64, next func() T) []T {
	if d.err == nil && n > d.left/least {
		d.err = fmt.Errorf("a list of %d, %d bytes follow: %w", n, d.left, errTruncated)
	}
	if d.err != nil {
		return nil
	}
	out := make([]T, 0, min(n, 1<<12))
	for range n {
		v := next()
		if d.err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}
