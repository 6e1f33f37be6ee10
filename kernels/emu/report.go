package emu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind is a class of bug.
type Kind string

// What the checker reports.
const (
	GlobalBounds     Kind = "global-oob"
	SharedBounds     Kind = "shared-oob"
	LocalBounds      Kind = "local-oob"
	UseAfterFree     Kind = "use-after-free"
	Misaligned       Kind = "misaligned"
	Uninitialised    Kind = "uninit"
	ReadAfterWrite   Kind = "race RAW"
	WriteAfterRead   Kind = "race WAR"
	WriteAfterWrite  Kind = "race WAW"
	BlockRace        Kind = "block-block"
	AsyncInFlight    Kind = "async-inflight"
	DivergentBarrier Kind = "divergent-barrier"
	Mask             Kind = "mask"
	Deadlock         Kind = "deadlock"
	MBarrier         Kind = "mbarrier"
	Proxy            Kind = "proxy"
	Cluster          Kind = "cluster"
	HostRace         Kind = "host-race" // between a copy to or from the host and what uses its bytes
)

const maxReports = 16 // of one launch

// A Report is one bug: at most one for each kind and source line of a launch.
type Report struct {
	Kind    Kind
	Entry   string // the kernel; "a copy": none
	At      *place // of the access, CUDA source; nil: a copy's
	Line    int    // of the PTX
	OtherAt *place // of the access it conflicts with
	Block   int    // number of the block, x fastest
	Thread  int    // in the block; none: all
	Other   int    // the thread it conflicts with, through all blocks
	Detail  string
}

func (r Report) String() string {
	if r.At == nil && r.Kind == HostRace {
		return fmt.Sprintf("emu: %s: %s", r.Kind, r.Detail)
	}
	s := fmt.Sprintf("emu: %s: %s: %s: %s (block %d", r.At, r.Entry, r.Kind, r.Detail, r.Block)
	if r.Thread != none {
		s += fmt.Sprintf(", thread %d", r.Thread)
	}
	return s + fmt.Sprintf("; PTX line %d)", r.Line)
}

type reportKey struct {
	kind Kind
	at   string
}

// Failure is the error of a launch: everything the checker saw.
type Failure struct{ Reports []Report }

func (f *Failure) Error() string {
	var b strings.Builder
	for i, r := range f.Reports {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.String())
	}
	return b.String()
}

// Reports are the bugs inside err, if a launch of the emulator failed.
func Reports(err error) []Report {
	var f *Failure
	if errors.As(err, &f) {
		return f.Reports
	}
	return nil
}

// known says whether a report of this kind and line would say nothing new.
func (l *launch) known(kind Kind, at *place) bool {
	return len(l.reports) >= maxReports || len(l.seen) > 0 && l.seen[reportKey{kind, at.String()}]
}

func (l *launch) report(r Report) {
	if l.known(r.Kind, r.At) {
		return
	}
	if l.seen == nil {
		l.seen = map[reportKey]bool{}
	}
	l.seen[reportKey{r.Kind, r.At.String()}] = true
	r.Entry = l.p.f.name
	l.reports = append(l.reports, r)
}

func (w *warp) report(r Report, in *instr) {
	r.At, r.Line, r.Block, r.Thread, r.Other = in.at, in.line, w.b.number, none, none
	w.b.l.report(r)
}

func (w *warp) reportLane(kind Kind, lane int, detail string) {
	in := w.b.l.p.steps[w.pc].in
	w.b.l.report(Report{Kind: kind, At: in.at, Line: in.line, Block: w.b.number, Thread: w.first + lane, Other: none, Detail: detail})
}

func (l *launch) verdict() error {
	if len(l.reports) == 0 {
		return nil
	}
	return &Failure{l.reports}
}

// sharedName says which variable a shared offset belongs to.
func (p *program) sharedName(off int) string {
	for _, v := range p.shared {
		if at := int(v.addr) - sharedBase; off >= at && off < at+v.size {
			return fmt.Sprintf("shared %s+%d", shortName(v.name), off-at)
		}
	}
	if p.dyn != nil && off >= p.dynAt {
		return fmt.Sprintf("shared %s+%d", shortName(p.dyn.name), off-p.dynAt)
	}
	return fmt.Sprintf("shared byte %d", off)
}

// shortName is the variable's own name inside a mangled one: the last length-prefixed identifier.
func shortName(s string) string {
	if !strings.HasPrefix(s, "_Z") {
		return s
	}
	for i := len(s) - 1; i > 1; i-- {
		if s[i-1] != 'E' || s[i] < '0' || s[i] > '9' {
			continue
		}
		j := i
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		if n, err := strconv.Atoi(s[i:j]); err == nil && j+n == len(s) {
			return s[j:]
		}
	}
	return s
}
