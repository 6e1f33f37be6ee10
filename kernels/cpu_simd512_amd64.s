#include "textflag.h"
#include "cpu_exp512_amd64.h"

// The loops that wait for arithmetic, those with an exp in each number, in AVX-512: lane by lane the operations of AVX2, so the same bits.

// SEEN sets n to the scores of a row that are seen, at most 64, and adds grow to them.
#define SEEN(seen, grow, n) \
	MOVQ $64, n       \
	CMPQ seen, n      \
	CMOVQLT seen, n   \
	ADDQ grow, seen

// func avx512Attend(s *float32, rows, seen, grow int, scale float32, m, top, sum *float32)
TEXT ·avx512Attend(SB), NOSPLIT, $0-64
	MOVQ s+0(FP), R8
	MOVQ rows+8(FP), R15
	MOVQ seen+16(FP), R9
	MOVQ grow+24(FP), R10
	VBROADCASTSS scale+32(FP), Z14
	MOVQ m+40(FP), R11
	MOVQ top+48(FP), R12
	MOVQ sum+56(FP), R13
	CONSTANTS
row:
	SEEN(R9, R10, BX)
	VBROADCASTSS (R11), Z0
	LAST(BX)
	MOVQ R8, SI
	MOVQ R8, DI
	MOVQ BX, CX
	TESTQ CX, CX
	JZ lastmax
max:
	VMULPS (DI), Z14, Z4
	VMAXPS Z0, Z4, Z0
	ADDQ $64, DI
	DECQ CX
	JNZ max
lastmax:
	VMULPS (DI), Z14, Z4
	VMAXPS Z0, Z4, K2, Z0
	VEXTRACTF32X8 $1, Z0, Y1
	VMAXPS Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VMOVHLPS X0, X0, X1
	VMAXPS X1, X0, X0
	VMOVSHDUP X0, X1
	VMAXSS X1, X0, X0
	VMOVSS X0, (R12)
	VBROADCASTSS X0, Z15
	VPXORD Z0, Z0, Z0
	LEAQ 256(SI), DX
	TESTQ BX, BX
	JZ lastsum
sum:
	VMULPS (SI), Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VMOVUPS Z7, (SI)
	VADDPS Z7, Z0, Z0
	ADDQ $64, SI
	DECQ BX
	JNZ sum
lastsum:
	VMULPS (SI), Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VMOVAPS.Z Z7, K2, Z7
	VMOVUPS Z7, (SI)
	VADDPS Z7, Z0, Z0
	ADDQ $64, SI
	VPXORD Z4, Z4, Z4
	CMPQ SI, DX
	JGE done
zero:
	VMOVUPS Z4, (SI)
	ADDQ $64, SI
	CMPQ SI, DX
	JLT zero
done:
	VEXTRACTF32X8 $1, Z0, Y1
	VADDPS Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVHLPS X0, X0, X1
	VADDPS X1, X0, X0
	VMOVSHDUP X0, X1
	VADDSS X1, X0, X0
	VMOVSS X0, (R13)
	ADDQ $256, R8
	ADDQ $4, R11
	ADDQ $4, R12
	ADDQ $4, R13
	DECQ R15
	JNZ row
	VZEROUPPER
	RET

// func avx512AttendBack(s, dp *float32, rows, seen int, scale float32, lse, delta *float32, ld int)
TEXT ·avx512AttendBack(SB), NOSPLIT, $0-64
	MOVQ s+0(FP), R8
	MOVQ dp+8(FP), R9
	MOVQ rows+16(FP), R10
	MOVQ seen+24(FP), R11
	VBROADCASTSS scale+32(FP), Z15
	MOVQ lse+40(FP), R12
	MOVQ delta+48(FP), R13
	MOVQ ld+56(FP), R15
	CONSTANTS
row:
	SEEN(R11, $1, BX)
	VBROADCASTSS (R12), Z14
	VBROADCASTSS (R13), Z13
	LAST(BX)
	MOVQ R8, SI
	MOVQ R9, DI
	LEAQ 256(SI), DX
	// Z7 p, Z3 ds
#define BACK \
	VMULPS (SI), Z15, Z4  \
	VSUBPS Z14, Z4, Z4    \
	EXP(Z4, Z5, Z6, Z7)   \
	VMOVUPS (DI), Z3      \
	VSUBPS Z13, Z3, Z3    \
	VMULPS Z7, Z3, Z3     \
	VMULPS Z15, Z3, Z3
	TESTQ BX, BX
	JZ last
