package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"retool/engine/model"
	"retool/trainer/trace"
)

// unused refuses the name of a file that is there already: no --out of this program overwrites.
func unused(path string) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		return fmt.Errorf("%s is there already: choose another name, or remove it", path)
	}
	return err
}

// writeJSON writes a value to a file, indented.
func writeJSON(path string, v any) error {
	text, err := trace.MarshalIndent(v)
	if err != nil {
		return err
	}
	return model.WriteAtomic(path, func(w io.Writer) error { _, err := w.Write(text); return err })
}
