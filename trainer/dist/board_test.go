package dist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	k "retool/kernels"
)

// boarded is Local on a board.
func boarded(n int) []Comm {
	if n == 1 {
		return Local(1)
	}
	mem := make([]uint64, boardLen(n)/8)
	comms := Local(n)
	for r, c := range comms {
		m := c.(*local).mesh
		m.board = newBoard(unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), boardLen(n)), r, n)
		m.tickets.on(m.board)
	}
	return comms
}

// ways of joining ranks of this process.
var joinings = map[string]func(int) []Comm{"frames": Local, "board": boarded}

// Whatever ranks call, in whatever pace, the others get, whether it fits a place or not.
func TestAnyCallsOnABoard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "ranks")
		seed := rapid.Uint64().Draw(t, "seed")
		calls := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 7).Draw(t, "calls")
		said := func(rank, call int) []byte { // of one rank in one call
			draw := rand.New(rand.NewPCG(seed, uint64(1000*call+rank)))
			size := []int{0, draw.IntN(100), draw.IntN(2 * boardPlace), boardPlace}[draw.IntN(4)]
			return bytes.Repeat([]byte{byte(draw.IntN(256))}, size)
		}
		var mu sync.Mutex
		var wrong error
		eachRank(boarded(n), func(c Comm) {
			pace := rand.New(rand.NewPCG(seed, uint64(c.Rank())))
			for i, kind := range calls {
				if pace.IntN(3) == 0 {
					time.Sleep(time.Duration(pace.IntN(300)) * time.Microsecond)
				}
				err := someCall(c, kind, i, seed, said)
				if err != nil {
					mu.Lock()
					wrong = errors.Join(wrong, fmt.Errorf("rank %d, call %d: %w", c.Rank(), i, err))
					mu.Unlock()
					c.Abort(err)
					return
				}
			}
		})
		require.NoError(t, wrong)
	})
}

// someCall makes a call and holds what comes of it against what the others gave.
func someCall(c Comm, kind, i int, seed uint64, said func(rank, call int) []byte) error {
	what := fmt.Sprint("call ", i)
	if kind > 0 {
		got, err := c.Gather(what, said(c.Rank(), i))
		for r := range got {
			if err == nil && !bytes.Equal(said(r, i), got[r]) {
				err = fmt.Errorf("%d bytes of rank %d, want %d", len(got[r]), r, len(said(r, i)))
			}
		}
		return err
	}
	dev := k.NewCPU(1)
	defer dev.Close()
	length := rand.New(rand.NewPCG(seed, uint64(i))).IntN(5*Tile) + 1
	p := Divide(length, c.Size())
	own := p[c.Rank()]
	rows := make([][]float32, c.Size())
	for r := range rows {
		draw := rand.New(rand.NewPCG(uint64(r), uint64(i)))
		rows[r] = make([]float32, length)
		for j := range rows[r] {
			rows[r][j] = draw.Float32()
		}
	}
	whole := dev.Alloc(k.F32, length)
	dev.Upload(whole, rows[c.Rank()])
	part := view(whole, own)
	if own.Len() == 0 {
		part = dev.Alloc(k.F32, 1).Rows(0, 0)
	}
	if err := c.ReduceScatter(what, part, whole, p).Wait(); err != nil {
		return err
	}
	if err := c.AllGather(what+" too", whole, part, p).Wait(); err != nil {
		return err
	}
	if want := treeSum(rows); !bytes.Equal(raw(want), download(whole, anew)) {
		return fmt.Errorf("another sum of %d numbers", length)
	}
	return nil
}

// However many names there are, tickets of each are given once.
func TestTicketsOfManyNames(t *testing.T) {
	const names, each, n = 3 * boardTickets, 7, 3
	for way, join := range joinings {
		t.Run(way, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string]int{}
			eachRank(join(n), func(c Comm) {
				for round := range 2 {
					for name := range names {
						for range each {
							what := fmt.Sprint("name ", name)
							i, err := c.Ticket(what)
							if err != nil {
								t.Error(err)
								return
							}
							mu.Lock()
							seen[fmt.Sprint(what, ": ", i)]++
							mu.Unlock()
						}
					}
					if _, err := c.Gather(fmt.Sprint("round ", round), nil); err != nil {
						t.Error(err)
					}
				}
			})
			require.Len(t, seen, names*each*n*2)
			for name := range names {
				for i := range each * n * 2 {
					require.Equal(t, 1, seen[fmt.Sprintf("name %d: %d", name, i)], "ticket %d of name %d", i, name)
				}
			}
		})
	}
}

// Who comes last has waited for nobody, and the others at least as long as it let them.
func TestWaitingIsNoExchange(t *testing.T) {
	const late = 20 * time.Millisecond
	for way, join := range joinings {
		t.Run(way, func(t *testing.T) {
			comms := join(2)
			first := comms[0].(*local).mesh
			eachRank(comms, func(c Comm) {
				for waits := c.Rank() == 0; !waits; runtime.Gosched() {
					first.mu.Lock()
					waits = first.missing[1]
					first.mu.Unlock()
				}
				if c.Rank() == 1 {
					time.Sleep(late)
				}
				if _, err := c.Gather("norms", []byte{1}); err != nil {
					t.Error(err)
				}
				if waited := c.Waited(); (c.Rank() == 0) != (waited >= late) || c.Rank() == 1 && waited > 0 {
					t.Errorf("rank %d waited for %v", c.Rank(), waited)
				}
			})
		})
	}
}

// Whatever lies in a head, what is read of it is within its place, or refused.
func TestNoHeadLeadsElsewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 5).Draw(t, "ranks")
		mem := make([]uint64, boardLen(n)/8)
		b := newBoard(unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), boardLen(n)), n-1, n)
		call := rapid.Uint64().Draw(t, "call")
		head, place := b.head(0, call), b.place(0, call)
		copy(head, rapid.SliceOfN(rapid.Byte(), headName, headName).Draw(t, "head"))
		small := rapid.Uint32Range(0, 2*boardPlace)
		for i, v := range []uint32{small.Draw(t, "at"), rapid.OneOf(small, rapid.Uint32()).Draw(t, "bytes")} {
			binary.LittleEndian.PutUint32(head[headEntries+8*b.rank+4*i:], v)
		}
		f, here, err := b.read(0, call)
		require.LessOrEqual(t, len(f.what), maxWhat)
		switch {
		case err != nil:
			require.ErrorIs(t, err, errFrame)
		case here && len(f.body) > 0:
			require.True(t, within(place, f.body) && within(place, f.body[len(f.body)-1:]))
		}
	})
}
