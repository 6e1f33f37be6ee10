package dist

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"
)

// kind says what a frame is.
type kind uint8

const (
	data  kind = iota + 1 // of a collective
	ask                   // for a ticket, to rank 0
	give                  // the ticket: call is its number
	beat                  // what the sender does, and that it lives
	abort                 // the run has ended: call is the rank it began with, body the sentence
	bye                   // the sender needs nobody any more
	kinds
)

// frame is what goes from rank to rank.
type frame struct {
	kind kind
	call uint64 // of data: the how manieth round of all collectives
	what string
	body []byte
	at   time.Time // when the first of it came
}

// mesh is the ranks' calls over frames. Local and Net differ in send, which never blocks, and in name.
type mesh struct {
	rank, size int
	send       func(to int, f frame)
	name       func(rank int) string // as a sentence names it: rank 2 (host b, GPU 2, pid 4711)
	logOf      func(rank int) string // "; its log: FILE", or nothing
	tickets    tickets               // rank 0's
	board      *board                // of the ranks of one host; nil: all goes by send
	watch      *watch
	ended      func(*Ended) // told once, when the run has ended before its end

	mu             sync.Mutex
	arrived        *sync.Cond
	in             [][]frame // data of each rank, in order
	given          []frame   // answers to ask
	left           []bool    // who has said bye
	zeroSpoke      bool      // rank 0 itself has said why the run ended
	err            *Ended
	closed         bool
	missing        []bool        // whose part of the round that this rank waits for has not come
	current        string        // the call that this rank is in
	posted, waited uint64        // rounds sent and collected
	begun          uint64        // exchanges of a fabric
	forOthers      time.Duration // that this rank has waited for others to come to its calls
	ticketsOf      string        // the name whose tickets are counted on the board
	ticketsGen     uint32        // there
	behind         uint64        // rounds and exchanges that this rank had begun when it began to wait in a fabric; 0: it does not
}

func newMesh(rank, size int) *mesh {
	m := &mesh{rank: rank, size: size, in: make([][]frame, size), left: make([]bool, size), missing: make([]bool, size)}
	m.arrived = sync.NewCond(&m.mu)
	m.name = func(r int) string { return fmt.Sprintf("rank %d", r) }
	m.logOf = func(int) string { return "" }
	m.ended = func(*Ended) {}
	m.watch = newWatch(m)
	return m
}

func (m *mesh) Rank() int { return m.rank }
func (m *mesh) Size() int { return m.size }

// Gather is one round in which every rank is sent the same.
func (m *mesh) Gather(what string, mine []byte) ([][]byte, error) {
	if len(mine) > maxBody {
		return nil, m.fault("%q: %d bytes are more than the %d that one call moves", what, len(mine), maxBody)
	}
	if err := m.enter(what); err != nil {
		return nil, err
	}
	defer m.leave()
	mine = slices.Clone(mine) // it is sent while the caller goes on
	m.post(what, func(int, func(int) []byte) []byte { return mine })
	got, err := m.collect(what, true)
	if err != nil {
		return nil, err
	}
	got[m.rank] = mine
	if m.board != nil {
		for r := range got {
			got[r] = slices.Clone(got[r]) // their places are used again
		}
	}
	return got, nil
}

// Ticket asks rank 0, whose connections answer whatever it does itself, or takes what the board counts, as the answer says.
func (m *mesh) Ticket(what string) (int, error) {
	if err := m.enter(what); err != nil {
		return 0, err
	}
	defer m.leave()
	if m.rank == 0 {
		n, _ := m.tickets.take(what)
		return n, nil
	}
	if m.board != nil && m.ticketsOf == what {
		if n, ok := m.board.ticket(m.ticketsGen); ok {
			return n, nil
		}
	}
	m.send(0, frame{kind: ask, what: what})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch.waits(what, true)
	defer m.watch.goesOn()
	for len(m.given) == 0 {
		if err := m.cannotWait(what, 0); err != nil {
			return 0, err
		}
		m.arrived.Wait()
	}
	f := m.given[0]
	m.given = m.given[1:]
	if m.ticketsOf = ""; len(f.body) == 4 {
		m.ticketsOf, m.ticketsGen = what, binary.LittleEndian.Uint32(f.body)
	}
	return int(f.call), nil
}

