package trace

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"retool/engine/jsonfile"
)

// JSON has no NaN and no infinity, and a run that has diverged is full of them. Whatever this program writes as JSON holds null in
// their place, and null reads back as NaN. A duration is a number of seconds. Names match to the letter.
var (
	putNumbers = json.JoinMarshalers(
		json.MarshalToFunc(putFloat[float64]), json.MarshalToFunc(putFloat[float32]), json.MarshalToFunc(putSeconds))
	getFloats = json.JoinUnmarshalers(json.UnmarshalFromFunc(getFloat[float64]), json.UnmarshalFromFunc(getFloat[float32]))

	writing = json.JoinOptions(json.WithMarshalers(putNumbers), json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	reading = json.JoinOptions(json.WithUnmarshalers(getFloats), jsontext.AllowInvalidUTF8(true))
)

func putFloat[T float32 | float64](e *jsontext.Encoder, x T) error {
	if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
		return e.WriteToken(jsontext.Null)
	}
	return errors.ErrUnsupported
}

func putSeconds(e *jsontext.Encoder, d time.Duration) error {
	return e.WriteToken(jsontext.Float(d.Seconds()))
}

func getFloat[T float32 | float64](d *jsontext.Decoder, x *T) error {
	if d.PeekKind() != 'n' {
		return errors.ErrUnsupported
	}
	*x = T(math.NaN())
	_, err := d.ReadToken()
	return err
}

// Marshal is v as JSON on one line, with null for numbers that are not finite.
func Marshal(v any) ([]byte, error) { return json.Marshal(v, writing) }

// MarshalIndent is Marshal over several lines, the last one ended.
func MarshalIndent(v any) ([]byte, error) {
	text, err := json.Marshal(v, writing, jsontext.WithIndent("  "))
	return append(text, '\n'), err
}

// Unmarshal reads what Marshal writes. An error is in words without Go's types.
func Unmarshal(text []byte, v any) error { return plain(json.Unmarshal(text, v, reading)) }

func plain(err error) error {
	var wrong *json.SemanticError
	var broken *jsontext.SyntacticError
	switch {
	case errors.As(err, &wrong) && wrong.GoType != nil && wrong.JSONKind != 0:
		what := "is"
		if at := strings.ReplaceAll(strings.TrimPrefix(string(wrong.JSONPointer), "/"), "/", "."); at != "" {
			what = at + " is"
		}
		value := wrong.JSONKind.String()
		switch value {
		case "{":
			value = "object"
		case "[":
			value = "array"
		case "true", "false":
			value = "bool"
		}
		return fmt.Errorf("%s a JSON %s, must be %s", what, value, jsonfile.Wanted(wrong.GoType))
	case errors.As(err, &broken):
		return fmt.Errorf("is no JSON: %w", jsonfile.Plain(err))
	}
	return err
}
