package dist

import (
	"fmt"
	"strconv"
	"strings"
)

// ID is who a rank is, as its launcher says. Identify alone reads the environment.
type ID struct {
	Launcher             string // "" for a process that nobody started as a rank
	Rank, Size           int
	LocalRank, LocalSize int    // among the ranks of its host
	Job                  string // tells runs of one launcher apart, and attempts of one run
	At                   string // host of rank 0, where the launcher says it
	Port                 int    // of the launcher's own store there; ranks meet on the first free one after it
	Secret               string // what only ranks of the run know
	ErrorFile            string // where the launcher reads why a rank ended
	MPI                  string // family of the MPI library whose job this process is in: Open MPI or MPICH; "": of none
}

// family is the variables of a launcher. A name in brackets may be missing.
type family struct {
	name                             string
	rank, size, localRank, localSize string
	job                              []string // joined by dots
	at, port                         string
}

// families, the innermost launcher first: torchrun in srun, mpirun in sbatch inherit the outer one's variables. Of Slurm only a step's
// count makes ranks: a batch script has SLURM_PROCID=0 and SLURM_NTASKS=n too, and is no rank of n. srun --mpi=pmi2 sets PMI_RANK and no
// local rank, so the local ones of Slurm stand in.
var families = []family{
	{"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
		[]string{"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"}, "MASTER_ADDR", "MASTER_PORT"},
	{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
		[]string{"PMIX_NAMESPACE"}, "MASTER_ADDR", "MASTER_PORT"},
	{"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", []string{"PMI_JOBID"}, "MASTER_ADDR", "MASTER_PORT"},
	{"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE",
		[]string{"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"}, "MASTER_ADDR", "MASTER_PORT"},
}

// LaunchJob begins the name of every job of `retool launch`, which sets torchrun's variables.
const LaunchJob = "retool-launch"

// SecretVariable holds ID.Secret.
const SecretVariable = "RETOOL_SECRET"

// Identify reads who this process is. One that no launcher started as a rank is rank 0 of 1.
func Identify(getenv func(string) string) (ID, error) {
	for _, f := range families {
		rank, size := getenv(f.rank), getenv(f.size)
		if f.name == "Slurm" && size == "" {
			break // SLURM_PROCID alone: a batch script
		}
		switch {
		case rank == "" && size == "":
			continue
		case rank == "" || size == "":
			return ID{}, fmt.Errorf("dist: %s=%q and %s=%q: a rank of %s has both, a single process neither", f.rank, rank, f.size, size, f.name)
		}
		return f.identify(getenv)
	}
	h, err := IdentifyHost(getenv)
	if err != nil {
		return ID{}, err
	}
	if h.Nodes > 1 {
		return ID{}, fmt.Errorf("dist: %s says that this is host %d of %d, and no launcher made ranks of it: start `retool launch -- …` there",
			h.Launcher, h.Node, h.Nodes)
	}
	return ID{Size: 1, LocalSize: 1}, nil
}

// mpiFamily is the kind of library that can join the MPI job of this process, if it is in one: mpirun's own, or what Slurm offers
// (srun --mpi=pmix, pmi2).
func mpiFamily(getenv func(string) string) string {
	switch {
	case getenv("OMPI_COMM_WORLD_SIZE") != "":
		return "Open MPI"
	case getenv("PMI_SIZE") != "" || getenv("PMI_FD") != "":
		return "MPICH"
	case getenv("PMIX_RANK") != "":
		return "Open MPI"
	}
	return ""
}

