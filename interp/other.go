//go:build !linux

package interp

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
)

// Init does nothing on this system.
func Init() {}

// A Pool cannot be had on this system: the fences are Linux's.
type Pool struct{}

// New returns ErrTier.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Pool, error) {
	return nil, fmt.Errorf("%w: %s has no Landlock, seccomp or namespaces: run on Linux", ErrTier, runtime.GOOS)
}

// Run returns ErrClosed.
func (p *Pool) Run(ctx context.Context, key int64, code string) (Result, error) {
	return Result{}, ErrClosed
}

// RunLast returns ErrClosed.
func (p *Pool) RunLast(ctx context.Context, key int64, code string) (Result, error) {
	return Result{}, ErrClosed
}

// RunSeeded returns ErrClosed.
func (p *Pool) RunSeeded(ctx context.Context, key int64, seed uint32, code string) (Result, error) {
	return Result{}, ErrClosed
}

// Forget does nothing.
func (p *Pool) Forget(key int64) {}

// Stats is empty.
func (p *Pool) Stats() Stats { return Stats{} }

// Info is empty.
func (p *Pool) Info() Info { return Info{} }

// Close does nothing.
func (p *Pool) Close() error { return nil }

func signalName(n int) string { return fmt.Sprintf("signal %d", n) }

// Diagnose returns ErrTier.
func Diagnose(ctx context.Context, cfg Config) (Report, error) {
	_, err := New(ctx, cfg, nil)
	return Report{}, err
}

// Probe returns ErrTier.
func Probe(ctx context.Context, cfg Config) error {
	_, err := New(ctx, cfg, nil)
	return err
}

// Cold returns ErrTier.
func Cold(ctx context.Context, cfg Config, info Info) (*Pool, error) { return New(ctx, cfg, nil) }
