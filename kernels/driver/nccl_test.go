//go:build cuda

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

const (
	ncclRank = "RETOOL_FAKE_NCCL_RANK"
	ncclSize = "RETOOL_FAKE_NCCL_SIZE"
	ncclDir  = "RETOOL_FAKE_NCCL_DIR"
	ncclLib  = "RETOOL_FAKE_NCCL_LIB"
	ncclDead = "RETOOL_FAKE_NCCL_DEAD" // rank that exits before the exchange
)

// ncclProcess is one rank of a test: it exchanges pieces of known bytes with all others, several times.
func ncclProcess() error {
	rank, _ := strconv.Atoi(os.Getenv(ncclRank))
	size, _ := strconv.Atoi(os.Getenv(ncclSize))
	n, err := OpenNCCL(os.Getenv(ncclLib))
	if err != nil {
		return err
	}
	id, err := n.UniqueID() // the stub's is the same on every rank
	if err != nil {
		return err
	}
	alive := func() error { return nil }
	c, err := n.Init(nil, size, rank, id, alive)
	if err != nil {
		return err
	}
	if os.Getenv(ncclDead) == strconv.Itoa(rank) {
		os.Exit(9)
	}
	for round := range 5 {
		const most = 300000
		content := func(from, to int) []byte {
			return bytes.Repeat([]byte{byte(16*from + to + round)}, most/(1+to)+round)
		}
		var list []Transfer
		var sent, got [][]byte
		for r := range size {
			sent, got = append(sent, content(rank, r)), append(got, make([]byte, len(content(r, rank))))
			if r != rank {
				list = append(list, Transfer{Peer: r, Send: true, At: Ptr(uintptr(unsafe.Pointer(&sent[r][0]))), Bytes: len(sent[r])},
					Transfer{Peer: r, At: Ptr(uintptr(unsafe.Pointer(&got[r][0]))), Bytes: len(got[r])})
			}
		}
		err := c.Start(list, alive)
		if err == nil {
			err = c.Wait(alive)
		}
		if err != nil {
			c.Close(true)
			return err
		}
		for r := range size {
			if r != rank && !bytes.Equal(got[r], content(r, rank)) {
				return fmt.Errorf("round %d: rank %d got other bytes of %d", round, rank, r)
			}
		}
	}
	c.Close(false)
	return errors.New("all arrived: NCCL " + n.Version())
}

// ncclStub compiles the library.
func ncclStub(t *testing.T, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	lib := filepath.Join(t.TempDir(), NCCLLibrary)
	args := append([]string{"-O1", "-w", "-shared", "-fPIC", "-DOLD=0", "-o", lib, filepath.Join("testdata", "nccl_stub.c"), "-lpthread"},
		flags...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return lib
}

// ncclRanks runs processes of a group, and returns what each said.
func ncclRanks(t *testing.T, lib string, n, dead int) (said []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nccl") // the name of a Unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var cmds []*exec.Cmd
	var outs []*bytes.Buffer
	for r := range n {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), ncclRank+"="+strconv.Itoa(r), ncclSize+"="+strconv.Itoa(n), ncclDir+"="+dir, ncclLib+"="+lib,
			ncclDead+"="+strconv.Itoa(dead))
		out := &bytes.Buffer{}
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, c), append(outs, out)
	}
	for r, c := range cmds {
		_ = c.Wait()
		said = append(said, outs[r].String())
	}
	return said
}

func TestNCCLExchanges(t *testing.T) {
	lib := ncclStub(t)
	for _, n := range []int{2, 4} {
		for r, s := range ncclRanks(t, lib, n, -1) {
			if s != "all arrived: NCCL 2.29.5" {
				t.Errorf("rank %d of %d: %s", r, n, s)
			}
		}
	}
}

// A peer that is gone is an error of the exchange, in the library's words, and no hang.
func TestNCCLNamesAFailure(t *testing.T) {
	const want = "driver: NCCL 2.29.5: exchange: remote process exited or there was a network error (result 6, rank "
	for r, s := range ncclRanks(t, ncclStub(t), 3, 1) {
		if r != 1 && !strings.Contains(s, want) {
			t.Errorf("rank %d: %q", r, s)
		}
	}
}

func TestNCCLIsOpenedOrExplained(t *testing.T) {
	for _, c := range []struct {
		lib, want string
	}{
		{filepath.Join(t.TempDir(), "libnccl.so.2"), "driver: no NCCL: "},
		{ncclStub(t, "-DWITHOUT_SEND=1"), "has no ncclSend: want NCCL 2.18 or newer"},
		{ncclStub(t, "-UOLD", "-DOLD=1"), "is NCCL 2.14.3: want 2.18 or newer"},
	} {
		_, err := OpenNCCL(c.lib)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.lib, err)
		}
	}
}

// Init ends when the run does, though a rank never comes.
func TestNCCLJoinCanBeGivenUp(t *testing.T) {
	lib := ncclStub(t)
	t.Setenv(ncclDir, t.TempDir())
	n, err := OpenNCCL(lib)
	if err != nil {
		t.Fatal(err)
	}
	id, err := n.UniqueID()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	_, err = n.Init(nil, 2, 0, id, func() error {
		if asked++; asked == 3 {
			return errors.New("the run has ended")
		}
		return nil
	})
	if err == nil || err.Error() != "the run has ended" {
		t.Error(err)
	}
}
