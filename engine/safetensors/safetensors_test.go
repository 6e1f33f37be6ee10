package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// file is a safetensors file of a header and data.
func file(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func parse(data []byte) (*File, error) {
	f := &File{data: data}
	return f, f.parse()
}

func TestViolationsAreNamed(t *testing.T) {
	good := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}`
	if f, err := parse(file(good+"  ", "0123456789")); err != nil || !slices.Equal(f.names, []string{"a", "b"}) {
		t.Fatalf("a good file: %v", err)
	}
	entry := func(dtype, shape, offsets string) string {
		return `{"w":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}}`
	}
	for _, c := range []struct {
		want string
		data []byte
	}{
		{"a file of 7 bytes", []byte("1234567")},
		{"200000000 bytes long, more than 100000000", binary.LittleEndian.AppendUint64(nil, 200_000_000)},
		{"50 bytes long, 2 follow", append(binary.LittleEndian.AppendUint64(nil, 50), "{}"...)},
		{"is a Git LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")},
		{"is a zip archive, such as torch.save writes", []byte("PK\x03\x04\x00\x00\x08\x08\x00\x00")},
		{"is a Python pickle", []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")},
		{"is a GGUF file", []byte("GGUF\x03\x00\x00\x00\x00")},
		{"is compressed by gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff")},
		{"is a page of HTML", []byte("<!DOCTYPE html><html></html>")},
		{"does not begin with {", file(" {}", "")},
		{"does not begin with {", file("", "")},
		{"1 bytes follow its end", file("{}x", "")},
		{"not UTF-8", file("{\"\xff\":1}", "")},
		{
			"w: stands there twice",
			file(`{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, ""),
		},
		{"w: dtype stands there twice", file(`{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, "")},
		{`w: unknown key "Shape"`, file(`{"w":{"dtype":"U8","Shape":[0],"data_offsets":[0,0]}}`, "")},
		{"w: has no shape", file(`{"w":{"dtype":"U8","data_offsets":[0,0]}}`, "")},
		{`w: unknown type "F31"`, file(entry("F31", "[1]", "[0,4]"), "0123")},
		{"w: shape holds -1", file(entry("U8", "[-1]", "[0,1]"), "0")},
		{"w: shape holds 1.5", file(entry("U8", "[1.5]", "[0,1]"), "0")},
		{"w: 3 data_offsets", file(entry("U8", "[1]", "[0,1,2]"), "0")},
		{"overflows", file(entry("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), "0123")},
		{"w: F32[3] takes 12 bytes, offsets 0 to 8 hold 8", file(entry("F32", "[3]", "[0,8]"), "01234567")},
		{"w: ends at 8, the data has 4 bytes", file(entry("F32", "[2]", "[0,8]"), "0123")},
		{"w: begins at 8 and ends at 0", file(entry("F32", "[2]", "[8,0]"), "01234567")},
		{"w: begins at 4, the data before it ends at 0: a hole", file(entry("F32", "[1]", "[4,8]"), "01234567")},
		{"ends at 4, the data at 8", file(entry("F32", "[1]", "[0,4]"), "01234567")},
		{
			"b: begins at 2, inside a, which ends at 4",
			file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, "012345"),
		},
		{`__metadata__: "n" must be one string`, file(`{"__metadata__":{"n":1}}`, "")},
	} {
		if _, err := parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// What is written is read: every type, scalars, empty tensors; aligned, and with the metadata.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var list []Named
		want := map[string][]byte{}
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z."\\é\n]{1,9}`), 0, 6, rapid.ID[string]).Draw(t, "names")
		for _, name := range names {
			shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(t, "shape")
			n := 1
			for _, d := range shape {
				n *= d
			}
			var data any
			fill := make([]byte, 8*n)
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "data"), 17))
			for i := range fill {
				fill[i] = byte(r.Uint32())
			}
			width := 8
			switch rapid.IntRange(0, 7).Draw(t, "type") {
			case 0:
				data, width = make([]float32, n), 4
			case 1:
				data = make([]float64, n)
			case 2:
				data, width = make([]uint16, n), 2
			case 3:
				data, width = make([]int32, n), 4
			case 4:
				data = make([]int64, n)
			case 5:
				data = make([]uint64, n)
			case 6:
				data, width = make([]byte, n), 1
			case 7:
				x := make([]float32, n)
				data, width = func() ([]float32, error) { return x, nil }, 4
				if err := binary.Read(bytes.NewReader(fill), binary.LittleEndian, x); err != nil {
					t.Fatal(err)
				}
			}
			if _, lazy := data.(func() ([]float32, error)); !lazy {
				if err := binary.Read(bytes.NewReader(fill), binary.LittleEndian, data); err != nil && n > 0 {
					t.Fatal(err)
				}
			}
			list = append(list, Named{Name: name, Shape: shape, Data: data})
			want[name] = fill[:n*width]
		}
		path := filepath.Join(dir, "x.safetensors")
		if err := Write(path, list, map[string]string{"step": "12"}); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(f.names) != len(list) || f.meta["step"] != "12" || f.meta["format"] != "pt" {
			t.Fatalf("names %q, metadata %v", f.names, f.meta)
		}
		if h := binary.LittleEndian.Uint64(f.data); h%8 != 0 {
			t.Fatalf("header of %d bytes: the data is not aligned", h)
		}
		for _, w := range list {
			got, ok := f.Tensor(w.Name)
			if !ok || !slices.Equal(got.Shape, w.Shape) || !bytes.Equal(got.Bytes, want[w.Name]) {
				t.Fatalf("%q: %v, found %v, shape %v, want %v", w.Name, got, ok, got.Shape, w.Shape)
			}
			if dense, err := got.Dense(); strings.HasPrefix(got.DType, "F") && (err != nil) != (got.Len() == 0) {
				t.Fatalf("%q: %v", w.Name, err)
			} else if err == nil &&
				(!slices.Equal([]int(dense.Shape()), w.Shape) && len(w.Shape) > 0 || len(dense.Data().([]float32)) != got.Len()) {
				t.Fatalf("%q is an array %v, want %v", w.Name, dense.Shape(), w.Shape)
			}
			if width := uintptr(widths[got.DType]); len(got.Bytes) > 0 && uintptr(unsafe.Pointer(&got.Bytes[0]))%width != 0 {
				t.Fatalf("%q, of %d bytes each, is not aligned", w.Name, width)
			}
		}
	})
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

