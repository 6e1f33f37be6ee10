package dist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// environment reads a recorded one, with changes: NAME=VALUE, or NAME alone to take it away.
func environment(t *testing.T, name string, changes ...string) func(string) string {
	text, err := os.ReadFile(filepath.Join("testdata", "environments", name+".env"))
	require.NoError(t, err)
	vars := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		key, value, _ := strings.Cut(line, "=")
		vars[key] = value
	}
	for _, c := range changes {
		key, value, _ := strings.Cut(c, "=")
		vars[key] = value
	}
	return func(key string) string { return vars[key] }
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		name     string
		launcher string
		job      string
		at       string
	}{
		{"openmpi", "Open MPI", "1754202113", ""},
		{"mpich", "PMI", "", ""},
		{"srun", "Slurm", "1.0", ""},
		{"srun-pmi2", "PMI", "2.0", ""},
		{"srun-gpus-per-node", "Slurm", "3.0", ""},
		{"srun-gpus-per-task", "Slurm", "4.0", ""},
		{"sbatch-openmpi", "Open MPI", "1805254657", ""},
		{"torchrun-standalone", "torchrun", "c3dbae0b-2979-4a14-b298-adc2e2192774.0", "localhost"},
		{"torchrun-static", "torchrun", "none.0", "127.0.0.1"},
		{"srun-torchrun", "torchrun", "bdbd6be5-0a16-4cf8-912e-fd2177083f1e.0", "localhost"},
	} {
		for r := range 2 {
			id, err := Identify(environment(t, c.name+"-"+string(rune('0'+r))))
			require.NoError(t, err, c.name)
			require.Equal(t, []any{c.launcher, r, 2, r, 2, c.job, c.at},
				[]any{id.Launcher, id.Rank, id.Size, id.LocalRank, id.LocalSize, id.Job, id.At}, c.name)
			require.Equal(t, c.at != "", id.Port > 0, c.name)
			require.Equal(t, c.launcher == "torchrun", id.ErrorFile != "", c.name)
			require.Equal(t, map[string]string{"Open MPI": "Open MPI", "PMI": "MPICH"}[c.launcher], id.MPI, c.name)
		}
	}
}

// A batch script outside srun is a single process, though it has a rank and a number of tasks. So is one that nobody started.
func TestWhoIsNoRank(t *testing.T) {
	for _, getenv := range []func(string) string{
		environment(t, "sbatch-batch"), environment(t, "indexed-job"), func(string) string { return "" },
	} {
		id, err := Identify(getenv)
		require.NoError(t, err)
		require.Equal(t, ID{Size: 1, LocalSize: 1}, id)
	}
	// Under mpirun in a batch job, and under torchrun in srun, the outer launcher says rank 0 to everybody: TestIdentity's sbatch-openmpi-1
	// and srun-torchrun-1 are rank 1 all the same.
	require.Equal(t, "0", environment(t, "sbatch-openmpi-1")("SLURM_PROCID"))
	require.Equal(t, "0", environment(t, "srun-torchrun-1")("SLURM_PROCID"))
}

func TestIdentityRefuses(t *testing.T) {
	for _, c := range []struct {
		name, change, says string
	}{
		{"openmpi-0", "OMPI_COMM_WORLD_SIZE", `OMPI_COMM_WORLD_RANK="0" and OMPI_COMM_WORLD_SIZE=""`},
		{"torchrun-static-1", "RANK", `RANK="" and WORLD_SIZE="2"`},
		{"torchrun-static-1", "RANK=2", "RANK=2 of WORLD_SIZE=2"},
		{"torchrun-static-1", "RANK=one", `RANK="one": want a number from 0 on`},
		{"torchrun-static-1", "LOCAL_RANK=3", "LOCAL_RANK=3 of LOCAL_WORLD_SIZE=2"},
		{"torchrun-static-1", "MASTER_PORT=http", `MASTER_PORT="http"`},
		{"srun-1", "SLURM_STEP_TASKS_PER_NODE=2(x", `SLURM_STEP_TASKS_PER_NODE="2(x"`},
		{"srun-1", "SLURM_NODEID=7", "no count for host 7"},
		{"kubeflow", "", "host 1 of 2, and no launcher made ranks of it"},
	} {
		changes := []string{c.change}
		if c.change == "" {
			changes = nil
		}
		_, err := Identify(environment(t, c.name, changes...))
		require.ErrorContains(t, err, c.says)
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name string
		want HostID
	}{
		{"kubeflow", HostID{Launcher: "Kubeflow", Node: 1, Nodes: 2, At: "retool-7b-node-0-0.retool-7b", Port: 29400}},
		{"skypilot", HostID{Launcher: "SkyPilot", Node: 1, Nodes: 2, PerNode: 8, At: "10.0.0.4"}},
		{"indexed-job", HostID{Launcher: "Kubernetes", Node: 1}},
		{"sbatch-batch", HostID{}},
	} {
		h, err := IdentifyHost(environment(t, c.name))
		require.NoError(t, err)
		require.Equal(t, c.want, h)
	}
	h, err := IdentifyHost(environment(t, "skypilot", "SKYPILOT_NODE_IPS=10.0.0.4\n10.0.0.5"))
	require.NoError(t, err)
	require.Equal(t, "10.0.0.4", h.At)
	_, err = IdentifyHost(environment(t, "skypilot", "SKYPILOT_NODE_RANK=2"))
	require.ErrorContains(t, err, "host 2 of 2")
	counts, err := perNode("2(x3),1")
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 2, 1}, counts)
}
