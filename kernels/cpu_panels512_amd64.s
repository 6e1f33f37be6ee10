#include "textflag.h"
#include "cpu_rows512_amd64.h"

// Product kernels in AVX-512 for several panels at once: 1 to 6 rows × 64 outputs, 1 to 12 rows × 32, the same chains as in AVX2. A number
// of a is loaded once for all panels. An Ice Lake loads hardly more than one vector of 64 bytes a cycle (measured), and may add two products
// in it: blocks of 12 × 16 load 13 for 12 products and stay at half of its peak, those of 6 × 64 load 10 for 24.
//
//	R8 c   R9 ldc   SI a   R10 ars   R11 aks   BX b   R12 bks   R13 bps   DI tiles left   R14 b of this step   R15 steps left
//	AX, DX, CX, BP: rows 0, 3, 6 and 9 of a at this step, or of c; with four panels BP is the fourth of b, and CX what is asked for
//	Z0 … Z3 a row of b   Z4 a number of a   Z8 … Z31 outputs

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 40(AX), R11   \
	MOVQ 48(AX), R12   \
	MOVQ 56(AX), R13   \
	MOVQ 72(AX), DI

// What is done with a row: of c, whose panels are 64 bytes apart, or of a.

#define LOAD4(at, a, b, c, d) \
	VMOVUPS 0 at, a \
	VMOVUPS 64 at, b \
	VMOVUPS 128 at, c \
	VMOVUPS 192 at, d
#define STORE4(at, a, b, c, d) \
	VMOVUPS a, 0 at \
	VMOVUPS b, 64 at \
	VMOVUPS c, 128 at \
	VMOVUPS d, 192 at
#define ZERO4(at, a, b, c, d) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d
#define AHEAD4(at, a, b, c, d) \
	PREFETCHT0 0 at \
	PREFETCHT0 64 at \
	PREFETCHT0 128 at \
	PREFETCHT0 192 at
#define FMA4(at, a, b, c, d) \
	VBROADCASTSS 0 at, Z4 \
	VFMADD231PS Z0, Z4, a \
	VFMADD231PS Z1, Z4, b \
	VFMADD231PS Z2, Z4, c \
	VFMADD231PS Z3, Z4, d
#define LOAD2(at, a, b) \
	VMOVUPS 0 at, a \
	VMOVUPS 64 at, b
#define STORE2(at, a, b) \
	VMOVUPS a, 0 at \
	VMOVUPS b, 64 at
#define ZERO2(at, a, b) \
	VPXORD a, a, a \
	VPXORD b, b, b
#define AHEAD2(at, a, b) \
	PREFETCHT0 0 at \
	PREFETCHT0 64 at
#define FMA2(at, a, b) \
	VBROADCASTSS 0 at, Z4 \
	VFMADD231PS Z0, Z4, a \
	VFMADD231PS Z1, Z4, b

#define ROWS4x1(op, d) \
	op((AX), Z8, Z9, Z10, Z11)
#define ROWS4x2(op, d) ROWS4x1(op, d) \
	op((AX)(d*1), Z12, Z13, Z14, Z15)
#define ROWS4x3(op, d) ROWS4x2(op, d) \
	op((AX)(d*2), Z16, Z17, Z18, Z19)
#define ROWS4x4(op, d) ROWS4x3(op, d) \
	op((DX), Z20, Z21, Z22, Z23)
#define ROWS4x5(op, d) ROWS4x4(op, d) \
	op((DX)(d*1), Z24, Z25, Z26, Z27)
#define ROWS4x6(op, d) ROWS4x5(op, d) \
	op((DX)(d*2), Z28, Z29, Z30, Z31)
#define ROWS2x1(op, d) \
	op((AX), Z8, Z9)
#define ROWS2x2(op, d) ROWS2x1(op, d) \
	op((AX)(d*1), Z10, Z11)
#define ROWS2x3(op, d) ROWS2x2(op, d) \
	op((AX)(d*2), Z12, Z13)
#define ROWS2x4(op, d) ROWS2x3(op, d) \
	op((DX), Z14, Z15)
#define ROWS2x5(op, d) ROWS2x4(op, d) \
	op((DX)(d*1), Z16, Z17)
#define ROWS2x6(op, d) ROWS2x5(op, d) \
	op((DX)(d*2), Z18, Z19)
