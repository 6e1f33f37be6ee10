package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"retool/engine/atomicfile"
	"retool/engine/jsonfile"
	"retool/engine/safetensors"
	"retool/kernels"
)

// Names of the files of an adapter, and of its tensors, as PEFT has them; and of the base's hash in its metadata.
const (
	adapterFile   = "adapter_model.safetensors"
	adapterConfig = "adapter_config.json"
	pickledFile   = "adapter_model.bin" // of an older PEFT
	adapterPrefix = "base_model.model."
	baseHashKey   = "retool.base_sha256"
)

// peftConfig is what is read and written of adapter_config.json. What PEFT has beside it keeps PEFT's defaults.
type peftConfig struct {
	Type    string          `json:"peft_type"`
	Task    string          `json:"task_type"`
	Base    string          `json:"base_model_name_or_path"`
	Rank    int             `json:"r"`
	Alpha   float64         `json:"lora_alpha"`
	Dropout float64         `json:"lora_dropout"`
	Bias    string          `json:"bias"`
	Targets json.RawMessage `json:"target_modules"` // a list, or a string: a regular expression
	RSLoRA  bool            `json:"use_rslora"`
	Init    json.RawMessage `json:"init_lora_weights"`
	Infer   bool            `json:"inference_mode"`
}

// idle are the settings of adapter_config.json, beside those of peftConfig, that change nothing of what an adapter computes.
var idle = []string{"auto_mapping", "peft_version", "revision", "megatron_core", "qalora_group_size", "ensure_weight_tying",
	"loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"}

// movesBase are values of init_lora_weights that change the base before an adapter is trained: it is no adapter of the base that is named.
var movesBase = regexp.MustCompile(`^"(pissa.*|olora|loftq|corda|lora_ga)"$`)

// check names the first setting that this package does not compute.
func (c *peftConfig) check(text []byte) error {
	var all map[string]json.RawMessage
	if err := jsonfile.Unmarshal(text, &all); err != nil {
		return err
	}
	if c.Type != "LORA" {
		return fmt.Errorf("peft_type is %q, must be LORA", c.Type)
	}
	if c.Bias != "none" && c.Bias != "" {
		return fmt.Errorf("bias is %q, must be none: biases are not learnt beside an adapter", c.Bias)
	}
	if movesBase.Match(c.Init) {
		return fmt.Errorf("init_lora_weights is %s, which changes the base: have PEFT convert the adapter "+
			"(path_initial_model_for_weight_conversion)", c.Init)
	}
	switch {
	case c.Rank < 1:
		return fmt.Errorf("r is %d, must be at least 1", c.Rank)
	case !(c.Alpha > 0):
		return fmt.Errorf("lora_alpha is %g, must be above 0", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout <= 1):
		return fmt.Errorf("lora_dropout is %g, must be a share from 0 to 1", c.Dropout)
	}
	own := reflect.TypeFor[peftConfig]()
	for i := range own.NumField() {
		delete(all, own.Field(i).Tag.Get("json"))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var v bytes.Buffer
		if err := json.Compact(&v, all[name]); err != nil {
			return err
		}
		if !slices.Contains(idle, name) && !slices.Contains([]string{"null", "false", "0", `""`, "[]", "{}"}, v.String()) {
			return fmt.Errorf("%s is %s: an adapter that uses it is not read", name, &v)
		}
	}
	return nil
}

// ReadLoRA is what the adapter_config.json of a folder says, and the lora_dropout that PEFT trained it with, which is no part of what it
// computes.
func ReadLoRA(dir string) (l LoRA, dropout float64, err error) {
	path := filepath.Join(dir, adapterConfig)
	text, err := jsonfile.Read(path)
	if err != nil {
		return l, 0, fmt.Errorf("model: lora: %w", err)
	}
	var c peftConfig
	err = jsonfile.Unmarshal(text, &c)
	if err == nil {
		err = c.check(text)
	}
	if err != nil {
		return l, 0, fmt.Errorf("model: %s: %w", path, err)
	}
	l = LoRA{Rank: c.Rank, Alpha: c.Alpha, RSLoRA: c.RSLoRA}
	var one string
	if json.Unmarshal(c.Targets, &one) == nil {
		l.Targets = []string{one}
		l = l.spelt()
	} else if err := json.Unmarshal(c.Targets, &l.Targets); err != nil {
		return l, 0, fmt.Errorf("model: %s: target_modules: want a list of names or a pattern", path)
	}
	slices.Sort(l.Targets)
	return l, c.Dropout, nil
}

