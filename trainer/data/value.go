package data

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A value of a row is nil, a bool, a number, a string, a list []any or an object map[string]any of such, or an unsupported one.
type (
	number      string // as it is written
	unsupported string // what it is: a column of a kind that holds no text
)

// A row is the values of one row by column, and where it lies.
type row struct {
	where  string // "file.jsonl:7" or "file.parquet: row 7"
	name   string // of a problem that has no id: "line-7" or "row-7"
	values map[string]any
}

// A RowError is what is wrong with one row. Reason, where it is not empty, is a kind of fault that a run can count and leave out; a row
// without one cannot be read at all. Last: nor can those after it.
type RowError struct {
	Where  string
	Reason string
	Last   bool
	Err    error
}

func (e *RowError) Error() string { return fmt.Sprintf("data: %s: %v", e.Where, e.Err) }
func (e *RowError) Unwrap() error { return e.Err }

// bad is an error of the row.
func (r *row) bad(format string, args ...any) error {
	return &RowError{Where: r.where, Err: fmt.Errorf(format, args...)}
}

// end is an error after which no row can be told from the next.
func (r *row) end(format string, args ...any) error {
	return &RowError{Where: r.where, Last: true, Err: fmt.Errorf(format, args...)}
}

// drop is a fault of the row that can be counted by its reason.
func (r *row) drop(reason, format string, args ...any) error {
	return &RowError{Where: r.where, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// at follows a dotted path: a key as it is, else its first part and the rest in what that holds; whole numbers count through lists.
func at(v any, path string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		if x, ok := v[path]; ok {
			return x, true
		}
		for i := range path {
			if path[i] != '.' {
				continue
			}
			if inner, ok := v[path[:i]]; ok {
				return at(inner, path[i+1:])
			}
		}
	case []any:
		head, rest, more := strings.Cut(path, ".")
		if i, err := strconv.Atoi(head); err == nil && i >= 0 && i < len(v) {
			if !more {
				return v[i], true
			}
			return at(v[i], rest)
		}
	}
	return nil, false
}

// get is the value at a path. A parent that is null has only null children; a column that is not there is an error.
func (r *row) get(path string) (any, error) {
	if v, ok := at(r.values, path); ok {
		return v, nil
	}
	for i := range path {
		if path[i] == '.' {
			if v, ok := at(r.values, path[:i]); ok && v == nil {
				return nil, nil
			}
		}
	}
	return nil, r.bad("%q is missing; columns of the row: %s", path, names(columnsOf(r.values)))
}

// text is a string, and with numbers a number too, as it is written. null is "".
func (r *row) text(path string, numbers bool) (string, error) {
	v, err := r.get(path)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case number:
		if numbers {
			return string(v), nil
		}
	}
	want := "a string"
	if numbers {
		want = "a string or a number"
	}
	return "", r.bad("%q is %s: want %s", path, kindOf(v), want)
}

// kindOf names the kind of a value, with its article.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case unsupported:
		return string(v)
	}
	return fmt.Sprintf("a %T", v)
}

func columnsOf(values map[string]any) []string { return slices.Sorted(maps.Keys(values)) }

// names lists columns in a message, a dozen at most.
func names(columns []string) string {
	if len(columns) == 0 {
		return "none"
	}
	var quoted []string
	for _, c := range columns[:min(len(columns), 12)] {
		quoted = append(quoted, strconv.Quote(c))
	}
	if more := len(columns) - 12; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	return strings.Join(quoted, ", ")
}
