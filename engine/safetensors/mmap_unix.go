//go:build unix

package safetensors

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a file for reading. unmap ends the mapping.
func mapFile(path string) (data []byte, unmap func() error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, fmt.Errorf("%s is a folder, must be a file", path)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is a pipe or a device, must be a file", path)
	}
	if info.Size() == 0 { // nothing to map, and mmap refuses it
		return nil, func() error { return nil }, nil
	}
	data, err = syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, &os.PathError{Op: "map", Path: path, Err: err}
	}
	return data, func() error { return syscall.Munmap(data) }, nil
}

// release drops the whole pages of a part of a mapping.
func release(b []byte) {
	page := uintptr(os.Getpagesize())
	if len(b) == 0 {
		return
	}
	skip := -uintptr(unsafe.Pointer(&b[0])) & (page - 1)
	if n := uintptr(len(b)); n > skip && (n-skip)&^(page-1) > 0 {
		_ = unix.Madvise(b[skip:skip+(n-skip)&^(page-1)], unix.MADV_DONTNEED) // advice: nothing depends on it
	}
}
