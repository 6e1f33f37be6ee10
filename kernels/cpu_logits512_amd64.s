#include "textflag.h"
#include "cpu_exp512_amd64.h"

// Loops over a row of logits in AVX-512, for vocabularies are long: lane by lane the operations of cpu_simd_amd64.s, in its 32 lanes, of
// which two registers hold the first and the second half.

// REST sets K2 to the lanes of the next 16 numbers that CX, 1 to 15, says are left, as many as 8; CX is what is left then.
#define REST \
	MOVL $0xff, AX   \
	MOVQ $8, DX      \
	CMPQ CX, DX      \
	JGE whole        \
	MOVQ CX, DX      \
	MOVL $1, AX      \
	SHLQ CX, AX      \
	DECQ AX          \
whole:               \
	KMOVW AX, K2     \
	SUBQ DX, CX

// TREE32 adds 32 lanes as the tree of cpu_simd_amd64.s: y0 and y1 are the halves of Z0, y2 and y3 those of Z1.
#define TREE32 \
	VEXTRACTF32X8 $1, Z0, Y2 \
	VEXTRACTF32X8 $1, Z1, Y3 \
	VADDPS Y2, Y0, Y0        \
	VADDPS Y3, Y1, Y1        \
	VADDPS Y1, Y0, Y0        \
	VEXTRACTF128 $1, Y0, X1  \
	VADDPS X1, X0, X0        \
	VMOVHLPS X0, X0, X1      \
	VADDPS X1, X0, X0        \
	VMOVSHDUP X0, X1         \
	VADDSS X1, X0, X0

// func avx512SumExp(x []float32, scale, sub float32) float32
TEXT ·avx512SumExp(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	CONSTANTS
	VBROADCASTSS scale+24(FP), Z14
	VBROADCASTSS sub+28(FP), Z15
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	SUBQ $32, CX
	JLT few
many:
	VMULPS (SI), Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VADDPS Z7, Z0, Z0
	VMULPS 64(SI), Z14, Z8
	VSUBPS Z15, Z8, Z8
	EXP(Z8, Z9, Z10, Z11)
	VADDPS Z11, Z1, Z1
	ADDQ $128, SI
	SUBQ $32, CX
	JGE many
few:
	ADDQ $32, CX
	JZ end
rest:
	REST
	VMOVUPS.Z (SI), K2, Z4
	VMULPS Z4, Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VADDPS Z7, Z0, K2, Z0
	ADDQ $32, SI
	TESTQ CX, CX
	JNZ rest
end:
	TREE32
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func avx512ExpTo(dst, x []float32, scale, sub float32)
TEXT ·avx512ExpTo(SB), NOSPLIT, $0-56
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), R10
	MOVQ x_base+24(FP), SI
	TESTQ R10, R10
	JZ done
	CONSTANTS
	VBROADCASTSS scale+48(FP), Z14
	VBROADCASTSS sub+52(FP), Z15
	LAST(R10)
	TESTQ R10, R10
	JZ last
full:
	VMULPS (SI), Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VMOVUPS Z7, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ R10
	JNZ full
last:
	VMOVUPS.Z (SI), K2, Z4
	VMULPS Z4, Z14, Z4
	VSUBPS Z15, Z4, Z4
	EXP(Z4, Z5, Z6, Z7)
	VMOVUPS Z7, K2, (DI)
done:
	VZEROUPPER
	RET

// func avx512LogGrad(x []float32, scale, lse, dlogp, dent, h float32)
TEXT ·avx512LogGrad(SB), NOSPLIT, $0-44
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), R10
	TESTQ R10, R10
	JZ done
	CONSTANTS
	CONSTANT(0x80000000, Z29)
	VBROADCASTSS scale+24(FP), Z14
	VBROADCASTSS lse+28(FP), Z15
	VBROADCASTSS dlogp+32(FP), Z13
	VBROADCASTSS dent+36(FP), Z12
	VBROADCASTSS h+40(FP), Z11
	VPXORD Z29, Z14, Z2
	VPXORD Z3, Z3, Z3
	LAST(R10)
	// Z4 holds logits; Z7 will hold gradients. Where p is 0, ln p counts as 0.
#define GRAD \
	VMULPS Z4, Z14, Z4        \
	VSUBPS Z15, Z4, Z4        \
	VADDPS Z11, Z4, Z10       \
	EXP(Z4, Z5, Z6, Z7)       \
	VCMPPS $4, Z3, Z7, K3     \
	VMOVAPS.Z Z10, K3, Z10    \
	VFMADD213PS Z13, Z12, Z10 \
	VMULPS Z2, Z7, Z7         \
	VMULPS Z10, Z7, Z7
	TESTQ R10, R10
	JZ last
full:
	VMOVUPS (SI), Z4
	GRAD
	VMOVUPS Z7, (SI)
	ADDQ $64, SI
	DECQ R10
	JNZ full
last:
	VMOVUPS.Z (SI), K2, Z4
	GRAD
	VMOVUPS Z7, K2, (SI)
#undef GRAD
done:
	VZEROUPPER
	RET

