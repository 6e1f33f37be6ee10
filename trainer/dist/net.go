package dist

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Options are what ranks need to know of themselves to meet.
type Options struct {
	Dir      string // run directory, which all ranks see; "": ranks meet at ID.At alone
	Same     []Fact // what must not differ between ranks
	Device   string // as a roster shows it: GPU 3
	PCI      string // address of the GPU, "" without one: two ranks of a host may not have the same
	Cores    int    // that the rank may use
	Affinity string // which those are
	TLS      bool
	TCP      bool          // for all, also between processes of one host
	Wait     time.Duration // for all ranks to come; 0: 5 min
	Limits   Limits
	Log      func(string) // lines about strangers and stalls; not nil
	Ended    func(*Ended) // told once, from any goroutine, when the run ends before its end; may be nil
}

// Fact is something that all ranks must have alike: binary, settings, data. Text is compared line by line.
type Fact struct{ Name, Text string }

// Member is a rank, as all know it.
type Member struct {
	Rank      int      `json:"rank"`
	LocalRank int      `json:"local_rank"`
	Host      string   `json:"host"`
	PID       int      `json:"pid"`
	Device    string   `json:"device"`
	PCI       string   `json:"pci,omitempty"`
	Cores     int      `json:"cores"`
	Affinity  string   `json:"affinity,omitempty"`
	Addresses []string `json:"addresses"` // where the others connect to it, or have
	Port      int      `json:"port"`
}

func (m Member) String() string {
	if m.Device == "" {
		return fmt.Sprintf("rank %d (%s, pid %d)", m.Rank, m.Host, m.PID)
	}
	return fmt.Sprintf("rank %d (%s, %s, pid %d)", m.Rank, m.Host, m.Device, m.PID)
}

// network is a mesh over TCP: a connection to every other rank.
type network struct {
	*mesh
	id      ID
	o       Options
	key     credentials // of the run
	joined  atomic.Bool // Join has returned, or is about to
	over    chan struct{}
	self    Member
	start   string // of this process, at random
	members []Member
	links   []atomic.Pointer[link]
}

// link is a connection to a rank, both ends of which know the key.
type link struct {
	conn net.Conn
	raw  *counted
	post *post
	done chan struct{} // closed when nothing more will be read
}

// counted counts what is read, frames half arrived too: a large one is no silence.
type counted struct {
	net.Conn
	n atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// Join meets the other ranks of a run. It returns when all are there, with what each is, or with the one sentence why they are not, which
// every rank gets that can be told; where ctx ends first, with its cause. A run of one rank meets nobody.
func Join(ctx context.Context, id ID, o Options) (Comm, []Member, error) {
	host, _ := os.Hostname()
	self := Member{Rank: id.Rank, LocalRank: id.LocalRank, Host: host, PID: os.Getpid(), Device: o.Device, PCI: o.PCI,
		Cores: o.Cores, Affinity: o.Affinity}
	if id.Size == 1 {
		return &Alone{}, []Member{self}, nil
	}
	if o.Wait == 0 {
		o.Wait = 5 * time.Minute
	}
	o.Limits = o.Limits.orDefault()
	n := &network{mesh: newMesh(id.Rank, id.Size), id: id, o: o, self: self, links: make([]atomic.Pointer[link], id.Size),
		over: make(chan struct{})}
	var err error
	if n.start, err = newToken(); err != nil {
		return nil, nil, err
	}
	n.mesh.send = n.send
	n.mesh.name = func(r int) string {
		if r < len(n.members) {
			return n.members[r].String()
		}
		return fmt.Sprintf("rank %d", r)
	}
	begun := time.Now()
	n.mesh.logOf = func(r int) string {
		path := filepath.Join(o.Dir, "ranks", fmt.Sprintf("%03d.log", r)) // where retool launch writes it
		if info, err := os.Stat(path); o.Dir == "" || err != nil || info.ModTime().Before(begun.Add(-time.Minute)) {
			return ""
		}
		return "; its log: " + path
	}
	n.mesh.ended = func(e *Ended) {
		close(n.over)
		if n.joined.Load() && o.Ended != nil {
			o.Ended(e)
		}
	}
	if err := n.meet(ctx); err != nil {
		n.shut()
		if ctx.Err() != nil { // asked to stop, or told: no reason of the run's
			return nil, nil, context.Cause(ctx)
		}
		var e *Ended
		if !errors.As(err, &e) {
			e = &Ended{Rank: id.Rank, Reason: err.Error(), Speaks: true} // rank 0 has not heard of it
		}
		return nil, nil, e
	}
	n.mesh.watch.begin(o.Limits, o.Log, func(r int) int64 { return n.links[r].Load().raw.n.Load() })
	stop := context.AfterFunc(ctx, func() { n.Abort(context.Cause(ctx)) })
	_, err = n.Gather("join", nil) // until here a rank could be without some of its connections
	if err == nil {
		err = n.share()
	}
	stop()
	n.joined.Store(true)
	if err == nil {
		err = n.failed()
	}
	if err != nil {
		n.Close()
		return nil, nil, err
	}
	return n, n.members, nil
}

// failed is why the run has ended, or nil.
func (m *mesh) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		return nil
	}
	return m.err
}

