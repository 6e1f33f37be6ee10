package data

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	dapoBefore = "Solve the following math problem step by step."
	dapoAfter  = "on its own line after \"Answer:\"."
)

// sums are the questions and answers of most fixtures.
var sums = [][2]string{{"2 + 3", "5"}, {"40 + 2", "42"}, {"7 + 0", "7"}, {"19 + 23", "42"}, {"500 + 12", "512"}}

// Every layout, as pyarrow writes it, is recognised and gives every row, whatever lists are called and pages are compressed with.
func TestPublicLayoutsAreRecognised(t *testing.T) {
	const dapo = "verl rows (DAPO-Math-17k)"
	for _, c := range []struct {
		file, format, layout string
		ids                  string // of the first row
		answer               func(a string) string
	}{
		{"dapo.parquet", "Parquet", dapo, "sum-0", nil},
		{"dapo-item-zstd.parquet", "Parquet", dapo, "sum-0", nil},
		{"dapo-gzip-v2.parquet", "Parquet", dapo, "sum-0", nil},
		{"dapo-required-lz4.parquet", "Parquet", dapo, "sum-0", nil},
		{"dapo-large-brotli.parquet", "Parquet", dapo, "row-1", nil},
		{"aime2024.parquet", "Parquet", "Problem and Answer (AIME)", "2024-I-0", nil},
		{"aime2025.json", "JSON", "problem and answer (AIME)", "0", func(a string) string { return strings.Repeat("0", 3-len(a)) + a }},
		{"math.parquet", "Parquet", "problem and solution (MATH)", "row-1",
			func(a string) string { return "Adding, we have\n\\[" + a + "\\] so $\\boxed{" + a + "}$." }},
		{"prompt-answer.json", "JSON", "prompt and answer", "row-1", nil},
		{"map.parquet", "Parquet", "question and answer", "row-1", nil},
		{"messages.parquet", "Parquet", "messages", "row-1", nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			r, err := reading(filepath.Join("testdata", c.file), Columns{}, false)
			require.NoError(t, err)
			require.Equal(t, c.format, r.File.Format)
			require.Equal(t, c.layout, r.Layout.Name)
			i := 0
			for p, err := range r.Problems() {
				require.NoError(t, err)
				want := sums[i][1]
				if c.answer != nil {
					want = c.answer(want)
				}
				require.Equal(t, want, p.Answer)
				require.Contains(t, p.Question, "What is "+sums[i][0]+"? π ≠ 3")
				if c.layout == dapo {
					require.True(t, strings.HasPrefix(p.Question, dapoBefore) && strings.HasSuffix(p.Question, dapoAfter), p.Question)
				}
				if i == 0 {
					require.Equal(t, c.ids, p.ID)
				}
				i++
			}
			require.Equal(t, len(sums), i)
		})
	}
	ps, err := readProblems("testdata/gsm8k.parquet", Columns{})
	require.NoError(t, err)
	require.Equal(t, "She has 900+200=<<900+200=1100>>1100 apples.\n#### 1,100", ps[1].Answer)
}

func TestColumnsAreMapped(t *testing.T) {
	for _, answer := range []string{"truths.0", "extra.keyed.truth"} {
		r, err := reading("testdata/unknown.parquet", Columns{Question: "statement.text", Answer: answer, ID: "n"}, false)
		require.NoError(t, err)
		i := 0
		for p, err := range r.Problems() {
			if i == 3 { // its statement is null
				reason, one := Faulty(err)
				require.True(t, one)
				require.Equal(t, EmptyQuestion, reason)
				require.ErrorContains(t, err, `unknown.parquet: row 4: "statement.text" is empty`)
			} else {
				require.NoError(t, err)
				require.Equal(t, Problem{strconv.Itoa(i), "", "What is " + sums[i][0] + "? π ≠ 3", sums[i][1]}, p)
			}
			i++
		}
		require.Equal(t, 5, i)
	}
	// A key with a dot in it is found before a path.
	ps, err := readProblems(written(t, "p", `{"a.b":"q","a":{"b":"no"},"x":{"y":{"z":3}}}`), Columns{Question: "a.b", Answer: "x.y.z"})
	require.NoError(t, err)
	require.Equal(t, []Problem{{"line-1", "", "q", "3"}}, ps)
	ts, err := readTraces(written(t, "t", `{"q":"2","r":"a <code>print(2)</code> <interpreter>2</interpreter> b","a":2}`),
		Columns{Question: "q", Answer: "a", Response: "r"}, Form{Before: "[", After: "]"})
	require.NoError(t, err)
	require.Equal(t, []Segment{{"a <code>print(2)</code>", Policy}, {"[2]", Tool}, {"b", Policy}}, ts[0].Segments)
}

