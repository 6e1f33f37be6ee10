// Package jsonfile reads the JSON files of a model's folder. People and editors touch them: a byte-order mark at the begin is no part of
// the text, and what has the wrong type is said in the words of JSON.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Read is what a file holds, without a byte-order mark.
func Read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	return bytes.TrimPrefix(text, []byte("\ufeff")), err
}

// Unmarshal is that of encoding/json; an error names the key, what stands there and what must.
func Unmarshal(text []byte, v any) error {
	if bytes.HasPrefix(text, []byte("version https://git-lfs.github.com/")) {
		return errors.New("is a Git LFS pointer, which stands for the file: `git lfs pull`, or retool fetch, gets the file itself")
	}
	return Plain(json.Unmarshal(text, v))
}

// Plain puts an error of encoding/json, or of a jsontext.Decoder, into words without Go's types.
func Plain(err error) error {
	var wrong *json.UnmarshalTypeError
	var broken *jsontext.SyntacticError
	switch {
	case errors.As(err, &broken):
		at := strings.ReplaceAll(strings.TrimPrefix(string(broken.JSONPointer), "/"), "/", ".")
		if len(at) > 100 { // brackets without end
			at = fmt.Sprintf("%.80s…", at)
		}
		if at != "" {
			at = " of " + at
		}
		return fmt.Errorf("%w%s, after %d bytes", broken.Err, at, broken.ByteOffset)
	case errors.As(err, &wrong):
		what := "is"
		if wrong.Field != "" {
			what = wrong.Field + " is"
		}
		return fmt.Errorf("%s a JSON %s, must be %s", what, wrong.Value, Wanted(wrong.Type))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // of a Decoder
		return errors.New("unexpected end of JSON input")
	}
	return err
}

// Wanted says in words what a Go type is in JSON.
func Wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return Wanted(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}
