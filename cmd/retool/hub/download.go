package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// incomplete ends the name of a file that is still arriving. huggingface_hub calls it the same, and goes on with it.
const incomplete = ".incomplete"

// hasher is the hash that the hub lists of a file, and what it should come to; nil where it lists none.
func (f File) hasher() (h hash.Hash, want string) {
	switch {
	case f.SHA256 != "":
		return sha256.New(), f.SHA256
	case f.Blob != "" && f.Size >= 0:
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.Size)
		return h, f.Blob
	}
	return nil, ""
}

// mismatch is a file that arrived whole and is not what the hub lists.
type mismatch struct {
	path, want, got string
}

func (m *mismatch) Error() string {
	return fmt.Sprintf("hub: %s arrived with the hash %s, the hub lists %s: refused and removed", m.path, m.got, m.want)
}

// partial is a file on its way: what is there of it, and the hash of that.
type partial struct {
	f    *os.File
	file File
	sum  hash.Hash
	want string
	n    int64
	all  *atomic.Int64 // bytes in place of the whole fetch
}

// openPartial takes up what an earlier attempt left at a path.
func openPartial(path string, file File, all *atomic.Int64) (*partial, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	p := &partial{f: f, file: file, all: all}
	p.sum, p.want = file.hasher()
	info, err := f.Stat()
	if err == nil && (file.Size < 0 || info.Size() > file.Size) {
		err = f.Truncate(0)
	}
	if err == nil {
		err = p.count(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("hub: %s: %w", path, err)
	}
	return p, nil
}

// count takes in bytes that are in the file already.
func (p *partial) count(r io.Reader) error {
	w := io.Writer(io.Discard)
	if p.sum != nil {
		w = p.sum
	}
	n, err := io.Copy(w, r)
	p.n += n
	p.all.Add(n)
	return err
}

// Write appends to the file.
func (p *partial) Write(b []byte) (int, error) {
	if p.file.Size >= 0 && p.n+int64(len(b)) > p.file.Size {
		return 0, fmt.Errorf("hub: %s: more than the %d bytes that the hub lists arrive", p.file.Path, p.file.Size)
	}
	n, err := p.f.Write(b)
	if p.sum != nil {
		p.sum.Write(b[:n])
	}
	p.n += int64(n)
	p.all.Add(int64(n))
	return n, err
}

// reset begins the file anew.
func (p *partial) reset() error {
	p.all.Add(-p.n)
	p.n = 0
	p.sum, p.want = p.file.hasher()
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	_, err := p.f.Seek(0, io.SeekStart)
	return err
}

// check compares what arrived with what the hub lists.
func (p *partial) check() error {
	if p.file.Size >= 0 && p.n != p.file.Size {
		return &transient{err: fmt.Errorf("hub: %s ends after %d of %d bytes", p.file.Path, p.n, p.file.Size)}
	}
	if p.sum == nil {
		return nil
	}
	if got := hex.EncodeToString(p.sum.Sum(nil)); got != p.want {
		return &mismatch{p.file.Path, p.want, got}
	}
	return nil
}

// download brings a file to a path. What a cut leaves stays beside it under another name, and is gone on with; content with another
// hash than the listed one is fetched anew once, and then refused.
func (c *Client) download(ctx context.Context, r Repo, commit string, file File, path string, all *atomic.Int64) (err error) {
	part := path + incomplete
	p, err := openPartial(part, file, all)
	if err != nil {
		return err
	}
	defer func() {
		p.f.Close()
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("hub: %s: the disk is full after %d of %d bytes: make room and repeat the command, it goes on from there",
				part, p.n, file.Size)
		}
	}()
	for again := true; ; again = false {
		err := c.attempts(ctx, file.Path, func() (bool, error) {
			before := p.n
			err := c.rest(ctx, r.file(c.endpoint, commit, file.Path), p)
			return p.n > before, err
		})
		if err != nil {
			return c.explain(r, err)
		}
		var wrong *mismatch
		err = p.check()
		if errors.As(err, &wrong) {
			if again {
				if err := p.reset(); err != nil {
					return fmt.Errorf("hub: %s: %w", part, err)
				}
				continue
			}
			return errors.Join(err, os.Remove(part))
		}
		if err != nil {
			return err
		}
		break
	}
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("hub: %s: %w", part, err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// rest fetches what is missing of a file.
func (c *Client) rest(ctx context.Context, address string, p *partial) error {
	if p.file.Size >= 0 && p.n == p.file.Size {
		return nil
	}
	if p.file.Size < 0 { // nothing says whether what is there belongs to what comes
		if err := p.reset(); err != nil {
			return err
		}
	}
	header := http.Header{}
	if p.n > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", p.n))
	}
	err := c.get(ctx, address, header, func(res *http.Response, body io.Reader) error {
		from := int64(0)
		if res.StatusCode == http.StatusPartialContent {
			var ok bool
			if from, ok = rangeStart(res.Header.Get("Content-Range")); !ok || from != p.n {
				return fmt.Errorf("hub: %s: asked for bytes from %d on, the answer holds %q", p.file.Path, p.n, res.Header.Get("Content-Range"))
			}
		}
		if from != p.n { // the server sends all of it
			if err := p.reset(); err != nil {
				return err
			}
		}
		if p.file.Size < 0 && res.ContentLength >= 0 {
			p.file.Size = from + res.ContentLength
			defer func() { p.file.Size = -1 }()
		}
		if _, err := io.Copy(p, body); err != nil {
			return err
		}
		if p.file.Size >= 0 && p.n != p.file.Size {
			return &transient{err: fmt.Errorf("hub: %s ends after %d of %d bytes", p.file.Path, p.n, p.file.Size)}
		}
		return nil
	})
	var s *status
	if errors.As(err, &s) && s.code == http.StatusRequestedRangeNotSatisfiable && p.n > 0 {
		if err := p.reset(); err != nil {
			return err
		}
		return &transient{err: err}
	}
	return err
}

// rangeStart is the first byte that Content-Range: bytes FIRST-LAST/ALL names.
func rangeStart(text string) (int64, bool) {
	span, ok := strings.CutPrefix(text, "bytes ")
	first, _, dash := strings.Cut(span, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return n, ok && dash && err == nil
}

// holds reports whether a path is the file, by size and hash.
func (f File) holds(path string) (bool, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || f.Size >= 0 && info.Size() != f.Size:
		return false, nil
	}
	h, want := f.hasher()
	if h == nil {
		return f.Size >= 0, nil
	}
	in, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer in.Close()
	if _, err := io.Copy(h, in); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == want, nil
}
