package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"retool/engine"
	"retool/interp"
	"retool/trainer"
	"retool/trainer/arith"
)

// Config is every setting of a run. Each section is the struct of the package that reads it; defaults and rules live there.
type Config struct {
	Run     string `yaml:"run"`     // directory; "": the next free number under runs/
	Device  string `yaml:"device"`  // cpu | gpu | emu: the GPU kernels, interpreted and checked
	Variant string `yaml:"variant"` // of the device's kernels; "": its default
	Threads int    `yaml:"threads"` // 0: one per core

	Model    Model                 `yaml:"model"`
	Data     Data                  `yaml:"data"`
	Protocol engine.ProtocolConfig `yaml:"protocol"`
	Interp   interp.Config         `yaml:"interp"`
	Engine   engine.Config         `yaml:"engine"`

	trainer.Config `yaml:",inline"`
}

// Model is a folder in Hugging Face's layout, or the shape of a model made from scratch.
type Model struct {
	Path      string  `yaml:"path"`
	Layers    int     `yaml:"layers"`
	Hidden    int     `yaml:"hidden"`
	Heads     int     `yaml:"heads"`
	KVHeads   int     `yaml:"kv_heads"`
	HeadDim   int     `yaml:"head_dim"`
	FFN       int     `yaml:"ffn"`
	Tied      bool    `yaml:"tied"`
	RopeTheta float64 `yaml:"rope_theta"`
	Recompute bool    `yaml:"recompute"` // activations: less memory, a third more work, equal bits
}

// Data says what is learnt from.
type Data struct {
	Task     string    `yaml:"task"` // arithmetic: the embedded task, generated; files: the three below
	Problems string    `yaml:"problems"`
	Traces   string    `yaml:"traces"`
	Test     string    `yaml:"test"`
	Pool     int       `yaml:"pool"`    // generated training problems
	Mix      arith.Mix `yaml:"mix"`     // generated cold-start traces
	Wrapper  string    `yaml:"wrapper"` // strip: take DAPO-Math-17k's instructions off a question; keep
}

// DefaultConfig is every package's defaults: the paper's settings where it gives them.
func DefaultConfig() Config {
	return Config{
		Device:   "cpu",
		Model:    Model{RopeTheta: 10000},
		Data:     Data{Task: "files", Pool: 16384, Mix: arith.DefaultMix(), Wrapper: "strip"},
		Protocol: engine.DefaultProtocol(),
		Interp:   interp.Default(),
		Engine:   engine.DefaultConfig(),
		Config:   trainer.DefaultConfig(),
	}
}

//go:embed recipes/*.yaml
var recipes embed.FS

// recipeNames lists the embedded recipes.
func recipeNames() []string {
	entries, _ := recipes.ReadDir("recipes")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// loadConfig reads defaults, then a recipe or a file, then each key=value of sets. An error names file and line, or the --set.
func loadConfig(source string, sets []string) (*Config, error) {
	c := DefaultConfig()
	explicit := map[string]bool{}
	if source != "" {
		text, err := recipes.ReadFile("recipes/" + source + ".yaml")
		name, keys := source+".yaml (embedded)", map[string]bool{}
		if err != nil {
			name, keys = source, explicit
			if text, err = os.ReadFile(source); err != nil {
				return nil, fmt.Errorf("config: %q is neither an embedded recipe (%s) nor a file that can be read: %w", source, strings.Join(recipeNames(), ", "), err)
			}
		}
		if err := c.merge(name, text, keys); err != nil {
			return nil, err
		}
	}
	for _, set := range sets {
		key, value, ok := strings.Cut(set, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("config: --set %s: want key=value, such as --set rl.lr=2e-6", set)
		}
		var text strings.Builder
		parts := strings.Split(strings.TrimSpace(key), ".")
		for i, part := range parts {
			fmt.Fprintf(&text, "%s%s:", strings.Repeat(" ", i), part)
			if i < len(parts)-1 {
				text.WriteByte('\n')
			}
		}
		if value = strings.TrimSpace(value); value == "" {
			value = `""`
		}
		text.WriteString(" " + value + "\n")
		if err := c.merge("--set "+set, []byte(text.String()), explicit); err != nil {
			return nil, err
		}
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := c.idle(explicit); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return &c, nil
}

// merge decodes YAML over c and notes which keys it gives.
func (c *Config) merge(name string, text []byte, given map[string]bool) error {
	at := func(line int) string {
		if strings.HasPrefix(name, "--set") {
			return name
		}
		return fmt.Sprintf("%s:%d", name, line)
	}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, message := position(err)
		return fmt.Errorf("config: %s: %s", at(line), message)
	}
	keys := map[[2]int]string{} // of the value at a line and column
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		m, ok := doc.Body.(ast.MapNode)
		if !ok {
			return fmt.Errorf("config: %s: want settings, such as `seed: 1`, got %s", at(doc.Body.GetToken().Position.Line), strings.ToLower(doc.Body.Type().String()))
		}
		if err := checkKeys(m, reflect.TypeOf(*c), "", at, given, keys); err != nil {
			return err
		}
	}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict(), yaml.AllowDuplicateMapKey()); err != nil {
		line, message := position(err)
		var wrong *yaml.TypeError
		if errors.As(err, &wrong) && wrong.Token != nil {
			p := wrong.Token.Position
			message = fmt.Sprintf("%s: want %s, got %q", keys[[2]int{p.Line, p.Column}], kindOf(wrong.DstType), wrong.Token.Value)
		} else if e := yaml.Error(nil); errors.As(err, &e) && e.GetToken() != nil {
			p := e.GetToken().Position
			message = keys[[2]int{p.Line, p.Column}] + ": " + message
		}
		return fmt.Errorf("config: %s: %s", at(line), message)
	}
	return nil
}

