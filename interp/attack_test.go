//go:build linux

package interp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// outcome says whether a result is one of the accepted outcomes.
func outcome(r Result, want string) bool {
	for _, w := range strings.Split(want, "|") {
		w, life, _ := strings.Cut(w, " ")
		kind, arg, _ := strings.Cut(w, ":")
		if life != "" && life != r.Session {
			continue
		}
		switch {
		case kind == "exc":
			if r.Status == Exception && r.Exc == arg {
				return true
			}
		case kind != string(r.Status):
		case arg == "":
			return true
		case r.Status == Crashed && signalName(r.Signal) == arg, r.Status == Exited && fmt.Sprint(r.Code) == arg:
			return true
		}
	}
	return false
}

// skipNumbers are the calls a sweep with null arguments may not make because they would only end the sweep.
func skipNumbers() string {
	if amd64 {
		return "[15,34,35,60,61,62,200,231,130,7,23,0,3,32,270,271,281,232,441,436,13,14,202,219]"
	}
	return "[93,94,133,139,72,73,22,441,436,98,130,63,57,134]"
}

// A siege is the corpus run in one pool.
type siege struct {
	t    *testing.T
	p    *Pool
	c    *canaries
	rows []row
	fork bool
	bare bool // tier C
}

// attackTier runs the corpus in one pool and holds every row to the claims that all rows share.
func attackTier(t *testing.T, tier string, fork bool) {
	c, err := layCanaries()
	if err != nil {
		t.Fatal(err)
	}
	defer c.remove()
	g := &siege{t: t, p: attackPool(t, tier, fork), c: c, rows: corpus(t), fork: fork}
	g.bare = g.p.info.Tier <= TierC1
	n, slow := g.all()
	g.p.cfg.Limits.CPU, g.p.cfg.Limits.Wall = 2*time.Second, 5*time.Second
	for _, i := range slow {
		g.try(i, true)
	}
	if why := c.touched(); why != "" {
		t.Error(why)
	}
	if err := g.p.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("tier %s: %d rows, uid %d, %d of them run again with more time", tier, n, os.Getuid(), len(slow))
}

// attackPool opens a pool of exactly that tier, or skips.
func attackPool(t *testing.T, tier string, fork bool) *Pool {
	cfg := Default()
	cfg.Python = barePython(t)
	cfg.Session = SessionTrajectory
	cfg.Concurrency = 8
	cfg.Preload, cfg.Warm = nil, 8
	cfg.MinTier = tier
	cfg.Limits.CPU, cfg.Limits.Wall, cfg.Limits.Grace, cfg.AllowFork = 400*time.Millisecond, 1200*time.Millisecond, 200*time.Millisecond, fork
	cfg.Limits.Data, cfg.Limits.Memory = 160<<20, 256<<20 // reached sooner than the defaults, on a busy machine too
	p, err := New(context.Background(), cfg.AtMost(tier), nil)
	if err != nil && !isTier(err) {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("tier %s is not offered here, uid %d: %v", tier, os.Getuid(), err)
	}
	if p.info.Tier.String() != tier {
		t.Fatalf("asked for %s, got %v", tier, p.info.Tier)
	}
	return p
}

// all runs every row once, and returns how many there are and which are to be run again.
func (g *siege) all() (n int, slow []int) {
	rows := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range g.p.cfg.Concurrency {
		wg.Go(func() {
			for i := range rows {
				if g.try(i, false) {
					mu.Lock()
					slow = append(slow, i)
					mu.Unlock()
				}
			}
		})
	}
	for i, a := range g.rows {
		if !g.fork || a.Fork != "" {
			rows <- i
			n++
		}
	}
	close(rows)
	wg.Wait()
	return n, slow
}

// claims are what a row must show in this tier: an outcome for every cell, and what is in the last one's output.
func (g *siege) claims(a row) (wants []string, has string) {
	want, has := a.Want, a.Has
	switch {
	case g.fork:
		want = a.Fork
		if a.id != "A62" {
			has = ""
		}
	case g.bare && a.WantC != "":
		want, has = a.WantC, a.HasC
	case g.bare && a.HasC != "":
		has = a.HasC
	}
	return strings.Split(want, ";"), has
}

