package probe

import (
	"slices"
	"strings"
)

// instructions asks for single instructions, and a few that need each other. Their inputs are %a, %b, %c and %e, 64 bits each, whose low
// halves are %ra, %rb, %rc and %re; the low 16 bits of %a and %b are %ha and %hb, the lowest bit of %e is %p. The result is %x, or %d in 32
// bits; %q, %r6 and %r7 are free.
var instructions = slices.Concat(
	single(edges, 0,
		"add.s32 %d, %ra, %rb;",
		"sub.u32 %d, %ra, %rb;",
		"add.s64 %x, %a, %b;",
		"sub.s64 %x, %a, %b;",
		"mul.lo.s32 %d, %ra, %rb;",
		"mul.hi.u32 %d, %ra, %rb;",
		"mul.hi.s32 %d, %ra, %rb;",
		"mul.wide.s32 %x, %ra, %rb;",
		"mul.wide.u32 %x, %ra, %rb;",
		"mul.lo.s64 %x, %a, %b;",
		"mul.hi.u64 %x, %a, %b;",
		"mul.hi.s64 %x, %a, %b;",
		"mad.lo.s32 %d, %ra, %rb, %rc;",
		"mad.wide.s32 %x, %ra, %rb, %c;",
		"min.s32 %d, %ra, %rb;",
		"max.u32 %d, %ra, %rb;",
		"min.s64 %x, %a, %b;",
		"and.b32 %d, %ra, %rb;",
		"or.b64 %x, %a, %b;",
		"xor.b32 %d, %ra, %rb;",
		"not.b32 %d, %ra;",
		"neg.s32 %d, %ra;",
		"abs.s32 %d, %ra;",
		"shl.b32 %d, %ra, %rb;",
		"shl.b64 %x, %a, %rb;",
		"shr.u32 %d, %ra, %rb;",
		"shr.s32 %d, %ra, %rb;",
		"shr.s64 %x, %a, %rb;",
		"shf.l.wrap.b32 %d, %ra, %rb, %rc;",
		"shf.r.clamp.b32 %d, %ra, %rb, %rc;",
		"lop3.b32 %d, %ra, %rb, %rc, 0x96;",
		"lop3.b32 %d, %ra, %rb, %rc, 0xca;",
		"prmt.b32 %d, %ra, %rb, 0x7531;",
		"prmt.b32 %d, %ra, %rb, 0xb1a0;",
		"bfe.u32 %d, %ra, 5, 9;",
		"bfe.s32 %d, %ra, 5, 9;",
		"bfi.b32 %d, %ra, %rb, 8, 4;",
		"popc.b32 %d, %ra;",
		"clz.b32 %d, %ra;",
		"brev.b32 %d, %ra;",
		"bfind.shiftamt.u32 %d, %ra;",
		"setp.lt.s32 %q, %ra, %rb; selp.u32 %d, 7, 9, %q;",
		"setp.hs.u32 %q, %ra, %rb; selp.b32 %d, %ra, %rb, %q;",
		"setp.ge.s64 %q, %a, %b; selp.b64 %x, %a, %b, %q;",
		"setp.gt.and.s32 %q, %ra, %rb, !%p; selp.u32 %d, 1, 0, %q;",
		"setp.eq.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;",
		"setp.neu.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;",
		"setp.ltu.f32 %q, %ra, %rb; selp.u32 %d, 1, 0, %q;",
		"mov.u32 %d, 5; @%p mov.u32 %d, %ra;",
		"mov.u32 %d, 5; @!%p bra $skip; mov.u32 %d, %ra; $skip:",
		"mov.b64 %x, {%rb, %ra};",
		"mov.b64 {%d, %r6}, %a; mov.b32 %d, %r6;",
		"mov.b32 %d, {%ha, %hb};",
		"cvt.s64.s32 %x, %ra;",
		"cvt.u64.u32 %x, %ra;",
		"cvt.s32.s16 %d, %ha;",
		"cvt.rzi.s32.f32 %d, %ra;",
		"cvt.rn.bf16x2.f32 %d, %ra, %rb;",
	),
	single(edges, 32,
		"cvt.rn.f32.s32 %d, %ra;",
		"cvt.rn.f32.u32 %d, %ra;",
		"cvt.rni.f32.f32 %d, %ra;",
		"cvt.f64.f32 %x, %ra; mul.rn.f64 %x, %x, %x; cvt.rn.f32.f64 %d, %x; cvt.u64.u32 %x, %d;",
		"add.rn.f32 %d, %ra, %rb;",
		"sub.rn.f32 %d, %ra, %rb;",
		"mul.rn.f32 %d, %ra, %rb;",
		"div.rn.f32 %d, %ra, %rb;",
		"rcp.rn.f32 %d, %ra;",
		"sqrt.rn.f32 %d, %ra;",
		"fma.rn.f32 %d, %ra, %rb, %rc;",
		"neg.f32 %d, %ra;",
		"abs.f32 %d, %ra;",
		"max.f32 %d, %ra, %rb;",
		"add.rn.ftz.f32 %d, %ra, %rb;",
	),
	single(edges, 64,
		"add.f64 %x, %a, %b;",
	),
	single(ramps, 0,
		"shfl.sync.bfly.b32 %d, %ra, 5, 31, -1;",
		"shfl.sync.idx.b32 %d, %ra, %rb, 31, -1;",
		"shfl.sync.up.b32 %d|%q, %ra, 3, 0, -1; @!%q mov.u32 %d, 0;",
		"shfl.sync.down.b32 %d, %ra, 2, 0x181f, -1;",
		"vote.sync.ballot.b32 %d, %p, -1;",
		"vote.sync.any.pred %q, !%p, -1; selp.u32 %d, 1, 0, %q;",
		"vote.sync.all.pred %q, %p, -1; selp.u32 %d, 1, 0, %q;",
		"match.any.sync.b32 %d, %rc, -1;",
		"redux.sync.add.s32 %d, %ra, -1;",
		"redux.sync.max.u32 %d, %ra, -1;",
		"mov.u32 %d, %laneid;",
		"mov.u32 %d, %lanemask_lt;",
		// Half a warp adds up its own members.
		"mov.u32 %d, 0; setp.lt.u32 %q, %r0, 16; @!%q bra $end; redux.sync.add.s32 %d, %ra, 0xffff; $end:",
		// Neighbours in groups of four, each with a mask of its own, in one instruction.
		"match.any.sync.b32 %r6, %rc, -1; shfl.sync.bfly.b32 %d, %ra, 1, 31, %r6;",
		"match.any.sync.b32 %r6, %rc, -1; redux.sync.add.s32 %d, %ra, %r6;",
		"bar.red.or.pred %q, 0, %p; selp.u32 %d, 1, 0, %q;",
		"bar.red.popc.u32 %d, 0, %p;",
	),
	[]probe{
		// A loop that each lane leaves at its own time, then all meet.
		ask("loop", ramps, 0, `mov.u32 %r6, 0;
$loop:
	add.s32 %r6, %r6, 1;
	setp.le.u32 %q, %r6, %rb;
	@%q bra $loop;
	redux.sync.add.s32 %d, %r6, -1;`),
		ask("shared memory", ramps, 0, `mov.u32 %r6, tile;
	shl.b32 %r7, %r0, 2;
	add.s32 %r6, %r6, %r7;
	st.shared.u32 [%r6], %ra;
	bar.sync 0;
	xor.b32 %r7, %r7, 124;
	mov.u32 %r6, tile;
	add.s32 %r6, %r6, %r7;
	ld.shared.u32 %d, [%r6];`),
		ask("shared atomics", ramps, 0, `mov.u32 %r6, tile;
	st.shared.u32 [%r6], 0;
	bar.sync 0;
	atom.shared.add.u32 %d, [%r6], %ra;
	bar.sync 0;
	ld.shared.u32 %d, [%r6];`),
	},
)

// single makes a probe of each body, which names it.
func single(in kind, float int, bodies ...string) []probe {
	ps := make([]probe, len(bodies))
	for i, b := range bodies {
		ps[i] = ask(b, in, float, b)
	}
	return ps
}

// ask is a probe whose result is %x, or %d in 32 bits. float is its width if it is one.
func ask(name string, in kind, float int, body string) probe {
	move := "\n\tmov.b64 {%r10, %r11}, %x;"
	if !strings.Contains(body, "%x") {
		move = "\n\tcvt.u64.u32 %x, %d;" + move
	}
	return probe{name: name, in: in, float: float, body: "\n\t" + body + move}
}