full:
	BACK
	VMOVUPS Z7, (SI)
	VMOVUPS Z3, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ BX
	JNZ full
last:
	BACK
	VMOVAPS.Z Z7, K2, Z7
	VMOVAPS.Z Z3, K2, Z3
	VMOVUPS Z7, (SI)
	VMOVUPS Z3, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
#undef BACK
	VPXORD Z4, Z4, Z4
	CMPQ SI, DX
	JGE done
zero:
	VMOVUPS Z4, (SI)
	VMOVUPS Z4, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	CMPQ SI, DX
	JLT zero
done:
	ADDQ $256, R8
	ADDQ $256, R9
	ADDQ R15, R12
	ADDQ R15, R13
	DECQ R10
	JNZ row
	VZEROUPPER
	RET

// SIGMOID sets s = 1 + exp(−g); Z29 is the sign bit.
#define SIGMOID(g, s) \
	VPXORD Z29, g, Z4     \
	EXP(Z4, Z5, Z6, Z7)   \
	VADDPS Z28, Z7, s

// func avx512SwiGLU(y, gate, up []float32)
TEXT ·avx512SwiGLU(SB), NOSPLIT, $0-72
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), R10
	MOVQ gate_base+24(FP), SI
	MOVQ up_base+48(FP), R11
	TESTQ R10, R10
	JZ done
	CONSTANTS
	CONSTANT(0x80000000, Z29)
	LAST(R10)
	TESTQ R10, R10
	JZ last
full:
	VMOVUPS (SI), Z0
	SIGMOID(Z0, Z1)
	VDIVPS Z1, Z0, Z0
	VMULPS (R11), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, R11
	ADDQ $64, DI
	DECQ R10
	JNZ full
last:
	VMOVUPS.Z (SI), K2, Z0
	VMOVUPS.Z (R11), K2, Z2
	SIGMOID(Z0, Z1)
	VDIVPS Z1, Z0, Z0
	VMULPS Z2, Z0, Z0
	VMOVUPS Z0, K2, (DI)
done:
	VZEROUPPER
	RET

// func avx512SwiGLUBack(dgate, dup, dy, gate, up []float32, fresh bool)
TEXT ·avx512SwiGLUBack(SB), NOSPLIT, $0-121
	MOVQ dgate_base+0(FP), DI
	MOVQ dup_base+24(FP), R8
	MOVQ dy_base+48(FP), R9
	MOVQ dy_len+56(FP), R10
	MOVQ gate_base+72(FP), SI
	MOVQ up_base+96(FP), R11
	TESTQ R10, R10
	JZ done
	CONSTANTS
	CONSTANT(0x80000000, Z29)
	LAST(R10)
	MOVBLZX fresh+120(FP), AX
	DECL AX // the lanes of dgate and dup that are read: all or none
	KMOVW AX, K3
	KANDW K2, K3, K4
	// Z0 gate, Z2 up, Z3 dy, Z10 dgate, Z11 dup
#define BACK \
	SIGMOID(Z0, Z1)              \
	VDIVPS Z1, Z28, Z1           \
	VMULPS Z1, Z0, Z0            \
	VFMADD231PS Z3, Z0, Z11      \
	VSUBPS Z1, Z28, Z4           \
	VFMADD213PS Z1, Z0, Z4       \
	VMULPS Z3, Z2, Z2            \
	VFMADD231PS Z4, Z2, Z10
	TESTQ R10, R10
	JZ last
full:
	VMOVUPS (SI), Z0
	VMOVUPS (R11), Z2
	VMOVUPS (R9), Z3
	VMOVUPS.Z (DI), K3, Z10
	VMOVUPS.Z (R8), K3, Z11
	BACK
	VMOVUPS Z10, (DI)
	VMOVUPS Z11, (R8)
	ADDQ $64, SI
	ADDQ $64, R11
	ADDQ $64, DI
	ADDQ $64, R8
	ADDQ $64, R9
	DECQ R10
	JNZ full
last:
	VMOVUPS.Z (SI), K2, Z0
	VMOVUPS.Z (R11), K2, Z2
	VMOVUPS.Z (R9), K2, Z3
	VMOVUPS.Z (DI), K4, Z10
	VMOVUPS.Z (R8), K4, Z11
	BACK
	VMOVUPS Z10, K2, (DI)
	VMOVUPS Z11, K2, (R8)
#undef BACK
done:
	VZEROUPPER
	RET
