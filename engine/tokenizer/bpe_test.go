package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

var fixtures = []struct{ name, eos string }{
	{"qwen2", "<|im_end|>"}, {"llama3", "<|eot_id|>"}, {"gpt2", "<|endoftext|>"}, {"smollm2", "<|im_end|>"},
	{"deepseek3", "<｜end▁of▁sentence｜>"},
}

func fixture(t interface {
	Helper()
	Fatal(...any)
}, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func loadFixture(t testing.TB, name, eos string) *BPE {
	t.Helper()
	tok, err := loadBPE(fixture(t, name), eos)
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
	Begin    []int32 // with what the post-processor adds, where it adds something
	Random   []int32 // ids, and what they say
	Said     string
}

func oracle(t testing.TB, path string) []oracleRow {
	t.Helper()
	f, err := os.Open(path)
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
		if row.Template == nil {
			row.Template, row.Shown = row.IDs, row.Decoded
		}
		if row.Begin == nil {
			row.Begin = row.Template
		}
		rows = append(rows, row)
	}
	return rows
}

func cases(name string) string { return filepath.Join("testdata", name+".cases.jsonl") }

// equalsTheReference compares a tokenizer with every row of a file.
func equalsTheReference(t *testing.T, tok Tokenizer, path string) []oracleRow {
	rows := oracle(t, path)
	wrong := map[string]int{}
	compare := func(what, text string, got, want []int32) {
		if slices.Equal(got, want) {
			return
		}
		if wrong[what]++; wrong[what] <= 5 {
			t.Errorf("%s: %s of %q\n got  %v\n want %v", path, what, text, pieces(tok, got), pieces(tok, want))
		}
	}
	decode := func(ids []int32, want string) {
		if got := onePerRun(strings.ToValidUTF8(tok.Decode(ids), "\ufffd")); got != onePerRun(want) {
			if wrong["decoding"]++; wrong["decoding"] <= 5 {
				t.Errorf("%s: %v decodes to %q, want %q", path, pieces(tok, ids), got, want)
			}
		}
	}
	for _, row := range rows {
		compare("encoding", row.Text, tok.Encode(row.Text), row.IDs)
		compare("template", row.Text, tok.EncodeTemplate(row.Text), row.Template)
		compare("beginning", row.Text, slices.Concat(tok.BOS(), row.Template), row.Begin)
		decode(row.IDs, row.Decoded)
		decode(row.Template, row.Shown)
		decode(row.Random, row.Said)
	}
	for what, n := range wrong {
		t.Errorf("%s: %d of %d rows differ in %s", path, n, len(rows), what)
	}
	return rows
}

func TestBPEEqualsTheReference(t *testing.T) {
	for _, f := range fixtures {
		rows := equalsTheReference(t, loadFixture(t, f.name, f.eos), cases(f.name))
		templates := 0
		for _, row := range rows {
			if !slices.Equal(row.IDs, row.Template) {
				templates++
			}
		}
		if len(rows) < 500 || templates < 40 {
			t.Errorf("%s: only %d cases, %d with added tokens", f.name, len(rows), templates)
		}
	}
}

// onePerRun makes of replacement characters in a row one, as strings.ToValidUTF8 does: how many the reference writes for the rest of a
// character that was cut depends on where it was cut.
func onePerRun(s string) string {
	return regexp.MustCompile("\ufffd+").ReplaceAllString(s, "\ufffd")
}

func pieces(tok Tokenizer, ids []int32) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = fmt.Sprintf("%d %q", id, tok.Name(id))
	}
	return strings.Join(names, " ")
}

// kept is what a tokenizer can write of a text: normalised, without the bytes that its vocabulary lacks.
func kept(tok *BPE, s string) string {
	b := []byte(tok.normalise(s))
	return string(slices.DeleteFunc(b, func(c byte) bool { return tok.byteID[c] == noByte }))
}

// The bytes that a vocabulary lacks are left out, and those beside them merge, as in the reference.
func TestBytesWithoutATokenAreLeftOut(t *testing.T) {
	tok := loadFixture(t, "smollm2", "<|im_end|>")
	lacking := 0
	for _, id := range tok.byteID {
		if id == noByte {
			lacking++
		}
	}
	if lacking != 12 {
		t.Errorf("%d bytes have no token, want 12", lacking)
	}
	for _, repeat := range []int{1, 20} { // short words and long ones
		var s scratch
		got, want := tok.mergeWord(nil, strings.Repeat("th\x00e", repeat), &s), tok.mergeWord(nil, strings.Repeat("the", repeat), &s)
		if !slices.Equal(got, want) || len(want) >= 3*repeat {
			t.Errorf("%v, want %v", pieces(tok, got), pieces(tok, want))
		}
	}
	if got := tok.Encode("\x00\xf1"); len(got) != 0 {
		t.Errorf("nothing is left of the text, but %v", pieces(tok, got))
	}
}

