package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

var fixtures = []struct{ name, eos string }{{"qwen2", "<|im_end|>"}, {"llama3", "<|eot_id|>"}, {"gpt2", "<|endoftext|>"}}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func loadFixture(t testing.TB, name, eos string) *BPE {
	t.Helper()
	tok, err := LoadBPE(bytes.NewReader(fixture(t, name)), eos)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// One text, and what tokenizers 0.23.2 makes of it; see testdata/generate.py.
type oracleRow struct {
	Text     string
	IDs      []int32 // without added tokens
	Decoded  string
	Template []int32 // with them, where that differs
	Shown    string
}

func oracle(t testing.TB, name string) []oracleRow {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []oracleRow
	for dec := json.NewDecoder(bufio.NewReader(f)); dec.More(); {
		var row oracleRow
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestBPEEqualsTheReference(t *testing.T) {
	for _, f := range fixtures {
		tok := loadFixture(t, f.name, f.eos)
		wrong, templates := 0, 0
		rows := oracle(t, f.name)
		for _, row := range rows {
			if got := tok.Encode(row.Text); !slices.Equal(got, row.IDs) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s: %q\n got  %v\n want %v", f.name, row.Text, pieces(tok, got), pieces(tok, row.IDs))
				}
			}
			if got := strings.ToValidUTF8(tok.Decode(row.IDs), "\ufffd"); got != row.Decoded {
				t.Errorf("%s: %v decodes to %q, want %q", f.name, row.IDs, got, row.Decoded)
			}
			want, shown := row.Template, row.Shown
			if want == nil {
				want, shown = row.IDs, row.Decoded
			} else {
				templates++
			}
			if got := tok.EncodeTemplate(row.Text); !slices.Equal(got, want) {
				t.Errorf("%s: template %q\n got  %v\n want %v", f.name, row.Text, pieces(tok, got), pieces(tok, want))
			}
			if got := strings.ToValidUTF8(tok.Decode(want), "\ufffd"); got != shown {
				t.Errorf("%s: template %v decodes to %q, want %q", f.name, want, got, shown)
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d texts are encoded differently", f.name, wrong, len(rows))
		}
		if len(rows) < 500 || templates < 50 {
			t.Errorf("%s: only %d cases, %d with added tokens", f.name, len(rows), templates)
		}
	}
}

func pieces(tok Tokenizer, ids []int32) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = fmt.Sprintf("%d %q", id, tok.Name(id))
	}
	return strings.Join(names, " ")
}

func TestBPETextComesBack(t *testing.T) {
	for _, f := range fixtures {
		tok := loadFixture(t, f.name, f.eos)
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.OneOf(text(), rapid.StringN(0, 80, -1)).Draw(t, "text")
			want := s
			if f.name == "qwen2" {
				want = tok.normalise(s)
			}
			ids := tok.Encode(s)
			if got := tok.Decode(ids); got != want {
				t.Fatalf("%q came back as %q", s, got)
			}
			for _, id := range ids {
				if tok.Bytes(id) == nil {
					t.Fatalf("%q yields %s", s, tok.Name(id))
				}
			}
			checkStream(t, tok, s)
		})
	}
}

// Long words take another way through the code; the merges are the same.
func TestLongAndShortWordsMergeAlike(t *testing.T) {
	tok := loadFixture(t, "qwen2", "<|im_end|>")
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("theanswrmodl= \n1é模")), 1, 30, scanLimit).Draw(t, "word")
		short := tok.mergeShort(nil, word)
		padded := word + strings.Repeat("\x00", scanLimit) // no merge has a zero byte
		var s scratch
		long := tok.mergeWord(nil, padded, &s)
		if got := long[:len(long)-scanLimit]; !slices.Equal(got, short) {
			t.Fatalf("%q: %v as a short word, %v as a long one", word, short, got)
		}
	})
}

func TestWordsCoverTheirText(t *testing.T) {
	for _, sp := range splitters {
		rapid.Check(t, func(t *rapid.T) {
			s := text().Draw(t, "text")
			for rest := s; rest != ""; {
				n := sp.next(rest)
				if n <= 0 || n > len(rest) {
					t.Fatalf("%s: %q begins with a word of %d bytes", sp.name, rest, n)
				}
				rest = rest[n:]
			}
		})
	}
}

func TestMergesInEitherSpelling(t *testing.T) {
	var f map[string]any
	if err := json.Unmarshal(fixture(t, "qwen2"), &f); err != nil {
		t.Fatal(err)
	}
	model := f["model"].(map[string]any)
	var pairs [][]string
	for _, m := range model["merges"].([]any) {
		pairs = append(pairs, strings.Split(m.(string), " "))
	}
	model["merges"] = pairs
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := LoadBPE(bytes.NewReader(data), "<|im_end|>")
	if err != nil {
		t.Fatal(err)
	}
	if other := loadFixture(t, "qwen2", "<|im_end|>"); !maps.Equal(tok.merges, other.merges) || len(tok.merges) < 300 {
		t.Errorf("%d merges in one spelling, %d in the other", len(tok.merges), len(other.merges))
	}
}

