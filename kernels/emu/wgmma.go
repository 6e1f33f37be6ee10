package emu

import (
	"fmt"
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
		s.run = idle
	case "commit_group":
		s.run = func(w *warp, _ uint32) { w.wgGroup++ }
	case "wait_group":
		n := c.groups()
		s.run = func(w *warp, _ uint32) { w.finishWgmma(n) }
	case "mma_async":
		c.wgmmaAsync(s)
	default:
		c.fail("not emulated")
	}
}

// wgmmaAsync is wgmma.mma_async d, a, b, scale-d, scale-a, scale-b, major-a, major-b; a in registers has no major.
func (c *compiler) wgmmaAsync(s *step) {
	n := c.wgmmaShape()
	if c.err != nil {
		return
	}
	fromRegs := c.in.args[1].kind == vecOperand
	if !c.args(8 - int(b2u(fromRegs))) {
		return
	}
	op := wgmmaOp{n: n}
	regs := c.targets(0, n/2)
	da := none
	if fromRegs {
		op.ra = c.srcs(1, 4, b32Type)
	} else {
		da = c.src(1, u64Type)
	}
	db := c.src(2, u64Type)
	scale, negate := c.predicate(3)
	op.amn, op.mn = c.majors(fromRegs)
	s.run = func(w *warp, m uint32) {
		lane := bits.TrailingZeros32(m)
		op := op
		op.acc = w.accumulate(regs, s.in)
		op.group, op.pc, op.b, op.keep = w.wgGroup, w.pc, w.r[db][lane], w.r[scale][lane]&1 != 0 != negate
		if !fromRegs {
			op.a = w.r[da][lane]
		}
		w.wg = append(w.wg, op)
	}
}

// wgmmaShape consumes the shape m64nNk16 and the types, and returns N.
func (c *compiler) wgmmaShape() (n int) {
	for i, p := range c.in.parts {
		if strings.HasPrefix(p, "m64n") && strings.HasSuffix(p, "k16") {
			fmt.Sscanf(p, "m64n%dk16", &n)
			c.used[i] = true
		}
	}
	ts := c.types(3)
	if n == 0 || n%8 != 0 || n > 256 || ts[0].name != "f32" || ts[1].name != "bf16" || ts[2].name != "bf16" || len(c.in.args) < 2 {
		c.fail("only m64nNk16 of bf16 with fp32 sums is emulated")
	}
	return n
}

// majors reads the last operands: whether the factors are negated, which is not emulated, and whether each lies MN-major.
func (c *compiler) majors(fromRegs bool) (a, b bool) {
	var major []bool // of a, unless it is in registers, then of b
	for i, o := range c.in.args[4:] {
		switch {
		case o.kind == immOperand && i < 2 && o.imm == 1: // factors are not negated
		case o.kind == immOperand && i >= 2 && o.imm <= 1:
			major = append(major, o.imm == 1)
		default:
			c.fail("operand %d is neither 0 nor 1, or negates a factor, which is not emulated", 4+i)
			return false, false
		}
	}
	return !fromRegs && major[0], major[len(major)-1]
}

// accumulate opens the accumulator of these registers for one more product. Until that is waited for they read as NaN.
func (w *warp) accumulate(regs []int, in *instr) *accumulator {
	acc := w.acc[regs[0]]
	switch {
	case acc == nil:
		acc = &accumulator{regs: regs, v: make([][lanes]uint64, len(regs))}
		for i, r := range regs {
			acc.v[i] = w.r[r]
			for l := range lanes {
				w.r[r][l] = 0xffffffff
			}
		}
		w.acc[regs[0]] = acc
	case !slices.Equal(acc.regs, regs):
		w.report(Report{Kind: AsyncInFlight, Detail: "sums that another wgmma under way owns in part"}, in)
	}
	acc.open++
	return acc
}

// descriptor is where an operand of a wgmma lies in shared memory, as its 64 bits say it. Offsets are bytes.
type descriptor struct {
	start, lbo, sbo uint64
	mode            driver.Swizzle
	pieces          int // of 16 bytes, in a row of the swizzle
}

