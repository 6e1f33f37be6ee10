#include "textflag.h"
#include "cpu_rows512_amd64.h"

// Products of bf16 by bf16 with the processor's own instruction (AVX512_BF16): A and B in words of pairs, numbers 2k in the low halves,
// 2k+1 in the high ones. VDPBF16PS adds to each output the product of the high halves, then that of the low ones, each sum rounded to
// nearest: what cpu_bf16_amd64.s computes, bit for bit, but that numbers below 2^-126 count as zero.
//
//	R8 c   R9 ldc   SI a   R10 ars   R11 bps   R12 from a row of c in one panel to the same in the other   BX b   R13 words   DI tiles left   R14 b of this step   R15 words left
//	AX, DX, CX, BP: rows 0, 3, 6 and 9 of a at this step, or of c
//	Z0, Z1 a row of b, of two panels   Z2 a word of a, sixteen times   Z4 … Z27 outputs, a row's of both panels side by side

// DOT is VDPBF16PS of Z2 and a row of b, to an output; the assembler knows no name for it. hi says which eight outputs, modrm which of
// them, and Z0 or Z1.
#define DOT(hi, modrm) \
	LONG $hi              \
	WORD $modrm

#define LOW8  0x486EF262 // Z0 … Z7
#define LOW16 0x486E7262 // Z8 … Z15
#define LOW24 0x486EE262 // Z16 … Z23
#define LOW32 0x486E6262 // Z24 … Z31

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 40(AX), R12   \
	MOVQ 56(AX), R11   \
	MOVQ 64(AX), R13   \
	MOVQ 72(AX), DI

// OTHER goes from the rows of c in one panel to those in the other.
#define OTHER \
	ADDQ R12, AX \
	ADDQ R12, DX \
	ADDQ R12, CX \
	ADDQ R12, BP

// Each row has its outputs in two registers, and their places in DOT.
#define LOADA(m, y, z, hi, a, b)  VMOVUPS m, y
#define LOADB(m, y, z, hi, a, b)  VMOVUPS m, z
#define ZEROA(m, y, z, hi, a, b)  VPXORD y, y, y
#define ZEROB(m, y, z, hi, a, b)  VPXORD z, z, z
#define STOREA(m, y, z, hi, a, b) VMOVUPS y, m
#define STOREB(m, y, z, hi, a, b) VMOVUPS z, m
#define ONE(m, y, z, hi, a, b) \
	VPBROADCASTD m, Z2 \
	DOT(hi, a)
#define BOTH(m, y, z, hi, a, b) \
	VPBROADCASTD m, Z2 \
	DOT(hi, a)         \
	DOT(hi, b)

#define EACH1(op, d, o) \
	op(o(AX), Z4, Z5, LOW8, 0xE052, 0xE952)
#define EACH2(op, d, o) EACH1(op, d, o) \
	op(o(AX)(d*1), Z6, Z7, LOW8, 0xF052, 0xF952)
#define EACH3(op, d, o) EACH2(op, d, o) \
	op(o(AX)(d*2), Z8, Z9, LOW16, 0xC052, 0xC952)
#define EACH4(op, d, o) EACH3(op, d, o) \
	op(o(DX), Z10, Z11, LOW16, 0xD052, 0xD952)
#define EACH5(op, d, o) EACH4(op, d, o) \
	op(o(DX)(d*1), Z12, Z13, LOW16, 0xE052, 0xE952)
#define EACH6(op, d, o) EACH5(op, d, o) \
	op(o(DX)(d*2), Z14, Z15, LOW16, 0xF052, 0xF952)
#define EACH7(op, d, o) EACH6(op, d, o) \
	op(o(CX), Z16, Z17, LOW24, 0xC052, 0xC952)
#define EACH8(op, d, o) EACH7(op, d, o) \
	op(o(CX)(d*1), Z18, Z19, LOW24, 0xD052, 0xD952)
#define EACH9(op, d, o) EACH8(op, d, o) \
	op(o(CX)(d*2), Z20, Z21, LOW24, 0xE052, 0xE952)
#define EACH10(op, d, o) EACH9(op, d, o) \
	op(o(BP), Z22, Z23, LOW24, 0xF052, 0xF952)
#define EACH11(op, d, o) EACH10(op, d, o) \
	op(o(BP)(d*1), Z24, Z25, LOW32, 0xC052, 0xC952)
#define EACH12(op, d, o) EACH11(op, d, o) \
	op(o(BP)(d*2), Z26, Z27, LOW32, 0xD052, 0xD952)

// ONEPANEL and TWOPANELS do something with all outputs of rows, ONEROW and TWOROWS multiply by a row of b.
#define ONEPANEL(each, a, b) each(a, R9, 0)

#define TWOPANELS(each, a, b) \
	each(a, R9, 0) \
	OTHER          \
	each(b, R9, 0)

#define ONEROW(each) \
	VMOVUPS (R14), Z0 \
	each(ONE, R10, 0)

#define TWOROWS(each) \
	VMOVUPS (R14), Z0        \
	VMOVUPS (R14)(R11*1), Z1 \
	each(BOTH, R10, 0)

// TWOROWSAHEAD asks for weights as far before their use as cpu_bf16_512_amd64.s does: the products of twelve rows take so long that the
// processor does not see by itself that a stream goes on. Those of fewer are slower for it.
#define TWOROWSAHEAD(each) \
	PREFETCHT0 3072(R14)          \
	PREFETCHT0 3072(R14)(R11*1)   \
	TWOROWS(each)

