package report

import (
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// marshal is v as the page holds it. No text in it can end the element that it stands in: <, > and & are escaped.
func marshal(v any) ([]byte, error) {
	text, err := json.Marshal(v, json.WithMarshalers(json.MarshalToFunc(putNumber)), json.Deterministic(true),
		json.FormatNilSliceAsNull(true), jsontext.AllowInvalidUTF8(true), jsontext.EscapeForHTML(true), jsontext.EscapeForJS(true))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return text, nil
}

// putNumber writes five significant digits, and null for what is not finite.
func putNumber(out *jsontext.Encoder, x float64) error {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return out.WriteToken(jsontext.Null)
	}
	return out.WriteValue(strconv.AppendFloat(nil, x, 'g', 5, 64))
}
