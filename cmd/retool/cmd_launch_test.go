package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer/dist"
)

// launchRefused runs the program, which must end with 1 and one sentence.
func launchRefused(t *testing.T, says string, args ...string) {
	t.Helper()
	c, out, errs := command(args...)
	require.Error(t, c.Run(), "%v\n%s", args, out)
	require.Equal(t, 1, c.ProcessState.ExitCode())
	require.Contains(t, errs.String(), says)
	require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs)
}

func TestLaunchRefuses(t *testing.T) {
	train := []string{"--", "train", "demo"}
	set := func(what string) []string { return append(slices.Clone(train), "--set", what) }
	hosts := func(text string) string {
		path := filepath.Join(t.TempDir(), "hosts")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	files := func(path string) []string {
		return append(set("data.task=files"), "--set", "sft.steps=0", "--set", "data.test="+path, "--set", "data.problems="+path)
	}
	for _, c := range []struct {
		says string
		args []string
	}{
		{"want --gpus N or --procs N", train},
		{"want a command after --", []string{"--procs", "2"}},
		{`"trian" is no command that ranks run`, []string{"--procs", "2", "--", "trian", "demo"}},
		{`"chat" is no command that ranks run: want one of train, sft, demo, eval`, []string{"--procs", "2", "--", "chat"}},
		{"--gpus gives each rank a GPU, and device is cpu", []string{"--gpus", "1", "--", "train", "tiny"}},
		{`"launch" is no command that ranks run`, []string{"--procs", "2", "--", "launch", "--procs", "2"}},
		{"give one of them", append([]string{"--procs", "2", "--gpus", "2"}, train...)},
		{"want --node, which of them this is, and --at", append([]string{"--procs", "2", "--nodes", "2"}, train...)},
		{`--at "host0": want HOST:PORT`, append([]string{"--procs", "2", "--nodes", "2", "--node", "1", "--at", "host0"}, train...)},
		{"--node 2 of --nodes 2", append([]string{"--procs", "2", "--nodes", "2", "--node", "2", "--at", "a:1"}, train...)},
		{"need one run directory that all of them see", append([]string{"--procs", "2", "--nodes", "2", "--node", "0", "--at", "a:1"}, train...)},
		{"unknown key \"lrr\" in rl", append([]string{"--procs", "2"}, append(train, "--set", "rl.lrr=1")...)},
		{"unknown key \"lrr\" in rl", append([]string{"--procs", "2"}, append(train, "--set=rl.lrr=1")...)},
		{`train: want [RECIPE|FILE.yaml], got 2: ["demo" "tiny"]`, append([]string{"--procs", "2"}, append(train, "tiny")...)},
		{"dist.slices: 7 slices do not divide among 2 ranks: want a multiple, or 0", append([]string{"--procs", "2"}, set("dist.slices=7")...)},
		{"dist.slices: 6 slices do not divide among 4 ranks", append([]string{"--procs", "2", "--nodes", "2", "--slurm"},
			append(set("dist.slices=6"), "--set", "run=/runs/a")...)},
		{"gradients are added over at most 64 ranks, these are 65", append([]string{"--procs", "65"}, train...)},
		{"gradients are added over at most 64 ranks, these are 66", append([]string{"--procs", "33", "--nodes", "2", "--slurm"},
			append(train, "--set", "run=/runs/a")...)},
		{"at most 64 ranks, these are 65", []string{"--procs", "65", "--check"}},
		{"dist.encrypt would do nothing: the run is one rank's", append([]string{"--procs", "1"}, set("dist.encrypt=true")...)},
		{"dist.transport: nccl is for device gpu, this is cpu", append([]string{"--procs", "2"}, set("dist.transport=nccl")...)},
		{"an adapter's base is whole on each rank",
			append([]string{"--procs", "2"}, append(set("dist.shard=all"), "--set", "model.lora.rank=8")...)},
		{"model.path: cache:none: there is no folder", append([]string{"--procs", "2"}, set("model.path=cache:none")...)},
		{"launch: config: data.problems: open none.jsonl: no such file", append([]string{"--procs", "2"}, files("none.jsonl")...)},
		{`:2: the row is a string: want an object`, append([]string{"--procs", "2"},
			files(hosts(`{"question": "1+1?", "answer": "2"}`+"\n\"x\"\n"))...)},
		{"eval: want either --from", []string{"--procs", "2", "--", "eval"}},
		{"eval: --trace grades stored trajectories in one process", []string{"--procs", "2", "--", "eval", "--trace", "x"}},
		{"dist.transport: mpi is for ranks that mpirun or srun starts", append([]string{"--procs", "2"}, set("dist.transport=mpi")...)},
		{"--slurm and --mpirun exclude each other", append([]string{"--procs", "2", "--slurm", "--mpirun"}, train...)},
		{"--hostfile would do nothing without --mpirun", append([]string{"--procs", "2", "--hostfile", "x"}, train...)},
		{"--cores would do nothing without --slurm or --k8s", append([]string{"--procs", "2", "--cores", "2"}, train...)},
		{"--restarts would do nothing: --mpirun prints a script", append([]string{"--procs", "2", "--restarts", "2", "--mpirun"}, train...)},
		{"--hostfile: want a file with a host a line, such as `host0 slots=2`: open none: no such file",
			append([]string{"--procs", "2", "--mpirun", "--hostfile", "none"}, set("run=/runs/a")...)},
		{`hosts:2: want slots=N or max_slots=N, at least 1, found "slot=2"`,
			append([]string{"--procs", "2", "--mpirun", "--hostfile", hosts("a slots=2\nb slot=2\n")}, set("run=/runs/a")...)},
		{`hosts:1: want a host, such as`, append([]string{"--procs", "2", "--mpirun", "--hostfile", hosts("slots=2\n")}, set("run=/runs/a")...)},
		{"want 2 with 2 slots or more, found 1 among 2 hosts",
			append([]string{"--procs", "2", "--nodes", "2", "--mpirun", "--hostfile", hosts("a slots=2\nb slots=1 # more\n")},
				set("run=/runs/a")...)},
		{"name the run directory that they share", append([]string{"--procs", "2", "--slurm"}, train...)},
		{`--check takes no command, got "train"`, append([]string{"--procs", "2", "--check"}, train...)},
		{`--name "a b;rm"`, append([]string{"--procs", "2", "--slurm", "--name", "a b;rm"}, append(train, "--set", "run=/runs/a")...)},
		{`--time "soon"`, append([]string{"--procs", "2", "--slurm", "--time", "soon"}, append(train, "--set", "run=/runs/a")...)},
		{`--k8s "pod": want job, jobset or trainjob`, append([]string{"--procs", "2", "--k8s", "pod"}, append(train, "--set", "run=/runs/a")...)},
		{"want --image", append([]string{"--procs", "2", "--k8s", "job"}, append(train, "--set", "run=/runs/a")...)},
		{"the claim is mounted at /runs", append([]string{"--procs", "2", "--k8s", "job", "--image", "i", "--claim", "c"},
			append(train, "--set", "run=a")...)},
		{"launch: interp: python \"/nowhere/python\": not found", append([]string{"--procs", "2"}, set("interp.python=/nowhere/python")...)},
		{"launch: memory: the run takes ", append([]string{"--procs", "2"}, set("engine.step_tokens=16777216")...)},
		{"launch: dist.transport: mpi is for ranks that mpirun", []string{"--procs", "2", "--check", "--transport", "mpi"}},
		{`launch: --check: config: dist.transport: "smoke" is not known`, []string{"--procs", "2", "--check", "--transport", "smoke"}},
		{"launch: --transport would do nothing without --check", append([]string{"--procs", "2", "--transport", "tcp"}, train...)},
	} {
		launchRefused(t, c.says, append([]string{"launch"}, c.args...)...)
	}
}

// Ranks that evaluate add no gradients: there may be more of them than of those that learn.
func TestManyRanksEvaluate(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	require.NoError(t, cfg.forRanks(kernels.MaxTree, true))
	require.Error(t, cfg.forRanks(kernels.MaxTree+1, true))
	require.NoError(t, cfg.forRanks(kernels.MaxTree+1, false))
}

// Where no GPU can be opened, no rank is started to find that out.
func TestLaunchNeedsItsGPUs(t *testing.T) {
	if _, err := driver.Count(); err == nil {
		t.Skip("this host has CUDA")
	}
	run := filepath.Join(t.TempDir(), "run")
	launchRefused(t, "launch: ", "launch", "--gpus", "2", "--", "train", "demo", "--set", "device=gpu", "--set", "run="+run)
	require.NoDirExists(t, run)
}

// What follows from settings or from the host is said once, whoever starts the ranks: the others end without a word.
func TestOneRankSpeaks(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"rl.lrr=1", "interp.python=/nowhere/python"} {
		for rank := range 2 {
			c, _, errs := command("train", "tiny", "--set", set, "--set", "run="+filepath.Join(t.TempDir(), "run"))
			c.Env = append(c.Env, "OMPI_COMM_WORLD_RANK="+strconv.Itoa(rank), "OMPI_COMM_WORLD_SIZE=2",
				"OMPI_COMM_WORLD_LOCAL_RANK="+strconv.Itoa(rank), "OMPI_COMM_WORLD_LOCAL_SIZE=2", "OMPI_COMM_WORLD_NODE_RANK=0")
			require.Error(t, c.Run())
			require.Equal(t, 1, c.ProcessState.ExitCode())
			require.Equal(t, 1-rank, strings.Count(errs.String(), "\n"), errs)
		}
	}
}

