package trainer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// digest is the SHA-256 of a file's content, as State holds it.
func digest(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// digests are those of all files of a checkpoint that say what its numbers mean: all but the numbers, and the state that holds them.
func digests(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".safetensors") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		out[filepath.ToSlash(name)] = digest(content)
		return err
	})
	return out, err
}

// Altered is a sentence on what in a checkpoint's folder is not as it was written, "" where nothing is, or where nothing is known of it, as
// of a folder that is no checkpoint. Files that were not there count if they are among read. The weights' numbers are not looked at.
func Altered(dir string, read []string) string {
	if _, err := os.Stat(filepath.Join(dir, "state.json")); err != nil {
		return ""
	}
	s, err := ReadState(dir)
	if err != nil || len(s.Files) == 0 {
		return ""
	}
	now := map[string]string{}
	for _, name := range append(slices.Collect(maps.Keys(s.Files)), read...) {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err == nil {
			now[name] = digest(content)
		} else if !errors.Is(err, fs.ErrNotExist) {
			now[name] = "unreadable"
		}
	}
	if changed := alterations(s.Files, now); changed != "" {
		return fmt.Sprintf("%s is not as this checkpoint was written: %s", dir, changed)
	}
	return ""
}

// alterations names the files whose digests differ.
func alterations(there, here map[string]string) string {
	var out []string
	all := maps.Clone(there)
	maps.Copy(all, here)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		before, now := there[name], here[name]
		switch {
		case before == now:
		case now == "":
			out = append(out, name+" is gone")
		case before == "":
			out = append(out, name+" is new")
		default:
			out = append(out, fmt.Sprintf("%s holds something else (SHA-256 %.12s…, now %.12s…)", name, before, now))
		}
	}
	return strings.Join(out, ", ")
}

// noteAltered says what is not as a run wrote it in the checkpoint that it goes on from, and which files it hands on have changed beside
// the weights that it began with. Settings are compared by who read them.
func (r *Run) noteAltered(dir string, s *State) {
	if text := Altered(dir, nil); text != "" {
		r.Report.Note(text)
	}
	if len(s.Files) == 0 {
		return
	}
	there, here := map[string]string{}, map[string]string{}
	for name, content := range r.Files {
		if name != "config.yaml" {
			there[name], here[name] = s.Files[name], digest(content)
		}
	}
	if changed := alterations(there, here); changed != "" {
		r.Report.Note("beside the weights that the run began with: " + changed)
	}
}
