package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script of `make gpu-check` where there is no GPU: every stage fails with one sentence, none stops the next, and the exit code and both
// files say so.
func TestGPUCheckFailsCleanlyWithoutAGPU(t *testing.T) {
	if _, err := exec.LookPath("nvidia-smi"); err == nil {
		t.Skip("this machine has a GPU")
	}
	dir := t.TempDir()
	script, err := os.ReadFile("gpu_check.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"gpu_check.py": string(script),
		"peers.py":     "import sys\nsys.exit('peers: no PyTorch')\n",
		// Test binaries that find no GPU: one skips, one runs on the emulator alone.
		"kernels.test": "#!/bin/sh\nprintf '=== RUN\\n--- SKIP: TestHardwareAgrees (0.00s)\\n    x_test.go:7: driver: no GPU here\\nPASS\\n'\n",
		"model.test":   "#!/bin/sh\nprintf -- '--- PASS: TestBF16 (0.1s)\\n    --- PASS: TestBF16/emulated (0.1s)\\nPASS\\n'\n",
		"retool":       "#!/bin/sh\necho working\necho 'retool: driver: no GPU here' >&2\nexit 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("python3", filepath.Join(dir, "gpu_check.py")).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "results", "*-none.json"))
	if len(files) != 1 {
		t.Fatalf("results are %q\n%s", files, out)
	}
	text, _ := os.ReadFile(files[0])
	var result struct {
		Stages []struct {
			Stage, Why string
			OK         bool
		}
	}
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"conformance": "driver: no GPU here", "bit tests": "driver: no GPU here", "peers": "exit code 1: peers: no PyTorch",
		"bench kernels": "exit code 1: retool: driver: no GPU here", "demo": "exit code 1: retool: driver: no GPU here",
		"bench rollout": "exit code 1: retool: driver: no GPU here", "bench train": "exit code 1: retool: driver: no GPU here",
		"model": "no test ran on a GPU", "probes": "probe.test is not on this machine",
		"memcheck": "compute-sanitizer is not on this machine", "racecheck": "compute-sanitizer is not on this machine",
	}
	for _, s := range result.Stages {
		if s.OK || !strings.HasSuffix(s.Why, want[s.Stage]) || want[s.Stage] == "" {
			t.Errorf("%s: ok %v, %q, want %q", s.Stage, s.OK, s.Why, want[s.Stage])
		}
	}
	if len(result.Stages) != len(want) {
		t.Errorf("%d stages, want %d", len(result.Stages), len(want))
	}
	page, err := os.ReadFile(strings.TrimSuffix(files[0], "json") + "md")
	if err != nil || strings.Count(string(page), "**failed**") != len(want) {
		t.Errorf("%v\n%s", err, page)
	}
}
