package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/kernels"
)

// runModelCommand runs score or generate and returns what it printed.
func runModelCommand(args ...string) (string, error) {
	var out bytes.Buffer
	app := &cli.App{
		Name: "retool", Reader: strings.NewReader(""), Writer: &out, ErrWriter: &out,
		DisableSliceFlagSeparator: true, ExitErrHandler: func(*cli.Context, error) {},
		Commands: checked("", []*cli.Command{scoreCommand(), generateCommand()}),
	}
	err := app.Run(append([]string{"retool"}, args...))
	return out.String(), err
}

// savedModel is a folder with a small random model of 29 ids that ends texts with eos.
func savedModel(t *testing.T, eos ...int32) string {
	dev := kernels.NewCPU(1)
	defer dev.Close()
	m, err := model.New(dev, model.Config{
		Arch: model.Qwen2, Layers: 2, Hidden: 16, Heads: 4, KVHeads: 2, HeadDim: 4, FFN: 24, Vocab: 29, MaxPositions: 80,
		RMSEps: 1e-6, RopeTheta: 10000, QKVBias: true, Tied: true, LMHead: true, EOS: eos,
	}, model.Options{MaxTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Init(4)
	for _, w := range m.W.Named() { // large enough that the distributions differ
		if w.Rank() == 2 {
			x := make([]float32, w.Len())
			dev.Download(x, w)
			for i := range x {
				x[i] *= 20
			}
			dev.Upload(w, x)
		}
	}
	dir := t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rowsFile writes a JSONL file.
func rowsFile(t *testing.T, lines ...string) string {
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func storedFloats(t *testing.T, f *safetensors.File, name string) []float32 {
	s, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	x, err := s.Dense()
	if err != nil {
		t.Fatal(err)
	}
	return x.Data().([]float32)
}

// Log-probabilities, entropies and the loss are those of the logits, in float64; the first token of a row has none.
func TestScoreAgreesWithItsLogits(t *testing.T) {
	dir, out := savedModel(t), t.TempDir()
	long := make([]string, 130) // longer than the model was made for
	for i := range long {
		long[i] = fmt.Sprint(i * 11 % 29)
	}
	in := rowsFile(t, `{"ids":[3,4,28,0],"note":"kept out"}`, "", `{"ids":[7]}`, `{"ids":[`+strings.Join(long, ",")+`]}`)
	text, err := runModelCommand("score", "--model", dir, "--in", in,
		"--out", out+"/o.jsonl", "--logits", out+"/l.safetensors", "--loss", "--threads", "1")
	if err != nil {
		t.Fatal(err)
	}
	var printed struct{ Loss float64 }
	if err := json.Unmarshal([]byte(text), &printed); err != nil {
		t.Fatalf("printed %q: %v", text, err)
	}
	logits, err := safetensors.Open(out + "/l.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer logits.Close()
	data, err := os.ReadFile(out + "/o.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3", len(lines))
	}
	sum, count := 0.0, 0
	for i, line := range lines {
		var row struct {
			IDs               []int
			LogProbs, Entropy []*float64
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		x := storedFloats(t, logits, fmt.Sprintf("logits.%d", i))
		if len(x) != 29*len(row.IDs) || len(row.LogProbs) != len(row.IDs) || len(row.Entropy) != len(row.IDs) {
			t.Fatalf("row %d: %d ids, %d logits, %d log-probabilities, %d entropies", i, len(row.IDs), len(x), len(row.LogProbs), len(row.Entropy))
		}
		if row.LogProbs[0] != nil || row.Entropy[0] != nil {
			t.Errorf("row %d: the first token has a log-probability", i)
		}
		for j := 1; j < len(row.IDs); j++ {
			z, logits := 0.0, x[29*(j-1):29*j]
			for _, v := range logits {
				z += math.Exp(float64(v))
			}
			lp, entropy := float64(logits[row.IDs[j]])-math.Log(z), 0.0
			for _, v := range logits {
				l := float64(v) - math.Log(z)
				entropy -= math.Exp(l) * l
			}
			if math.Abs(*row.LogProbs[j]-lp) > 1e-5 || math.Abs(*row.Entropy[j]-entropy) > 1e-5 {
				t.Fatalf("row %d, token %d: %g and %g, want %g and %g", i, j, *row.LogProbs[j], *row.Entropy[j], lp, entropy)
			}
			sum, count = sum-lp, count+1
		}
	}
	if want := sum / float64(count); math.Abs(printed.Loss-want) > 1e-5 {
		t.Errorf("loss %g, want %g", printed.Loss, want)
	}
}

// A small step against the stored gradient lowers the loss by the step times the gradient's square.
func TestGradientsAreTheLosss(t *testing.T) {
	dir := savedModel(t)
	in := rowsFile(t, `{"ids":[3,4,28,0,9,9]}`, `{"ids":[7]}`, `{"ids":[1,2]}`)
	loss := func(dir string) (loss float64, stored string) {
		stored = filepath.Join(t.TempDir(), "g.safetensors")
		text, err := runModelCommand("score", "--model", dir, "--in", in, "--gradients", stored)
		if err != nil {
			t.Fatal(err)
		}
		var printed struct{ Loss float64 }
		if err := json.Unmarshal([]byte(text), &printed); err != nil {
			t.Fatalf("printed %q: %v", text, err)
		}
		return printed.Loss, stored
	}
	before, stored := loss(dir)
	gradients, err := safetensors.Open(stored)
	if err != nil {
		t.Fatal(err)
	}
	defer gradients.Close()
	dev := kernels.NewCPU(1)
	defer dev.Close()
	c, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(dev, dir, c, model.Options{MaxTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const step = 1e-4
	square, numbers := 0.0, 0
	for name, w := range m.W.Named() {
		x, g := make([]float32, w.Len()), storedFloats(t, gradients, name)
		dev.Download(x, w)
		for i := range x {
			x[i] -= step * g[i]
			square += float64(g[i]) * float64(g[i])
		}
		dev.Upload(w, x)
		numbers += w.Len()
	}
	info, err := os.Stat(stored)
	if err != nil || info.Size()/4 < int64(numbers) || info.Size()/4 > int64(numbers)+1024 { // and a header
		t.Errorf("gradients of %d parameters: %v, %v", numbers, info, err)
	}
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	after, _ := loss(dir)
	if fell := before - after; math.Abs(fell-step*square) > 0.05*step*square {
		t.Errorf("the loss fell by %g, the gradient promised %g", fell, step*square)
	}
}

func TestScoreNamesBadInput(t *testing.T) {
	dir := savedModel(t)
	for want, lines := range map[string][]string{
		"in.jsonl:2: not an object":                           {`{"ids":[1]}`, `{"ids":[1`},
		"in.jsonl:1: not an object":                           {`[1,2]`},
		"in.jsonl:3: ids[1] is 29, outside the vocabulary of": {`{"ids":[1]}`, ``, `{"ids":[0,29]}`},
		"in.jsonl:1: ids[0] is -1":                            {`{"ids":[-1]}`},
		"in.jsonl:1: `ids` is missing or empty":               {`{"id":[1]}`},
		"holds no rows":                                       {``},
	} {
		_, err := runModelCommand("score", "--model", dir, "--in", rowsFile(t, lines...), "--out", filepath.Join(t.TempDir(), "o"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	good := rowsFile(t, `{"ids":[1]}`)
	for want, args := range map[string][]string{
		"nothing to do":                  {"--in", good},
		"no row has a token to predict":  {"--in", good, "--loss"},
		`--device "gpu"`:                 {"--in", good, "--loss", "--device", "gpu"},
		"nothing.jsonl: no such file":    {"--in", "nothing.jsonl", "--loss"},
		"want a folder to write o.jsonl": {"--in", good, "--out", "nowhere/o.jsonl"},
	} {
		_, err := runModelCommand(append([]string{"score", "--model", dir}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

type generated struct {
	IDs      []int32
	LogProbs []float32
}

func generateIDs(t *testing.T, args ...string) (g generated) {
	text, err := runModelCommand(append([]string{"generate"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		t.Fatalf("printed %q: %v", text, err)
	}
	if len(g.IDs) != len(g.LogProbs) {
		t.Fatalf("%d ids, %d log-probabilities", len(g.IDs), len(g.LogProbs))
	}
	return g
}

// Every greedy token is the largest logit that score computes after the tokens before it, and generate's log-probabilities are
// score's to the last bit, drawn or greedy.
func TestGenerateAgreesWithScore(t *testing.T) {
	dir := savedModel(t)
	prompt := []int32{5, 6, 7}
	for _, flags := range [][]string{{"--greedy"}, {"--seed", "3"}, {"--seed", "4", "--top-p", "0.7"}, {"--seed", "3", "--top-k", "2"}} {
		g := generateIDs(t, append([]string{"--model", dir, "--ids", "[5,6,7]", "--max-tokens", "100"}, flags...)...)
		if len(g.IDs) != 100 {
			t.Fatalf("%v: %d tokens, want 100", flags, len(g.IDs))
		}
		ids, err := json.Marshal(map[string]any{"ids": append(slices.Clone(prompt), g.IDs...)})
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		args := []string{"score", "--model", dir, "--in", rowsFile(t, string(ids)), "--out", out + "/o", "--logits", out + "/l"}
		if _, err := runModelCommand(args...); err != nil {
			t.Fatal(err)
		}
		var row struct{ LogProbs []*float32 }
		data, err := os.ReadFile(out + "/o")
		if err == nil {
			err = json.Unmarshal(data, &row)
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Open(out + "/l")
		if err != nil {
			t.Fatal(err)
		}
		logits := storedFloats(t, f, "logits.0")
		f.Close()
		differs := false
		for i, id := range g.IDs {
			at := len(prompt) + i
			if *row.LogProbs[at] != g.LogProbs[i] {
				t.Fatalf("%v: token %d: generate says %g, score %g", flags, i, g.LogProbs[i], *row.LogProbs[at])
			}
			before := logits[29*(at-1) : 29*at]
			best := int32(slices.Index(before, slices.Max(before)))
			differs = differs || best != id
			if flags[0] == "--greedy" && best != id {
				t.Fatalf("greedy token %d is %d, the largest logit is %d", i, id, best)
			}
		}
		if flags[0] != "--greedy" && !differs {
			t.Errorf("%v: 100 draws, all of them the likeliest token", flags)
		}
		args = append([]string{"--model", dir, "--ids", "[5,6,7]", "--max-tokens", "100", "--threads", "1"}, flags...)
		if again := generateIDs(t, args...); !slices.Equal(again.IDs, g.IDs) {
			t.Errorf("%v: a second run draws otherwise", flags)
		}
	}
}

func TestGenerateStopsAtTheEnd(t *testing.T) {
	free := generateIDs(t, "--model", savedModel(t), "--ids", "[1]", "--greedy", "--max-tokens", "20")
	last := free.IDs[3]
	first := slices.Index(free.IDs, last)
	dir := savedModel(t, 28, last)
	if got := generateIDs(t, "--model", dir, "--ids", "[1]", "--greedy", "--max-tokens", "20"); !slices.Equal(got.IDs, free.IDs[:first+1]) {
		t.Errorf("with %d as the end: %v of %v", last, got.IDs, free.IDs)
	}
	got := generateIDs(t, "--model", dir, "--ids", "[1]", "--greedy", "--max-tokens", "20", "--ignore-eos")
	if !slices.Equal(got.IDs, free.IDs) {
		t.Errorf("--ignore-eos: %v, want %v", got.IDs, free.IDs)
	}
	for want, args := range map[string][]string{
		"want integers such as 1,2,3":                    {"--ids", "1,x"},
		"ids[0] is 99, outside":                          {"--ids", "[99]"},
		"missing or empty":                               {"--ids", "[]"},
		"--max-tokens: want 1 to 16777216, got 0":        {"--ids", "[1]", "--max-tokens", "0"},
		"--top-p: want more than 0 and at most 1, got 0": {"--ids", "[1]", "--top-p", "0"},
		"give one of --greedy and":                       {"--ids", "[1]", "--greedy", "--temperature", "0.5"},
		"--temperature: want 0 (greedy) or more, got -1": {"--ids", "[1]", "--temperature", "-1"},
	} {
		_, err := runModelCommand(append([]string{"generate", "--model", dir}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// What a diverged model gives is no number of JSON: it is null, and what is finite stays.
func TestWhatIsNotFiniteIsNull(t *testing.T) {
	dir, dev := savedModel(t), kernels.NewCPU(1)
	defer dev.Close()
	cfg, err := model.ReadConfig(dir)
	require.NoError(t, err)
	m, err := model.Load(dev, dir, cfg, model.Options{MaxTokens: 1})
	require.NoError(t, err)
	defer m.Close()
	for name, w := range m.W.Named() {
		if strings.HasSuffix(name, "norm.weight") {
			x := make([]float32, w.Len())
			x[0] = float32(math.NaN())
			dev.Upload(w, x)
		}
	}
	require.NoError(t, m.Save(dir))
	out := filepath.Join(dir, "out.jsonl")
	printed, err := runModelCommand("score", "--model", dir, "--in", rowsFile(t, `{"ids":[3,4]}`), "--out", out, "--loss")
	require.NoError(t, err)
	require.JSONEq(t, `{"loss":null}`, printed)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.JSONEq(t, `{"ids":[3,4],"logprobs":[null,null],"entropy":[null,null]}`, string(text))
	printed, err = runModelCommand("generate", "--model", dir, "--ids", "[1]", "--max-tokens", "2", "--ignore-eos")
	require.NoError(t, err)
	require.Contains(t, printed, `"logprobs":[null,null]`)
}