// kindOf says in words what a type takes.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number, not negative"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "a section of settings"
	}
	return "text"
}

// position is the line of a YAML error and its message, without the excerpt.
func position(err error) (int, string) {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		message, _, _ := strings.Cut(e.GetMessage(), "\n")
		return e.GetToken().Position.Line, fmt.Sprintf("%s (found %q)", message, e.GetToken().Value)
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	return 0, message
}

// checkKeys refuses keys that the struct does not have, or that are given twice in one file.
func checkKeys(m ast.MapNode, t reflect.Type, path string, at func(int) string, given map[string]bool, keys map[[2]int]string) error {
	fields := yamlFields(t)
	seen := map[string]int{}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		line := it.Key().GetToken().Position.Line
		where := "at the top level"
		if path != "" {
			where = "in " + strings.TrimSuffix(path, ".")
		}
		if first, twice := seen[key]; twice {
			return fmt.Errorf("config: %s: key %q %s was given in line %d already", at(line), key, where, first)
		}
		seen[key] = line
		f, ok := fields[key]
		if !ok {
			known := make([]string, 0, len(fields))
			for k := range fields {
				known = append(known, k)
			}
			return fmt.Errorf("config: %s: unknown key %q %s (%s)", at(line), key, where, suggest(key, known))
		}
		if child, ok := it.Value().(ast.MapNode); ok && f.Kind() == reflect.Struct {
			if err := checkKeys(child, f, path+key+".", at, given, keys); err != nil {
				return err
			}
			continue
		}
		given[path+key] = true
		if p := it.Value().GetToken(); p != nil {
			keys[[2]int{p.Position.Line, p.Position.Column}] = path + key
		}
	}
	return nil
}

// yamlFields maps the keys of a struct, those of inlined ones included, to their types.
func yamlFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case rest == "inline":
			for k, v := range yamlFields(f.Type) {
				out[k] = v
			}
		case f.IsExported():
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			out[name] = f.Type
		}
	}
	return out
}

// suggest lists the known keys, the likeliest first if one is close.
func suggest(key string, known []string) string {
	sort.Strings(known)
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(key, k); d < distance {
			best, distance = k, d
		}
	}
	list := "known: " + strings.Join(known, ", ")
	if best != "" {
		return fmt.Sprintf("did you mean %q? %s", best, list)
	}
	return list
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Validate checks every section, and what no section can see alone.
func (c *Config) Validate() error {
	if err := checkDevice(c.Device, c.Variant); err != nil {
		return err
	}
	if c.Threads < 0 {
		return fmt.Errorf("threads: want 0 (one per core) or more, got %d", c.Threads)
	}
	for _, check := range []func() error{c.Config.Validate, c.Engine.Validate, c.Model.validate, c.Data.validate} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := c.Protocol.Validate(); err != nil {
		return err
	}
	if c.tools() {
		if err := c.Interp.Validate(); err != nil {
			return err
		}
	}
	if c.RL.Steps > 0 && c.Engine.MaxTokens > c.RL.Tokens {
		return fmt.Errorf("rl.tokens: a pass of %d tokens cannot hold a trajectory of engine.max_tokens %d", c.RL.Tokens, c.Engine.MaxTokens)
	}
	return nil
}

