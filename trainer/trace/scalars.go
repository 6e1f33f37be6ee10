package trace

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A Scalar is one number of a step or an evaluation, for programs that draw curves.
type Scalar struct {
	Name  string // as metrics.jsonl has it, the names of nested objects before it: behaviour/code_ratio
	Key   string // of an entry of a map, such as finish; else ""
	Value float64
}

// Scalars lists the numbers of a struct by their JSON names, in its order; entries of maps by their keys. Text and lists are left out,
// and so are the fields that skip names. A pointer that is nil has none.
func Scalars(v any, skip ...string) []Scalar {
	return scalars(nil, reflect.ValueOf(v), "", "", skip)
}

func scalars(out []Scalar, v reflect.Value, name, key string, skip []string) []Scalar {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return out
		}
		return scalars(out, v.Elem(), name, key, skip)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous:
				out = scalars(out, v.Field(i), name, key, skip)
				continue
			case !f.IsExported() || field == "-" || slices.Contains(skip, field):
				continue
			case field == "":
				field = strings.ToLower(f.Name)
			}
			if name != "" {
				field = name + "/" + field
			}
			out = scalars(out, v.Field(i), field, key, skip)
		}
	case reflect.Map:
		entries := map[string]reflect.Value{}
		for it := v.MapRange(); it.Next(); {
			entries[fmt.Sprint(it.Key().Interface())] = it.Value()
		}
		for _, k := range slices.Sorted(maps.Keys(entries)) {
			out = scalars(out, entries[k], name, k, skip)
		}
	case reflect.Float32, reflect.Float64:
		out = append(out, Scalar{name, key, v.Float()})
	case reflect.Int, reflect.Int32, reflect.Int64:
		out = append(out, Scalar{name, key, float64(v.Int())})
	}
	return out
}
