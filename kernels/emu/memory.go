package emu

import (
	"encoding/binary"
	"fmt"

	"retool/kernels/driver"
)

// Addresses. Global allocations start on 64 KiB borders with an unmapped gap behind each; freed ones stay, as dead. Generic addresses
// of the other spaces are windows far above. Shared memory begins with the kilobyte that sm_90 keeps for itself.
const (
	globalBase   = 0x10_0000_0000
	pageBytes    = 1 << 16
	sharedBase   = 1024
	sharedWindow = 1 << 40
	localWindow  = 2 << 40
	paramWindow  = 3 << 40
	windowMask   = 7 << 40
)

type space uint8

const (
	generic space = iota
	global
	shared
	local
	param
)

// alloc is one allocation of global memory.
type alloc struct {
	base  uint64
	data  []byte
	size  int // of a dead one
	dead  bool
	cells [][]cell // by 4 KiB, made when first touched in a launch
	used  bool
}

const cellPage = 4096

func (d *Device) alloc(n int, fill byte) *alloc {
	a := &alloc{base: d.next, data: make([]byte, n)}
	if fill != 0 {
		for i := range a.data {
			a.data[i] = fill
		}
	}
	pages := uint64(n)/pageBytes + 1
	d.next += (pages + 1) * pageBytes
	for uint64(len(d.pages)) <= (a.base-globalBase)/pageBytes+pages {
		d.pages = append(d.pages, nil)
	}
	for i := range pages {
		d.pages[(a.base-globalBase)/pageBytes+i] = a
	}
	return a
}

func (d *Device) find(addr uint64) *alloc {
	if addr < globalBase {
		return nil
	}
	if i := (addr - globalBase) / pageBytes; i < uint64(len(d.pages)) {
		return d.pages[i]
	}
	return nil
}

// host finds n bytes at p for a copy.
func (d *Device) host(what string, p driver.Ptr, n int) ([]byte, error) {
	a := d.find(uint64(p))
	if a == nil || a.dead || uint64(p)-a.base+uint64(n) > uint64(len(a.data)) {
		return nil, fmt.Errorf("emu: %s of %d bytes at %#x: %s", what, n, uint64(p), d.describe(uint64(p)))
	}
	if d.isLoose(uint64(p), n) {
		return nil, hostRace("%s of %d bytes at %#x, which %s", what, n, uint64(p), looseCopy)
	}
	off := uint64(p) - a.base
	return a.data[off : off+uint64(n)], nil
}

func (d *Device) describe(addr uint64) string {
	a := d.find(addr)
	if a == nil && addr >= globalBase+2*pageBytes {
		a = d.find(addr - pageBytes) // in the gap behind
	}
	switch {
	case a == nil:
		return "no allocation is there"
	case a.dead:
		return fmt.Sprintf("byte %d of an allocation of %d bytes that was freed", addr-a.base, a.size)
	default:
		return fmt.Sprintf("byte %d of an allocation of %d bytes", addr-a.base, len(a.data))
	}
}

// mem is the n bytes that one lane reads or writes, checked for bounds, life, alignment and races. What must not be touched is reported,
// and a scratch area takes its place. data is what a write will store.
func (w *warp) mem(sp space, addr uint64, n, lane int, write, atomic bool, data []byte) []byte {
	if sp == generic {
		sp, addr = window(addr)
	}
	if addr&uint64(n-1) != 0 {
		w.reportLane(Misaligned, lane, fmt.Sprintf("%d bytes at %#x", n, addr))
		return w.scratch(n)
	}
	switch sp {
	case global:
		return w.globalMem(addr, n, lane, write, atomic, data)
	case shared:
		return w.sharedOf(w.b, int(addr)-sharedBase, n, lane, write, atomic, data)
	case local:
		size := w.b.l.p.f.localSize
		if addr+uint64(n) > uint64(size) {
			w.reportLane(LocalBounds, lane, fmt.Sprintf("%s of %d bytes at %d of %d", verb(write), n, addr, size))
			return w.scratch(n)
		}
		off := lane*size + int(addr)
		return w.local[off : off+n : off+n]
	default:
		params := w.b.l.params
		if write || addr+uint64(n) > uint64(len(params)) {
			w.reportLane(GlobalBounds, lane, fmt.Sprintf("%s of %d parameter bytes at %d of %d", verb(write), n, addr, len(params)))
			return w.scratch(n)
		}
		return params[addr : addr+uint64(n) : addr+uint64(n)]
	}
}

// window says which space a generic address lies in, and where in it.
func window(addr uint64) (space, uint64) {
	switch addr & windowMask {
	case sharedWindow:
		return shared, addr &^ windowMask
	case localWindow:
		return local, addr &^ windowMask
	case paramWindow:
		return param, addr &^ windowMask
	}
	return global, addr
}