// Nor are more of them heard where all find the same after they have met.
func TestRanksThatFailAlikeSpeakOnce(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "run")
	retool(t, append([]string{"train", "demo"}, tiny(run, "sft.steps=1", "rl.steps=0", "dist.slices=3")...)...)
	all := startRanks(t, 3, append([]string{"train", "demo"}, tiny(run, "sft.steps=1", "rl.steps=0", "dist.slices=6")...)...)
	for r, c := range all {
		require.Error(t, c.Wait())
		require.Equal(t, 1, c.ProcessState.ExitCode())
		if r > 0 {
			require.Empty(t, c.errs.String())
		} else {
			require.Regexp(t, `^retool: .*was begun with other settings \(dist.slices: there 3, here 6\).*\n$`, c.errs.String())
		}
	}
}

// A rank that waits for others ends when it is told to: with the sentence and the code of a run that was stopped, or, where it is to save
// first, with those of one that may be started again. So does the host that waits for another's ranks.
func TestWaitingRanksCanBeStopped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		signal         syscall.Signal
		code           int
		says, ofLaunch string
	}{
		{syscall.SIGTERM, 1, "interrupted; the same command goes on", "interrupted; the same command goes on"},
		{syscall.SIGINT, 1, "interrupted; the same command goes on", "interrupted; the same command goes on"},
		{syscall.SIGUSR1, saved, "told to save and end before all ranks had come", "ended, as asked: what there was is saved"},
	} {
		run := filepath.Join(t.TempDir(), "run")
		stopped := func(waits *exec.Cmd, errs *bytes.Buffer, says string) {
			require.NoError(t, waits.Start())
			await(t, "file of rank 0", func() bool {
				found, _ := filepath.Glob(filepath.Join(run, ".rank0-*"))
				return len(found) > 0
			})
			require.NoError(t, waits.Process.Signal(c.signal))
			require.Error(t, waits.Wait())
			require.Equal(t, c.code, waits.ProcessState.ExitCode(), errs)
			require.Contains(t, errs.String(), says)
			require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs)
		}
		train := []string{"train", "tiny", "--set", "run=" + run, "--set", "dist.slices=4"}
		rank, _, errs := command(train...)
		rank.Env = append(rank.Env, "OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_RANK=0",
			"OMPI_COMM_WORLD_LOCAL_SIZE=2", "OMPI_COMM_WORLD_NODE_RANK=0")
		stopped(rank, errs, "retool: "+c.says)
		host, _, errs := command(append([]string{"launch", "--procs", "2", "--nodes", "2", "--node", "0", "--at", "127.0.0.1:29400", "--"},
			train...)...)
		stopped(host, errs, "retool: launch: "+c.ofLaunch)
	}
}

