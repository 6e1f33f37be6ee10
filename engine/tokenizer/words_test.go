package tokenizer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// small is a vocabulary in which pieces begin and overlap one another.
func small(t interface{ Fatal(...any) }) *Greedy {
	tok, err := Words(
		[]string{"a", "ab", "abc", "bcd", "\n", "</code>", "\n```\n</code>", "<eos", "é", "éa", "7", "日"},
		[]string{"<eos>", "<eos><eos>", "<pad>"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// text draws strings in which pieces, specials, cut characters and noise meet.
func text() *rapid.Generator[string] {
	bit := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "ab", "abc", "abcd", "bcd", "\n```\n</code>", "</code>", "<eos>", "<pad>",
			"é", "\xc3", "\xa9", "日本", "\xe6\x97", "123", "\x00", "\xff"}),
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }),
	)
	return rapid.Map(rapid.SliceOfN(bit, 0, 8), func(bits []string) string { return strings.Join(bits, "") })
}

func TestEveryTextComesBack(t *testing.T) {
	tok := small(t)
	rapid.Check(t, func(t *rapid.T) {
		s := text().Draw(t, "text")
		if got := tok.Decode(tok.Encode(s)); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

// The definition, slowly: among all tokens that fit here, the longest.
func TestEncodeTakesTheLongestPiece(t *testing.T) {
	tok := small(t)
	rapid.Check(t, func(t *rapid.T) {
		s := text().Draw(t, "text")
		var want []int32
		for rest := s; rest != ""; {
			best := int32(-1)
			for id := range int32(tok.Size()) {
				if b := tok.Bytes(id); b != nil && strings.HasPrefix(rest, string(b)) && (best < 0 || len(b) > len(tok.Bytes(best))) {
					best = id
				}
			}
			want = append(want, best)
			rest = rest[len(tok.Bytes(best)):]
		}
		if got := tok.Encode(s); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", s, got, want)
		}
	})
}

func TestUntrustedTextYieldsNoSpecialToken(t *testing.T) {
	tok := small(t)
	rapid.Check(t, func(t *rapid.T) {
		s := text().Draw(t, "text")
		for _, id := range tok.Encode(s) {
			if tok.Bytes(id) == nil {
				t.Fatalf("%q yields %s", s, tok.Name(id))
			}
		}
	})
}

func TestTemplatesYieldSpecialTokens(t *testing.T) {
	tok := small(t)
	eos, _ := tok.Special("<eos>")
	two, _ := tok.Special("<eos><eos>")
	pad, _ := tok.Special("<pad>")
	for _, c := range []struct {
		text string
		want []int32
	}{
		{"", nil},
		{"<eos>", []int32{eos}},
		{"<pad>ab<eos>", slices.Concat([]int32{pad}, tok.Encode("ab"), []int32{eos})},
		{"<eos><eos><eos>", []int32{two, eos}},
		{"<eos", tok.Encode("<eos")},
	} {
		if got := tok.EncodeTemplate(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
	if tok.EOS() != eos || tok.Name(pad) != "<pad>" || tok.Name(tok.Encode("abc")[0]) != "abc" {
		t.Error("names and ids of special tokens do not agree")
	}
	if _, ok := tok.Special("ab"); ok {
		t.Error("a piece is called special")
	}
	if got := tok.Decode([]int32{eos, tok.Encode("a")[0], pad}); got != "a" {
		t.Errorf("special tokens decode to %q, want nothing", got)
	}
}

func TestDigitsStandAlone(t *testing.T) {
	tok := small(t)
	for _, s := range []string{"0", "1234567890", "77"} {
		if got := len(tok.Encode(s)); got != len(s) {
			t.Errorf("%q is %d tokens", s, got)
		}
	}
}

func TestStreamEqualsBatch(t *testing.T) {
	tok := small(t)
	rapid.Check(t, func(t *rapid.T) { checkStream(t, tok, text().Draw(t, "text")) })
	// tokens in any order, special ones among them
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.Int32Range(0, int32(tok.Size()-1))).Draw(t, "ids")
		streamed(t, tok, ids)
	})
}

func checkStream(t *rapid.T, tok Tokenizer, s string) {
	ids := tok.Encode(s)
	parts := streamed(t, tok, ids)
	if !strings.Contains(s, "\xff") && isValid(s) {
		for _, p := range parts {
			if !isValid(p) {
				t.Fatalf("%q: part %q is not whole characters", s, p)
			}
		}
	}
}

// streamed decodes ids one by one and compares with the batch; it returns the parts.
func streamed(t *rapid.T, tok Tokenizer, ids []int32) []string {
	stream := NewStream(tok)
	var parts []string
	for _, id := range ids {
		parts = append(parts, stream.Next(id))
		if len(stream.tail) > 3 {
			t.Fatalf("%d bytes are held back", len(stream.tail))
		}
	}
	parts = append(parts, stream.Flush())
	if got, want := strings.Join(parts, ""), tok.Decode(ids); got != want {
		t.Fatalf("streamed %q, decoded at once %q", got, want)
	}
	return parts
}

func isValid(s string) bool { return strings.ToValidUTF8(s, "?") == s }

func TestVocabularySurvivesTheFile(t *testing.T) {
	tok := small(t)
	var buf bytes.Buffer
	if err := tok.Save(&buf); err != nil {
		t.Fatal(err)
	}
	file := buf.String()
	got, err := loadWords([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash() != tok.Hash() || got.Size() != tok.Size() || got.EOS() != tok.EOS() {
		t.Error("the vocabulary changed in the file")
	}
	rapid.Check(t, func(t *rapid.T) {
		s := text().Draw(t, "text")
		if !slices.Equal(got.Encode(s), tok.Encode(s)) {
			t.Fatalf("%q is tokenised differently after a round trip", s)
		}
	})
	other, err := Words([]string{"b", "a"}, []string{"<eos>"})
	if err != nil {
		t.Fatal(err)
	}
	same, _ := Words([]string{"a", "b"}, []string{"<eos>"})
	if other.Hash() == same.Hash() || other.Hash() == tok.Hash() {
		t.Error("different vocabularies share a hash")
	}
	for _, bad := range []struct{ file, want string }{
		{"", "unexpected end of JSON input"},
		{strings.Replace(file, "retool-words-1", "retool-words-9", 1), `format is "retool-words-9"`},
		{strings.Replace(file, `"pieces"`, `"piece"`, 1), `unknown field "piece"`},
	} {
		if _, err := loadWords([]byte(bad.file)); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%.30q: %v, want an error with %s", bad.file, err, bad.want)
		}
	}
}

func TestBadVocabulariesAreRefused(t *testing.T) {
	eos := []string{"<eos>"}
	for _, c := range []struct {
		pieces, specials []string
		want             string
	}{
		{[]string{"a"}, nil, "no special tokens"},
		{[]string{"a", "b", "a"}, eos, `"a" is both token 0 and token 2`},
		{[]string{"<eos>"}, eos, `"<eos>" is both`},
		{[]string{""}, eos, "token 0 of the list is empty"},
		{[]string{"\xff"}, eos, "not valid UTF-8"},
		{[]string{"x1"}, eos, `piece "x1" holds a digit`},
	} {
		if _, err := Words(c.pieces, c.specials); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want an error with %s", c.pieces, err, c.want)
		}
	}
}

func TestIdsOutsideTheVocabularyPanic(t *testing.T) {
	tok := small(t)
	for _, id := range []int32{-1, int32(tok.Size())} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("id %d has bytes", id)
				}
			}()
			tok.Bytes(id)
		}()
	}
}