// One kernel: blocks of n rows, DI of them.
#define KERNEL(outputs, row, each, n) \
	ARGUMENTS            \
block:                   \
	MOVQ t+0(FP), AX     \
	CMPQ 80(AX), $0      \
	JEQ zero             \
	ROWS(R8, R9)         \
	outputs(each, LOADA, LOADB) \
	JMP start            \
zero:                    \
	outputs(each, ZEROA, ZEROB) \
start:                   \
	ROWS(SI, R10)        \
	MOVQ BX, R14         \
	MOVQ R13, R15        \
	TESTQ R15, R15       \
	JZ done              \
loop:                    \
	row(each)            \
	ADDQ $4, AX          \
	ADDQ $4, DX          \
	ADDQ $4, CX          \
	ADDQ $4, BP          \
	ADDQ $64, R14        \
	DECQ R15             \
	JNZ loop             \
done:                    \
	ROWS(R8, R9)         \
	outputs(each, STOREA, STOREB) \
	NEXTROWS(n)          \
	DECQ DI              \
	JNZ block            \
	VZEROUPPER           \
	RET

// func dot1(t *tile)
TEXT ·dot1(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH1, 1)

// func dot2(t *tile)
TEXT ·dot2(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH2, 2)

// func dot3(t *tile)
TEXT ·dot3(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH3, 3)

// func dot4(t *tile)
TEXT ·dot4(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH4, 4)

// func dot5(t *tile)
TEXT ·dot5(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH5, 5)

// func dot6(t *tile)
TEXT ·dot6(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH6, 6)

// func dot7(t *tile)
TEXT ·dot7(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH7, 7)

// func dot8(t *tile)
TEXT ·dot8(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH8, 8)

// func dot9(t *tile)
TEXT ·dot9(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH9, 9)

// func dot10(t *tile)
TEXT ·dot10(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH10, 10)

// func dot11(t *tile)
TEXT ·dot11(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH11, 11)

// func dot12(t *tile)
TEXT ·dot12(SB), NOSPLIT, $8-8
	KERNEL(ONEPANEL, ONEROW, EACH12, 12)

// func dotTwo1(t *tile)
TEXT ·dotTwo1(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH1, 1)

// func dotTwo2(t *tile)
TEXT ·dotTwo2(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH2, 2)

// func dotTwo3(t *tile)
TEXT ·dotTwo3(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH3, 3)

// func dotTwo4(t *tile)
TEXT ·dotTwo4(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH4, 4)

// func dotTwo5(t *tile)
TEXT ·dotTwo5(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH5, 5)

// func dotTwo6(t *tile)
TEXT ·dotTwo6(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH6, 6)

// func dotTwo7(t *tile)
TEXT ·dotTwo7(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH7, 7)

// func dotTwo8(t *tile)
TEXT ·dotTwo8(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH8, 8)

// func dotTwo9(t *tile)
TEXT ·dotTwo9(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH9, 9)

// func dotTwo10(t *tile)
TEXT ·dotTwo10(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH10, 10)

// func dotTwo11(t *tile)
TEXT ·dotTwo11(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWS, EACH11, 11)

// func dotTwo12(t *tile)
TEXT ·dotTwo12(SB), NOSPLIT, $8-8
	KERNEL(TWOPANELS, TWOROWSAHEAD, EACH12, 12)

// func dotLong(t *tile)
// 1 × 64, four panels: Z4 … Z7. Their outputs lie aks apart, so that each panel can begin a long stream of weights, which is asked for some
// 50 lines ahead, past the second-level cache: nobody reads it twice soon.
TEXT ·dotLong(SB), NOSPLIT, $0-8
	ARGUMENTS
	LEAQ (R11)(R11*2), DX
	ADDQ BX, DX
	LEAQ (R12)(R12*2), CX
	ADDQ R8, CX
	MOVQ t+0(FP), AX
	CMPQ 80(AX), $0
	JEQ zero
	VMOVUPS (R8), Z4
	VMOVUPS (R8)(R12*1), Z5
	VMOVUPS (R8)(R12*2), Z6
	VMOVUPS (CX), Z7
	JMP start
zero:
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
start:
	TESTQ R13, R13
	JZ done
loop:
	PREFETCHNTA 3072(BX)
	PREFETCHNTA 3072(BX)(R11*1)
	PREFETCHNTA 3072(BX)(R11*2)
	PREFETCHNTA 3072(DX)
	VPBROADCASTD (SI), Z2
	VMOVUPS (BX), Z0
	VMOVUPS (BX)(R11*1), Z1
	DOT(LOW8, 0xE052)
	DOT(LOW8, 0xE952)
	VMOVUPS (BX)(R11*2), Z0
	VMOVUPS (DX), Z1
	DOT(LOW8, 0xF052)
	DOT(LOW8, 0xF952)
	ADDQ $4, SI
	ADDQ $64, BX
	ADDQ $64, DX
	DECQ R13
	JNZ loop
done:
	VMOVUPS Z4, (R8)
	VMOVUPS Z5, (R8)(R12*1)
	VMOVUPS Z6, (R8)(R12*2)
	VMOVUPS Z7, (CX)
	VZEROUPPER
	RET
