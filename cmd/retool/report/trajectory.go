package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"retool/trainer/trace"
)

// trajectory is a Record as the page holds it: tokens as indexes of the page's dictionary, sources as runs, log-probabilities of the
// policy's tokens only. Positions count from the trajectory's first token, also behind a gap.
type trajectory struct {
	Run        int        `json:"run"`
	Step       int        `json:"step"`
	Phase      string     `json:"phase"`
	Key        string     `json:"key"` // 64 bits do not fit a number of JavaScript
	Problem    string     `json:"problem"`
	Family     string     `json:"family"`
	Question   string     `json:"question"`
	Truth      string     `json:"truth"`
	Answer     string     `json:"answer"`
	Outcome    string     `json:"outcome"`
	Reward     float64    `json:"reward"`
	Rewards    [3]float64 `json:"rewards"` // paper, DAPO strict, tool shaped
	Advantage  float64    `json:"advantage"`
	Finish     string     `json:"finish"`
	Error      string     `json:"error,omitzero"`
	Prompt     int        `json:"prompt"`
	Length     int        `json:"length"`  // tokens, those in the gap too
	Sources    string     `json:"sources"` // p12m30t3
	Gap        [2]int     `json:"gap"`     // first token left out and the one after the last; equal: none
	IDs        []int      `json:"t"`
	LogProbs   []float64  `json:"l"`
	Difference float64    `json:"difference"`
	Checked    bool       `json:"checked"` // Difference was measured
	Calls      []callData `json:"calls"`
	CallsAll   int        `json:"calls_all"`
	Evicted    int        `json:"evicted,omitzero"`
	Fixed      bool       `json:"fixed"`
	Passed     bool       `json:"passed_wrong"`
}

type callData struct {
	Code      string  `json:"code"`
	Status    string  `json:"status"`
	Stdout    string  `json:"stdout"`
	Traceback string  `json:"traceback"`
	From      int     `json:"from"`
	To        int     `json:"to"`
	ReplyFrom int     `json:"reply_from"`
	ReplyTo   int     `json:"reply_to"`
	Prefilled int     `json:"prefilled"`
	Seconds   float64 `json:"seconds"`
	CPU       float64 `json:"cpu"`
	Queue     float64 `json:"queue"`
	Wait      float64 `json:"wait"`
}

// token is an entry of the page's dictionary, written [id, text] or [id, name, 1] when special.
type token struct {
	id      int32
	piece   string
	special bool
}

// MarshalJSONTo writes the array.
func (t token) MarshalJSONTo(out *jsontext.Encoder) error {
	v := []any{t.id, t.piece}
	if t.special {
		v = append(v, 1)
	}
	return json.MarshalEncode(out, v)
}

type dictionary struct {
	index  map[token]int
	tokens []token
}

// check refuses a record whose columns do not belong together; trace.Of never writes one.
func check(r *trace.Record) error {
	n := len(r.IDs)
	if len(r.Sources) != n || len(r.LogProbs) != n || len(r.Pieces) != n {
		return fmt.Errorf("a trajectory of %d ids has %d sources, %d log-probabilities and %d pieces", n, len(r.Sources), len(r.LogProbs),
			len(r.Pieces))
	}
	return nil
}

// encode turns a record into the page's form and says how many bytes it takes there, new tokens of the dictionary included.
func (d *dictionary) encode(r *trace.Record, p pick) (trajectory, int, error) {
	tr := traitsOf(r)
	n := len(r.IDs)
	t := trajectory{
		Run: p.run, Step: r.Step, Phase: r.Phase, Key: strconv.FormatInt(r.Key, 10),
		Problem: cut(r.Problem), Family: cut(r.Family), Question: cut(r.Question),
		Truth: cut(r.Truth), Answer: cut(r.Answer), Outcome: r.Outcome, Reward: float64(r.Reward),
		Rewards:   [3]float64{float64(r.Rewards.Paper), float64(r.Rewards.DAPOStrict), float64(r.Rewards.ToolShaped)},
		Advantage: float64(r.Advantage), Finish: r.Finish, Error: cut(r.Error), Prompt: r.Prompt, Length: n, Sources: runs(r.Sources),
		Difference: float64(r.Difference), Checked: p.checked, Calls: []callData{}, CallsAll: len(r.Calls), Evicted: r.Evicted,
		Fixed: tr.fixed, Passed: tr.passedWrong, IDs: []int{}, LogProbs: []float64{},
	}
	if n > maxTokens {
		t.Gap = [2]int{maxTokens / 2, n - maxTokens/2}
	}
	size := 0
	for i, id := range r.IDs {
		if t.Gap[0] <= i && i < t.Gap[1] {
			continue
		}
		_, special := slices.BinarySearch(r.Special, i)
		k := token{id, cut(r.Pieces[i]), special}
		j, ok := d.index[k]
		if !ok {
			j = len(d.tokens)
			d.index[k], d.tokens = j, append(d.tokens, k)
			text, err := marshal(k)
			if err != nil {
				return t, 0, err
			}
			size += len(text) + 1
		}
		t.IDs = append(t.IDs, j)
		if r.Sources[i] == 'm' {
			t.LogProbs = append(t.LogProbs, round(r.LogProbs[i]))
		}
	}
	for _, c := range r.Calls[:min(len(r.Calls), maxCalls)] {
		t.Calls = append(t.Calls, callData{
			Code: cut(c.Code), Status: c.Status, Stdout: cut(c.Stdout), Traceback: cut(c.Traceback),
			From: c.From, To: c.To, ReplyFrom: c.ReplyFrom, ReplyTo: c.ReplyTo,
			Prefilled: c.Prefilled, Seconds: c.Seconds, CPU: c.CPU, Queue: c.Queue, Wait: c.Wait,
		})
	}
	text, err := marshal(t)
	if err != nil {
		return t, 0, err
	}
	return t, size + len(text) + 1, nil
}

// round keeps four significant digits, and none below 1e-6: a page has room for no more.
func round(x float32) float64 {
	f := float64(x)
	if math.Abs(f) < 1e-6 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(f))))
	return math.Round(f*scale) / scale
}

// runs writes equal neighbours as one letter and their number.
func runs(sources string) string {
	var b strings.Builder
	for i := 0; i < len(sources); {
		j := i
		for j < len(sources) && sources[j] == sources[i] {
			j++
		}
		b.WriteByte(sources[i])
		b.WriteString(strconv.Itoa(j - i))
		i = j
	}
	return b.String()
}

// cut shortens a text that no reader of a page would read to its end, between runes.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… [%d bytes more]", s[:n], len(s)-n)
}
