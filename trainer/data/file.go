package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// A File is rows on disk. What it holds decides its format, not its name. Its rows can be read more than once.
type File struct {
	Path   string
	Format string // "JSON Lines", "JSON" or "Parquet"

	Progress func(done, all int64) // when set, called while rows are read, or the hash is taken: bytes that are done, of all

	in      io.ReaderAt
	size    int64
	close   func() error
	parquet *parquet.File
	columns []string // those of the schema, or of the first row
	first   *row
}

// foreign are formats that a file of rows is found in, by how they begin.
var foreign = []struct{ magic, is string }{
	{"\x1f\x8b", "gzip: unpack it first"},
	{"\x28\xb5\x2f\xfd", "Zstandard: unpack it first"}, {"PK\x03\x04", "a ZIP archive: unpack it first"},
	{"ARROW1", "Arrow IPC"}, {"\xff\xff\xff\xff", "an Arrow stream"}, {"PARE", "Parquet with an encrypted footer"}, {"Obj\x01", "Avro"},
	{"version https://git-lfs", "a Git LFS pointer: fetch the file it stands for"},
	{"<", "a page of HTML or XML"},
}

// Open opens a file of rows and looks at its first one. A file without rows is an error. Close releases it.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	out := &File{Path: path, in: f, close: f.Close}
	if err := out.open(f); err != nil {
		f.Close()
		return nil, err
	}
	return out, nil
}

func (f *File) open(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	switch f.size = info.Size(); {
	case info.IsDir():
		return fmt.Errorf("data: %s is a folder: want a file of rows", f.Path)
	case info.Mode()&os.ModeDevice != 0:
		return fmt.Errorf("data: %s is a device: want a file of rows", f.Path)
	case !info.Mode().IsRegular(): // a pipe is read once, and then kept
		text, err := io.ReadAll(file)
		if err != nil {
			return fmt.Errorf("data: %s: %w", f.Path, err)
		}
		f.in, f.size = bytes.NewReader(text), int64(len(text))
	}
	head := make([]byte, 512)
	n, err := f.in.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("data: %s: %w", f.Path, err)
	}
	if err := f.sniff(head[:n]); err != nil {
		return err
	}
	for r, err := range f.rows() {
		if err != nil {
			return err
		}
		f.first = r
		break
	}
	if f.first == nil {
		return fmt.Errorf("data: %s: no rows: want one JSON object a line, a JSON array of objects, or Parquet", f.Path)
	}
	if f.columns == nil {
		f.columns = columnsOf(f.first.values)
	}
	return nil
}

// sniff sets the format by the first bytes.
func (f *File) sniff(head []byte) (err error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		f.Format = "Parquet"
		if f.parquet, err = openParquet(f.in, f.size, f.Path); err != nil {
			return err
		}
		for _, c := range f.parquet.Schema().Fields() {
			f.columns = append(f.columns, c.Name())
		}
		return nil
	case bytes.HasPrefix(text, []byte("[")):
		f.Format = "JSON"
		return nil
	}
	for _, k := range foreign {
		if bytes.HasPrefix(text, []byte(k.magic)) {
			return fmt.Errorf("data: %s: this is %s (want JSON Lines, a JSON array of objects, or Parquet)", f.Path, k.is)
		}
	}
	if strings.HasSuffix(f.Path, ".parquet") {
		return fmt.Errorf("data: %s: not a Parquet file: it begins with %.8q, not PAR1", f.Path, head)
	}
	f.Format = "JSON Lines"
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.close() }

// Columns are those of the schema of a Parquet file, or of the first row of any other.
func (f *File) Columns() []string { return f.columns }

// Hash is the SHA-256 of the bytes of the file.
func (f *File) Hash() (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, f.reader()); err != nil {
		return "", fmt.Errorf("data: %s: %w", f.Path, err)
	}
	f.done(f.size)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// rows reads row after row. After a *RowError of a row that could be told from the next, reading goes on.
func (f *File) rows() iter.Seq2[*row, error] {
	return func(yield func(*row, error) bool) {
		switch f.Format {
		case "Parquet":
			read, all := int64(0), f.parquet.NumRows()
			parquetRows(f.parquet, f.Path, func(r *row, err error) bool {
				if read++; read&255 == 0 {
					f.done(int64(float64(f.size) * float64(read) / float64(all)))
				}
				return yield(r, err)
			})
		case "JSON":
			array(f.reader(), f.Path, yield)
		default:
			lines(f.reader(), f.Path, yield)
		}
		f.done(f.size)
	}
}

// done says how far a reading is.
func (f *File) done(bytes int64) {
	if f.Progress != nil {
		f.Progress(bytes, f.size)
	}
}

// reader reads the file from its begin.
func (f *File) reader() io.Reader { return &progressReader{io.NewSectionReader(f.in, 0, f.size), f} }

type progressReader struct {
	*io.SectionReader
	file *File
}

func (r *progressReader) Read(b []byte) (int, error) {
	n, err := r.SectionReader.Read(b)
	if at, _ := r.Seek(0, io.SeekCurrent); n > 0 {
		r.file.done(at)
	}
	return n, err
}
