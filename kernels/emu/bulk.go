package emu

import (
	"encoding/binary"
	"fmt"
	"slices"

	"retool/kernels/driver"
)

// mapMagic begins the emulator's tensor map: {magic, element bytes, swizzle, rank} as bytes, then base, 5 dims, 4 strides as u64, 5 boxes
// as u32.
const mapMagic = 0x7e

// TensorMap encodes a tensor map in the emulator's own format; the checks are the driver's.
func (d *Device) TensorMap(spec driver.TensorMapSpec) (out [128]byte, err error) {
	if err := spec.Check(); err != nil {
		return out, err
	}
	if d.opt.Capability < 90 {
		return out, fmt.Errorf("emu: %s has no tensor maps: sm_90 has", d.info.Name)
	}
	out[0], out[1], out[2], out[3] = mapMagic, byte(spec.ElemBytes), byte(spec.Swizzle), byte(len(spec.Dims))
	put(out[8:], 8, uint64(spec.Base))
	for i, n := range spec.Dims {
		put(out[16+8*i:], 8, n)
	}
	for i, n := range spec.Strides {
		put(out[56+8*i:], 8, n)
	}
	for i, n := range spec.Box {
		put(out[88+4*i:], 4, uint64(n))
	}
	return out, nil
}

// bulkCopy is a copy to shared memory under way: a box of a tensor, or bytes as they lie.
type bulkCopy struct {
	m      [128]byte
	coord  []int64 // innermost first
	src    uint64  // plain copies
	bytes  int     // of a plain copy; 0: by the map
	dst    uint64
	bar    uint64
	to     *block // whose shared memory it writes, and whose mbarrier counts its bytes
	w      *warp
	lane   int
	pc     int32
	vc     []uint32 // the issuer's clocks
	thread int
}

func (b *bulkCopy) box() (elem int, sizes []int, bytes int) {
	if b.bytes > 0 {
		return 1, nil, b.bytes
	}
	elem = int(b.m[1])
	bytes = elem
	for i := range int(b.m[3]) {
		n := int(binary.LittleEndian.Uint32(b.m[88+4*i:]))
		sizes = append(sizes, n)
		bytes *= n
	}
	return elem, sizes, bytes
}

// base, size and stride are of the tensor; there is a stride for every dimension but the innermost.
func (b *bulkCopy) base() uint64        { return binary.LittleEndian.Uint64(b.m[8:]) }
func (b *bulkCopy) size(d int) uint64   { return binary.LittleEndian.Uint64(b.m[16+8*d:]) }
func (b *bulkCopy) stride(d int) uint64 { return binary.LittleEndian.Uint64(b.m[56+8*(d-1):]) }

// element is the address of an element of the box, and whether it is one of the tensor.
func (b *bulkCopy) element(idx []int) (at uint64, inside bool) {
	at, inside = b.base(), true
	for d, i := range idx {
		x := b.coord[d] + int64(i)
		if x < 0 || uint64(x) >= b.size(d) {
			inside = false
		}
		stride := uint64(b.m[1])
		if d > 0 {
			stride = b.stride(d)
		}
		at += uint64(x) * stride
	}
	return at, inside
}

// swizzled permutes 16-byte pieces by bits of the absolute shared address.
func swizzled(a uint64, s driver.Swizzle) uint64 {
	switch s {
	case driver.Swizzle128:
		return a ^ a>>3&0x70
	case driver.Swizzle64:
		return a ^ a>>3&0x30
	case driver.Swizzle32:
		return a ^ a>>3&0x10
	}
	return a
}

// bulk is cp.async.bulk from global to shared memory with an mbarrier: a tile of a tensor, or bytes as they lie.
func (c *compiler) bulk(s *step) {
	c.hopper()
	tensor := c.has("tensor")
	rank := map[string]int{"1d": 1, "2d": 2, "3d": 3}[c.one("1d", "2d", "3d")]
	if tensor != (rank > 0) || !c.has("shared::cluster", "shared::cta") || !c.has("global") || !c.has("mbarrier::complete_tx::bytes") {
		c.fail("only copies from global to shared memory with an mbarrier are emulated")
		return
	}
	if tensor {
		c.has("tile")
		c.bulkTile(s, rank, c.has("multicast::cluster"))
	} else {
		c.bulkBytes(s)
	}
}