// BaseHash is the SHA-256 of the base's parameters, rounded to bfloat16: the same whatever type they have in memory.
func (m *Model) BaseHash() string {
	h := sha256.New()
	var buf []float32
	var out []byte
	for name, t := range m.W.Named() {
		if name == valueName {
			continue
		}
		fmt.Fprintf(h, "%s %v\n", name, t.Shape())
		_ = eachPiece(t, func(part kernels.Tensor, _ int) error {
			buf = sized(buf, part.Len())
			m.dev.Download(buf, part)
			out = out[:0]
			for _, x := range buf {
				out = binary.LittleEndian.AppendUint16(out, kernels.BF16Bits(x))
			}
			h.Write(out)
			return nil
		})
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// baseHash is a BaseHash, and how often the base had been filled when it was computed.
type baseHash struct {
	filled int
	hash   string
}

// knownBaseHash is BaseHash, computed once for the weights that the base was last given: a checkpoint does not read all of it again.
func (m *Model) knownBaseHash() string {
	of := m
	if m.Options.Base != nil {
		of = m.Options.Base
	}
	if m.baseHash.hash == "" || m.baseHash.filled != of.filled {
		m.baseHash = baseHash{of.filled, m.BaseHash()}
	}
	return m.baseHash.hash
}

// SaveAdapter writes the adapter to a folder in PEFT's layout: adapter_model.safetensors, with the hash of the base in its metadata, and
// adapter_config.json, which names the base by a path or a hub's name. Beside them is the value head that is learnt with it. The folder is
// made, and is to hold no model: transformers takes one with an adapter for the adapter's base.
func (m *Model) SaveAdapter(dir, base string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("model: save: %w", err)
	}
	l := m.Options.LoRA
	var targets []string
	var list []safetensors.Named
	named := func(name string, t kernels.Tensor) safetensors.Named {
		return safetensors.Named{Name: name, Shape: t.Shape(), Data: func() ([]float32, error) {
			buf := make([]float32, t.Len())
			m.dev.Download(buf, t)
			return buf, nil
		}}
	}
	for _, mod := range m.Adapter.modules() {
		for _, low := range mod.p.low {
			name := low.name[strings.LastIndex(low.name, ".")+1:]
			if !slices.Contains(l.Targets, name) { // a pattern's: modules are listed
				name = low.name
			}
			if !slices.Contains(targets, name) {
				targets = append(targets, name)
			}
			list = append(list, named(adapterPrefix+low.name+".lora_A.weight", low.A), named(adapterPrefix+low.name+".lora_B.weight", low.B))
		}
	}
	if err := safetensors.Write(filepath.Join(dir, adapterFile), list, map[string]string{baseHashKey: m.knownBaseHash()}); err != nil {
		return err
	}
	if m.Config.ValueHead {
		value := []safetensors.Named{named(valueName, m.Adapter.Value.Weight)}
		if err := safetensors.Write(filepath.Join(dir, valueFile), value, nil); err != nil {
			return err
		}
	}
	names, err := json.Marshal(targets)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(peftConfig{
		Type: "LORA", Task: "CAUSAL_LM", Base: base, Rank: l.Rank, Alpha: l.Alpha, Bias: "none", Targets: names, RSLoRA: l.RSLoRA,
		Init: json.RawMessage("true"), Infer: true,
	}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, adapterConfig), append(text, '\n'))
}

