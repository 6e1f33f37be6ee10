// Package safetensors is the file format of that name (https://github.com/huggingface/safetensors): a JSON header of names, types and
// shapes, then the tensors' bytes. A file is read where it lies, mapped into memory, and written as a stream, one tensor in memory at
// a time. Index lists the files of a model that is stored in several.
//
// It knows neither models nor devices: what a tensor means is its reader's business. A tensor that is read to be kept is a tensor.Dense
// of gorgonia.org/tensor, as moments are and what tests compare with; loading a model takes Float32s instead, and writing plain slices,
// because there one buffer serves all tensors, one after the other.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"retool/engine/jsonfile"
)

// File is an open file, mapped into memory. Its tensors are views of the mapping: they are good until Close, and must not be
// written to. The file must not be truncated while it is open.
type File struct {
	path  string
	data  []byte // the whole file
	unmap func() error
	names []string // in the order of the data
	of    map[string]Tensor
	meta  map[string]string
}

// Open maps a file and checks all of its header: sizes, types, and that the tensors fill the data without a hole or an
// overlap. An error names the file, the tensor and both numbers.
func Open(path string) (*File, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err) // which names the file
	}
	f := &File{path: path, data: data, unmap: unmap}
	if err := f.parse(); err != nil {
		unmap()
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	return f, nil
}

// Close unmaps the file.
func (f *File) Close() error {
	if f.unmap == nil {
		return nil
	}
	err := f.unmap()
	f.unmap, f.data, f.of = nil, nil, nil
	return err
}

// Names are those of the tensors, in the order of the data.
func (f *File) Names() []string { return f.names }

// Metadata are the strings of the header; "format" says for whom the file was written.
func (f *File) Metadata() map[string]string { return f.meta }

// Tensor is the tensor of that name; false if there is none.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.of[name]
	return t, ok
}

// others are what stands where the weights of a model should, by how it begins.
var others = []struct{ begin, what string }{
	{"version https://git-lfs.github.com/", "a Git LFS pointer: `git lfs pull`, or retool fetch, gets the file itself"},
	{"PK\x03\x04", "a zip archive, such as torch.save writes (.pth, .bin): transformers' save_pretrained writes safetensors"},
	{"\x80\x02", "a Python pickle, such as torch.save writes (.pth, .bin): transformers' save_pretrained writes safetensors"},
	{"GGUF", "a GGUF file: retool convert makes a model folder of it"},
	{"\x89HDF\r\n", "an HDF5 file"},
	{"\x1f\x8b", "compressed by gzip: unpack it first"},
	{"<!DOCTYPE", "a page of HTML: the download went wrong"},
	{"<html", "a page of HTML: the download went wrong"},
}

// another says what a file is that is no safetensors file; "" if it may be one: a header of a length that is read, which begins with {.
func another(data []byte) string {
	if len(data) > 8 && binary.LittleEndian.Uint64(data) <= maxHeader && data[8] == '{' {
		return ""
	}
	for _, o := range others {
		if bytes.HasPrefix(data, []byte(o.begin)) {
			return o.what
		}
	}
	return ""
}

func (f *File) parse() error {
	if what := another(f.data); what != "" {
		return fmt.Errorf("not a safetensors file: it is %s", what)
	}
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
		return fmt.Errorf("header: %w", jsonfile.Plain(err))
	}
	f.meta, f.of = meta, make(map[string]Tensor, len(entries))

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
		f.of[e.name] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Bytes: data[e.from:e.to:e.to]}
		f.names = append(f.names, e.name)
	}
	if at != uint64(len(data)) {
		return fmt.Errorf("the last tensor ends at %d, the data at %d", at, len(data))
	}
	return nil
}
