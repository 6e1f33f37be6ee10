package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"retool/kernels/driver"
)

// mbarrier is a barrier in shared memory that also counts bytes. A phase is complete when all have arrived and all bytes have.
//
// vc is the clocks of those who arrived in this phase, or whose copies did; done those of all complete phases. A successful wait acquires done.
type mbarrier struct {
	count, pending, tx, phase int
	vc, done                  []uint32
	made                      access // its initialisation
}

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

// row is what a thread has seen, itself and what __syncwarp showed it included.
func (w *warp) row(lane int) []uint32 {
	s, t := w.b.shadow, w.first+lane
	v := make([]uint32, s.n)
	if s.matrix != nil {
		copy(v, s.matrix[t*s.n:(t+1)*s.n])
	}
	if w.seen != nil {
		maxInto(v[w.first:], w.seen[lane][:min(lanes, s.n-w.first)])
	}
	v[t] = s.clock[t]
	return v
}

func maxInto(to, from []uint32) {
	for i, v := range from {
		to[i] = max(to[i], v)
	}
}

// acquire lets a thread see what v holds.
func (s *sharedShadow) acquire(t int, v []uint32) {
	if s.matrix == nil {
		s.matrix = make([]uint32, s.n*s.n)
	}
	maxInto(s.matrix[t*s.n:(t+1)*s.n], v)
}

// me numbers a thread through all blocks, from 1.
func (w *warp) me(lane int) int32 { return int32(w.b.number*w.b.threads+w.first+lane) + 1 }

func (w *warp) mbar(addr uint64, lane int) *mbarrier {
	m := w.b.mbars[addr&^windowMask]
	if m == nil {
		w.reportLane(MBarrier, lane, fmt.Sprintf("shared byte %d is used as an mbarrier, and nobody initialised one there", int(addr&^windowMask)-sharedBase))
		return nil
	}
	if w.b.shadow != nil && w.conflict(&m.made, w.me(lane), 15, lane, false) {
		w.reportLane(MBarrier, lane, fmt.Sprintf("its initialisation by thread %d is not ordered before", int(m.made.thread-1)%w.b.threads))
	}
	return m
}

// arrive counts n arrivals of a thread.
func (w *warp) arriveAt(m *mbarrier, lane, n int) {
	if m.pending < n {
		w.reportLane(MBarrier, lane, fmt.Sprintf("more arrivals than the %d expected: its phase %d is still open", m.count, m.phase))
		return
	}
	if s := w.b.shadow; s != nil {
		t := w.first + lane
		maxInto(m.vc, w.row(lane))
		s.clock[t]++
	}
	m.pending -= n
	w.b.turn(m)
}

// turn completes a phase that has all it waits for.
func (b *block) turn(m *mbarrier) {
	if m.pending != 0 || m.tx != 0 {
		return
	}
	m.phase++
	m.pending = m.count
	maxInto(m.done, m.vc)
	b.progress()
}

// hopper refuses instructions of sm_90a in a module for less.
func (c *compiler) hopper() {
	if target := c.p.module.mod.target; target != "sm_90a" {
		c.fail("needs .target sm_90a, the module says %s", target)
	}
}