// bulkBytes is cp.async.bulk [dst], [src], size, [mbarrier].
func (c *compiler) bulkBytes(s *step) {
	if !c.args(4) {
		return
	}
	dst, dstOff := c.addr(0)
	src, srcOff := c.addr(1)
	size := c.src(2, u32Type)
	bar, barOff := c.addr(3)
	s.run = func(w *warp, m uint32) {
		each(m, func(l int) {
			cp := w.newBulk(l, w.r[dst][l]+uint64(dstOff), w.r[bar][l]+uint64(barOff))
			cp.src, cp.bytes = w.r[src][l]+uint64(srcOff), int(uint32(w.r[size][l]))
			if cp.dst%16 != 0 || cp.src%16 != 0 || cp.bytes%16 != 0 || cp.bytes == 0 {
				w.reportLane(Misaligned, l, fmt.Sprintf(
					"a copy of %d bytes from %#x to shared address %d, want positive multiples of 16", cp.bytes, cp.src, cp.dst))
				return
			}
			for i := 0; i < cp.bytes; i += 16 {
				w.mem(global, cp.src+uint64(i), 16, l, false, false, nil)
			}
			w.b.l.counters.BulkBytes += int64(cp.bytes)
			w.issueBulk(cp)
		})
	}
}

// bulkTile is cp.async.bulk.tensor [dst], [map, {coordinates}], [mbarrier]; multicast, a mask of ranks behind that: to the same places of
// each of those blocks of the cluster.
func (c *compiler) bulkTile(s *step, rank int, multicast bool) {
	if !c.args(3 + int(b2u(multicast))) {
		return
	}
	ranks := none
	if multicast {
		ranks = c.src(3, typ{name: "u16", size: 2})
	}
	dst, dstOff := c.addr(0)
	bar, barOff := c.addr(2)
	from := c.in.args[1]
	if from.kind != addrOperand || len(from.list) != 2 || from.list[1].kind != vecOperand || len(from.list[1].list) != rank {
		c.fail("want [map, {coordinates}]")
		return
	}
	mp := c.value(from.list[0], u64Type)
	coord := make([]int, rank)
	for i, o := range from.list[1].list {
		coord[i] = c.value(o, s32Type)
	}
	s.run = func(w *warp, m uint32) {
		each(m, func(l int) {
			cp := w.newBulk(l, w.r[dst][l]+uint64(dstOff), w.r[bar][l]+uint64(barOff))
			for i := 0; i < len(cp.m); i += 16 {
				copy(cp.m[i:], w.mem(generic, w.r[mp][l]+uint64(i), 16, l, false, false, nil))
			}
			if cp.m[0] != mapMagic || int(cp.m[3]) != rank {
				w.reportLane(MBarrier, l, fmt.Sprintf("what it is given is no tensor map of %d dimensions", rank))
				return
			}
			for _, r := range coord {
				cp.coord = append(cp.coord, int64(int32(w.r[r][l])))
			}
			align := uint64(128)
			if cp.m[2] == byte(driver.Swizzle128) {
				align = 1024 // or the pieces land elsewhere
			}
			if cp.dst%align != 0 {
				w.reportLane(Misaligned, l, fmt.Sprintf("a tensor copy to shared address %d, want a multiple of %d", cp.dst, align))
				return
			}
			_, _, bytes := cp.box()
			w.b.l.counters.BulkBytes += int64(bytes)
			if !multicast {
				w.issueBulk(cp)
				return
			}
			for mask, r := uint16(w.r[ranks][l]), 0; mask != 0; mask, r = mask>>1, r+1 {
				if mask&1 == 0 {
					continue
				}
				if to := w.peer(r, l); to != nil {
					cp.to = to
					w.issueBulk(cp)
				}
			}
		})
	}
}

