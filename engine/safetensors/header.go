package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// maxHeader is the longest header that is read, in bytes.
const maxHeader = 100_000_000

// widths is the size in bytes of an element of each type that a file may hold.
var widths = map[string]int{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
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
