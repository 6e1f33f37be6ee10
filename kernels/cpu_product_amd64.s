#include "textflag.h"

// Product kernels in AVX2: rows × 16 outputs in registers, one ascending chain of fused multiply-adds each. The argument is a *tile.
//
//	R8 c   R9 ldc   SI a   R10 ars   R11 aks   BX b   R12 bks   DI tiles left   R14 what will be read soon, R13 its distance
//	AX a of this step, DX its fourth row, CX b of this step, R15 steps left
//	Y0, Y1 a row of b   Y2, Y3 numbers of a   Y4 … Y15 outputs

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 40(AX), R11   \
	MOVQ 48(AX), R12   \
	MOVQ 72(AX), DI

#define BEGIN \
	MOVQ t+0(FP), AX        \
	MOVQ 64(AX), R15        \
	MOVQ SI, AX             \
	LEAQ (R10)(R10*2), DX   \
	ADDQ AX, DX             \
	MOVQ BX, CX             \
	TESTQ R15, R15

#define SOON \
	PREFETCHT0 (R14)        \
	ADDQ R13, R14

#define NEXT \
	ADDQ R11, AX \
	ADDQ R11, DX \
	ADDQ R12, CX

#define B \
	VMOVUPS (CX), Y0   \
	VMOVUPS 32(CX), Y1

#define FMA(f, lo, hi) \
	VFMADD231PS Y0, f, lo \
	VFMADD231PS Y1, f, hi

#define ROW0(f) VBROADCASTSS (AX), f
#define ROW1(f) VBROADCASTSS (AX)(R10*1), f
#define ROW2(f) VBROADCASTSS (AX)(R10*2), f
#define ROW3(f) VBROADCASTSS (DX), f
#define ROW4(f) VBROADCASTSS (DX)(R10*1), f
#define ROW5(f) VBROADCASTSS (DX)(R10*2), f

// Rows of c: three from R8, three from DX.
#define CROWS \
	LEAQ (R9)(R9*2), DX \
	ADDQ R8, DX

#define C0(op) op(0(R8), 32(R8), Y4, Y5)
#define C1(op) op((R8)(R9*1), 32(R8)(R9*1), Y6, Y7)
#define C2(op) op((R8)(R9*2), 32(R8)(R9*2), Y8, Y9)
#define C3(op) op(0(DX), 32(DX), Y10, Y11)
#define C4(op) op((DX)(R9*1), 32(DX)(R9*1), Y12, Y13)
#define C5(op) op((DX)(R9*2), 32(DX)(R9*2), Y14, Y15)

#define LOAD(m0, m1, y0, y1) \
	VMOVUPS m0, y0 \
	VMOVUPS m1, y1

#define STORE(m0, m1, y0, y1) \
	VMOVUPS y0, m0 \
	VMOVUPS y1, m1

#define ZERO(m0, m1, y0, y1) \
	VXORPS y0, y0, y0 \
	VXORPS y1, y1, y1

#define EACH1(op) C0(op)
#define EACH2(op) C0(op) \
	C1(op)
#define EACH3(op) EACH2(op) \
	C2(op)
#define EACH4(op) EACH3(op) \
	C3(op)
#define EACH5(op) EACH4(op) \
	C4(op)
#define EACH6(op) EACH5(op) \
	C5(op)

#define STEP1 \
	B \
	ROW0(Y2) \
	FMA(Y2, Y4, Y5)
#define STEP2 \
	STEP1 \
	ROW1(Y3) \
	FMA(Y3, Y6, Y7)
#define STEP3 \
	STEP2 \
	ROW2(Y2) \
	FMA(Y2, Y8, Y9)
#define STEP4 \
	STEP3 \
	ROW3(Y3) \
	FMA(Y3, Y10, Y11)
#define STEP5 \
	STEP4 \
	ROW4(Y2) \
	FMA(Y2, Y12, Y13)
#define STEP6 \
	STEP5 \
	ROW5(Y3) \
	FMA(Y3, Y14, Y15)

