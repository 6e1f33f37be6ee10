package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// packed is what `make gpu-check` packs, of this build without CUDA: the emulator stands in for the hardware.
func packed(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"python3", "make", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on this machine", tool)
		}
	}
	dir := t.TempDir()
	must := func(name string, args ...string) []byte {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			t.Fatalf("%s %q: %v", name, args, err)
		}
		return out
	}
	must("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "retool"), "retool/cmd/retool")
	for _, p := range []string{"kernels", "engine/model"} {
		must("go", "test", "-c", "-ldflags", "-s -w", "-o", filepath.Join(dir, filepath.Base(p)+".test"), "retool/"+p)
	}
	must(filepath.Join(dir, "retool"), "bench", "kernels", "--cases", filepath.Join(dir, "cases.json"))
	write(t, dir, "bit_tests.txt", string(must("make", "-s", "-C", "..", "bit-tests")))
	write(t, dir, "build.json", `{"commit": "abc", "binaries": "1"}`)
	return withScripts(t, dir)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func withScripts(t *testing.T, dir string) string {
	for _, name := range []string{"gpu_check.py", "gpu_stages.py", "gpu_results.py", "peers.py"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, string(text))
	}
	return dir
}

// checked is what the script leaves.
type checked struct {
	Build map[string]string
	Runs  []struct {
		GPU, Command string
		Seconds      float64
	}
	Stages map[string]struct {
		Tests map[string]struct {
			Status, Why, Command string
			Run                  int
		}
	}
}

func (c checked) status(stage, test string) string { return c.Stages[stage].Tests[test].Status }

// of is the tests of a stage whose name ends so: those of one operation, of every kind.
func (c checked) of(stage, end string) (statuses []string, runs []int) {
	for name, t := range c.Stages[stage].Tests {
		if strings.HasSuffix(name, end) && t.Status != "none" {
			statuses, runs = append(statuses, t.Status), append(runs, t.Run)
		}
	}
	return statuses, runs
}

func (c checked) statuses(stage, end string) []string { s, _ := c.of(stage, end); return s }

// gpuCheck runs the script in a packed folder, and reads the one results folder there.
func gpuCheck(t *testing.T, dir string, code int, args ...string) (found checked, folder, output string) {
	t.Helper()
	c := exec.Command("python3", append([]string{filepath.Join(dir, "gpu_check.py")}, args...)...)
	c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, _ := c.CombinedOutput()
	if got := c.ProcessState.ExitCode(); got != code {
		t.Fatalf("%q: exit code %d, want %d\n%s", args, got, code, out)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "results", "*", "results.json"))
	if len(files) != 1 {
		t.Fatalf("%q: results are %q\n%s", args, files, out)
	}
	text, _ := os.ReadFile(files[0])
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found, filepath.Dir(files[0]), string(out)
}

