package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
