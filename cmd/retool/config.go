package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"retool/engine"
	"retool/interp"
	"retool/trainer"
	"retool/trainer/arith"
	"retool/trainer/data"
)

// Config is every setting of a run. Each section is the struct of the package that reads it; defaults and rules live there.
type Config struct {
	Run     string `yaml:"run" doc:"run directory; empty: the next free number under runs/" resume:"free"`
	Device  string `yaml:"device" doc:"cpu; gpu (a binary made by make gpu); emu: the GPU's kernels, interpreted and checked, slow"`
	Variant string `yaml:"variant" doc:"of kernels: avx512bf16, avx512, avx2, go; sm80, sm90a (wgmma); empty: the best CPU's, a GPU's sm80"`
	Faults  bool   `yaml:"name_faults" doc:"gpu, emu: wait for every launch, so that a fault names operation and kernel; slow" resume:"free"`
	Threads int    `yaml:"threads" doc:"0: one per core that this process may use, affinity and quota; no bit depends on it" resume:"free"`

	Model    Model                 `yaml:"model"`
	Data     Data                  `yaml:"data"`
	Protocol engine.ProtocolConfig `yaml:"protocol"`
	Interp   interp.Config         `yaml:"interp"`
	Engine   engine.Config         `yaml:"engine"`
	Follow   Follow                `yaml:"follow" resume:"free"`

	trainer.Config `yaml:",inline"`

	typed map[string]string // what a --set gave: key to that
}

// Model is a folder in Hugging Face's layout, or the shape of a model made from scratch.
type Model struct {
	Path      string  `yaml:"path" doc:"a folder of transformers; cache:NAME: one of make pretrained; empty: a new model of the shape below"`
	Layers    int     `yaml:"layers" doc:"shape of a new model"`
	Hidden    int     `yaml:"hidden" doc:"shape of a new model"`
	Heads     int     `yaml:"heads" doc:"shape of a new model: query heads"`
	KVHeads   int     `yaml:"kv_heads" doc:"shape of a new model: key and value heads, a divisor of heads"`
	HeadDim   int     `yaml:"head_dim" doc:"shape of a new model: size of a head"`
	FFN       int     `yaml:"ffn" doc:"shape of a new model: feed-forward size"`
	Tied      bool    `yaml:"tied" doc:"shape of a new model: one matrix for embedding and head"`
	RopeTheta float64 `yaml:"rope_theta" doc:"shape of a new model: base of the rotary frequencies"`
	DType     string  `yaml:"dtype" doc:"of the model in memory: float32, bfloat16; auto: that of its config.json, on a GPU bfloat16"`
	States    string  `yaml:"states" doc:"of learning: float32; halves: 12 bytes a bf16 weight, not 18, its moments rounded by chance"`
	Recompute bool    `yaml:"recompute" doc:"activations in the backward pass: less memory, a third more work, equal bits" resume:"free"`
	LoRA      LoRA    `yaml:"lora"`
}

// LoRA is an adapter, learnt in place of the weights.
type LoRA struct {
	Rank    int      `yaml:"rank" doc:"of an adapter that is learnt beside frozen weights; 0: all weights are learnt"`
	Alpha   float64  `yaml:"alpha" doc:"scale of the adapter: alpha/rank"`
	Targets []string `yaml:"targets" doc:"modules with an adapter: ends of names, patterns for whole names, all-linear: as in PEFT"`
	RSLoRA  bool     `yaml:"rslora" doc:"scale alpha/√rank"`
	Path    string   `yaml:"path" doc:"folder of an adapter to begin with, of PEFT or a checkpoint's adapter/; empty: a new one"`
}

