// Package atomicfile writes files whole or not at all: whoever opens one finds what was there before or all that came after, whenever
// the machine stops.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write makes a file of what write gives it: under a temporary name in its folder, synced, renamed over path, the folder synced. If
// anything fails, what was at path stays and the temporary file is removed.
func Write(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, fmt.Sprintf(".%s.%d.tmp", filepath.Base(path), os.Getpid()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return SyncFolder(dir)
}

// WriteBytes makes a file of content.
func WriteBytes(path string, content []byte) error {
	return Write(path, func(w io.Writer) error { _, err := w.Write(content); return err })
}

// SyncFolder makes a rename in dir survive a crash.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