// The reference collects merges into a map, so the last of equal ones stays: with "t e" moved to the end, "the" is cut differently.
func TestTheLaterOfTwoEqualMergesCounts(t *testing.T) {
	data := fixture(t, "gpt2")
	if !bytes.Contains(data, []byte(`"merges": ["t e", `)) {
		t.Fatal("the fixture's first merge is not t e")
	}
	twice := bytes.Replace(data, []byte(`"]}}`), []byte(`", "t e"]}}`), 1)
	tok, err := LoadBPE(bytes.NewReader(twice), "<|endoftext|>")
	if err != nil {
		t.Fatal(err)
	}
	m := tok.merges[pairOf(tok.byteID['t'], tok.byteID['e'])]
	if want := int32(len(tok.merges)); m.rank != want {
		t.Errorf("t and e have rank %d, want %d", m.rank, want)
	}
}

func TestCompositionOfLongRunsOfMarks(t *testing.T) {
	// The standard library's neighbour inserts U+034F after 30 marks in a row; a tokenizer must not.
	marks := strings.Repeat("\u0301", 40)
	if got, want := composed("a"+marks), "á"+marks[2:]; got != want {
		t.Errorf("%+q, want %+q", got, want)
	}
	if got, want := composed("\u034fa"+marks+"\xffé"), "\u034fá"+marks[2:]+"\xffé"; got != want {
		t.Errorf("%+q, want %+q", got, want)
	}
	alphabet := []rune("aeoéạ\u0301\u0302\u0323\u0327\u0316\u3099か\u1100\u1161\u11a8가\u212b\u0344\u0958ﬁ \u0345\u09c7\u09be")
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringOfN(rapid.RuneFrom(alphabet), 0, 24, -1), rapid.StringN(0, 24, -1)).Draw(t, "text")
		if got, want := composeSlowly(s), norm.NFC.String(s); got != want {
			t.Fatalf("%+q becomes %+q, want %+q", s, got, want)
		}
	})
}

