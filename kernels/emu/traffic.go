package emu

import (
	"math/bits"
	"slices"
)

// Counters are exact and deterministic under the default schedule.
type Counters struct {
	Launches       int
	Replays        int    // of graphs; their launches count too
	CopiesIn       int    // to the device, and
	CopiesOut      int    // from it
	Waits          int    // for all that was issued, or for an event that had not happened
	Instructions   uint64 // of warps
	MMA            uint64
	SharedRequests uint64 // a warp's load or store of shared memory
	Wavefronts     uint64 // passes over the 32 banks that they took
	Conflicts      uint64 // wavefronts beyond those that the bytes alone need
	GlobalSectors  uint64 // 32-byte pieces of global memory
	BulkBytes      int64  // that bulk copies bring from there, once for all blocks that a multicast brings them to
}

// traffic counts what one access of a warp costs: wavefronts of shared memory, sectors of global memory.
func (w *warp) traffic(sp space, addr *[lanes]uint64, off int64, active uint32, n int) {
	c := &w.b.l.counters
	lane := bits.TrailingZeros32(active)
	first := addr[lane] + uint64(off)
	if sp == generic {
		switch first & windowMask {
		case sharedWindow:
			sp = shared
		case 0:
			sp = global
		}
	}
	switch sp {
	case shared:
		c.SharedRequests++
		// A pass serves 128 bytes: lanes of 4 bytes all at once, of 8 in halves, of 16 in quarters.
		group := lanes * 4 / max(n, 4)
		for from := 0; from < lanes; from += group {
			if m := active >> from & (full >> (lanes - group)); m != 0 {
				var rows [lanes]uint64
				for i := range group {
					if m>>i&1 != 0 {
						rows[i] = addr[from+i] + uint64(off)
					}
				}
				c.Wavefronts++
				c.Conflicts += uint64(extraPasses(rows[:group], m, n))
				c.Wavefronts += uint64(extraPasses(rows[:group], m, n))
			}
		}
	case global:
		var seen [lanes]uint64
		n := 0
		for m := active; m != 0; m &= m - 1 {
			s := (addr[bits.TrailingZeros32(m)] + uint64(off)) / 32
			if !slices.Contains(seen[:n], s) {
				seen[n] = s
				n++
			}
		}
		c.GlobalSectors += uint64(n)
	}
}

// extraPasses is how many passes over the banks the addresses need beyond one: two words of one bank cannot be served together.
func extraPasses(rows []uint64, m uint32, n int) int {
	var words [lanes][8]uint64
	var count [lanes]int
	most := 0
	for i, a := range rows {
		if m>>i&1 == 0 {
			continue
		}
		for w := a / 4; w <= (a+uint64(n)-1)/4; w++ {
			bank := w % lanes
			k := 0
			for k < count[bank] && k < 8 && words[bank][k] != w {
				k++
			}
			if k == count[bank] && k < 8 {
				words[bank][k] = w
				count[bank]++
				most = max(most, count[bank])
			}
		}
	}
	return most - 1
}

// matrixTraffic counts what an ldmatrix costs: a pass for each matrix, of 8 rows of 16 bytes, and what conflicts add.
func (w *warp) matrixTraffic(addr []uint64, off int64) {
	c := &w.b.l.counters
	c.SharedRequests++
	for ; len(addr) > 0; addr = addr[8:] {
		var rows [8]uint64
		for r := range rows {
			rows[r] = addr[r] + uint64(off)
		}
		extra := uint64(extraPasses(rows[:], 0xff, 16))
		c.Wavefronts += 1 + extra
		c.Conflicts += extra
	}
}