func (c *compiler) mbarrier(s *step) {
	c.hopper()
	op := c.one("init", "inval", "arrive", "expect_tx", "try_wait", "test_wait")
	expect := op == "arrive" && c.has("expect_tx")
	parity := c.has("parity")
	c.one("release", "acquire", "relaxed")
	c.has("cta", "cluster")
	c.has("shared", "shared::cta")
	c.has("b64")
	u32 := typ{name: "u32", size: 4}
	switch op {
	case "init":
		base, off := c.addr(0)
		n := c.src(1, u32)
		s.run = func(w *warp, m uint32) {
			each(m, func(l int) {
				addr := w.r[base][l] + uint64(off)
				if addr&7 != 0 {
					w.reportLane(Misaligned, l, fmt.Sprintf("an mbarrier at shared address %d", addr))
					return
				}
				count := int(w.r[n][l])
				bar := &mbarrier{count: count, pending: count, vc: make([]uint32, w.b.threads), done: make([]uint32, w.b.threads)}
				w.mem(shared, addr, 8, l, true, false, nil)
				w.b.mbars[addr] = bar
				if sh := w.b.shadow; sh != nil {
					bar.made = access{thread: w.me(l), clock: sh.clock[w.first+l], pc: w.pc, bytes: 15}
					for i := range 8 {
						if at := int(addr) - sharedBase + i; at < len(sh.flags) {
							sh.flags[at] |= isBarrier
						}
					}
				}
			})
		}
	case "arrive", "expect_tx":
		at := 0
		if op == "arrive" {
			if c.in.args[0].kind != sinkOperand {
				c.fail("the state that it returns is not emulated: want _")
				return
			}
			at = 1
		}
		base, off := c.addr(at)
		arg := none
		if len(c.in.args) > at+1 {
			arg = c.src(at+1, u32)
		}
		s.run = func(w *warp, m uint32) {
			if rest := w.apart &^ m; rest != 0 && w.apart&m != 0 && w.b.shadow != nil {
				w.reportLane(MBarrier, bits.TrailingZeros32(m), fmt.Sprintf(
					"it arrives for its warp, and lanes %#x, which asked an mbarrier as it did, may still be asking: nothing brought them together", rest))
			}
			each(m, func(l int) {
				bar := w.mbar(w.r[base][l]+uint64(off), l)
				if bar == nil {
					return
				}
				n := 1
				if arg != none {
					n = int(w.r[arg][l] & 0xffffffff)
				}
				if expect || op == "expect_tx" {
					bar.tx += n
					n = 1
				}
				if op == "arrive" {
					w.arriveAt(bar, l, n)
				}
			})
		}
	case "try_wait", "test_wait":
		if !parity {
			c.fail("only the parity form is emulated")
			return
		}
		d := c.dst(0)
		base, off := c.addr(1)
		p := c.src(2, u32)
		s.run = func(w *warp, m uint32) {
			w.apart |= m
			each(m, func(l int) {
				bar := w.mbar(w.r[base][l]+uint64(off), l)
				ok := bar == nil || uint64(bar.phase&1) != w.r[p][l]&1
				w.r[d][l] = b2u(ok)
				if !ok {
					w.polled = true
				} else if bar != nil && w.b.shadow != nil {
					w.b.shadow.acquire(w.first+l, bar.done)
				}
			})
		}
	default:
		c.fail("not emulated")
	}
}