// Data says what is learnt from.
type Data struct {
	Task     string    `yaml:"task" doc:"arithmetic, word-problems: the embedded tasks, generated; files: the three below"`
	Problems string    `yaml:"problems" doc:"RL: JSONL, JSON or Parquet with question, answer, or a public layout" resume:"free"`
	Traces   string    `yaml:"traces" doc:"cold start: question, answer, segments; or messages with calls and outputs" resume:"free"`
	Test     string    `yaml:"test" doc:"evaluation: as data.problems" resume:"free"`
	Pool     int       `yaml:"pool" doc:"generated training problems of an embedded task"`
	Mix      arith.Mix `yaml:"mix"` // generated cold-start traces
	Wrapper  string    `yaml:"wrapper" doc:"strip: take answer instructions (DAPO) and prompts (ReTool-SFT) off a question; keep"`
	Check    string    `yaml:"check" doc:"rows no rollout leaves, wrong answers, repeats: count and say, or strict: refuse" resume:"free"`
	Long     string    `yaml:"long" doc:"rows whose prompt or trace is over the budget of tokens: refuse, or skip and count"`

	Columns data.Columns `yaml:"columns"` // of the files, where their layout is not one that is recognised
}

// DefaultConfig is every package's defaults: the paper's settings where it gives them.
func DefaultConfig() Config {
	return Config{
		Device: "cpu",
		Model: Model{RopeTheta: 10000, DType: "auto", States: "float32",
			LoRA: LoRA{Alpha: 16, Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj"}}},
		Data:     Data{Task: "files", Pool: 16384, Mix: arith.DefaultMix(), Wrapper: "strip", Check: "count", Long: "refuse"},
		Protocol: engine.DefaultProtocol(),
		Interp:   interp.Default(),
		Engine:   engine.DefaultConfig(),
		Follow:   Follow{TensorBoard: true},
		Config:   trainer.DefaultConfig(),
	}
}

//go:embed recipes/*.yaml recipes/demo/*.yaml
var recipes embed.FS

// recipeNames lists the embedded recipes. Those of recipes/demo stand over demo, one for each algorithm and one of an adapter.
func recipeNames() (names []string) {
	for _, of := range []struct{ dir, prefix string }{{"recipes", ""}, {"recipes/demo", "demo-"}} {
		entries, _ := recipes.ReadDir(of.dir)
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
				names = append(names, of.prefix+name)
			}
		}
	}
	return names
}

// recipe is the texts of an embedded one, each over those before it; none if there is no such recipe.
func recipe(name string) (texts [][]byte) {
	if text, err := recipes.ReadFile("recipes/" + name + ".yaml"); err == nil {
		return [][]byte{text}
	}
	over, ok := strings.CutPrefix(name, "demo-")
	text, err := recipes.ReadFile("recipes/demo/" + over + ".yaml")
	if !ok || err != nil {
		return nil
	}
	return append(recipe("demo"), text)
}

// loadConfig reads defaults, then a recipe or a file, then each key=value of sets. An error names file and line, or the --set.
//
// Settings that would do nothing are refused where the user typed them, in a --set or in a file that makes them idle by itself, and
// take their defaults otherwise. So every configuration that this program prints or stores loads again, with any --set.
func loadConfig(source string, sets []string) (*Config, error) {
	return loadOverlaid(source, nil, sets)
}

// A settingsError is one of settings, which every rank of a command is given alike.
type settingsError struct{ error }

func (e settingsError) Unwrap() error { return e.error }

// loadOverlaid is loadConfig with lay, if there is one, called between the file and the sets: what it sets is as a recipe's.
func loadOverlaid(source string, lay func(*Config) error, sets []string) (*Config, error) {
	c, err := overlaid(source, lay, sets)
	if file := (*fs.PathError)(nil); err != nil && !errors.As(err, &file) { // a file may be on one host and not on another
		err = settingsError{err}
	}
	return c, err
}

