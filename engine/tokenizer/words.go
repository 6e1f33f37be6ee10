package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"retool/engine/jsonfile"
)

// Greedy is a tokenizer that takes, from left to right, the longest piece that fits.
type Greedy struct {
	pieces   []string     // as given to Words: what Save writes
	tokens   [][]byte     // by id: the pieces, the bytes that are no piece, nil for specials
	specials []string     // names; ids follow those of tokens with bytes
	byFirst  [256][]int32 // ids by first byte, longest first: the last one is the byte itself
	hash     string
}

var _ Tokenizer = (*Greedy)(nil)

// Words makes a tokenizer of pieces. Ids are the places in the list, then come the bytes that are no piece of their own, in ascending
// order, then the special tokens, of which the first ends a text.
//
// A piece is valid UTF-8 and occurs once. A digit stands alone: a longer piece that holds one is an error, since numbers are to be read and
// written digit by digit.
func Words(pieces []string, specials []string) (*Greedy, error) {
	if len(specials) == 0 {
		return nil, fmt.Errorf("tokenizer: no special tokens: want at least the one that ends a text")
	}
	t := &Greedy{pieces: slices.Clone(pieces), specials: slices.Clone(specials)}
	ids := map[string]int{}
	for i, p := range slices.Concat(pieces, specials) {
		if before, ok := ids[p]; ok {
			return nil, fmt.Errorf("tokenizer: %q is both token %d and token %d of the list: want it once", p, before, i)
		}
		ids[p] = i
		switch {
		case p == "":
			return nil, fmt.Errorf("tokenizer: token %d of the list is empty", i)
		case !utf8.ValidString(p):
			return nil, fmt.Errorf("tokenizer: %q is not valid UTF-8: single bytes need not be listed", p)
		case i < len(pieces) && len(p) > 1 && strings.ContainsAny(p, "0123456789"):
			return nil, fmt.Errorf("tokenizer: piece %q holds a digit: digits are tokens of their own", p)
		}
	}
	for _, p := range pieces {
		t.tokens = append(t.tokens, []byte(p))
	}
	for b := range 256 {
		if _, ok := ids[string(rune(b))]; !ok || b >= utf8.RuneSelf {
			t.tokens = append(t.tokens, []byte{byte(b)})
		}
	}
	for id, p := range t.tokens {
		t.byFirst[p[0]] = append(t.byFirst[p[0]], int32(id))
	}
	for _, same := range t.byFirst {
		slices.SortFunc(same, func(a, b int32) int { return len(t.tokens[b]) - len(t.tokens[a]) })
	}
	t.tokens = append(t.tokens, make([][]byte, len(specials))...)
	sum := sha256.Sum256(t.marshal())
	t.hash = hex.EncodeToString(sum[:])
	return t, nil
}

// Encode implements [Tokenizer].
func (t *Greedy) Encode(text string) []int32 {
	ids := make([]int32, 0, len(text)/2+1)
	for len(text) > 0 {
		for _, id := range t.byFirst[text[0]] {
			if p := t.tokens[id]; len(p) <= len(text) && text[:len(p)] == string(p) {
				ids = append(ids, id)
				text = text[len(p):]
				break
			}
		}
	}
	return ids
}

// EncodeTemplate implements [Tokenizer].
func (t *Greedy) EncodeTemplate(text string) []int32 {
	var ids []int32
	for {
		// the leftmost name; of names that begin at one place, the longest
		at, which := len(text), -1
		for i, name := range t.specials {
			j := strings.Index(text, name)
			if j >= 0 && (j < at || j == at && which >= 0 && len(name) > len(t.specials[which])) {
				at, which = j, i
			}
		}
		ids = append(ids, t.Encode(text[:at])...)
		if which < 0 {
			return ids
		}
		ids = append(ids, t.special(which))
		text = text[at+len(t.specials[which]):]
	}
}

// Decode implements [Tokenizer].
func (t *Greedy) Decode(ids []int32) string { return decode(t, ids) }

// Bytes implements [Tokenizer].
func (t *Greedy) Bytes(id int32) []byte {
	if id < 0 || int(id) >= len(t.tokens) {
		panic(fmt.Sprintf("tokenizer: id %d of a vocabulary of %d tokens", id, len(t.tokens)))
	}
	return t.tokens[id]
}

// Special implements [Tokenizer].
func (t *Greedy) Special(name string) (int32, bool) {
	i := slices.Index(t.specials, name)
	if i < 0 {
		return 0, false
	}
	return t.special(i), true
}

func (t *Greedy) special(i int) int32 { return int32(len(t.tokens) - len(t.specials) + i) }

// Name implements [Tokenizer].
func (t *Greedy) Name(id int32) string {
	if b := t.Bytes(id); b != nil {
		return string(b)
	}
	return t.specials[int(id)-(len(t.tokens)-len(t.specials))]
}

// Size implements [Tokenizer].
func (t *Greedy) Size() int { return len(t.tokens) }

// BOS implements [Tokenizer]: nothing.
func (t *Greedy) BOS() []int32 { return nil }

// EOS implements [Tokenizer]: the first special token.
func (t *Greedy) EOS() int32 { return t.special(0) }

// Hash implements [Tokenizer]: of what Save writes.
func (t *Greedy) Hash() string { return t.hash }

// greedyFormat is the first thing in a file that holds a Greedy tokenizer.
const greedyFormat = "retool-words-1"

type greedyFile struct {
	Format   string   `json:"format"`
	Specials []string `json:"specials"`
	Pieces   []string `json:"pieces"`
}

func (t *Greedy) marshal() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(greedyFile{greedyFormat, t.specials, t.pieces}); err != nil {
		panic(err) // strings only
	}
	return b.Bytes()
}

// Save writes the tokenizer as JSON, which [Open] reads as a folder's tokenizer.json.
func (t *Greedy) Save(w io.Writer) error {
	if _, err := w.Write(t.marshal()); err != nil {
		return fmt.Errorf("tokenizer: save: %w", err)
	}
	return nil
}

// loadWords reads what Save wrote.
func loadWords(data []byte) (*Greedy, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f greedyFile
	if err := jsonfile.Plain(dec.Decode(&f)); err != nil {
		return nil, err
	}
	if f.Format != greedyFormat {
		return nil, fmt.Errorf("format is %q, want %q", f.Format, greedyFormat)
	}
	return Words(f.Pieces, f.Specials)
}
