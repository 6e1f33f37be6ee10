package dist

import (
	"fmt"
	"slices"
	"time"
)

// Settings are how ranks meet and watch one another.
type Settings struct {
	Wait      time.Duration `yaml:"wait" doc:"for all ranks of a run to come" resume:"free"`
	Stall     time.Duration `yaml:"stall" doc:"of waiting, after which the ranks waited for are named" resume:"free"`
	Timeout   time.Duration `yaml:"timeout" doc:"without progress of a rank that others wait for, after which the run ends" resume:"free"`
	Transport string        `yaml:"transport" doc:"auto: nccl for GPUs, memory within a host, else tcp; tcp; nccl; mpi (mpirun)" resume:"free"`
	MPI       string        `yaml:"mpi" doc:"file of the launcher's MPI library; empty: where the loader finds it" resume:"free"`
	NCCL      string        `yaml:"nccl" doc:"file of NVIDIA's library; empty: libnccl.so.2 where the loader finds it" resume:"free"`
	Encrypt   bool          `yaml:"encrypt" doc:"TLS between ranks with the run's key; else they only prove who they are" resume:"free"`
}

// DefaultSettings waits as long as schedulers take, and as no step does.
func DefaultSettings() Settings {
	return Settings{Transport: "auto", Wait: 5 * time.Minute, Stall: time.Minute, Timeout: 10 * time.Minute}
}

// Validate names the first setting that cannot work.
func (s Settings) Validate() error {
	for _, d := range []struct {
		name string
		of   time.Duration
	}{{"wait", s.Wait}, {"stall", s.Stall}, {"timeout", s.Timeout}} {
		if d.of < time.Second {
			return fmt.Errorf("dist.%s: want at least 1s, got %v", d.name, d.of)
		}
	}
	if !slices.Contains([]string{"auto", "mpi", "nccl", "tcp"}, s.Transport) {
		return fmt.Errorf("dist.transport: %q is not known (known: auto, mpi, nccl, tcp)", s.Transport)
	}
	return nil
}
