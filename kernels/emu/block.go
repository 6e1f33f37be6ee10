package emu

import (
	"math/rand/v2"
)

type block struct {
	l       *launch
	id      [3]uint32
	number  int
	threads int
	warps   []*warp
	shared  []byte
	bars    [16]barState
	shadow  *sharedShadow
	dead    bool // a report stopped it
	mbars   map[uint64]*mbarrier
	bulk    []bulkCopy // to this block's shared memory
	cluster *cluster
	rank    int // in the cluster
	base    int // threads of the cluster's blocks before this one
}

type launch struct {
	d        *Device
	p        *program
	params   []byte
	grid     [3]uint32
	block    [3]uint32
	dynamic  int
	clusters int // blocks of one
	check    bool
	rng      *rand.Rand
	stamp    uint32
	reports  []Report
	seen     map[reportKey]bool
	counters Counters
	touched  []*alloc
}

// run executes all clusters, one after the other, in an order the schedule chooses.
func (l *launch) run() error {
	n := int(l.grid[0]) * int(l.grid[1]) * int(l.grid[2]) / l.clusters
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if l.rng != nil {
		l.rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	c := newCluster(l, l.clusters)
	for _, i := range order {
		c.start(i)
		c.run()
		if len(l.reports) >= maxReports {
			break
		}
	}
	for _, b := range c.blocks {
		for _, w := range b.warps {
			l.p.spare = append(l.p.spare, w.r)
		}
	}
	return l.verdict()
}

func newBlock(l *launch, k *clocks) *block {
	b := &block{l: l, threads: int(l.block[0]) * int(l.block[1]) * int(l.block[2])}
	b.shared = make([]byte, l.p.dynAt+l.dynamic)
	if l.check {
		b.shadow = newSharedShadow(len(b.shared), k)
	}
	p := l.p
	nw := (b.threads + lanes - 1) / lanes
	for i := range nw {
		w := &warp{b: b, id: i, first: i * lanes, r: p.rows()}
		w.local = make([]byte, p.f.localSize*lanes)
		b.warps = append(b.warps, w)
	}
	return b
}

// rows are a warp's registers, those of an earlier launch if there are any: the constants stand in them.
func (p *program) rows() [][lanes]uint64 {
	if n := len(p.spare); n > 0 {
		r := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return r
	}
	r := make([][lanes]uint64, p.nregs+specialCount+len(p.consts))
	for c, v := range p.consts {
		for lane := range lanes {
			r[p.nregs+specialCount+c][lane] = v
		}
	}
	return r
}

// start makes the block ready to run as the one of this number.
func (b *block) start(number int) {
	gx, gy := int(b.l.grid[0]), int(b.l.grid[1])
	b.number = number
	b.id = [3]uint32{uint32(number % gx), uint32(number / gx % gy), uint32(number / gx / gy)}
	b.dead = false
	b.bars = [16]barState{}
	b.mbars, b.bulk = map[uint64]*mbarrier{}, nil
	for i := range b.shared {
		b.shared[i] = 0xff
	}
	if b.shadow != nil {
		b.shadow.reset()
	}
	for _, w := range b.warps {
		w.start()
	}
}

func (w *warp) start() {
	w.live = full >> (lanes - min(w.b.threads-w.first, lanes))
	w.frags = append(w.frags[:0], fragment{mask: w.live})
	w.pending = w.pending[:0]
	w.committed = [lanes]int{}
	w.count = 0
	w.seen = nil
	w.last = nil
	w.polled, w.wg, w.wgGroup, w.acc = false, nil, 0, map[int]*accumulator{}
	w.again, w.arrivals = false, [lanes]int{}
	for i := range w.local {
		w.local[i] = 0xff
	}
	special := w.r[w.b.l.p.nregs:]
	for lane := range lanes {
		for i, v := range w.specials(lane) {
			special[i][lane] = v
		}
	}
}

// specials are the special registers of a lane, in the order of the table of their names.
func (w *warp) specials(lane int) [specialCount]uint64 {
	b, l := w.b, w.b.l
	t, bx, by := w.first+lane, int(l.block[0]), int(l.block[1])
	sms := l.d.info.Multiprocessors
	return [specialCount]uint64{
		uint64(t % bx), uint64(t / bx % by), uint64(t / bx / by),
		uint64(l.block[0]), uint64(l.block[1]), uint64(l.block[2]),
		uint64(b.id[0]), uint64(b.id[1]), uint64(b.id[2]),
		uint64(l.grid[0]), uint64(l.grid[1]), uint64(l.grid[2]),
		uint64(lane), uint64(w.id), uint64(len(b.warps)),
		1 << lane, 1<<lane - 1, 1<<(lane+1) - 1, uint64(^uint32(1<<(lane+1) - 1)), uint64(^uint32(1<<lane - 1)),
		0, 0, uint64(b.number % sms), uint64(sms), uint64(l.dynamic), uint64(b.rank), uint64(l.clusters),
	}
}

// pass lets warps run: with the default schedule each as far as it comes, with a random one any of those that can, for 1 to 200
// instructions. It says whether anything was done, and whether a warp was alive before.
func (b *block) pass() (ran, alive bool) {
	rng := b.l.rng
	if rng == nil {
		for _, w := range b.warps {
			if w.live != 0 && !b.dead {
				ran = w.run(1<<30) || ran
			}
			alive = alive || w.live != 0
		}
		return ran, alive
	}
	if len(b.bulk) > 0 && rng.IntN(8) == 0 {
		b.completeBulk(rng.IntN(len(b.bulk)))
	}
	var ready []*warp
	for _, w := range b.warps {
		alive = alive || w.live != 0
		if w.ready() {
			ready = append(ready, w)
		}
	}
	if len(ready) > 0 {
		ran = ready[rng.IntN(len(ready))].run(1 + rng.IntN(200))
	}
	return ran, alive
}

// progress lets everyone who polls look again.
func (b *block) progress() {
	for _, w := range b.warps {
		for i := range w.frags {
			if w.frags[i].poll {
				w.frags[i].waiting, w.frags[i].poll = false, false
			}
		}
	}
}
