#include "textflag.h"

// bf16 in AVX2. Weights come in panels of pairs: word j of a row holds numbers 2k (low half) and 2k+1 (high) of column j, so that a shift
// or a mask widens sixteen columns. A product kernel does the chains of cpu_product_amd64.s: pairs ascending,
// 2k+1 before 2k, which is how the processor's own instruction adds them (cpu_dot_amd64.s).

DATA highHalf<>+0(SB)/8, $0xffff0000ffff0000
DATA highHalf<>+8(SB)/8, $0xffff0000ffff0000
DATA highHalf<>+16(SB)/8, $0xffff0000ffff0000
DATA highHalf<>+24(SB)/8, $0xffff0000ffff0000
GLOBL highHalf<>(SB), RODATA|NOPTR, $32

#define EIGHT(name, bits) \
	DATA name+0(SB)/8, $bits  \
	DATA name+8(SB)/8, $bits  \
	DATA name+16(SB)/8, $bits \
	DATA name+24(SB)/8, $bits \
	GLOBL name(SB), RODATA|NOPTR, $32

EIGHT(bf16One<>, 0x0000000100000001)
EIGHT(bf16Half<>, 0x00007fff00007fff)
EIGHT(bf16Quiet<>, 0x0000004000000040)

// EVEN and ODD widen eight words of pairs.
#define EVEN(m, y) \
	VMOVUPS m, y     \
	VPSLLD $16, y, y

#define ODD(m, y) \
	VMOVUPS highHalf<>(SB), y \
	VPAND m, y, y

// Registers are those of cpu_product_amd64.s. Numbers of a stand side by side, rows of b are 64 bytes.

#define ARGUMENTS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), BX    \
	MOVQ 24(AX), R9    \
	MOVQ 32(AX), R10   \
	MOVQ 72(AX), DI    \
	MOVQ 56(AX), R13   \
	MOVQ 88(AX), R14

#define BEGIN \
	MOVQ t+0(FP), AX        \
	MOVQ 64(AX), R15        \
	MOVQ SI, AX             \
	LEAQ (R10)(R10*2), DX   \
	ADDQ AX, DX             \
	MOVQ BX, CX

#define NEXT \
	ADDQ $8, AX   \
	ADDQ $8, DX   \
	ADDQ $64, CX

#define FMA(f, lo, hi) \
	VFMADD231PS Y0, f, lo \
	VFMADD231PS Y1, f, hi

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

// STEPn multiplies the widened row in Y0, Y1 by number o/4 of n rows of a.
#define STEP1(o) \
	VBROADCASTSS o(AX), Y2          \
	FMA(Y2, Y4, Y5)
#define STEP2(o) STEP1(o) \
	VBROADCASTSS o(AX)(R10*1), Y3   \
	FMA(Y3, Y6, Y7)
#define STEP3(o) STEP2(o) \
	VBROADCASTSS o(AX)(R10*2), Y2   \
	FMA(Y2, Y8, Y9)
#define STEP4(o) STEP3(o) \
	VBROADCASTSS o(DX), Y3          \
	FMA(Y3, Y10, Y11)
#define STEP5(o) STEP4(o) \
	VBROADCASTSS o(DX)(R10*1), Y2   \
	FMA(Y2, Y12, Y13)
#define STEP6(o) STEP5(o) \
	VBROADCASTSS o(DX)(R10*2), Y3   \
	FMA(Y3, Y14, Y15)

#define KERNEL(each, STEP, n) \
	ARGUMENTS            \
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
	BEGIN                \
	SUBQ $2, R15         \
	JLT one              \
two:                     \
	PREFETCHT0 (R14)     \
	ADDQ R13, R14        \
	ODD((CX), Y0)        \
	ODD(32(CX), Y1)      \
	STEP(4)              \
	EVEN((CX), Y0)       \
	EVEN(32(CX), Y1)     \
	STEP(0)              \
	NEXT                 \
	SUBQ $2, R15         \
	JGE two              \
one:                     \
	ADDQ $2, R15         \
	JZ done              \
	EVEN((CX), Y0)       \
	EVEN(32(CX), Y1)     \
	STEP(0)              \
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

// func paired1(t *tile)
TEXT ·paired1(SB), NOSPLIT, $0-8
	KERNEL(EACH1, STEP1, 1)

