package trace

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Evaluation is avg@k over a set of problems, with the behaviour of the responses.
type Evaluation struct {
	Name     string  `json:"name"`
	Step     int     `json:"step"` // counts SFT steps first, then RL steps
	Problems int     `json:"problems"`
	Samples  int     `json:"samples"` // k
	Accuracy float64 `json:"accuracy"`

	// Sampling is the deviation of Accuracy if the same problems were sampled again, √(Σ p(1−p)/(k−1))/N; 0 for k = 1, where one
	// sample says nothing of it. Population is that of drawing other problems, sd(p)/√N.
	Sampling   float64 `json:"sampling_error"`
	Population float64 `json:"population_error"`
	// Low and High are Wilson's 95 % interval for Accuracy over the choice of problems. It does not shrink to a point at 0 or 1.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// SampledLow and SampledHigh are Wilson's 95 % interval for the share of right responses among problems × samples, taken as draws of one
	// chance: for comparing checkpoints on one set. Chances that differ from problem to problem only make it wider than it need be.
	SampledLow  float64 `json:"sampled_low"`
	SampledHigh float64 `json:"sampled_high"`

	Verifier   string             `json:"verifier,omitempty"`    // whose verdicts Accuracy counts
	AccuracyBy map[string]float64 `json:"accuracy_by,omitempty"` // the same responses by each verifier; one that judged none is left out

	Preset   string            `json:"preset,omitempty"`   // under which it was made
	Settings map[string]string `json:"settings,omitempty"` // what the preset names, with the values that were used

	PassAt       map[int]float64 `json:"pass_at"` // 1, 2, 4, … and k; each over the problems with so many verdicts
	Majority     float64         `json:"majority"`
	AccuracyCode float64         `json:"accuracy_with_code"`
	Lost         int             `json:"lost"`                     // samples without a verdict: lost by the sandbox or not judged
	Unjudged     int             `json:"verifier_errors"`          // of those, not judged by the verifier
	NoVerdict    int             `json:"problems_without_verdict"` // left out of Problems and of every average
	Behaviour    Behaviour       `json:"behaviour"`
	Seconds      float64         `json:"seconds"`
	Rules        string          `json:"sampling"`
}

// Summary is what a run came to: the last evaluation of each kind, nil where none was made. A demo has the text-only recipe's beside
// its own. As JSON, in summary.json, an evaluation is its headline alone.
type Summary struct {
	Untrained     *Evaluation `json:"untrained,omitzero"`
	ColdStart     *Evaluation `json:"cold_start,omitzero"`
	RL            *Evaluation `json:"rl,omitzero"`
	TextColdStart *Evaluation `json:"text_cold_start,omitzero"`
	TextRL        *Evaluation `json:"text_rl,omitzero"`
	Seconds       float64     `json:"seconds"`
}

// Row is a summary's evaluation under the name that a reader knows it by. Text: of the text-only recipe.
type Row struct {
	Name string `json:"name"`
	Text bool   `json:"text"`
	*Evaluation
}

// AfterRL names the row of [Summary.RL].
const AfterRL = "after RL"

// Rows are the evaluations that were made.
func (s Summary) Rows() (rows []Row) {
	for _, r := range []Row{
		{"untrained", false, s.Untrained}, {"after cold start", false, s.ColdStart}, {AfterRL, false, s.RL},
		{"text only, after cold start", true, s.TextColdStart}, {"text only, after RL", true, s.TextRL},
	} {
		if r.Evaluation != nil {
			rows = append(rows, r)
		}
	}
	return rows
}

// figure is a name and the field that holds its value.
type figure struct {
	name  string
	value any
}

func (e *Evaluation) headline() []figure {
	return []figure{
		{"accuracy", &e.Accuracy}, {"code_ratio", &e.Behaviour.CodeRatio}, {"problems", &e.Problems}, {"samples", &e.Samples},
		{"low", &e.Low}, {"high", &e.High}, {"sampling_error", &e.Sampling}, {"accuracy_with_code", &e.AccuracyCode},
		{"response_length", &e.Behaviour.ResponseLength}, {"step", &e.Step},
	}
}

func putHeadline(out *jsontext.Encoder, e Evaluation) error {
	if err := out.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, f := range e.headline() {
		if err := out.WriteToken(jsontext.String(f.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(out, f.value); err != nil {
			return err
		}
	}
	return out.WriteToken(jsontext.EndObject)
}

func getHeadline(in *jsontext.Decoder, e *Evaluation) error {
	values := map[string]jsontext.Value{}
	if err := json.UnmarshalDecode(in, &values); err != nil {
		return err
	}
	for _, f := range e.headline() {
		if text, ok := values[f.name]; ok {
			if err := Unmarshal(text, f.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// MarshalJSONTo writes the headlines.
func (s Summary) MarshalJSONTo(out *jsontext.Encoder) error {
	type plain Summary
	return json.MarshalEncode(out, plain(s), json.WithMarshalers(json.JoinMarshalers(json.MarshalToFunc(putHeadline), putNumbers)))
}

// UnmarshalJSONFrom reads what MarshalJSONTo writes; the fields of an evaluation that its headline lacks are zero.
func (s *Summary) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	type plain Summary
	return json.UnmarshalDecode(in, (*plain)(s), json.WithUnmarshalers(json.JoinUnmarshalers(json.UnmarshalFromFunc(getHeadline), getFloats)))
}
