package tokenizer

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// BPE is byte-level byte-pair encoding as Hugging Face's tokenizer.json describes it: normalise, cut into words, merge the bytes
// of each word pair by pair, lowest rank first.
type BPE struct {
	tokens    [][]byte // by id; nil for special tokens
	names     []string // by id: of added tokens, the content; else ""
	added     []addedToken
	addedByB  [256][]int32     // indices into added by first byte, longest first
	merges    map[uint64]merge // by pair, see pairOf
	words     map[string]int32 // words that become one token
	byteID    [256]int32
	split     func(text string) int
	normalise func(string) string
	eos       int32
	hash      string
}

var _ Tokenizer = (*BPE)(nil)

type merge struct{ rank, id int32 }

func pairOf(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	Special    bool   `json:"special"`
	Normalized bool   `json:"normalized"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
}

// Open loads the tokenizer of a model folder: tokenizer.json in our format or in Hugging Face's. For the latter,
// tokenizer_config.json names the end of a text.
func Open(dir string) (Tokenizer, error) {
	data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: open: %w", err)
	}
	if head := data[:min(len(data), 200)]; bytes.Contains(head, []byte(greedyFormat)) {
		return Load(bytes.NewReader(data))
	}
	const config = "tokenizer_config.json"
	raw, err := os.ReadFile(filepath.Join(dir, config))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: open: %w", err)
	}
	var c struct {
		EOS json.RawMessage `json:"eos_token"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("tokenizer: open %s: %w", config, err)
	}
	var eos string
	var object struct {
		Content string `json:"content"`
	}
	switch {
	case c.EOS == nil:
		return nil, fmt.Errorf("tokenizer: open %s: eos_token is missing", config)
	case json.Unmarshal(c.EOS, &eos) == nil:
	case json.Unmarshal(c.EOS, &object) == nil:
		eos = object.Content
	default:
		return nil, fmt.Errorf("tokenizer: open %s: eos_token is %s: want a string or an object with content", config, c.EOS)
	}
	return LoadBPE(bytes.NewReader(data), eos)
}

// LoadBPE reads a tokenizer.json of Hugging Face. eos is the content of the added token that ends a text. A normaliser, a
// pre-tokeniser, an option or a decoder that this package does not reproduce exactly is an error that names it.
//
// The post-processor, which would put a beginning-of-text token in front, is not applied: that is the chat template's part.
func LoadBPE(r io.Reader, eos string) (*BPE, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: load: %w", err)
	}
	var f bpeFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: load: %w", err)
	}
	t, err := f.build(eos)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: load: %w", err)
	}
	sum := sha256.Sum256(append([]byte(eos+"\x00"), data...))
	t.hash = hex.EncodeToString(sum[:])
	return t, nil
}

