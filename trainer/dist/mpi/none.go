//go:build !(linux && cgo)

package mpi

import "errors"

// Library is never opened here.
type Library struct{}

// Load says why.
func Load([]string) (*Library, error) {
	return nil, errors.New("mpi: this program opens no MPI library: that takes Linux, and a build with cgo (CGO_ENABLED=1 and a C compiler)")
}

// Version, Init and the methods of World and Exchange are those of a program that does.
func (*Library) Version() string                   { panic("mpi: no library") }
func (*Library) Init(func() error) (*World, error) { panic("mpi: no library") }

// World is never made here.
type World struct{ Rank, Size int }

func (*World) Buffer(int) []byte          { panic("mpi: no library") }
func (*World) GiveBack([]byte)            { panic("mpi: no library") }
func (*World) Start([]Transfer) *Exchange { panic("mpi: no library") }
func (*World) Close(bool)                 { panic("mpi: no library") }

// Exchange is never begun here.
type Exchange struct{}

func (*Exchange) Wait(func() error) error { panic("mpi: no library") }