// try runs one row. A row that only ran out of time is not judged the first time: on a busy machine it is run again, alone.
func (g *siege) try(i int, last bool) (again bool) {
	a, key := g.rows[i], int64(i)
	defer g.p.Forget(key)
	wants, has := g.claims(a)
	var r Result
	for k, code := range a.cells {
		var err error
		code = strings.ReplaceAll(g.c.fill(code), "@SKIP@", skipNumbers())
		if r, err = g.p.Run(context.Background(), key, code); err != nil {
			g.t.Errorf("%s/%d: %v", a.id, k, err)
			continue
		}
		if !last && !outcome(r, wants[k]) && g.short(r) {
			return true
		}
		for _, why := range g.faults(a, r, wants[k]) {
			g.t.Errorf("%s/%d: %s: %v %s, session %s, stdout %.300q, stderr %.200q, traceback %.400q",
				a.id, k, why, r, r.Exc, r.Session, r.Stdout, r.Stderr, r.Traceback)
		}
	}
	if !bytes.Contains(r.Stdout, []byte(has)) {
		g.t.Errorf("%s: want %q in the output, found %.300q", a.id, has, r.Stdout)
	}
	next, err := g.p.Run(context.Background(), -1-key, "print(6*7)")
	if err != nil || string(next.Stdout) != "42\n" {
		g.t.Errorf("%s: the next session: %v %v %q", a.id, next, err, next.Stdout)
	}
	g.p.Forget(-1 - key)
	return false
}

// short says whether a result may be the busy machine's doing: time ran out, or, in tier C2, where the kernel counts threads by
// user, the neighbours' bombs left no thread.
func (g *siege) short(r Result) bool {
	return r.Status == TimeoutCPU || r.Status == TimeoutWall ||
		g.p.info.Tier == TierC2 && bytes.Contains(r.Traceback, []byte("can't start new thread"))
}

// faults are the claims that a cell's result does not keep.
func (g *siege) faults(a row, r Result, want string) (why []string) {
	if !outcome(r, want) {
		why = append(why, "want "+want)
	}
	if g.c.leaked(r) {
		why = append(why, "the secret is in the output")
	}
	if bytes.Contains(r.Stdout, []byte(bad)) || a.Not != "" && bytes.Contains(r.Stdout, []byte(a.Not)) {
		why = append(why, "violation")
	}
	if limit := g.p.cfg.Limits.Wall + time.Second; r.Wall > limit {
		why = append(why, fmt.Sprintf("returned %v after its start, want at most %v", r.Wall, limit))
	}
	if bytes.Contains(r.Traceback, []byte("<harness>")) {
		why = append(why, "a harness frame is in the traceback")
	}
	return why
}

func TestAttacksTierA(t *testing.T) {
	before := census(t)
	attackTier(t, "A", false)
	before.same(t)
}

// As root, tiers B and C2 are what another user gets: TestAttacksAsNobody and TestAttacksWithoutNamespaces run these two.
func TestAttacksTierB(t *testing.T)  { otherTier(t, "B") }
func TestAttacksTierC2(t *testing.T) { otherTier(t, "C2") }

func otherTier(t *testing.T, tier string) {
	if os.Geteuid() == 0 && *soakRuns == 0 {
		t.Skip("runs with -soak.runs; B and C2 also run as another user")
	}
	before := census(t)
	attackTier(t, tier, false)
	before.same(t)
}

// C1 is C2 with a user per session: root's last resort, and as slow to try.
func TestAttacksTierC1(t *testing.T) { otherTier(t, "C1") }

func TestAttacksWithForks(t *testing.T) {
	before := census(t)
	attackTier(t, "A", true)
	before.same(t)
}

// An older kernel's Landlock knows less: what it does not govern, the filter must deny. Version 1 knows no truncate, 3 no TCP, 5 no scopes.
func TestOlderLandlockVersions(t *testing.T) {
	c, err := layCanaries()
	if err != nil {
		t.Fatal(err)
	}
	defer c.remove()
	newest := landlockABI()
	for _, abi := range []int{1, 2, 3, 5} {
		if abi >= newest {
			continue
		}
		for _, tier := range []string{"B", "C2"} {
			cfg := Default()
			cfg.Python, cfg.Preload, cfg.Warm, cfg.Zygotes, cfg.MinTier = barePython(t), nil, 2, 1, tier
			cfg.omit = []string{fmt.Sprintf("landlock above %d", abi)}
			p, err := New(context.Background(), cfg.AtMost(tier), nil)
			if isTier(err) {
				continue
			} else if err != nil {
				t.Errorf("ABI %d, tier %s: %v", abi, tier, err)
				continue
			}
			if got := p.Info().Landlock; got != abi {
				t.Errorf("tier %s: ABI %d is reported, want %d", tier, got, abi)
			}
			for _, a := range corpus(t) {
				if !strings.HasPrefix(a.id, "fs-write-") && a.id != "fs-rename-exchange" && a.id != "A07" && a.id != "A14" {
					continue
				}
				r := run(t, p, 0, c.fill(a.cells[0]))
				if !outcome(r, a.Want) || bytes.Contains(r.Stdout, []byte(bad)) || c.leaked(r) {
					t.Errorf("ABI %d, tier %s, %s: %v %s%s", abi, tier, a.id, r, r.Stdout, r.Traceback)
				}
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if why := c.touched(); why != "" {
		t.Error(why)
	}
}
