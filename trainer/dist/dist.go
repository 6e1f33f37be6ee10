package dist

import (
	"time"

	k "retool/kernels"
)

// A Comm joins the ranks of a run. Every rank makes the same calls in the same order, from one goroutine; Doing and Abort are for any
// goroutine. what names a call: a rank that meets another rank in another call ends the run on all of them, with both names. An error is
// final, and is an *Ended.
//
// part may be whole[p[rank]] itself, or memory apart from whole; another view of it is refused. ReduceScatter leaves the rest of whole as
// it was.
type Comm interface {
	Rank() int
	Size() int
	Gather(what string, mine []byte) ([][]byte, error)                // everybody's bytes, by rank, on every rank
	Ticket(what string) (int, error)                                  // 0, 1, 2 …: each once, to whoever asks first; no collective
	ReduceScatter(what string, part, whole k.Tensor, p Parts) Pending // part = tree sum over ranks of whole[p[rank]]; f32
	AllGather(what string, whole, part k.Tensor, p Parts) Pending     // whole[p[r]] = rank r's part, bit for bit; any type
	Waited() time.Duration                                            // so far, for others to come to calls: what moves no byte
	Doing(progress int64, format string, args ...any)                 // for the watchdog: progress must grow
	Abort(err error)                                                  // ends the run everywhere, with this rank's reason
	Close() error                                                     // this rank needs the others no more
}

// Pending is a collective under way. What was recorded before the call sees old memory, what follows Wait new memory.
type Pending interface{ Wait() error }

// Ended is why a run of several ranks has ended before its end: the same reason on every rank.
type Ended struct {
	Rank   int    // the rank it began with
	Reason string // a sentence, which names that rank
	Speaks bool   // this rank is the one that prints it: the lowest that is left
}

func (e *Ended) Error() string { return "dist: " + e.Reason }

// Tile is how many numbers are divided no further. Sums of squares are taken tile by tile, so their bits do not show who owns what.
const Tile = 1 << 16

// Range is numbers [From, To) of a flat tensor.
type Range struct{ From, To int }

// Len is how many numbers it has.
func (r Range) Len() int { return r.To - r.From }

// Parts of a flat tensor, in whole tiles, by rank.
type Parts []Range

// Divide is the parts of n numbers for so many ranks, as equal as tiles allow. Those for half the ranks are unions of neighbours.
func Divide(n, ranks int) Parts {
	tiles := (n + Tile - 1) / Tile
	p := make(Parts, ranks)
	for r := range p {
		p[r] = Range{min(r*tiles/ranks*Tile, n), min((r+1)*tiles/ranks*Tile, n)}
	}
	return p
}

// Len is the number of numbers that are divided.
func (p Parts) Len() int {
	if len(p) == 0 {
		return 0
	}
	return p[len(p)-1].To
}
