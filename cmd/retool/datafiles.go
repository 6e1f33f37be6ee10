package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"retool/trainer/data"
)

// A dataFile is a file of rows that a setting names, and how it is read.
type dataFile struct {
	setting string
	file    *data.File
	layout  data.Layout
}

// A fileSet are the files of one configuration. They may be of different layouts: data.columns names columns of those that have them.
type fileSet struct {
	config *Config
	files  []*dataFile
}

func (s *fileSet) close() {
	for _, f := range s.files {
		f.file.Close()
	}
}

// open opens the file that a setting names.
func (s *fileSet) open(setting, path string) error {
	if path == "" {
		return fmt.Errorf("config: %s: want a file of rows (JSON Lines, JSON, Parquet), got none", setting)
	}
	f, err := data.Open(path)
	var missing *fs.PathError
	if errors.As(err, &missing) {
		return fmt.Errorf("config: %s: %w", setting, err)
	}
	if err != nil {
		return err
	}
	s.files = append(s.files, &dataFile{setting: setting, file: f})
	return nil
}

// metered shows how far the reading of each file is.
func (s *fileSet) metered() (finish func()) {
	bar, finish := meterOn(os.Stderr, "read", "bytes")
	for _, f := range s.files {
		f.file.Progress = func(done, all int64) { bar.of("read", "bytes", done, all) }
	}
	return finish
}

// recognise finds a file's layout. A file that has none of the columns that data.columns names, where another has them all, is read as its
// own columns say. note says how the file is read, where that is not our own layout.
func (s *fileSet) recognise(f *dataFile, traces bool) (note string, err error) {
	columns := s.config.Data.Columns
	apart := ""
	if has, of := f.file.Mapped(columns); has == 0 && of > 0 {
		for _, other := range s.files {
			if n, _ := other.file.Mapped(columns); n == of {
				columns, apart = data.Columns{}, fmt.Sprintf("; data.columns is for %s", other.setting)
				break
			}
		}
	}
	if f.layout, err = f.file.Layout(columns, traces); err != nil {
		return "", err
	}
	if f.layout.Ours() && apart == "" {
		return "", nil
	}
	return fmt.Sprintf("note      %s: %s, read as %s%s", f.setting, f.file.Format, f.layout, apart), nil
}

// reader reads the rows and counts what it changes.
func (f *dataFile) reader(form data.Form, rows *findings) *data.Reader {
	return &data.Reader{File: f.file, Layout: f.layout, Form: form,
		Note: func(kind, example string) { rows.note(f.setting, kind, "%s", example) }}
}

// leaveOut counts a row that can be left out; any other error is the end.
func (f *dataFile) leaveOut(err error, rows *findings) error {
	reason, _ := data.Faulty(err)
	if reason == "" {
		return err
	}
	rows.add(f.setting, reason, "%v", err)
	return nil
}

// nothing is the error of a file of which no row is left.
func (f *dataFile) nothing(rows *findings) error {
	for _, k := range rows.order {
		if k.setting == f.setting && k.fault {
			return fmt.Errorf("%s: no row is left of %s (%s)", f.setting, f.file.Path, rows.text(k))
		}
	}
	return fmt.Errorf("%s: no row is left of %s", f.setting, f.file.Path)
}
