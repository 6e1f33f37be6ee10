package dist

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
)

// mpiruns are the launchers of MPI jobs that this machine has, by the family of their libraries.
func mpiruns(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, name := range []string{"mpirun.openmpi", "mpirun.mpich", "mpirun"} {
		said, err := exec.Command(name, "--version").Output()
		switch text := string(said); {
		case err != nil:
		case strings.Contains(text, "Open MPI") || strings.Contains(text, "OpenRTE"):
			found["Open MPI"] = []string{name, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"}
		case strings.Contains(text, "HYDRA"):
			found["MPICH"] = []string{name}
		}
	}
	if len(found) == 0 {
		t.Skip("no mpirun here: Debian's openmpi-bin and mpich have one")
	}
	return found
}

const mpiLibrary = "RETOOL_TEST_MPI" // dist.mpi of a process

// underMPI runs n ranks of a role, and returns what they said.
func underMPI(t *testing.T, mpirun []string, n int, role string, env ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mpirun[0], append(mpirun[1:], "-n", strconv.Itoa(n), os.Args[0])...)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role, "RETOOL_TEST_DIR="+t.TempDir()), env...)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// mpiProcess is a rank of them.
func mpiProcess(c Comm, role string) error {
	n := networkOf(c)
	c, err := OverMPI(c, os.Getenv(mpiLibrary))
	if err != nil {
		return err
	}
	defer c.Close()
	if role == "mpi hang" {
		return hangInMPI(c)
	}
	tcp := func() (read int64) {
		for r := range n.links {
			if l := n.links[r].Load(); l != nil {
				read += l.raw.n.Load()
			}
		}
		return read
	}
	before := tcp()
	sum, err := sums(c)
	if err != nil {
		return err
	}
	fmt.Printf("sum: %x by %s, %d bytes; little by TCP: %v; a fault of Go's is still one: %v\n", sum, Transport(c),
		c.(*woven).fabric.(*overMPI).moved, tcp()-before < 20000, recovers())
	return nil
}

// recovers reports whether a program that MPI is in still turns a fault into a panic: its libraries like to catch signals.
func recovers() (yes bool) {
	defer func() { yes = recover() != nil }()
	var nothing *int
	*nothing++
	return false
}

// hangInMPI exchanges once; the last rank then begins a collective of which it never does its part.
func hangInMPI(c Comm) error {
	dev := k.NewCPU(1)
	defer dev.Close()
	p := Divide(4*Tile, c.Size())
	whole := dev.Alloc(k.F32, p.Len())
	part := view(whole, p[c.Rank()])
	if err := c.AllGather("weights", whole, part, p).Wait(); err != nil {
		return err
	}
	if c.Rank() == c.Size()-1 {
		if _, err := c.Gather("weights", fmt.Append(nil, longest(p))); err != nil {
			return err
		}
		select {}
	}
	return c.AllGather("weights", whole, part, p).Wait()
}

// Over MPI, of either family, sums and parts have the bits that they have over TCP; and it is MPI that carries them, all of them.
func TestMPIGivesTheSameBits(t *testing.T) {
	for family, mpirun := range mpiruns(t) {
		for _, n := range []int{2, 4} {
			want := sumsHere(t, n)
			said, err := underMPI(t, mpirun, n, "mpi")
			require.NoError(t, err, "%s", said)
			p := Divide(3*Tile+1001, n)
			for r := range n {
				own := p[r].Len()
				moved := 5 * 4 * 2 * (p.Len() - own + (n-1)*own) // a round sends and receives either, twice
				line := fmt.Sprintf("sum: %x by MPI (%s", want, family)
				require.Equal(t, n, strings.Count(said, line), "%s", said)
				require.Contains(t, said, fmt.Sprintf("), %d bytes; little by TCP: true; a fault of Go's is still one: true\n", moved))
			}
		}
	}
}

// A rank that stops in the middle of an exchange is named by the others, whose calls of MPI do not keep them.
func TestHangInMPIEndsTheRun(t *testing.T) {
	for _, mpirun := range mpiruns(t) {
		said, err := underMPI(t, mpirun, 3, "mpi hang")
		require.Error(t, err)
		require.Contains(t, said, "error: dist: rank 2 (")
		require.Contains(t, said, "has made no progress for 1s; rank ")
		require.Contains(t, said, `waits for it in "weights"`)
	}
}

// What is no MPI, or not this run's, is one sentence on every rank.
func TestMPIRefuses(t *testing.T) {
	for _, c := range []struct{ family, library, says string }{
		{"", "", "dist.transport: mpi is for ranks that mpirun started, or srun --mpi=pmix or pmi2; these are of test"},
		{"Open MPI", "/no/such/libmpi.so", "mpi: no MPI library (tried /no/such/libmpi.so; the loader: "},
		{"Open MPI", "libm.so.6", "mpi: libm.so.6 has no MPI_Get_library_version: want an MPI library"},
	} {
		comms, errs := joinAll(t, 2, func(id *ID, _ *Options) { id.MPI = c.family })
		require.NoError(t, errors.Join(errs...))
		eachRank(comms, func(comm Comm) {
			if _, err := OverMPI(comm, c.library); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("rank %d: %v", comm.Rank(), err)
			}
		})
	}
	found := mpiruns(t)
	if len(found) < 2 {
		t.Skip("the library of another family: only one is here")
	}
	said, err := underMPI(t, found["Open MPI"], 2, "mpi", mpiLibrary+"=libmpich.so.12")
	require.Error(t, err)
	require.Regexp(t, `MPICH \S+ says that this is rank 0 of 1, Open MPI that it is rank \d of 2: want the library of the mpirun`, said)
}
