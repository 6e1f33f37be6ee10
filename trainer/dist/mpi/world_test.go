//go:build linux && cgo

package mpi

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// stub compiles the library of the tests.
func stub(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	lib := filepath.Join(t.TempDir(), "libstub.so")
	out, err := exec.Command(cc, "-w", "-shared", "-fPIC", "-o", lib, filepath.Join("testdata", "mpi_stub.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return lib
}

// Whatever a library does not do is one sentence with its name, and nothing that it keeps to itself holds up the program.
func TestLibraryThatFails(t *testing.T) {
	lib := stub(t)
	over := errors.New("the run has ended")
	for _, c := range []struct{ mode, says string }{
		{"stranger", `libstub.so is "Another MPI 7.1": want Open MPI, or a library with the interface of MPICH or of MPI 5`},
		{"twice", "mpi: the library has been initialised before"},
		{"no init", "mpi: MPICH 9.9: MPI_Init_thread: no route, as told"},
		{"single, fixed", "mpi: MPICH 9.9 gives threads at level 1: want at least 1024 (MPI_THREAD_FUNNELED)"},
		{"well, fixed", ""},
		{"single", "mpi: MPICH 9.9 gives threads at level 0: want at least 1 (MPI_THREAD_FUNNELED)"},
		{"never joins", over.Error()},
		{"no send", "mpi: MPICH 9.9: 3 bytes to or from rank 1: no route, as told"},
		{"no test", "bytes to or from rank 1: no route, as told"},
		{"nothing comes", over.Error()},
		{"short", "mpi: rank 1 sent 7 bytes where 8 were due"},
		{"well", ""},
	} {
		t.Setenv("STUB_MPI", c.mode)
		asked := 0
		alive := func() error {
			if asked++; asked == 3 {
				return over
			}
			return nil
		}
		l, err := Load([]string{"/no/such/library", lib})
		var w *World
		if err == nil {
			w, err = l.Init(alive)
		}
		if err == nil {
			err = w.Start([]Transfer{{Peer: 1, Send: true, Bytes: w.Buffer(3)}, {Peer: 1, Bytes: w.Buffer(8)}}).Wait(alive)
			w.Close(err != nil)
		}
		if c.says == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.says, c.mode)
		}
		t.Setenv("STUB_MPI", "") // whoever waits in it goes on
	}
}

// Buffers are used again where they are long enough; a transfer of nothing is a mistake of the caller's.
func TestBuffersAreUsedAgain(t *testing.T) {
	w := &World{}
	b := w.Buffer(100)
	w.GiveBack(b)
	require.True(t, &b[0] == &w.Buffer(50)[0])
	require.False(t, &b[0] == &w.Buffer(50)[0])
	require.Panics(t, func() { w.Start([]Transfer{{Peer: 1}}) })
}