// ReadAdapter fills the adapter from a folder that SaveAdapter or PEFT wrote, and the value head where there is a file of it. An adapter
// of another base, rank or targets is an error.
func (m *Model) ReadAdapter(dir string) error {
	l, _, err := ReadLoRA(dir)
	if err != nil {
		return err
	}
	if o := m.Options.LoRA; l.Rank != o.Rank || l.Alpha != o.Alpha || l.RSLoRA != o.RSLoRA {
		return fmt.Errorf("model: %s: an adapter of rank %d, alpha %g, rslora %v; the model's has rank %d, alpha %g, rslora %v",
			filepath.Join(dir, adapterConfig), l.Rank, l.Alpha, l.RSLoRA, o.Rank, o.Alpha, o.RSLoRA)
	}
	path := filepath.Join(dir, adapterFile)
	if _, err := os.Stat(path); err != nil {
		if _, e := os.Stat(filepath.Join(dir, pickledFile)); e == nil {
			return fmt.Errorf("model: %s: want %s, found %s, which PEFT wrote in an older form: have it save the adapter again",
				dir, adapterFile, pickledFile)
		}
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if there, here := f.Metadata()[baseHashKey], m.knownBaseHash(); there != "" && there != here {
		return fmt.Errorf("model: %s: the adapter is of another base (SHA-256 %.12s…, this one's is %.12s…)", path, there, here)
	}
	known := map[string]bool{}
	for _, mod := range m.Adapter.modules() {
		for _, low := range mod.p.low {
			for i, t := range []kernels.Tensor{low.A, low.B} {
				name := adapterPrefix + low.name + []string{".lora_A.weight", ".lora_B.weight"}[i]
				known[name] = true
				if err := m.fillLearned(f, path, name, t); err != nil {
					return err
				}
			}
		}
	}
	for _, name := range slices.Sorted(slices.Values(f.Names())) {
		if !known[name] {
			return fmt.Errorf("model: %s: holds %s, which is of none of the model's targets (%s)", path, name,
				strings.Join(m.Options.LoRA.Targets, ", "))
		}
	}
	path = filepath.Join(dir, valueFile)
	if _, err := os.Stat(path); err != nil || !m.Config.ValueHead {
		return nil
	}
	v, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer v.Close()
	return m.fillLearned(v, path, valueName, m.Adapter.Value.Weight)
}

// fillLearned copies a tensor of a file to one that is learnt beside the base.
func (m *Model) fillLearned(f *safetensors.File, path, name string, t kernels.Tensor) error {
	s, ok := f.Tensor(name)
	if !ok {
		return fmt.Errorf("model: %s: want %s, which the model's targets (%s) have, found none", path, name,
			strings.Join(m.Options.LoRA.Targets, ", "))
	}
	if !slices.Equal(s.Shape, t.Shape()) {
		return fmt.Errorf("model: %s: want %s of shape %v, found %v", path, name, t.Shape(), s.Shape)
	}
	buf := make([]float32, t.Len())
	if err := s.Float32s(buf); err != nil {
		return fmt.Errorf("model: %s: %w", path, err)
	}
	if i := slices.IndexFunc(buf, notFinite); i >= 0 {
		return fmt.Errorf("model: %s: want finite numbers in %s, found %g at %d", path, name, buf[i], i)
	}
	m.dev.Upload(t, buf)
	return nil
}

// merge adds s·B·A to rows of a target's weight (N,M), those in buf, which begin with its number from, in float64.
func (m *Model) merge(name string, buf []float32, from int) {
	if m.Adapter == nil {
		return
	}
	for _, mod := range m.Adapter.modules() {
		for _, low := range mod.p.low {
			if low.name+".weight" != name {
				continue
			}
			first, rows := from/mod.in, len(buf)/mod.in
			r, s, sum := low.A.Dim(0), float64(m.Options.LoRA.scale()), make([]float64, mod.in)
			a, b := make([]float32, low.A.Len()), make([]float32, rows*r)
			m.dev.Download(a, low.A)
			m.dev.Download(b, low.B.Rows(first, first+rows))
			for i := range rows {
				clear(sum)
				for k := range r {
					for j, x := range a[k*mod.in : (k+1)*mod.in] {
						sum[j] += float64(b[i*r+k]) * float64(x)
					}
				}
				for j, x := range sum {
					buf[i*mod.in+j] = float32(float64(buf[i*mod.in+j]) + s*x)
				}
			}
		}
	}
}
