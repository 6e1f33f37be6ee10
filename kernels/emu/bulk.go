package emu

import (
	"encoding/binary"
	"fmt"
	"slices"

	"retool/kernels/driver"
)

// mapMagic begins the emulator's tensor map: {magic, element bytes, swizzle, rank} as bytes, then base, 5 dims, 4 strides as u64, 5 boxes as u32.
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
	dst, dstOff := c.addr(0)
	if !tensor {
		if !c.args(4) {
			return
		}
		src, srcOff := c.addr(1)
		size := c.src(2, typ{name: "u32", size: 4})
		bar, barOff := c.addr(3)
		s.run = func(w *warp, m uint32) {
			each(m, func(l int) {
				cp := bulkCopy{dst: w.r[dst][l] + uint64(dstOff), bar: w.r[bar][l] + uint64(barOff), src: w.r[src][l] + uint64(srcOff), bytes: int(uint32(w.r[size][l])), w: w, lane: l, pc: w.pc, thread: w.first + l}
				if cp.dst%16 != 0 || cp.src%16 != 0 || cp.bytes%16 != 0 || cp.bytes == 0 {
					w.reportLane(Misaligned, l, fmt.Sprintf("a copy of %d bytes from %#x to shared address %d, want positive multiples of 16", cp.bytes, cp.src, cp.dst))
					return
				}
				for i := 0; i < cp.bytes; i += 16 {
					w.mem(global, cp.src+uint64(i), 16, l, false, false, nil)
				}
				w.issueBulk(cp)
			})
		}
		return
	}
	c.has("tile")
	if !c.args(3) {
		return
	}
	bar, barOff := c.addr(2)
	from := c.in.args[1]
	if from.kind != addrOperand || len(from.list) != 2 || from.list[1].kind != vecOperand || len(from.list[1].list) != rank {
		c.fail("want [map, {coordinates}]")
		return
	}
	mp := c.value(from.list[0], typ{name: "u64", size: 8})
	coord := make([]int, rank)
	for i, o := range from.list[1].list {
		coord[i] = c.value(o, typ{name: "s32", size: 4})
	}
	s.run = func(w *warp, m uint32) {
		each(m, func(l int) {
			cp := bulkCopy{dst: w.r[dst][l] + uint64(dstOff), bar: w.r[bar][l] + uint64(barOff), w: w, lane: l, pc: w.pc, thread: w.first + l}
			for i := 0; i < 128; i += 16 {
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
			w.issueBulk(cp)
		})
	}
}

// issueBulk treats the destination as written now, and puts the copy under way.
func (w *warp) issueBulk(cp bulkCopy) {
	if w.mbar(cp.bar, cp.lane) == nil {
		return
	}
	_, _, bytes := cp.box()
	w.proxy = true
	for i := 0; i < bytes; i += 16 {
		w.mem(shared, cp.dst+uint64(i), 16, cp.lane, true, false, nil)
	}
	w.proxy = false
	off := int(cp.dst) - sharedBase
	if off < 0 || off+bytes > len(w.b.shared) {
		return
	}
	if sh := w.b.shadow; sh != nil {
		for i := range bytes {
			sh.flags[off+i] |= inFlight
		}
		cp.vc = w.row(cp.lane)
		sh.clock[cp.thread]++
	}
	w.b.bulk = append(w.b.bulk, cp)
}

// completeBulk carries out copy i and counts its bytes at the mbarrier. Elements outside of the tensor are zero.
func (b *block) completeBulk(i int) {
	cp := b.bulk[i]
	b.bulk = slices.Delete(b.bulk, i, i+1)
	elem, sizes, bytes := cp.box()
	report := func(kind Kind, format string, args ...any) {
		in := b.l.p.steps[cp.pc].in
		b.l.report(Report{
			Kind: kind, At: in.at, Line: in.line, Block: b.number, Thread: cp.thread, Other: none, Detail: fmt.Sprintf(format, args...),
		})
	}
	settled := func(at uint64, n int) {
		if len(b.l.d.loose) > 0 && b.l.d.isLoose(at, n) {
			report(HostRace, "a bulk copy reads %d bytes at %#x, which %s", n, at, looseCopy)
		}
	}
	base := binary.LittleEndian.Uint64(cp.m[8:])
	off := int(cp.dst) - sharedBase
	a := b.l.d.find(base)
	if cp.bytes > 0 { // its source was checked when it was issued
		settled(cp.src, bytes)
		if a = b.l.d.find(cp.src); a != nil && !a.dead && cp.src-a.base+uint64(bytes) <= uint64(len(a.data)) {
			copy(b.shared[off:off+bytes], a.data[cp.src-a.base:])
		}
	}
	idx := make([]int, len(sizes))
	for n := 0; n < bytes/elem && cp.bytes == 0; n++ {
		at, inside := base, true
		for d := range idx {
			x := cp.coord[d] + int64(idx[d])
			if x < 0 || uint64(x) >= binary.LittleEndian.Uint64(cp.m[16+8*d:]) {
				inside = false
			}
			stride := uint64(elem)
			if d > 0 {
				stride = binary.LittleEndian.Uint64(cp.m[56+8*(d-1):])
			}
			at += uint64(x) * stride
		}
		to := int(swizzled(cp.dst+uint64(n*elem), driver.Swizzle(cp.m[2]))) - sharedBase
		switch {
		case !inside:
			clear(b.shared[to : to+elem])
		case a == nil || a.dead || at-a.base+uint64(elem) > uint64(len(a.data)):
			report(GlobalBounds, "a tensor copy reads %#x: %s", at, b.l.d.describe(at))
		default:
			settled(at, elem)
			copy(b.shared[to:to+elem], a.data[at-a.base:])
		}
		for d := range idx {
			if idx[d]++; idx[d] < sizes[d] {
				break
			}
			idx[d] = 0
		}
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