func TestScripts(t *testing.T) {
	train := []string{"--", "train", "demo", "--set", "run=/runs/a", "--set", "device=gpu", "--set", "data.task=files",
		"--set", "data.problems=a'b c"}
	script := func(args ...string) string {
		return retool(t, append(append([]string{"launch", "--nodes", "2", "--gpus", "8"}, args...), train...)...)
	}
	slurm := script("--slurm", "--time", "12:00:00", "--name", "a")
	check := exec.Command("bash", "-n")
	check.Stdin = strings.NewReader(slurm)
	out, err := check.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, line := range []string{"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=8", "#SBATCH --gpus-per-node=8", "#SBATCH --time=12:00:00",
		"#SBATCH --signal=USR1@600", "#SBATCH --requeue",
		`srun --kill-on-bad-exit=1 --wait=60 --cpus-per-task=8 retool train demo --set run=/runs/a --set device=gpu --set data.task=files ` +
			`--set 'data.problems=a'\''b c'`} {
		require.Contains(t, strings.Split(slurm, "\n"), line)
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("# two hosts\nhost0 slots=8\n\nroot@10.0.0.2\n"), 0o644))
	require.Equal(t, `mpirun --bind-to none -n 16 --map-by ppr:8:node --hostfile `+hosts+` retool train demo --set run=/runs/a `+
		`--set device=gpu --set data.task=files --set 'data.problems=a'\''b c'`+"\n", script("--mpirun", "--hostfile", hosts))
	for kind, kinds := range map[string][]string{"job": {"Service", "Job"}, "jobset": {"JobSet"}, "trainjob": {"TrainJob"}} {
		text := script("--k8s", kind, "--image", "i:1", "--claim", "runs", "--secret", "s")
		for i, doc := range strings.Split(text, "\n---\n") {
			var y map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(doc), &y), doc)
			require.Equal(t, kinds[i], y["kind"])
		}
		command, err := json.Marshal(train[1:])
		require.NoError(t, err)
		require.Contains(t, text, string(command[1:]))
		require.Contains(t, text, `secretKeyRef: {name: "s", key: secret}`)
	}
}