// AHEAD asks for the outputs of the next block, which are seldom in the cache: their first use is a load that the chains wait for, or
// a store that waits for the line. DX is spoiled. It asks for six rows whatever n is; what it asks for in vain does no harm.
#define AHEAD(n) \
	MOVQ $n, AX             \
	IMULQ R9, AX            \
	ADDQ R8, AX             \
	LEAQ (R9)(R9*2), DX     \
	ADDQ AX, DX             \
	PREFETCHT0 (AX)         \
	PREFETCHT0 (AX)(R9*1)   \
	PREFETCHT0 (AX)(R9*2)   \
	PREFETCHT0 (DX)         \
	PREFETCHT0 (DX)(R9*1)   \
	PREFETCHT0 (DX)(R9*2)

// One kernel: blocks of n rows, DI of them.
#define KERNEL(each, STEP, n) \
	ARGUMENTS            \
	MOVQ 56(AX), R13     \
	MOVQ 88(AX), R14     \
block:                   \
	CROWS                \
	MOVQ t+0(FP), AX     \
	CMPQ 80(AX), $0      \
	JEQ zero             \
	each(LOAD)           \
	JMP start            \
zero:                    \
	each(ZERO)           \
start:                   \
	AHEAD(n)             \
	BEGIN                \
	JZ done              \
	SUBQ $2, R15         \
	JLT one              \
two:                     \
	SOON                 \
	STEP                 \
	NEXT                 \
	SOON                 \
	STEP                 \
	NEXT                 \
	SUBQ $2, R15         \
	JGE two              \
one:                     \
	ADDQ $2, R15         \
	JZ done              \
	STEP                 \
done:                    \
	CROWS                \
	each(STORE)          \
	MOVQ $n, AX          \
	MOVQ AX, CX          \
	IMULQ R9, AX         \
	ADDQ AX, R8          \
	IMULQ R10, CX        \
	ADDQ CX, SI          \
	DECQ DI              \
	JNZ block            \
	MOVQ t+0(FP), AX     \
	MOVQ R14, 88(AX)     \
	VZEROUPPER           \
	RET

// func product1(t *tile)
TEXT ·product1(SB), NOSPLIT, $0-8
	KERNEL(EACH1, STEP1, 1)

// func product2(t *tile)
TEXT ·product2(SB), NOSPLIT, $0-8
	KERNEL(EACH2, STEP2, 2)

// func product3(t *tile)
TEXT ·product3(SB), NOSPLIT, $0-8
	KERNEL(EACH3, STEP3, 3)

// func product4(t *tile)
TEXT ·product4(SB), NOSPLIT, $0-8
	KERNEL(EACH4, STEP4, 4)

// func product5(t *tile)
TEXT ·product5(SB), NOSPLIT, $0-8
	KERNEL(EACH5, STEP5, 5)

// func product6(t *tile)
TEXT ·product6(SB), NOSPLIT, $0-8
	KERNEL(EACH6, STEP6, 6)

// The wide kernels do few rows of several panels, which lie bps (R9) apart: enough chains to hide an addition's latency, and
// several streams from memory. They do one block; c's panels are 64 bytes apart. What will be read soon are as many panels.

#define WIDEARGS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), CX    \
	MOVQ 24(AX), DI    \
	MOVQ 32(AX), R10   \
	MOVQ 40(AX), R11   \
	MOVQ 48(AX), R12   \
	MOVQ 56(AX), R9    \
	MOVQ 64(AX), R13   \
	MOVQ 80(AX), R14

// func wide1(t *tile)
// 1 × 64: Y8 … Y15.
TEXT ·wide1(SB), NOSPLIT, $0-8
	WIDEARGS
	MOVQ 88(AX), R10
	LEAQ (R9)(R9*2), DX
	LEAQ (R10)(DX*1), BX
	ADDQ CX, DX
	TESTQ R14, R14
	JZ zero
	VMOVUPS (R8), Y8
	VMOVUPS 32(R8), Y9
	VMOVUPS 64(R8), Y10
	VMOVUPS 96(R8), Y11
	VMOVUPS 128(R8), Y12
	VMOVUPS 160(R8), Y13
	VMOVUPS 192(R8), Y14
	VMOVUPS 224(R8), Y15
	JMP start