// build makes the tables. Ids must be dense: an id below Size can be sampled, so each has to be a token.
func (f *bpeFile) build(eos string) (*BPE, error) {
	t := &BPE{added: f.Added}
	var err error
	if t.normalise, err = f.normaliser(); err != nil {
		return nil, err
	}
	if t.split, err = f.splitter(); err != nil {
		return nil, err
	}
	if err := f.checkRest(); err != nil {
		return nil, err
	}
	size := 0
	for _, id := range f.Model.Vocab {
		size = max(size, int(id)+1)
	}
	for _, a := range f.Added {
		size = max(size, int(a.ID)+1)
	}
	if limit := len(f.Model.Vocab) + len(f.Added); size > limit {
		return nil, fmt.Errorf("id %d occurs, but there are only %d tokens: ids are not dense", size-1, limit)
	}
	t.tokens, t.names = make([][]byte, size), make([]string, size)
	isAdded := make(map[int32]bool, len(f.Added))
	special := make(map[int32]bool, len(f.Added))
	for i, a := range f.Added {
		switch {
		case a.ID < 0 || a.Content == "":
			return nil, fmt.Errorf("added token %d is %q, id %d", i, a.Content, a.ID)
		case isAdded[a.ID]:
			return nil, fmt.Errorf("added token %q has id %d, which is taken", a.Content, a.ID)
		case a.SingleWord || a.LStrip || a.RStrip:
			return nil, fmt.Errorf("added token %q sets single_word, lstrip or rstrip, which are not supported", a.Content)
		case a.Normalized && f.normalises() && t.normalise(a.Content) != a.Content:
			return nil, fmt.Errorf("added token %q is to be matched in normalised text, which is not supported", a.Content)
		}
		isAdded[a.ID], special[a.ID] = true, a.Special
		t.names[a.ID] = a.Content
		if !a.Special {
			t.tokens[a.ID] = []byte(a.Content)
		}
		t.addedByB[a.Content[0]] = append(t.addedByB[a.Content[0]], int32(i))
	}
	for _, same := range t.addedByB {
		slices.SortFunc(same, func(a, b int32) int { return len(f.Added[b].Content) - len(f.Added[a].Content) })
	}
	plain := make(map[string]int32, len(f.Model.Vocab)) // by bytes, without the special ones
	for entry, id := range f.Model.Vocab {
		if id < 0 {
			return nil, fmt.Errorf("vocabulary entry %q has id %d", entry, id)
		}
		if isAdded[id] {
			if t.names[id] != entry {
				return nil, fmt.Errorf("id %d is vocabulary entry %q and added token %q", id, entry, t.names[id])
			}
			if special[id] {
				continue
			}
		}
		b, err := spelledBytes(entry)
		if err != nil {
			if isAdded[id] {
				continue // reached by its name alone
			}
			return nil, fmt.Errorf("vocabulary entry %w", err)
		}
		if before := t.tokens[id]; before != nil && !isAdded[id] {
			return nil, fmt.Errorf("id %d is both %q and %q", id, before, b)
		}
		if !isAdded[id] {
			t.tokens[id] = b
		}
		plain[string(b)] = id
	}
	for id := range t.tokens {
		if t.tokens[id] == nil && !isAdded[int32(id)] {
			return nil, fmt.Errorf("no token has id %d: ids are not dense", id)
		}
	}
	for b := range 256 {
		id, ok := plain[string([]byte{byte(b)})]
		if !ok {
			return nil, fmt.Errorf("the vocabulary lacks byte %#02x, so some texts cannot be written", b)
		}
		t.byteID[b] = id
	}
	if err := f.readMerges(t); err != nil {
		return nil, err
	}
	t.fillWords(plain, f.Model.IgnoreMerges)
	var ok bool
	if t.eos, ok = t.Special(eos); !ok {
		return nil, fmt.Errorf("the end of a text is %q, which is no added token", eos)
	}
	return t, nil
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

// Encode implements [Tokenizer].
func (t *BPE) Encode(text string) []int32 {
	var s scratch
	return t.encode(make([]int32, 0, len(text)/3+1), text, &s)
}

// EncodeTemplate implements [Tokenizer]. It finds all added tokens, leftmost first, at one place the longest.
func (t *BPE) EncodeTemplate(text string) []int32 {
	var s scratch
	ids := make([]int32, 0, len(text)/3+1)
	from := 0
	for i := 0; i < len(text); {
		a := t.addedAt(text[i:])
		if a == nil {
			i++
			continue
		}
		ids = append(t.encode(ids, text[from:i], &s), a.ID)
		i += len(a.Content)
		from = i
	}
	return t.encode(ids, text[from:], &s)
}

func (t *BPE) addedAt(text string) *addedToken {
	for _, i := range t.addedByB[text[0]] {
		if strings.HasPrefix(text, t.added[i].Content) {
			return &t.added[i]
		}
	}
	return nil
}

// encode appends the ids of a text in which no added token is looked for.
func (t *BPE) encode(ids []int32, text string, s *scratch) []int32 {
	for text = t.normalise(text); len(text) > 0; {
		n := t.split(text)
		word := text[:n]
		text = text[n:]
		if id, ok := t.words[word]; ok {
			ids = append(ids, id)
			continue
		}
		ids = t.mergeWord(ids, word, s)
	}
	return ids
}

// scratch is the memory of one call of Encode.
type scratch struct {
	ids   []int32
	parts []part
	queue mergeQueue
}

// A part is a token of a word in the making; parts are a doubly linked list, in the order of the text.
type part struct {
	id         int32 // -1 once it is merged into its left neighbour
	prev, next int32 // -1 at the ends
}

// candidate is a pair that could be merged: the part at index left with the next one.
type candidate struct {
	rank, left int32
	pair       uint64 // what the two were when the candidate was queued
}

// mergeQueue is a heap: lowest rank first, of equal ranks the leftmost.
type mergeQueue []candidate

func (q mergeQueue) Len() int      { return len(q) }
func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q mergeQueue) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].left < q[j].left
}
func (q *mergeQueue) Push(x any) { *q = append(*q, x.(candidate)) }
func (q *mergeQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// scanLimit is up to how many bytes the next merge is found by looking at all pairs, which is quicker than a heap for the words of
// ordinary text and quadratic for the others.
const scanLimit = 48

// mergeWord appends the ids of one word.
func (t *BPE) mergeWord(ids []int32, word string, s *scratch) []int32 {
	if len(word) <= scanLimit {
		return t.mergeShort(ids, word)
	}
	s.parts, s.queue = s.parts[:0], s.queue[:0]
	for i := range len(word) {
		s.parts = append(s.parts, part{t.byteID[word[i]], int32(i) - 1, int32(i) + 1})
	}
	s.parts[len(word)-1].next = -1
	for i := range s.parts {
		t.queueAt(s, int32(i))
	}
	heap.Init(&s.queue)
	for len(s.queue) > 0 {
		c := heap.Pop(&s.queue).(candidate)
		left := &s.parts[c.left]
		if left.id < 0 || left.next < 0 || pairOf(left.id, s.parts[left.next].id) != c.pair {
			continue // one of the two has been merged with another since
		}
		right := &s.parts[left.next]
		left.id, right.id = t.merges[c.pair].id, -1
		if left.next = right.next; left.next >= 0 {
			s.parts[left.next].prev = c.left
		}
		n := len(s.queue)
		if left.prev >= 0 {
			t.queueAt(s, left.prev)
		}
		t.queueAt(s, c.left)
		for ; n < len(s.queue); n++ {
			heap.Fix(&s.queue, n)
		}
	}
	for i := int32(0); i >= 0; i = s.parts[i].next {
		ids = append(ids, s.parts[i].id)
	}
	return ids
}

// queueAt appends, out of heap order, the pair that begins at part i, if it can be merged.
func (t *BPE) queueAt(s *scratch, i int32) {
	next := s.parts[i].next
	if next < 0 {
		return
	}
	pair := pairOf(s.parts[i].id, s.parts[next].id)
	if m, ok := t.merges[pair]; ok {
		s.queue = append(s.queue, candidate{m.rank, i, pair})
	}
}

// mergeShort is mergeWord for a word of at most scanLimit bytes.
func (t *BPE) mergeShort(ids []int32, word string) []int32 {
	var parts [scanLimit]int32
	var found [scanLimit]merge // found[i] merges parts i and i+1; rank < 0: nothing does
	n := len(word)
	for i := range n {
		parts[i] = t.byteID[word[i]]
	}
	look := func(i int) {
		m, ok := t.merges[pairOf(parts[i], parts[i+1])]
		if !ok {
			m.rank = -1
		}
		found[i] = m
	}
	for i := range n - 1 {
		look(i)
	}
	for {
		best := -1
		for i := range n - 1 {
			if found[i].rank >= 0 && (best < 0 || found[i].rank < found[best].rank) {
				best = i
			}
		}
		if best < 0 {
			return append(ids, parts[:n]...)
		}
		parts[best] = found[best].id
		copy(parts[best+1:], parts[best+2:n])
		copy(found[best:], found[best+1:n-1])
		n--
		if best > 0 {
			look(best - 1)
		}
		if best < n-1 {
			look(best)
		}
	}
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
	if name == "" {
		return 0, false
	}
	for _, i := range t.addedByB[name[0]] {
		if t.added[i].Content == name {
			return t.added[i].ID, true
		}
	}
	return 0, false
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

// EOS implements [Tokenizer].
func (t *BPE) EOS() int32 { return t.eos }

// Hash implements [Tokenizer]: of the file and the end-of-text token.
func (t *BPE) Hash() string { return t.hash }

var errPair = errors.New("want a string of two entries with one space between, or an array of two")