func TestUnknownPipelinesAreRefused(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"normaliser", `"normalizer": {"type": "NFC"}`, `"normalizer": {"type": "NFKC"}`, `normalizer {"type": "NFKC"} is not supported`},
		{"expression", `\\p{N}| ?`, `\\p{N}{1,2}| ?`, "an unknown expression (known: GPT-2, Llama 3, Qwen 2)"},
		{"behaviour", `"behavior": "Isolated"`, `"behavior": "Removed"`, "want Split with behavior Isolated"},
		{"second split", `"use_regex": false`, `"use_regex": true`, "cuts a second time"},
		{"prefix space", `"add_prefix_space": false`, `"add_prefix_space": true`, "add_prefix_space is on"},
		{"pre-tokeniser", `"type": "Split"`, `"type": "Punctuation"`, "want Split first"},
		{"model", `"type": "BPE"`, `"type": "Unigram"`, `model type is "Unigram", want BPE`},
		{"dropout", `"dropout": null`, `"dropout": 0.1`, "model.dropout is 0.1"},
		{"unknown token", `"unk_token": null`, `"unk_token": "<unk>"`, `model.unk_token is "<unk>"`},
		{"prefix", `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, `continuing_subword_prefix is "##"`},
		{"fallback", `"byte_fallback": false`, `"byte_fallback": true`, "byte_fallback is on"},
		{"decoder", `"decoder": {"type": "ByteLevel"`, `"decoder": {"type": "Metaspace"`, "want ByteLevel"},
		{"added token", `"lstrip": false`, `"lstrip": true`, "lstrip"},
		{"ids", `"<|im_start|>"`, `"<|im_begin|>"`, ""}, // another name is no error
		{"dense", `"id": 705`, `"id": 805`, "not dense"},
		{"two of an id", `"id": 705`, `"id": 704`, "which is taken"},
		{"alphabet", `"Ġa": `, `"□": `, "not in the byte alphabet"},
		{"missing byte", `"Ċ": `, `"ĊĊĊĊĊĊĊĊĊĊ": `, "lacks byte 0x0a"},
		{"end of text", `"<|im_end|>"`, `"<|im_stop|>"`, `the end of a text is "<|im_end|>", which is no added token`},
		{"merge", `"merges": ["`, `"merges": ["qqq `, "want a string of two entries"},
		{"merge out of vocabulary", `"merges": ["`, `"merges": ["q zz", "`, `merge 0 of "q" and "zz"`},
	} {
		data := fixture(t, "qwen2")
		if !bytes.Contains(data, []byte(c.old)) {
			t.Errorf("%s: the fixture lacks %s", c.name, c.old)
			continue
		}
		data = bytes.Replace(data, []byte(c.old), []byte(c.new), 1)
		_, err := LoadBPE(bytes.NewReader(data), "<|im_end|>")
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer: load: ") {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestSpecialAndAddedTokens(t *testing.T) {
	tok := loadFixture(t, "qwen2", "<|im_end|>")
	end, ok := tok.Special("<|im_end|>")
	if !ok || tok.EOS() != end || tok.Bytes(end) != nil || tok.Name(end) != "<|im_end|>" {
		t.Errorf("<|im_end|> is %d, %v", end, ok)
	}
	call, ok := tok.Special("<tool_call>")
	if !ok || string(tok.Bytes(call)) != "<tool_call>" {
		t.Errorf("<tool_call> is %d, %v", call, ok)
	}
	if _, ok := tok.Special("the"); ok {
		t.Error("an ordinary token is called special")
	}
	if got := tok.EncodeTemplate("<tool_call>x"); len(got) != 1 {
		t.Errorf("of two added tokens at one place the longer is meant: %v", pieces(tok, got))
	}
	if ids := tok.Encode("<|im_end|><tool_call>"); slices.Contains(ids, end) || slices.Contains(ids, call) {
		t.Errorf("untrusted text became %v", pieces(tok, ids))
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string) {
		t.Helper()
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	fails("tokenizer.json: no such file")
	put("tokenizer.json", fixture(t, "qwen2"))
	fails("tokenizer_config.json: no such file")
	put("tokenizer_config.json", []byte(`{}`))
	fails("eos_token is missing")
	put("tokenizer_config.json", []byte(`{"eos_token": 3}`))
	fails("eos_token is 3: want a string")
	var hashes []string
	for _, config := range []string{`{"eos_token": "<|im_end|>"}`, `{"eos_token": {"content": "<|im_end|>", "lstrip": false}}`, `{"eos_token": "<|endoftext|>"}`} {
		put("tokenizer_config.json", []byte(config))
		tok, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, tok.Hash())
	}
	if hashes[0] != hashes[1] || hashes[0] == hashes[2] {
		t.Errorf("hashes %v: want the same for the same end of text, else different ones", hashes)
	}
	var buf bytes.Buffer
	words := small(t)
	if err := words.Save(&buf); err != nil {
		t.Fatal(err)
	}
	put("tokenizer.json", buf.Bytes())
	tok, err := Open(dir)
	if err != nil || tok.Hash() != words.Hash() {
		t.Errorf("our own format: %v", err)
	}
}

// A model folder given in RETOOL_MODEL_DIR: loads, and every token that is text survives.
func TestRealVocabulary(t *testing.T) {
	dir := os.Getenv("RETOOL_MODEL_DIR")
	if dir == "" {
		t.Skip("RETOOL_MODEL_DIR is not set")
	}
	tok, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for id := range int32(tok.Size()) {
		s := string(tok.Bytes(id))
		if got := tok.Decode(tok.Encode(s)); isValid(s) && got != norm.NFC.String(s) && got != s {
			t.Errorf("token %d, %q, comes back as %q", id, s, got)
		}
	}
}

func FuzzBPE(f *testing.F) {
	var toks []*BPE
	for _, x := range fixtures {
		toks = append(toks, loadFixture(f, x.name, x.eos))
		for _, row := range oracle(f, x.name)[:100] {
			f.Add(row.Text)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tok := range toks {
			if got := tok.Decode(tok.Encode(s)); got != tok.normalise(s) {
				t.Fatalf("%q came back as %q", s, got)
			}
			tok.EncodeTemplate(s)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, x := range fixtures {
		b.Run(x.name, func(b *testing.B) {
			tok := loadFixture(b, x.name, x.eos)
			var corpus strings.Builder
			for _, row := range oracle(b, x.name)[12:19] {
				corpus.WriteString(strings.Repeat(row.Text+"\n", 20))
			}
			text := corpus.String()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				tok.Encode(text)
			}
		})
	}
}

// BenchmarkLoad reads a file as large as the published ones: 150,000 entries, as many merges.
func BenchmarkLoad(b *testing.B) {
	var f map[string]any
	if err := json.Unmarshal(fixture(b, "qwen2"), &f); err != nil {
		b.Fatal(err)
	}
	model := f["model"].(map[string]any)
	vocab := map[string]int{}
	var entries []string
	for r := range byteOf {
		entries = append(entries, string(r))
	}
	slices.Sort(entries)
	var merges []string
	for i := 0; len(entries) < 150_000; i++ { // each later entry joins an earlier one and a letter
		left, right := entries[i*7919%len(entries)], entries[33+i%90]
		if joined := left + right; len(joined) < 24 && vocab[joined] == 0 {
			vocab[joined] = len(entries)
			entries = append(entries, joined)
			merges = append(merges, left+" "+right)
		}
	}
	for i, e := range entries {
		vocab[e] = i
	}
	model["vocab"], model["merges"] = vocab, merges
	for i, a := range f["added_tokens"].([]any) {
		a.(map[string]any)["id"] = len(entries) + i
	}
	data, err := json.Marshal(f)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := LoadBPE(bytes.NewReader(data), "<|im_end|>"); err != nil {
			b.Fatal(err)
		}
	}
}
