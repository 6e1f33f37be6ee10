//go:build !linux

package main

import "syscall"

// rankAttributes makes a rank the leader of a session.
func rankAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Elsewhere than on Linux what ranks leave behind cannot be adopted.
func adoptOrphans() {}
func killOrphans()  {}

// Nor can a process be bound to cores.
func bindCores([]int) error { return nil }