#define ROWS2x7(op, d) ROWS2x6(op, d) \
	op((CX), Z20, Z21)
#define ROWS2x8(op, d) ROWS2x7(op, d) \
	op((CX)(d*1), Z22, Z23)
#define ROWS2x9(op, d) ROWS2x8(op, d) \
	op((CX)(d*2), Z24, Z25)
#define ROWS2x10(op, d) ROWS2x9(op, d) \
	op((BP), Z26, Z27)
#define ROWS2x11(op, d) ROWS2x10(op, d) \
	op((BP)(d*1), Z28, Z29)
#define ROWS2x12(op, d) ROWS2x11(op, d) \
	op((BP)(d*2), Z30, Z31)

// ONELINE and FOURLINES ask for as many lines at CX with each step: one, where there are blocks of rows enough for all of four panels, or all.
#define ONELINE \
	PREFETCHT1 (CX)         \
	ADDQ $64, CX
#define FOURLINES \
	PREFETCHT1 (CX)         \
	PREFETCHT1 64(CX)       \
	PREFETCHT1 128(CX)      \
	PREFETCHT1 192(CX)      \
	ADDQ $256, CX

// One kernel: blocks of n rows, DI of them; rows is what it does to all of its rows, lines what it asks for with each step.
#define KERNEL4(rows, n, lines) \
	ARGUMENTS               \
block:                      \
	MOVQ t+0(FP), AX        \
	CMPQ 80(AX), $0         \
	ROWS(R8, R9)            \
	JEQ zero                \
	rows(LOAD4, R9)         \
	JMP start               \
zero:                       \
	rows(ZERO4, R9)         \
start:                      \
	MOVQ $n, AX             \
	IMULQ R9, AX            \
	ADDQ R8, AX             \
	ROWS(AX, R9)            \
	rows(AHEAD4, R9)        \
	MOVQ t+0(FP), AX        \
	MOVQ 64(AX), R15        \
	ROWS(SI, R10)           \
	MOVQ BX, R14            \
	MOVQ t+0(FP), BP        \
	MOVQ 88(BP), CX         \
	ADDQ R13, 88(BP)        \
	LEAQ (R13)(R13*2), BP   \
	ADDQ BX, BP             \
	TESTQ R15, R15          \
	JZ done                 \
loop:                       \
	VMOVUPS (R14), Z0          \
	VMOVUPS (R14)(R13*1), Z1   \
	VMOVUPS (R14)(R13*2), Z2   \
	VMOVUPS (BP), Z3           \
	lines                   \
	rows(FMA4, R10)         \
	ADDQ R11, AX            \
	ADDQ R11, DX            \
	ADDQ R12, R14           \
	ADDQ R12, BP            \
	DECQ R15                \
	JNZ loop                \
done:                       \
	ROWS(R8, R9)            \
	rows(STORE4, R9)        \
	NEXTROWS(n)             \
	DECQ DI                 \
	JNZ block               \
	VZEROUPPER              \
	RET

// BEGIN2 and END2 are what blocks of n rows begin and end with.
#define BEGIN2(rows, n) \
	ARGUMENTS               \
block:                      \
	MOVQ t+0(FP), AX        \
	CMPQ 80(AX), $0         \
	ROWS(R8, R9)            \
	JEQ zero                \
	rows(LOAD2, R9)         \
	JMP start               \
zero:                       \
	rows(ZERO2, R9)         \
start:                      \
	MOVQ $n, AX             \
	IMULQ R9, AX            \
	ADDQ R8, AX             \
	ROWS(AX, R9)            \
	rows(AHEAD2, R9)        \
	MOVQ t+0(FP), AX        \
	MOVQ 64(AX), R15        \
	ROWS(SI, R10)           \
	MOVQ BX, R14            \
	TESTQ R15, R15          \
	JZ done

#define END2(rows, n) \
done:                       \
	ROWS(R8, R9)            \
	rows(STORE2, R9)        \
	NEXTROWS(n)             \
	DECQ DI                 \
	JNZ block               \
	VZEROUPPER              \
	RET

#define KERNEL2(rows, n) \
	BEGIN2(rows, n)         \
loop:                       \
	VMOVUPS (R14), Z0          \
	VMOVUPS (R14)(R13*1), Z1   \
	rows(FMA2, R10)         \
	ADDQ R11, AX            \
	ADDQ R11, DX            \
	ADDQ R11, CX            \
	ADDQ R11, BP            \
	ADDQ R12, R14           \
	DECQ R15                \
	JNZ loop                \
	END2(rows, n)

