package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"retool/cmd/retool/filelock"
)

// Request says what to fetch, and to where: into a cache or into a folder, one of the two.
type Request struct {
	Repo    Repo
	Include []string // patterns of files; none: the files that training opens
	Cache   string   // root of the cache
	To      string   // folder that gets the files themselves
}

// Result is what a fetch left.
type Result struct {
	Dir     string // holds the files under their names
	Commit  string
	Files   int
	Bytes   int64
	Arrived int64 // bytes that were not there before
}

// place is one file with where its content goes.
type place struct {
	File
	path string
	have int64 // bytes there already
}

// Fetch brings the files of a repository into place. After an error what has arrived stays, and the same request goes on from there.
func (c *Client) Fetch(ctx context.Context, q Request) (Result, error) {
	commit, files, err := c.list(ctx, q.Repo)
	if err != nil {
		return Result{}, err
	}
	if files, err = choose(q.Repo, files, q.Include); err != nil {
		return Result{}, err
	}
	var places []place
	in := cache{q.Cache, q.Repo}
	out := Result{Dir: in.snapshot(commit), Commit: commit, Files: len(files)}
	if q.To != "" {
		out.Dir = q.To
		unlock, err := claim(q.To)
		if err != nil {
			return Result{}, err
		}
		defer unlock()
		if places, err = placesIn(q.To, files); err != nil {
			return Result{}, err
		}
	} else if places, err = in.places(commit, files); err != nil {
		return Result{}, err
	}
	var missing, all, have int64
	for _, p := range places {
		all, have = all+max(0, p.Size), have+p.have
		missing += max(0, p.Size-p.have)
	}
	if err := room(out.Dir, missing); err != nil {
		return Result{}, err
	}
	err = c.bring(ctx, q, commit, places, all)
	if err != nil {
		return Result{}, err
	}
	out.Bytes, out.Arrived = all, all-have
	if q.To != "" {
		return out, nil
	}
	for _, f := range files {
		if err := in.link(commit, f); err != nil {
			return Result{}, err
		}
	}
	return out, in.point(commit)
}

// places says where the files of a commit lie in the cache, each content once.
func (c cache) places(commit string, files []File) ([]place, error) {
	var out []place
	seen := map[string]bool{}
	for _, f := range files {
		p := place{File: f, path: c.path(commit, f)}
		if seen[p.path] {
			continue
		}
		seen[p.path] = true
		if c.has(commit, f) {
			p.have = max(0, f.Size)
		} else {
			p.have = partialSize(p)
		}
		out = append(out, p)
	}
	return out, nil
}

// placesIn says where files lie in a folder. A file of that name with other content is somebody's: it is not overwritten.
func placesIn(dir string, files []File) ([]place, error) {
	var out []place
	for _, f := range files {
		p := place{File: f, path: filepath.Join(dir, filepath.FromSlash(f.Path))}
		whole, err := f.holds(p.path)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		if _, err := os.Lstat(p.path); err == nil && !whole {
			return nil, fmt.Errorf("hub: %s is there already with other content than the hub's: choose another --to, or remove it", p.path)
		}
		if p.have = partialSize(p); whole {
			p.have = max(0, f.Size)
		}
		out = append(out, p)
	}
	return out, nil
}

func partialSize(p place) int64 {
	info, err := os.Stat(p.path + incomplete)
	if err != nil || info.Size() > p.Size {
		return 0
	}
	return info.Size()
}

// bring downloads what is missing, several files at a time. The first failure ends the others; what they have stays.
func (c *Client) bring(ctx context.Context, q Request, commit string, places []place, all int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var done atomic.Int64
	stop := c.watch(&done, all)
	defer stop()
	queue := make(chan place)
	errs := make([]error, c.opt.Parallel)
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for p := range queue {
				if errs[i] = c.one(ctx, q, commit, p, &done); errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
feeding:
	for _, p := range places {
		select {
		case queue <- p:
		case <-ctx.Done():
			break feeding
		}
	}
	close(queue)
	workers.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return ctx.Err()
}

// one brings one file into place.
func (c *Client) one(ctx context.Context, q Request, commit string, p place, done *atomic.Int64) error {
	if q.To == "" {
		in := cache{q.Cache, q.Repo}
		unlock, err := in.lock(ctx, p.File)
		if err != nil {
			return err
		}
		defer unlock()
		if in.has(commit, p.File) { // before, or by the process that held the lock
			done.Add(max(0, p.Size))
			return nil
		}
	} else if _, err := os.Lstat(p.path); err == nil { // placesIn has compared it
		done.Add(max(0, p.Size))
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return c.download(ctx, q.Repo, commit, p.File, p.path, done)
}

// watch tells Progress five times a second how far a fetch is, until it is stopped; then once more.
func (c *Client) watch(done *atomic.Int64, all int64) (stop func()) {
	if c.opt.Progress == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.opt.Progress(done.Load(), all)
			case <-quit:
				c.opt.Progress(done.Load(), all)
				return
			}
		}
	}()
	return func() { close(quit); <-ended }
}

// claim makes a folder and takes it for this process.
func claim(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	held, err := filelock.Try(f)
	if err == nil && !held {
		err = errors.New("another process fetches into it: wait for it, or choose another --to")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("hub: %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// room refuses a fetch that the disk cannot hold. dir need not exist yet.
func room(dir string, need int64) error {
	for {
		free, ok := freeBytes(dir)
		if ok && free < need {
			return fmt.Errorf("hub: %s has %s free, %s are still to come: make room, or choose another place", dir, size(free), size(need))
		}
		up := filepath.Dir(dir)
		if ok || up == dir {
			return nil
		}
		dir = up
	}
}

// size writes bytes as people do.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
