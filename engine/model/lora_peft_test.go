package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"retool/engine/safetensors"
	"retool/kernels"
)

// logitsOf scores all of a sequence.
func logitsOf(t *testing.T, m *Model, ids []int32) []float32 {
	t.Helper()
	in := Inputs{IDs: ids, Starts: []int32{0, int32(len(ids))}, Rows: make([]int32, len(ids))}
	for i := range in.Rows {
		in.Rows[i] = int32(i)
	}
	logits := make([]float32, len(ids)*m.Config.Vocab)
	if err := m.Score(in, func(h Head) { m.dev.Download(logits[h.From*m.Config.Vocab:h.To*m.Config.Vocab], h.Logits) }); err != nil {
		t.Fatal(err)
	}
	return logits
}

// An adapter that PEFT wrote gives PEFT's logits, beside its base and merged with it; written again it has PEFT's tensors, name for name
// and bit for bit, and settings that select the same modules.
func TestAdaptersAgreeWithPEFT(t *testing.T) {
	base := goldenFolder(t, "qwen2-g1", "testdata/qwen2-g1.v5.json", 1)
	for _, name := range []string{"peft-plain", "peft-rslora"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", name)
			golden, err := safetensors.Open(filepath.Join(dir, "logits.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			var ids []int32
			if err := json.Unmarshal([]byte(golden.Metadata()["ids"]), &ids); err != nil {
				t.Fatal(err)
			}
			l, _, err := ReadLoRA(dir)
			if err != nil {
				t.Fatal(err)
			}
			dev := device(t)
			for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
				tol := map[kernels.DType]float64{kernels.F32: 1e-5, kernels.BF16: 2e-2}[dtype]
				m, err := loadFolder(dev, base, Options{MaxTokens: 32, Train: true, LoRA: l, DType: dtype})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				without := logitsOf(t, m, ids)
				if err := m.ReadAdapter(dir); err != nil {
					t.Fatal(err)
				}
				with := logitsOf(t, m, ids)
				if err := closeTo(with, golden, "logits", tol); err != nil {
					t.Errorf("%v: %v", dtype, err)
				}
				if relative(without, with) < 0.1 {
					t.Error("the adapter does next to nothing")
				}
				out := t.TempDir()
				if err := m.Save(out); err != nil {
					t.Fatal(err)
				}
				merged, err := loadFolder(dev, out, Options{MaxTokens: 32})
				if err != nil {
					t.Fatal(err)
				}
				defer merged.Close()
				if err := closeTo(logitsOf(t, merged, ids), golden, "logits", tol); err != nil {
					t.Errorf("%v, merged: %v", dtype, err)
				}
				if err := m.SaveAdapter(out, "base"); err != nil {
					t.Fatal(err)
				}
				sameAdapter(t, out, dir)
				back, _, err := ReadLoRA(out)
				if err != nil || back.scale() != l.scale() || back.Rank != l.Rank {
					t.Errorf("%+v comes back as %+v: %v", l, back, err)
				}
			}
		})
	}
}

// sameAdapter compares the tensors of two folders.
func sameAdapter(t *testing.T, got, want string) {
	t.Helper()
	var of [2]*safetensors.File
	var names [2][]string
	for i, dir := range []string{got, want} {
		f, err := safetensors.Open(filepath.Join(dir, adapterFile))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		of[i], names[i] = f, slices.Sorted(slices.Values(f.Names()))
	}
	if !slices.Equal(names[0], names[1]) {
		t.Fatalf("tensors %v, PEFT has %v", names[0], names[1])
	}
	for _, name := range names[0] {
		a, _ := of[0].Tensor(name)
		b, _ := of[1].Tensor(name)
		if !slices.Equal(a.Shape, b.Shape) || !slices.Equal(a.Bytes, b.Bytes) {
			t.Errorf("%s differs from PEFT's", name)
		}
	}
}

