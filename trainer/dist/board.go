package dist

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

// A board is memory that the ranks of one host share: each writes what it sends into places of its own, and the others read it there.
// Rounds are those of frames, with the same numbers and names; ends, signs of life and whatever is too long for a place stay on TCP.
//
// A place is used again four rounds later. By then everybody has read it: a rank that posts round n has dealt with n−2, so all others had
// posted n−2, and had dealt with n−4.
//
// The memory has no name in any file system: whoever the others are, rank 0 tells its process and descriptor over TCP, with a secret that
// lies in the memory. It is gone with the last rank, however that ends.
//
//	secret   counters of tickets   rounds posted by each rank   heads, a rank's places one after the other   places
type board struct {
	mem        []byte
	rank, size int
	places     int // where those of rank 0 begin
}

const (
	boardPlaces  = 4
	boardPlace   = 1 << 20 // bytes
	boardTickets = 64      // names whose tickets are counted there
	boardRanks   = 1024    // more have too little of a place each
	boardLine    = 64      // what is written by different ranks is so far apart
	boardSecret  = 32
	boardPosted  = boardLine + 8*boardTickets // where the counters of rounds begin
	elsewhere    = ^uint32(0)                 // the length of what comes by TCP
)

// headLen is that of a place: round, when it was posted, length of name, name, where for each rank its bytes begin in the place, and how
// many they are.
func headLen(size int) int { return rounded(headEntries+8*size, boardLine) }

const (
	headName    = 20
	headEntries = headName + maxWhat
)

func rounded(n, to int) int { return (n + to - 1) / to * to }

// boardLen is the bytes that a board of so many ranks has.
func boardLen(size int) int {
	return rounded(boardPosted+size*boardLine+size*boardPlaces*headLen(size), 1<<12) + size*boardPlaces*boardPlace
}

func newBoard(mem []byte, rank, size int) *board {
	return &board{mem: mem, rank: rank, size: size, places: len(mem) - size*boardPlaces*boardPlace}
}

// chunk is how many numbers one round moves to a rank: those to all others fit a place, and stay in caches.
func (b *board) chunk() int {
	return min(boardChunk, boardPlace/4/(b.size-1)/boardLine*boardLine)
}

const boardChunk = 1 << 15

func (b *board) word(at int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&b.mem[at])) }

// posted counts the rounds of a rank, asleep the ranks that sleep until it changes.
func (b *board) posted(rank int) *atomic.Uint32 { return b.word(boardPosted + rank*boardLine) }
func (b *board) asleep(rank int) *atomic.Uint32 { return b.word(boardPosted + rank*boardLine + 4) }

// has reports whether a rank has posted a round.
func (b *board) has(rank int, call uint64) bool {
	return int32(b.posted(rank).Load()-uint32(call)) >= 0
}

// head and place are those of a rank's round.
func (b *board) head(rank int, call uint64) []byte {
	n := headLen(b.size)
	at := boardPosted + b.size*boardLine + (rank*boardPlaces+int(call%boardPlaces))*n
	return b.mem[at : at+n : at+n]
}

func (b *board) place(rank int, call uint64) []byte {
	at := b.places + (rank*boardPlaces+int(call%boardPlaces))*boardPlace
	return b.mem[at : at+boardPlace : at+boardPlace]
}

// post writes a round: what body says for each rank, which may ask room for it. It returns the ranks to whom it is too long, and those
// bodies.
func (b *board) post(call uint64, what string, body func(to int, room func(n int) []byte) []byte) (long map[int][]byte) {
	head, place := b.head(b.rank, call), b.place(b.rank, call)
	used := 0
	room := func(n int) []byte {
		if n > len(place)-used {
			return make([]byte, n)
		}
		at := used
		used = rounded(used+n, boardLine)
		return place[at : at+n : at+n]
	}
	binary.LittleEndian.PutUint64(head, call)
	binary.LittleEndian.PutUint32(head[16:], uint32(len(what)))
	copy(head[headName:], what)
	var last []byte // the same for several: written once
	lastAt := 0
	for i := 1; i < b.size; i++ {
		to := (b.rank + i) % b.size
		mine := body(to, room)
		at, n := 0, uint32(len(mine))
		switch {
		case len(mine) == 0:
		case within(place, mine):
			at = int(uintptr(unsafe.Pointer(&mine[0])) - uintptr(unsafe.Pointer(&place[0])))
		case len(last) == len(mine) && &last[0] == &mine[0]:
			at = lastAt
		case len(mine) > len(place)-used:
			if n = elsewhere; long == nil {
				long = map[int][]byte{}
			}
			long[to] = mine
		default:
			last, lastAt = mine, used
			at = used
			copy(room(len(mine)), mine)
		}
		entry := head[headEntries+8*to:]
		binary.LittleEndian.PutUint32(entry, uint32(at))
		binary.LittleEndian.PutUint32(entry[4:], n)
	}
	binary.LittleEndian.PutUint64(head[8:], uint64(uptime()))
	b.posted(b.rank).Store(uint32(call))
	if b.asleep(b.rank).Load() > 0 {
		wake(b.posted(b.rank))
	}
	return long
}

