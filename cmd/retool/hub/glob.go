package hub

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Patterns of the files that training opens, by kind of repository. Those of a model lie at the top: folders below hold the same
// weights in other forms.
var (
	modelFiles = []string{
		"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
		"vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "model*.safetensors", "model.safetensors.index.json",
		"value_head.safetensors", "LICENSE*",
	}
	datasetFiles = []string{"*.jsonl", "*.json", "*.parquet", "README.md", "LICENSE*"}
)

// choose is the files that match any of the patterns; a pattern that matches none is an error. Without patterns it is the files that
// training opens.
func choose(r Repo, files []File, patterns []string) ([]File, error) {
	given := len(patterns) > 0
	if !given {
		patterns = modelFiles
		if r.Dataset {
			patterns = datasetFiles
		}
	}
	wanted := map[string]bool{}
	for _, pattern := range patterns {
		re, err := glob(pattern)
		if err != nil {
			return nil, err
		}
		matched := false
		for _, f := range files {
			if re.MatchString(f.Path) && (given || r.Dataset || !strings.Contains(f.Path, "/")) {
				matched, wanted[f.Path] = true, true
			}
		}
		if given && !matched {
			return nil, fmt.Errorf("hub: %v: no file matches %q: it holds %s", r, pattern, some(files))
		}
	}
	var chosen []File
	weights := false
	for _, f := range files {
		if wanted[f.Path] {
			chosen = append(chosen, f)
			weights = weights || strings.HasSuffix(f.Path, ".safetensors")
		}
	}
	switch {
	case given:
	case !r.Dataset && !weights:
		return nil, fmt.Errorf("hub: %v: no model.safetensors, whole or in shards: it holds %s; --include fetches other files", r, some(files))
	case len(chosen) == 0:
		return nil, fmt.Errorf("hub: %v: no *.jsonl, *.json or *.parquet: it holds %s; --include fetches other files", r, some(files))
	}
	return chosen, nil
}

// some names a few of the files.
func some(files []File) string {
	if len(files) == 0 {
		return "no files"
	}
	var names []string
	for _, f := range files[:min(len(files), 8)] {
		names = append(names, f.Path)
	}
	list := strings.Join(names, ", ")
	if n := len(files) - len(names); n > 0 {
		list += fmt.Sprintf(" and %d more", n)
	}
	return list
}

// glob compiles a pattern as fnmatch reads it: * and ? match any character, / too; [abc], [a-z] and [!abc] one of a set. A pattern
// that ends in / is all of a folder.
func glob(pattern string) (*regexp.Regexp, error) {
	text := pattern
	if strings.HasSuffix(text, "/") {
		text += "*"
	}
	var re strings.Builder
	re.WriteString(`(?s)^`)
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case '*':
			re.WriteString(`.*`)
		case '?':
			re.WriteString(`.`)
		case '[':
			end := i + 1
			if end < len(runes) && runes[end] == '!' {
				end++
			}
			n := slices.Index(runes[min(end+1, len(runes)):], ']') // the first of a set may be ] itself
			if n < 0 {
				re.WriteString(`\[`)
				continue
			}
			end += 1 + n
			set := string(runes[i+1 : end])
			set, not := strings.CutPrefix(set, "!")
			set = strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(set)
			if not {
				set = "^" + set
			}
			re.WriteString("[" + set + "]")
			i = end
		default:
			re.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	re.WriteString(`$`)
	compiled, err := regexp.Compile(re.String())
	if err != nil || pattern == "" {
		return nil, fmt.Errorf("hub: --include %q: want a pattern such as *.json or data/train-*.parquet", pattern)
	}
	return compiled, nil
}