// KERNEL2AHEAD asks with each step for a line of each of two panels, from what Cols says on. R15 what is asked for, 0(SP) where the steps end.
#define KERNEL2AHEAD(rows, n) \
	BEGIN2(rows, n)         \
	IMULQ R12, R15          \
	ADDQ R14, R15           \
	MOVQ R15, 0(SP)         \
	MOVQ t+0(FP), R15       \
	MOVQ 88(R15), R15       \
loop:                       \
	VMOVUPS (R14), Z0          \
	VMOVUPS (R14)(R13*1), Z1   \
	PREFETCHT1 (R15)           \
	PREFETCHT1 (R15)(R13*1)    \
	ADDQ $64, R15           \
	rows(FMA2, R10)         \
	ADDQ R11, AX            \
	ADDQ R11, DX            \
	ADDQ R11, CX            \
	ADDQ R11, BP            \
	ADDQ R12, R14           \
	CMPQ R14, 0(SP)         \
	JNE loop                \
	END2(rows, n)

// func product512x1x64(t *tile)
TEXT ·product512x1x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x1, 1, ONELINE)

// func product512x2x64(t *tile)
TEXT ·product512x2x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x2, 2, ONELINE)

// func product512x3x64(t *tile)
TEXT ·product512x3x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x3, 3, ONELINE)

// func product512x4x64(t *tile)
TEXT ·product512x4x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x4, 4, ONELINE)

// func product512x5x64(t *tile)
TEXT ·product512x5x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x5, 5, ONELINE)

// func product512x6x64(t *tile)
TEXT ·product512x6x64(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x6, 6, ONELINE)

// func product512x1x32(t *tile)
TEXT ·product512x1x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x1, 1)

// func product512x2x32(t *tile)
TEXT ·product512x2x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x2, 2)

// func product512x3x32(t *tile)
TEXT ·product512x3x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x3, 3)

// func product512x4x32(t *tile)
TEXT ·product512x4x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x4, 4)

// func product512x5x32(t *tile)
TEXT ·product512x5x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x5, 5)

// func product512x6x32(t *tile)
TEXT ·product512x6x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x6, 6)

// func product512x7x32(t *tile)
TEXT ·product512x7x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x7, 7)

// func product512x8x32(t *tile)
TEXT ·product512x8x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x8, 8)

// func product512x9x32(t *tile)
TEXT ·product512x9x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x9, 9)

// func product512x10x32(t *tile)
TEXT ·product512x10x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x10, 10)

// func product512x11x32(t *tile)
TEXT ·product512x11x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x11, 11)

// func product512x12x32(t *tile)
TEXT ·product512x12x32(SB), NOSPLIT, $8-8
	KERNEL2(ROWS2x12, 12)

// func product512x1x64ahead(t *tile)
TEXT ·product512x1x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x1, 1, FOURLINES)

// func product512x2x64ahead(t *tile)
TEXT ·product512x2x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x2, 2, FOURLINES)

// func product512x3x64ahead(t *tile)
TEXT ·product512x3x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x3, 3, FOURLINES)

// func product512x4x64ahead(t *tile)
TEXT ·product512x4x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x4, 4, FOURLINES)

// func product512x5x64ahead(t *tile)
TEXT ·product512x5x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x5, 5, FOURLINES)

// func product512x6x64ahead(t *tile)
TEXT ·product512x6x64ahead(SB), NOSPLIT, $8-8
	KERNEL4(ROWS4x6, 6, FOURLINES)

// func product512x6x32ahead(t *tile)
TEXT ·product512x6x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x6, 6)

// func product512x7x32ahead(t *tile)
TEXT ·product512x7x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x7, 7)

// func product512x8x32ahead(t *tile)
TEXT ·product512x8x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x8, 8)

// func product512x9x32ahead(t *tile)
TEXT ·product512x9x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x9, 9)

// func product512x10x32ahead(t *tile)
TEXT ·product512x10x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x10, 10)

// func product512x11x32ahead(t *tile)
TEXT ·product512x11x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x11, 11)

// func product512x12x32ahead(t *tile)
TEXT ·product512x12x32ahead(SB), NOSPLIT, $16-8
	KERNEL2AHEAD(ROWS2x12, 12)
