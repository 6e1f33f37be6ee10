package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// bindCores binds every thread of this process, and so those that it starts later, and its children, to some cores.
func bindCores(cores []int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	for bound := map[int]bool{}; ; { // a thread may have started another before its turn
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("bind to cores %s: %w", listCores(cores), err)
		}
		more := false
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || bound[id] {
				continue
			}
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // it has ended
				return fmt.Errorf("bind to cores %s: %w", listCores(cores), err)
			}
			bound[id], more = true, true
		}
		if !more {
			return nil
		}
	}
}