func TestBPETextComesBack(t *testing.T) {
	for _, f := range fixtures {
		tok := loadFixture(t, f.name, f.eos)
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.OneOf(text(), rapid.StringN(0, 80, -1)).Draw(t, "text")
			ids := tok.Encode(s)
			if got, want := tok.Decode(ids), kept(tok, s); got != want {
				t.Fatalf("%q came back as %q", s, got)
			}
			for _, id := range ids {
				if tok.Bytes(id) == nil {
					t.Fatalf("%q yields %s", s, tok.Name(id))
				}
			}
			if kept(tok, s) == tok.normalise(s) {
				checkStream(t, tok, s)
			}
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
	for _, sp := range slices.Concat(
		expressions, []expression{{name: "Digits", next: nextDigits}, {name: "individual Digits", next: nextDigit}},
	) {
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
	tok, err := loadBPE(data, "<|im_end|>")
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
	tok, err := loadBPE(twice, "<|endoftext|>")
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
	const post = `"post_processor": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}`
	template := func(single string) string {
		return `"post_processor": {"type": "TemplateProcessing", "single": [` + single + `], "pair": [], "special_tokens": {"<b>": {"id": ` +
			`"<b>", "ids": [3]}, "<far>": {"id": "<far>", "ids": [5000]}}}`
	}
	const (
		text = `{"Sequence": {"id": "A", "type_id": 0}}`
		bos  = `{"SpecialToken": {"id": "<b>", "type_id": 0}}`
		far  = `{"SpecialToken": {"id": "<far>", "type_id": 0}}`
	)
	for _, c := range []struct{ name, old, new, want string }{
		{
			"normaliser", `"normalizer": {"type": "NFC"}`, `"normalizer": {"type": "NFKC"}`,
			`normalizer {"type":"NFKC"} is not supported: NFKC is not known`,
		},
		{
			"normaliser in a sequence", `{"type": "NFC"}`,
			`{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}]}`,
			"Prepend is not known (known: none, NFC)",
		},
		{"sequences", `{"type": "NFC"}`, `{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence", "normalizers": []}]}`, ""},
		{"expression", `\\p{N}| ?`, `\\p{N}{1,2}| ?`, "an unknown expression (known: GPT-2; Llama 3; Qwen 2; DeepSeek"},
		{"behaviour", `"behavior": "Isolated"`, `"behavior": "Removed"`, "want Split with behavior Isolated"},
		{"second expression", `"use_regex": false}]`, `"use_regex": true}]`, ""},
		{"prefix space", `"add_prefix_space": false`, `"add_prefix_space": true`, "add_prefix_space is on"},
		{"pre-tokeniser", `"type": "Split"`, `"type": "Punctuation"`, "Punctuation is not known (known: Split, Digits, ByteLevel)"},
		{
			"no byte level", `"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false`, `"type": "Metaspace"`,
			"Metaspace in place 2 of 2",
		},
		{"model", `"type": "BPE"`, `"type": "Unigram"`, `model.type is "Unigram", want BPE`},
		{"model", `"type": "BPE"`, `"type": "WordPiece"`, `model.type is "WordPiece", want BPE`},
		{"dropout", `"dropout": null`, `"dropout": 0.1`, "model.dropout is 0.1"},
		{"unknown token that is never needed", `"unk_token": null`, `"unk_token": "<unk>"`, ""},
		{"prefix", `"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, `continuing_subword_prefix is "##"`},
		{"fallback", `"byte_fallback": false`, `"byte_fallback": true`, "byte_fallback is on"},
		{"decoder", `"decoder": {"type": "ByteLevel"`, `"decoder": {"type": "Metaspace"`, "want ByteLevel"},
		{"added token", `"lstrip": false`, `"lstrip": true`, "lstrip"},
		{"ids", `"<|im_start|>"`, `"<|im_begin|>"`, ""}, // another name is no error
		{"dense", `"id": 705`, `"id": 805`, "not dense"},
		{"two of an id", `"id": 705`, `"id": 704`, "which is taken"},
		{"alphabet", `"Ġa": `, `"□": `, "not in the byte alphabet"},
		{"type", `"Ġa": `, `"Ġa": "x`, "invalid character"},
		{"end of text", `"<|im_end|>"`, `"<|im_stop|>"`, `the end of a text is "<|im_end|>", which is no added token`},
		{"merge", `"merges": ["`, `"merges": ["qqq `, "want a string of two entries"},
		{"merge out of vocabulary", `"merges": ["`, `"merges": ["q zz", "`, `merge 0 of "q" and "zz"`},
		{
			"post-processor", post, `"post_processor": {"type": "BertProcessing"}`,
			`BertProcessing is not known (known: ByteLevel, TemplateProcessing)`,
		},
		{"beginning", post, template(bos + ", " + text), ""},
		{"no text", post, template(bos), "single must be special tokens and then the text A"},
		{"two texts", post, template(text + ", " + text), "single must be special tokens and then the text A"},
		{"something after the text", post, template(text + ", " + bos), `it puts "<b>" after a text`},
		{"beginning beyond the vocabulary", post, template(far + ", " + text), `"<far>" has id 5000, the tokenizer has ids below 706`},
		{"unknown beginning", post, template(strings.Replace(bos, "<b>", "<c>", 1) + ", " + text), `"<c>" is not among its special_tokens`},
	} {
		data := fixture(t, "qwen2")
		if !bytes.Contains(data, []byte(c.old)) {
			t.Errorf("%s: the fixture lacks %s", c.name, c.old)
			continue
		}
		data = bytes.Replace(data, []byte(c.old), []byte(c.new), 1)
		_, err := loadBPE(data, "<|im_end|>")
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	// A byte that has no token cannot be dropped where the file says what stands for it.
	lacking := bytes.Replace(fixture(t, "smollm2"), []byte(`"unk_token": null`), []byte(`"unk_token": "<|endoftext|>"`), 1)
	if _, err := loadBPE(lacking, ""); err == nil || !strings.Contains(err.Error(), `lacks byte 0x00, for which "<|endoftext|>" would stand`) {
		t.Errorf("error %v", err)
	}
}

// Whatever stands in a tokenizer.json, the answer is a tokenizer that works, or an error.
func TestSpoiltFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	values := []string{
		"null", "-1", "0", "3", "1e300", "2147483647", "true", `""`, `"x"`, `"Ġ"`, "[]", `["x"]`, "{}", `{"type": "ByteLevel"}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		var file, value any
		if err := json.Unmarshal(fixture(t, rapid.SampledFrom(fixtures).Draw(t, "fixture").name), &file); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			if err := json.Unmarshal([]byte(rapid.SampledFrom(values).Draw(t, "value")), &value); err != nil {
				t.Fatal(err)
			}
			spoil(t, file, value)
		}
		data, err := json.MarshalIndent(file, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "tokenizer.json")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		tok, err := Open(dir)
		if err != nil {
			if message := err.Error(); !strings.HasPrefix(message, "tokenizer: "+path+": ") || strings.Contains(message, "\n") {
				t.Fatal(message)
			}
			return
		}
		tok.Decode(tok.EncodeTemplate("The model's <code>\n```python\nprint(12)\n``` l'élève 模型 <|im_end|>"))
	})
}

// spoil replaces, at random, something within a JSON value that can hold others.
func spoil(t *rapid.T, in, value any) {
	switch in := in.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(in))
		if len(keys) == 0 {
			return
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		if holds(in[key]) && rapid.IntRange(0, 3).Draw(t, "deeper") > 0 {
			spoil(t, in[key], value)
			return
		}
		in[key] = value
	case []any:
		if len(in) == 0 {
			return
		}
		i := rapid.IntRange(0, len(in)-1).Draw(t, "element")
		if holds(in[i]) && rapid.IntRange(0, 3).Draw(t, "deeper") > 0 {
			spoil(t, in[i], value)
			return
		}
		in[i] = value
	}
}

func holds(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
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
	put := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string) {
		t.Helper()
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	opens := func() Tokenizer {
		t.Helper()
		tok, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	fails("tokenizer.json: no such file")
	put("tokenizer.model", "")
	fails("tokenizer.model alone does not say how text is cut")
	put("tokenizer.json", "{")
	fails("tokenizer.json: unexpected end")
	put("tokenizer.json", `{"format": "retool-words-9"}`)
	fails(`format is "retool-words-9", want "retool-words-1"`)
	put("tokenizer.json", string(fixture(t, "qwen2")))
	if eos := opens().EOS(); eos != NoEOS {
		t.Errorf("no file names the end of a text, which is %d", eos)
	}
	for text, want := range map[string]string{
		`[]`: "tokenizer.json: is a JSON array, must be an object", `{"model": []}`: "tokenizer.json: model is a JSON array, must be an object",
		`{"added_tokens": [{"id": "x"}]}`: "tokenizer.json: added_tokens.id is a JSON string, must be an integer of 32 bits",
	} {
		put("tokenizer.json", text)
		fails(want)
	}
	put("tokenizer.json", "\ufeff"+string(fixture(t, "qwen2")))
	put("tokenizer_config.json", "\ufeff[]")
	fails("tokenizer: " + filepath.Join(dir, "tokenizer_config.json") + ": is a JSON array, must be an object")
	put("tokenizer_config.json", "\ufeff{}")
	opens()
	for _, bad := range []string{"3", "[]", "{}", `""`} {
		put("tokenizer_config.json", `{"eos_token": `+bad+`}`)
		fails("tokenizer_config.json: eos_token is " + bad + ": want a string")
	}
	put("tokenizer_config.json", `{"eos_token": "<|end|>"}`)
	fails(`the end of a text is "<|end|>", which is no added token`)
	var hashes []string
	for _, config := range []string{
		`{"eos_token": "<|im_end|>"}`, `{"eos_token": {"content": "<|im_end|>", "lstrip": false}}`, `{"eos_token": "<|endoftext|>"}`,
	} {
		put("tokenizer_config.json", config)
		hashes = append(hashes, opens().Hash())
	}
	if hashes[0] != hashes[1] || hashes[0] == hashes[2] {
		t.Errorf("hashes %v: want the same for the same end of text, else different ones", hashes)
	}
	for _, config := range []string{`{}`, `{"eos_token": null}`} {
		put("tokenizer_config.json", config)
		put("special_tokens_map.json", `{"eos_token": "<|im_end|>"}`)
		if tok := opens(); tok.Hash() != hashes[0] || tok.Name(tok.EOS()) != "<|im_end|>" {
			t.Errorf("%s: the end of a text is %d", config, tok.EOS())
		}
	}
	var buf strings.Builder
	words := small(t)
	if err := words.Save(&buf); err != nil {
		t.Fatal(err)
	}
	put("tokenizer.json", buf.String())
	if tok := opens(); tok.Hash() != words.Hash() {
		t.Error("our own format came back as another tokenizer")
	}
}

// Tokens that are looked for in a text as it is go before those that are looked for in normalised text, which may be spelt otherwise.
func TestAddedTokensInNormalisedText(t *testing.T) {
	data := bytes.Replace(fixture(t, "qwen2"), []byte(`"content": "<|im_start|>", "single_word": false, "lstrip": false, "rstrip": `+
		`false, "normalized": false`),
		[]byte(`"content": "é<|im", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true`), 1)
	tok, err := loadBPE(data, "<|im_end|>")
	if err != nil {
		t.Fatal(err)
	}
	mark, ok := tok.Special("é<|im")
	if !ok {
		t.Fatal("the fixture has changed")
	}
	if got, want := tok.EncodeTemplate("e\u0301<|im<|im_end|>"), []int32{mark, tok.EOS()}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", pieces(tok, got), pieces(tok, want))
	}
	if got, want := tok.EncodeTemplate("é<|im_end|>"), append(tok.Encode("é"), tok.EOS()); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", pieces(tok, got), pieces(tok, want))
	}
}

// A model folder given in RETOOL_MODEL_DIR: loads, every token that is text survives, and what testdata/fuzz.py wrote there with the
// reference is what this package makes of the same texts.
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
	if rows := equalsTheReference(t, tok, filepath.Join(dir, "fuzz.jsonl")); len(rows) < 1000 {
		t.Errorf("%d rows", len(rows))
	}
}

func FuzzBPE(f *testing.F) {
	var toks []*BPE
	for _, x := range fixtures {
		toks = append(toks, loadFixture(f, x.name, x.eos))
		for _, row := range oracle(f, cases(x.name))[:100] {
			f.Add(row.Text)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tok := range toks {
			if got := tok.Decode(tok.Encode(s)); got != kept(tok, s) {
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
			for _, row := range oracle(b, cases(x.name))[12:19] {
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
		if _, err := loadBPE(data, "<|im_end|>"); err != nil {
			b.Fatal(err)
		}
	}
}

// A map has no order; the error of a file has one.
func TestTheSameFileHasTheSameError(t *testing.T) {
	data := bytes.Replace(fixture(t, "qwen2"), []byte(`"a":`), []byte(`"b":`), 1)
	_, err := loadBPE(data, "")
	if err == nil {
		t.Fatal("a vocabulary without a was read")
	}
	for range 20 {
		if _, again := loadBPE(data, ""); again == nil || again.Error() != err.Error() {
			t.Fatalf("%v, then %v", err, again)
		}
	}
}
