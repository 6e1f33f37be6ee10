//go:build cuda

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A library that stands for the CUDA driver and fails as it is told: what hardware does once a year, every test run sees.
const fakeDriver = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int mode(const char *m) { return strcmp(getenv("RETOOL_FAKE_CUDA"), m) == 0; }
int cuInit(unsigned f) { return mode("no device") ? 100 : mode("mismatch") ? 803 : 0; }
int cuDriverGetVersion(int *v) { *v = mode("old") ? 11040 : 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Fake", n); return 0; }
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = 8u << 20; return 0; }
int cuDeviceGetAttribute(int *v, int at, int d) {
	*v = at == 75 ? (mode("sm_75") ? 7 : 9) : at == 76 ? (mode("sm_75") ? 5 : 0) : at == 50 ? 2 : at == 33 ? 250 : at == 34 ? 3 : 1;
	return 0;
}
int cuDevicePrimaryCtxSetFlags_v2(int d, unsigned f) { return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)8; return mode("exclusive") ? 46 : 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuStreamCreate(void **s, unsigned f) { *s = (void *)8; return 0; }
int cuStreamDestroy_v2(void *s) { return 0; }
int cuMemAlloc_v2(size_t *p, size_t n) { *p = (size_t)malloc(n); return mode("memory") ? 2 : 0; }
int cuMemGetInfo_v2(size_t *f, size_t *t) { *f = 1 << 20; *t = 8 << 20; return 0; }
int cuModuleLoadDataEx(void **m, const void *t, unsigned n, void *o, void *v) { *m = (void *)8; return mode("ptx") ? 222 : 0; }

/* One kernel, of sm_90: a tensor, a tensor map, a number, of which the driver knows places and sizes. */
static const size_t place[] = {0, 48, 176}, bytes[] = {16, 128, 4};
int cuModuleGetFunction(void **f, void *m, const char *name) { *f = (void *)8; return 0; }
int cuFuncGetAttribute(int *v, int at, void *f) { *v = at == 4 ? 168 : 0; return 0; }
int cuFuncGetParamInfo(void *f, size_t i, size_t *at, size_t *n) {
	if (mode("unknown parameters")) return 801;
	if (i > 2) return 1;
	*at = place[i], *n = bytes[i];
	return 0;
}
static int capturing;
int cuLaunchKernelEx(const void *cfg, void *f, void **params, void **extra) {
	unsigned char bank[180];
	unsigned sum = 0;
	if (extra || !params) return 1;
	memset(bank, 0, sizeof bank);
	for (int i = 0; i < 3; i++) memcpy(bank + place[i], params[i], bytes[i]);
	for (int i = 0; i < (int)sizeof bank; i++) sum = sum * 31 + bank[i];
	printf("%s %02x %02x %02x %u ", capturing ? "captured" : "launched", bank[0], bank[48], bank[176], sum);
	fflush(stdout);
	return 0;
}
int cuStreamBeginCapture_v2(void *s, int how) { capturing = 1; return 0; }
int cuStreamEndCapture(void *s, void **g) { capturing = 0; *g = (void *)8; return 0; }
int cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long f) { *e = (void *)8; return 0; }
int cuGraphDestroy(void *g) { return 0; }
int cuGraphExecDestroy(void *g) { return 0; }

/* Copies take effect when the stream or an event is waited for. There is none from pageable memory: such a call ends in "not supported". */
static struct { char *to; const char *from; size_t n; } copies[64];
static int waiting;
int cuMemHostAlloc(void **p, size_t n, unsigned f) { *p = calloc(1, n); return 0; }
int cuMemFreeHost(void *p) { free(p); return 0; }
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t n, void *s) {
	if (waiting == 64) return 1;
	copies[waiting].to = to, copies[waiting].from = from, copies[waiting++].n = n;
	return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t n, void *s) { return cuMemcpyHtoDAsync_v2(to, from, n, s); }
