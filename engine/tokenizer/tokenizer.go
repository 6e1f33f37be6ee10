package tokenizer

import "unicode/utf8"

// A Tokenizer maps text to token ids and back. It is immutable and safe for concurrent use. An id outside [0, Size()) panics.
type Tokenizer interface {
	// Encode tokenises untrusted text. It never yields a special token.
	Encode(text string) []int32
	// EncodeTemplate tokenises trusted text, in which the name of a special token becomes that token.
	EncodeTemplate(text string) []int32
	// Decode joins the bytes of the tokens. Special tokens have none.
	Decode(ids []int32) string
	// Bytes returns the bytes of one token, nil for a special one. The caller does not change them.
	Bytes(id int32) []byte
	// Special returns the id of the special token of that name.
	Special(name string) (id int32, ok bool)
	// Name returns a token as people write it: the name of a special token, or its text.
	Name(id int32) string
	// Size is the number of tokens. All ids from 0 to Size()-1 exist.
	Size() int
	// BOS is what stands before a text, by the folder's own word; most models have nothing there. The caller does not change it.
	BOS() []int32
	// EOS is the added token that ends a text, NoEOS if the folder's tokenizer names none.
	EOS() int32
	// Hash identifies the vocabulary and its rule: SHA-256, hexadecimal.
	Hash() string
}

// NoEOS is the EOS of a tokenizer that does not say how a text ends.
const NoEOS = -1

// A Stream decodes tokens as they come. A character whose bytes are spread over several tokens appears once it is whole; at most three
// bytes are held back. What Next and finally Flush return, joined, is what Decode returns for all tokens at once.
type Stream struct {
	t    Tokenizer
	tail []byte
}

// NewStream starts a stream of t's tokens.
func NewStream(t Tokenizer) *Stream { return &Stream{t: t} }

// Next returns the text that the token completes.
func (s *Stream) Next(id int32) string {
	s.tail = append(s.tail, s.t.Bytes(id)...)
	whole := len(s.tail)
	for i := len(s.tail) - 1; i >= 0 && i >= len(s.tail)-utf8.UTFMax+1; i-- {
		if utf8.RuneStart(s.tail[i]) {
			if !utf8.FullRune(s.tail[i:]) {
				whole = i
			}
			break
		}
	}
	text := string(s.tail[:whole])
	s.tail = append(s.tail[:0], s.tail[whole:]...)
	return text
}

// Flush returns the bytes held back: the beginning of a character that never ended.
func (s *Stream) Flush() string {
	text := string(s.tail)
	s.tail = s.tail[:0]
	return text
}

// decode is Decode in terms of Bytes.
func decode(t Tokenizer, ids []int32) string {
	var b []byte
	for _, id := range ids {
		b = append(b, t.Bytes(id)...)
	}
	return string(b)
}
