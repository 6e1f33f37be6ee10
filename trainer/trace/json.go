package trace

import (
	"errors"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// JSON has no NaN and no infinity, and a run that has diverged is full of them. Whatever this program writes as JSON holds null in
// their place, and null reads back as NaN. A duration is a number of seconds. Names match to the letter.
var (
	putNumbers = json.JoinMarshalers(json.MarshalToFunc(putFloat[float64]), json.MarshalToFunc(putFloat[float32]),
		json.MarshalToFunc(putSeconds))
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

// Unmarshal reads what Marshal writes.
func Unmarshal(text []byte, v any) error { return json.Unmarshal(text, v, reading) }