// With the emulator for the hardware the stages give their results, in pieces: each call goes on where the one before was cut, by its
// budget or by kill -9, and no test that has a result runs again.
func TestGPUCheckOnTheEmulator(t *testing.T) {
	t.Parallel()
	dir := packed(t)
	archive := filepath.Join(dir, "results.tgz")
	tests := "/(Add|Attention|CopyPages)$|RowsOfLinear|^swiglu|kernels|modules|instructions|train|BF16"
	some := []string{"--device", "emu", "--archive", archive, "--case", tests}

	// A budget that is used up before the first test: what is left is said with the command that runs it.
	all := append(some, "--only", "load,smoke,conformance,bits,conformance-sm90a,probes,memcheck")
	found, _, out := gpuCheck(t, dir, 1, append(all, "--budget", "0")...)
	if found.status("load", "modules") != "passed" || slices.Contains(found.statuses("conformance", "/Add"), "passed") {
		t.Errorf("%+v\n%s", found, out)
	}
	i := strings.Index(out, "The rest:\n  ")
	if i < 0 {
		t.Fatalf("no command for the rest\n%s", out)
	}
	rest := strings.TrimSpace(out[i+len("The rest:\n"):])
	if !strings.Contains(rest, "--only smoke,conformance,bits,conformance-sm90a,probes,memcheck") {
		t.Errorf("the rest is %q", rest)
	}

	// Killed in the midst of it: what was done is on disk.
	cut := exec.Command("python3", append([]string{filepath.Join(dir, "gpu_check.py")}, all...)...)
	if err := cut.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		text, _ := filepath.Glob(filepath.Join(dir, "results", "*", "results.json"))
		if len(text) == 1 {
			var now checked
			b, _ := os.ReadFile(text[0])
			if err := json.Unmarshal(b, &now); err != nil {
				t.Fatalf("half a file: %v", err)
			}
			if slices.Contains(now.statuses("conformance", "/Add"), "passed") {
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	cut.Process.Kill()
	cut.Wait()

	found, folder, out := gpuCheck(t, dir, 0, all...)
	for stage, tests := range map[string][]string{
		"load": {"modules"}, "smoke": {"swiglu", "swiglu backward"}, "conformance": {"/Add", "f32/Add", "/Attention", "/CopyPages"},
		"bits": {"TestGPURowsOfLinearDoNotSeeEachOther", "TestBF16ModelsAgreeWithFloat32"}, "conformance-sm90a": {"/Attention"},
		"probes": {"instructions"}, "memcheck": {"/Attention"},
	} {
		for _, test := range tests {
			statuses := found.statuses(stage, test)
			if len(statuses) == 0 || slices.ContainsFunc(statuses, func(s string) bool { return s != "passed" }) {
				t.Errorf("%s, %s: %q\n%s", stage, test, statuses, out)
			}
		}
	}
	if _, runs := found.of("conformance", "/Add"); len(found.Runs) != 3 || !slices.Contains(runs, 1) {
		t.Errorf("%d calls; Add ran in %v, want 1 among them: what passed before the kill", len(found.Runs), runs)
	}
	page, _ := os.ReadFile(filepath.Join(folder, "results.md"))
	listing, _ := exec.Command("tar", "tzf", archive).Output()
	for _, name := range []string{"results.json", "results.md", "load.json", "probes.json"} {
		if !strings.Contains(string(listing), filepath.Base(folder)+"/"+name) {
			t.Errorf("%s is not in the archive:\n%s", name, listing)
		}
	}
	if !strings.Contains(string(page), "emulated sm_90") || !strings.HasSuffix(folder, "emulated-sm-90-abc") {
		t.Errorf("%s\n%s", folder, page)
	}

	// Figures of the kernels of both variants in one file, and |Δlogp| beside those of a model.
	found, folder, out = gpuCheck(t, dir, 0, append(some, "--only", "kernels,kernels-sm90a,train-sm90a")...)
	if why := found.Stages["train-sm90a"].Tests["train"].Why; why != "|Δlogp| 0" {
		t.Errorf("train says %q\n%s", why, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, "kernels.json"))
	var r GPUReport
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if want := len(SmokeCases()) + len(HopperCases(SmokeCases())); err != nil || len(r.Rows) != want {
		t.Errorf("%d rows, want %d, %v", len(r.Rows), want, err)
	}
}

// Every test that is to run on hardware is in its binary, by the name that `make gpu-check` packs.
func TestGPUCheckNamesTestsThatExist(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not on this machine")
	}
	out, err := exec.Command("make", "-s", "-C", "..", "bit-tests").Output()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for name, files := range map[string]string{"kernels": "../kernels/*_test.go", "model": "../engine/model/*_test.go"} {
		paths, _ := filepath.Glob(files)
		for _, p := range paths {
			text, _ := os.ReadFile(p)
			have[name] += string(text)
		}
	}
	lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(out)), " ", "_"))
	for _, l := range lines {
		name, test, _ := strings.Cut(l, "_")
		if !strings.Contains(have[name], "func "+test+"(t *testing.T)") {
			t.Errorf("%q is packed and no such test is there", l)
		}
	}
	// Each caller of onEveryGPU is packed.
	test := regexp.MustCompile(`func (Test\w+)\(`)
	for i, text := range strings.SplitAfter(have["kernels"], "onEveryGPU(t, ") {
		all := test.FindAllStringSubmatch(text, -1)
		if !strings.HasSuffix(text, "onEveryGPU(t, ") || len(all) == 0 {
			continue // the end, or a second call in one test
		}
		if name := all[len(all)-1][1]; !slices.Contains(lines, "kernels_"+name) {
			t.Errorf("call %d of onEveryGPU, in %s, is not packed: %q", i+1, name, lines)
		}
	}
	// What the script's patterns rely on besides.
	for name, patterns := range map[string][]string{
		"kernels": {`"hardware `, `"sm80", "sm90a"`, `func TestHardware\w*AgreesWithItsReference\(`, `func TestEveryOperation\w*\(`},
		"model":   {`"hardware `, `"sm80", "sm90a"`},
	} {
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(have[name]) {
				t.Errorf("the tests of %s have nothing like %s: gpu_stages.py looks for it", name, p)
			}
		}
	}
}

