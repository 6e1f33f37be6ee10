package safetensors

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"retool/engine/atomicfile"
	"retool/engine/jsonfile"
)

// Index is model.safetensors.index.json: which file of a folder holds each tensor.
type Index struct {
	Metadata struct {
		TotalSize int `json:"total_size"` // bytes of all tensors
	} `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"` // a tensor's name to its file's
}

// ReadIndex reads an index, which must list a tensor, and every tensor in a file of the index's own folder.
func ReadIndex(path string) (Index, error) {
	var x Index
	text, err := jsonfile.Read(path)
	if err != nil {
		return x, fmt.Errorf("safetensors: %w", err)
	}
	var list struct { // total_size is nothing to a reader, and some write it as a float
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := jsonfile.Unmarshal(text, &list); err != nil {
		return x, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	if x.WeightMap = list.WeightMap; len(x.WeightMap) == 0 {
		return x, fmt.Errorf("safetensors: %s: weight_map lists no tensor", path)
	}
	for _, name := range slices.Sorted(maps.Keys(x.WeightMap)) {
		if file := x.WeightMap[name]; file != filepath.Base(file) || !filepath.IsLocal(file) {
			return x, fmt.Errorf("safetensors: %s: %s is in %q, which is no file of the folder", path, name, file)
		}
	}
	return x, nil
}

// Files are those that the index names, sorted.
func (x Index) Files() []string {
	return slices.Compact(slices.Sorted(maps.Values(x.WeightMap)))
}

// Write writes the index whole or not at all.
func (x Index) Write(path string) error {
	text, err := json.MarshalIndent(x, "", "  ")
	if err == nil {
		err = atomicfile.WriteBytes(path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", path, err)
	}
	return nil
}