zero:
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11
	VXORPS Y12, Y12, Y12
	VXORPS Y13, Y13, Y13
	VXORPS Y14, Y14, Y14
	VXORPS Y15, Y15, Y15
start:
	TESTQ R13, R13
	JZ done
loop:
	PREFETCHT0 (R10)
	PREFETCHT0 (R10)(R9*1)
	PREFETCHT0 (R10)(R9*2)
	PREFETCHT0 (BX)
	ADDQ R12, R10
	ADDQ R12, BX
	VBROADCASTSS (SI), Y0
	VFMADD231PS (CX), Y0, Y8
	VFMADD231PS 32(CX), Y0, Y9
	VFMADD231PS (CX)(R9*1), Y0, Y10
	VFMADD231PS 32(CX)(R9*1), Y0, Y11
	VFMADD231PS (CX)(R9*2), Y0, Y12
	VFMADD231PS 32(CX)(R9*2), Y0, Y13
	VFMADD231PS (DX), Y0, Y14
	VFMADD231PS 32(DX), Y0, Y15
	ADDQ R11, SI
	ADDQ R12, CX
	ADDQ R12, DX
	DECQ R13
	JNZ loop
done:
	VMOVUPS Y8, (R8)
	VMOVUPS Y9, 32(R8)
	VMOVUPS Y10, 64(R8)
	VMOVUPS Y11, 96(R8)
	VMOVUPS Y12, 128(R8)
	VMOVUPS Y13, 160(R8)
	VMOVUPS Y14, 192(R8)
	VMOVUPS Y15, 224(R8)
	VZEROUPPER
	RET

#define LOAD32(p, a, b, c, d) \
	VMOVUPS (p), a     \
	VMOVUPS 32(p), b   \
	VMOVUPS 64(p), c   \
	VMOVUPS 96(p), d

#define STORE32(p, a, b, c, d) \
	VMOVUPS a, (p)     \
	VMOVUPS b, 32(p)   \
	VMOVUPS c, 64(p)   \
	VMOVUPS d, 96(p)

#define ZERO32(a, b, c, d) \
	VXORPS a, a, a \
	VXORPS b, b, b \
	VXORPS c, c, c \
	VXORPS d, d, d

// func wide2(t *tile)
// 2 × 32: Y4 … Y11.
TEXT ·wide2(SB), NOSPLIT, $0-8
	WIDEARGS
	MOVQ 88(AX), BX
	ADDQ R8, DI
	TESTQ R14, R14
	JZ zero
	LOAD32(R8, Y4, Y5, Y6, Y7)
	LOAD32(DI, Y8, Y9, Y10, Y11)
	JMP start
zero:
	ZERO32(Y4, Y5, Y6, Y7)
	ZERO32(Y8, Y9, Y10, Y11)
start:
	TESTQ R13, R13
	JZ done
loop:
	PREFETCHT0 (BX)
	PREFETCHT0 (BX)(R9*1)
	ADDQ R12, BX
	VBROADCASTSS (SI), Y0
	VBROADCASTSS (SI)(R10*1), Y1
	VMOVUPS (CX), Y2
	VMOVUPS 32(CX), Y3
	VFMADD231PS Y2, Y0, Y4
	VFMADD231PS Y2, Y1, Y8
	VFMADD231PS Y3, Y0, Y5
	VFMADD231PS Y3, Y1, Y9
	VMOVUPS (CX)(R9*1), Y12
	VMOVUPS 32(CX)(R9*1), Y13
	VFMADD231PS Y12, Y0, Y6
	VFMADD231PS Y12, Y1, Y10
	VFMADD231PS Y13, Y0, Y7
	VFMADD231PS Y13, Y1, Y11
	ADDQ R11, SI
	ADDQ R12, CX
	DECQ R13
	JNZ loop