func describe(desc uint64) descriptor {
	d := descriptor{start: desc & 0x3fff << 4, lbo: desc >> 16 & 0x3fff << 4, sbo: desc >> 32 & 0x3fff << 4}
	switch desc >> 62 {
	case 0:
		d.mode, d.pieces = driver.SwizzleNone, 1
	case 1:
		d.mode, d.pieces = driver.Swizzle128, 8
	case 2:
		d.mode, d.pieces = driver.Swizzle64, 4
	case 3:
		d.mode, d.pieces = driver.Swizzle32, 2
	}
	return d
}

// column is the address of a 16-byte piece of an MN-major operand: columns 8·c … of the tile, inner index k.
func (d *descriptor) column(c, k int) uint64 {
	if d.mode == driver.SwizzleNone {
		return d.start + uint64(c)*d.sbo + uint64(k%8)*16 + uint64(k/8)*d.lbo
	}
	at := d.start + uint64(c%d.pieces)*16 + uint64(c/d.pieces)*d.lbo + uint64(k%8*d.pieces)*16 + uint64(k/8)*d.sbo
	return swizzled(at, d.mode)
}

// row is the address of a 16-byte piece of a K-major operand: row mn, columns 8·piece … of the tile.
func (d *descriptor) row(mn, piece int) uint64 {
	step := uint64(16)
	if d.mode == driver.SwizzleNone {
		step = d.lbo
	}
	at := d.start + uint64(mn%8*d.pieces)*16 + uint64(mn/8)*d.sbo + uint64(piece)*step
	return swizzled(at, d.mode)
}

// eight reads 8 bf16 of shared memory.
func (w *warp) eight(out *[8]float32, at uint64) {
	b := (*[16]byte)(w.mem(shared, at, 16, 0, false, false, nil))
	for i := range out {
		out[i] = bf16f(uint64(b[2*i]) | uint64(b[2*i+1])<<8)
	}
}

// factor reads rows row0, … of a descriptor's tile, 16 inner numbers each.
func (w *warp) factor(x [][16]float32, desc uint64, row0 int, mn bool) {
	d := describe(desc)
	if mn {
		var v [8]float32
		for k := range 16 {
			for c := range len(x) / 8 {
				w.eight(&v, d.column(row0/8+c, k))
				for i, f := range v {
					x[8*c+i][k] = f
				}
			}
		}
		return
	}
	for r := range x {
		w.eight((*[8]float32)(x[r][:]), d.row(row0+r, 0))
		w.eight((*[8]float32)(x[r][8:]), d.row(row0+r, 1))
	}
}

// finishWgmma carries out all groups but the newest keep.
func (w *warp) finishWgmma(keep int) {
	done := 0
	pc := w.pc
	for _, op := range w.wg {
		if op.group >= w.wgGroup-keep {
			break
		}
		done++
		w.pc = op.pc // reports name the product, not the wait
		w.multiply(&op)
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

// multiply carries out this warp's 16 of the 64 rows of a product.
func (w *warp) multiply(op *wgmmaOp) {
	w.b.l.counters.MMA++
	var a [16][16]float32
	if w.right == nil {
		w.right = new([256][16]float32)
	}
	b := w.right[:op.n]
	w.proxy = true
	if op.ra == nil {
		w.factor(a[:], op.a, w.id%4*16, op.amn)
	}
	w.leftFactor(&a, op.ra, bf16f)
	w.factor(b, op.b, 0, op.mn)
	w.proxy = false
	if !op.keep {
		clear(op.acc.v)
	}
	for i := range op.acc.v {
		v, first := &op.acc.v[i], i/4*8+i%2
		for l := 0; l < lanes; l += 4 { // four lanes of one row
			x := [4]float32{f32(v[l]), f32(v[l+1]), f32(v[l+2]), f32(v[l+3])}
			dots(&x, &a[l/4+i/2%2*8], (*[7][16]float32)(b[first:]), 16)
			v[l], v[l+1], v[l+2], v[l+3] = u32(x[0]), u32(x[1]), u32(x[2]), u32(x[3])
		}
	}
}
