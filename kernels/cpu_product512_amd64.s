#include "textflag.h"
#include "cpu_rows512_amd64.h"

// Product kernels in AVX-512: 7 to 12 rows × 16 outputs, a row in one register, the same chains as in AVX2. The argument is a *tile.
//
//	R8 c   R9 ldc   SI a   R10 ars   R11 aks   BX b   R12 bks   R13 k   DI tiles left   R14 b of this step   R15 steps left
//	AX, DX, CX, BP: rows 0, 3, 6 and 9 of a at this step, or of c
//	Z0 a row of b   Z4 … Z15 outputs

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 40(AX), R11   \
	MOVQ 48(AX), R12   \
	MOVQ 64(AX), R13   \
	MOVQ 72(AX), DI

#define LOAD(m, z)  VMOVUPS m, z
#define STORE(m, z) VMOVUPS z, m
#define ZERO(m, z)  VPXORD z, z, z
#define AHEAD(m, z) PREFETCHT0 m

#define EACH7(op, d) \
	op(0(AX), Z4)      \
	op((AX)(d*1), Z5)  \
	op((AX)(d*2), Z6)  \
	op(0(DX), Z7)      \
	op((DX)(d*1), Z8)  \
	op((DX)(d*2), Z9)  \
	op(0(CX), Z10)
#define EACH8(op, d) EACH7(op, d) \
	op((CX)(d*1), Z11)
#define EACH9(op, d) EACH8(op, d) \
	op((CX)(d*2), Z12)
#define EACH10(op, d) EACH9(op, d) \
	op(0(BP), Z13)
#define EACH11(op, d) EACH10(op, d) \
	op((BP)(d*1), Z14)
#define EACH12(op, d) EACH11(op, d) \
	op((BP)(d*2), Z15)

#define FMA(m, z) VFMADD231PS.BCST m, Z0, z

// One kernel: blocks of n rows, DI of them.
#define KERNEL(each, n) \
	ARGUMENTS            \
block:                   \
	MOVQ t+0(FP), AX     \
	CMPQ 80(AX), $0      \
	JEQ zero             \
	ROWS(R8, R9)         \
	each(LOAD, R9)       \
	JMP start            \
zero:                    \
	each(ZERO, R9)       \
start:                   \
	MOVQ $n, AX          \
	IMULQ R9, AX         \
	ADDQ R8, AX          \
	ROWS(AX, R9)         \
	each(AHEAD, R9)      \
	ROWS(SI, R10)        \
	MOVQ BX, R14         \
	MOVQ R13, R15        \
	TESTQ R15, R15       \
	JZ done              \
loop:                    \
	VMOVUPS (R14), Z0    \
	each(FMA, R10)       \
	ADDQ R11, AX         \
	ADDQ R11, DX         \
	ADDQ R11, CX         \
	ADDQ R11, BP         \
	ADDQ R12, R14        \
	DECQ R15             \
	JNZ loop             \
done:                    \
	ROWS(R8, R9)         \
	each(STORE, R9)      \
	NEXTROWS(n)          \
	DECQ DI              \
	JNZ block            \
	VZEROUPPER           \
	RET

// func product512x7(t *tile)
TEXT ·product512x7(SB), NOSPLIT, $8-8
	KERNEL(EACH7, 7)

// func product512x8(t *tile)
TEXT ·product512x8(SB), NOSPLIT, $8-8
	KERNEL(EACH8, 8)

// func product512x9(t *tile)
TEXT ·product512x9(SB), NOSPLIT, $8-8
	KERNEL(EACH9, 9)

// func product512x10(t *tile)
TEXT ·product512x10(SB), NOSPLIT, $8-8
	KERNEL(EACH10, 10)

// func product512x11(t *tile)
TEXT ·product512x11(SB), NOSPLIT, $8-8
	KERNEL(EACH11, 11)

// func product512x12(t *tile)
TEXT ·product512x12(SB), NOSPLIT, $8-8
	KERNEL(EACH12, 12)

// func avx512Peak(n int)
// n turns of 12 independent fused multiply-adds of 16 numbers.
TEXT ·avx512Peak(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
loop:
	VFMADD231PS Z0, Z1, Z4
	VFMADD231PS Z0, Z1, Z5
	VFMADD231PS Z0, Z1, Z6
	VFMADD231PS Z0, Z1, Z7
	VFMADD231PS Z0, Z1, Z8
	VFMADD231PS Z0, Z1, Z9
	VFMADD231PS Z0, Z1, Z10
	VFMADD231PS Z0, Z1, Z11
	VFMADD231PS Z0, Z1, Z12
	VFMADD231PS Z0, Z1, Z13
	VFMADD231PS Z0, Z1, Z14
	VFMADD231PS Z0, Z1, Z15
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET
