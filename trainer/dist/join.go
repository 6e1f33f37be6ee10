package dist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hello is what a rank says of itself.
type hello struct {
	Member
	Size  int    `json:"size"`
	Same  []Fact `json:"same"`
	Start string `json:"start"` // of the process that says it, at random
	Pair  bool   `json:"pair"`  // to another rank than 0, by the roster
}

// roster is rank 0's answer: who the ranks are, or why there is no run.
type roster struct {
	Members []Member `json:"members"`
	Refused string   `json:"refused"`
	Of      int      `json:"of"` // the rank that the refusal is about
}

// meet joins this rank to all others.
func (n *network) meet(ctx context.Context) error {
	if n.o.Dir == "" && (n.id.At == "" || n.id.Port == 0) {
		return fmt.Errorf("rank %d of %d (%s) does not know where rank 0 is: want a run directory that all hosts see (run=DIR), or MASTER_ADDR "+
			"and MASTER_PORT", n.id.Rank, n.id.Size, n.id.Launcher)
	}
	var err error
	if n.key, err = n.credentials(newKey("address", n.id.Secret, n.id.Job, nil)); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, n.o.Wait)
	defer cancel()
	return n.meetWithin(within)
}

func (n *network) meetWithin(ctx context.Context) error {
	if n.id.Rank == 0 {
		return n.host(ctx)
	}
	pairs, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	defer pairs.Close()
	n.self.Addresses, n.self.Port = addresses(), pairs.Addr().(*net.TCPAddr).Port
	for {
		again, err := n.visit(ctx)
		if err == nil {
			break
		}
		if !again {
			return err
		}
	}
	return n.pair(ctx, pairs)
}

// visit tells rank 0 who this is, and takes its answer. again: rank 0 was lost before it answered, and another may come.
func (n *network) visit(ctx context.Context) (again bool, err error) {
	s, raw, err := n.find(ctx)
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() {
		grace := time.Duration(0)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			grace = 10 * time.Second // rank 0 says who is missing
		}
		_ = raw.SetDeadline(time.Now().Add(grace))
	})
	defer stop()
	var r roster
	err = s.tell("hello", hello{Member: n.self, Size: n.id.Size, Same: n.o.Same, Start: n.start})
	if err == nil {
		_ = raw.SetDeadline(time.Time{})
		err = s.hear("roster", &r)
	}
	switch {
	case err != nil:
		raw.Close()
		return ctx.Err() == nil, fmt.Errorf("rank %d: rank 0 has gone before all ranks had come: %w", n.id.Rank, err)
	case r.Refused != "":
		raw.Close()
		return false, &Ended{Rank: r.Of, Reason: r.Refused}
	case len(r.Members) != n.id.Size:
		raw.Close()
		return false, fmt.Errorf("rank %d: a roster of %d for %d ranks", n.id.Rank, len(r.Members), n.id.Size)
	}
	n.members = r.Members
	n.attach(0, s, raw)
	return false, nil
}

// arrival is a connection whose other end has said hello, and knows the key.
type arrival struct {
	s   *secured
	raw *counted
	hello
	blind bool
}

// refuse tells a rank why there is no run.
func (a arrival) refuse(why string, of int) {
	_ = a.raw.SetDeadline(time.Now().Add(time.Second))
	_ = a.s.tell("roster", roster{Refused: why, Of: of})
	a.raw.Close()
}

// accept gives connections their hello, each on its own, so that one that says nothing delays none; strangers are closed and named.
func (n *network) accept(d door, got chan<- arrival, done <-chan struct{}) {
	room := make(chan struct{}, 256) // strangers at a time
	var named sync.Map
	for {
		conn, err := d.Accept()
		if err != nil {
			return
		}
		room <- struct{}{}
		go func() {
			defer func() { <-room }()
			s, raw, err := secure(conn, d.credentials, true)
			a := arrival{s: s, raw: raw, blind: d.blind}
			if err == nil {
				err = s.hear("hello", &a.hello)
			}
			if err == nil {
				_ = conn.SetDeadline(time.Time{})
				select {
				case got <- a:
					return
				case <-done:
					err = nil
				}
			}
			conn.Close()
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
				return // a rank that another address was faster for, too
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("it said nothing for %v", handshake)
			}
			if _, known := named.LoadOrStore(host, true); !known {
				n.o.Log(fmt.Sprintf("dist: %s connected to rank %d and did not show that it is of this run (%v)", host, n.id.Rank, err))
			}
		}()
	}
}

