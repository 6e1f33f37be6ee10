package safetensors

import (
	"fmt"
	"os"
	"path/filepath"
)

// Names of a model's files in a folder of Hugging Face's layout.
const (
	ModelFile = "model.safetensors"
	IndexFile = "model.safetensors.index.json"
)

// ShardBytes is the most that a file of a model holds, as with transformers.
const ShardBytes = 5_000_000_000

// WriteModel writes a model's tensors to a folder: one file, or, where their bytes are more than limit, as many as it takes, filled in the
// order of the list, and the index that says which file holds which. A tensor larger than limit has a file of its own. Each file is
// written whole or not at all, one tensor in memory at a time, the index after the others; files of a model that was there before go last.
func WriteModel(dir string, tensors []Named, limit int64) error {
	parts, err := divide(tensors, limit)
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", dir, err)
	}
	index := Index{WeightMap: make(map[string]string, len(tensors))}
	kept := map[string]bool{}
	for i, part := range parts {
		file := ModelFile
		if len(parts) > 1 {
			file = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(parts))
		}
		if err := Write(filepath.Join(dir, file), part.tensors, nil); err != nil {
			return err
		}
		for _, t := range part.tensors {
			index.WeightMap[t.Name] = file
		}
		index.Metadata.TotalSize += int(part.bytes)
		kept[file] = true
	}
	if err := index.Write(filepath.Join(dir, IndexFile)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("safetensors: write %s: %w", dir, err)
	}
	for _, e := range entries {
		name := e.Name()
		shard, _ := filepath.Match("model-?????-of-?????.safetensors", name)
		if (shard || name == ModelFile) && !kept[name] {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("safetensors: write %s: %w", dir, err)
			}
		}
	}
	return nil
}

type shard struct {
	tensors []Named
	bytes   uint64
}

// divide fills shards in order; there is one at least.
func divide(tensors []Named, limit int64) ([]shard, error) {
	if limit < 1 {
		return nil, fmt.Errorf("files of at most %d bytes: must be at least 1", limit)
	}
	parts := []shard{{}}
	for _, t := range tensors {
		dtype, err := t.dtype()
		if err != nil {
			return nil, err
		}
		size, err := entry{dtype: dtype, shape: t.Shape}.size()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		last := &parts[len(parts)-1]
		if len(last.tensors) > 0 && last.bytes+size > uint64(limit) {
			parts = append(parts, shard{})
			last = &parts[len(parts)-1]
		}
		last.tensors, last.bytes = append(last.tensors, t), last.bytes+size
	}
	return parts, nil
}