func overlaid(source string, lay func(*Config) error, sets []string) (*Config, error) {
	c := DefaultConfig()
	inFile, typed := map[string]string{}, map[string]string{} // key to where it was given
	given := map[string]string{}                              // in an embedded recipe as well
	if source != "" {
		name, keys := source+".yaml (embedded)", map[string]string{} // a recipe is written to be changed by --set
		texts := recipe(source)
		if texts == nil {
			name, keys = source, inFile
			text, err := readText(source)
			if err != nil {
				near := ""
				if best := nearest(source, recipeNames()); best != "" {
					near = fmt.Sprintf("did you mean %s? ", best)
				}
				return nil, fmt.Errorf("config: %q is neither an embedded recipe (%sknown: %s) nor a file that can be read: %w", source, near,
					strings.Join(recipeNames(), ", "), err)
			}
			texts = [][]byte{text}
		}
		for _, text := range texts {
			if err := c.merge(name, text, keys); err != nil {
				return nil, err
			}
		}
		maps.Copy(given, keys)
	}
	for key := range inFile {
		if c.idle()[key] == "" {
			delete(inFile, key) // if it is idle now, a --set makes it so
		}
	}
	if lay != nil {
		if err := lay(&c); err != nil {
			return nil, err
		}
	}
	for _, set := range sets {
		text, err := setText(set)
		if err == nil {
			err = c.merge("--set "+set, text, typed)
		}
		if err != nil {
			return nil, err
		}
	}
	maps.Copy(given, typed)
	c.typed = maps.Clone(typed)
	if err := c.publish(given); err != nil {
		return nil, err
	}
	for key, where := range inFile {
		typed[key] = cmp.Or(typed[key], where)
	}
	if err := c.settleIdle(typed); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return &c, nil
}