// enter begins a call. Two at a time are a mistake of this rank's program.
func (m *mesh) enter(what string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.current != "" {
		return m.endLocked(m.rank, "%s is in %q and in %q at once", m.name(m.rank), m.current, what)
	}
	if what == "" || len(what) > maxWhat {
		return m.endLocked(m.rank, "%s makes a call whose name has %d bytes: want 1 to %d", m.name(m.rank), len(what), maxWhat)
	}
	m.current = what
	return nil
}

func (m *mesh) leave() {
	m.mu.Lock()
	m.current = ""
	m.mu.Unlock()
}

// post sends a round: to each of the others what body says, which may ask for room to write it.
func (m *mesh) post(what string, body func(to int, room func(n int) []byte) []byte) {
	m.mu.Lock()
	m.posted++
	call := m.posted
	m.mu.Unlock()
	if m.board != nil {
		for to, long := range m.board.post(call, what, body) {
			m.send(to, frame{kind: data, call: call, what: what, body: long})
		}
		return
	}
	for i := 1; i < m.size; i++ { // each begins with its neighbour, so that not all send to rank 0 first
		to := (m.rank + i) % m.size
		m.send(to, frame{kind: data, call: call, what: what, body: body(to, anew)})
	}
}

// collect waits for a round of all others, the first of a call or not. What is of a board stays as it is until this rank posts two rounds
// more.
func (m *mesh) collect(what string, first bool) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waited++
	begun := time.Now()
	last := begun
	got := make([][]byte, m.size)
	m.watch.waits(what, false)
	defer m.watch.goesOn()
	for r := range m.missing {
		m.missing[r] = r != m.rank
	}
	for i := 1; i < m.size; i++ {
		from := (m.rank + i) % m.size
		f, err := m.next(what, from)
		if err != nil {
			return nil, err
		}
		m.missing[from] = false
		if f.what != what || f.call != m.waited {
			return nil, m.endLocked(from, "%s is in %q (exchange %d), %s in %q (exchange %d)",
				m.name(m.rank), what, m.waited, m.name(from), f.what, f.call)
		}
		got[from] = f.body
		if f.at.After(last) {
			last = f.at
		}
	}
	if first {
		m.forOthers += last.Sub(begun)
	}
	return got, nil
}

// Waited is how long this rank has waited for others to come to its calls.
func (m *mesh) Waited() time.Duration { return m.forOthers }

// next waits for a rank's part of the round that this one waits for. It holds mu.
func (m *mesh) next(what string, from int) (frame, error) {
	if m.board != nil {
		for {
			over := m.err != nil || m.left[from] // looked at first: what it has posted before it left is there
			if m.board.has(from, m.waited) {
				break
			}
			if over {
				return frame{}, m.cannotWait(what, from)
			}
			m.mu.Unlock()
			m.board.sleep(from, m.waited)
			m.mu.Lock()
		}
		f, here, err := m.board.read(from, m.waited)
		switch {
		case err != nil:
			return f, m.endLocked(from, "%s %v", m.name(from), err)
		case here:
			return f, nil
		}
	}
	for len(m.in[from]) == 0 {
		if err := m.cannotWait(what, from); err != nil {
			return frame{}, err
		}
		m.arrived.Wait()
	}
	f := m.in[from][0]
	m.in[from] = m.in[from][1:]
	return f, nil
}

// has reports whether a rank's part of the round that this one waits for is there. It holds mu.
func (m *mesh) has(from int) bool {
	return len(m.in[from]) > 0 || m.board != nil && m.board.has(from, m.waited)
}