// host is rank 0's side: it waits for all, holds them against one another, and sends the roster.
func (n *network) host(ctx context.Context) error {
	doors, tidy, err := n.open()
	if err != nil {
		return err
	}
	defer tidy()
	got, done := make(chan arrival), make(chan struct{})
	defer close(done)
	for _, d := range doors {
		defer d.Close()
		go n.accept(d, got, done)
	}
	here := map[int]arrival{}
	refuse := func(of int, why string, also ...arrival) error {
		return n.refuse(slices.AppendSeq(also, maps.Values(here)), got, &Ended{Rank: of, Reason: why, Speaks: true})
	}
	begun, again := time.Now(), time.NewTimer(patience)
	defer again.Stop()
	for len(here) < n.id.Size-1 {
		select {
		case <-again.C:
			absent := n.absent(here)
			n.o.Log(waits(ctx, begun, fmt.Sprintf("%s to come, %d of %d are missing", shortList("rank", absent), len(absent), n.id.Size)))
			again.Reset(time.Since(begun))
		case <-ctx.Done(): // all that will come have come
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err() // others may be told themselves, or find who is rank 0 next
			}
			for r := 1; r < n.id.Size; r++ {
				if a, ok := here[r]; ok {
					a.refuse(n.missing(here), 0)
				}
			}
			return &Ended{Rank: 0, Reason: n.missing(here), Speaks: true}
		case a := <-got:
			before, twice := here[a.Rank]
			if twice && before.Start == a.Start { // it lost its connection and has come again
				before.raw.Close()
				twice = false
			}
			if why := n.unfit(a, before.hello, twice); why != "" {
				return refuse(a.Rank, why, a)
			}
			here[a.Rank] = a
		}
	}
	n.members = make([]Member, n.id.Size)
	n.members[0] = n.self
	for r, a := range here {
		n.members[r] = a.Member
	}
	if of, why := collisions(n.members); why != "" {
		return refuse(of, why)
	}
	for r, a := range here {
		_ = a.raw.SetDeadline(time.Now().Add(handshake))
		if err := a.s.tell("roster", roster{Members: n.members}); err != nil {
			return refuse(r, n.members[r].String()+" has gone before all ranks had come")
		}
		n.attach(r, a.s, a.raw)
	}
	return nil
}

// refuse tells everybody why there is no run: those that are here, and for a moment those that are still to come.
func (n *network) refuse(here []arrival, got <-chan arrival, e *Ended) error {
	for _, a := range here {
		a.refuse(e.Reason, e.Rank)
	}
	late := time.After(lateness)
	for told := len(here); told < n.id.Size-1; told++ {
		select {
		case a := <-got:
			a.refuse(e.Reason, e.Rank)
		case <-late:
			return e
		}
	}
	return e
}

// lateness is how much later than the first a rank may come and still be told why there is no run.
const lateness = 5 * time.Second

// patience is how long a rank waits before it says for whom and how much longer; it says so again whenever it has waited twice as long.
var patience = 10 * time.Second

func waits(ctx context.Context, since time.Time, what string) string {
	end, _ := ctx.Deadline()
	return fmt.Sprintf("waiting %v for %s; at most %v more (dist.wait)", time.Since(since).Round(time.Second), what,
		time.Until(end).Round(time.Second))
}

// absent are the ranks that have not come.
func (n *network) absent(here map[int]arrival) (absent []string) {
	for r := 1; r < n.id.Size; r++ {
		if _, ok := here[r]; !ok {
			absent = append(absent, fmt.Sprint(r))
		}
	}
	return absent
}

// missing is why a run whose ranks have not come ends.
func (n *network) missing(here map[int]arrival) string {
	where := "port " + fmt.Sprint(n.self.Port) + " of " + n.self.Host
	if n.o.Dir != "" {
		where += ", by " + placeFile(n.o.Dir, n.id.Job)
	}
	return fmt.Sprintf("%d of %d ranks have come within %v; missing: %s (rank 0 waits on %s)", len(here)+1, n.id.Size, n.o.Wait,
		shortList("rank", n.absent(here)), where)
}

// shortList names a few things and counts the rest.
func shortList(what string, names []string) string {
	if len(names) > 1 {
		what += "s"
	}
	if len(names) > 8 {
		return fmt.Sprintf("%s %s and %d more", what, strings.Join(names[:8], ", "), len(names)-8)
	}
	return what + " " + strings.Join(names, ", ")
}

