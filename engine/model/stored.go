package model

import "retool/engine/safetensors"

// Stored is the tensors of a model folder as they are stored, in one file or in shards, mapped into memory.
type Stored struct{ folder *folder }

// OpenStored opens the tensors of a folder.
func OpenStored(dir string) (*Stored, error) {
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return &Stored{f}, nil
}

// Close unmaps the files; the tensors are good until then.
func (s *Stored) Close() { s.folder.close() }

// Names are those of the tensors, sorted.
func (s *Stored) Names() []string { return sortedKeys(s.folder.of) }

// Tensor is the tensor of that name; false if there is none.
func (s *Stored) Tensor(name string) (safetensors.Tensor, bool) {
	t, ok := s.folder.of[name]
	return t, ok
}
