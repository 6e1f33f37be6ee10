package data

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
)

// openParquet reads the schema. A file that was cut has lost its last bytes, in which the schema lies.
func openParquet(r io.ReaderAt, size int64, name string) (p *parquet.File, err error) {
	defer recovered(name, &err)
	tail := make([]byte, 4)
	if _, err := r.ReadAt(tail, size-4); size < 12 || err != nil && err != io.EOF || string(tail) != "PAR1" {
		return nil, fmt.Errorf("data: %s: a Parquet file of %d bytes whose end is missing: it was cut, fetch it again", name, size)
	}
	p, err = parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("data: %s: a damaged Parquet file: %w", name, err)
	}
	return p, nil
}

// recovered turns a panic of the library, as damaged pages cause, into an error.
func recovered(name string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("data: %s: a damaged Parquet file: %v", name, p)
	}
}

// parquetRows calls yield with each row. The file's own schema decides how lists are found, whatever their elements are called.
func parquetRows(p *parquet.File, name string, yield func(*row, error) bool) {
	r := parquet.NewReader(p, p.Schema())
	defer r.Close()
	for n := int64(1); n <= p.NumRows(); n++ {
		out := &row{where: fmt.Sprintf("%s: row %d", name, n), name: fmt.Sprintf("row-%d", n)}
		values := map[string]any{}
		read := func() (err error) {
			defer recovered(name, &err)
			return r.Read(&values)
		}
		if err := read(); err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the rows end here, the file says it has %d", p.NumRows())
			}
			yield(nil, out.end("%w", err))
			return
		}
		out.values, _ = plain(reflect.ValueOf(values)).(map[string]any)
		if !yield(out, nil) {
			return
		}
	}
}

// plain is a value of the library as a row holds it. Map columns come with pointers to bytes.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return unsupported("text that is not UTF-8")
		}
		return v.String()
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return number(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
			return unsupported("a number that is not finite")
		}
		return number(strconv.FormatFloat(v.Float(), 'f', -1, v.Type().Bits()))
	case reflect.Map:
		object := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			key, ok := plain(it.Key()).(string)
			if !ok {
				return unsupported("a map whose keys are not text")
			}
			object[key] = plain(it.Value())
		}
		return object
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if utf8.Valid(v.Bytes()) {
				return string(v.Bytes())
			}
			return unsupported("bytes that are not UTF-8")
		}
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	}
	if v.Type() == reflect.TypeFor[deprecated.Int96]() {
		return unsupported("a timestamp")
	}
	return unsupported("a " + v.Type().String())
}
