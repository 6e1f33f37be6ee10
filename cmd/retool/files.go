package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/engine/atomicfile"
	"retool/engine/jsonfile"
	"retool/engine/model"
	"retool/trainer/trace"
)

// notThere is an error that is fs.ErrNotExist.
type notThere string

func (e notThere) Error() string { return string(e) }
func (notThere) Unwrap() error   { return fs.ErrNotExist }

// wantFolder refuses a path that is no folder; want says what should stand there.
func wantFolder(path, want string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notThere(fmt.Sprintf("%s: want %s, found nothing", path, want))
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s: want %s, found a file", path, want)
	}
	return err
}

// wantFile refuses a path that is a folder, or nothing; want says what should stand there.
func wantFile(path, want string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notThere(fmt.Sprintf("%s: want %s, found nothing", path, want))
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: want %s, found a folder", path, want)
	}
	return err
}

// readModelConfig reads the shape of the model in a folder, and says of what is none what it should be.
func readModelConfig(dir string) (model.Config, error) {
	want := "a model's folder with config.json, model.safetensors and tokenizer.json"
	if strings.HasSuffix(dir, ".gguf") {
		want += "; `retool convert` makes one of a GGUF file"
	}
	if err := wantFolder(dir, want); err != nil {
		return model.Config{}, fmt.Errorf("model: %w", err)
	}
	return model.ReadConfig(dir)
}

// unused refuses the name of a file that is there already. No file that a user names for output is overwritten. What is written anew is
// a run's own: its report.html, and a profile without --out; `bench kernels --resume` goes on with its rows.
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

// creatable refuses the name of a file that is there already, or that cannot be made. It makes one beside it to know.
func creatable(path string) error {
	dir := filepath.Dir(path)
	err := wantFolder(dir, "a folder to write "+filepath.Base(path)+" in")
	if err == nil {
		err = unused(path)
	}
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".retool-*")
	if err != nil {
		return fmt.Errorf("%s: no file can be made in it: %w", dir, errors.Unwrap(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// unusedFlags refuses flags that name files which are there already, or cannot be made, before there is anything to lose.
func unusedFlags(c *cli.Context, names ...string) error {
	for _, name := range names {
		if path := c.String(name); path != "" {
			if err := creatable(path); err != nil {
				return fmt.Errorf("%s: --%s: %w", called(c), name, err)
			}
		}
	}
	return nil
}

// byteOrderMark may begin a text, and is no part of it.
const byteOrderMark = "\ufeff"

// readText is what a text file holds.
func readText(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	return bytes.TrimPrefix(text, []byte(byteOrderMark)), err
}

// textReader reads a text, whatever its lines end in.
func textReader(in io.Reader) *bufio.Reader {
	r := bufio.NewReaderSize(jsonfile.LineBreaks(in), 1<<16)
	if head, _ := r.Peek(len(byteOrderMark)); string(head) == byteOrderMark {
		r.Discard(len(byteOrderMark))
	}
	return r
}

// writeJSON writes a value to a file, indented.
func writeJSON(path string, v any) error {
	text, err := trace.MarshalIndent(v)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, text)
}

// printLine writes a value as one line, with null for numbers that are not finite.
func printLine(w io.Writer, v any) error {
	text, err := trace.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
