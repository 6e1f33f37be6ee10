package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/bench"
	"retool/engine/model"
	"retool/kernels"
	"retool/kernels/driver"
)

// Cold start and reinforcement learning on the GPU's kernels, interpreted and checked: bf16 weights with a float32 master copy, and rollout
// and training agree to the bit.
func TestTrainingOnTheEmulatedGPU(t *testing.T) {
	for variant, want := range map[string][]string{"sm80": {"emulated sm_80", "mma.m16n8k16"}, "sm90a": {"emulated sm_90", "wgmma.m64k16"}} {
		t.Run(variant, func(t *testing.T) { trainOnTheEmulatedGPU(t, variant, want) })
	}
}

func trainOnTheEmulatedGPU(t *testing.T, variant string, device []string) {
	run := filepath.Join(t.TempDir(), "run")
	out := retool(t, append([]string{"train", "demo-text"},
		tiny(run, "device=emu", "variant="+variant, "model.hidden=16", "model.heads=1", "model.ffn=16", "engine.max_tokens=40",
			"sft.steps=1", "sft.batch=1", "sft.tokens=64", "rl.steps=1", "rl.prompts=1", "rl.group=2", "rl.minibatch=2", "rl.tokens=128",
			"critic.warmup=0", "eval.problems=0", "protocol.name=none")...)...)
	for _, want := range append(device, "bf16 with a float32 master copy", "step  2/2", "|Δlogp| 0 ") {
		require.Contains(t, out, want)
	}
	metrics, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	require.NoError(t, err)
	require.NotContains(t, string(metrics), `"checked_tokens":0`)
	require.Contains(t, string(metrics), `"max_difference":0,`)
}

// The recipe that shows in seconds whether an installation is in order.
func TestTinyRecipe(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	out := retool(t, "train", "tiny", "--set", "run="+run)
	for _, want := range []string{"sft   2/2", "step  4/4", "|Δlogp| 0 ", "eval  rl"} {
		require.Contains(t, out, want)
	}
	require.FileExists(t, filepath.Join(run, "report.html"))
}

// What a model is in memory is said in one place, and refused where the device has no such models.
func TestTypesOfModelsInMemory(t *testing.T) {
	half, full := model.Config{DType: kernels.BF16}, model.Config{DType: kernels.F32}
	for _, c := range []struct {
		device, name string
		folder       model.Config
		want         kernels.DType
	}{
		{"cpu", "auto", half, kernels.BF16}, {"cpu", "auto", full, kernels.F32}, {"cpu", "auto", model.Config{}, kernels.F32},
		{"cpu", "float32", half, kernels.F32}, {"cpu", "bfloat16", full, kernels.BF16}, {"gpu", "auto", full, kernels.BF16},
	} {
		require.NoError(t, checkDType(c.device, c.name))
		require.Equal(t, c.want, dtypeOf(c.device, c.name, c.folder), "%+v", c)
	}
	dir := foreignFolder("qwen2")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"generate", "--model", dir, "--ids", "[1]", "--dtype", "half"}, `"half" is not known (known: auto, float32, bfloat16)`},
		{[]string{"generate", "--model", dir, "--ids", "[1]", "--dtype", "float32", "--device", "emu"},
			"--dtype: float32: device emu holds models in bfloat16: want auto or bfloat16"},
		{append([]string{"train", "demo"}, tiny(filepath.Join(t.TempDir(), "run"), "model.dtype=f32")...),
			`model.dtype: "f32" is not known (known: auto, float32, bfloat16)`},
	} {
		require.Contains(t, refused(t, c.args...), c.want)
	}
}

