//go:build cuda

package driver

import (
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
#include <stdlib.h>
#include <string.h>
static int mode(const char *m) { return strcmp(getenv("RETOOL_FAKE_CUDA"), m) == 0; }
int cuInit(unsigned f) { return mode("no device") ? 100 : mode("mismatch") ? 803 : 0; }
int cuDriverGetVersion(int *v) { *v = mode("old") ? 11040 : 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Fake", n); return 0; }
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = 8u << 20; return 0; }
int cuDeviceGetAttribute(int *v, int at, int d) { *v = at == 75 ? (mode("sm_75") ? 7 : 9) : at == 76 ? (mode("sm_75") ? 5 : 0) : at == 33 ? 250 : 1; return 0; }
int cuDevicePrimaryCtxSetFlags_v2(int d, unsigned f) { return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = (void *)8; return mode("exclusive") ? 46 : 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuStreamCreate(void **s, unsigned f) { *s = (void *)8; return 0; }
int cuStreamDestroy_v2(void *s) { return 0; }
int cuMemAlloc_v2(size_t *p, size_t n) { return 2; }
int cuMemGetInfo_v2(size_t *f, size_t *t) { *f = 1 << 20; *t = 8 << 20; return 0; }
int cuModuleLoadDataEx(void **m, const void *t, unsigned n, void *o, void *v) { return 222; }
int cuGetErrorName(int e, const char **s) { *s = e == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR"; return 0; }
int cuGetErrorString(int e, const char **s) { *s = "as told"; return 0; }
`

const fakeMode = "RETOOL_FAKE_CUDA"

// The child of TestOpenSaysWhatIsWrong: one process, one driver.
func TestMain(m *testing.M) {
	mode := os.Getenv(fakeMode)
	if mode == "" {
		os.Exit(m.Run())
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
		{"mismatch", "the CUDA driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: as told: check nvidia-smi, or set device: cpu (ErrNoGPU: false)"},
		{"old", "for CUDA 11.4, the kernels need CUDA 12.0: install driver 525 or newer (ErrNoGPU: false)"},
		{"sm_75", "GPU 0, Fake, is sm_75: bf16 kernels need sm_80 or newer: set device: cpu"},
		{"ordinal", "GPU 3 is not among the 1 of this machine"},
		{"exclusive", "GPU 0, Fake, is taken by another process, and lets one in at a time"},
		{"memory", "3.0 MiB"},
		{"ptx", "this driver is too old for the PTX: install 525 or newer"},
		{"fine", "<nil>"},
	} {
		out, err := child(c.mode, dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") > 0 {
			t.Errorf("%s: %q, %v, want %q", c.mode, out, err, c.want)
		}
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
	if want := fmt.Sprintf("GPU 0, Fake, is taken by another process (%d driver.test): wait for it", first.Process.Pid); !strings.Contains(string(out), want) {
		t.Errorf("second process: %q, want %q", out, want)
	}
	in.Close()
	first.Wait()
	if out, _ := child("fine", dir).CombinedOutput(); string(out) != "<nil>" {
		t.Errorf("after the first has ended: %q", out)
	}
}