func (w *warp) globalMem(addr uint64, n, lane int, write, atomic bool, data []byte) []byte {
	l := w.b.l
	a := w.last
	if a == nil || addr-a.base >= uint64(len(a.data)) {
		a = l.d.find(addr)
	}
	kind := GlobalBounds
	if a != nil && a.dead {
		kind = UseAfterFree
	}
	if a == nil || a.dead || addr-a.base+uint64(n) > uint64(len(a.data)) {
		w.reportLane(kind, lane, fmt.Sprintf("%s of %d bytes at %#x: %s", verb(write), n, addr, l.d.describe(addr)))
		return w.scratch(n)
	}
	w.last = a
	if len(l.d.loose) > 0 && l.d.isLoose(addr, n) {
		w.reportLane(HostRace, lane, fmt.Sprintf("%s of %d bytes at %#x, which %s", verb(write), n, addr, looseCopy))
	}
	off := int(addr - a.base)
	old := a.data[off : off+n : off+n]
	if w.b.shadow != nil {
		w.check(l.cellsOf(a, off/cellPage), l.stamp, off%cellPage, n, lane, write, atomic, old, data, func() string {
			return fmt.Sprintf("global byte %d of an allocation of %d", off, len(a.data))
		})
	}
	return old
}

// sharedOf is mem of the bytes at off of the shared memory of a block of the cluster.
func (w *warp) sharedOf(b *block, off, n, lane int, write, atomic bool, data []byte) []byte {
	if off < 0 || off+n > len(b.shared) {
		w.reportLane(SharedBounds, lane, fmt.Sprintf("%s of %d bytes at %d: the block has %d bytes, the last are %s",
			verb(write), n, off, len(b.shared), b.l.p.sharedName(len(b.shared)-1)))
		return w.scratch(n)
	}
	old := b.shared[off : off+n : off+n]
	if s := b.shadow; s != nil {
		w.checkFlags(s.flags[off:off+n], off, lane, write)
		w.check(s.cells, s.stamp, off, n, lane, write, atomic, old, data, func() string { return b.l.p.sharedName(off) })
	}
	return old
}

// checkFlags reports a touch of an mbarrier or of what a copy is bringing, and a read of what nobody wrote.
func (w *warp) checkFlags(flags []uint8, off, lane int, write bool) {
	if len(flags) == 4 && settle(flags, write) || len(flags) == 16 && settle(flags[:4], write) && settle(flags[4:8], write) &&
		settle(flags[8:12], write) && settle(flags[12:], write) {
		return
	}
	var all, any uint8 = 0xff, 0
	for _, f := range flags {
		all &= f
		any |= f
	}
	if any&isBarrier != 0 {
		w.reportLane(MBarrier, lane, fmt.Sprintf("%s of %s, where an mbarrier stands", verb(write), w.b.l.p.sharedName(off)))
	}
	switch {
	case any&inFlight != 0:
		w.reportLane(AsyncInFlight, lane, fmt.Sprintf("%s of %s, to which a copy is under way", verb(write), w.b.l.p.sharedName(off)))
	case write:
		for i := range flags {
			flags[i] |= initialised
		}
	case all&initialised == 0:
		w.reportLane(Uninitialised, lane, "read of "+w.b.l.p.sharedName(off)+", which nobody wrote")
	}
}

// settle is checkFlags of four bytes where nothing is to be reported; it says whether that is so.
func settle(flags []uint8, write bool) bool {
	const each = 0x01010101 // a byte
	v := binary.LittleEndian.Uint32(flags)
	if write && v&^(initialised*each) == 0 {
		binary.LittleEndian.PutUint32(flags, initialised*each)
		return true
	}
	return v == initialised*each
}

func (w *warp) scratch(n int) []byte {
	for i := range w.junk {
		w.junk[i] = 0xff
	}
	return w.junk[:n]
}

func verb(write bool) string {
	if write {
		return "write"
	}
	return "read"
}

// cellsOf are the cells of a page of an allocation, made when they are first asked for in a launch.
func (l *launch) cellsOf(a *alloc, page int) []cell {
	if a.cells == nil {
		a.cells = make([][]cell, len(a.data)/cellPage+1)
	}
	if a.cells[page] == nil {
		a.cells[page] = l.d.spareCells()
	}
	if !a.used {
		a.used = true
		l.touched = append(l.touched, a)
	}
	return a.cells[page]
}

func (d *Device) spareCells() []cell {
	if n := len(d.spare); n > 0 {
		c := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return c
	}
	return make([]cell, cellPage/4)
}

// release takes back the cells of a launch: the next launch on the stream is ordered after it.
func (l *launch) release() {
	for _, a := range l.touched {
		for i, c := range a.cells {
			if c != nil {
				l.d.spare = append(l.d.spare, c)
				a.cells[i] = nil
			}
		}
		a.used = false
	}
}

func get(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

func put(b []byte, size int, v uint64) {
	switch size {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, v)
	}
}