// A number is read as it was written, of whatever type; what is no number or text of its own is refused by name.
func TestParquetTypes(t *testing.T) {
	for _, file := range []string{"types.parquet", "types-v1.parquet"} {
		for column, want := range map[string][2]string{ // an error begins with !
			"int8": {"-3", "4"}, "uint32": {"4294967295", "3"}, "uint64": {"18446744073709551615", "3"}, "float": {"0.1", "2"},
			"double": {"0.1", "1000000000000000000000"}, "bool": {"!a boolean"}, "decimal": {"!a decimal (write the column as text)"},
			"date": {"!a date"}, "time": {"!a time"}, "timestamp": {"!a timestamp"}, "bytes": {"!text that is not UTF-8"}, "dictionary": {"x", "y"},
			"nan": {"!a number that is not finite"}, "list.0": {"18446744073709551615", "!is empty"}, "map.k": {"18446744073709551615", "!missing"},
		} {
			r, err := reading(filepath.Join("testdata", file), Columns{Answer: column}, false)
			require.NoError(t, err, column)
			i := 0
			for p, err := range r.Problems() {
				if part, bad := strings.CutPrefix(want[i], "!"); bad {
					require.ErrorContains(t, err, part, "%s %s", file, column)
					break
				}
				require.NoError(t, err, "%s %s", file, column)
				require.Equal(t, want[i], p.Answer, "%s %s", file, column)
				i++
			}
		}
	}
}

func TestColumnsThatDoNotFitAreRefused(t *testing.T) {
	for _, c := range []struct {
		file    string
		columns Columns
		want    string
	}{
		{`{"a":"q","b":"1"}`, Columns{}, `its columns ("a", "b") are of no known layout (`},
		{`{"a":"q","b":"1"}`, Columns{Question: "a"}, `its columns ("a", "b") are of no known layout (`},
		{`{"a":"q","b":"1"}`, Columns{Question: "a", Answer: "c"}, `data.columns.answer: no column "c"; there are "a", "b"`},
		{`{"a":"q","b":{"c":"1"}}`, Columns{Question: "a", Answer: "b.d"}, `data.columns.answer: no column "b.d"; there are "c" in b`},
		{`{"question":"q","problem":"p","answer":"1"}`, Columns{}, `ambiguous: its columns ("answer", "problem", "question") may be read as ` +
			`question and answer: question from question, answer from answer, or as problem and answer (AIME): question from problem`},
		{`{"question":"q","answer":"1"}`, Columns{ID: "key"}, `data.columns.id: no column "key"`},
		{`{"messages":[{"role":"user","content":"q"}]}`, Columns{}, `hold responses and no ground truths`},
		{`{"question":"q","answer":{"value":"1"}}`, Columns{}, `"answer" is an object: want a string or a number`},
		{`{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"answer":"1"}`, Columns{},
			`"prompt" ends with a message of role "assistant"`},
		{`{"prompt":[{"role":"user","content":"q"},{"role":"user","content":"a"}],"answer":"1"}`, Columns{}, `several_questions`},
		{`{"prompt":["q"],"answer":"1"}`, Columns{}, `"prompt", message 1 is a string: want an object with role and content`},
	} {
		_, err := readProblems(written(t, "f", c.file), c.columns)
		require.ErrorContains(t, err, c.want, c.file)
		require.NotContains(t, err.Error(), "\n")
	}
	for _, file := range []string{
		`{"question":"q","problem":"p","answer":"1"}`,
		`{"question":"q","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}],"answer":"1"}`,
	} {
		ps, err := readProblems(written(t, "f", file), Columns{Question: "question"})
		require.NoError(t, err)
		require.Equal(t, []Problem{{"line-1", "", "q", "1"}}, ps)
	}
	_, err := readProblems("testdata/map.parquet", Columns{Answer: "tags"})
	require.ErrorContains(t, err, `map.parquet: row 1: "tags" is an object: want a string or a number`)
	_, err = readProblems("testdata/map.parquet", Columns{Answer: "scores.1"})
	require.ErrorContains(t, err, `map.parquet: row 1: "scores.1" is empty`)
	var missing *ColumnError
	_, err = readProblems("testdata/dapo.parquet", Columns{Answer: "reward_model.truth"})
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err,
		`dapo.parquet: data.columns.answer: no column "reward_model.truth"; there are "ground_truth", "style" in reward_model`)
}

// A Parquet file that was cut or damaged is an error of one line, wherever it was; never a panic, never fewer rows in silence.
func TestDamagedParquetIsRefused(t *testing.T) {
	for _, name := range []string{"dapo.parquet", "dapo-gzip-v2.parquet", "map.parquet"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "cut.parquet")
		try := func(text []byte) ([]Problem, error) {
			require.NoError(t, os.WriteFile(path, text, 0o644))
			return readProblems(path, Columns{})
		}
		whole, err := try(text)
		require.NoError(t, err)
		for n := 4; n < len(text); n += 31 {
			_, err := try(text[:n])
			require.ErrorContains(t, err, "whose end is missing: it was cut", n)
		}
		_, err = try(append([]byte("xxxx"), text...))
		require.ErrorContains(t, err, "not a Parquet file: it begins with")
		rng := rand.New(rand.NewPCG(1, 2))
		for range 60 {
			damaged := append([]byte{}, text...)
			at := 4 + rng.IntN(len(text)-8)
			damaged[at] ^= byte(1 << rng.IntN(8))
			ps, err := try(damaged)
			if err != nil {
				require.NotContains(t, err.Error(), "\n")
				require.Contains(t, err.Error(), path)
				continue
			}
			require.Len(t, ps, len(whole), "bit flipped at %d", at)
		}
		for n := 12; n < 400; n += 40 { // the end stays, a part before it is gone
			_, err := try(append(append([]byte{}, text[:n]...), text[len(text)-n:]...))
			if err == nil || errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %d bytes of either end were read", name, n)
			}
		}
	}
}
