package probe

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"retool/kernels/driver"
	"retool/kernels/emu"
)

var record = flag.String("record", "", "write what the GPU answers to `FILE`: it belongs into kernels/probe/testdata")

func emulated(t *testing.T) Recording {
	rec, err := Run(emu.New(emu.Options{Capability: 80}))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// Every probe runs under the emulator's checker, writes what it says, and again the same.
func TestEmulatorRunsEveryProbe(t *testing.T) {
	a, b := emulated(t), emulated(t)
	if d := Compare(a, b); d != nil {
		t.Errorf("two runs differ: %q", d)
	}
	for i, r := range a.Results {
		different := map[uint32]bool{}
		for _, w := range r.Out {
			if w == 0xdeadbeef {
				t.Fatalf("%s: a word was not written", r.Name)
			}
			different[w] = true
		}
		if i < len(families) && len(different) < 20 {
			t.Errorf("%s: only %d different words", r.Name, len(different))
		}
	}
}

// A few answers that PTX defines, by hand; what is left to hardware must at least be near the real function.
func TestProbesAskWhatTheySay(t *testing.T) {
	of := map[string][]uint32{}
	in := map[string]func(lane, half int) uint32{} // halves of the four words, the low one first
	for i, r := range emulated(t).Results {
		b := probes[i].inputs(0)
		of[r.Name] = r.Out
		in[r.Name] = func(l, w int) uint32 { return binary.LittleEndian.Uint32(b[laneBytes*l+4*w:]) }
	}
	for l := range lanes {
		shfl, x := of["shfl"][8*l:], in["shfl"]
		if want := x(int(x(l, 2)&31), 0); shfl[0] != want {
			t.Errorf("shfl.idx of lane %d is %08x, want %08x", l, shfl[0], want)
		}
		if want := x(l^5, 0); shfl[5] != want {
			t.Errorf("shfl.bfly of lane %d is %08x, want %08x", l, shfl[5], want)
		}
		if got, want := math.Float32frombits(of["ex2"][8*l]), math.Exp2(float64(l)/2+1); math.Abs(float64(got)-want) > 1e-5*want {
			t.Errorf("ex2 in lane %d is %v, want %v", l, got, want)
		}
		if got, want := of["mma of zeros"][8*l], in["mma of zeros"](l, 0); got != want {
			t.Errorf("a sum of zeros on %08x is %08x", want, got)
		}
		// cp.async of lane mod 16 bytes: the rest is zero.
		n := l % 16
		for w := range 4 {
			keep := min(max(n-4*w, 0), 4)
			if want := in["cp.async"](l, w) & uint32(uint64(1)<<(8*keep)-1); of["cp.async"][8*l+w] != want {
				t.Errorf("cp.async of %d bytes, word %d: %08x, want %08x", n, w, of["cp.async"][8*l+w], want)
			}
		}
	}
}

func TestCompareSeesADifference(t *testing.T) {
	got, want := emulated(t), emulated(t)
	want.Results[0].Out[9]++
	if d := Compare(got, want); len(d) != 1 || !strings.Contains(d[0], "shfl: lane 1 word 1") {
		t.Errorf("%q", d)
	}
	want = emulated(t)
	for i, p := range probes {
		if p.name == "mma" {
			want.Results[i].Out[0] ^= 1 // one unit in the last place of a sum
			if d := Compare(got, want); d != nil {
				t.Errorf("%q", d)
			}
			want.Results[i].Out[0] ^= 1 << 20
			if d := Compare(got, want); len(d) != 1 {
				t.Errorf("%q", d)
			}
		}
	}
}

// What GPUs answered, against the emulator of today.
func TestEmulatorAgreesWithRecordings(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want Recording
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, d := range Compare(emulated(t), want) {
			t.Errorf("%s: %s", path, d)
		}
	}
}

// On a GPU: go test -tags cuda ./kernels/probe -record kernels/probe/testdata/h200.json
func TestHardwareAnswersProbes(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	drv, err := driver.Open(0)
	if errors.Is(err, driver.ErrNoGPU) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer drv.Close()
	rec, err := Run(drv)
	if err != nil {
		t.Fatal(err)
	}
	if *record != "" {
		text, err := json.MarshalIndent(rec, "", " ")
		if err == nil {
			err = os.WriteFile(*record, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, d := range Compare(emulated(t), rec) {
		t.Error(d)
	}
}