// tools reports whether rollouts may call Python.
func (c *Config) tools() bool { return c.Protocol.Name != "none" }

func (m Model) validate() error {
	if m.Path != "" {
		return nil
	}
	for _, f := range []struct {
		key   string
		value int
	}{{"layers", m.Layers}, {"hidden", m.Hidden}, {"heads", m.Heads}, {"kv_heads", m.KVHeads}, {"head_dim", m.HeadDim}, {"ffn", m.FFN}} {
		if f.value < 1 {
			return fmt.Errorf("model.%s: want at least 1, got %d: give the shape of a new model, or model.path, a folder with config.json and model.safetensors", f.key, f.value)
		}
	}
	return nil
}

func (d Data) validate() error {
	switch {
	case d.Task != "arithmetic" && d.Task != "files":
		return fmt.Errorf("data.task: %q is not known (known: arithmetic, files)", d.Task)
	case d.Task == "arithmetic" && d.Pool < 1:
		return fmt.Errorf("data.pool: want at least 1 problem, got %d", d.Pool)
	case d.Wrapper != "strip" && d.Wrapper != "keep":
		return fmt.Errorf("data.wrapper: %q is not known (known: strip, keep)", d.Wrapper)
	}
	if err := d.Mix.Validate(); err != nil {
		return fmt.Errorf("data.mix: %w", err)
	}
	return nil
}

// idle refuses settings that were given, differ from the default and would do nothing. An embedded recipe is exempt: it is written
// to be changed by --set.
func (c *Config) idle(given map[string]bool) error {
	defaults := map[string]any{}
	leaves(reflect.ValueOf(DefaultConfig()), "", func(key string, v reflect.Value) { defaults[key] = v.Interface() })
	leaves(reflect.ValueOf(*c), "", func(key string, v reflect.Value) {
		if reflect.DeepEqual(defaults[key], v.Interface()) {
			delete(given, key)
		}
	})
	never := func(reason string, match func(key string) bool) error {
		keys := make([]string, 0, len(given))
		for k := range given {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if match(k) {
				return fmt.Errorf("%s would do nothing: %s", k, reason)
			}
		}
		return nil
	}
	section := func(s string) func(string) bool {
		return func(k string) bool { return strings.HasPrefix(k, s+".") }
	}
	among := func(keys ...string) func(string) bool {
		return func(k string) bool { return slices.Contains(keys, k) }
	}
	var errs []error
	if c.RL.Algorithm == "grpo" {
		errs = append(errs, never("rl.algorithm grpo has no critic", section("critic")), never("rl.algorithm grpo has no values", among("rl.gamma", "rl.lambda", "rl.whiten")))
	}
	if c.Critic.Trunk == "shared" {
		errs = append(errs, never("critic.trunk shared follows rl.lr", among("critic.lr")))
	} else {
		errs = append(errs, never("critic.trunk own has a loss of its own", among("critic.coefficient", "critic.warmup_lr")))
	}
	if !c.tools() {
		errs = append(errs, never("protocol.name none runs no code", section("interp")), never("protocol.name none runs no code", func(k string) bool {
			return section("protocol")(k) && k != "protocol.name" && k != "protocol.template"
		}))
	}
	if c.Data.Task == "files" {
		errs = append(errs, never("data.task files generates nothing", func(k string) bool { return k == "data.pool" || section("data.mix")(k) }))
	} else {
		errs = append(errs, never("data.task arithmetic reads no files", among("data.problems", "data.traces", "data.test", "data.wrapper")))
	}
	if c.Reward.Use != "tool-shaped" {
		errs = append(errs, never("only reward.use tool-shaped counts calls", among("reward.count")))
	}
	if c.SFT.Steps > 0 {
		errs = append(errs, never("sft.steps is given", among("sft.epochs")))
	}
	return errors.Join(errs...)
}

// text is the configuration as YAML; loading it gives the same values.
func (c *Config) text() ([]byte, error) {
	var b bytes.Buffer
	err := yaml.NewEncoder(&b, yaml.Indent(2)).Encode(c)
	return b.Bytes(), err
}

// freeRun is the first unused number under runs/.
func freeRun() string {
	for i := 1; ; i++ {
		dir := filepath.Join("runs", fmt.Sprintf("%04d", i))
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return dir
		}
	}
}