// unfit is why a rank that has come cannot be of this run.
func (n *network) unfit(a arrival, before hello, twice bool) string {
	switch {
	case a.Size != n.id.Size:
		return fmt.Sprintf("%s was started as one of %d ranks, rank 0 (%s) as one of %d", a.Member, a.Size, n.self.Host, n.id.Size)
	case a.Rank == 0:
		return fmt.Sprintf("two processes are rank 0: pid %d on %s and pid %d on %s", n.self.PID, n.self.Host, a.PID, a.Host)
	case a.Rank < 0 || a.Rank >= n.id.Size:
		return fmt.Sprintf("pid %d on %s is rank %d of %d", a.PID, a.Host, a.Rank, a.Size)
	case a.blind:
		return fmt.Sprintf("%s does not see %s, the run directory of rank 0 (%s): it must be one that all hosts share", a.Member, n.o.Dir,
			n.self.Host)
	case twice:
		return fmt.Sprintf("two processes are rank %d: pid %d on %s and pid %d on %s", a.Rank, before.PID, before.Host, a.PID, a.Host)
	}
	for i, f := range n.o.Same {
		if i >= len(a.Same) || a.Same[i].Name != f.Name {
			return fmt.Sprintf("%s compares other things than rank 0 (%s): is it another version of the program?", a.Member, n.self.Host)
		}
		if ours, theirs, differ := firstDifference(f.Text, a.Same[i].Text); differ {
			return fmt.Sprintf("%s: rank 0 (%s) has %s, %s %s", f.Name, n.self.Host, ours, a.Member, theirs)
		}
	}
	return ""
}

// firstDifference is the first line in which two texts differ.
func firstDifference(a, b string) (ours, theirs string, differ bool) {
	if a == b {
		return "", "", false
	}
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		ours, theirs = "nothing more", "nothing more"
		if i < len(x) {
			ours = fmt.Sprintf("%q", strings.TrimSpace(x[i]))
		}
		if i < len(y) {
			theirs = fmt.Sprintf("%q", strings.TrimSpace(y[i]))
		}
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			break
		}
	}
	return ours, theirs, true
}

// collisions finds two ranks of a host on one GPU.
func collisions(members []Member) (of int, why string) {
	taken := map[string]Member{}
	for _, m := range members {
		if m.PCI == "" {
			continue
		}
		if first, ok := taken[m.Host+m.PCI]; ok {
			return m.Rank, fmt.Sprintf("%s and %s are on one GPU (PCI %s): local ranks %d and %d", first, m, m.PCI, first.LocalRank, m.LocalRank)
		}
		taken[m.Host+m.PCI] = m
	}
	return 0, ""
}

// pair connects this rank to those between 0 and itself, and takes the calls of those above.
func (n *network) pair(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, pairing)
	defer cancel()
	got, done := make(chan arrival), make(chan struct{})
	defer close(done)
	go n.accept(door{Listener: l, credentials: n.key}, got, done)
	called := make(chan error, n.id.Size)
	for r := 1; r < n.id.Rank; r++ {
		go func() { called <- n.callRank(ctx, r) }()
	}
	waiting := map[int]bool{}
	for r := n.id.Rank + 1; r < n.id.Size; r++ {
		waiting[r] = true
	}
	for calls := n.id.Rank - 1; calls > 0 || len(waiting) > 0; {
		select {
		case err := <-called:
			if err != nil {
				return n.fault("%v", err)
			}
			calls--
		case a := <-got:
			if !a.Pair || !waiting[a.Rank] || a.PID != n.members[a.Rank].PID {
				a.raw.Close()
				continue
			}
			n.attach(a.Rank, a.s, a.raw)
			delete(waiting, a.Rank)
		case <-ctx.Done():
			var absent []string
			for r := range waiting {
				absent = append(absent, n.members[r].String())
			}
			slices.Sort(absent)
			return n.fault("%s not connected to it within %v: is the network between their hosts open?", shortList("has", absent), pairing)
		case <-n.over:
			return n.failed()
		}
	}
	return nil
}

// pairing is how long ranks that all are there may take to connect to one another.
const pairing = 30 * time.Second

// callRank connects to a rank that waits for it.
func (n *network) callRank(ctx context.Context, r int) error {
	m := n.members[r]
	where := m.Addresses
	if m.Host == n.self.Host {
		where = append([]string{"127.0.0.1"}, where...)
	}
	for {
		s, raw, err := reach(ctx, n.key, where, m.Port)
		if err == nil {
			if err = s.tell("hello", hello{Member: n.self, Size: n.id.Size, Pair: true}); err == nil {
				n.attach(r, s, raw)
				return nil
			}
			raw.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it reaches %s at none of %v, port %d: %w", m, where, m.Port, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