func TestFloat16IsReadExactly(t *testing.T) {
	// Every float16 against its definition.
	for h := range 1 << 16 {
		sign, exp, frac := 1-2*float64(h>>15), h>>10&31, float64(h&1023)
		want := sign * math.Ldexp(1+frac/1024, exp-15)
		switch {
		case exp == 0:
			want = sign * math.Ldexp(frac, -24)
		case exp == 31 && frac == 0:
			want = math.Inf(int(sign))
		case exp == 31:
			want = math.NaN()
		}
		got := fromFloat16(uint16(h))
		if got != float32(want) && !(got != got && want != want) || want == 0 && math.Signbit(float64(got)) != (sign < 0) {
			t.Fatalf("float16 %#04x is %g, want %g", h, got, want)
		}
	}
}

// full is a disk with room for n bytes.
type full struct{ n int }

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.n {
		return f.n, errFull
	}
	f.n -= len(p)
	return len(p), nil
}

func TestFullDiskIsAnError(t *testing.T) {
	list := []Named{{Name: "a", Shape: []int{3}, Data: []float32{1, 2, 3}}, {Name: "b", Shape: []int{5}, Data: []byte("01234")}}
	var whole bytes.Buffer
	if err := encode(&whole, list, nil); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		if err := encode(&full{n}, list, nil); !errors.Is(err, errFull) {
			t.Fatalf("room for %d of %d bytes: error %v", n, whole.Len(), err)
		}
	}
}

func TestWhatCannotBeStoredIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	for want, bad := range map[string][]Named{
		"4 bytes of data for F32[2], which takes 8": {{Name: "w", Shape: []int{2}, Data: []float32{1}}},
		`"w" cannot be the name`:                    {{Name: "w", Data: []float32{1}}, {Name: "w", Data: []float32{1}}},
		"string cannot be stored":                   {{Name: "w", Data: "text"}},
	} {
		if err := Write(path, bad, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a file that %s is there: %v", want, err)
		}
	}
}

// No input makes the reader panic, and what it accepts fits the file.
func FuzzOpen(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "0123"))
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"F16","shape":[2,0],`+
		`"data_offsets":[1,1]}}`, "0"))
	f.Add(file(`{"a":{"dtype":"I64","shape":[18446744073709551615,0],"data_offsets":[0,0]}}`, ""))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data)
		if err != nil {
			return
		}
		total := 0
		for _, name := range s.names {
			w, ok := s.Tensor(name)
			if !ok {
				t.Fatalf("%q is listed and not there", name)
			}
			n := 1
			for _, d := range w.Shape {
				n *= d
			}
			if n*widths[w.DType] != len(w.Bytes) {
				t.Fatalf("%q: %s%v in %d bytes", name, w.DType, w.Shape, len(w.Bytes))
			}
			total += len(w.Bytes)
			x := make([]float32, w.Len())
			if err := w.Float32s(x); err != nil && !strings.Contains(err.Error(), w.DType) {
				t.Fatal(err)
			}
		}
		if want := len(data) - 8 - int(binary.LittleEndian.Uint64(data)); total != want {
			t.Fatalf("%d bytes of tensors in %d of data", total, want)
		}
	})
}

func TestAFolderIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || err.Error() != "safetensors: "+dir+" is a folder, must be a file" {
		t.Errorf("error %v", err)
	}
}
