package dist

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
)

// A rank of a test is this binary again: TestMain turns it into one.
const roleVariable = "RETOOL_TEST_ROLE"

// tcpVariable, when set, keeps ranks off shared memory.
const tcpVariable = "RETOOL_TEST_TCP"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := rankProcess(role); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// rankProcess joins and does what its role says: the last rank may misbehave, the others exchange for ever.
func rankProcess(role string) error {
	id, err := Identify(os.Getenv)
	if err != nil {
		return err
	}
	ended := make(chan *Ended, 1)
	o := Options{Dir: os.Getenv("RETOOL_TEST_DIR"), TCP: os.Getenv(tcpVariable) != "", Wait: time.Minute,
		Log:   func(s string) { fmt.Println("log:", s) },
		Ended: func(e *Ended) { ended <- e }}
	if role == "STOP" || role == "hang" || role == "slow" || role == "mpi hang" {
		o.Limits = Limits{Beat: 20 * time.Millisecond, Silence: 800 * time.Millisecond, Stall: 200 * time.Millisecond, Timeout: time.Second}
	}
	if role == "hang" || role == "slow" || role == "mpi hang" {
		o.Limits.Silence = time.Hour
	}
	c, members, err := Join(context.Background(), id, o)
	if err != nil {
		return err
	}
	defer c.Close()
	if strings.HasPrefix(role, "mpi") {
		return mpiProcess(c, role)
	}
	if role == "sums" {
		sum, err := sums(c)
		fmt.Printf("sum: %x\n", sum)
		return err
	}
	fmt.Println("joined:", len(members))
	last := id.Rank == id.Size-1
	for i := int64(0); ; i++ {
		c.Doing(i, "step %d, pass 14 of 33", i)
		what := fmt.Sprint("trajectories of step ", i)
		if i == 50 && last {
			switch role {
			case "exit":
				os.Exit(3)
			case "error":
				c.Abort(errors.New("model: 3 of 7 tensors are missing"))
				return errors.New("its own words")
			case "other call":
				what = "gradients"
			case "hang":
				c.Doing(i, "trajectory 804: call 3")
				select {}
			case "leave":
				return nil
			case "slow": // three times as long as a rank may stand still
				for k := range 60 {
					c.Doing(1000+int64(k), "call %d of 60", k)
					time.Sleep(50 * time.Millisecond)
				}
			}
		}
		if i == 60 && role == "slow" {
			return nil
		}
		if role == "compute" { // in no call: it hears of the end by Ended
			fmt.Println("computing")
			return <-ended
		}
		if _, err := c.Gather(what, []byte("a trajectory")); err != nil {
			return err
		}
	}
}

// sums is a digest of everything that some exchanges give a rank; it is the same on all.
func sums(c Comm) ([32]byte, error) {
	dev := k.NewCPU(1)
	defer dev.Close()
	h := sha256.New()
	const n = 3*Tile + 1001
	p := Divide(n, c.Size())
	own := p[c.Rank()].Len()
	whole, part := dev.Alloc(k.F32, n), dev.Alloc(k.F32, own)
	draw := rand.New(rand.NewPCG(uint64(c.Rank()), 7))
	for i := range 5 {
		x := make([]float32, n)
		for j := range x {
			x[j] = float32(draw.NormFloat64())
		}
		dev.Upload(whole, x)
		if err := c.ReduceScatter("gradients", part, whole, p).Wait(); err != nil {
			return [32]byte{}, err
		}
		if err := c.AllGather("weights", whole, part, p).Wait(); err != nil {
			return [32]byte{}, err
		}
		h.Write(download(whole, anew))
		all, err := c.Gather("norms", []byte(fmt.Sprint(i, c.Rank())))
		if err != nil {
			return [32]byte{}, err
		}
		h.Write(bytes.Join(all, nil))
	}
	return [32]byte(h.Sum(nil)), nil
}

// ranks are processes of a test.
type ranks struct {
	t    *testing.T
	cmds []*exec.Cmd
	gone []chan struct{} // closed when a process has been waited for
	out  []*bytes.Buffer
	mu   sync.Mutex
	seen *sync.Cond
	done sync.WaitGroup
}

// startRanks starts n of them in a role.
func startRanks(t *testing.T, n int, role string) *ranks {
	t.Helper()
	return startRanksAs(t, n, role, func(int) []string { return []string{os.Args[0]} })
}

