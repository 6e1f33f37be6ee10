package dist

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits are the watchdog's. Zero: the default.
type Limits struct {
	Beat    time.Duration // between signs of life; 2 s
	Silence time.Duration // of a rank, after which it counts as gone; 20 s
	Stall   time.Duration // of waiting, after which the ranks waited for are named; 60 s
	Timeout time.Duration // without progress of a rank waited for, after which the run ends; 10 min
}

func (l Limits) orDefault() Limits {
	return Limits{cmp.Or(l.Beat, 2*time.Second), cmp.Or(l.Silence, 20*time.Second), cmp.Or(l.Stall, time.Minute),
		cmp.Or(l.Timeout, 10*time.Minute)}
}

// watch knows what every rank does, and whom this one waits for. It counts its own beats, not time: a process that was stopped, or a
// machine that slept, missed its own as well as the others'.
type watch struct {
	m      *mesh
	limits Limits
	log    func(string)
	bytes  func(rank int) int64 // received of a rank so far; nil: ranks do not fall silent
	ending chan struct{}
	once   sync.Once

	mu     sync.Mutex
	states []state
	wait   *waiting
}

// state is what a rank last said, and for how many beats of this rank it has said, or done, nothing new.
type state struct {
	calls    uint64
	progress int64
	text     string

	received    int64
	silent      int // beats without a byte
	stuck       int // beats without progress
	lastCalls   uint64
	lastDone    int64
	lastDoneSet bool
}

// waiting is the call that this rank waits in.
type waiting struct {
	what  string
	since time.Time
	beats int
	for0  bool // a ticket, of rank 0
}

func newWatch(m *mesh) *watch {
	return &watch{m: m, log: func(string) {}, ending: make(chan struct{}), states: make([]state, m.size)}
}

// begin starts the beats.
func (w *watch) begin(l Limits, log func(string), bytes func(int) int64) {
	w.limits, w.log, w.bytes = l.orDefault(), log, bytes
	go func() {
		t := time.NewTicker(w.limits.Beat)
		defer t.Stop()
		for {
			select {
			case <-w.ending:
				return
			case <-t.C:
				w.beat()
			}
		}
	}()
}

func (w *watch) stop() { w.once.Do(func() { close(w.ending) }) }

// waits and goesOn frame a wait.
func (w *watch) waits(what string, ticket bool) {
	w.mu.Lock()
	w.wait = &waiting{what: what, since: time.Now(), for0: ticket}
	w.mu.Unlock()
}

func (w *watch) goesOn() {
	w.mu.Lock()
	w.wait = nil
	w.mu.Unlock()
}

func (w *watch) doing(progress int64, text string) {
	w.mu.Lock()
	w.states[w.m.rank].progress, w.states[w.m.rank].text = progress, text
	w.mu.Unlock()
}

// heard keeps what a rank says of itself: call is how many exchanges it has begun.
func (w *watch) heard(from int, f frame) {
	if len(f.body) != 8 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.states[from]
	s.calls, s.progress, s.text = f.call, int64(binary.LittleEndian.Uint64(f.body)), f.what
}

// beat tells the others what this rank does, and looks at what they do.
func (w *watch) beat() {
	m := w.m
	m.mu.Lock()
	begun, behind, over := m.posted+m.begun, m.behind, m.err != nil || m.closed
	left := append([]bool(nil), m.left...)
	absent := make([]bool, m.size) // whose part of the current call is not there
	for r := range absent {
		absent[r] = m.missing[r] && !m.has(r)
	}
	m.mu.Unlock()
	if over {
		return
	}
	w.mu.Lock()
	own := w.states[m.rank]
	if behind > 0 {
		w.late(behind, absent)
	}
	w.mu.Unlock()
	f := frame{kind: beat, call: begun, what: own.text[:min(len(own.text), maxWhat)],
		body: binary.LittleEndian.AppendUint64(nil, uint64(own.progress))}
	for r := range m.size {
		if r != m.rank && !left[r] {
			m.send(r, f)
		}
	}
	for r := range m.size {
		if r != m.rank && !left[r] && w.silence(r) {
			m.lost(r, fmt.Sprintf("has been silent for %v (it was stopped, or its host or the network is down)", w.limits.Silence))
			return
		}
	}
	w.look(absent)
}

// late marks the ranks that this one waits for in a fabric. It holds mu.
func (w *watch) late(behind uint64, absent []bool) {
	for _, all := range []bool{false, true} {
		for r := range absent {
			absent[r] = r != w.m.rank && (all || w.states[r].calls < behind)
		}
		if slices.Contains(absent, true) {
			return
		}
	}
}

// silence counts the beats in which a rank sent nothing.
func (w *watch) silence(r int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.states[r]
	if s.calls != s.lastCalls || s.progress != s.lastDone || !s.lastDoneSet {
		s.stuck = 0
	} else {
		s.stuck++
	}
	s.lastCalls, s.lastDone, s.lastDoneSet = s.calls, s.progress, true
	if w.bytes == nil {
		return false
	}
	if n := w.bytes(r); n != s.received {
		s.received, s.silent = n, 0
		return false
	}
	s.silent++
	return time.Duration(s.silent)*w.limits.Beat >= w.limits.Silence
}

// look says whom this rank waits for, once in dist.stall, and ends the run when one of them has not moved for dist.timeout.
func (w *watch) look(absent []bool) {
	w.mu.Lock()
	if w.wait == nil {
		w.mu.Unlock()
		return
	}
	w.wait.beats++
	wait := *w.wait
	if wait.for0 {
		clear(absent)
		absent[0] = true
	}
	speaker, worst := -1, -1
	var names []string
	for r, s := range w.states {
		switch {
		case absent[r]:
			names = append(names, strings.TrimSuffix(w.m.name(r)+": "+s.text, ": "))
			if worst < 0 || s.stuck > w.states[worst].stuck {
				worst = r
			}
		case speaker < 0:
			speaker = r
		}
	}
	stuck := 0
	if worst >= 0 {
		stuck = min(w.states[worst].stuck, wait.beats)
	}
	w.mu.Unlock()
	if worst < 0 {
		return
	}
	stall := max(1, int(w.limits.Stall/w.limits.Beat))
	if wait.beats%stall == 0 && speaker == w.m.rank {
		if len(names) > 3 {
			names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
		}
		w.log(fmt.Sprintf("waiting %v in %q for %s", time.Since(wait.since).Round(time.Second), wait.what, strings.Join(names, "; ")))
	}
	if time.Duration(stuck)*w.limits.Beat >= w.limits.Timeout {
		w.m.mu.Lock()
		defer w.m.mu.Unlock()
		_ = w.m.endLocked(worst, "%s has made no progress for %v%s; %s waits for it in %q", w.m.name(worst), w.limits.Timeout, w.lastly(worst),
			w.m.name(w.m.rank), wait.what)
	}
}

// lastly is what a rank did when it was last heard of.
func (w *watch) lastly(rank int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.states[rank].text; t != "" {
		return " in " + t
	}
	return ""
}