// newBulk is a copy that a lane issues now.
func (w *warp) newBulk(lane int, dst, bar uint64) bulkCopy {
	return bulkCopy{dst: dst, bar: bar, to: w.b, w: w, lane: lane, pc: w.pc, thread: w.first + lane}
}

// issueBulk treats the destination as written now, and puts the copy under way.
func (w *warp) issueBulk(cp bulkCopy) {
	if w.mbarOf(cp.to, cp.bar, cp.lane) == nil {
		return
	}
	_, _, bytes := cp.box()
	off := int(cp.dst) - sharedBase
	w.proxy = true
	for i := 0; i < bytes; i += 16 {
		w.sharedOf(cp.to, off+i, 16, cp.lane, true, false, nil)
	}
	w.proxy = false
	if off < 0 || off+bytes > len(w.b.shared) {
		return
	}
	if sh := cp.to.shadow; sh != nil {
		for i := range bytes {
			sh.flags[off+i] |= inFlight
		}
		cp.vc = w.row(cp.lane)
		sh.clock[w.t0+cp.lane]++
	}
	cp.to.bulk = append(cp.to.bulk, cp)
}

// completeBulk carries out copy i and counts its bytes at the mbarrier.
func (b *block) completeBulk(i int) {
	cp := b.bulk[i]
	b.bulk = slices.Delete(b.bulk, i, i+1)
	_, _, bytes := cp.box()
	off := int(cp.dst) - sharedBase
	if cp.bytes > 0 {
		b.copyBytes(&cp, b.shared[off:off+bytes])
	} else {
		b.copyTile(&cp)
	}
	m := b.mbars[cp.bar]
	if s := b.shadow; s != nil {
		for i := range bytes {
			s.flags[off+i] = s.flags[off+i]&^inFlight | initialised
		}
		maxInto(m.vc, cp.vc)
	}
	m.tx -= bytes
	b.turn(m)
}

// copyBytes carries out a plain copy, whose source was checked when it was issued.
func (b *block) copyBytes(cp *bulkCopy, to []byte) {
	b.settled(cp, cp.src, len(to))
	if a := b.l.d.find(cp.src); a != nil && !a.dead && cp.src-a.base+uint64(len(to)) <= uint64(len(a.data)) {
		copy(to, a.data[cp.src-a.base:])
	}
}

// copyTile carries out a copy by a tensor map, element by element. Those outside of the tensor are zero.
func (b *block) copyTile(cp *bulkCopy) {
	elem, sizes, bytes := cp.box()
	a := b.l.d.find(cp.base())
	idx := make([]int, len(sizes))
	for n := range bytes / elem {
		at, inside := cp.element(idx)
		to := b.shared[int(swizzled(cp.dst+uint64(n*elem), driver.Swizzle(cp.m[2])))-sharedBase:][:elem]
		switch {
		case !inside:
			clear(to)
		case a == nil || a.dead || at-a.base+uint64(elem) > uint64(len(a.data)):
			b.reportBulk(cp, GlobalBounds, "a tensor copy reads %#x: %s", at, b.l.d.describe(at))
		default:
			b.settled(cp, at, elem)
			copy(to, a.data[at-a.base:])
		}
		for d := range idx {
			if idx[d]++; idx[d] < sizes[d] {
				break
			}
			idx[d] = 0
		}
	}
}

// settled reports a read of bytes that a copy of the host is bringing.
func (b *block) settled(cp *bulkCopy, at uint64, n int) {
	if len(b.l.d.loose) > 0 && b.l.d.isLoose(at, n) {
		b.reportBulk(cp, HostRace, "a bulk copy reads %d bytes at %#x, which %s", n, at, looseCopy)
	}
}

func (b *block) reportBulk(cp *bulkCopy, kind Kind, format string, args ...any) {
	in := b.l.p.steps[cp.pc].in
	b.l.report(Report{
		Kind: kind, At: in.at, Line: in.line, Block: cp.w.b.number, Thread: cp.thread, Other: none, Detail: fmt.Sprintf(format, args...),
	})
}
