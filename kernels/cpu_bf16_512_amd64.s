#include "textflag.h"
#include "cpu_rows512_amd64.h"

// Products with weights in pairs of bf16 (cpu_bf16_amd64.s) in AVX-512: 1 to 12 rows × 16 outputs, and the wide ones.
//
//	R8 c   R9 ldc   SI a   R10 ars   BX b   R13 k   DI tiles left   R14 b of this step   R15 numbers left
//	AX, DX, CX, BP: rows 0, 3, 6 and 9 of a at this step, or of c
//	Z0, Z2 columns of b, widened   Z3 mask of the high halves   Z4 … Z15 outputs

#define HIGH \
	VPTERNLOGD $0xff, Z3, Z3, Z3 \
	VPSLLD $16, Z3, Z3

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 64(AX), R13   \
	MOVQ 72(AX), DI    \
	HIGH

// AHEAD is how far before their use weights are asked for, in bytes: one stream of many rows' products is too slow for the processor to see
// its end, and panels follow one another. What it asks for in vain, behind the last, does no harm.
#define AHEAD 3072

#define LOAD(m, z)  VMOVUPS m, z
#define STORE(m, z) VMOVUPS z, m
#define ZERO(m, z)  VPXORD z, z, z
#define FMALOW(m, z)  VFMADD231PS.BCST m, Z0, z
#define FMAHIGH(m, z) VFMADD231PS.BCST m, Z2, z

#define EACH1(op, d, o) \
	op(o(AX), Z4)
#define EACH2(op, d, o) EACH1(op, d, o) \
	op(o(AX)(d*1), Z5)
#define EACH3(op, d, o) EACH2(op, d, o) \
	op(o(AX)(d*2), Z6)
#define EACH4(op, d, o) EACH3(op, d, o) \
	op(o(DX), Z7)
#define EACH5(op, d, o) EACH4(op, d, o) \
	op(o(DX)(d*1), Z8)
#define EACH6(op, d, o) EACH5(op, d, o) \
	op(o(DX)(d*2), Z9)
#define EACH7(op, d, o) EACH6(op, d, o) \
	op(o(CX), Z10)
#define EACH8(op, d, o) EACH7(op, d, o) \
	op(o(CX)(d*1), Z11)
#define EACH9(op, d, o) EACH8(op, d, o) \
	op(o(CX)(d*2), Z12)
#define EACH10(op, d, o) EACH9(op, d, o) \
	op(o(BP), Z13)
#define EACH11(op, d, o) EACH10(op, d, o) \
	op(o(BP)(d*1), Z14)
#define EACH12(op, d, o) EACH11(op, d, o) \
	op(o(BP)(d*2), Z15)

// One kernel: blocks of n rows, DI of them.
#define KERNEL(each, n) \
	ARGUMENTS            \
block:                   \
	MOVQ t+0(FP), AX     \
	CMPQ 80(AX), $0      \
	JEQ zero             \
	ROWS(R8, R9)         \
	each(LOAD, R9, 0)    \
	JMP start            \
zero:                    \
	each(ZERO, R9, 0)    \
start:                   \
	ROWS(SI, R10)        \
	MOVQ BX, R14         \
	MOVQ R13, R15        \
	SUBQ $2, R15         \
	JLT one              \
two:                     \
	PREFETCHT0 AHEAD(R14) \
	VMOVUPS (R14), Z1    \
	VPSLLD $16, Z1, Z0   \
	VPANDD Z1, Z3, Z2    \
	each(FMAHIGH, R10, 4) \
	each(FMALOW, R10, 0) \
	ADDQ $8, AX          \
	ADDQ $8, DX          \
	ADDQ $8, CX          \
	ADDQ $8, BP          \
	ADDQ $64, R14        \
	SUBQ $2, R15         \
	JGE two              \
one:                     \
	ADDQ $2, R15         \
	JZ done              \
	VMOVUPS (R14), Z1    \
	VPSLLD $16, Z1, Z0   \
	each(FMALOW, R10, 0) \
done:                    \
	ROWS(R8, R9)         \
	each(STORE, R9, 0)   \
	NEXTROWS(n)          \
	DECQ DI              \
	JNZ block            \
	VZEROUPPER           \
	RET

// func paired512x1(t *tile)
TEXT ·paired512x1(SB), NOSPLIT, $8-8
	KERNEL(EACH1, 1)

