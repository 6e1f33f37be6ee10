package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"retool/cmd/retool/filelock"
	"retool/engine/atomicfile"
	"retool/interp"
	"retool/kernels"
	"retool/trainer"
)

// runDir is a run's directory while this process writes into it, and no other does.
type runDir struct {
	path    string
	lock    *os.File
	created bool     // for this run, under a number nobody else knows
	had     []string // what stood there when it was claimed
	config  []byte   // of had, config.yaml
}

// lockName is the file whose lock says that a process writes; it holds that process's number and host.
const lockName = ".lock"

// claimRun takes the directory that run= names, or for "" the first unused number under runs/. The directory is made when its name is
// chosen, so that of runs that start together each has its own.
func claimRun(name string) (*runDir, error) {
	if name == "" {
		return newRun("runs")
	}
	if err := os.MkdirAll(name, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	had, err := entryNames(name)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := ours(name, had); err != nil {
		return nil, err
	}
	d, err := lockRun(name)
	if err == nil {
		d.had = had
		d.config, err = readConfigOf(name)
	}
	return d, err
}

// readConfigOf is what the config.yaml of a run directory holds; nothing where there is none.
func readConfigOf(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// claimRun takes the directory on rank 0, for all ranks.
func (rs *ranks) claimRun(name string) (*runDir, error) {
	var dir *runDir
	// Rank 0 may know it, or the one that it lies in, by a path from its own directory, which the others have heard of as an absolute one.
	path, err := rs.agreeOn("run directory "+filepath.Base(name), func() (path string, err error) {
		if dir, err = claimRun(name); err != nil {
			return "", err
		}
		return filepath.Abs(dir.path)
	})
	if err != nil {
		return nil, err
	}
	if dir == nil { // another rank's
		dir = &runDir{path: path}
	}
	return dir, nil
}

// ours refuses a directory that has other things than a run, and one that has a run's log and nothing to go on from.
func ours(dir string, has []string) error {
	other := slices.IndexFunc(has, func(name string) bool { // than what ranks put there before one of them claims it
		return name != "ranks" && !strings.HasPrefix(name, ".rank0-")
	})
	if other >= 0 && !slices.Contains(has, "config.yaml") && !slices.Contains(has, lockName) {
		return fmt.Errorf("run directory: %s holds other files (%s) and no run: choose another run=", dir, has[other])
	}
	if info, err := os.Stat(filepath.Join(dir, "metrics.jsonl")); err == nil && info.Size() > 0 && trainer.Latest(dir) == "" {
		return fmt.Errorf("run directory: %s holds the log of a run and no checkpoint to go on from: choose another run=, or remove it", dir)
	}
	return nil
}

// newRun makes the first directory 0001, 0002, … that nobody has made.
func newRun(root string) (*runDir, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	for i := 1; ; i++ {
		dir := filepath.Join(root, fmt.Sprintf("%04d", i))
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			d, err := lockRun(dir)
			if err == nil {
				d.created = true
			}
			return d, err
		case !errors.Is(err, fs.ErrExist):
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
}

func lockRun(dir string) (*runDir, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	held, err := filelock.Try(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("run directory: lock %s: %w", path, err)
	}
	if !held {
		holder, _ := os.ReadFile(path) // empty for a moment, while it takes or leaves the directory
		f.Close()
		who := cmp.Or(strings.TrimSpace(string(holder)), "another process")
		return nil, fmt.Errorf("run directory: %s is writing into %s: wait for it, or choose another run=", who, dir)
	}
	host, _ := os.Hostname()
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "process %d on %s", os.Getpid(), host)
	}
	return &runDir{path: dir, lock: f}, nil
}

// Close lets another process write. The lock's file stays: to remove it would let two processes hold two files of that name. Only a
// directory made for a run that never began goes.
func (d *runDir) Close() {
	if d.lock == nil { // of another rank
		return
	}
	if entries, err := os.ReadDir(d.path); d.created && err == nil && len(entries) == 1 {
		_ = os.RemoveAll(d.path)
	}
	_ = d.lock.Truncate(0)
	_ = d.lock.Close()
}

// abandon takes away what a run has written that only began, so that the directory can be claimed again. One that went on stays, with the
// settings that it had.
func (d *runDir) abandon() {
	if d.lock == nil {
		return
	}
	if d.config != nil {
		_ = atomicfile.WriteBytes(filepath.Join(d.path, "config.yaml"), d.config)
	}
	if slices.Contains(d.had, "checkpoints") {
		return
	}
	now, _ := entryNames(d.path)
	for _, name := range now {
		if name != lockName && !slices.Contains(d.had, name) {
			_ = os.RemoveAll(filepath.Join(d.path, name))
		}
	}
}

// entryNames are those of a directory's entries.
func entryNames(dir string) (all []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all, err
}

// describe stores in the run directory what the run runs on: device, kernels, the sandbox's tier, the Python inside it. pool may be nil.
func (p *program) describe(dir string, pool *interp.Pool) error {
	env := struct {
		Device  string       `json:"device"` // the lines that the terminal shows
		Model   string       `json:"model"`
		Python  string       `json:"python,omitempty"`
		Go      string       `json:"go"`
		System  string       `json:"system"`
		Kernels kernels.Info `json:"kernels"`
		Sandbox *interp.Info `json:"sandbox,omitempty"`
	}{Device: p.deviceLine(), Model: p.modelLine(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Kernels: p.dev.Info()}
	if pool != nil {
		info := pool.Info()
		env.Python, env.Sandbox = pythonLine(info), &info
	}
	return writeJSON(filepath.Join(dir, "environment.json"), env)
}
