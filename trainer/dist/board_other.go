//go:build !linux

package dist

import (
	"errors"
	"sync/atomic"
	"time"
)

var errNoMemory = errors.New("this system has none")

func newMemory(int) ([]byte, int, func(), error)       { return nil, 0, nil, errNoMemory }
func openMemory(int, int, int) ([]byte, error)         { return nil, errNoMemory }
func unmap([]byte) error                               { return nil }
func sleepWhile(*atomic.Uint32, uint32, time.Duration) { time.Sleep(time.Millisecond) }
func uptime() time.Duration                            { return 0 }
func wake(*atomic.Uint32)                              {}