// func paired512x2(t *tile)
TEXT ·paired512x2(SB), NOSPLIT, $8-8
	KERNEL(EACH2, 2)

// func paired512x3(t *tile)
TEXT ·paired512x3(SB), NOSPLIT, $8-8
	KERNEL(EACH3, 3)

// func paired512x4(t *tile)
TEXT ·paired512x4(SB), NOSPLIT, $8-8
	KERNEL(EACH4, 4)

// func paired512x5(t *tile)
TEXT ·paired512x5(SB), NOSPLIT, $8-8
	KERNEL(EACH5, 5)

// func paired512x6(t *tile)
TEXT ·paired512x6(SB), NOSPLIT, $8-8
	KERNEL(EACH6, 6)

// func paired512x7(t *tile)
TEXT ·paired512x7(SB), NOSPLIT, $8-8
	KERNEL(EACH7, 7)

// func paired512x8(t *tile)
TEXT ·paired512x8(SB), NOSPLIT, $8-8
	KERNEL(EACH8, 8)

// func paired512x9(t *tile)
TEXT ·paired512x9(SB), NOSPLIT, $8-8
	KERNEL(EACH9, 9)

// func paired512x10(t *tile)
TEXT ·paired512x10(SB), NOSPLIT, $8-8
	KERNEL(EACH10, 10)

// func paired512x11(t *tile)
TEXT ·paired512x11(SB), NOSPLIT, $8-8
	KERNEL(EACH11, 11)

// func paired512x12(t *tile)
TEXT ·paired512x12(SB), NOSPLIT, $8-8
	KERNEL(EACH12, 12)

// The wide kernels: rows of several panels, which lie bps (R9) apart.

#define WIDEARGS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), CX    \
	MOVQ 24(AX), DI    \
	MOVQ 32(AX), R10   \
	MOVQ 56(AX), R9    \
	MOVQ 64(AX), R13   \
	MOVQ 80(AX), R14   \
	HIGH

#define WIDEN(m, even, odd) \
	VMOVUPS m, odd           \
	VPSLLD $16, odd, even    \
	VPANDD odd, Z3, odd

// func paired512Wide1(t *tile)
// 1 × 64: Z8 … Z11.
TEXT ·paired512Wide1(SB), NOSPLIT, $0-8
	WIDEARGS
	LEAQ (R9)(R9*2), DX
	ADDQ CX, DX
	TESTQ R14, R14
	JZ zero
	VMOVUPS (R8), Z8
	VMOVUPS 64(R8), Z9
	VMOVUPS 128(R8), Z10
	VMOVUPS 192(R8), Z11
	JMP start
zero:
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
start:
	SUBQ $2, R13
	JLT one
loop:
	VBROADCASTSS (SI), Z0
	VBROADCASTSS 4(SI), Z1
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	WIDEN((CX)(R9*2), Z20, Z21)
	WIDEN((DX), Z22, Z23)
	VFMADD231PS Z17, Z1, Z8
	VFMADD231PS Z19, Z1, Z9
	VFMADD231PS Z21, Z1, Z10
	VFMADD231PS Z23, Z1, Z11
	VFMADD231PS Z16, Z0, Z8
	VFMADD231PS Z18, Z0, Z9
	VFMADD231PS Z20, Z0, Z10
	VFMADD231PS Z22, Z0, Z11
	ADDQ $8, SI
	ADDQ $64, CX
	ADDQ $64, DX
	SUBQ $2, R13
	JGE loop
one:
	ADDQ $2, R13
	JZ done
	VBROADCASTSS (SI), Z0
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	WIDEN((CX)(R9*2), Z20, Z21)
	WIDEN((DX), Z22, Z23)
	VFMADD231PS Z16, Z0, Z8
	VFMADD231PS Z18, Z0, Z9
	VFMADD231PS Z20, Z0, Z10
	VFMADD231PS Z22, Z0, Z11
done:
	VMOVUPS Z8, (R8)
	VMOVUPS Z9, 64(R8)
	VMOVUPS Z10, 128(R8)
	VMOVUPS Z11, 192(R8)
	VZEROUPPER
	RET

