//go:build cuda

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A claim keeps a GPU for one process. CUDA lets several share one, which ends in memory that runs out at some moment and in figures that
// mean nothing; the second process is told instead. Opening the same GPU twice in one process is no conflict.
type claim struct {
	path string
	file *os.File
	held int
}

var claims = struct {
	sync.Mutex
	of map[string]*claim
}{of: map[string]*claim{}}

// claimGPU takes the lock of the GPU at a PCI address: with its domain, for a bus number alone is not one GPU's. what names the
// GPU in the error. Where no lock file can be kept, nobody is refused.
func claimGPU(what, pci string) (*claim, error) {
	claims.Lock()
	defer claims.Unlock()
	path := filepath.Join(os.TempDir(), "retool-gpu-"+strings.ReplaceAll(pci, ":", "-")+".lock")
	if c := claims.of[path]; c != nil {
		c.held++
		return c, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, nil
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
	case syscall.EWOULDBLOCK:
		holder, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("driver: %s, is taken by another process (%s): "+
			"wait for it, or choose another GPU with CUDA_VISIBLE_DEVICES", what, strings.TrimSpace(string(holder)))
	default:
		f.Close()
		return nil, nil
	}
	_ = f.Truncate(0)
	fmt.Fprintf(f, "%d %s\n", os.Getpid(), filepath.Base(os.Args[0]))
	c := &claim{path: path, file: f, held: 1}
	claims.of[path] = c
	return c, nil
}

// release gives the GPU back when the last that opened it does.
func (c *claim) release() {
	if c == nil {
		return
	}
	claims.Lock()
	defer claims.Unlock()
	if c.held--; c.held == 0 {
		delete(claims.of, c.path)
		c.file.Close()
	}
}
