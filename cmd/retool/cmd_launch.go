package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"retool/kernels/driver"
	"retool/trainer/dist"
)

// More ranks of a host, and more hosts, than there are.
const (
	mostRanks = 1024
	mostHosts = 1 << 16
)

func launchCommand() *cli.Command {
	return &cli.Command{
		Name: "launch", Usage: "start a command as several ranks: here, or as a script for a cluster", ArgsUsage: "-- COMMAND…",
		Description: "retool launch --gpus 8 -- train qwen2.5-7b --set run=runs/a          8 ranks here; --procs N for device: cpu\n" +
			"retool launch --gpus 8 --nodes 2 --node 1 --at host0:29400 -- …    the second of two hosts; Kubeflow and SkyPilot say it themselves\n" +
			"retool launch --slurm | --k8s job|jobset|trainjob | --mpirun … -- …  a script on stdout\n" +
			"retool launch --check --procs 4                                    the ranks meet, and every collective is held against the host",
		Flags: []cli.Flag{
			countFlag("gpus", 0, 1, mostRanks, "ranks of a host, a GPU each"),
			countFlag("procs", 0, 1, mostRanks, "ranks of a host, for device: cpu or emu"),
			countFlag("nodes", 0, 1, mostHosts, "hosts"),
			countFlag("node", -1, 0, mostHosts-1, "which of them this is, from 0"),
			&cli.StringFlag{Name: "at", Usage: "`HOST:PORT` of the first host: where ranks without a run directory meet"},
			countFlag("restarts", 0, 0, mostCount, "start again after a failure, so often at most, while each attempt reaches a newer checkpoint"),
			&cli.BoolFlag{Name: "preemptible", Usage: "SIGTERM, as USR1, saves at the next step and exits with 75"},
			&cli.BoolFlag{Name: "check", Usage: "no command: meet, measure, and compare every collective with the host, bit for bit"},
			&cli.StringFlag{Name: "run", Usage: "of --check: the directory where ranks meet that another launcher starts, such as srun"},
			&cli.StringFlag{Name: "device", Usage: "of --check: cpu, gpu or emu; without it that of --procs or --gpus"},
			&cli.StringFlag{Name: "transport", Value: "auto", Usage: "of --check: what tensors travel by, as dist.transport"},
			&cli.BoolFlag{Name: "slurm", Usage: "print an sbatch script"},
			&cli.StringFlag{Name: "k8s", Usage: "print manifests: `KIND` job, jobset or trainjob"},
			&cli.BoolFlag{Name: "mpirun", Usage: "print the line for Open MPI"},
			&cli.StringFlag{Name: "name", Usage: "of the job, in scripts", Value: "retool"},
			&cli.StringFlag{Name: "time", Usage: "limit of the job, in an sbatch script"},
			countFlag("cores", 8, 1, maxThreads, "of a rank, in scripts: interpreters run on them too"),
			&cli.StringFlag{Name: "image", Usage: "container image, in manifests"},
			&cli.StringFlag{Name: "claim", Usage: "persistent volume claim for runs, mounted at /runs, in manifests"},
			&cli.StringFlag{Name: "secret", Usage: "Kubernetes secret whose key `secret` ranks prove to know"},
			&cli.StringFlag{Name: "hostfile", Usage: "of mpirun"},
		},
		Action: launch,
	}
}

// start is what a launch is asked for.
type start struct {
	per         int  // ranks of a host
	gpus        bool // a GPU each
	nodes, node int
	at          string // host of rank 0
	port        int
	restarts    int
	preemptible bool
	command     []string  // of a rank, without the program
	dir         string    // run directory; "": the command has none
	configs     []*Config // that its ranks will read

	passed syscall.Signal // on to the ranks, the last that this process was sent; 0: none
}

func launch(c *cli.Context) error {
	if c.Bool("check") {
		if id, err := thisRank(); err != nil || id.Size > 1 {
			return errors.Join(err, checkAsRank(c, id))
		}
	}
	if err := checkLaunchFlags(c); err != nil {
		return err
	}
	s, err := startOf(c)
	if err != nil || s == nil { // nil: the command was asked for its help
		return err
	}
	script := c.Bool("slurm") || c.IsSet("k8s") || c.Bool("mpirun")
	if err := s.check(c.Context, !script); err != nil {
		return err
	}
	if script {
		return printScript(c, s)
	}
	if s.nodes > 1 && (s.node < 0 || s.at == "") {
		return fmt.Errorf("launch: --nodes %d: want --node, which of them this is, and --at, HOST:PORT of the first (hosts of Kubeflow "+
			"and SkyPilot know both)", s.nodes)
	}
	if err := s.claim(); err != nil {
		return err
	}
	return s.run(c.Context)
}

// launchModes are what launch does in place of starting ranks here, each with the flags that only it reads.
var launchModes = []struct {
	name string
	own  []string
}{
	{"slurm", []string{"time", "name", "cores"}},
	{"k8s", []string{"image", "claim", "secret", "name", "cores"}},
	{"mpirun", []string{"hostfile"}},
	{"check", []string{"run", "device", "transport"}},
}