// func paired512Wide2(t *tile)
// 2 × 32: Z8 … Z11.
TEXT ·paired512Wide2(SB), NOSPLIT, $0-8
	WIDEARGS
	ADDQ R8, DI
	TESTQ R14, R14
	JZ zero
	VMOVUPS (R8), Z8
	VMOVUPS 64(R8), Z9
	VMOVUPS (DI), Z10
	VMOVUPS 64(DI), Z11
	JMP start
zero:
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
start:
	SUBQ $2, R13
	JLT one
loop:
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	VFMADD231PS.BCST 4(SI), Z17, Z8
	VFMADD231PS.BCST 4(SI), Z19, Z9
	VFMADD231PS.BCST 4(SI)(R10*1), Z17, Z10
	VFMADD231PS.BCST 4(SI)(R10*1), Z19, Z11
	VFMADD231PS.BCST (SI), Z16, Z8
	VFMADD231PS.BCST (SI), Z18, Z9
	VFMADD231PS.BCST (SI)(R10*1), Z16, Z10
	VFMADD231PS.BCST (SI)(R10*1), Z18, Z11
	ADDQ $8, SI
	ADDQ $64, CX
	SUBQ $2, R13
	JGE loop
one:
	ADDQ $2, R13
	JZ done
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	VFMADD231PS.BCST (SI), Z16, Z8
	VFMADD231PS.BCST (SI), Z18, Z9
	VFMADD231PS.BCST (SI)(R10*1), Z16, Z10
	VFMADD231PS.BCST (SI)(R10*1), Z18, Z11
done:
	VMOVUPS Z8, (R8)
	VMOVUPS Z9, 64(R8)
	VMOVUPS Z10, (DI)
	VMOVUPS Z11, 64(DI)
	VZEROUPPER
	RET

// func paired512Wide3(t *tile)
// 3 × 32: Z8 … Z13.
TEXT ·paired512Wide3(SB), NOSPLIT, $0-8
	WIDEARGS
	LEAQ (R8)(DI*2), DX
	ADDQ R8, DI
	TESTQ R14, R14
	JZ zero
	VMOVUPS (R8), Z8
	VMOVUPS 64(R8), Z9
	VMOVUPS (DI), Z10
	VMOVUPS 64(DI), Z11
	VMOVUPS (DX), Z12
	VMOVUPS 64(DX), Z13
	JMP start
zero:
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	VPXORD Z12, Z12, Z12
	VPXORD Z13, Z13, Z13
start:
	SUBQ $2, R13
	JLT one
loop:
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	VFMADD231PS.BCST 4(SI), Z17, Z8
	VFMADD231PS.BCST 4(SI), Z19, Z9
	VFMADD231PS.BCST 4(SI)(R10*1), Z17, Z10
	VFMADD231PS.BCST 4(SI)(R10*1), Z19, Z11
	VFMADD231PS.BCST 4(SI)(R10*2), Z17, Z12
	VFMADD231PS.BCST 4(SI)(R10*2), Z19, Z13
	VFMADD231PS.BCST (SI), Z16, Z8
	VFMADD231PS.BCST (SI), Z18, Z9
	VFMADD231PS.BCST (SI)(R10*1), Z16, Z10
	VFMADD231PS.BCST (SI)(R10*1), Z18, Z11
	VFMADD231PS.BCST (SI)(R10*2), Z16, Z12
	VFMADD231PS.BCST (SI)(R10*2), Z18, Z13
	ADDQ $8, SI
	ADDQ $64, CX
	SUBQ $2, R13
	JGE loop
one:
	ADDQ $2, R13
	JZ done
	WIDEN((CX), Z16, Z17)
	WIDEN((CX)(R9*1), Z18, Z19)
	VFMADD231PS.BCST (SI), Z16, Z8
	VFMADD231PS.BCST (SI), Z18, Z9
	VFMADD231PS.BCST (SI)(R10*1), Z16, Z10
	VFMADD231PS.BCST (SI)(R10*1), Z18, Z11
	VFMADD231PS.BCST (SI)(R10*2), Z16, Z12
	VFMADD231PS.BCST (SI)(R10*2), Z18, Z13
done:
	VMOVUPS Z8, (R8)
	VMOVUPS Z9, 64(R8)
	VMOVUPS Z10, (DI)
	VMOVUPS Z11, 64(DI)
	VMOVUPS Z12, (DX)
	VMOVUPS Z13, 64(DX)
	VZEROUPPER
	RET