// publish takes the algorithm's published values of settings that nobody gave.
func (c *Config) publish(given map[string]string) error {
	for key, value := range c.RL.Published() {
		if given[key] != "" {
			continue
		}
		text, err := setText(key + "=" + value)
		if err == nil {
			err = c.merge("rl.algorithm "+c.RL.Algorithm, text, map[string]string{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setText is a --set as a YAML file would say it. The value of a text setting is the text itself, whatever YAML would make of it.
func setText(set string) ([]byte, error) {
	key, value, ok := strings.Cut(set, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || slices.Contains(strings.Split(key, "."), "") {
		return nil, fmt.Errorf("config: --set %s: want key=value, such as --set rl.lr=2e-6", set)
	}
	isText := value == ""
	defaults := DefaultConfig()
	for _, s := range settings(&defaults) {
		isText = isText || s.key == key && s.value.Kind() == reflect.String
	}
	switch {
	case !utf8.ValidString(set):
		return nil, fmt.Errorf("config: --set %q: not valid UTF-8", set)
	case isText:
		value = strconv.Quote(value)
	case strings.ContainsAny(value, "\r\n"):
		return nil, fmt.Errorf("config: --set %s=…: want a value of one line, got %q", key, value)
	}
	var text strings.Builder
	parts := strings.Split(key, ".")
	for i, part := range parts {
		fmt.Fprintf(&text, "%s%s:", strings.Repeat(" ", i), part)
		if i < len(parts)-1 {
			text.WriteByte('\n')
		}
	}
	text.WriteString(" " + value + "\n")
	return []byte(text.String()), nil
}

// merge decodes YAML over c and notes where each key was given. A file without settings changes nothing.
func (c *Config) merge(name string, text []byte, given map[string]string) error {
	at := func(line int) string {
		if strings.HasPrefix(name, "--set") || line == 0 {
			return name
		}
		return fmt.Sprintf("%s:%d", name, line)
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("config: %q: not valid UTF-8", name)
	}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, message := position(err)
		return fmt.Errorf("config: %s: %s", at(line), message)
	}
	keys := map[[2]int]string{} // of the value at a line and column
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || slices.Contains([]ast.NodeType{ast.NullType, ast.CommentType, ast.DirectiveType}, doc.Body.Type()) {
			continue
		}
		if body != nil {
			return fmt.Errorf("config: %s: a second document begins: want all settings in one", at(doc.Body.GetToken().Position.Line))
		}
		body = doc.Body
		m, ok := doc.Body.(ast.MapNode)
		if !ok {
			return fmt.Errorf("config: %s: want settings, such as `seed: 1`, got %s", at(doc.Body.GetToken().Position.Line),
				strings.ToLower(doc.Body.Type().String()))
		}
		if err := checkKeys(m, reflect.TypeOf(*c), "", at, given, keys); err != nil {
			return err
		}
	}
	if body == nil {
		return nil
	}
	if err := yaml.NodeToValue(body, c, yaml.Strict(), yaml.AllowDuplicateMapKey()); err != nil {
		line, message := position(err)
		var wrong *yaml.TypeError
		var node *yaml.UnexpectedNodeTypeError
		if errors.As(err, &wrong) && wrong.Token != nil {
			p := wrong.Token.Position
			message = fmt.Sprintf("%s: want %s, got %q", keys[[2]int{p.Line, p.Column}], kindOf(wrong.DstType), wrong.Token.Value)
		} else if errors.As(err, &node) && node.Expected == ast.SequenceType {
			p := node.Token.Position
			message = fmt.Sprintf("%s: want a list such as [a, b], got %q", keys[[2]int{p.Line, p.Column}], node.Token.Value)
		} else if errors.As(err, &node) && node.Expected == ast.MappingType {
			p := node.Token.Position
			message = fmt.Sprintf("%s: want a section of settings, got %q", keys[[2]int{p.Line, p.Column}], node.Token.Value)
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
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration such as 5s or 2m30s"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number, not negative"
	case reflect.Float64:
		return "a finite number"
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

// checkKeys refuses keys that the struct does not have, or that are given twice in one file. What text settings hold is the text itself,
// whatever number YAML would make of it.
func checkKeys(m ast.MapNode, t reflect.Type, path string, at func(int) string, given map[string]string, keys map[[2]int]string) error {
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
		if err := checkNumber(it.Value(), f); err != nil {
			return fmt.Errorf("config: %s: %s: %w", at(line), path+key, err)
		}
		given[path+key] = at(line)
		values := []ast.Node{it.Value()}
		if list, ok := it.Value().(*ast.SequenceNode); ok {
			values = append(values, list.Values...)
		}
		for _, v := range values {
			if p := v.GetToken(); p != nil {
				keys[[2]int{p.Position.Line, p.Position.Column}] = path + key
			}
		}
		if kind := it.Value().Type(); f.Kind() == reflect.String && (kind == ast.IntegerType || kind == ast.FloatType || kind == ast.BoolType) {
			it.KeyValue().Value = ast.String(it.Value().GetToken()) // the text itself: run: 0010
		}
	}
	return nil
}

// checkNumber refuses numbers that YAML libraries take in silence for others: beyond the type's range, with a fraction where it has
// none, not finite, octal by a leading zero; and a duration without its unit.
func checkNumber(value ast.Node, t reflect.Type) error {
	if anchor, ok := value.(*ast.AnchorNode); ok {
		value = anchor.Value
	}
	if _, ok := value.(ast.ScalarNode); !ok || value.Type() == ast.AliasType {
		return nil
	}
	text := value.GetToken().Value
	digits := strings.TrimLeft(text, "+-")
	var err error
	switch kind := t.Kind(); {
	case t == reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(text); err != nil {
			return fmt.Errorf("want %s, got %q", kindOf(t), text)
		}
		return nil
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	case kind == reflect.Int || kind == reflect.Int64:
		_, err = strconv.ParseInt(text, 10, 64)
	case kind == reflect.Uint64:
		_, err = strconv.ParseUint(text, 10, 64)
	case kind == reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(text, 64); err == nil && (math.IsInf(x, 0) || math.IsNaN(x)) {
			err = strconv.ErrSyntax
		}
	default:
		return nil
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%s is beyond 64 bits: want %s", text, kindOf(t))
	case err != nil:
		return fmt.Errorf("want %s, got %q", kindOf(t), text)
	case len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9':
		return fmt.Errorf("want %s without a leading zero, got %q", kindOf(t), text)
	}
	return nil
}

// yamlFields maps the keys of a struct, those of inlined ones included, to their types.
func yamlFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline := yamlName(f)
		switch {
		case inline:
			maps.Copy(out, yamlFields(f.Type))
		case f.IsExported():
			out[name] = f.Type
		}
	}
	return out
}

// suggest lists the known keys, the likeliest first if one is close.
func suggest(key string, known []string) string {
	sort.Strings(known)
	list := "known: " + strings.Join(known, ", ")
	if best := nearest(key, known); best != "" {
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

// maxThreads is more than any machine has cores.
const maxThreads = 1024

// Validate checks every section, and what no section can see alone.
func (c *Config) Validate() error {
	if err := c.checkBounds(); err != nil {
		return err
	}
	if err := checkDevice(c.Device, c.Variant); err != nil {
		return err
	}
	if err := checkDType(c.Device, c.Model.DType); err != nil {
		return fmt.Errorf("model.%w", err)
	}
	if c.Threads < 0 {
		return fmt.Errorf("threads: want 0 (one per core) to %d, got %d", maxThreads, c.Threads)
	}
	for _, check := range []func() error{c.Config.Validate, c.Engine.Validate, c.Model.validate, c.Data.validate, c.Follow.validate} {
		if err := check(); err != nil {
			return err
		}
	}
	if err := c.Protocol.Validate(); err != nil {
		return err
	}
	if c.Model.LoRA.Rank != 0 && c.Dist.Shard == "all" {
		return errors.New("model.lora.rank: an adapter's base is whole on each rank: want dist.shard optimizer, got all")
	}
	if err := c.checkStates(); err != nil {
		return err
	}
	if c.Protocol.Name == "hermes" && c.Data.embedded() {
		return fmt.Errorf("protocol.name: hermes: data.task %s writes its traces in tags: want data.task files, or protocol.name tags",
			c.Data.Task)
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
	if err := m.LoRA.validate(); err != nil {
		return err
	}
	if m.Path != "" {
		return nil
	}
	for _, f := range []struct {
		key   string
		value int
	}{{"layers", m.Layers}, {"hidden", m.Hidden}, {"heads", m.Heads}, {"kv_heads", m.KVHeads}, {"head_dim", m.HeadDim}, {"ffn", m.FFN}} {
		if f.value < 1 {
			return fmt.Errorf("model.%s: want at least 1, got %d: give the shape of a new model, or model.path, a folder with config.json and "+
				"model.safetensors", f.key, f.value)
		}
	}
	return nil
}

// validate leaves to the model what only it can say: whether rank and targets fit its matrices.
func (l LoRA) validate() error {
	switch {
	case l.Rank < 0:
		return fmt.Errorf("model.lora.rank: want 0 (all weights are learnt) or more, got %d", l.Rank)
	case l.Rank > 0 && !(l.Alpha > 0):
		return fmt.Errorf("model.lora.alpha: want a number above 0, got %g", l.Alpha)
	case l.Rank > 0 && len(l.Targets) == 0:
		return fmt.Errorf("model.lora.targets: want at least one module, such as q_proj, got none")
	}
	return nil
}

// embedded reports whether the task is one that the program generates.
func (d Data) embedded() bool { return arith.Tasks[d.Task] != nil }

func (d Data) validate() error {
	switch {
	case !d.embedded() && d.Task != "files":
		return fmt.Errorf("data.task: %q is not known (known: %s, files)", d.Task,
			strings.Join(slices.Sorted(maps.Keys(arith.Tasks)), ", "))
	case d.embedded() && d.Pool < 1:
		return fmt.Errorf("data.pool: want at least 1 problem, got %d", d.Pool)
	case d.Wrapper != "strip" && d.Wrapper != "keep":
		return fmt.Errorf("data.wrapper: %q is not known (known: strip, keep)", d.Wrapper)
	case d.Check != "count" && d.Check != "strict":
		return fmt.Errorf("data.check: %q is not known (known: count, strict)", d.Check)
	case d.Long != "refuse" && d.Long != "skip":
		return fmt.Errorf("data.long: %q is not known (known: refuse, skip)", d.Long)
	}
	if err := d.Mix.Validate(); err != nil {
		return fmt.Errorf("data.mix: %w", err)
	}
	return nil
}

// text is the configuration as YAML; loading it gives the same values.
func (c *Config) text() ([]byte, error) {
	var b bytes.Buffer
	err := yaml.NewEncoder(&b, yaml.Indent(2)).Encode(c)
	return b.Bytes(), err
}

// located is the configuration with the files and folders that it names from the root of the file system: it can be stored, and read
// from another directory.
func (c *Config) located() Config {
	out := *c
	for _, path := range []*string{&out.Model.Path, &out.Model.LoRA.Path, &out.Data.Problems, &out.Data.Traces, &out.Data.Test} {
		if abs, err := filepath.Abs(*path); err == nil && *path != "" && !strings.HasPrefix(*path, cached) {
			*path = abs
		}
	}
	return out
}
