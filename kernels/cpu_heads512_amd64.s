#include "textflag.h"
#include "cpu_exp512_amd64.h"
#include "cpu_heads_amd64.h"

// A tile of 64 keys and their values for one row and several heads, each with keys of its own: the steps of attentionJob.heads that wait
// for memory, in the bits of the product kernels and of avx512Attend. Outputs of one head are too few chains to hide the latency of an
// addition: the processor goes on with the next head's, since nothing between them is a call. See headTile for the offsets of DI.
//
//	DI t   SI q   R8 … R11 panels of keys   R12 scores   R13 heads left   R14 4 times the head   K2 the lanes of the last panel that are seen

// TERM multiplies number k of q, at DX, by row k of as many panels, at CX from their beginnings.
#define TERM1(k) \
	VBROADCASTSS (4*k)(DX), Z4                 \
	VFMADD231PS (64*k)(R8)(CX*1), Z4, Z0
#define TERM2(k) \
	TERM1(k)                                   \
	VFMADD231PS (64*k)(R9)(CX*1), Z4, Z1
#define TERM3(k) \
	TERM2(k)                                   \
	VFMADD231PS (64*k)(R10)(CX*1), Z4, Z2
#define TERM4(k) \
	TERM3(k)                                   \
	VFMADD231PS (64*k)(R11)(CX*1), Z4, Z3

// MAX takes the scaled scores of a panel into the largest, Z5.
#define MAX(z) \
	VMULPS z, Z14, z      \
	VMAXPS Z5, z, Z5
#define MAXLAST(z) \
	VMULPS z, Z14, z      \
	VMAXPS Z5, z, K2, Z5

// SUM turns scores of panel i into probabilities and adds them to Z9; Z15 is the largest.
#define SUM(i, z) \
	VSUBPS Z15, z, z         \
	EXP(z, Z6, Z7, Z8)       \
	VMOVUPS Z8, (64*i)(R12)  \
	VADDPS Z8, Z9, Z9
#define SUMLAST(i, z) \
	VSUBPS Z15, z, z         \
	EXP(z, Z6, Z7, Z8)       \
	VMOVAPS.Z Z8, K2, Z8     \
	VMOVUPS Z8, (64*i)(R12)  \
	VADDPS Z8, Z9, Z9

#define MAX1 MAXLAST(Z0)
#define MAX2 MAX(Z0) MAXLAST(Z1)
#define MAX3 MAX(Z0) MAX(Z1) MAXLAST(Z2)
#define MAX4 MAX(Z0) MAX(Z1) MAX(Z2) MAXLAST(Z3)
#define SUM1 SUMLAST(0, Z0)
#define SUM2 SUM(0, Z0) SUMLAST(1, Z1)
#define SUM3 SUM(0, Z0) SUM(1, Z1) SUMLAST(2, Z2)
#define SUM4 SUM(0, Z0) SUM(1, Z1) SUM(2, Z2) SUMLAST(3, Z3)

// TREE combines the lanes of z, whose halves are y and x, into its first.
#define TREE(op, scalar, z, y, x) \
	VEXTRACTF32X8 $1, z, Y6  \
	op Y6, y, y              \
	VEXTRACTF128 $1, y, X6   \
	op X6, x, x              \
	VMOVHLPS x, x, X6        \
	op X6, x, x              \
	VMOVSHDUP x, X6          \
	scalar X6, x, x

// HEADS does all heads with as many panels.
#define HEADS(head, loop, term, max, sum) \
head:                            \
	MOVQ 120(DI), R15            \
	MOVQ SI, DX                  \
	XORQ CX, CX                  \
	VPXORD Z0, Z0, Z0            \
	VPXORD Z1, Z1, Z1            \
	VPXORD Z2, Z2, Z2            \
	VPXORD Z3, Z3, Z3            \
loop:                            \
	term(0)                      \
	term(1)                      \
	term(2)                      \
	term(3)                      \
	ADDQ $16, DX                 \
	ADDQ $256, CX                \
	SUBQ $4, R15                 \
	JNZ loop                     \
	MOVQ DX, SI                  \
	MOVQ 136(DI), AX             \
	VBROADCASTSS (AX)(R14*1), Z5 \
	max                          \
	TREE(VMAXPS, VMAXSS, Z5, Y5, X5) \
	MOVQ 144(DI), AX             \
	VMOVSS X5, (AX)(R14*1)       \
	VBROADCASTSS X5, Z15         \
	VPXORD Z9, Z9, Z9            \
	sum                          \
	TREE(VADDPS, VADDSS, Z9, Y9, X9) \
	MOVQ 152(DI), AX             \
	VMOVSS X9, (AX)(R14*1)       \
	ADDQ 64(DI), R8              \
	ADDQ 72(DI), R9              \
	ADDQ 80(DI), R10             \
	ADDQ 88(DI), R11             \
	ADDQ $256, R12               \
	ADDQ $4, R14                 \
	DECQ R13                     \
	JNZ head                     \
	VZEROUPPER                   \
	RET