func (f family) identify(getenv func(string) string) (ID, error) {
	id := ID{Launcher: f.name, LocalSize: 1, At: getenv(f.at), Secret: getenv(SecretVariable), ErrorFile: getenv("TORCHELASTIC_ERROR_FILE")}
	if f.name != "torchrun" { // else the job is that of a launcher around it, and so are its ranks
		id.MPI = mpiFamily(getenv)
	}
	var err error
	read := func(to *int, name, text string, least int) {
		if err != nil {
			return
		}
		if *to, err = strconv.Atoi(text); err != nil || *to < least {
			err = fmt.Errorf("dist: %s=%q: want a number from %d on", name, text, least)
		}
	}
	read(&id.Rank, f.rank, getenv(f.rank), 0)
	read(&id.Size, f.size, getenv(f.size), 1)
	local, name := getenv(f.localRank), f.localRank
	if local == "" && getenv("SLURM_STEP_NUM_TASKS") == getenv(f.size) {
		local, name = getenv("SLURM_LOCALID"), "SLURM_LOCALID"
	}
	if local != "" {
		read(&id.LocalRank, name, local, 0)
	}
	count, name := getenv(f.localSize), f.localSize
	if count == "" && getenv("SLURM_STEP_NUM_TASKS") == getenv(f.size) {
		count, name = getenv("SLURM_STEP_TASKS_PER_NODE"), "SLURM_STEP_TASKS_PER_NODE"
	}
	if name == "SLURM_STEP_TASKS_PER_NODE" && count != "" && err == nil {
		node := 0
		if text := getenv("SLURM_NODEID"); text != "" {
			read(&node, "SLURM_NODEID", text, 0)
		}
		counts, wrong := perNode(count)
		if wrong != nil || node >= len(counts) {
			return ID{}, fmt.Errorf("dist: %s=%q has no count for host %d (SLURM_NODEID)", name, count, node)
		}
		id.LocalSize = counts[node]
	} else if count != "" {
		read(&id.LocalSize, name, count, 1)
	}
	if port := getenv(f.port); id.At != "" && port != "" {
		read(&id.Port, f.port, port, 1)
	}
	var job []string
	for _, v := range f.job {
		if text := getenv(v); text != "" {
			job = append(job, text)
		}
	}
	id.Job = strings.Join(job, ".")
	if id.Launched() {
		id.Launcher = "retool launch"
	}
	switch {
	case err != nil:
		return ID{}, err
	case id.Rank >= id.Size:
		return ID{}, fmt.Errorf("dist: %s=%d of %s=%d: ranks count from 0", f.rank, id.Rank, f.size, id.Size)
	case id.LocalRank >= id.LocalSize:
		return ID{}, fmt.Errorf("dist: %s=%d of %s=%d: local ranks count from 0", f.localRank, id.LocalRank, f.localSize, id.LocalSize)
	case id.Port > 65535:
		return ID{}, fmt.Errorf("dist: %s=%d is no port", f.port, id.Port)
	}
	return id, nil
}

// perNode expands Slurm's counts: "2(x3),1" is 2, 2, 2, 1.
func perNode(text string) (counts []int, err error) {
	for _, group := range strings.Split(text, ",") {
		count, times := group, 1
		if before, after, ok := strings.Cut(group, "(x"); ok {
			count = before
			if times, err = strconv.Atoi(strings.TrimSuffix(after, ")")); err != nil {
				return nil, err
			}
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || times < 1 || len(counts)+times > 1<<16 {
			return nil, fmt.Errorf("%q is no count of tasks", group)
		}
		for range times {
			counts = append(counts, n)
		}
	}
	return counts, nil
}

// Launched reports whether `retool launch` started this rank, and so has looked at what its host has.
func (id ID) Launched() bool { return strings.HasPrefix(id.Job, LaunchJob) }

// HostID is which of several hosts this one is, where a launcher starts one process a host, and `retool launch` makes ranks of it.
type HostID struct {
	Launcher    string
	Node, Nodes int
	PerNode     int // ranks of a host; 0: not said
	At          string
	Port        int
}

// IdentifyHost reads it from the environment: Kubeflow, SkyPilot, or an indexed Kubernetes job, which says the index alone (Nodes 0).
func IdentifyHost(getenv func(string) string) (h HostID, err error) {
	number := func(name string, least int) int {
		text := getenv(name)
		n, wrong := strconv.Atoi(text)
		if err == nil && (wrong != nil || n < least) {
			err = fmt.Errorf("dist: %s=%q: want a number from %d on", name, text, least)
		}
		return n
	}
	switch {
	case getenv("PET_NNODES") != "":
		h = HostID{Launcher: "Kubeflow", Nodes: number("PET_NNODES", 1), At: getenv("PET_MASTER_ADDR")}
		if h.Nodes > 1 || getenv("PET_NODE_RANK") != "" {
			h.Node = number("PET_NODE_RANK", 0)
		}
		switch n := getenv("PET_NPROC_PER_NODE"); n {
		case "", "auto", "gpu", "cpu":
		default:
			h.PerNode = number("PET_NPROC_PER_NODE", 1)
		}
		if getenv("PET_MASTER_PORT") != "" {
			h.Port = number("PET_MASTER_PORT", 1)
		}
	case getenv("SKYPILOT_NODE_RANK") != "":
		h = HostID{Launcher: "SkyPilot", Node: number("SKYPILOT_NODE_RANK", 0), Nodes: number("SKYPILOT_NUM_NODES", 1)}
		if getenv("SKYPILOT_NUM_GPUS_PER_NODE") != "" {
			h.PerNode = number("SKYPILOT_NUM_GPUS_PER_NODE", 0)
		}
		h.At, _, _ = strings.Cut(strings.TrimSpace(getenv("SKYPILOT_NODE_IPS")), "\n")
	case getenv("JOB_COMPLETION_INDEX") != "":
		h = HostID{Launcher: "Kubernetes", Node: number("JOB_COMPLETION_INDEX", 0)}
	}
	if err == nil && h.Nodes > 0 && h.Node >= h.Nodes {
		err = fmt.Errorf("dist: %s says that this is host %d of %d: hosts count from 0", h.Launcher, h.Node, h.Nodes)
	}
	return h, err
}