// startRanksAs starts them by a command for each.
func startRanksAs(t *testing.T, n int, role string, as func(rank int) []string) *ranks {
	t.Helper()
	rs := &ranks{t: t, out: make([]*bytes.Buffer, n)}
	for r := range rs.out {
		rs.out[r] = &bytes.Buffer{} // all before the first goroutine reads one
	}
	rs.seen = sync.NewCond(&rs.mu)
	dir := t.TempDir()
	for r := range n {
		args := as(r)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), roleVariable+"="+role, "RETOOL_TEST_DIR="+dir, "RANK="+strconv.Itoa(r), "WORLD_SIZE="+strconv.Itoa(n),
			"LOCAL_RANK="+strconv.Itoa(r), "LOCAL_WORLD_SIZE="+strconv.Itoa(n), "MASTER_ADDR=", "TORCHELASTIC_RUN_ID=test")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		gone := make(chan struct{})
		rs.cmds, rs.gone = append(rs.cmds, cmd), append(rs.gone, gone)
		rs.done.Go(func() {
			defer close(gone)
			rs.keep(r, out)
			_ = cmd.Wait()
		})
	}
	t.Cleanup(func() {
		for _, c := range rs.cmds {
			_ = c.Process.Kill()
		}
		rs.done.Wait()
	})
	return rs
}

func (rs *ranks) keep(r int, out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		rs.mu.Lock()
		rs.out[r].WriteString(s.Text() + "\n")
		rs.seen.Broadcast()
		rs.mu.Unlock()
	}
}

// await returns when every rank has printed a text.
func (rs *ranks) await(text string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, o := range rs.out {
		for !strings.Contains(o.String(), text) {
			rs.seen.Wait()
		}
	}
}

// ended waits for the ranks but one, and checks what each said.
func (rs *ranks) ended(but int, says ...string) time.Duration {
	start := time.Now()
	for r := range rs.cmds {
		if r == but {
			continue
		}
		select {
		case <-rs.gone[r]:
		case <-time.After(time.Minute):
			rs.t.Fatalf("rank %d runs on: %s", r, rs.text(r))
		}
	}
	took := time.Since(start)
	if but >= 0 {
		_ = rs.cmds[but].Process.Kill()
	}
	rs.done.Wait()
	for r, c := range rs.cmds {
		if r == but {
			continue
		}
		require.Equal(rs.t, 1, c.ProcessState.ExitCode(), "rank %d: %s", r, rs.text(r))
		for _, s := range says {
			require.Contains(rs.t, rs.text(r), s, "rank %d", r)
		}
	}
	return took
}

func (rs *ranks) text(r int) string {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.out[r].String()
}

// sumsHere is what sums says on n ranks of this process.
func sumsHere(t *testing.T, n int) (want [32]byte) {
	eachRank(Local(n), func(c Comm) {
		sum, err := sums(c)
		if err != nil {
			t.Error(err)
		}
		if c.Rank() == 0 {
			want = sum
		}
	})
	return want
}

func TestProcessesEqualGoroutines(t *testing.T) {
	for _, n := range []int{2, 4} {
		want := sumsHere(t, n)
		for _, tcp := range []string{"", "1"} {
			t.Setenv(tcpVariable, tcp)
			rs := startRanks(t, n, "sums")
			rs.done.Wait()
			for r := range n {
				require.Equal(t, fmt.Sprintf("sum: %x\n", want), rs.text(r))
			}
		}
	}
}

func TestManyProcessesJoin(t *testing.T) {
	for _, n := range []int{2, 16} {
		start := time.Now()
		rs := startRanks(t, n, "compute")
		rs.await("joined: " + strconv.Itoa(n))
		t.Logf("%d processes have joined %v after the first was started", n, time.Since(start).Round(time.Millisecond))
	}
}

// Whatever ends a rank, ends the others, with its name, and what it did.
func TestKilledRankEndsTheRun(t *testing.T) {
	for _, role := range []string{"exchange", "compute"} {
		for _, victim := range []int{3, 0} {
			if role == "exchange" && victim == 0 {
				t.Setenv(tcpVariable, "1")
			}
			rs := startRanks(t, 4, role)
			rs.await("joined: 4")
			if role == "compute" {
				rs.await("computing")
			}
			require.NoError(t, rs.cmds[victim].Process.Kill())
			took := rs.ended(victim, fmt.Sprintf("error: dist: rank %d (", victim), fmt.Sprintf(", pid %d) has gone", rs.cmds[victim].Process.Pid))
			t.Logf("%s: the others had ended %v after rank %d was killed", role, took.Round(time.Millisecond), victim)
		}
	}
}