// cannotWait is why a frame of a rank will not come.
func (m *mesh) cannotWait(what string, from int) error {
	switch {
	case m.err != nil:
		return m.err
	case m.left[from]:
		return m.endLocked(from, "%s has left, and %s waits for it in %q", m.name(from), m.name(m.rank), what)
	}
	return nil
}

// deliver takes a frame that a rank sent. It is called by one goroutine for each sender, and does not wait.
func (m *mesh) deliver(from int, f frame) {
	switch f.kind {
	case ask:
		n, gen := m.tickets.take(f.what)
		answer := frame{kind: give, call: uint64(n), what: f.what}
		if gen > 0 {
			answer.body = binary.LittleEndian.AppendUint32(nil, gen)
		}
		m.send(from, answer)
		return
	case beat:
		m.watch.heard(from, f)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch f.kind {
	case data:
		m.in[from] = append(m.in[from], f)
	case give:
		m.given = append(m.given, f)
	case bye:
		m.left[from] = true
	case abort: // it is passed on: whoever closes has said why
		if m.err == nil && !m.closed {
			m.zeroSpoke = m.zeroSpoke || from == 0
			_ = m.endLocked(int(f.call), "%s", f.body)
		}
	}
	m.arrived.Broadcast()
}

// lost says that nothing more will come from a rank.
func (m *mesh) lost(from int, how string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left[from] || m.err != nil || m.closed {
		return
	}
	if m.left[m.rank] { // it needs nobody: that another goes is not its to report
		m.left[from] = true
		m.arrived.Broadcast()
		return
	}
	m.endLocked(from, "%s %s%s%s", m.name(from), how, m.watch.lastly(from), m.logOf(from))
}

// Abort ends the run with this rank's reason. That of a run which has ended already is kept.
func (m *mesh) Abort(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLocked(m.rank, "%s: %v", m.name(m.rank), err)
}

// fault ends the run with a mistake of this rank.
func (m *mesh) fault(format string, args ...any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.endLocked(m.rank, "%s: %s", m.name(m.rank), fmt.Sprintf(format, args...))
}

// endLocked ends the run and tells everybody, unless it has ended: then the first reason stands.
func (m *mesh) endLocked(rank int, format string, args ...any) error {
	if m.err != nil {
		return m.err
	}
	m.setEnd(&Ended{Rank: rank, Reason: fmt.Sprintf(format, args...)})
	if m.closed {
		return m.err
	}
	for to := range m.size {
		if to != m.rank && !m.left[to] {
			m.send(to, frame{kind: abort, call: uint64(rank), body: []byte(m.err.Reason)})
		}
	}
	return m.err
}

// setEnd keeps the first reason, and decides who prints it: rank 0, or the next where it is rank 0 that has gone.
func (m *mesh) setEnd(e *Ended) {
	if m.err != nil {
		return
	}
	if m.closed {
		m.err = &Ended{Rank: m.rank, Reason: m.name(m.rank) + " is in a call after it has closed its Comm"}
		return
	}
	speaker := 0
	if e.Rank == 0 && m.rank != 0 && !m.zeroSpoke {
		speaker = 1
	}
	e.Speaks = m.rank == speaker
	m.err = e
	m.arrived.Broadcast()
	go m.ended(e)
}

// Doing keeps what the watchdogs of the others are told.
func (m *mesh) Doing(progress int64, format string, args ...any) {
	m.watch.doing(progress, fmt.Sprintf(format, args...))
}

// goodbye tells everybody that this rank needs nothing more. It returns why the run has ended already, if it has.
func (m *mesh) goodbye() *Ended {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.err != nil {
		return m.err
	}
	for to := range m.size {
		if to != m.rank {
			m.send(to, frame{kind: bye})
		}
	}
	m.left[m.rank] = true
	return nil
}