func TestLaunchChecksCollectives(t *testing.T) {
	out := retool(t, "launch", "--check", "--procs", "2")
	require.Contains(t, out, "every collective gave what the host computes, bit for bit")
	require.Contains(t, out, "rank 1 (")
}

// What a launcher tells a rank, its secret above all, and what a rank has open, is nothing that code of the model sees.
func TestInterpretersSeeNothingOfARank(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "code.py")
	require.NoError(t, os.WriteFile(file, []byte("import os\nat = '/proc/self/fd/%d'\n"+
		"print(sorted(os.environ), [os.readlink(at % f) for f in range(3, 200) if os.path.exists(at % f)])\n"), 0o644))
	c, out, errs := command("exec", file)
	c.Env = append(c.Env, dist.SecretVariable+"=s3cret", "RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0", "MASTER_ADDR=host0")
	r, w, err := os.Pipe() // as a rank's connection would be
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	c.ExtraFiles = []*os.File{w}
	require.NoError(t, c.Run(), "%s%s", out, errs)
	for _, s := range []string{dist.SecretVariable, "RANK", "MASTER", "pipe:"} {
		require.NotContains(t, out.String(), s)
	}
}

// pids are those of a run's ranks.
func pids(t *testing.T, run string) (pids []int) {
	text, err := os.ReadFile(filepath.Join(run, "ranks.json"))
	require.NoError(t, err)
	var members []dist.Member
	require.NoError(t, json.Unmarshal(text, &members))
	for _, m := range members {
		pids = append(pids, m.PID)
	}
	return pids
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "no %s", what)
	}
}

