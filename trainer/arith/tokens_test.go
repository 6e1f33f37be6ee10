package arith_test

import (
	"slices"
	"strings"
	"testing"

	"retool/engine/tokenizer"
	"retool/trainer/arith"
	"retool/trainer/data"
)

func words(t *testing.T) *tokenizer.Greedy {
	t.Helper()
	tok, err := tokenizer.Words(arith.Vocabulary())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// Lengths decide what the demo costs: a vocabulary that no longer fits the wording shows up here.
func TestPromptsAndTracesAreShort(t *testing.T) {
	tok := words(t)
	const n = 2000
	var prompt, response, observed, calls, called int
	longest := 0
	for _, tr := range arith.Arithmetic.Traces(1, n, arith.DefaultMix()) {
		p := len(tok.Encode(tr.Problem.Question + "\n"))
		r := 1 // the end of the text
		for _, s := range tr.Segments {
			k := len(tok.Encode(s.Text))
			r += k
			if s.Source == data.Tool {
				observed += k
				calls++
			}
		}
		if len(tr.Segments) > 1 {
			called += r
		}
		prompt, response, longest = prompt+p, response+r, max(longest, p+r)
	}
	with := 0
	for _, tr := range arith.Arithmetic.Traces(1, n, arith.DefaultMix()) {
		if len(tr.Segments) > 1 {
			with++
		}
	}
	t.Logf("%d tokens in the vocabulary; mean prompt %.1f, response %.1f (with code %.1f), of which observation %.1f; "+
		"%.2f calls; longest prompt and response %d",
		tok.Size(), float64(prompt)/n, float64(response)/n, float64(called)/float64(with), float64(observed)/n, float64(calls)/n, longest)
	if float64(prompt)/n > 15 || float64(response)/n > 30 || longest > 128 {
		t.Errorf("mean prompt %.1f, mean response %.1f, longest %d: want at most 15, 30 and 128", float64(prompt)/n, float64(response)/n, longest)
	}
}

// The text of the task is covered by its phrases: what is left to single letters is a slip in Vocabulary.
func TestNoWordIsSpelledOut(t *testing.T) {
	tok := words(t)
	letters := func(text string) bool {
		for _, id := range tok.Encode(text) {
			if b := tok.Bytes(id); len(b) == 1 && (b[0] >= 'a' && b[0] <= 'z' || b[0] >= 'A' && b[0] <= 'Z') {
				return true
			}
		}
		return false
	}
	for _, tr := range arith.Arithmetic.Traces(3, 5000, arith.DefaultMix()) {
		if q := tr.Problem.Question + "\n"; letters(q) {
			t.Fatalf("the question %q is spelled out", q)
		}
		for _, s := range tr.Segments {
			if letters(s.Text) {
				t.Fatalf("%q is spelled out", s.Text)
			}
		}
	}
}

// The token that completes a call ends with it, so what the runtime appends never begins inside a token.
func TestCallsEndWithAToken(t *testing.T) {
	tok := words(t)
	for _, tr := range arith.Arithmetic.Traces(4, 1000, arith.DefaultMix()) {
		var joined []int32
		var text strings.Builder
		for i, s := range tr.Segments {
			ids := tok.Encode(s.Text)
			if s.Source == data.Policy && i < len(tr.Segments)-1 && !strings.HasSuffix(tok.Name(ids[len(ids)-1]), "</code>") {
				t.Fatalf("%q: the last token is %q", s.Text, tok.Name(ids[len(ids)-1]))
			}
			joined = append(joined, ids...)
			text.WriteString(s.Text)
		}
		// Segments tokenised one by one and the whole response tokenised at once are the same tokens.
		if whole := tok.Encode(text.String()); !slices.Equal(whole, joined) {
			t.Fatalf("%q: tokens differ between the whole and its segments", text.String())
		}
	}
}
