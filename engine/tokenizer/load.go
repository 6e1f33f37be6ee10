package tokenizer

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"retool/engine/jsonfile"
)

// loadBPE reads a tokenizer.json of Hugging Face. eos is the content of the added token that ends a text, "" if none is known. A
// normaliser, a pre-tokeniser, a post-processor, an option or a decoder that this package does not reproduce exactly is an error that
// names it.
func loadBPE(data []byte, eos string) (*BPE, error) {
	var f bpeFile
	if err := jsonfile.Unmarshal(data, &f); err != nil {
		var kind struct{ Model struct{ Type string } }
		if json.Unmarshal(data, &kind) == nil && kind.Model.Type != "" && kind.Model.Type != "BPE" {
			err = notBPE(kind.Model.Type) // whose vocabulary has another form
		}
		return nil, err
	}
	t, err := f.build(eos)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(eos+"\x00"), data...))
	t.hash = hex.EncodeToString(sum[:])
	return t, nil
}

// build makes the tables.
func (f *bpeFile) build(eos string) (*BPE, error) {
	t := &BPE{added: make(map[string]int32, len(f.Added))}
	var err error
	if err = f.checkModel(); err != nil {
		return nil, err
	}
	if t.normalise, err = f.normaliser(); err != nil {
		return nil, err
	}
	if t.scanners, err = f.scanners(); err != nil {
		return nil, err
	}
	special, err := f.addTokens(t)
	if err != nil {
		return nil, err
	}
	plain, err := f.addVocabulary(t, special)
	if err != nil {
		return nil, err
	}
	for b := range 256 {
		id, ok := plain[string([]byte{byte(b)})]
		if !ok {
			if id = noByte; f.Model.UnkToken != "" {
				return nil, fmt.Errorf("the vocabulary lacks byte %#02x, for which %q would stand (model.unk_token), which is not supported",
					b, f.Model.UnkToken)
			}
		}
		t.byteID[b] = id
	}
	if err := f.readMerges(t); err != nil {
		return nil, err
	}
	t.fillWords(plain, f.Model.IgnoreMerges)
	if t.bos, err = f.bos(len(t.tokens)); err != nil {
		return nil, err
	}
	t.eos = NoEOS
	if eos != "" {
		var ok bool
		if t.eos, ok = t.Special(eos); !ok {
			return nil, fmt.Errorf("the end of a text is %q, which is no added token", eos)
		}
	}
	return t, nil
}

type vocabularyEntry struct {
	text string
	id   int32
}

// entries are the vocabulary by id, and of one id by text: a fault of a file is the same each time.
func (f *bpeFile) entries() []vocabularyEntry {
	list := make([]vocabularyEntry, 0, len(f.Model.Vocab))
	for text, id := range f.Model.Vocab {
		list = append(list, vocabularyEntry{text, id})
	}
	slices.SortFunc(list, func(a, b vocabularyEntry) int {
		return cmp.Or(cmp.Compare(a.id, b.id), strings.Compare(a.text, b.text))
	})
	return list
}

// size is the number of ids. They must be dense: an id below the size can be sampled, so each has to be a token.
func (f *bpeFile) size() (int, error) {
	size := 0
	if list := f.entries(); len(list) > 0 {
		if first := list[0]; first.id < 0 {
			return 0, fmt.Errorf("vocabulary entry %q has id %d", first.text, first.id)
		}
		size = int(list[len(list)-1].id) + 1
	}
	for i, a := range f.Added {
		if a.ID < 0 || a.Content == "" {
			return 0, fmt.Errorf("added token %d is %q, id %d", i, a.Content, a.ID)
		}
		size = max(size, int(a.ID)+1)
	}
	if limit := len(f.Model.Vocab) + len(f.Added); size > limit {
		return 0, fmt.Errorf("id %d occurs, but there are only %d tokens: ids are not dense", size-1, limit)
	}
	return size, nil
}