// launched starts the demo in miniature as ranks of this host.
func launched(t *testing.T, ranks int, flags []string, run string, more ...string) (c *exec.Cmd, out, errs *bytes.Buffer) {
	args := append([]string{"launch", "--procs", strconv.Itoa(ranks)}, flags...)
	return command(append(append(args, "--", "train", "demo"), tiny(run, append([]string{"dist.slices=4"}, more...)...)...)...)
}

func inCheckpoint(run string) func() bool {
	return func() bool {
		found, _ := filepath.Glob(filepath.Join(run, "checkpoints", "[1-9]*"))
		return len(found) > 0
	}
}

// Ranks started by launch end in the weights of one process. They can be told to save and end, and go on as any number.
func TestLaunchedRanksEndInTheSameBits(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	retool(t, append([]string{"train", "demo"}, tiny(one, "dist.slices=4")...)...)

	c, out, errs := launched(t, 4, nil, two)
	require.NoError(t, c.Start())
	await(t, "checkpoint", inCheckpoint(two))
	require.NoError(t, c.Process.Signal(syscall.SIGUSR1))
	require.Error(t, c.Wait(), "%s%s", out, errs)
	require.Equal(t, 75, c.ProcessState.ExitCode(), "%s%s", out, errs)

	c, out, errs = launched(t, 2, nil, two)
	require.NoError(t, c.Run(), "%s%s", out, errs)
	require.Contains(t, out.String(), "resumed after step")
	require.Equal(t, checksum(t, one), checksum(t, two))
	for r := range 4 {
		log, err := os.ReadFile(filepath.Join(two, "ranks", fmt.Sprintf("%03d.log", r)))
		require.NoError(t, err)
		require.Contains(t, string(log), fmt.Sprintf("start 1 of rank %d of 4", r))
	}
	require.NotContains(t, errs.String(), "[1]")
}

// A rank that is killed ends the run, and its launcher names it; with --restarts it starts again, and the bits are the same. Nothing is
// left.
func TestKilledRankUnderLaunch(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	retool(t, append([]string{"train", "demo"}, tiny(one, "dist.slices=4")...)...)
	for _, restarts := range []int{0, 2} {
		c, out, errs := launched(t, 2, []string{"--restarts", strconv.Itoa(restarts)}, two)
		require.NoError(t, os.RemoveAll(filepath.Join(two, "ranks.json")))
		require.NoError(t, c.Start())
		roster := func() bool { _, err := os.Stat(filepath.Join(two, "ranks.json")); return err == nil }
		await(t, "roster", roster)
		before := inCheckpoint(two)()
		if !before {
			await(t, "checkpoint", inCheckpoint(two))
		} else {
			time.Sleep(300 * time.Millisecond)
		}
		members := pids(t, two)
		require.NoError(t, syscall.Kill(members[1], syscall.SIGKILL))
		begun := time.Now()
		err := c.Wait()
		if restarts == 0 {
			require.Error(t, err)
			require.Equal(t, 1, c.ProcessState.ExitCode(), "%s%s", out, errs)
			require.Regexp(t, fmt.Sprintf(`^retool: launch: .*rank 1 \(%s, cpu, pid %d\) has gone( in .*)?; its log: %s.*; `+
				`it was killed by signal 9 \(killed\), as the kernel does when memory runs out\n$`, hostname(t), members[1],
				filepath.Join(two, "ranks", "001.log")), errs.String())
			t.Logf("all had ended %v after rank 1 was killed", time.Since(begun).Round(time.Millisecond))
		}
		for _, pid := range members {
			require.Error(t, syscall.Kill(pid, 0), "rank %d runs on", pid)
		}
	}
	c, out, errs := launched(t, 2, nil, two)
	require.NoError(t, c.Run(), "%s%s", out, errs)
	require.Equal(t, checksum(t, one), checksum(t, two))
}

func hostname(t *testing.T) string {
	h, err := os.Hostname()
	require.NoError(t, err)
	return h
}