// A failure, a hang and a test that is not there are told apart, and none keeps the next from its turn. The programs are scripts that
// behave so.
func TestGPUCheckHidesNothing(t *testing.T) {
	t.Parallel() // it sleeps
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not on this machine")
	}
	dir := withScripts(t, t.TempDir())
	write(t, dir, "build.json", `{"commit": "abc", "binaries": "1"}`)
	write(t, dir, "cases.json", `[{"op": "good"}, {"op": "bad"}, {"op": "slow"}, {"op": "silent"}, {"op": "last"}]`)
	write(t, dir, "bit_tests.txt", "")
	write(t, dir, "retool", `#!/bin/sh
case "$*" in
*load*) for a; do path=$a; done
  echo '{"gpu": "NVIDIA H100", "info": {"Capability": 90}, "jit_seconds": 7.5, "modules": []}' >"$path"; exit 0;;
*sm90a*good*) echo "good 90 ok"; echo "x  ok"; exit 0;;
*good*|*last*) echo "x  ok"; exit 0;;
*bad*) echo noise; echo "retool: Linear: an illegal address" >&2; exit 1;;
*slow*) echo "began"; sleep 600;;
*silent*) exit 0;;
*rollout*) echo "retool: bench: q05" >&2; exit 1;;
*train*) sleep 600;;
*kernels*) for a; do [ "$before" = --json ] && path=$a; before=$a; done
  case "$(cat "$path" 2>/dev/null)" in # killed in its first case, then in the second, each time with something on disk
  "") echo '{"rows": [{"op": "add"}]}' >"$path"; kill -9 $$;;
  *swiglu*) exit 0;;
  *) echo '{"rows": [], "failed": [{"op": "swiglu", "shape": "T 4", "why": "did not finish"}]}' >"$path.new"
    mv "$path.new" "$path"; kill -9 $$;;
  esac;;
esac
echo "retool: what is $*" >&2
exit 1
`)
	write(t, dir, "kernels.test", "#!/bin/sh\necho '--- SKIP: TestHardware (0.00s)'\necho '    x_test.go:7: driver: no GPU here'\n")
	// The time limit of a test is a constant of the script.
	text, _ := os.ReadFile(filepath.Join(dir, "gpu_stages.py"))
	write(t, dir, "gpu_stages.py", strings.Replace(string(text), "CASE = 20 ", "CASE = 5 ", 1))

	found, folder, out := gpuCheck(t, dir, 1, "--only", "smoke,conformance,kernels,rollout,demo,memcheck")
	want := map[string][2]string{
		"good": {"passed", ""}, "last": {"passed", ""}, "bad": {"failed", "exit code 1: retool: Linear: an illegal address"},
		"slow": {"timed out", "stopped after 5 s: began"}, "silent": {"failed", "it passed and ran nothing of what was asked for"},
	}
	for test, w := range want {
		if got := found.Stages["smoke"].Tests[test]; got.Status != w[0] || got.Why != w[1] {
			t.Errorf("%s: %q, %q, want %q", test, got.Status, got.Why, w)
		}
	}
	for _, stage := range []string{"conformance", "memcheck"} {
		if got := found.Stages[stage].Tests[""]; got.Status != "skipped" || !strings.Contains(got.Why, "no operations") {
			t.Errorf("%s: %+v", stage, got)
		}
	}
	if got := found.Stages["kernels"].Tests["kernels sm80"]; got.Status != "failed" || got.Why != "1 of 1 cases: swiglu T 4: did not finish" {
		t.Errorf("kernels: %+v\n%s", got, out)
	}
	if got := found.status("rollout", "rollout"); got != "failed" {
		t.Errorf("rollout: %q\n%s", got, out)
	}
	if c := found.Stages["smoke"].Tests["bad"].Command; !strings.Contains(c, "bench smoke --device gpu --variant sm80 --ops ^bad$") {
		t.Errorf("the command of a failure is %q", c)
	}
	if log, _ := os.ReadFile(filepath.Join(folder, "log.txt")); !strings.Contains(string(log), "noise") {
		t.Errorf("the log is %q", log)
	}
	// A test that two calls have stopped before its time has had its turn.
	for _, want := range []string{"not run", "timed out"} {
		if found, _, out = gpuCheck(t, dir, 1, "--only", "train", "--budget", "5"); found.status("train", "train") != want {
			t.Errorf("train: %q, want %q\n%s", found.status("train", "train"), want, out)
		}
	}
	// Only what failed, again; what passed keeps its place in the first run.
	found, _, _ = gpuCheck(t, dir, 1, "--only", "smoke", "--again", "--case", "good|bad")
	if n := found.Stages["smoke"].Tests; n["good"].Run != 0 || n["bad"].Run != 3 {
		t.Errorf("again: good ran in %d, bad in %d", n["good"].Run, n["bad"].Run)
	}
}

