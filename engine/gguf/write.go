package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// OutTensor is a tensor to be written.
type OutTensor struct {
	Name  string
	Type  TensorType // F32, F16, BF16 or Q8_0
	Shape []int      // rows first

	// Data is called when its turn comes; its result is written before the next call.
	Data func() ([]float32, error)
}

// Write writes a file of version 3 with the alignment 32: metadata, then tensors, both in the order given. Numbers are rounded to the
// nearest of the tensor's type; one that the type cannot hold is an error that names the tensor.
func Write(w io.Writer, meta []KV, tensors []OutTensor) error {
	e := &encoder{w: bufio.NewWriterSize(w, 1<<20)}
	e.uint32(magic)
	e.uint32(3)
	e.uint64(uint64(len(tensors)))
	e.uint64(uint64(len(meta)))
	seen := map[string]bool{}
	for _, kv := range meta {
		if kv.Key == "" || seen[kv.Key] {
			return fmt.Errorf("gguf: write: %q is no key, or that of two values", kv.Key)
		}
		seen[kv.Key] = true
		e.text(kv.Key)
		if err := e.value(kv.Value, true); err != nil {
			return fmt.Errorf("gguf: write: %s: %w", kv.Key, err)
		}
	}
	clear(seen)
	offset := 0
	for _, t := range tensors {
		info := Tensor{Name: t.Name, Type: t.Type, Shape: t.Shape}
		if t.Name == "" || seen[t.Name] {
			return fmt.Errorf("gguf: write: %q is no name, or that of two tensors", t.Name)
		}
		if _, known := layouts[t.Type]; !known || len(t.Shape) > 4 || info.Len() < 1 || !t.Type.Fits(info.row()) {
			return fmt.Errorf("gguf: write: %s cannot be %v of %v", t.Name, t.Type, t.Shape)
		}
		seen[t.Name] = true
		e.text(t.Name)
		e.uint32(uint32(len(t.Shape)))
		for i := range t.Shape {
			e.uint64(uint64(t.Shape[len(t.Shape)-1-i]))
		}
		e.uint32(uint32(t.Type))
		e.uint64(uint64(offset))
		offset += aligned(info.Size())
	}
	e.pad()
	for _, t := range tensors {
		if err := e.tensor(t); err != nil {
			return fmt.Errorf("gguf: write: %s: %w", t.Name, err)
		}
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	if e.err != nil {
		return fmt.Errorf("gguf: write: %w", e.err)
	}
	return nil
}

func aligned(n int) int { return (n + defaultAlignment - 1) / defaultAlignment * defaultAlignment }

// encoder writes little-endian numbers and keeps the first error.
type encoder struct {
	w   *bufio.Writer
	n   int // bytes written
	buf []byte
	err error
}

func (e *encoder) bytes(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
		e.n += len(b)
	}
}

func (e *encoder) uint32(v uint32) { e.bytes(binary.LittleEndian.AppendUint32(e.buf[:0], v)) }
func (e *encoder) uint64(v uint64) { e.bytes(binary.LittleEndian.AppendUint64(e.buf[:0], v)) }
func (e *encoder) text(s string) {
	e.uint64(uint64(len(s)))
	e.bytes([]byte(s))
}

// pad writes zeros up to the alignment.
func (e *encoder) pad() { e.bytes(make([]byte, aligned(e.n)-e.n)) }

// tensor writes some elements at a time.
func (e *encoder) tensor(t OutTensor) error {
	x, err := t.Data()
	if err != nil {
		return err
	}
	if n := (Tensor{Shape: t.Shape}).Len(); len(x) != n {
		return fmt.Errorf("%d elements for %v", len(x), t.Shape)
	}
	const part = 1 << 16
	var buf []byte
	for ; len(x) > 0 && e.err == nil; x = x[min(part, len(x)):] {
		if buf, err = encode(buf[:0], t.Type, x[:min(part, len(x))]); err != nil {
			return err
		}
		e.bytes(buf)
	}
	e.pad()
	return e.err
}

// value writes a value, its type before it unless it is an element of a list.
func (e *encoder) value(v any, typed bool) error {
	kind := func(k uint32) {
		if typed {
			e.uint32(k)
		}
	}
	switch v := v.(type) {
	case uint8:
		kind(typeUint8)
		e.bytes([]byte{v})
	case int8:
		kind(typeInt8)
		e.bytes([]byte{byte(v)})
	case uint16:
		kind(typeUint16)
		e.bytes(binary.LittleEndian.AppendUint16(nil, v))
	case int16:
		kind(typeInt16)
		e.bytes(binary.LittleEndian.AppendUint16(nil, uint16(v)))
	case uint32:
		kind(typeUint32)
		e.uint32(v)
	case int32:
		kind(typeInt32)
		e.uint32(uint32(v))
	case float32:
		kind(typeFloat32)
		e.uint32(math.Float32bits(v))
	case bool:
		kind(typeBool)
		b := []byte{0}
		if v {
			b[0] = 1
		}
		e.bytes(b)
	case string:
		kind(typeString)
		e.text(v)
	case uint64:
		kind(typeUint64)
		e.uint64(v)
	case int64:
		kind(typeInt64)
		e.uint64(uint64(v))
	case float64:
		kind(typeFloat64)
		e.uint64(math.Float64bits(v))
	default:
		kind(typeArray)
		return e.list(v)
	}
	return nil
}

func (e *encoder) list(v any) error {
	switch v := v.(type) {
	case []uint8:
		return writeList(e, typeUint8, v)
	case []int8:
		return writeList(e, typeInt8, v)
	case []uint16:
		return writeList(e, typeUint16, v)
	case []int16:
		return writeList(e, typeInt16, v)
	case []uint32:
		return writeList(e, typeUint32, v)
	case []int32:
		return writeList(e, typeInt32, v)
	case []float32:
		return writeList(e, typeFloat32, v)
	case []bool:
		return writeList(e, typeBool, v)
	case []string:
		return writeList(e, typeString, v)
	case []uint64:
		return writeList(e, typeUint64, v)
	case []int64:
		return writeList(e, typeInt64, v)
	case []float64:
		return writeList(e, typeFloat64, v)
	case []any:
		return writeList(e, typeArray, v)
	}
	return fmt.Errorf("%T is no value of a key", v)
}

func writeList[T any](e *encoder, kind uint32, list []T) error {
	e.uint32(kind)
	e.uint64(uint64(len(list)))
	for _, v := range list {
		if err := e.value(v, false); err != nil {
			return err
		}
	}
	return nil
}