// addTokens enters the added tokens and returns which ids are theirs, and whether they are special.
func (f *bpeFile) addTokens(t *BPE) (special map[int32]bool, err error) {
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	t.tokens, t.names = make([][]byte, size), make([]string, size)
	special = make(map[int32]bool, len(f.Added))
	for _, a := range f.Added {
		if _, taken := special[a.ID]; taken {
			return nil, fmt.Errorf("added token %q has id %d, which is taken", a.Content, a.ID)
		}
		if a.SingleWord || a.LStrip || a.RStrip {
			return nil, fmt.Errorf("added token %q sets single_word, lstrip or rstrip, which are not supported", a.Content)
		}
		special[a.ID] = a.Special
		t.names[a.ID], t.added[a.Content] = a.Content, a.ID
		if !a.Special {
			t.tokens[a.ID] = []byte(a.Content)
		}
		index := &t.exact
		if a.Normalized {
			index, a.Content = &t.normalised, t.normalise(a.Content)
		}
		same := &index.byFirst[a.Content[0]]
		*same = append(*same, a)
	}
	for _, index := range []*addedTokens{&t.exact, &t.normalised} {
		for _, same := range index.byFirst {
			slices.SortStableFunc(same, func(a, b addedToken) int { return len(b.Content) - len(a.Content) })
		}
	}
	return special, nil
}

// addVocabulary enters the vocabulary and returns it by bytes, without special tokens.
func (f *bpeFile) addVocabulary(t *BPE, special map[int32]bool) (map[string]int32, error) {
	plain := make(map[string]int32, len(f.Model.Vocab))
	for _, e := range f.entries() {
		entry, id := e.text, e.id
		isSpecial, isAdded := special[id]
		if isAdded && t.names[id] != entry {
			return nil, fmt.Errorf("id %d is vocabulary entry %q and added token %q", id, entry, t.names[id])
		}
		if isSpecial {
			continue
		}
		b, err := spelledBytes(entry)
		switch {
		case isAdded && err != nil:
			continue // reached by its name alone
		case err != nil:
			return nil, fmt.Errorf("vocabulary entry %w", err)
		case !isAdded && t.tokens[id] != nil:
			return nil, fmt.Errorf("id %d is both %q and %q", id, t.tokens[id], b)
		case !isAdded:
			t.tokens[id] = b
		}
		plain[string(b)] = id
	}
	for id := range t.tokens {
		if t.tokens[id] == nil && t.names[id] == "" {
			return nil, fmt.Errorf("no token has id %d: ids are not dense", id)
		}
	}
	return plain, nil
}

// readMerges fills t.merges. A merge of or into a special token is left out: text never becomes one. Of a merge listed twice the
// later rank counts, as in the reference.
func (f *bpeFile) readMerges(t *BPE) error {
	vocab, merges := f.Model.Vocab, f.Model.Merges
	t.merges = make(map[uint64]merge, len(merges))
	for rank, m := range merges {
		a, okA := vocab[m[0]]
		b, okB := vocab[m[1]]
		id, ok := vocab[m[0]+m[1]]
		if !okA || !okB || !ok {
			return fmt.Errorf("merge %d of %q and %q: one of them, or what they make, is not in the vocabulary", rank, m[0], m[1])
		}
		if t.tokens[a] != nil && t.tokens[b] != nil && t.tokens[id] != nil {
			t.merges[pairOf(a, b)] = merge{int32(rank), id}
		}
	}
	return nil
}

// fillWords finds the vocabulary entries that are the encoding of their own bytes. Most words of a text are among them, and need no
// merging. With whole, an entry is used without looking at its merges, as Llama 3 does.
func (t *BPE) fillWords(plain map[string]int32, whole bool) {
	t.words = make(map[string]int32, len(plain))
	var s scratch
	for word, id := range plain {
		if whole || len(word) == 1 {
			t.words[word] = id
			continue
		}
		if s.ids = t.mergeWord(s.ids[:0], word, &s); len(s.ids) == 1 && s.ids[0] == id {
			t.words[word] = id
		}
	}
}

var errPair = errors.New("want a string of two entries with one space between, or an array of two")
