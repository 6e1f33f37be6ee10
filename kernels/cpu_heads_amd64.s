#include "textflag.h"
#include "cpu_exp_amd64.h"
#include "cpu_heads_amd64.h"

// cpu_heads512_amd64.s in AVX2: a tile for one row and several heads, in the bits of the product kernels and of avx2Attend.
//
//	DI t   SI q   R8 … R11 panels of keys   R12 scores   R13 heads left   R14 4 times the head   BX panels

// TERM multiplies number k of q, at DX, by row k of as many panels, at CX from their beginnings.
#define TERM1(k) \
	VBROADCASTSS (4*k)(DX), Y8                  \
	VFMADD231PS (64*k)(R8)(CX*1), Y8, Y0        \
	VFMADD231PS (64*k+32)(R8)(CX*1), Y8, Y1
#define TERM2(k) \
	TERM1(k)                                    \
	VFMADD231PS (64*k)(R9)(CX*1), Y8, Y2        \
	VFMADD231PS (64*k+32)(R9)(CX*1), Y8, Y3
#define TERM3(k) \
	TERM2(k)                                    \
	VFMADD231PS (64*k)(R10)(CX*1), Y8, Y4       \
	VFMADD231PS (64*k+32)(R10)(CX*1), Y8, Y5
#define TERM4(k) \
	TERM3(k)                                    \
	VFMADD231PS (64*k)(R11)(CX*1), Y8, Y6       \
	VFMADD231PS (64*k+32)(R11)(CX*1), Y8, Y7

// TERMS adds all terms of one head.
#define TERMS(loop, term) \
loop:               \
	term(0)         \
	term(1)         \
	ADDQ $8, DX     \
	ADDQ $128, CX   \
	SUBQ $2, R15    \
	JNZ loop

// func avx2HeadScores(t *headTile)
TEXT ·avx2HeadScores(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), DI
	MOVQ 0(DI), SI
	MOVQ 32(DI), R8
	MOVQ 40(DI), R9
	MOVQ 48(DI), R10
	MOVQ 56(DI), R11
	MOVQ 16(DI), R12
	MOVQ 112(DI), R13
	XORQ R14, R14
	MOVQ 128(DI), BX
	ADDQ $15, BX
	SHRQ $4, BX
head:
	MOVQ 120(DI), R15
	MOVQ SI, DX
	XORQ CX, CX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	CMPQ BX, $2
	JLT loop1
	JEQ loop2
	CMPQ BX, $3
	JEQ loop3
	TERMS(loop4, TERM4)
	JMP scored
	TERMS(loop3, TERM3)
	JMP scored
	TERMS(loop2, TERM2)
	JMP scored
	TERMS(loop1, TERM1)
scored:
	MOVQ DX, SI
	VMOVUPS Y0, (R12)
	VMOVUPS Y1, 32(R12)
	VMOVUPS Y2, 64(R12)
	VMOVUPS Y3, 96(R12)
	VMOVUPS Y4, 128(R12)
	VMOVUPS Y5, 160(R12)
	VMOVUPS Y6, 192(R12)
	VMOVUPS Y7, 224(R12)
	VBROADCASTSS 168(DI), Y14
	MOVQ 136(DI), DX
	VBROADCASTSS (DX)(R14*1), Y0
	MOVQ 128(DI), R15
	SOFTMAX(R12, R15)
	MOVQ 144(DI), DX
	VMOVSS X15, (DX)(R14*1)
	MOVQ 152(DI), DX
	VMOVSS X0, (DX)(R14*1)
	ADDQ 64(DI), R8
	ADDQ 72(DI), R9
	ADDQ 80(DI), R10
	ADDQ 88(DI), R11
	ADDQ $256, R12
	ADDQ $4, R14
	DECQ R13
	JNZ head
	VZEROUPPER
	RET

// BLOCK is that of cpu_heads512_amd64.s.
#define BLOCK(zero, start, loop) \
	CMPQ 160(DI), $0             \
	JEQ zero                     \
	VBROADCASTSS (AX), Y8        \
	VBROADCASTSS (R10), Y9       \
	VMULPS (R8), Y8, Y0          \
	VMULPS 32(R8), Y8, Y1        \
	VMULPS 64(R8), Y8, Y2        \
	VMULPS 96(R8), Y8, Y3        \
	VMULPS 128(R8), Y9, Y4       \
	VMULPS 160(R8), Y9, Y5       \
	VMULPS 192(R8), Y9, Y6       \
	VMULPS 224(R8), Y9, Y7       \
	JMP start                    \
zero:                            \
	VXORPS Y0, Y0, Y0            \
	VXORPS Y1, Y1, Y1            \
	VXORPS Y2, Y2, Y2            \
	VXORPS Y3, Y3, Y3            \
	VXORPS Y4, Y4, Y4            \
	VXORPS Y5, Y5, Y5            \
	VXORPS Y6, Y6, Y6            \
	VXORPS Y7, Y7, Y7            \
start:                           \
	XORQ AX, AX                  \
loop:                            \
	VBROADCASTSS (SI)(AX*4), Y8  \
	VBROADCASTSS (BX)(AX*4), Y9  \
	VFMADD231PS (CX), Y8, Y0     \
	VFMADD231PS (DX), Y9, Y4     \
	VFMADD231PS 32(CX), Y8, Y1   \
	VFMADD231PS 32(DX), Y9, Y5   \
	VFMADD231PS 64(CX), Y8, Y2   \
	VFMADD231PS 64(DX), Y9, Y6   \
	VFMADD231PS 96(CX), Y8, Y3   \
	VFMADD231PS 96(DX), Y9, Y7   \
	ADDQ R12, CX                 \
	ADDQ R12, DX                 \
	INCQ AX                      \
	CMPQ AX, 128(DI)             \
	JLT loop                     \
	VMOVUPS Y0, (R8)             \
	VMOVUPS Y1, 32(R8)           \
	VMOVUPS Y2, 64(R8)           \
	VMOVUPS Y3, 96(R8)           \
	VMOVUPS Y4, 128(R8)          \
	VMOVUPS Y5, 160(R8)          \
	VMOVUPS Y6, 192(R8)          \
	VMOVUPS Y7, 224(R8)          \
	ADDQ $256, R8

// func avx2HeadValues(t *headTile)
TEXT ·avx2HeadValues(SB), NOSPLIT, $0-8
	HEADVALUES
