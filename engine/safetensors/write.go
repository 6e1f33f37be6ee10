package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"retool/engine/atomicfile"
)

// Named is a tensor to be written.
type Named struct {
	Name  string
	Shape []int // empty: a scalar
	F16   bool  // []uint16 are the bits of F16

	// Data is []float32, []float64, []uint16 (the bits of BF16), []int32, []int64, []uint64 or []byte (U8); or a
	// func() ([]float32, error), called when its turn comes, whose result is written before the next call; or Pieces of it.
	Data any
}

// Pieces gives the numbers of a tensor that is not to be in memory whole: it is called when the tensor's turn comes, and write before it
// goes on to the next piece.
type Pieces func(write func([]float32) error) error

// dtype is how Data is stored.
func (t Named) dtype() (string, error) {
	switch t.Data.(type) {
	case []float32, func() ([]float32, error), Pieces:
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

// Write writes a file whole or not at all, as package atomicfile does. "format": "pt" joins the metadata, as Hugging Face's tools want
// it. Every failure, a full disk among them, is an error, and leaves what was at path before.
func Write(path string, tensors []Named, metadata map[string]string) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return encode(w, tensors, metadata) })
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", path, err)
	}
	return nil
}

// encode writes the tensors by descending width, then name, so that each is aligned to its width.
func encode(w io.Writer, tensors []Named, metadata map[string]string) error {
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

	if err := writeHeader(w, entries, meta); err != nil {
		return err
	}
	for _, e := range entries {
		if err := e.write(w, data[e.name]); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// writeHeader lays the entries out, one behind the other, and writes what says so.
func writeHeader(w io.Writer, entries []entry, meta map[string]string) error {
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
	_, err = w.Write(header.Bytes())
	return err
}

// write writes one tensor's data, which is called for where it is a function.
func (e entry) write(w io.Writer, data any) (err error) {
	switch f := data.(type) {
	case func() ([]float32, error):
		data, err = f()
	case func() ([]uint16, error):
		data, err = f()
	case Pieces:
		return e.writePieces(w, f)
	}
	if err != nil {
		return err
	}
	if n := binary.Size(data); n < 0 || uint64(n) != e.to-e.from {
		return fmt.Errorf("%d bytes of data for %s%v, which takes %d", n, e.dtype, e.shape, e.to-e.from)
	}
	return writeLittleEndian(w, data)
}

func (e entry) writePieces(w io.Writer, data Pieces) error {
	left := e.to - e.from
	err := data(func(x []float32) error {
		n := 4 * uint64(len(x))
		if n > left {
			return fmt.Errorf("more data than the %d bytes that %s%v takes", e.to-e.from, e.dtype, e.shape)
		}
		left -= n
		return writeChunks(w, x)
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("%d bytes too little data for %s%v", left, e.dtype, e.shape)
	}
	return err
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

// writeChunks writes numbers as they lie in memory, where files have them so.
func writeChunks[T any](w io.Writer, x []T) error {
	if littleEndian && len(x) > 0 {
		_, err := w.Write(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0]))))
		return err
	}
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