int cuStreamSynchronize(void *s) {
	for (int i = 0; i < waiting; i++) memcpy(copies[i].to, copies[i].from, copies[i].n);
	waiting = 0;
	return 0;
}
int cuEventCreate(void **e, unsigned f) { *e = (void *)8; return f & 1 ? 0 : 1; }
int cuEventDestroy_v2(void *e) { return 0; }
int cuEventRecord(void *e, void *s) { return 0; }
int cuEventSynchronize(void *e) { return cuStreamSynchronize(0); }
int cuGetErrorName(int e, const char **s) { *s = e == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR"; return 0; }
int cuGetErrorString(int e, const char **s) { *s = "as told"; return 0; }
`

const fakeMode = "RETOOL_FAKE_CUDA"

// The child of TestOpenSaysWhatIsWrong: one process, one driver.
func TestMain(m *testing.M) {
	if os.Getenv(ncclRank) != "" {
		fmt.Print(ncclProcess())
		os.Exit(0)
	}
	mode := os.Getenv(fakeMode)
	if mode == "" {
		os.Exit(m.Run())
	}
	if mode == "address" {
		at, err := Address(0)
		_, beyond := Address(1)
		fmt.Print(at, " ", err, " ", beyond)
		os.Exit(0)
	}
	runtime.LockOSThread()
	d, err := Open(0)
	if mode == "ordinal" {
		_, err = Open(3)
	}
	if err != nil {
		fmt.Printf("%v (ErrNoGPU: %v)", err, errors.Is(err, ErrNoGPU))
		os.Exit(0)
	}
	switch mode {
	case "memory":
		_, err = d.Alloc(3 << 20)
	case "ptx":
		_, err = d.Load([]byte(".version 99.0"))
	case "launch", "unknown parameters":
		err = launchThree(d)
	case "copies":
		err = copyBothWays(d)
	case "hold":
		fmt.Println("held")
		os.Stdin.Read(make([]byte, 1))
	}
	fmt.Printf("%v", err)
	if err := d.Close(); err != nil {
		fmt.Printf(", and Close: %v", err)
	}
	os.Exit(0)
}

// launchThree launches a kernel twice and captures it once, in one list and apart; the last launch's second parameter is too small.
func launchThree(d Driver) error {
	m, err := d.Load([]byte("any"))
	if err != nil {
		return err
	}
	f, err := m.Func("any")
	if err != nil {
		return err
	}
	launch := func(first byte) Launch {
		l := Launch{Func: f, Grid: [3]uint32{1, 1, 1}, Block: [3]uint32{1, 1, 1}, Sizes: []int{16, 128, 4}}
		for i := range 148 {
			l.Params = append(l.Params, first+byte(i))
		}
		return l
	}
	if err := d.Launch(0, []Launch{launch(1), launch(2)}); err != nil {
		return err
	}
	if _, err := d.Capture([]Launch{launch(3)}); err != nil {
		return err
	}
	bad := launch(4)
	bad.Params, bad.Sizes = bad.Params[:140], []int{16, 120, 4}
	return fmt.Errorf("%v, %v", f.Params(), d.Launch(0, []Launch{bad}))
}

// copyBothWays is silent if the bytes that go are those that come back.
func copyBothWays(d Driver) error {
	s := NewStaging(d)
	for _, n := range []int{1, 70_000, 9 << 20} {
		src, got := make([]byte, n), make([]byte, n)
		for i := range src {
			src[i] = byte(i * i >> 3)
		}
		p, err := d.Alloc(n)
		if err != nil {
			return err
		}
		if err := s.In(0, p, src); err != nil {
			return err
		}
		if err := s.Out(0, got, p); err != nil {
			return err
		}
		if !bytes.Equal(got, src) {
			return fmt.Errorf("%d bytes came back otherwise", n)
		}
	}
	return nil
}

// bankSum is the fake's sum over the memory that holds a kernel's parameters.
func bankSum(first byte) (sum uint32) {
	bank := make([]byte, 180)
	for i := range 148 {
		at := i
		if i >= 16 {
			at += 32
		}
		bank[at] = first + byte(i)
	}
	for _, b := range bank {
		sum = sum*31 + uint32(b)
	}
	return sum
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "fake.c")
	if err := os.WriteFile(source, []byte(fakeDriver), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", filepath.Join(dir, "libcuda.so.1"), source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	child := func(mode, library string) *exec.Cmd {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), fakeMode+"="+mode, "LD_LIBRARY_PATH="+library, "TMPDIR="+dir)
		return c
	}
	for _, c := range []struct{ mode, want string }{
		{"no device", "the CUDA driver finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or set device: cpu (ErrNoGPU: true)"},
		{"mismatch",
			"the CUDA driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: as told: check nvidia-smi, or set device: cpu (ErrNoGPU: false)"},
		{"old", "for CUDA 11.4, the kernels need CUDA 12.0: install driver 525 or newer (ErrNoGPU: false)"},
		{"sm_75", "GPU 0, Fake, is sm_75: bf16 kernels need sm_80 or newer: set device: cpu"},
		{"ordinal", "GPU 3 is not among the 1 of this machine"},
		{"exclusive", "GPU 0, Fake, is taken by another process, and lets one in at a time"},
		{"memory", "3.0 MiB"},
		{"ptx", "this driver is too old for the PTX: install 525 or newer"},
		{"launch", fmt.Sprintf("launched 01 11 91 %d launched 02 12 92 %d captured 03 13 93 %d [16 128 4], "+
			"driver: launch any: parameters of [16 120 4] bytes are passed, it takes [16 128 4]", bankSum(1), bankSum(2), bankSum(3))},
		{"unknown parameters", fmt.Sprintf("captured 03 13 93 %d launched 04", bankSum(3))}, // a wrong size goes unseen
		{"address", "0002:fa:03 <nil> driver: GPU 1 is not among the 1 of this machine"},
		{"copies", "<nil>"},
		{"fine", "<nil>"},
	} {
		out, err := child(c.mode, dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") > 0 {
			t.Errorf("%s: %q, %v, want %q", c.mode, out, err, c.want)
		}
	}

	if _, err := os.Stat(filepath.Join(dir, "retool-gpu-0002-fa-03.lock")); err != nil {
		t.Errorf("the lock of a GPU is named for its domain, bus and device: %v", err)
	}

	// Two processes.
	first := child("hold", dir)
	in, _ := first.StdinPipe()
	pipe, _ := first.StdoutPipe()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	pipe.Read(make([]byte, 5))
	out, _ := child("fine", dir).CombinedOutput()
	want := fmt.Sprintf("GPU 0, Fake, is taken by another process (%d driver.test): wait for it", first.Process.Pid)
	if !strings.Contains(string(out), want) {
		t.Errorf("second process: %q, want %q", out, want)
	}
	in.Close()
	first.Wait()
	if out, _ := child("fine", dir).CombinedOutput(); string(out) != "<nil>" {
		t.Errorf("after the first has ended: %q", out)
	}
}