// func paired2(t *tile)
TEXT ·paired2(SB), NOSPLIT, $0-8
	KERNEL(EACH2, STEP2, 2)

// func paired3(t *tile)
TEXT ·paired3(SB), NOSPLIT, $0-8
	KERNEL(EACH3, STEP3, 3)

// func paired4(t *tile)
TEXT ·paired4(SB), NOSPLIT, $0-8
	KERNEL(EACH4, STEP4, 4)

// func paired5(t *tile)
TEXT ·paired5(SB), NOSPLIT, $0-8
	KERNEL(EACH5, STEP5, 5)

// func paired6(t *tile)
TEXT ·paired6(SB), NOSPLIT, $0-8
	KERNEL(EACH6, STEP6, 6)

// The wide kernels, as in cpu_product_amd64.s: panels of b lie bps (R9) apart.

#define WIDEARGS \
	MOVQ t+0(FP), AX   \
	MOVQ 0(AX), R8     \
	MOVQ 8(AX), SI     \
	MOVQ 16(AX), CX    \
	MOVQ 24(AX), DI    \
	MOVQ 32(AX), R10   \
	MOVQ 56(AX), R9    \
	MOVQ 64(AX), R13   \
	MOVQ 80(AX), R14

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

// BOTH multiplies both halves of eight words by Y0 and Y1.
#define BOTH(m, y, s, t) \
	VMOVUPS m, s          \
	VPSLLD $16, s, t      \
	VPAND Y7, s, s        \
	VFMADD231PS s, Y1, y  \
	VFMADD231PS t, Y0, y

#define LOW(m, y, s) \
	EVEN(m, s)            \
	VFMADD231PS s, Y0, y

// func pairedWide1(t *tile)
// 1 × 64: Y8 … Y15.
TEXT ·pairedWide1(SB), NOSPLIT, $0-8
	WIDEARGS
	MOVQ 88(AX), R10
	LEAQ 128(R8), DI
	LEAQ (R9)(R9*2), DX
	LEAQ (R10)(DX*1), BX
	ADDQ CX, DX
	VMOVUPS highHalf<>(SB), Y7
	TESTQ R14, R14
	JZ zero
	LOAD32(R8, Y8, Y9, Y10, Y11)
	LOAD32(DI, Y12, Y13, Y14, Y15)
	JMP start
zero:
	ZERO32(Y8, Y9, Y10, Y11)
	ZERO32(Y12, Y13, Y14, Y15)
start:
	SUBQ $2, R13
	JLT one
loop:
	PREFETCHT0 (R10)
	PREFETCHT0 (R10)(R9*1)
	PREFETCHT0 (R10)(R9*2)
	PREFETCHT0 (BX)
	ADDQ $64, R10
	ADDQ $64, BX
	VBROADCASTSS (SI), Y0
	VBROADCASTSS 4(SI), Y1
	BOTH((CX), Y8, Y2, Y3)
	BOTH(32(CX), Y9, Y4, Y5)
	BOTH((CX)(R9*1), Y10, Y2, Y3)
	BOTH(32(CX)(R9*1), Y11, Y4, Y5)
	BOTH((CX)(R9*2), Y12, Y2, Y3)
	BOTH(32(CX)(R9*2), Y13, Y4, Y5)
	BOTH((DX), Y14, Y2, Y3)
	BOTH(32(DX), Y15, Y4, Y5)
	ADDQ $8, SI
	ADDQ $64, CX
	ADDQ $64, DX
	SUBQ $2, R13
	JGE loop
one:
	ADDQ $2, R13
	JZ done
	VBROADCASTSS (SI), Y0
	LOW((CX), Y8, Y2)
	LOW(32(CX), Y9, Y3)
	LOW((CX)(R9*1), Y10, Y2)
	LOW(32(CX)(R9*1), Y11, Y3)
	LOW((CX)(R9*2), Y12, Y2)
	LOW(32(CX)(R9*2), Y13, Y3)
	LOW((DX), Y14, Y2)
	LOW(32(DX), Y15, Y3)
done:
	STORE32(R8, Y8, Y9, Y10, Y11)
	STORE32(DI, Y12, Y13, Y14, Y15)
	VZEROUPPER
	RET

// WIDE2 and WIDE3 multiply eight words, widened by half, by the numbers in Y0, Y1 (and Y2).
#define WIDE2(half, m, a, b) \
	half(m, Y3)            \
	VFMADD231PS Y3, Y0, a  \
	VFMADD231PS Y3, Y1, b