// Every setting of PEFT that changes what an adapter computes, and is not computed here, is refused by its name; so is one that is not
// known yet.
func TestSettingsOfPEFTThatAreNotComputedAreNamed(t *testing.T) {
	dir := t.TempDir()
	read := func(key string, value any) error {
		text, err := os.ReadFile("testdata/peft-plain/adapter_config.json")
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		all[key] = value
		if text, err = json.MarshalIndent(all, "", "  "); err != nil { // as PEFT writes it
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, adapterConfig), text, 0o666); err != nil {
			t.Fatal(err)
		}
		l, dropout, err := ReadLoRA(dir)
		if err == nil && (l.Rank != 8 || key == "lora_dropout" && dropout != value) {
			t.Errorf("%s: rank %d, dropout %g", key, l.Rank, dropout)
		}
		return err
	}
	for key, value := range map[string]any{
		"modules_to_save": []string{"lm_head"}, "layers_to_transform": []int{0}, "layers_pattern": "layers",
		"rank_pattern": map[string]int{"q_proj": 4}, "alpha_pattern": map[string]int{"q_proj": 4},
		"use_dora": true, "bias": "all", "fan_in_fan_out": true, "init_lora_weights": "pissa_niter_4",
		"exclude_modules": []string{"q_proj"}, "trainable_token_indices": []int{3}, "layer_replication": [][]int{{0, 2}}, "lora_bias": true,
		"target_parameters": []string{"x"}, "alora_invocation_tokens": []int{1}, "use_qalora": true, "peft_type": "IA3", "of_next_year": 1,
		"r": "eight",
	} {
		if err := read(key, value); err == nil || !strings.Contains(err.Error(), key+" is ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", key, err)
		}
	}
	for key, value := range map[string]any{"r": 0, "lora_alpha": -3, "lora_dropout": 1.5} {
		if err := read(key, value); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s is %v, must be", key, value)) {
			t.Errorf("%s: %v", key, err)
		}
	}
	for key, value := range map[string]any{
		"lora_dropout": 0.05, "init_lora_weights": "gaussian", "peft_version": "0.99", "megatron_core": "x", "inference_mode": false,
		"use_dora": false, "of_next_year": nil,
	} {
		if err := read(key, value); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// A file that is no adapter of the model is refused by what is wrong with it.
func TestAdapterFilesThatDoNotFitAreNamed(t *testing.T) {
	dev := device(t)
	l := LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj", "down_proj"}}
	m := tiny(t, dev, Options{MaxTokens: 4, Train: true, LoRA: l})
	m.InitAdapter(4)
	dir := t.TempDir()
	if err := m.SaveAdapter(dir, "base"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, adapterFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const first = adapterPrefix + "model.layers.0.self_attn.q_proj.lora_A.weight"
	rewrite := func(change func(safetensors.Named) []safetensors.Named) func() error {
		return func() error {
			f, err := safetensors.Open(path)
			if err != nil {
				return err
			}
			var list []safetensors.Named
			for _, name := range f.Names() {
				s, _ := f.Tensor(name)
				x := make([]float32, s.Len())
				if err := s.Float32s(x); err != nil {
					return err
				}
				n := safetensors.Named{Name: name, Shape: s.Shape, Data: func() ([]float32, error) { return x, nil }}
				if name == first {
					list = append(list, change(n)...)
				} else {
					list = append(list, n)
				}
			}
			f.Close()
			return safetensors.Write(path, list, nil)
		}
	}
	for want, spoil := range map[string]func() error{
		first + ", which the model's targets (q_proj, down_proj) have, found none": rewrite(
			func(safetensors.Named) []safetensors.Named { return nil }),
		"holds x.lora_A.weight, which is of none of the model's targets": rewrite(func(n safetensors.Named) []safetensors.Named {
			x := n
			x.Name = "x.lora_A.weight"
			return []safetensors.Named{n, x}
		}),
		"of shape [2 24], found [24 2]": rewrite(func(n safetensors.Named) []safetensors.Named {
			n.Shape = []int{24, 2}
			return []safetensors.Named{n}
		}),
		"want finite numbers in " + first + ", found NaN at 47": rewrite(func(n safetensors.Named) []safetensors.Named {
			x := make([]float32, 48)
			x[47] = float32(math.NaN())
			n.Data = func() ([]float32, error) { return x, nil }
			return []safetensors.Named{n}
		}),
		"ends at": func() error { return os.Truncate(path, int64(len(whole)-1)) },
		"want adapter_model.safetensors, found adapter_model.bin": func() error {
			return os.Rename(path, filepath.Join(dir, pickledFile))
		},
	} {
		if err := os.WriteFile(path, whole, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := m.ReadAdapter(dir); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := m.ReadAdapter(dir); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// Adapters of full rank reach what training all weights reaches; of rank 1, in as many steps, they do not.
func TestFullRankReachesWhatFullTrainingDoes(t *testing.T) {
	c := Config{
		Arch: Llama, Layers: 2, Hidden: 16, Heads: 2, KVHeads: 2, HeadDim: 8, FFN: 32, Vocab: 32, MaxPositions: 256,
		RMSEps: 1e-6, RopeTheta: 10000, LMHead: true, KVChunk: 64,
	}
	r := newRand(8)
	p := problem{Inputs: Inputs{Starts: []int32{0, 200}}}
	for i := range 200 {
		p.IDs, p.Rows = append(p.IDs, int32(r.IntN(c.Vocab))), append(p.Rows, int32(i))
		p.Target, p.Weight = append(p.Target, int32(r.IntN(c.Vocab))), append(p.Weight, 1.0/200)
		p.Return = append(p.Return, 0)
	}
	dev := device(t)
	loss := func(rank int) float64 {
		opt := Options{MaxTokens: 200, Train: true}
		if rank > 0 {
			opt.LoRA = LoRA{Rank: rank, Alpha: float64(rank), Targets: everyTarget}
		}
		m, err := New(dev, c, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		randomize(m, 3)
		m.InitAdapter(3)
		head := download(m, m.W.Head.Weight) // frozen, and of unit rows it bounds the loss from below
		for i := range head {
			head[i] *= 4
		}
		dev.Upload(m.W.Head.Weight, head)
		l, all := newLearner(m), m.Learned().All
		m1, m2 := dev.Alloc(kernels.F32, all.Len()), dev.Alloc(kernels.F32, all.Len())
		defer dev.Free(m1)
		defer dev.Free(m2)
		for step := range 300 {
			m.ForgetGrad()
			if err := l.train(p); err != nil {
				t.Fatal(err)
			}
			if err := dev.Do(func() {
				dev.AdamW(all, kernels.Tensor{}, m.G.All, m1, m2,
					kernels.AdamWStep{LR: 1e-2, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Scale: 1, Step: step + 1})
			}); err != nil {
				t.Fatal(err)
			}
		}
		return l.loss
	}
	all, full, one := loss(0), loss(16), loss(1)
	t.Logf("loss: all weights %.4f, rank 16 of 16 %.4f, rank 1 %.4f", all, full, one)
	if full > all+0.05 || one < all+0.5 {
		t.Errorf("loss: all weights %.4f, rank 16 of 16 %.4f, rank 1 %.4f", all, full, one)
	}
}