func TestStoppedRankEndsTheRun(t *testing.T) {
	rs := startRanks(t, 4, "STOP")
	rs.await("joined: 4")
	require.NoError(t, rs.cmds[2].Process.Signal(syscall.SIGSTOP))
	rs.ended(2, "error: dist: rank 2 (", "has been silent for 800ms (it was stopped, or its host or the network is down)")
}

// A host that is there no more resets nothing: it is its silence that is noticed. Two hosts are two network namespaces; root alone may make
// them.
func TestLostHost(t *testing.T) {
	name := fmt.Sprint("retool", os.Getpid())
	ip := func(args ...string) error { return exec.Command("ip", args...).Run() }
	for i := range 2 {
		ns := name + strconv.Itoa(i)
		if err := ip("netns", "add", ns); err != nil {
			t.Skip("no network namespaces here: ", err)
		}
		t.Cleanup(func() { _ = ip("netns", "del", ns) })
	}
	require.NoError(t, ip("link", "add", "link0", "netns", name+"0", "type", "veth", "peer", "name", "link0", "netns", name+"1"))
	for i := range 2 {
		ns := []string{"-n", name + strconv.Itoa(i)}
		require.NoError(t, ip(append(ns, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "link0")...))
		require.NoError(t, ip(append(ns, "link", "set", "lo", "up")...))
		require.NoError(t, ip(append(ns, "link", "set", "link0", "up")...))
	}
	t.Setenv(tcpVariable, "1") // these are two only in their networks
	rs := startRanksAs(t, 4, "STOP", func(r int) []string { return []string{"ip", "netns", "exec", name + strconv.Itoa(r/2), os.Args[0]} })
	rs.await("joined: 4")
	require.NoError(t, ip("-n", name+"0", "link", "set", "link0", "down"))
	rs.ended(-1, "has been silent for 800ms (it was stopped, or its host or the network is down)")
}

// The others wait for a rank that does nothing. They name it, and what it was doing; later the run ends with that.
func TestStallNamesTheRank(t *testing.T) {
	rs := startRanks(t, 3, "hang")
	rs.ended(2, "error: dist: rank 2 (", "has made no progress for 1s in trajectory 804: call 3; rank ",
		`waits for it in "trajectories of step 50"`)
	require.Contains(t, rs.text(0), `in "trajectories of step 50" for rank 2 (`)
	require.Contains(t, rs.text(0), "): trajectory 804: call 3\n")
	require.NotContains(t, rs.text(1), "log: waiting", "one rank speaks")
}

// A rank that moves is waited for, however long it takes.
func TestSlowRankIsNamedAndWaitedFor(t *testing.T) {
	t.Setenv(tcpVariable, "1")
	rs := startRanks(t, 3, "slow")
	rs.done.Wait()
	for r, c := range rs.cmds {
		require.Zero(t, c.ProcessState.ExitCode(), "rank %d: %s", r, rs.text(r))
	}
	require.Contains(t, rs.text(0), `in "trajectories of step 50" for rank 2 (`)
	require.Contains(t, rs.text(0), " of 60\n")
}

func TestDesyncNamesBothCalls(t *testing.T) {
	for _, tcp := range []string{"", "1"} {
		t.Setenv(tcpVariable, tcp)
		rs := startRanks(t, 3, "other call")
		rs.ended(-1, `"trajectories of step 50"`, `"gradients"`, "error: dist: rank ")
	}
}

func TestEveryEndHasItsReason(t *testing.T) {
	rs := startRanks(t, 3, "exit")
	rs.ended(2, "error: dist: rank 2 (", "has gone")
	rs = startRanks(t, 3, "error")
	rs.ended(2, "error: dist: rank 2 (", "model: 3 of 7 tensors are missing")
	rs = startRanks(t, 3, "leave")
	rs.ended(2, "error: dist: rank 2 (", "has left, and rank ", `waits for it in "trajectories of step 50"`)
}
