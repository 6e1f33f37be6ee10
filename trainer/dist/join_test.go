package dist

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// joinAll joins ranks over TCP, as goroutines of this process. edit may change what a rank says of itself.
func joinAll(t *testing.T, n int, edit func(id *ID, o *Options)) (comms []Comm, errs []error) {
	t.Helper()
	dir := t.TempDir()
	secret, err := newToken() // this test may run twice on a machine, on the same ports
	require.NoError(t, err)
	comms, errs = make([]Comm, n), make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		id := ID{Launcher: "test", Rank: r, Size: n, LocalRank: r, LocalSize: n, Job: "1", Secret: secret}
		o := Options{Dir: dir, Wait: time.Minute, Log: func(string) {}}
		if edit != nil {
			edit(&id, &o)
		}
		wg.Go(func() { comms[r], _, errs[r] = Join(t.Context(), id, o) })
	}
	wg.Wait()
	return comms, errs
}

func TestRanksJoin(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		edit func(*ID, *Options)
	}{
		{"by file", 4, nil},
		{"by file, encrypted", 3, func(_ *ID, o *Options) { o.TLS = true }},
		{"at an address", 4, func(id *ID, o *Options) { o.Dir, id.At, id.Port, id.Secret = "", "localhost", 23456, id.Secret+"s" }},
		{"at an address, encrypted", 3, func(id *ID, o *Options) { o.Dir, id.At, id.Port, o.TLS = "", "127.0.0.1", 23476, true }},
		{"sixteen", 16, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			comms, errs := joinAll(t, c.n, c.edit)
			require.NoError(t, errors.Join(errs...))
			t.Logf("%d ranks have joined after %v", c.n, time.Since(start).Round(time.Millisecond))
			eachRank(comms, func(c Comm) {
				for i := range 20 {
					got, err := c.Gather("names", []byte(strings.Repeat(strconv.Itoa(c.Rank()), 1+1000*i)))
					if err != nil {
						t.Error(err)
						return
					}
					for r, b := range got {
						if string(b) != strings.Repeat(strconv.Itoa(r), 1+1000*i) {
							t.Errorf("rank %d has %d bytes of rank %d", c.Rank(), len(b), r)
						}
					}
				}
				if _, err := c.Ticket("a"); err != nil {
					t.Error(err)
				}
				if _, err := c.Gather("end", nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Every reason not to begin is one sentence, the same on every rank, which names who and what.
func TestJoinRefuses(t *testing.T) {
	settings := func(o *Options, text string) { o.Same = []Fact{{"binary", "sha256 ab"}, {"settings", text}} }
	for _, c := range []struct {
		name string
		n    int
		edit func(*ID, *Options)
		says []string
	}{
		{"settings", 3, func(id *ID, o *Options) {
			settings(o, "seed: 1\nrl:\n  lr: 1\n")
			if id.Rank == 2 {
				settings(o, "seed: 1\nrl:\n  lr: 2\n")
			}
		}, []string{`settings: rank 0 (`, `has "lr: 1", rank 2 (`, `"lr: 2"`}},
		{"binary", 2, func(id *ID, o *Options) { o.Same = []Fact{{"binary", fmt.Sprint("sha256 ", id.Rank)}} },
			[]string{`binary: rank 0 (`, `has "sha256 0", rank 1 (`, `"sha256 1"`}},
		{"size", 3, func(id *ID, _ *Options) {
			if id.Rank == 1 {
				id.Size = 4
			}
		}, []string{"rank 1 (", "was started as one of 4 ranks, rank 0 (", "as one of 3"}},
		{"two of a rank", 3, func(id *ID, o *Options) {
			if id.Rank == 2 {
				id.Rank = 1
			}
		}, []string{"two processes are rank 1: pid "}},
		{"one GPU", 3, func(id *ID, o *Options) {
			o.Device, o.PCI = fmt.Sprint("GPU ", id.Rank%2), fmt.Sprint("0000:0", id.Rank%2, ":00.0")
		}, []string{"rank 0 (", "GPU 0", "and rank 2 (", "are on one GPU (PCI 0000:00:00.0): local ranks 0 and 2"}},
		{"no place", 2, func(_ *ID, o *Options) { o.Dir = "" },
			[]string{"does not know where rank 0 is: want a run directory that all hosts see (run=DIR), or MASTER_ADDR"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs := joinAll(t, c.n, c.edit)
			for r, err := range errs {
				for _, s := range c.says {
					require.ErrorContains(t, err, s, "rank %d", r)
				}
			}
		})
	}
}

// A rank that does not see the run directory of rank 0 is told so, where it can reach rank 0 at the launcher's address.
func TestJoinRefusesTheBlind(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the file")
	}
	old := blindness
	blindness = 100 * time.Millisecond
	defer func() { blindness = old }()
	elsewhere := t.TempDir()
	_, errs := joinAll(t, 2, func(id *ID, o *Options) {
		id.At, id.Port = "127.0.0.1", 23496
		if id.Rank == 1 {
			o.Dir = elsewhere
		}
	})
	for _, err := range errs {
		require.ErrorContains(t, err, "the run directory of rank 0")
		require.ErrorContains(t, err, "it must be one that all hosts share")
	}
}

func TestMissingRanksAreNamed(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for _, r := range []int{0, 2} {
		wg.Go(func() {
			_, _, err := Join(t.Context(), ID{Rank: r, Size: 4, LocalSize: 4, Job: "1"}, Options{Dir: dir, Wait: time.Second, Log: func(string) {}})
			if err == nil || !strings.Contains(err.Error(), "2 of 4 ranks have come within 1s; missing: ranks 1, 3 (rank 0 waits on port") {
				t.Errorf("rank %d: %v", r, err)
			}
		})
	}
	wg.Wait()
	_, _, err := Join(t.Context(), ID{Rank: 1, Size: 2, LocalSize: 2, Job: "2"},
		Options{Dir: dir, Wait: 200 * time.Millisecond, Log: func(string) {}})
	require.ErrorContains(t, err, "rank 1 has not found rank 0 within 200ms: "+filepath.Join(dir, ".rank0-2")+" is not there")
}

// Whoever watches a run that waits is told for whom and how much longer, ever more seldom, by rank 0, and where that is missing by one rank
// a host; one that is asked to stop meanwhile does so at once.
func TestWaitingIsSaidAndEnds(t *testing.T) {
	old := patience
	patience = 50 * time.Millisecond
	defer func() { patience = old }()
	dir := t.TempDir()
	join := func(id ID) (said []string, err error) {
		id.Launcher, id.LocalSize = "test", 2
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		o := Options{Dir: dir, Wait: time.Hour, Log: func(line string) {
			if said = append(said, line); len(said) == 3 {
				stop(errors.New("asked to"))
			}
		}}
		if id.LocalRank > 0 {
			time.AfterFunc(4*patience, func() { stop(errors.New("asked to")) })
		}
		begun := time.Now()
		_, _, err = Join(ctx, id, o)
		require.Greater(t, time.Since(begun), 4*patience)
		return said, err
	}
	for _, c := range []struct {
		id   ID
		says string
	}{
		{ID{Rank: 0, Size: 4, Job: "1"}, `^waiting \S+ for ranks 1, 2, 3 to come, 3 of 4 are missing; at most \S+ more \(dist.wait\)$`},
		{ID{Rank: 2, Size: 4, Job: "2"}, `^waiting \S+ for rank 0 to come, rank 2 has not found it \(.* is not there: .*\); at most \S+ more`},
		{ID{Rank: 1, LocalRank: 1, Size: 4, Job: "2"}, ""},
	} {
		said, err := join(c.id)
		require.EqualError(t, err, "asked to")
		require.Equal(t, c.says != "", len(said) == 3, said)
		for _, line := range said {
			require.Regexp(t, c.says, line)
		}
	}
}

// Files of starts that are over lead nowhere, or to another run's listener, and are passed by. Another job in the directory has its own.
func TestStaleFileAndSecondJob(t *testing.T) {
	dir := t.TempDir()
	old, err := net.Listen("tcp", "127.0.0.1:0") // another run, which knows another token
	require.NoError(t, err)
	defer old.Close()
	n := &network{o: Options{Log: func(string) {}}, id: ID{Size: 2}}
	go n.accept(door{Listener: old, credentials: credentials{key: key{1}}}, make(chan arrival), make(chan struct{}))
	stale := place{"elsewhere", []string{"127.0.0.1"}, old.Addr().(*net.TCPAddr).Port, "00"}
	require.NoError(t, stale.write(placeFile(dir, "1")))
	var wg sync.WaitGroup
	for _, job := range []string{"1", "2"} {
		for r := range 2 {
			wg.Go(func() {
				if r == 0 {
					time.Sleep(100 * time.Millisecond) // so that the other meets the old file first
				}
				c, members, err := Join(t.Context(), ID{Rank: r, Size: 2, LocalSize: 2, Job: job},
					Options{Dir: dir, Wait: time.Minute, Log: func(string) {}})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				got, err := c.Gather("job", []byte(job))
				if err != nil || string(got[1-r]) != job || len(members) != 2 {
					t.Errorf("job %s: %q, %v", job, got, err)
				}
			})
		}
	}
	wg.Wait()
	left, err := filepath.Glob(filepath.Join(dir, ".rank0*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPlaceIsPrivate(t *testing.T) {
	file := placeFile(t.TempDir(), "a/b c")
	require.NoError(t, place{Host: "h"}.write(file))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, ".rank0-a_b_c", info.Name())
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// What strangers do to a rank that waits costs a log line: silence, garbage, a hello of a run with another secret, one replayed.
func TestStrangersCostALogLine(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		dir := t.TempDir()
		var mu sync.Mutex
		var logged []string
		o := Options{Dir: dir, TLS: encrypted, Wait: time.Minute, Log: func(s string) { mu.Lock(); logged = append(logged, s); mu.Unlock() }}
		id := ID{Rank: 0, Size: 2, LocalSize: 2, Job: "1", Secret: "ours"}
		joined := make(chan error)
		go func() {
			c, _, err := Join(t.Context(), id, o)
			if err == nil {
				_, err = c.Gather("a", nil)
				c.Close()
			}
			joined <- err
		}()
		var at place
		require.Eventually(t, func() bool {
			var err error
			at, err = readPlace(placeFile(dir, "1"))
			return err == nil
		}, time.Minute, time.Millisecond)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))
		dial := func() net.Conn {
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			return c
		}
		for range 50 {
			defer dial().Close() // half open, as long as the test runs
		}
		for range 20 {
			c := dial()
			b := make([]byte, 1000)
			_, _ = rand.Read(b)
			_, _ = c.Write(b)
			_, _ = c.Write([]byte(magic))
			c.Close()
		}
		// One that knows the job and the token, and not the secret.
		n := &network{o: o}
		wrong, err := n.credentials(newKey("file", "theirs", "1", []byte(at.Token)))
		require.NoError(t, err)
		_, _, err = reach(t.Context(), wrong, []string{"127.0.0.1"}, at.Port)
		require.Error(t, err)
		if !encrypted {
			replay(t, dial, newKey("file", "ours", "1", []byte(at.Token)))
		}
		id.Rank = 1
		c, _, err := Join(t.Context(), id, o)
		require.NoError(t, err)
		_, err = c.Gather("a", nil)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, <-joined)
		mu.Lock()
		require.NotEmpty(t, logged)
		require.Len(t, logged, 1, logged) // one address, one line
		require.Contains(t, logged[0], "did not show that it is of this run")
		mu.Unlock()
	}
}

// replay sends the bytes of a hello that was good on one connection over another.
func replay(t *testing.T, dial func() net.Conn, k key) {
	t.Helper()
	ours, theirs := net.Pipe() // a rank, and a listener that repeats what it heard
	var heard []byte
	go func() {
		s := &secured{conn: theirs, key: k}
		if s.answer() == nil {
			b := make([]byte, 1<<16)
			n, _ := theirs.Read(b)
			heard = append(append([]byte(magic), s.ours[0]...), b[:n]...)
		}
		theirs.Close()
	}()
	s := &secured{conn: ours, key: k}
	require.NoError(t, s.call())
	_ = s.tell("hello", hello{Member: Member{Rank: 1}, Size: 2})
	_, _ = ours.Read(make([]byte, 1)) // until the other end closes
	require.NotEmpty(t, heard)
	c := dial()
	defer c.Close()
	_, err := c.Write(heard)
	require.NoError(t, err)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	rest, err := io.ReadAll(c)
	require.True(t, err == nil || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset"), err)
	require.LessOrEqual(t, len(rest), len(magic)+64, "a roster for a replayed hello")
}

func TestJoinEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errors.New("told to stop")) })
	_, _, err := Join(ctx, ID{Rank: 0, Size: 2, LocalSize: 2, Job: "1"}, Options{Dir: t.TempDir(), Log: func(string) {}})
	require.ErrorContains(t, err, "told to stop")
}
