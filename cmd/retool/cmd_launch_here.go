package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"retool/trainer"
	"retool/trainer/dist"
)

// saved is the exit code of a run that was asked to save and end: a scheduler starts it again. It is EX_TEMPFAIL of sysexits.h.
const saved = 75

// coded is an error with an exit code of its own.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// run starts the ranks of this host, and starts them again while that is allowed and helps.
func (s *start) run(ctx context.Context) error {
	adoptOrphans()
	for attempt := 0; ; attempt++ {
		before := s.reached()
		err := s.attempt(ctx, attempt)
		var c coded
		if err == nil || errors.As(err, &c) && c.code == saved || ctx.Err() != nil || attempt >= s.restarts {
			return err
		}
		now := s.reached()
		if now == before {
			return fmt.Errorf("%w; not started again: it got no further than %s", err, reachedText(before))
		}
		fmt.Fprintf(os.Stderr, "retool: %v; started again from %s (%d of %d)\n", err, reachedText(now), attempt+1, s.restarts)
	}
}

// reached is the newest checkpoint.
func (s *start) reached() string {
	if s.dir == "" {
		return ""
	}
	return trainer.Latest(s.dir)
}

func reachedText(checkpoint string) string {
	if checkpoint == "" {
		return "the beginning"
	}
	return "checkpoint " + filepath.Base(checkpoint)
}

// child is one rank's process.
type child struct {
	rank, local int
	cmd         *exec.Cmd
	errorFile   string
	output      sync.WaitGroup
	code        int            // of its end
	signal      syscall.Signal // that killed it, or 0
}

// attempt runs the ranks once, to the end of all of them.
func (s *start) attempt(ctx context.Context, attempt int) error {
	env, err := s.environment(attempt)
	if err != nil {
		return err
	}
	logs := s.dir
	if logs == "" {
		if logs, err = os.MkdirTemp("", "retool-launch-*"); err != nil {
			return err
		}
		defer os.RemoveAll(logs)
	}
	logs = filepath.Join(logs, "ranks")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
	defer signal.Stop(signals)
	var children []*child
	ends := make(chan *child)
	// A rank ends with its launcher, however that ends: the kernel tells it when the thread that started it has gone.
	started, finished := make(chan error), make(chan struct{})
	defer close(finished)
	go func() {
		runtime.LockOSThread()
		var err error
		for local := range s.per {
			var c *child
			if c, err = s.startChild(local, env, logs, attempt); err != nil {
				break
			}
			children = append(children, c)
		}
		started <- err
		<-finished
		runtime.UnlockOSThread()
	}()
	startErr := <-started
	for _, c := range children {
		go func() {
			c.wait()
			ends <- c
		}()
	}
	first := s.supervise(children, ends, signals, startErr != nil)
	killOrphans()
	switch {
	case startErr != nil:
		return fmt.Errorf("launch: rank %d: %w", s.node*s.per+len(children), startErr)
	case first == nil:
		return nil
	}
	return s.verdict(first, children, logs)
}

// supervise waits until all ranks have ended. When one fails the others are told to end, and after a while made to. It returns the first
// that failed.
func (s *start) supervise(children []*child, ends <-chan *child, signals <-chan os.Signal, failed bool) (first *child) {
	running := map[*child]bool{}
	for _, c := range children {
		running[c] = true
	}
	tell := func(sig syscall.Signal) {
		for c := range running {
			_ = syscall.Kill(c.cmd.Process.Pid, sig)
		}
	}
	var term, kill <-chan time.Time
	end := func(grace time.Duration) { // ranks end themselves when one does, and say why
		if term == nil {
			term, kill = time.After(grace), time.After(grace+10*time.Second)
		}
	}
	if failed {
		end(0)
	}
	interrupts := 0
	for len(running) > 0 {
		select {
		case c := <-ends:
			delete(running, c)
			if c.code != 0 {
				if first == nil {
					first = c
				}
				end(2 * time.Second)
			}
		case sig := <-signals:
			passed := sig.(syscall.Signal)
			if passed == syscall.SIGTERM && s.preemptible {
				passed = syscall.SIGUSR1
			}
			if passed == syscall.SIGINT {
				if interrupts++; interrupts > 1 {
					passed = syscall.SIGKILL
				}
			}
			s.passed = passed
			tell(passed)
		case <-term:
			tell(syscall.SIGTERM)
		case <-kill:
			for c := range running {
				_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
			}
		}
	}
	return first
}

// environment is what all ranks of an attempt are given.
func (s *start) environment(attempt int) ([]string, error) {
	env := os.Environ()
	at, job := s.at, dist.LaunchJob
	if s.nodes == 1 { // nobody else is to know it
		b := make([]byte, 16)
		if _, err := rand.Read(b); err != nil {
			return nil, err
		}
		env = append(env, dist.SecretVariable+"="+hex.EncodeToString(b))
		at, job = "127.0.0.1", fmt.Sprintf("%s-%d-%d", dist.LaunchJob, os.Getpid(), attempt)
	}
	return append(env, "WORLD_SIZE="+strconv.Itoa(s.nodes*s.per), "LOCAL_WORLD_SIZE="+strconv.Itoa(s.per), "GROUP_RANK="+strconv.Itoa(s.node),
		"MASTER_ADDR="+at, "MASTER_PORT="+strconv.Itoa(s.port), "TORCHELASTIC_RUN_ID="+job, "TORCHELASTIC_RESTART_COUNT="), nil
}