// checkLaunchFlags refuses modes that exclude each other, and flags that would do nothing in the one asked for.
func checkLaunchFlags(c *cli.Context) error {
	mode := ""
	var own []string
	owners := map[string][]string{} // flag to the modes that read it
	for _, m := range launchModes {
		if c.IsSet(m.name) {
			if mode != "" {
				return fmt.Errorf("launch: --%s and --%s exclude each other", mode, m.name)
			}
			mode, own = m.name, m.own
		}
		for _, f := range m.own {
			owners[f] = append(owners[f], "--"+m.name)
		}
	}
	for _, m := range launchModes {
		for _, f := range m.own {
			if c.IsSet(f) && !slices.Contains(own, f) {
				return fmt.Errorf("launch: --%s would do nothing without %s", f, strings.Join(owners[f], " or "))
			}
		}
	}
	if script := mode != "" && mode != "check"; script {
		for _, f := range []string{"node", "restarts", "preemptible"} {
			if c.IsSet(f) {
				return fmt.Errorf("launch: --%s would do nothing: --%s prints a script and starts no rank", f, mode)
			}
		}
	}
	return nil
}

// startOf reads the flags, and what they leave open from the host's launcher.
func startOf(c *cli.Context) (*start, error) {
	h, err := dist.IdentifyHost(os.Getenv)
	if err != nil {
		return nil, err
	}
	s := &start{
		gpus: c.IsSet("gpus"), per: cmp.Or(c.Int("gpus"), c.Int("procs"), h.PerNode), nodes: max(1, cmp.Or(c.Int("nodes"), h.Nodes)),
		node: c.Int("node"), at: h.At, port: cmp.Or(h.Port, 29400), restarts: c.Int("restarts"), preemptible: c.Bool("preemptible"),
		command: c.Args().Slice(),
	}
	if s.node < 0 && h.Launcher != "" {
		s.node = h.Node
	}
	if s.nodes == 1 {
		s.node = 0
	}
	if at := c.String("at"); at != "" {
		host, port, err := net.SplitHostPort(at)
		if err == nil {
			s.at = host
			s.port, err = strconv.Atoi(port)
		}
		if err != nil || s.port < 1 || s.port > 65535-16 {
			return nil, fmt.Errorf("launch: --at %q: want HOST:PORT, such as host0:29400", at)
		}
	}
	if s.per == 0 && h.Launcher != "" { // auto: a rank a GPU
		n, err := driver.Count()
		if err != nil {
			return nil, fmt.Errorf("launch: how many ranks a host has is to follow from its GPUs: %w: give --procs or --gpus", err)
		}
		s.per, s.gpus = n, true
	}
	switch {
	case c.IsSet("gpus") && c.IsSet("procs"):
		return nil, errors.New("launch: --gpus and --procs are both the ranks of a host: give one of them")
	case s.per < 1:
		return nil, errors.New("launch: want --gpus N or --procs N, ranks of a host, got none")
	case s.nodes > 1 && s.node >= s.nodes:
		return nil, fmt.Errorf("launch: --node %d of --nodes %d: hosts count from 0", s.node, s.nodes)
	}
	if c.Bool("check") {
		if len(s.command) > 0 {
			return nil, fmt.Errorf("launch: --check takes no command, got %q", s.command[0])
		}
		device := "cpu"
		if s.gpus {
			device = "gpu"
		}
		cfg, err := checkConfig(cmp.Or(c.String("device"), device), c.String("transport"))
		s.configs = []*Config{cfg}
		s.command = []string{"launch", "--check", "--device", cmp.Or(c.String("device"), device), "--transport", c.String("transport")}
		return s, err
	}
	if len(s.command) == 0 {
		return nil, errors.New("launch: want a command after --, such as: retool launch --procs 2 -- train demo")
	}
	configs, err := rankConfigs(c.Context, c.App.Writer, s.command)
	if err != nil || len(configs) == 0 {
		return nil, err
	}
	if s.gpus && configs[0].Device == "cpu" {
		return nil, errors.New("launch: --gpus gives each rank a GPU, and device is cpu: add --set device=gpu to the command, or give --procs")
	}
	if s.trains() {
		s.dir = configs[0].Run
	}
	s.configs = configs
	return s, nil
}

// trains reports whether the command is one run in one directory.
func (s *start) trains() bool { return s.command[0] == "train" || s.command[0] == "sft" }

// claim makes the run directory, so that ranks meet there, and leaves it to rank 0.
func (s *start) claim() error {
	if !s.trains() {
		return nil
	}
	if s.dir == "" && s.nodes > 1 {
		return errors.New("launch: ranks on several hosts need one run directory that all of them see: want --set run=DIR")
	}
	if s.node > 0 {
		return nil // that of the first host
	}
	named := s.dir
	d, err := claimRun(s.dir)
	if err != nil {
		return err
	}
	s.dir = d.path
	d.created = false // it stays, though empty
	d.Close()
	if named == "" {
		s.command = append(s.command, "--set", "run="+s.dir)
	}
	return nil
}