func (c *compiler) elect(s *step) {
	c.has("sync")
	s.kind = gather
	o := c.in.args[0]
	if o.kind != pairOperand && !(o.kind == sinkOperand) || len(c.in.args) != 2 {
		c.fail("want d|p, members")
		return
	}
	d, p := c.target(o.list[0]), c.target(o.list[1])
	s.members = c.src(1, typ{name: "b32", size: 4})
	s.run = func(w *warp, m uint32) {
		first := bits.TrailingZeros32(m)
		each(m, func(l int) {
			w.r[d][l] = uint64(first)
			w.r[p][l] = b2u(l == first)
		})
	}
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

// fenceProxy is fence.proxy.async: what the lanes stored before may be touched by the asynchronous proxy.
func (w *warp) fenceProxy(m uint32) {
	if s := w.b.shadow; s != nil {
		each(m, func(l int) {
			s.fenced[w.first+l] = s.clock[w.first+l]
			s.clock[w.first+l]++
		})
	}
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

// wgmmaOp is one wgmma of one warp, queued until the warp waits for its group.
type wgmmaOp struct {
	group int
	a, b  uint64 // descriptors
	ra    []int  // registers of a, if it is not in shared memory: read when the product is carried out
	mn    bool   // b lies with its inner dimension down the rows
	amn   bool   // and so does a
	n     int
	keep  bool // add to what the accumulator holds
	acc   *accumulator
	pc    int32
}

// accumulator is registers that a wgmma under way owns. Until its wait, a read of them gives NaN.
type accumulator struct {
	regs []int
	v    [][lanes]uint64
	open int // operations not yet carried out
}

func (c *compiler) wgmma(s *step) {
	c.hopper()
	c.has("sync")
	c.has("aligned")
	s.kind = gather
	switch c.one("fence", "commit_group", "wait_group", "mma_async") {
	case "fence":
		s.run = func(*warp, uint32) {}
		return
	case "commit_group":
		s.run = func(w *warp, _ uint32) { w.wgGroup++ }
		return
	case "wait_group":
		if len(c.in.args) != 1 || c.in.args[0].kind != immOperand {
			c.fail("want the number of groups")
			return
		}
		n := int(c.in.args[0].imm)
		s.run = func(w *warp, _ uint32) { w.finishWgmma(n) }
		return
	case "mma_async":
	default:
		c.fail("not emulated")
		return
	}
	shape := ""
	for i, p := range c.in.parts {
		if strings.HasPrefix(p, "m64n") && strings.HasSuffix(p, "k16") {
			shape, c.used[i] = p, true
		}
	}
	var n int
	fmt.Sscanf(shape, "m64n%dk16", &n)
	ts := c.types(3)
	if c.err != nil || n == 0 || n%8 != 0 || n > 256 || ts[0].name != "f32" || ts[1].name != "bf16" || ts[2].name != "bf16" || len(c.in.args) < 2 {
		c.fail("only m64nNk16 of bf16 with fp32 sums is emulated")
		return
	}
	fromRegs := c.in.args[1].kind == vecOperand
	if want := 8; !c.args(map[bool]int{false: want, true: want - 1}[fromRegs]) { // a in registers has no major to choose
		return
	}
	o := c.in.args[0]
	if o.kind != vecOperand || len(o.list) != n/2 {
		c.fail("the sums are not a vector of %d", n/2)
		return
	}
	regs := make([]int, n/2)
	for i := range regs {
		regs[i] = c.target(o.list[i])
	}
	u64 := typ{name: "u64", size: 8}
	var ra []int
	da := none
	if fromRegs {
		for _, o := range c.in.args[1].list {
			ra = append(ra, c.value(o, typ{name: "b32", size: 4}))
		}
		if len(ra) != 4 {
			c.fail("a is a vector of %d registers, want 4", len(ra))
			return
		}
	} else {
		da = c.src(1, u64)
	}
	db, p := c.src(2, u64), c.in.args[3]
	if p.kind != regOperand {
		c.fail("scale-d is not a predicate")
		return
	}
	var major []bool // MN-major: of a, unless it is in registers, then of b
	for i, o := range c.in.args[4:] {
		switch {
		case o.kind == immOperand && i < 2 && o.imm == 1: // factors are not negated
		case o.kind == immOperand && i >= 2 && o.imm <= 1:
			major = append(major, o.imm == 1)
		default:
			c.fail("operand %d is neither 0 nor 1, or negates a factor, which is not emulated", 4+i)
			return
		}
	}
	mn, amn := major[len(major)-1], !fromRegs && major[0]
	s.run = func(w *warp, m uint32) {
		acc := w.acc[regs[0]]
		if acc == nil {
			acc = &accumulator{regs: regs, v: make([][lanes]uint64, len(regs))}
			for i, r := range regs {
				acc.v[i] = w.r[r]
				for l := range lanes {
					w.r[r][l] = 0xffffffff
				}
			}
			w.acc[regs[0]] = acc
		} else if !slices.Equal(acc.regs, regs) {
			w.report(Report{Kind: AsyncInFlight, Detail: "sums that another wgmma under way owns in part"}, s.in)
		}
		acc.open++
		lane := bits.TrailingZeros32(m)
		op := wgmmaOp{group: w.wgGroup, b: w.r[db][lane], ra: ra, mn: mn, amn: amn, n: n, keep: w.r[p.reg][lane]&1 != 0 != p.negate, acc: acc, pc: w.pc}
		if !fromRegs {
			op.a = w.r[da][lane]
		}
		w.wg = append(w.wg, op)
	}
}

// column8 reads one 16-byte piece of an MN-major operand: columns 8·c … of the descriptor's tile, inner index k.
func (w *warp) column8(desc uint64, c, k int) (out [8]float32) {
	start := desc & 0x3fff << 4
	lbo, sbo := desc>>16&0x3fff<<4, desc>>32&0x3fff<<4
	pieces := map[uint64]int{0: 1, 1: 8, 2: 4, 3: 2}[desc>>62] // in a row of the swizzle
	mode := map[uint64]driver.Swizzle{1: driver.Swizzle128, 2: driver.Swizzle64, 3: driver.Swizzle32}[desc>>62]
	at := start + uint64(c%pieces)*16 + uint64(c/pieces)*lbo + uint64(k%8*pieces)*16 + uint64(k/8)*sbo
	if desc>>62 == 0 {
		at = start + uint64(c)*sbo + uint64(k%8)*16 + uint64(k/8)*lbo
	}
	b := w.mem(shared, swizzled(at, mode), 16, 0, false, false, nil)
	for i := range out {
		out[i] = bf16f(uint64(b[2*i]) | uint64(b[2*i+1])<<8)
	}
	return out
}

// tile16 reads one 16-byte piece of a K-major operand: row mn, columns 8·piece … of the descriptor's tile.
func (w *warp) tile16(desc uint64, mn, piece int) (out [8]float32) {
	start := desc & 0x3fff << 4
	sbo := desc >> 32 & 0x3fff << 4
	lbo := desc >> 16 & 0x3fff << 4
	var at uint64
	mode := driver.SwizzleNone
	switch desc >> 62 {
	case 0:
		at = start + uint64(mn%8)*16 + uint64(mn/8)*sbo + uint64(piece)*lbo
	case 1:
		mode = driver.Swizzle128
		at = start + uint64(mn%8)*128 + uint64(mn/8)*sbo + uint64(piece)*16
	case 2:
		mode = driver.Swizzle64
		at = start + uint64(mn%8)*64 + uint64(mn/8)*sbo + uint64(piece)*16
	case 3:
		mode = driver.Swizzle32
		at = start + uint64(mn%8)*32 + uint64(mn/8)*sbo + uint64(piece)*16
	}
	b := w.mem(shared, swizzled(at, mode), 16, 0, false, false, nil)
	for i := range out {
		out[i] = bf16f(uint64(b[2*i]) | uint64(b[2*i+1])<<8)
	}
	return out
}

// factor reads rows row0, … of a descriptor's tile, 16 inner numbers each.
func (w *warp) factor(x [][16]float32, desc uint64, row0 int, mn bool) {
	if mn {
		for k := range 16 {
			for c := range len(x) / 8 {
				for i, v := range w.column8(desc, row0/8+c, k) {
					x[8*c+i][k] = v
				}
			}
		}
		return
	}
	for r := range x {
		for piece := range 2 {
			v := w.tile16(desc, row0+r, piece)
			copy(x[r][piece*8:], v[:])
		}
	}
}

// finishWgmma carries out all groups but the newest keep: this warp's 16 of the 64 rows.
func (w *warp) finishWgmma(keep int) {
	done := 0
	pc := w.pc
	for _, op := range w.wg {
		if op.group >= w.wgGroup-keep {
			break
		}
		done++
		w.pc = op.pc // reports name the product, not the wait
		w.b.l.counters.MMA++
		var a [16][16]float32
		w.proxy = true
		if op.ra == nil {
			w.factor(a[:], op.a, w.id%4*16, op.amn)
		}
		for i, r := range op.ra { // as those of mma.m16n8k16
			for l := range lanes {
				v, row, col := w.r[r][l], l/4+i%2*8, l%4*2+i/2*8
				a[row][col], a[row][col+1] = bf16f(v&0xffff), bf16f(v>>16&0xffff)
			}
		}
		b := make([][16]float32, op.n)
		w.factor(b, op.b, 0, op.mn)
		w.proxy = false
		for i := range op.acc.v {
			for l := range lanes {
				row, col := l/4+i/2%2*8, i/4*8+l%4*2+i%2
				var sum float32
				if op.keep {
					sum = f32(op.acc.v[i][l])
				}
				x, y := &a[row], &b[col]
				for k := range 16 {
					sum += float32(x[k] * y[k])
				}
				op.acc.v[i][l] = uint64(math.Float32bits(sum))
			}
		}
		if op.acc.open--; op.acc.open == 0 {
			for i, r := range op.acc.regs {
				w.r[r] = op.acc.v[i]
			}
			delete(w.acc, op.acc.regs[0])
		}
	}
	w.pc = pc
	w.wg = w.wg[done:]
}
