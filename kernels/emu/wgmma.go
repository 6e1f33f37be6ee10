package emu

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"retool/kernels/driver"
)

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
