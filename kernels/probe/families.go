package probe

import "fmt"

// families asks for families of instructions, several results each.
var families = []probe{
	{name: "shfl", in: words, body: `
	and.b32 %r5, %rb, 31;
	shfl.sync.idx.b32 %r10, %ra, %r5, 31, -1;
	shfl.sync.up.b32 %r11|%p1, %ra, 3, 0, -1;
	selp.u32 %r12, 1, 0, %p1;
	shfl.sync.down.b32 %r13|%p2, %ra, 2, 6175, -1;
	selp.u32 %r14, 1, 0, %p2;
	shfl.sync.bfly.b32 %r15, %ra, 5, 31, -1;
	shfl.sync.idx.b32 %r16, %ra, 5, 7199, -1;`},
	{name: "integers", in: words, body: `
	lop3.b32 %r10, %ra, %rb, %rc, 150;
	lop3.b32 %r11, %ra, %rb, %rc, 232;
	and.b32 %r5, %rc, 30583;
	prmt.b32 %r12, %ra, %rb, %r5;
	prmt.b32 %r13, %ra, %rb, 21554;
	shf.l.wrap.b32 %r14, %ra, %rb, %rc;
	mul.hi.u32 %r15, %ra, %rb;
	mad.lo.s32 %r16, %ra, %rb, %rc;
	shr.s32 %r17, %ra, 7;`},
	{name: "convert", in: floats, body: `
	mov.b32 %f1, %ra;
	mov.b32 %f2, %rb;
	cvt.rn.bf16x2.f32 %r10, %f1, %f2;
	cvt.rni.s32.f32 %r11, %f1;
	cvt.rzi.s32.f32 %r12, %f2;
	cvt.rn.f32.s32 %f3, %rc;
	mov.b32 %r13, %f3;`},
	{name: "arithmetic", in: floats, body: `
	mov.b32 %f1, %ra;
	mov.b32 %f2, %rb;
	mov.b32 %f3, %rc;
	add.rn.f32 %f4, %f1, %f2;
	mov.b32 %r10, %f4;
	mul.rn.f32 %f4, %f1, %f2;
	mov.b32 %r11, %f4;
	fma.rn.f32 %f4, %f1, %f2, %f3;
	mov.b32 %r12, %f4;
	div.rn.f32 %f4, %f1, %f2;
	mov.b32 %r13, %f4;
	abs.f32 %f5, %f1;
	sqrt.rn.f32 %f4, %f5;
	mov.b32 %r14, %f4;
	max.f32 %f4, %f1, %f2;
	mov.b32 %r15, %f4;`},
	{name: "ex2", in: floats, within: 1e-6, body: approximation("ex2", "0f3F800000", "0f3F000000")},
	{name: "lg2", in: floats, within: 1e-6, body: approximation("lg2", "0f40A00000", "0f41000000")},
	{name: "rsqrt", in: floats, within: 1e-6, body: approximation("rsqrt", "0f40A00000", "0f3F800000")},
	{name: "ldmatrix", in: words, body: `
	shl.b32 %r5, %r0, 4;
	mov.u32 %r6, tile;
	add.s32 %r6, %r6, %r5;
	st.shared.v4.u32 [%r6], {%ra, %rb, %rc, %re};
	bar.sync 0;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r6];
	ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r14, %r15, %r16, %r17}, [%r6];`},
	{name: "mma", in: pairs, within: 1e-6, body: `
	mov.b32 %f1, 0f00000000;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%ra, %rb, %rc, %re}, {%rc, %ra}, {%f1, %f1, %f1, %f1};
	mov.b32 %r10, %f4;
	mov.b32 %r11, %f5;
	mov.b32 %r12, %f6;
	mov.b32 %r13, %f7;
	mov.b32 %f8, %ra;
	mov.b32 %f9, %rb;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%re, %rc, %rb, %ra}, {%rb, %re}, {%f8, %f9, %f8, %f9};
	mov.b32 %r14, %f4;
	mov.b32 %r15, %f5;
	mov.b32 %r16, %f6;
	mov.b32 %r17, %f7;`},
	// Products of zero leave a sum alone, to the bit: what a tile with nothing in it relies on.
	{name: "mma of zeros", in: pairs, body: `
	mov.b32 %r5, 0;
	mov.b32 %f8, %ra;
	mov.b32 %f9, %rb;
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f4, %f5, %f6, %f7}, {%ra, %rb, %rc, %re}, {%r5, %r5}, {%f8, %f9, %f8, %f9};
	mov.b32 %r10, %f4;
	mov.b32 %r11, %f5;
	mov.b32 %r12, %f6;
	mov.b32 %r13, %f7;`},
	{name: "cp.async", in: words, body: `
	shl.b32 %r5, %r0, 4;
	mov.u32 %r6, tile;
	add.s32 %r6, %r6, %r5;
	and.b32 %r7, %r0, 15;
	cp.async.cg.shared.global [%r6], [%rd4], 16, %r7;
	cp.async.commit_group;
	cp.async.wait_group 0;
	bar.sync 0;
	ld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r6];`},
}

// approximation applies op to lane·scale + offset, and to the lane's own float.
func approximation(op, offset, scale string) string {
	return fmt.Sprintf(`
	cvt.rn.f32.u32 %%f1, %%r0;
	fma.rn.f32 %%f2, %%f1, %[3]s, %[2]s;
	%[1]s.approx.ftz.f32 %%f3, %%f2;
	mov.b32 %%r10, %%f3;
	rcp.rn.f32 %%f4, %%f2;
	%[1]s.approx.ftz.f32 %%f3, %%f4;
	mov.b32 %%r11, %%f3;`, op, offset, scale)
}