// func avx512Noise(u []float32, first uint32, c *philoxKey)
// Sixteen counters at a time: 64 words, at the end perhaps 32. K1: odd lanes.
TEXT ·avx512Noise(SB), NOSPLIT, $0-40
	MOVQ u_base+0(FP), DI
	MOVQ u_len+8(FP), CX
	MOVL first+24(FP), AX
	MOVQ c+32(FP), SI
	SHRL $2, AX
	VPBROADCASTD AX, Z15
	VPADDD iota16<>(SB), Z15, Z15
	MOVL $0xD2511F53, AX
	VPBROADCASTD AX, Z14
	MOVL $0xCD9E8D57, AX
	VPBROADCASTD AX, Z13
	MOVL $0x9E3779B9, AX
	VPBROADCASTD AX, Z16
	MOVL $0xBB67AE85, AX
	VPBROADCASTD AX, Z17
	MOVL $1, AX
	VPBROADCASTD AX, Z18
	MOVL $0x33800000, AX // 2⁻²⁴
	VPBROADCASTD AX, Z19
	MOVL $16, AX
	VPBROADCASTD AX, Z20
	MOVL $0xaaaa, AX
	KMOVW AX, K1
	SHRQ $5, CX
	JZ end
block:
	VMOVAPS Z15, Z0              // counter words 0 to 3
	VPBROADCASTD 8(SI), Z1
	VPBROADCASTD 12(SI), Z2
	VPBROADCASTD 16(SI), Z3
	VPBROADCASTD 0(SI), Z4       // key
	VPBROADCASTD 4(SI), Z5
	MOVQ $10, BX
round:
	VPSRLQ $32, Z0, Z6
	VPMULUDQ Z14, Z0, Z0         // even lanes: 64 bits
	VPMULUDQ Z14, Z6, Z6         // odd lanes
	VPSRLQ $32, Z2, Z8
	VPMULUDQ Z13, Z2, Z2
	VPMULUDQ Z13, Z8, Z8
	VPSLLQ $32, Z6, Z9
	VPBLENDMD Z9, Z0, K1, Z9     // low words of p
	VPSRLQ $32, Z0, Z0
	VPBLENDMD Z6, Z0, K1, Z0     // high words of p
	VPSLLQ $32, Z8, Z10
	VPBLENDMD Z10, Z2, K1, Z10   // low words of q
	VPSRLQ $32, Z2, Z2
	VPBLENDMD Z8, Z2, K1, Z2     // high words of q
	VPXORD Z1, Z2, Z2
	VPXORD Z4, Z2, Z2            // new word 0
	VPXORD Z3, Z0, Z0
	VPXORD Z5, Z0, Z0            // new word 2
	VMOVAPS Z10, Z1
	VMOVAPS Z9, Z3
	VMOVAPS Z0, Z6
	VMOVAPS Z2, Z0
	VMOVAPS Z6, Z2
	VPADDD Z16, Z4, Z4
	VPADDD Z17, Z5, Z5
	DECQ BX
	JNZ round
#define UNIFORM(z) \
	VPSRLD $8, z, z    \
	VPMAXSD Z18, z, z  \
	VCVTDQ2PS z, z     \
	VMULPS Z19, z, z
	UNIFORM(Z0)
	UNIFORM(Z1)
	UNIFORM(Z2)
	UNIFORM(Z3)
#undef UNIFORM
	VUNPCKLPS Z1, Z0, Z4
	VUNPCKLPS Z3, Z2, Z5
	VUNPCKHPS Z1, Z0, Z6
	VUNPCKHPS Z3, Z2, Z7
	VUNPCKLPD Z5, Z4, Z0         // a counter's four words in each quarter: counters 0, 4, 8, 12
	VUNPCKHPD Z5, Z4, Z1         // 1, 5, 9, 13
	VUNPCKLPD Z7, Z6, Z2         // 2, 6, …
	VUNPCKHPD Z7, Z6, Z3         // 3, 7, …
	VSHUFF32X4 $0x88, Z1, Z0, Z4 // 0, 8, 1, 9
	VSHUFF32X4 $0x88, Z3, Z2, Z5 // 2, 10, 3, 11
	VSHUFF32X4 $0xdd, Z1, Z0, Z6 // 4, 12, 5, 13
	VSHUFF32X4 $0xdd, Z3, Z2, Z7 // 6, 14, 7, 15
	VSHUFF32X4 $0x88, Z5, Z4, Z0 // 0, 1, 2, 3
	VSHUFF32X4 $0x88, Z7, Z6, Z1 // 4, 5, 6, 7
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	DECQ CX
	JZ end
	VSHUFF32X4 $0xdd, Z5, Z4, Z2 // 8, 9, 10, 11
	VSHUFF32X4 $0xdd, Z7, Z6, Z3
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, DI
	VPADDD Z20, Z15, Z15
	DECQ CX
	JNZ block
end:
	VZEROUPPER
	RET

#define COUNT(at, bits) \
	DATA iota16<>+at(SB)/8, $bits
COUNT(0, 0x0000000100000000)
COUNT(8, 0x0000000300000002)
COUNT(16, 0x0000000500000004)
COUNT(24, 0x0000000700000006)
COUNT(32, 0x0000000900000008)
COUNT(40, 0x0000000B0000000A)
COUNT(48, 0x0000000D0000000C)
COUNT(56, 0x0000000F0000000E)
GLOBL iota16<>(SB), RODATA|NOPTR, $64
