package main

import (
	"fmt"
	"io"
	"os"
)

// readFile opens a data file that a setting names and reads it; errors carry file and line.
func readFile[T any](path, setting string, read func(r io.Reader, name string) (T, error)) (T, error) {
	var none T
	if path == "" {
		return none, fmt.Errorf("config: %s: want a JSONL file, got none", setting)
	}
	f, err := os.Open(path)
	if err != nil {
		return none, fmt.Errorf("config: %s: %w", setting, err)
	}
	defer f.Close()
	return read(f, path)
}
