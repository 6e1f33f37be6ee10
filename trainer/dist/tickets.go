package dist

import "sync"

// tickets counts what has been given out, by name. Those of the latest names are counted on the board, if there is one: ranks take them
// there without asking.
type tickets struct {
	sync.Mutex
	names map[string]*ticketName
	board *board
	begun uint32 // names that have been given a counter of the board
	held  [boardTickets]*ticketName
}

// ticketName is the tickets of one name.
type ticketName struct {
	given int
	gen   uint32 // by which the board counts them in place of given; 0: it does not
}

// on counts the names that come on a board, from nil on on none.
func (t *tickets) on(b *board) {
	t.Lock()
	defer t.Unlock()
	for _, name := range t.held {
		if name != nil {
			name.given, name.gen = int(uint32(t.board.counter(name.gen).Load())), 0
		}
	}
	t.board, t.held = b, [boardTickets]*ticketName{}
}

// take is the next ticket of a name, and by which number the board has the name; 0: it has not.
func (t *tickets) take(what string) (n int, gen uint32) {
	t.Lock()
	defer t.Unlock()
	if t.names == nil {
		t.names = map[string]*ticketName{}
	}
	name := t.names[what]
	if name == nil {
		name = &ticketName{}
		t.names[what] = name
		if t.board != nil {
			t.post(name)
		}
	}
	if name.gen > 0 {
		n, _ = t.board.ticket(name.gen)
		return n, name.gen
	}
	name.given++
	return name.given - 1, 0
}

// post gives a new name the counter of the board that another has had longest. What that has given is kept here from now on.
func (t *tickets) post(name *ticketName) {
	t.begun++
	name.gen = t.begun
	was := t.board.counter(name.gen).Swap(uint64(name.gen) << 32)
	held := &t.held[name.gen%boardTickets]
	if old := *held; old != nil {
		old.given, old.gen = int(uint32(was)), 0
	}
	*held = name
}
