package model

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"retool/engine/safetensors"
	"retool/kernels"
)

// goldenParameter is parameter() of testdata/make_golden.py.
func goldenParameter(name string, i int) float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	x := h.Sum64() + uint64(i) + 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	u := float64(x>>40)/(1<<23) - 1
	switch parameterKind(name) {
	case normParameter:
		return float32(1 + u/4)
	case biasParameter:
		return float32(u / 2)
	}
	return float32(u / 4)
}

// goldenFolder writes a model folder with the config.json that a version of transformers wrote and the golden weights.
func goldenFolder(t testing.TB, name, config string, shards int) string {
	dir := t.TempDir()
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), data, 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := kernels.NewCPU(1)
	defer dev.Close()
	m, err := New(dev, c, Options{MaxTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	parts := make([][]safetensors.Named, shards)
	index := map[string]string{}
	file := func(i int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards) }
	i := 0
	for parameter, w := range m.W.Named() {
		x := make([]float32, w.Len())
		for j := range x {
			x[j] = goldenParameter(name+"/"+parameter, j)
		}
		parts[i%shards] = append(parts[i%shards], safetensors.Named{Name: parameter, Shape: w.Shape(), Data: x})
		index[parameter] = file(i % shards)
		i++
	}
	if shards == 1 {
		if err := safetensors.Write(filepath.Join(dir, weightsFile), parts[0], nil); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for i, part := range parts {
		if err := safetensors.Write(filepath.Join(dir, file(i)), part, nil); err != nil {
			t.Fatal(err)
		}
	}
	data, err = json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, indexFile), data, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// closeTo compares with a golden tensor: the largest difference over the tensor's largest magnitude is at most tol.
func closeTo(got []float32, golden *safetensors.File, name string, tol float64) error {
	s, ok := golden.Tensor(name)
	if !ok {
		return fmt.Errorf("%s: not in the golden file", name)
	}
	dense, err := s.Dense()
	if err != nil {
		return err
	}
	want := dense.Data().([]float32)
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d numbers, want %v", name, len(got), s.Shape)
	}
	diff, top := 0.0, 0.0
	for i, w := range want {
		diff, top = max(diff, math.Abs(float64(got[i]-w))), max(top, math.Abs(float64(w)))
		if got[i] != got[i] {
			return fmt.Errorf("%s[%d] is not a number", name, i)
		}
	}
	if diff > tol*top {
		return fmt.Errorf("%s: off by %.3g, largest magnitude %.3g: %.3g", name, diff, top, diff/top)
	}
	return nil
}

// Logits, loss, every gradient and 64 greedy tokens of transformers, on models that together have every part a Config can have.
func TestAgreesWithTransformers(t *testing.T) {
	files, err := filepath.Glob("testdata/*.safetensors")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d golden files, want 9: %v", len(files), err)
	}
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
		t.Run(name, func(t *testing.T) {
			golden, err := safetensors.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			older, newer := goldenFolder(t, name, "testdata/"+name+".v4.json", 1), goldenFolder(t, name, "testdata/"+name+".v5.json", 3)
			four, err := ReadConfig(older)
			if err != nil {
				t.Fatal(err)
			}
			five, err := ReadConfig(newer)
			if err != nil {
				t.Fatal(err)
			}
			four.source, five.source = nil, nil
			if !reflect.DeepEqual(four, five) {
				t.Errorf("transformers 4 and 5 write\n%+v\n%+v", four, five)
			}
			dir := older
			if i%2 == 0 {
				dir = newer // sharded
			}
			agrees(t, dir, golden, Options{DType: kernels.F32}, 1e-4, 1e-4)
			// Of the weights the goldens were made with, bf16 holds the upper eight bits.
			t.Run("bf16", func(t *testing.T) { agrees(t, dir, golden, Options{DType: kernels.BF16}, 2e-2, 8e-2) })
		})
	}
}

// agrees holds a folder's model against transformers: logits and loss within tol, gradients within gradTol, and of a float32 one the
// greedy tokens.
func agrees(t *testing.T, dir string, golden *safetensors.File, opt Options, tol, gradTol float64) {
	dev := device(t)
	opt.MaxTokens, opt.Train, opt.HeadRows = 128, true, 50
	m, err := loadFolder(dev, dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var rows [][]int32
	var prompt, greedy []int32
	meta := golden.Metadata()
	for key, v := range map[string]any{"ids": &rows, "prompt": &prompt, "greedy": &greedy} {
		if err := json.Unmarshal([]byte(meta[key]), v); err != nil {
			t.Fatal(err)
		}
	}
	var p problem
	p.Starts = []int32{0}
	predicted := 0
	for i, row := range rows {
		in := Inputs{IDs: row, Starts: []int32{0, int32(len(row))}, Rows: make([]int32, len(row))}
		for j := range row {
			in.Rows[j] = int32(j)
		}
		logits := make([]float32, len(row)*m.Config.Vocab)
		err := m.Score(in, func(h Head) {
			dev.Download(logits[h.From*m.Config.Vocab:h.To*m.Config.Vocab], h.Logits)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := closeTo(logits, golden, fmt.Sprintf("logits.%d", i), tol); err != nil {
			t.Error(err)
		}
		predicted += len(row) - 1
		for j, id := range row[1:] {
			p.Rows, p.Target = append(p.Rows, int32(len(p.IDs)+j)), append(p.Target, id)
		}
		p.IDs = append(p.IDs, row...)
		p.Starts = append(p.Starts, int32(len(p.IDs)))
	}
	p.Weight, p.Return = make([]float32, predicted), make([]float32, predicted)
	for i := range p.Weight {
		p.Weight[i] = 1 / float32(predicted)
	}
	l := newLearner(m)
	if err := l.train(p); err != nil {
		t.Fatal(err)
	}
	want, err := strconv.ParseFloat(meta["loss"], 64)
	if err != nil || math.Abs(l.loss-want) > tol*want {
		t.Errorf("loss %.6f, transformers says %.6f (%v)", l.loss, want, err)
	}
	tensors := 0
	for name, g := range m.G.Named() {
		if err := closeTo(download(m, g), golden, "gradient."+name, gradTol); err != nil {
			t.Error(err)
		}
		tensors++
	}
	if want := len(golden.Names()) - len(rows); tensors != want {
		t.Errorf("%d gradients, transformers has %d", tensors, want)
	}

	if opt.DType == kernels.BF16 {
		return
	}
	if err := m.OpenKV(2); err != nil {
		t.Fatal(err)
	}
	f := Feed{IDs: prompt, Pages: []int32{1, 0}, Draw: true}
	for i, want := range greedy {
		next, _, err := m.Step([]Feed{f}, kernels.Sampling{TopP: 1})
		if err != nil {
			t.Fatal(err)
		}
		if next[0] != want {
			t.Fatalf("greedy token %d is %d, transformers says %d", i, next[0], want)
		}
		f.Pos += len(f.IDs)
		f.IDs = []int32{next[0]}
	}
}