// Where there is no GPU every stage is one sentence, in seconds, and so is what a dry run says.
func TestGPUCheckWithoutAGPU(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not on this machine")
	}
	dir := withScripts(t, t.TempDir())
	write(t, dir, "retool", "#!/bin/sh\necho working\necho 'retool: driver: no GPU here' >&2\nexit 1\n")
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	killed, other := filepath.Join(temporary, "retool-gpu-check-abc"), filepath.Join(temporary, "another")
	for _, d := range []string{killed, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, d, "owner", "")
	}
	found, folder, out := gpuCheck(t, dir, 1)
	if left, _ := filepath.Glob(filepath.Join(temporary, "*")); !slices.Equal(left, []string{other}) {
		t.Errorf("in the folder for temporary files are %q, want %q alone: a killed run's goes", left, other)
	}
	if len(found.Stages) < 19 || !strings.HasSuffix(folder, "-none-unknown") {
		t.Errorf("%d stages in %s", len(found.Stages), folder)
	}
	for name, s := range found.Stages {
		if s.Tests[""].Status != "skipped" || s.Tests[""].Why != "driver: no GPU here" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if got := strings.Count(out, ": driver: no GPU here\n"); got != len(found.Stages) {
		t.Errorf("%d sentences of %d stages\n%s", got, len(found.Stages), out)
	}
	_, _, out = gpuCheck(t, dir, 0, "--dry-run")
	if got := strings.Count(out, " at most "); got != len(found.Stages) {
		t.Errorf("the dry run has %d sentences of %d stages\n%s", got, len(found.Stages), out)
	}
	_, _, out = gpuCheck(t, dir, 1, "--only", "load,speed")
	if !strings.HasPrefix(out, "gpu_check: no stage speed: want some of load, smoke, ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
	help, _ := exec.Command("python3", filepath.Join(dir, "gpu_check.py"), "--help").Output()
	names := []string{"tar xzf gpu-check.tgz && python3 gpu-check/gpu_check.py --archive gpu-check-results.tgz", "--budget SECONDS", "--skip"}
	for name := range found.Stages {
		names = append(names, "  "+name+" ")
	}
	if i := slices.IndexFunc(names, func(s string) bool { return !strings.Contains(string(help), s) }); i >= 0 {
		t.Errorf("--help says nothing of %q:\n%s", names[i], help)
	}
}
