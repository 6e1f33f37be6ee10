package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"retool/engine/atomicfile"
	"retool/interp"
	"retool/kernels"
	"retool/kernels/driver"
	"retool/trainer/dist"
)

// ranks is this process among those of its run.
//
//	id, err := thisRank()                       who a launcher says this is; rank 0 of 1 where none did
//	rs, err := joinRanks(ctx, cfg, id, learns)  meets the others; every command that trains or evaluates on many ranks begins so
//	defer rs.Close()
//	… rs.ctx for all work: it ends when the run does; rs.Comm for the trainer; rs.share for threads and interpreters …
//	return rs.why(err)
type ranks struct {
	dist.Comm
	id      dist.ID
	members []dist.Member // with the cores that launchers gave them
	bound   []string      // the cores of each since then
	quota   int           // cores that this process began with
	ctx     context.Context
	cancel  context.CancelCauseFunc
	leave   func() bool // asked whether SIGUSR1 has told this process to save and end; nil: it need not listen

	mu    sync.Mutex
	ended *dist.Ended
}

// met is set when this process goes to meet the other ranks.
var met atomic.Bool

// thisRank is who this process is.
func thisRank() (dist.ID, error) { return dist.Identify(os.Getenv) }

// joinRanks meets the other ranks of a run: in cfg.Run, or where that is empty at the launcher's address. Ranks with another binary or
// other settings are refused. Where the run ends for a reason of another rank's, ctx ends, and soon after that the process, whatever it
// does. sums: as in forRanks.
func joinRanks(ctx context.Context, cfg *Config, id dist.ID, sums bool) (*ranks, error) {
	if err := cfg.forRanks(id.Size, sums); err != nil {
		return nil, err
	}
	rs := &ranks{id: id, quota: kernels.Threads()}
	rs.ctx, rs.cancel = context.WithCancelCause(ctx)
	o := dist.Options{
		Dir: cfg.Run, Cores: runtime.NumCPU(), Affinity: affinity(),
		TLS: cfg.Dist.Encrypt, TCP: cfg.Dist.Transport == "tcp", Wait: cfg.Dist.Wait,
		Limits: dist.Limits{Stall: cfg.Dist.Stall, Timeout: cfg.Dist.Timeout},
		Log:    func(line string) { fmt.Fprintln(os.Stderr, line) },
		Ended:  rs.end,
	}
	o.Device, o.PCI = rankDevice(cfg.Device, id)
	if id.Size > 1 {
		var err error
		if o.Same, err = sameOnAllRanks(cfg, id); err != nil {
			return nil, err
		}
		if cfg.Run != "" {
			if err := os.MkdirAll(cfg.Run, 0o755); err != nil {
				return nil, fmt.Errorf("run directory: %w", err)
			}
		}
	}
	met.Store(true)
	meeting, give := context.WithCancelCause(rs.ctx)
	rs.leave = leaveOnSignal(func() { give(errUnmet) })
	var err error
	if rs.Comm, rs.members, err = dist.Join(meeting, id, o); err != nil {
		return nil, err
	}
	if id.Size > 1 {
		if err := rs.bind(o.Log); err != nil {
			return nil, errors.Join(err, rs.Close())
		}
	}
	return rs, nil
}