// func avx512HeadScores(t *headTile)
TEXT ·avx512HeadScores(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), DI
	CONSTANTS
	VBROADCASTSS 168(DI), Z14
	MOVQ 0(DI), SI
	MOVQ 32(DI), R8
	MOVQ 40(DI), R9
	MOVQ 48(DI), R10
	MOVQ 56(DI), R11
	MOVQ 16(DI), R12
	MOVQ 112(DI), R13
	XORQ R14, R14
	MOVQ 128(DI), BX
	LAST(BX)
	CMPQ BX, $1
	JLT head1
	JEQ head2
	CMPQ BX, $3
	JLT head3
	JMP head4
	HEADS(head1, loop1, TERM1, MAX1, SUM1)
	HEADS(head2, loop2, TERM2, MAX2, SUM2)
	HEADS(head3, loop3, TERM3, MAX3, SUM3)
	HEADS(head4, loop4, TERM4, MAX4, SUM4)

// BLOCK adds to the outputs at R8 and 128(R8) the values at CX and DX, R12 apart, times the probabilities at SI and BX; what the outputs
// hold counts as many times as (AX) and (R10) say, or not at all where there are no such factors.
#define BLOCK(zero, start, loop) \
	CMPQ 160(DI), $0             \
	JEQ zero                     \
	VBROADCASTSS (AX), Z8        \
	VBROADCASTSS (R10), Z9       \
	VMULPS (R8), Z8, Z0          \
	VMULPS 64(R8), Z8, Z1        \
	VMULPS 128(R8), Z9, Z2       \
	VMULPS 192(R8), Z9, Z3       \
	JMP start                    \
zero:                            \
	VPXORD Z0, Z0, Z0            \
	VPXORD Z1, Z1, Z1            \
	VPXORD Z2, Z2, Z2            \
	VPXORD Z3, Z3, Z3            \
start:                           \
	XORQ AX, AX                  \
loop:                            \
	VBROADCASTSS (SI)(AX*4), Z8  \
	VBROADCASTSS (BX)(AX*4), Z9  \
	VFMADD231PS (CX), Z8, Z0     \
	VFMADD231PS 64(CX), Z8, Z1   \
	VFMADD231PS (DX), Z9, Z2     \
	VFMADD231PS 64(DX), Z9, Z3   \
	ADDQ R12, CX                 \
	ADDQ R12, DX                 \
	INCQ AX                      \
	CMPQ AX, 128(DI)             \
	JLT loop                     \
	VMOVUPS Z0, (R8)             \
	VMOVUPS Z1, 64(R8)           \
	VMOVUPS Z2, 128(R8)          \
	VMOVUPS Z3, 192(R8)          \
	ADDQ $256, R8

// func avx512HeadValues(t *headTile)
TEXT ·avx512HeadValues(SB), NOSPLIT, $0-8
	HEADVALUES

// FOURROWS sets z to four columns, at AX, of rows r, 4+r, 8+r and 12+r, each in lanes of its own; AX, BX, CX and DX are rows 0, 4, 8, 12.
#define FOURROWS(a, b, c, d, x, z) \
	VMOVUPS a, x               \
	VBROADCASTF32X4 b, K1, z   \
	VBROADCASTF32X4 c, K2, z   \
	VBROADCASTF32X4 d, K3, z

// func avx512Turn(dst, src *float32, ld, blocks int)
TEXT ·avx512Turn(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ld+16(FP), R8
	MOVQ blocks+24(FP), R10
	LEAQ (R8)(R8*2), R9
	LEAQ (AX)(R8*4), BX
	LEAQ (AX)(R8*8), CX
	LEAQ (BX)(R8*8), DX
	MOVL $0xf0, R11
	KMOVW R11, K1
	MOVL $0xf00, R11
	KMOVW R11, K2
	MOVL $0xf000, R11
	KMOVW R11, K3
columns:
	FOURROWS((AX), (BX), (CX), (DX), X0, Z0)
	FOURROWS((AX)(R8*1), (BX)(R8*1), (CX)(R8*1), (DX)(R8*1), X1, Z1)
	FOURROWS((AX)(R8*2), (BX)(R8*2), (CX)(R8*2), (DX)(R8*2), X2, Z2)
	FOURROWS((AX)(R9*1), (BX)(R9*1), (CX)(R9*1), (DX)(R9*1), X3, Z3)
	VUNPCKLPS Z1, Z0, Z4
	VUNPCKLPS Z3, Z2, Z5
	VUNPCKHPS Z1, Z0, Z6
	VUNPCKHPS Z3, Z2, Z7
	VUNPCKLPD Z5, Z4, Z0
	VUNPCKHPD Z5, Z4, Z1
	VUNPCKLPD Z7, Z6, Z2
	VUNPCKHPD Z7, Z6, Z3
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $16, AX
	ADDQ $16, BX
	ADDQ $16, CX
	ADDQ $16, DX
	ADDQ $256, DI
	DECQ R10
	JNZ columns
	VZEROUPPER
	RET
