package tokenizer

import (
	"fmt"
	"strings"
)

// BPE is byte-level byte-pair encoding as Hugging Face's tokenizer.json describes it: normalise, cut into words, merge the bytes
// of each word pair by pair, lowest rank first.
type BPE struct {
	tokens     [][]byte // by id; nil for special tokens
	names      []string // by id: of added tokens, the content; else ""
	added      map[string]int32
	exact      addedTokens // those looked for in a text as it is
	normalised addedTokens // those looked for in what lies between them, normalised
	normalise  func(string) string
	scanners   []scanner
	words      map[string]int32 // words that become one token
	byteID     [256]int32
	merges     map[uint64]merge // by pair, see pairOf
	bos        []int32
	eos        int32
	hash       string
}

var _ Tokenizer = (*BPE)(nil)

// Encode implements [Tokenizer].
func (t *BPE) Encode(text string) []int32 {
	var s scratch
	return t.encode(make([]int32, 0, len(text)/3+1), t.normalise(text), t.scanners, &s)
}

// EncodeTemplate implements [Tokenizer]. It finds all added tokens, leftmost first, at one place the longest.
func (t *BPE) EncodeTemplate(text string) []int32 {
	var s scratch
	ids := make([]int32, 0, len(text)/3+1)
	token := func(id int32) { ids = append(ids, id) }
	t.exact.cut(text, token, func(between string) {
		t.normalised.cut(t.normalise(between), token, func(plain string) { ids = t.encode(ids, plain, t.scanners, &s) })
	})
	return ids
}

// encode appends the ids of a text that is normalised and in which no added token is looked for. Each scanner cuts the pieces of the
// one before it; those of the last are words.
func (t *BPE) encode(ids []int32, text string, scanners []scanner, s *scratch) []int32 {
	for len(text) > 0 {
		n := scanners[0](text)
		piece := text[:n]
		text = text[n:]
		if len(scanners) > 1 {
			ids = t.encode(ids, piece, scanners[1:], s)
			continue
		}
		if id, ok := t.words[piece]; ok {
			ids = append(ids, id)
			continue
		}
		ids = t.mergeWord(ids, piece, s)
	}
	return ids
}

// addedTokens finds added tokens in a text.
type addedTokens struct {
	byFirst [256][]addedToken // by first byte, longest first
}

// cut goes through a text: token is called for each added token in it, between for what lies before, between and after them.
func (a *addedTokens) cut(text string, token func(id int32), between func(text string)) {
	from := 0
	for i := 0; i < len(text); {
		found := a.at(text[i:])
		if found == nil {
			i++
			continue
		}
		between(text[from:i])
		token(found.ID)
		i += len(found.Content)
		from = i
	}
	between(text[from:])
}

func (a *addedTokens) at(text string) *addedToken {
	same := a.byFirst[text[0]]
	for i := range same {
		if strings.HasPrefix(text, same[i].Content) {
			return &same[i]
		}
	}
	return nil
}

// Decode implements [Tokenizer].
func (t *BPE) Decode(ids []int32) string { return decode(t, ids) }

// Bytes implements [Tokenizer]. An added token that is not special has the bytes of its name.
func (t *BPE) Bytes(id int32) []byte {
	if id < 0 || int(id) >= len(t.tokens) {
		panic(fmt.Sprintf("tokenizer: id %d of a vocabulary of %d tokens", id, len(t.tokens)))
	}
	return t.tokens[id]
}

// Special implements [Tokenizer]. It knows all added tokens, those too that are text, such as <tool_call>.
func (t *BPE) Special(name string) (int32, bool) {
	id, ok := t.added[name]
	return id, ok
}

// Name implements [Tokenizer].
func (t *BPE) Name(id int32) string {
	if b := t.Bytes(id); b != nil {
		return string(b)
	}
	return t.names[id]
}

// Size implements [Tokenizer].
func (t *BPE) Size() int { return len(t.tokens) }

// BOS implements [Tokenizer]: what the file's post-processor says.
func (t *BPE) BOS() []int32 { return t.bos }

// EOS implements [Tokenizer].
func (t *BPE) EOS() int32 { return t.eos }

// Hash implements [Tokenizer]: of the file and the name of the end-of-text token.
func (t *BPE) Hash() string { return t.hash }
