package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"retool/cmd/retool/filelock"
)

// A cache has a folder for each repository, as huggingface_hub lays it out:
//
//	models--OWNER--NAME/refs/REVISION                    the commit that a branch or tag was at
//	models--OWNER--NAME/blobs/HASH                       content, once, whatever commits hold it
//	models--OWNER--NAME/snapshots/COMMIT/PATH            a relative link to it
//	.locks/models--OWNER--NAME/HASH.lock                 held while a blob is written
type cache struct {
	root string
	repo Repo
}

func (c cache) dir(parts ...string) string {
	return filepath.Join(append([]string{c.root, c.repo.folder()}, parts...)...)
}

func (c cache) snapshot(commit string) string { return c.dir("snapshots", commit) }

// path is where the content of a file goes: a blob, or the snapshot itself for a file without a hash to be called by.
func (c cache) path(commit string, f File) string {
	if name := f.name(); name != "" {
		return c.dir("blobs", name)
	}
	return filepath.Join(c.snapshot(commit), filepath.FromSlash(f.Path))
}

// has reports whether the content is there. A blob has its name from its hash and got it when it was whole, so its size is enough.
func (c cache) has(commit string, f File) bool {
	info, err := os.Stat(c.path(commit, f))
	return err == nil && info.Mode().IsRegular() && (info.Size() == f.Size || f.Size < 0 && f.name() != "")
}

// lock waits until no other process writes a file's content.
func (c cache) lock(ctx context.Context, f File) (unlock func(), err error) {
	if f.name() == "" {
		return func() {}, nil
	}
	path := filepath.Join(c.root, ".locks", c.repo.folder(), f.name()+".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	for {
		held, err := filelock.Try(file)
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("hub: lock %s: %w", path, err)
		}
		if held {
			return func() { file.Close() }, nil // closing gives the lock back
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// link makes the snapshot's entry of a file: a relative link to the blob, or where the file system has no links a second name of it.
func (c cache) link(commit string, f File) error {
	if f.name() == "" {
		return nil
	}
	entry := filepath.Join(c.snapshot(commit), filepath.FromSlash(f.Path))
	blob := c.dir("blobs", f.name())
	target, err := filepath.Rel(filepath.Dir(entry), blob)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if there, err := os.Readlink(entry); err == nil && there == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	fresh := unique(entry)
	if err := os.Symlink(target, fresh); err != nil {
		if hard := os.Link(blob, fresh); hard != nil {
			return fmt.Errorf("hub: %w, and %w", err, hard)
		}
	}
	return rename(fresh, entry)
}

// unique is a name beside path that no other fetch chooses: several may write the same entry at once, and the last one's stays.
func unique(path string) string { return path + "." + rand.Text()[:8] + incomplete }

// rename puts what is at fresh in path's place, or removes it.
func rename(fresh, path string) error {
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("hub: %w", errors.Join(err, os.Remove(fresh)))
	}
	return nil
}

// point stores the commit that the revision is at. It comes last: a fetch that fails leaves the revision where it was.
func (c cache) point(commit string) error {
	if c.repo.Revision == commit {
		return nil
	}
	path := c.dir("refs", filepath.FromSlash(c.repo.Revision))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	fresh := unique(path)
	if err := os.WriteFile(fresh, []byte(commit), 0o644); err != nil {
		return fmt.Errorf("hub: %w", errors.Join(err, os.Remove(fresh)))
	}
	return rename(fresh, path)
}

// Cached is the snapshot that an earlier fetch of the repository left in a cache, without asking any hub.
func Cached(root string, r Repo) (dir string, err error) {
	c := cache{root, r}
	commit := r.Revision
	if text, err := os.ReadFile(c.dir("refs", filepath.FromSlash(r.Revision))); err == nil {
		commit = strings.TrimSpace(string(text))
	}
	if hexCommit.MatchString(commit) {
		if info, err := os.Stat(c.snapshot(commit)); err == nil && info.IsDir() {
			return c.snapshot(commit), nil
		}
	}
	return "", fmt.Errorf("hub: %v is not in the cache %s: fetch it with the network on, or copy the cache of a machine that has it", r, root)
}