done:
	STORE32(R8, Y4, Y5, Y6, Y7)
	STORE32(DI, Y8, Y9, Y10, Y11)
	VZEROUPPER
	RET

// func wide3(t *tile)
// 3 × 32: Y4 … Y15.
TEXT ·wide3(SB), NOSPLIT, $0-8
	WIDEARGS
	MOVQ 88(AX), BX
	LEAQ (R8)(DI*2), DX
	ADDQ R8, DI
	TESTQ R14, R14
	JZ zero
	LOAD32(R8, Y4, Y5, Y6, Y7)
	LOAD32(DI, Y8, Y9, Y10, Y11)
	LOAD32(DX, Y12, Y13, Y14, Y15)
	JMP start
zero:
	ZERO32(Y4, Y5, Y6, Y7)
	ZERO32(Y8, Y9, Y10, Y11)
	ZERO32(Y12, Y13, Y14, Y15)
start:
	TESTQ R13, R13
	JZ done
loop:
	PREFETCHT0 (BX)
	PREFETCHT0 (BX)(R9*1)
	ADDQ R12, BX
	VBROADCASTSS (SI), Y0
	VBROADCASTSS (SI)(R10*1), Y1
	VBROADCASTSS (SI)(R10*2), Y2
	VMOVUPS (CX), Y3
	VFMADD231PS Y3, Y0, Y4
	VFMADD231PS Y3, Y1, Y8
	VFMADD231PS Y3, Y2, Y12
	VMOVUPS 32(CX), Y3
	VFMADD231PS Y3, Y0, Y5
	VFMADD231PS Y3, Y1, Y9
	VFMADD231PS Y3, Y2, Y13
	VMOVUPS (CX)(R9*1), Y3
	VFMADD231PS Y3, Y0, Y6
	VFMADD231PS Y3, Y1, Y10
	VFMADD231PS Y3, Y2, Y14
	VMOVUPS 32(CX)(R9*1), Y3
	VFMADD231PS Y3, Y0, Y7
	VFMADD231PS Y3, Y1, Y11
	VFMADD231PS Y3, Y2, Y15
	ADDQ R11, SI
	ADDQ R12, CX
	DECQ R13
	JNZ loop
done:
	STORE32(R8, Y4, Y5, Y6, Y7)
	STORE32(DI, Y8, Y9, Y10, Y11)
	STORE32(DX, Y12, Y13, Y14, Y15)
	VZEROUPPER
	RET

// func productMasked(t *tile)
// 1 × cols, cols (field at 88) below 16, DI rows one after the other; neither b nor c is touched beyond them.
TEXT ·productMasked(SB), NOSPLIT, $0-8
	ARGUMENTS
	MOVQ 64(AX), R13
	MOVQ 80(AX), R14
	MOVQ 88(AX), CX
	LEAQ ·lanes32(SB), DX
	NEGQ CX
	LEAQ 64(DX)(CX*4), DX
	VMOVUPS (DX), Y2
	VMOVUPS 32(DX), Y3
row:
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	TESTQ R14, R14
	JZ start
	VMASKMOVPS (R8), Y2, Y4
	VMASKMOVPS 32(R8), Y3, Y5
start:
	MOVQ SI, AX
	MOVQ BX, CX
	MOVQ R13, R15
	TESTQ R15, R15
	JZ done
loop:
	VBROADCASTSS (AX), Y0
	VMASKMOVPS (CX), Y2, Y6
	VMASKMOVPS 32(CX), Y3, Y7
	VFMADD231PS Y6, Y0, Y4
	VFMADD231PS Y7, Y0, Y5
	ADDQ R11, AX
	ADDQ R12, CX
	DECQ R15
	JNZ loop
done:
	VMASKMOVPS Y4, Y2, (R8)
	VMASKMOVPS Y5, Y3, 32(R8)
	ADDQ R9, R8
	ADDQ R10, SI
	DECQ DI
	JNZ row
	VZEROUPPER
	RET