// bind binds this process to its cores, before it allocates anything, and learns those of the others. Where it may not, it says so.
func (rs *ranks) bind(log func(string)) error {
	had := parseCores(rs.members[rs.Rank()].Affinity)
	if own := coresOf(sysfs, rs.members, rs.Rank()); !slices.Equal(own, had) {
		if err := bindCores(own); err != nil {
			log(fmt.Sprintf("rank %d: %v", rs.Rank(), err))
		}
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// The device's threads keep all cores busy, and a goroutine gets one of theirs only after milliseconds. One thread more, which the
		// kernel wakes at once, answers other ranks meanwhile, and interpreters: ranks of other hosts ask for every trajectory.
		runtime.SetDefaultGOMAXPROCS()
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	all, err := rs.Gather("cores", []byte(affinity()))
	for _, b := range all {
		rs.bound = append(rs.bound, string(b))
	}
	return err
}

// roster is the ranks with the cores that they are bound to.
func (rs *ranks) roster() []dist.Member {
	out := slices.Clone(rs.members)
	for r := range out {
		if cores := parseCores(rs.bound[r]); len(cores) > 0 {
			out[r].Affinity, out[r].Cores = rs.bound[r], len(cores)
		}
	}
	return out
}

// aloneRank is a process that shares its run with nobody, such as one that rolls out or plans.
func aloneRank(ctx context.Context) *ranks {
	id := dist.ID{Size: 1, LocalSize: 1}
	return &ranks{Comm: &dist.Alone{}, id: id, members: []dist.Member{{}}, ctx: ctx, cancel: func(error) {}}
}

// sameOnAllRanks is what no two ranks may have different. Every rank reads all bytes of model and data for it, by its share of the host's
// cores; those that a run reads next are then in the host's memory.
func sameOnAllRanks(cfg *Config, id dist.ID) ([]dist.Fact, error) {
	binary, err := buildOf()
	if err != nil {
		return nil, err
	}
	located := cfg.located()
	text, err := located.text()
	if err != nil {
		return nil, err
	}
	model, err := cfg.Model.folder()
	if err != nil {
		return nil, err
	}
	files, err := listFiles(smallFile, runtime.GOMAXPROCS(0)/max(1, id.LocalSize), [2]string{"model.path", model},
		[2]string{"model.lora.path", cfg.Model.LoRA.Path}, [2]string{"data.problems", cfg.Data.Problems},
		[2]string{"data.traces", cfg.Data.Traces}, [2]string{"data.test", cfg.Data.Test})
	return []dist.Fact{
		{Name: "system", Text: runtime.GOOS + "/" + runtime.GOARCH},
		{Name: "binary", Text: binary}, // the kernels are in it
		{Name: "settings", Text: string(text)},
		{Name: "files", Text: files},
	}, err
}

// buildOf names this program's content: by the identifier that Go's linker makes of all that went into it, or where there is none by its
// hash.
func buildOf() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	if f, err := elf.Open(path); err == nil {
		defer f.Close()
		if s := f.Section(".note.go.buildid"); s != nil {
			if note, err := s.Data(); err == nil && len(note) > 16 { // sizes, type, "Go"
				return "build " + string(bytes.TrimRight(note[16:], "\x00")), nil
			}
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256 %x", h.Sum(nil)), nil
}

// rankDevice is a rank's device as a roster shows it, and its address if it is a GPU. One that cannot be had is named when it is opened.
func rankDevice(device string, id dist.ID) (name, pci string) {
	if device != "gpu" {
		return device, ""
	}
	visible, err := driver.Count()
	ordinal := 0
	if err == nil {
		if ordinal, err = gpuOrdinal(id, visible); err == nil {
			pci, _ = driver.Address(ordinal)
		}
	}
	return fmt.Sprintf("GPU %d", id.LocalRank), pci
}

// end is what happens when the run ends for another's reason: work stops, and if it does not, the process does.
func (rs *ranks) end(e *dist.Ended) {
	rs.mu.Lock()
	rs.ended = e
	rs.mu.Unlock()
	rs.cancel(e)
	time.AfterFunc(1500*time.Millisecond, func() {
		fail(e)
	})
}

// zerosToo is an error of this rank that rank 0 prints: it has the same, or hears of it.
type zerosToo struct{ error }

func (z zerosToo) Unwrap() error { return z.error }

// failed ends the run on all ranks for an error of this one, and is the error that this one is to say.
func (rs *ranks) failed(err error) error {
	rs.Abort(err)
	if rs.Size() == 1 {
		return err
	}
	var first *dist.Ended
	if _, end := rs.Gather("the end", nil); !errors.As(end, &first) {
		return err
	}
	same := strings.HasSuffix(first.Reason, ": "+err.Error()) // behind the name of the rank that it began with
	switch {
	case rs.Rank() == 0 && !same:
		return first
	case rs.Rank() > 0 && same:
		return zerosToo{err}
	}
	return err
}

// why is the reason of the run's end where err is only its consequence.
func (rs *ranks) why(err error) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if err != nil && rs.ended != nil && errors.Is(err, context.Canceled) {
		return rs.ended
	}
	return err
}

// Close tells the others that this rank needs them no more.
func (rs *ranks) Close() error {
	defer rs.cancel(nil)
	return rs.Comm.Close()
}

// agreeOn is what rank 0 says, on every rank: its directory, or the reason why it has none.
func (rs *ranks) agreeOn(what string, rank0 func() (string, error)) (string, error) {
	if rs.Size() == 1 {
		return rank0()
	}
	var said struct{ Value, Error string }
	var own error
	if rs.Rank() == 0 {
		if said.Value, own = rank0(); own != nil {
			said.Error = own.Error()
		}
	}
	text, err := json.Marshal(said)
	if err != nil {
		return "", err
	}
	all, err := rs.Gather(what, text)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(all[0], &said); err != nil {
		return "", err
	}
	switch {
	case own != nil:
		return "", own
	case said.Error != "":
		return "", &dist.Ended{Rank: 0, Reason: said.Error}
	}
	return said.Value, nil
}

// overNCCL reports whether tensors travel by NVIDIA's library, where there are many ranks.
func (c *Config) overNCCL() bool {
	return c.Dist.Transport == "nccl" || c.Dist.Transport == "auto" && c.Device == "gpu"
}

// overMPI reports whether they travel by the MPI library of what started the ranks.
func (c *Config) overMPI() bool { return c.Dist.Transport == "mpi" }

// moveTensors chooses what they travel by, once the device is open.
func (rs *ranks) moveTensors(dev kernels.Device, cfg *Config) error {
	switch {
	case rs.Size() == 1:
		return nil
	case cfg.overMPI():
		c, err := dist.OverMPI(rs.Comm, cfg.Dist.MPI)
		if err == nil {
			rs.Comm = c
		}
		return err
	case !cfg.overNCCL():
		return nil
	}
	gpu, ok := dev.(*kernels.GPU)
	if !ok {
		return fmt.Errorf("dist.transport: nccl is for device gpu, this is %s", cfg.Device)
	}
	if at := dist.Interface(rs.Comm); at != "" && os.Getenv(socketInterface) == "" {
		os.Setenv(socketInterface, "="+at) // it would guess
	}
	c, err := dist.OverNCCL(rs.Comm, gpu, cfg.Dist.NCCL)
	if err != nil {
		return fmt.Errorf("%w (dist.transport: tcp takes tensors through the hosts' memory)", err)
	}
	rs.Comm = c
	return nil
}

// socketInterface says to NCCL which interface its hosts meet by; = before it: that one and no other whose name begins so.
const socketInterface = "NCCL_SOCKET_IFNAME"

// errUnmet is the end of a run that is told to save before all ranks have come.
var errUnmet = coded{fmt.Errorf("told to save and end before all ranks had come: nothing is to save (exit %d)", saved), saved}

// leaveOnSignal reports whether this process was told by SIGUSR1 to save and end, as schedulers do before they take a host away; told is
// called when it is.
func leaveOnSignal(told func()) func() bool {
	var is atomic.Bool
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		<-c
		is.Store(true)
		told()
	}()
	return is.Load
}