#define WIDE3(half, m, a, b, c) \
	WIDE2(half, m, a, b)   \
	VFMADD231PS Y3, Y2, c

#define ALL2(half, o) \
	VBROADCASTSS o(SI), Y0                     \
	VBROADCASTSS o(SI)(R10*1), Y1              \
	WIDE2(half, (CX), Y4, Y8)                  \
	WIDE2(half, 32(CX), Y5, Y9)                \
	WIDE2(half, (CX)(R9*1), Y6, Y10)           \
	WIDE2(half, 32(CX)(R9*1), Y7, Y11)

#define ALL3(half, o) \
	VBROADCASTSS o(SI), Y0                     \
	VBROADCASTSS o(SI)(R10*1), Y1              \
	VBROADCASTSS o(SI)(R10*2), Y2              \
	WIDE3(half, (CX), Y4, Y8, Y12)             \
	WIDE3(half, 32(CX), Y5, Y9, Y13)           \
	WIDE3(half, (CX)(R9*1), Y6, Y10, Y14)      \
	WIDE3(half, 32(CX)(R9*1), Y7, Y11, Y15)

#define WIDELOOP(ALL) \
	SUBQ $2, R13         \
	JLT one              \
loop:                    \
	PREFETCHT0 (BX)          \
	PREFETCHT0 (BX)(R9*1)    \
	ADDQ $64, BX         \
	ALL(ODD, 4)          \
	ALL(EVEN, 0)         \
	ADDQ $8, SI          \
	ADDQ $64, CX         \
	SUBQ $2, R13         \
	JGE loop             \
one:                     \
	ADDQ $2, R13         \
	JZ done              \
	ALL(EVEN, 0)         \
done:

// func pairedWide2(t *tile)
// 2 × 32: Y4 … Y11.
TEXT ·pairedWide2(SB), NOSPLIT, $0-8
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
	WIDELOOP(ALL2)
	STORE32(R8, Y4, Y5, Y6, Y7)
	STORE32(DI, Y8, Y9, Y10, Y11)
	VZEROUPPER
	RET

// func pairedWide3(t *tile)
// 3 × 32: Y4 … Y15.
TEXT ·pairedWide3(SB), NOSPLIT, $0-8
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
	WIDELOOP(ALL3)
	STORE32(R8, Y4, Y5, Y6, Y7)
	STORE32(DI, Y8, Y9, Y10, Y11)
	STORE32(DX, Y12, Y13, Y14, Y15)
	VZEROUPPER
	RET

// func avx2Widen16(dst *float32, src *uint16, blocks int)
// 16 numbers a block.
TEXT ·avx2Widen16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
loop:
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPSLLD $16, Y0, Y0
	VPSLLD $16, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ $32, SI
	ADDQ $64, DI
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// ROUND makes of eight float32 in x their bf16 in the low halves: x + 7fff + its lowest bit that stays, but a NaN stays one, and quiet.
#define ROUND(x, a, b) \
	VPSRLD $16, x, a              \
	VPAND bf16One<>(SB), a, b     \
	VPADDD bf16Half<>(SB), b, b   \
	VPADDD x, b, b                \
	VPSRLD $16, b, b              \
	VPOR bf16Quiet<>(SB), a, a    \
	VCMPPS $3, x, x, x            \
	VBLENDVPS x, a, b, x

// func avx2Narrow16(dst *uint16, src *float32, blocks int)
// 16 numbers a block.
TEXT ·avx2Narrow16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	ROUND(Y0, Y2, Y3)
	ROUND(Y1, Y4, Y5)
	VPACKUSDW Y1, Y0, Y0
	VPERMQ $0xd8, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $64, SI
	ADDQ $32, DI
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// func avx2Pairs(dst *float32, even, odd *uint16)
// 16 words of pairs of two rows of 16 numbers.
TEXT ·avx2Pairs(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ even+8(FP), SI
	MOVQ odd+16(FP), DX
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPMOVZXWD (DX), Y2
	VPMOVZXWD 16(DX), Y3
	VPSLLD $16, Y2, Y2
	VPSLLD $16, Y3, Y3
	VPOR Y2, Y0, Y0
	VPOR Y3, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VZEROUPPER
	RET