// A GPU that is not there is one sentence with its remedy, whoever asks.
func TestNoGPUIsOneClearSentence(t *testing.T) {
	if g, err := kernels.OpenGPU(0); err == nil {
		g.Close()
		t.Skip("there is one")
	}
	run := filepath.Join(t.TempDir(), "run")
	for _, args := range [][]string{
		append([]string{"train", "demo"}, tiny(run, "device=gpu")...),
		{"bench", "kernels", "--device", "gpu"},
		{"bench", "train", "--device", "gpu"},
		append([]string{"demo"}, tinyParts(run, "device=gpu")...),
	} {
		cmd, out, errs := command(args...)
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &exit, "%v\n%s%s", args, out, errs)
		require.Equal(t, 1, exit.ExitCode())
		message := strings.TrimSpace(errs.String())
		require.NotContains(t, message, "\n")
		require.Contains(t, message, "set device: cpu")
		require.NoFileExists(t, filepath.Join(run, "metrics.jsonl"))
	}
	cmd, _, errs := command("bench", "kernels", "--device", "tpu")
	require.Error(t, cmd.Run())
	require.Contains(t, errs.String(), `device: "tpu" is not known (known: cpu, gpu, emu)`)
	if _, err := driver.Count(); err != nil {
		cmd, out, _ := command("bench", "kernels", "--device", "gpu")
		require.Error(t, cmd.Run())
		require.Empty(t, out.String(), "a table without rows")
	}
}

func TestDevicesAreNamedByWhatTheyHave(t *testing.T) {
	require.Equal(t, "cpu, 1 thread, go kernels", deviceText(kernels.Info{Name: "cpu", Variant: "go", Threads: 1}))
	require.Equal(t, "H, 132 multiprocessors, sm90a kernels", deviceText(kernels.Info{Name: "H", Variant: "sm90a", Threads: 132}))
}

// A measurement on the CPU, which knows nothing of signals, ends with the program's sentence when one comes.
func TestBenchCanBeStopped(t *testing.T) {
	cmd, _, errs := command("bench", "kernels", "--threads", "1", "--budget", "1h")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	heading, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, heading, "cpu, 1 thread, ")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Equal(t, "retool: bench kernels: interrupted\n", errs.String())
}

func TestBenchOnTheEmulatorCompares(t *testing.T) {
	for _, variant := range []string{"sm80", "sm90a"} {
		out := retool(t, "bench", "smoke", "--device", "emu", "--variant", variant, "--ops", "swiglu,adamw")
		require.Equal(t, 3, strings.Count(out, "  ok\n"), out)
	}
}

// What a measurement leaves on disk is there after every case, and a second call goes on from it.
func TestBenchKernelsResumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.json")
	out := retool(t, "bench", "kernels", "--device", "emu", "--ops", "linear", "--json", path)
	require.Contains(t, out, "times that mean nothing")
	read := func() (r bench.GPUReport) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &r))
		return r
	}
	first := read()
	require.Len(t, first.Rows, 6) // of both variants
	retool(t, "bench", "kernels", "--device", "emu", "--ops", "linear,adamw", "--json", path, "--resume")
	second := read()
	require.Equal(t, first.Rows, second.Rows[:6])
	require.Len(t, second.Rows, 7)
	cmd, _, errs := command("bench", "kernels", "--device", "emu", "--resume")
	require.Error(t, cmd.Run())
	require.Contains(t, errs.String(), "--resume goes on from the file of --json")
	for flag, device := range map[string]string{"resume": "cpu", "peers=x": "cpu", "threads=2": "emu", "models=d128": "emu"} {
		name, _, _ := strings.Cut(flag, "=")
		require.Contains(t, refused(t, "bench", "kernels", "--device", device, "--"+flag), "--"+name+" would do nothing on device "+device)
	}
	require.Contains(t, refused(t, "bench", "kernels", "--device", "emu", "--ops", "none such"), `--ops "none such" matches no operation`)
}

// The record of a GPU, on the one that is emulated: kernels compiled, instructions probed, rollout and training with |Δlogp|.
func TestBenchOnTheEmulatorRecords(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, says string
		flags      []string
	}{
		{"load", "modules compiled in", nil}, {"probes", "as the emulator has them", nil},
		{"rollout", "|Δlogp| 0\n", []string{"--budget", "1ms"}}, {"train", "|Δlogp| 0\n", []string{"--budget", "1ms"}},
	} {
		path := filepath.Join(dir, c.name+".json")
		args := append([]string{"bench", c.name, "--device", "emu", "--variant", "sm90a", "--json", path}, c.flags...)
		require.Contains(t, retool(t, args...), c.says)
		require.FileExists(t, path)
	}
	text, err := os.ReadFile(filepath.Join(dir, "train.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"max_difference": 0`)
}