// writeRoster stores who the ranks are, beside the run. Rank 0 does.
func (rs *ranks) writeRoster(dir string) error {
	if rs.Size() == 1 || rs.Rank() != 0 {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, "ranks.json"), func(w io.Writer) error { return dist.WriteRoster(w, rs.roster()) })
}

// lines is the ranks as a terminal shows them, a line a host.
func (rs *ranks) lines() []string {
	if rs.Size() == 1 {
		return nil
	}
	var out []string
	for first, m := range rs.members {
		if first > 0 && rs.members[first-1].Host == m.Host {
			continue
		}
		last := first
		var cores []string
		for last+1 < len(rs.members) && rs.members[last+1].Host == m.Host {
			last++
		}
		for _, list := range rs.bound[first : last+1] {
			if !slices.Contains(cores, list) {
				cores = append(cores, list)
			}
		}
		line := fmt.Sprintf("ranks     %d on %s: %d to %d of %d, %s, tensors by %s", last+1-first, m.Host, first, last, rs.Size(), rs.id.Launcher,
			dist.Transport(rs.Comm))
		if cores[0] != "" {
			line += ", cores " + strings.Join(cores, " | ")
		}
		if m.Cores < 2 {
			line += ", bound to one core each by the launcher: interpreters share it (mpirun --bind-to none, srun --cpus-per-task)"
		}
		out = append(out, line)
	}
	return out
}

// share is the cores that this rank works with.
func (rs *ranks) share() int { return shareOf(sysfs, rs.members, rs.Rank(), rs.quota) }

// affinity is the cores that this process may use, as Linux lists them: 0-3,8.
func affinity() string {
	status, _ := os.ReadFile("/proc/self/status")
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	list, _, _ = strings.Cut(list, "\n")
	return strings.TrimSpace(list)
}

// threads is the setting of that name for this rank.
func (rs *ranks) threads(set int) int {
	if set == 0 && rs.Size() > 1 {
		return rs.share()
	}
	return set
}

// interpreters is the settings of the sandbox for this rank: what they leave to the cores, for its share of them.
func (rs *ranks) interpreters(c interp.Config) interp.Config {
	if rs.Size() > 1 {
		n := rs.share()
		c.Zygotes = cmp.Or(c.Zygotes, max(1, n/2))
		c.Concurrency = cmp.Or(c.Concurrency, max(2, n*3/2))
		c.Warm = cmp.Or(c.Warm, max(8, 8*n))
	}
	return c
}

// gpuOrdinal is the GPU of a local rank: its own number where a host shows as many as it has ranks, the only one where a launcher shows
// each rank its own.
func gpuOrdinal(id dist.ID, visible int) (int, error) {
	switch {
	case id.Size == 1:
		return 0, nil // CUDA_VISIBLE_DEVICES chooses
	case visible == 1:
		return 0, nil
	case visible >= id.LocalSize:
		return id.LocalRank, nil
	}
	return 0, fmt.Errorf("device: rank %d is local rank %d of %d, and this host shows %d GPUs: want as many as local ranks, or exactly one a "+
		"rank (CUDA_VISIBLE_DEVICES)", id.Rank, id.LocalRank, id.LocalSize, visible)
}