// credentials are a key, and what encrypts for those who have it.
type credentials struct {
	key
	tls *tls.Config // nil: nothing does
}

func (n *network) credentials(k key) (c credentials, err error) {
	c.key = k
	if n.o.TLS {
		c.tls, err = k.encryption()
	}
	return c, err
}

// secure wraps a connection and opens the conversation on it, within a deadline.
func secure(raw net.Conn, c credentials, called bool) (*secured, *counted, error) {
	_ = raw.SetDeadline(time.Now().Add(handshake))
	counting := &counted{Conn: raw}
	s := &secured{conn: counting, key: c.key}
	if c.tls != nil {
		if called {
			s.conn = tls.Server(counting, c.tls)
		} else {
			s.conn = tls.Client(counting, c.tls)
		}
	}
	if called {
		return s, counting, s.answer()
	}
	return s, counting, s.call()
}

// handshake is how long a stranger can hold a connection.
const handshake = 5 * time.Second

// attach makes a connection that of a rank.
func (n *network) attach(to int, s *secured, raw *counted) {
	_ = raw.SetDeadline(time.Time{})
	l := &link{conn: s.conn, raw: raw, post: newPost(), done: make(chan struct{})}
	n.links[to].Store(l)
	go n.read(to, l)
}

func (n *network) send(to int, f frame) {
	l := n.links[to].Load()
	if l == nil {
		return // an abort before the two have met: its connection to rank 0 says the same
	}
	l.post.put(func() { _ = writeFrame(l.conn, f) }) // that it failed is seen by read
}

// read delivers what a rank sends.
func (n *network) read(from int, l *link) {
	defer close(l.done)
	r := bufio.NewReaderSize(l.conn, 1<<16)
	for {
		_, _ = r.Peek(1)
		at := time.Now()
		f, err := readFrame(r)
		f.at = at
		switch {
		case err == nil:
			n.deliver(from, f)
			continue
		case errors.Is(err, errFrame):
			n.lost(from, err.Error())
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		default:
			n.lost(from, "has gone")
		}
		return
	}
}

// Close says goodbye and waits until the others have, or have gone, for a moment. What was sent arrives.
func (n *network) Close() error {
	if end := n.goodbye(); end == nil {
		n.farewell(5 * time.Second)
	}
	n.mu.Lock()
	n.closed = true
	n.tickets.on(nil)
	if n.board != nil {
		_ = n.board.close()
		n.board = nil
	}
	n.mu.Unlock()
	n.watch.stop()
	n.shut()
	return nil
}

// farewell waits for everybody's goodbye.
func (m *mesh) farewell(limit time.Duration) {
	over := time.AfterFunc(limit, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.closed = true
		m.arrived.Broadcast()
	})
	defer over.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.err == nil && !m.closed {
		all := true
		for _, left := range m.left {
			all = all && left
		}
		if all {
			return
		}
		m.arrived.Wait()
	}
}

// shut sends what is left to send and closes every connection. It lets the others close first, for a moment: a connection that is closed
// with something unread takes what is still under way to the other end with it.
func (n *network) shut() {
	limit := time.After(time.Second)
	wait := func(c <-chan struct{}) {
		select {
		case <-c:
		case <-limit:
			limit = past
		}
	}
	var links []*link
	for r := range n.links {
		if l := n.links[r].Load(); l != nil {
			links = append(links, l)
			l.post.put(func() {
				if c, ok := l.conn.(interface{ CloseWrite() error }); ok { // of TLS
					_ = c.CloseWrite()
				}
				if c, ok := l.raw.Conn.(*net.TCPConn); ok {
					_ = c.CloseWrite()
				}
			})
			l.post.close()
		}
	}
	for _, l := range links {
		wait(l.post.idle)
	}
	for _, l := range links {
		wait(l.done)
		l.raw.Close()
	}
}

// past is a limit that is over.
var past = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// WriteRoster stores who the ranks are.
func WriteRoster(w io.Writer, members []Member) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(members)
}
