package data

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
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
		out.values, _ = annotated(plain(reflect.ValueOf(values)), p.Schema()).(map[string]any)
		if !yield(out, nil) {
			return
		}
	}
}

// annotated puts right what a schema says of numbers and the library's maps do not keep: unsigned integers come as signed ones, decimals
// rounded, times as numbers. What is no number or text of itself is not read as one.
func annotated(v any, n parquet.Node) any {
	switch v := v.(type) {
	case map[string]any:
		entry := n.Fields()
		if isMap := annotation(n) == "MAP" && len(entry) == 1 && !entry[0].Leaf(); isMap {
			for key, inner := range v {
				v[key] = annotated(inner, entry[0].Fields()[1])
			}
			return v
		}
		for _, f := range entry {
			if inner, ok := v[f.Name()]; ok {
				v[f.Name()] = annotated(inner, f)
			}
		}
		return v
	case []any:
		if !n.Repeated() && !n.Leaf() && len(n.Fields()) == 1 { // a LIST: its only child is repeated and holds the element
			if n = n.Fields()[0]; !n.Leaf() && len(n.Fields()) == 1 {
				n = n.Fields()[0]
			}
		}
		for i := range v {
			v[i] = annotated(v[i], n)
		}
		return v
	case nil:
		return nil
	}
	kind, _, _ := strings.Cut(annotation(n), "(")
	switch kind {
	case "DECIMAL", "DATE", "TIME", "TIMESTAMP", "UUID", "BSON", "FLOAT16", "VARIANT", "GEOMETRY", "GEOGRAPHY":
		return unsupported("a " + strings.ToLower(kind) + " (write the column as text)")
	}
	if x, ok := v.(number); ok && strings.HasPrefix(string(x), "-") {
		i, err := strconv.ParseInt(string(x), 10, 64)
		switch a := annotation(n); {
		case err == nil && a == "INT(64,false)":
			return number(strconv.FormatUint(uint64(i), 10))
		case err == nil && a == "INT(32,false)":
			return number(strconv.FormatUint(uint64(uint32(i)), 10))
		}
	}
	return v
}

// annotation is the logical type of a column, by its name in the format, or what stands for it in files of the format's first version.
func annotation(n parquet.Node) string {
	if !n.Leaf() && n.Type() == nil {
		return ""
	}
	if l := n.Type().LogicalType(); l != nil && l.Value != nil {
		return l.Value.String()
	}
	if c := n.Type().ConvertedType(); c != nil {
		return map[deprecated.ConvertedType]string{
			deprecated.Map: "MAP", deprecated.MapKeyValue: "MAP", deprecated.Decimal: "DECIMAL", deprecated.Date: "DATE", deprecated.Bson: "BSON",
			deprecated.TimeMillis: "TIME", deprecated.TimeMicros: "TIME", deprecated.TimestampMillis: "TIMESTAMP",
			deprecated.TimestampMicros: "TIMESTAMP", deprecated.Uint32: "INT(32,false)", deprecated.Uint64: "INT(64,false)",
		}[*c]
	}
	return ""
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