// startChild starts a rank in a session of its own; its output goes into its log, that of rank 0 also here, and errors of others behind
// their rank. The sentence with which a rank ends is for verdict to say.
func (s *start) startChild(local int, env []string, logs string, attempt int) (*child, error) {
	c := &child{rank: s.node*s.per + local, local: local}
	c.errorFile = filepath.Join(logs, fmt.Sprintf("%03d.error", c.rank))
	_ = os.Remove(c.errorFile)
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(logs, fmt.Sprintf("%03d.log", c.rank)), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(log, "── %s: start %d of rank %d of %d\n", time.Now().Format(time.DateTime), attempt+1, c.rank, s.nodes*s.per)
	c.cmd = exec.Command(path, s.command...)
	c.cmd.Env = append(env, "RANK="+strconv.Itoa(c.rank), "LOCAL_RANK="+strconv.Itoa(local), "TORCHELASTIC_ERROR_FILE="+c.errorFile)
	c.cmd.SysProcAttr = rankAttributes()
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	errs, errsEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close(), out.Close(), outEnd.Close())
	}
	c.cmd.Stdout, c.cmd.Stderr = outEnd, errsEnd
	err = c.cmd.Start()
	outEnd.Close()
	errsEnd.Close()
	if err != nil {
		return nil, errors.Join(err, log.Close(), out.Close(), errs.Close())
	}
	toOut, here := io.Writer(log), &complaints{to: os.Stderr}
	if c.rank == 0 {
		toOut = io.MultiWriter(log, os.Stdout)
	} else {
		here.prefix = fmt.Sprintf("[%d] ", c.rank)
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(toOut, out); out.Close() })
	both.Go(func() {
		_, _ = io.Copy(io.MultiWriter(log, here), errs)
		errs.Close()
		here.end(c.sentence())
	})
	c.output.Go(func() { both.Wait(); log.Close() })
	return c, nil
}

// complaints are what a rank says on standard error, whole lines behind a prefix. One that may be its last sentence waits for the next.
type complaints struct {
	to         io.Writer
	prefix     string
	part, last []byte
}

func (c *complaints) Write(b []byte) (int, error) {
	c.part = append(c.part, b...)
	for {
		n, line, err := bufio.ScanLines(c.part, false)
		if err != nil || n == 0 {
			return len(b), err
		}
		c.flush()
		if bytes.HasPrefix(line, []byte(complaint)) {
			c.last = bytes.Clone(line)
		} else {
			fmt.Fprintf(c.to, "%s%s\n", c.prefix, line)
		}
		c.part = c.part[n:]
	}
}

// complaint begins the sentence with which fail ends a process.
const complaint = "retool: "

func (c *complaints) flush() {
	if len(c.last) > 0 {
		fmt.Fprintf(c.to, "%s%s\n", c.prefix, c.last)
		c.last = nil
	}
}

// end writes what is left, but not the sentence that the rank left as its reason.
func (c *complaints) end(sentence string) {
	if string(c.last) == complaint+sentence {
		c.last = nil
	}
	c.flush()
	if len(c.part) > 0 {
		fmt.Fprintf(c.to, "%s%s\n", c.prefix, c.part)
	}
}

// wait waits for the process, and for its output as long as nothing that it left holds it.
func (c *child) wait() {
	_ = c.cmd.Wait()
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	c.code = c.cmd.ProcessState.ExitCode()
	if status.Signaled() {
		c.signal = status.Signal()
		c.code = 128 + int(c.signal)
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	done := make(chan struct{})
	go func() { c.output.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}

// sentence is what a rank left as the reason of its end.
func (c *child) sentence() string {
	text, err := os.ReadFile(c.errorFile)
	if err != nil {
		return ""
	}
	var said struct {
		Message struct {
			Message string `json:"message"`
		} `json:"message"`
	}
	_ = json.Unmarshal(text, &said)
	return said.Message.Message
}

// verdict is the end of the ranks in one sentence: the first one's own, or that of another which names it.
func (s *start) verdict(first *child, children []*child, logs string) error {
	asked := s.passed != 0 && first.signal == s.passed // before it listened
	switch {
	case first.code == saved, asked && s.passed == syscall.SIGUSR1:
		return coded{fmt.Errorf("launch: ended, as asked: what there was is saved (exit %d)", saved), saved}
	case asked:
		return coded{fmt.Errorf("launch: %w", interrupted(s.command)), 1}
	}
	pid, code, why := first.cmd.Process.Pid, first.code, first.sentence()
	killed := ""
	if first.signal != 0 {
		code, killed = 1, fmt.Sprintf("it was killed by signal %d (%v)", int(first.signal), first.signal)
		if first.signal == syscall.SIGKILL {
			killed += ", as the kernel does when memory runs out"
		}
	}
	for _, c := range children {
		if why == "" {
			why = c.sentence()
		}
	}
	// What ends a run of many ranks is named by all of them alike, with rank, process and log, whatever a rank was at.
	_, said, ofAll := strings.Cut(why, "dist: ")
	switch {
	case killed != "" && strings.Contains(said, fmt.Sprintf("pid %d)", pid)):
		return coded{fmt.Errorf("launch: %s; %s", said, killed), code}
	case killed != "":
		why = killed
	case ofAll:
		return coded{fmt.Errorf("launch: %s", said), code}
	case why == interrupted(s.command).Error(): // all were asked
		return coded{fmt.Errorf("launch: %s", why), code}
	case why == "":
		why = fmt.Sprintf("it exited with %d", code)
	}
	text := fmt.Sprintf("launch: rank %d (pid %d): %s", first.rank, pid, why)
	if s.dir != "" {
		text += fmt.Sprintf("; its log: %s", filepath.Join(logs, fmt.Sprintf("%03d.log", first.rank)))
	}
	return coded{errors.New(text), code}
}