// within reports whether bytes are of a place.
func within(place, some []byte) bool {
	from, at := uintptr(unsafe.Pointer(&place[0])), uintptr(unsafe.Pointer(&some[0]))
	return at >= from && at < from+uintptr(len(place))
}

// sleep ends when a rank may have posted a round, after some milliseconds at the latest.
func (b *board) sleep(rank int, call uint64) {
	b.asleep(rank).Add(1)
	if was := b.posted(rank).Load(); int32(was-uint32(call)) < 0 {
		sleepWhile(b.posted(rank), was, boardNap)
	}
	b.asleep(rank).Add(^uint32(0))
}

// boardNap is how late a rank that waits for another hears of the end of the run.
const boardNap = 20 * time.Millisecond

// read is what a rank has posted for this one: the bytes stay where they are until it posts two rounds more. ok: they are not on their way
// by TCP.
func (b *board) read(from int, call uint64) (f frame, ok bool, err error) {
	head, place := b.head(from, call), b.place(from, call)
	ago := uptime() - time.Duration(binary.LittleEndian.Uint64(head[8:]))
	f = frame{kind: data, call: binary.LittleEndian.Uint64(head), at: time.Now().Add(-ago)}
	if n := binary.LittleEndian.Uint32(head[16:]); n <= maxWhat {
		f.what = string(head[headName : headName+n])
	}
	entry := head[headEntries+8*b.rank:]
	at, n := binary.LittleEndian.Uint32(entry), binary.LittleEndian.Uint32(entry[4:])
	switch {
	case n == elsewhere:
		return f, false, nil
	case uint64(at)+uint64(n) > boardPlace:
		return f, false, fmt.Errorf("%w (%d bytes from %d on, of a place of %d)", errFrame, n, at, boardPlace)
	}
	f.body = place[at : at+n : at+n]
	return f, true, nil
}

// ticket is the next of the gen-th name. false: its counter is another name's now.
func (b *board) ticket(gen uint32) (n int, ok bool) {
	c := b.counter(gen)
	for {
		was := c.Load()
		if uint32(was>>32) != gen {
			return 0, false
		}
		if c.CompareAndSwap(was, was+1) {
			return int(uint32(was)), true
		}
	}
}

// counter is that of the gen-th name: gen in its upper half, how many tickets were given in the lower.
func (b *board) counter(gen uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&b.mem[boardLine+8*(gen%boardTickets)]))
}

// whereabouts is how rank 0 tells the others where its board is, or why there is none.
type whereabouts struct {
	PID, FD int
	Secret  []byte
	Why     string
}

// share gives the ranks a board, if all are processes of one host and the system has such memory. Where it cannot be had, rank 0 says why
// in a line, and everything goes by TCP. All ranks call it.
func (n *network) share() error {
	for _, m := range n.members {
		if m.Host != n.self.Host || n.size > boardRanks {
			return nil
		}
	}
	mem, hide, mine := n.offer()
	defer hide()
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	all, err := n.Gather("shared memory", text)
	if err != nil {
		return err
	}
	if n.rank != 0 {
		mem, mine.Why = n.accepted(all[0], mine.Why)
	}
	if all, err = n.Gather("shared memory is mapped", []byte(mine.Why)); err != nil {
		return err
	}
	for r, why := range all {
		if len(why) == 0 {
			continue
		}
		if n.rank == 0 && !n.o.TCP {
			n.o.Log(fmt.Sprintf("dist: everything goes by TCP, for want of memory that ranks share: %s: %s", n.members[r], why))
		}
		return unmap(mem)
	}
	n.mu.Lock()
	n.board = newBoard(mem, n.rank, n.size)
	n.mu.Unlock()
	n.tickets.on(n.board)
	_, err = n.Gather("shared memory is there", nil)
	return err
}

// offer makes rank 0's memory. hide closes the descriptor by which the others find it.
func (n *network) offer() (mem []byte, hide func(), w whereabouts) {
	hide = func() {}
	if n.o.TCP {
		w.Why = "dist.transport is tcp"
	}
	if n.rank != 0 || w.Why != "" {
		return nil, hide, w
	}
	w.PID, w.Secret = os.Getpid(), make([]byte, boardSecret)
	_, err := rand.Read(w.Secret)
	if err == nil {
		mem, w.FD, hide, err = newMemory(boardLen(n.size))
	}
	if err != nil {
		w.Why = err.Error()
		return nil, func() {}, w
	}
	copy(mem, w.Secret)
	return mem, hide, w
}

// accepted maps rank 0's memory, or says why not.
func (n *network) accepted(text []byte, why string) ([]byte, string) {
	var theirs whereabouts
	err := json.Unmarshal(text, &theirs)
	if err != nil || theirs.Why != "" || why != "" {
		return nil, why // rank 0 says why
	}
	mem, err := openMemory(theirs.PID, theirs.FD, boardLen(n.size))
	if err != nil {
		return nil, err.Error()
	}
	if subtle.ConstantTimeCompare(mem[:boardSecret], theirs.Secret) != 1 {
		return nil, errors.Join(errors.New("what lies there is another's"), unmap(mem)).Error()
	}
	return mem, ""
}

// close ends the use of the memory.
func (b *board) close() error {
	mem := b.mem
	b.mem = nil
	return unmap(mem)
}
