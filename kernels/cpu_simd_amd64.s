#include "textflag.h"
#include "cpu_exp_amd64.h"

// Element-wise loops, sums and exp in AVX2. Formulas and the order of lanes are those of cpu_simd_go.go.

// lanes32 is 16 lanes of ones and 16 of zeros: from 4·(16−n) on it is the mask of the first n lanes.
#define ONES(at) \
	DATA ·lanes32+at(SB)/8, $0xffffffffffffffff
ONES(0)
ONES(8)
ONES(16)
ONES(24)
ONES(32)
ONES(40)
ONES(48)
ONES(56)
DATA ·lanes32+64(SB)/8, $0
DATA ·lanes32+72(SB)/8, $0
DATA ·lanes32+80(SB)/8, $0
DATA ·lanes32+88(SB)/8, $0
DATA ·lanes32+96(SB)/8, $0
DATA ·lanes32+104(SB)/8, $0
DATA ·lanes32+112(SB)/8, $0
DATA ·lanes32+120(SB)/8, $0
GLOBL ·lanes32(SB), RODATA|NOPTR, $128

#define TREE4(y0, y1, y2, y3) \
	VADDPS y1, y0, y0 \
	VADDPS y3, y2, y2 \
	VADDPS y2, y0, y0


// LOOP runs body for every 8 numbers of CX, tail for those that are left.
#define LOOP(body, tail) \
	SUBQ $8, CX \
	JLT last    \
loop:           \
	body        \
	SUBQ $8, CX \
	JGE loop    \
last:           \
	ADDQ $8, CX \
	JZ end      \
	tail        \
end:

// SUMS runs four for every 32 numbers of CX, then single for every 8, then tail.
#define SUMS(four, single, tail) \
	SUBQ $32, CX \
	JLT few      \
many:            \
	four         \
	SUBQ $32, CX \
	JGE many     \
few:             \
	ADDQ $32, CX \
	LOOP(single, tail)

// func avx2Max(x []float32) float32
TEXT ·avx2Max(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VMOVUPS negInf<>(SB), Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3
#define FOUR \
	VMOVUPS (SI), Y4     \
	VMOVUPS 32(SI), Y5   \
	VMOVUPS 64(SI), Y6   \
	VMOVUPS 96(SI), Y7   \
	VMAXPS Y0, Y4, Y0    \
	VMAXPS Y1, Y5, Y1    \
	VMAXPS Y2, Y6, Y2    \
	VMAXPS Y3, Y7, Y3    \
	ADDQ $128, SI
#define SINGLE \
	VMOVUPS (SI), Y4     \
	VMAXPS Y0, Y4, Y0    \
	ADDQ $32, SI
	VMOVUPS negInf<>(SB), Y8
#define REST \
	TAIL(Y5)                              \
	VMASKMOVPS (SI), Y5, Y4               \
	VBLENDVPS Y5, Y4, Y8, Y4              \
	VMAXPS Y0, Y4, Y0
	SUMS(FOUR, SINGLE, REST)
#undef FOUR
#undef SINGLE
#undef REST
	VMAXPS Y1, Y0, Y0
	VMAXPS Y3, Y2, Y2
	VMAXPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VMOVHLPS X0, X0, X1
	VMAXPS X1, X0, X0
	VMOVSHDUP X0, X1
	VMAXSS X1, X0, X0
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// func avx2SumExp(x []float32, scale, sub float32) float32
TEXT ·avx2SumExp(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS scale+24(FP), Y14
	VBROADCASTSS sub+28(FP), Y15
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
#define TERM(at, acc) \
	VMULPS at(SI), Y14, Y4    \
	VSUBPS Y15, Y4, Y4        \
	EXP(Y4, Y5, Y6, Y7, Y8)   \
	VADDPS Y7, acc, acc
#define FOUR \
	TERM(0, Y0)   \
	TERM(32, Y1)  \
	TERM(64, Y2)  \
	TERM(96, Y3)  \
	ADDQ $128, SI
#define SINGLE \
	TERM(0, Y0) \
	ADDQ $32, SI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	VMULPS Y4, Y14, Y4       \
	VSUBPS Y15, Y4, Y4       \
	EXP(Y4, Y5, Y6, Y7, Y8)  \
	VANDPS Y9, Y7, Y7        \
	VADDPS Y7, Y0, Y0
	SUMS(FOUR, SINGLE, REST)
#undef TERM
#undef FOUR
#undef SINGLE
#undef REST
	TREE4(Y0, Y1, Y2, Y3)
	TREE(Y0, X0, X1)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func avx2SumPL(x []float32, scale, lse float32) float32
TEXT ·avx2SumPL(SB), NOSPLIT, $0-36
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS scale+24(FP), Y14
	VBROADCASTSS lse+28(FP), Y15
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y13, Y13, Y13
	// Where p is 0, ln p counts as 0.
#define TERM(acc) \
	VSUBPS Y15, Y4, Y4        \
	VMOVAPS Y4, Y10           \
	EXP(Y4, Y5, Y6, Y7, Y8)   \
	VCMPPS $4, Y13, Y7, Y8    \
	VANDPS Y8, Y10, Y10       \
	VFMADD231PS Y10, Y7, acc
#define FOUR \
	VMULPS (SI), Y14, Y4    \
	TERM(Y0)                \
	VMULPS 32(SI), Y14, Y4  \
	TERM(Y1)                \
	VMULPS 64(SI), Y14, Y4  \
	TERM(Y2)                \
	VMULPS 96(SI), Y14, Y4  \
	TERM(Y3)                \
	ADDQ $128, SI
#define SINGLE \
	VMULPS (SI), Y14, Y4    \
	TERM(Y0)                \
	ADDQ $32, SI
#define REST \
	TAIL(Y9)                   \
	VMASKMOVPS (SI), Y9, Y4    \
	VMULPS Y4, Y14, Y4         \
	VSUBPS Y15, Y4, Y4         \
	VMOVAPS Y4, Y10            \
	EXP(Y4, Y5, Y6, Y7, Y8)    \
	VANDPS Y9, Y7, Y7          \
	VCMPPS $4, Y13, Y7, Y8     \
	VANDPS Y8, Y10, Y10        \
	VFMADD231PS Y10, Y7, Y0
	SUMS(FOUR, SINGLE, REST)
#undef TERM
#undef FOUR
#undef SINGLE
#undef REST
	TREE4(Y0, Y1, Y2, Y3)
	TREE(Y0, X0, X1)
	VMOVSS X0, ret+32(FP)
	VZEROUPPER
	RET

// func avx2ExpTo(dst, x []float32, scale, sub float32)
TEXT ·avx2ExpTo(SB), NOSPLIT, $0-56
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	VBROADCASTSS scale+48(FP), Y14
	VBROADCASTSS sub+52(FP), Y15
#define BODY \
	VMULPS (SI), Y14, Y4      \
	VSUBPS Y15, Y4, Y4        \
	EXP(Y4, Y5, Y6, Y7, Y8)   \
	VMOVUPS Y7, (DI)          \
	ADDQ $32, SI              \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	VMULPS Y4, Y14, Y4       \
	VSUBPS Y15, Y4, Y4       \
	EXP(Y4, Y5, Y6, Y7, Y8)  \
	VMASKMOVPS Y7, Y9, (DI)
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2LogGrad(x []float32, scale, lse, dlogp, dent, h float32)
TEXT ·avx2LogGrad(SB), NOSPLIT, $0-44
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS scale+24(FP), Y14
	VBROADCASTSS lse+28(FP), Y15
	VBROADCASTSS dlogp+32(FP), Y13
	VBROADCASTSS dent+36(FP), Y12
	VBROADCASTSS h+40(FP), Y11
	VXORPS signBit<>(SB), Y14, Y2
	VXORPS Y3, Y3, Y3
	// Y4 holds logits; Y7 will hold gradients. Where p is 0, ln p counts as 0.
#define GRAD \
	VMULPS Y4, Y14, Y4        \
	VSUBPS Y15, Y4, Y4        \
	VADDPS Y11, Y4, Y10       \
	EXP(Y4, Y5, Y6, Y7, Y8)   \
	VCMPPS $4, Y3, Y7, Y8     \
	VANDPS Y8, Y10, Y10       \
	VFMADD213PS Y13, Y12, Y10 \
	VMULPS Y2, Y7, Y7         \
	VMULPS Y10, Y7, Y7
#define BODY \
	VMOVUPS (SI), Y4 \
	GRAD             \
	VMOVUPS Y7, (SI) \
	ADDQ $32, SI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	GRAD                     \
	VMASKMOVPS Y7, Y9, (SI)
	LOOP(BODY, REST)
#undef GRAD
#undef BODY
#undef REST
	VZEROUPPER
	RET

// SIGMOID sets s = 1 + exp(−g); Y15 is 1.
#define SIGMOID(g, s) \
	VXORPS signBit<>(SB), g, Y4  \
	EXP(Y4, Y5, Y6, Y7, Y8)      \
	VADDPS Y15, Y7, s

// func avx2SwiGLU(y, gate, up []float32)
TEXT ·avx2SwiGLU(SB), NOSPLIT, $0-72
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ gate_base+24(FP), SI
	MOVQ up_base+48(FP), BX
	VMOVUPS one<>(SB), Y15
#define BODY \
	VMOVUPS (SI), Y0    \
	SIGMOID(Y0, Y1)     \
	VDIVPS Y1, Y0, Y0   \
	VMULPS (BX), Y0, Y0 \
	VMOVUPS Y0, (DI)    \
	ADDQ $32, SI        \
	ADDQ $32, BX        \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y0  \
	VMASKMOVPS (BX), Y9, Y2  \
	SIGMOID(Y0, Y1)          \
	VDIVPS Y1, Y0, Y0        \
	VMULPS Y2, Y0, Y0        \
	VMASKMOVPS Y0, Y9, (DI)
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2SwiGLUBack(dgate, dup, dy, gate, up []float32, fresh bool)
TEXT ·avx2SwiGLUBack(SB), NOSPLIT, $0-121
	MOVQ dgate_base+0(FP), DI
	MOVQ dup_base+24(FP), R8
	MOVQ dy_base+48(FP), R9
	MOVQ dy_len+56(FP), CX
	MOVQ gate_base+72(FP), SI
	MOVQ up_base+96(FP), BX
	VMOVUPS one<>(SB), Y15
	MOVBLZX fresh+120(FP), AX
	DECL AX // what is kept of dgate and dup: all bits or none
	VMOVD AX, X12
	VPBROADCASTD X12, Y12
	// Y0 gate, Y2 up, Y3 dy, Y10 dgate, Y11 dup
#define BACK \
	SIGMOID(Y0, Y1)              \
	VDIVPS Y1, Y15, Y1           \
	VMULPS Y1, Y0, Y0            \
	VFMADD231PS Y3, Y0, Y11      \
	VSUBPS Y1, Y15, Y4           \
	VFMADD213PS Y1, Y0, Y4       \
	VMULPS Y3, Y2, Y2            \
	VFMADD231PS Y4, Y2, Y10
#define BODY \
	VMOVUPS (SI), Y0    \
	VMOVUPS (BX), Y2    \
	VMOVUPS (R9), Y3    \
	VANDPS (DI), Y12, Y10 \
	VANDPS (R8), Y12, Y11 \
	BACK                \
	VMOVUPS Y10, (DI)   \
	VMOVUPS Y11, (R8)   \
	ADDQ $32, SI        \
	ADDQ $32, BX        \
	ADDQ $32, DI        \
	ADDQ $32, R8        \
	ADDQ $32, R9
#define REST \
	TAIL(Y9)                  \
	VMASKMOVPS (SI), Y9, Y0   \
	VMASKMOVPS (BX), Y9, Y2   \
	VMASKMOVPS (R9), Y9, Y3   \
	VMASKMOVPS (DI), Y9, Y10  \
	VMASKMOVPS (R8), Y9, Y11  \
	VANDPS Y12, Y10, Y10      \
	VANDPS Y12, Y11, Y11      \
	BACK                      \
	VMASKMOVPS Y10, Y9, (DI)  \
	VMASKMOVPS Y11, Y9, (R8)
	LOOP(BODY, REST)
#undef BACK
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2Add(y, x []float32)
TEXT ·avx2Add(SB), NOSPLIT, $0-48
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ x_base+24(FP), SI
#define FOUR \
	VMOVUPS (DI), Y0        \
	VMOVUPS 32(DI), Y1      \
	VMOVUPS 64(DI), Y2      \
	VMOVUPS 96(DI), Y3      \
	VADDPS (SI), Y0, Y0     \
	VADDPS 32(SI), Y1, Y1   \
	VADDPS 64(SI), Y2, Y2   \
	VADDPS 96(SI), Y3, Y3   \
	VMOVUPS Y0, (DI)        \
	VMOVUPS Y1, 32(DI)      \
	VMOVUPS Y2, 64(DI)      \
	VMOVUPS Y3, 96(DI)      \
	ADDQ $128, SI           \
	ADDQ $128, DI
#define SINGLE \
	VMOVUPS (DI), Y0     \
	VADDPS (SI), Y0, Y0  \
	VMOVUPS Y0, (DI)     \
	ADDQ $32, SI         \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y0  \
	VMASKMOVPS (DI), Y9, Y1  \
	VADDPS Y0, Y1, Y1        \
	VMASKMOVPS Y1, Y9, (DI)
	SUMS(FOUR, SINGLE, REST)
#undef FOUR
#undef SINGLE
#undef REST
	VZEROUPPER
	RET

// func avx2Scale(y []float32, a float32)
TEXT ·avx2Scale(SB), NOSPLIT, $0-28
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	VBROADCASTSS a+24(FP), Y15
#define BODY \
	VMULPS (DI), Y15, Y0  \
	VMOVUPS Y0, (DI)      \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (DI), Y9, Y0  \
	VMULPS Y0, Y15, Y0       \
	VMASKMOVPS Y0, Y9, (DI)
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2Dot(x, y []float32) float32
TEXT ·avx2Dot(SB), NOSPLIT, $0-52
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	MOVQ y_base+24(FP), DI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
#define FOUR \
	VMOVUPS (SI), Y4             \
	VMOVUPS 32(SI), Y5           \
	VMOVUPS 64(SI), Y6           \
	VMOVUPS 96(SI), Y7           \
	VFMADD231PS (DI), Y4, Y0     \
	VFMADD231PS 32(DI), Y5, Y1   \
	VFMADD231PS 64(DI), Y6, Y2   \
	VFMADD231PS 96(DI), Y7, Y3   \
	ADDQ $128, SI                \
	ADDQ $128, DI
#define SINGLE \
	VMOVUPS (SI), Y4          \
	VFMADD231PS (DI), Y4, Y0  \
	ADDQ $32, SI              \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	VMASKMOVPS (DI), Y9, Y5  \
	VFMADD231PS Y5, Y4, Y0
	SUMS(FOUR, SINGLE, REST)
#undef FOUR
#undef SINGLE
#undef REST
	TREE4(Y0, Y1, Y2, Y3)
	TREE(Y0, X0, X1)
	VMOVSS X0, ret+48(FP)
	VZEROUPPER
	RET

// func avx2Dot3(x, y, z []float32) float32
TEXT ·avx2Dot3(SB), NOSPLIT, $0-76
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	MOVQ y_base+24(FP), DI
	MOVQ z_base+48(FP), BX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
#define FOUR \
	VMOVUPS (SI), Y4             \
	VMOVUPS 32(SI), Y5           \
	VMOVUPS 64(SI), Y6           \
	VMOVUPS 96(SI), Y7           \
	VMULPS (DI), Y4, Y4          \
	VMULPS 32(DI), Y5, Y5        \
	VMULPS 64(DI), Y6, Y6        \
	VMULPS 96(DI), Y7, Y7        \
	VFMADD231PS (BX), Y4, Y0     \
	VFMADD231PS 32(BX), Y5, Y1   \
	VFMADD231PS 64(BX), Y6, Y2   \
	VFMADD231PS 96(BX), Y7, Y3   \
	ADDQ $128, SI                \
	ADDQ $128, DI                \
	ADDQ $128, BX
#define SINGLE \
	VMOVUPS (SI), Y4          \
	VMULPS (DI), Y4, Y4       \
	VFMADD231PS (BX), Y4, Y0  \
	ADDQ $32, SI              \
	ADDQ $32, DI              \
	ADDQ $32, BX
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	VMASKMOVPS (DI), Y9, Y5  \
	VMASKMOVPS (BX), Y9, Y6  \
	VMULPS Y5, Y4, Y4        \
	VFMADD231PS Y6, Y4, Y0
	SUMS(FOUR, SINGLE, REST)
#undef FOUR
#undef SINGLE
#undef REST
	TREE4(Y0, Y1, Y2, Y3)
	TREE(Y0, X0, X1)
	VMOVSS X0, ret+72(FP)
	VZEROUPPER
	RET

// func avx2Norm(y, x, w []float32, r float32)
TEXT ·avx2Norm(SB), NOSPLIT, $0-76
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	MOVQ w_base+48(FP), BX
	VBROADCASTSS r+72(FP), Y15
#define BODY \
	VMULPS (SI), Y15, Y0  \
	VMULPS (BX), Y0, Y0   \
	VMOVUPS Y0, (DI)      \
	ADDQ $32, SI          \
	ADDQ $32, BX          \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y0  \
	VMASKMOVPS (BX), Y9, Y1  \
	VMULPS Y0, Y15, Y0       \
	VMULPS Y1, Y0, Y0        \
	VMASKMOVPS Y0, Y9, (DI)
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2NormBack(dx, dy, x, w []float32, r, k float32)
TEXT ·avx2NormBack(SB), NOSPLIT, $0-104
	MOVQ dx_base+0(FP), DI
	MOVQ dx_len+8(FP), CX
	MOVQ dy_base+24(FP), R9
	MOVQ x_base+48(FP), SI
	MOVQ w_base+72(FP), BX
	VBROADCASTSS r+96(FP), Y15
	VBROADCASTSS k+100(FP), Y14
	// Y0 dy, Y1 w, Y2 x, Y3 dx
#define BACK \
	VMULPS Y1, Y0, Y0          \
	VFNMADD231PS Y14, Y2, Y3   \
	VFMADD231PS Y15, Y0, Y3
#define BODY \
	VMOVUPS (R9), Y0   \
	VMOVUPS (BX), Y1   \
	VMOVUPS (SI), Y2   \
	VMOVUPS (DI), Y3   \
	BACK               \
	VMOVUPS Y3, (DI)   \
	ADDQ $32, SI       \
	ADDQ $32, BX       \
	ADDQ $32, DI       \
	ADDQ $32, R9
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (R9), Y9, Y0  \
	VMASKMOVPS (BX), Y9, Y1  \
	VMASKMOVPS (SI), Y9, Y2  \
	VMASKMOVPS (DI), Y9, Y3  \
	BACK                     \
	VMASKMOVPS Y3, Y9, (DI)
	LOOP(BODY, REST)
#undef BACK
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2NormBackW(dw, dy, x []float32, r float32)
TEXT ·avx2NormBackW(SB), NOSPLIT, $0-76
	MOVQ dw_base+0(FP), DI
	MOVQ dw_len+8(FP), CX
	MOVQ dy_base+24(FP), BX
	MOVQ x_base+48(FP), SI
	VBROADCASTSS r+72(FP), Y15
#define BODY \
	VMULPS (SI), Y15, Y0       \
	VMOVUPS (DI), Y1           \
	VFMADD231PS (BX), Y0, Y1   \
	VMOVUPS Y1, (DI)           \
	ADDQ $32, SI               \
	ADDQ $32, BX               \
	ADDQ $32, DI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y0  \
	VMASKMOVPS (DI), Y9, Y1  \
	VMASKMOVPS (BX), Y9, Y2  \
	VMULPS Y0, Y15, Y0       \
	VFMADD231PS Y2, Y0, Y1   \
	VMASKMOVPS Y1, Y9, (DI)
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2Rope(lo, hi, cos, sin []float32, sign float32)
TEXT ·avx2Rope(SB), NOSPLIT, $0-100
	MOVQ lo_base+0(FP), DI
	MOVQ lo_len+8(FP), CX
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), BX
	MOVQ sin_base+72(FP), R9
	VBROADCASTSS sign+96(FP), Y15
	// Y0 lo, Y1 hi, Y2 cos, Y3 sin; out Y4, Y5
#define TURN \
	VMULPS Y3, Y15, Y3          \
	VMULPS Y3, Y1, Y4           \
	VMULPS Y3, Y0, Y5           \
	VFMSUB231PS Y2, Y0, Y4      \
	VFMADD231PS Y2, Y1, Y5
#define BODY \
	VMOVUPS (DI), Y0  \
	VMOVUPS (SI), Y1  \
	VMOVUPS (BX), Y2  \
	VMOVUPS (R9), Y3  \
	TURN              \
	VMOVUPS Y4, (DI)  \
	VMOVUPS Y5, (SI)  \
	ADDQ $32, SI      \
	ADDQ $32, BX      \
	ADDQ $32, DI      \
	ADDQ $32, R9
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (DI), Y9, Y0  \
	VMASKMOVPS (SI), Y9, Y1  \
	VMASKMOVPS (BX), Y9, Y2  \
	VMASKMOVPS (R9), Y9, Y3  \
	TURN                     \
	VMASKMOVPS Y4, Y9, (DI)  \
	VMASKMOVPS Y5, Y9, (SI)
	LOOP(BODY, REST)
#undef TURN
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2Adam(w, g, m, v []float32, c *adamConst)
TEXT ·avx2Adam(SB), NOSPLIT, $0-104
	MOVQ w_base+0(FP), DI
	MOVQ w_len+8(FP), CX
	MOVQ g_base+24(FP), SI
	MOVQ m_base+48(FP), R8
	MOVQ v_base+72(FP), R9
	MOVQ c+96(FP), AX
	VBROADCASTSS 0(AX), Y7    // scale
	VBROADCASTSS 4(AX), Y8    // b1
	VBROADCASTSS 8(AX), Y14   // 1 − b1
	VBROADCASTSS 12(AX), Y10  // b2
	VBROADCASTSS 16(AX), Y11  // 1 − b2
	VBROADCASTSS 20(AX), Y12  // rate
	VBROADCASTSS 24(AX), Y13  // root
	VBROADCASTSS 28(AX), Y15  // eps
	VBROADCASTSS 32(AX), Y6   // decay
	// Y0 w, Y1 g, Y2 m, Y3 v
#define UPDATE \
	VMULPS Y7, Y1, Y1           \
	VMULPS Y8, Y2, Y2           \
	VFMADD231PS Y14, Y1, Y2     \
	VMULPS Y1, Y1, Y1           \
	VMULPS Y10, Y3, Y3          \
	VFMADD231PS Y11, Y1, Y3     \
	VMULPS Y13, Y3, Y4          \
	VSQRTPS Y4, Y4              \
	VADDPS Y15, Y4, Y4          \
	VMULPS Y12, Y2, Y5          \
	VDIVPS Y4, Y5, Y5           \
	VFMSUB213PS Y5, Y6, Y0
#define BODY \
	VMOVUPS (DI), Y0  \
	VMOVUPS (SI), Y1  \
	VMOVUPS (R8), Y2  \
	VMOVUPS (R9), Y3  \
	UPDATE            \
	VMOVUPS Y0, (DI)  \
	VMOVUPS Y2, (R8)  \
	VMOVUPS Y3, (R9)  \
	ADDQ $32, DI      \
	ADDQ $32, SI      \
	ADDQ $32, R8      \
	ADDQ $32, R9
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (DI), Y9, Y0  \
	VMASKMOVPS (SI), Y9, Y1  \
	VMASKMOVPS (R8), Y9, Y2  \
	VMASKMOVPS (R9), Y9, Y3  \
	UPDATE                   \
	VMASKMOVPS Y0, Y9, (DI)  \
	VMASKMOVPS Y2, Y9, (R8)  \
	VMASKMOVPS Y3, Y9, (R9)
	LOOP(BODY, REST)
#undef UPDATE
#undef BODY
#undef REST
	VZEROUPPER
	RET

// func avx2SumSquares(x []float32) float64
TEXT ·avx2SumSquares(SB), NOSPLIT, $0-32
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
#define BODY \
	VCVTPS2PD (SI), Y2      \
	VCVTPS2PD 16(SI), Y3    \
	VFMADD231PD Y2, Y2, Y0  \
	VFMADD231PD Y3, Y3, Y1  \
	ADDQ $32, SI
#define REST \
	TAIL(Y9)                 \
	VMASKMOVPS (SI), Y9, Y4  \
	VEXTRACTF128 $1, Y4, X5  \
	VCVTPS2PD X4, Y2         \
	VCVTPS2PD X5, Y3         \
	VFMADD231PD Y2, Y2, Y0   \
	VFMADD231PD Y3, Y3, Y1
	LOOP(BODY, REST)
#undef BODY
#undef REST
	VADDPD Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPD X1, X0, X0
	VUNPCKHPD X0, X0, X1
	VADDSD X1, X0, X0
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

// func avx2Attend(s *float32, n int, scale, m float32) (max, sum float32)
TEXT ·avx2Attend(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), SI
	MOVQ n+8(FP), BX
	VBROADCASTSS scale+16(FP), Y14
	VBROADCASTSS m+20(FP), Y0
	SOFTMAX(SI, BX)
	VMOVSS X15, max+24(FP)
	VMOVSS X0, sum+28(FP)
	LEAQ 256(SI), DX
	VXORPS Y4, Y4, Y4
	CMPQ AX, DX
	JGE done
zero:
	VMOVUPS Y4, (AX)
	VMOVUPS Y4, 32(AX)
	ADDQ $64, AX
	CMPQ AX, DX
	JLT zero
done:
	VZEROUPPER
	RET

// func avx2AttendBack(s, dp *float32, n int, scale, lse, delta float32)
TEXT ·avx2AttendBack(SB), NOSPLIT, $0-36
	MOVQ s+0(FP), SI
	MOVQ dp+8(FP), DI
	MOVQ n+16(FP), CX
	VBROADCASTSS scale+24(FP), Y15
	VBROADCASTSS lse+28(FP), Y14
	VBROADCASTSS delta+32(FP), Y13
	LEAQ 256(SI), BX
	// Y7 p, Y3 ds
#define BACK \
	VMULPS (SI), Y15, Y4      \
	VSUBPS Y14, Y4, Y4        \
	EXP(Y4, Y5, Y6, Y7, Y8)   \
	VMOVUPS (DI), Y3          \
	VSUBPS Y13, Y3, Y3        \
	VMULPS Y7, Y3, Y3         \
	VMULPS Y15, Y3, Y3
	SUBQ $8, CX
	JLT part
full:
	BACK
	VMOVUPS Y7, (SI)
	VMOVUPS Y3, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JGE full
part:
	ADDQ $8, CX
	JZ rest
	TAIL(Y9)
	BACK
	VANDPS Y9, Y7, Y7
	VANDPS Y9, Y3, Y3
	VMOVUPS Y7, (SI)
	VMOVUPS Y3, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
rest:
#undef BACK
	VXORPS Y4, Y4, Y4
	CMPQ SI, BX
	JGE done
zero:
	VMOVUPS Y4, (SI)
	VMOVUPS Y4, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	CMPQ SI, BX
	JLT zero
done:
	VZEROUPPER
	RET

EIGHT(philoxM0<>, 0x00000000D2511F53)
EIGHT(philoxM1<>, 0x00000000CD9E8D57)
EIGHT(philoxW0<>, 0x9E3779B99E3779B9)
EIGHT(philoxW1<>, 0xBB67AE85BB67AE85)
EIGHT(wholeOne<>, 0x0000000100000001)
EIGHT(twoTo24<>, 0x3380000033800000)  // 2⁻²⁴
EIGHT(eights<>, 0x0000000800000008)
DATA iota<>+0(SB)/8, $0x0000000100000000
DATA iota<>+8(SB)/8, $0x0000000300000002
DATA iota<>+16(SB)/8, $0x0000000500000004
DATA iota<>+24(SB)/8, $0x0000000700000006
GLOBL iota<>(SB), RODATA|NOPTR, $32

// func avx2Noise(u []float32, first uint32, c *philoxKey)
// Eight counters at a time: 32 words.
TEXT ·avx2Noise(SB), NOSPLIT, $0-40
	MOVQ u_base+0(FP), DI
	MOVQ u_len+8(FP), CX
	MOVL first+24(FP), AX
	MOVQ c+32(FP), SI
	SHRL $2, AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	VPADDD iota<>(SB), Y15, Y15
	VMOVUPS philoxM0<>(SB), Y14
	VMOVUPS philoxM1<>(SB), Y13
	SHRQ $5, CX
	JZ end
block:
	VMOVAPS Y15, Y0              // counter words 0 to 3
	VPBROADCASTD 8(SI), Y1
	VPBROADCASTD 12(SI), Y2
	VPBROADCASTD 16(SI), Y3
	VPBROADCASTD 0(SI), Y4       // key
	VPBROADCASTD 4(SI), Y5
	MOVQ $10, BX
round:
	VPSRLQ $32, Y0, Y6
	VPMULUDQ Y14, Y0, Y0         // even lanes: 64 bits
	VPMULUDQ Y14, Y6, Y6         // odd lanes
	VPSRLQ $32, Y2, Y8
	VPMULUDQ Y13, Y2, Y2
	VPMULUDQ Y13, Y8, Y8
	VPSLLQ $32, Y6, Y9
	VPBLENDD $0xAA, Y9, Y0, Y9   // low words of p
	VPSRLQ $32, Y0, Y0
	VPBLENDD $0xAA, Y6, Y0, Y0   // high words of p
	VPSLLQ $32, Y8, Y10
	VPBLENDD $0xAA, Y10, Y2, Y10 // low words of q
	VPSRLQ $32, Y2, Y2
	VPBLENDD $0xAA, Y8, Y2, Y2   // high words of q
	VPXOR Y1, Y2, Y2
	VPXOR Y4, Y2, Y2             // new word 0
	VPXOR Y3, Y0, Y0
	VPXOR Y5, Y0, Y0             // new word 2
	VMOVAPS Y10, Y1
	VMOVAPS Y9, Y3
	VMOVAPS Y0, Y6
	VMOVAPS Y2, Y0
	VMOVAPS Y6, Y2
	VPADDD philoxW0<>(SB), Y4, Y4
	VPADDD philoxW1<>(SB), Y5, Y5
	DECQ BX
	JNZ round
#define UNIFORM(y) \
	VPSRLD $8, y, y                \
	VPMAXSD wholeOne<>(SB), y, y   \
	VCVTDQ2PS y, y                 \
	VMULPS twoTo24<>(SB), y, y
	UNIFORM(Y0)
	UNIFORM(Y1)
	UNIFORM(Y2)
	UNIFORM(Y3)
#undef UNIFORM
	VUNPCKLPS Y1, Y0, Y4
	VUNPCKLPS Y3, Y2, Y5
	VUNPCKHPS Y1, Y0, Y6
	VUNPCKHPS Y3, Y2, Y7
	VUNPCKLPD Y5, Y4, Y0         // counters 0, 4
	VUNPCKHPD Y5, Y4, Y1         // 1, 5
	VUNPCKLPD Y7, Y6, Y2         // 2, 6
	VUNPCKHPD Y7, Y6, Y3         // 3, 7
	VPERM2F128 $0x20, Y1, Y0, Y4
	VPERM2F128 $0x20, Y3, Y2, Y5
	VPERM2F128 $0x31, Y1, Y0, Y6
	VPERM2F128 $0x31, Y3, Y2, Y7
	VMOVUPS Y4, (DI)
	VMOVUPS Y5, 32(DI)
	VMOVUPS Y6, 64(DI)
	VMOVUPS Y7, 96(DI)
	ADDQ $128, DI
	VPADDD eights<>(SB), Y15, Y15
	DECQ CX
	JNZ block
end:
	VZEROUPPER
	RET

// func relax()
TEXT ·relax(SB), NOSPLIT, $0-0
	PAUSE
	PAUSE
	RET

// func avx2Peak(n int)
// n turns of 12 independent fused multiply-adds of 8 numbers: nothing else can be faster.
TEXT ·avx2Peak(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
loop:
	VFMADD231PS Y0, Y1, Y4
	VFMADD231PS Y0, Y1, Y5
	VFMADD231PS Y0, Y1, Y6
	VFMADD231PS Y0, Y1, Y7
	VFMADD231PS Y0, Y1, Y8
	VFMADD231PS Y0, Y1, Y9
	VFMADD231PS Y0, Y1, Y10
	VFMADD231PS Y0, Y1, Y11
	VFMADD231PS Y0, Y1, Y12
	VFMADD231PS Y0, Y1, Y13
	VFMADD231PS Y0, Y1, Y14
	VFMADD231PS Y0, Y1, Y15
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// func avx2Transpose(dst, src *float32, ld, blocks int)
// Eight rows of src, ld bytes apart, become eight columns of dst, whose rows are 64 bytes apart; 8·blocks numbers of each.
TEXT ·avx2Transpose(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ ld+16(FP), R8
	MOVQ blocks+24(FP), CX
	LEAQ (R8)(R8*2), R9
	LEAQ (SI)(R8*4), BX
	// Rows r and r+4 share a register; each half is then a 4 × 4 transposition.
#define QUARTER(at, to) \
	VMOVUPS at(SI), X0                              \
	VMOVUPS at(SI)(R8*1), X1                        \
	VMOVUPS at(SI)(R8*2), X2                        \
	VMOVUPS at(SI)(R9*1), X3                        \
	VINSERTF128 $1, at(BX), Y0, Y0                  \
	VINSERTF128 $1, at(BX)(R8*1), Y1, Y1            \
	VINSERTF128 $1, at(BX)(R8*2), Y2, Y2            \
	VINSERTF128 $1, at(BX)(R9*1), Y3, Y3            \
	VUNPCKLPS Y1, Y0, Y4                            \
	VUNPCKHPS Y1, Y0, Y5                            \
	VUNPCKLPS Y3, Y2, Y6                            \
	VUNPCKHPS Y3, Y2, Y7                            \
	VUNPCKLPD Y6, Y4, Y0                            \
	VUNPCKHPD Y6, Y4, Y1                            \
	VUNPCKLPD Y7, Y5, Y2                            \
	VUNPCKHPD Y7, Y5, Y3                            \
	VMOVUPS Y0, to+0(DI)                            \
	VMOVUPS Y1, to+64(DI)                           \
	VMOVUPS Y2, to+128(DI)                          \
	VMOVUPS Y3, to+192(DI)
loop:
	QUARTER(0, 0)
	QUARTER(16, 256)
#undef QUARTER
	ADDQ $32, SI
	ADDQ $32, BX
	ADDQ $512, DI
	DECQ CX
	JNZ loop
	VZEROUPPER
	RET

// func avx2Race(u, w []float32, best float32) int
// The first j with 1 − u[j] < best·w[j]; a number not below the length if there is none.
TEXT ·avx2Race(SB), NOSPLIT, $0-64
	MOVQ u_base+0(FP), SI
	MOVQ u_len+8(FP), CX
	MOVQ w_base+24(FP), DI
	VBROADCASTSS best+48(FP), Y15
	VMOVUPS one<>(SB), Y14
	XORQ AX, AX
loop:
	CMPQ AX, CX
	JGE done
	VSUBPS (SI)(AX*4), Y14, Y0
	VMULPS (DI)(AX*4), Y15, Y1
	VCMPPS $1, Y1, Y0, Y0
	VMOVMSKPS Y0, DX
	ADDQ $8, AX
	TESTL DX, DX
	JZ loop
	BSFL DX, DX
	LEAQ -8(AX)(DX*1), AX
done:
	MOVQ AX, ret+56(FP)
	VZEROUPPER
	RET

// func avx2Panel(dst, src *float32, ld, rows int)
// Rows of 16 numbers of src, ld bytes apart, one after the other.
TEXT ·avx2Panel(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ ld+16(FP), R8
	MOVQ rows+24(FP), CX
	SUBQ $2, CX
	JLT last
loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS (SI)(R8*1), Y2
	VMOVUPS 32(SI)(R8*1), Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	LEAQ (SI)(R8*2), SI
	ADDQ $128, DI
	SUBQ $2, CX
	JGE loop
last:
	ADDQ $2, CX
	JZ done
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
done:
	VZEROUPPER
	RET

// func avx2Strip(dst, src *float32, ld, rows int)
// Rows of 24 numbers of src, ld bytes apart, one after the other.
TEXT ·avx2Strip(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ ld+16(FP), R8
	MOVQ rows+24(FP), CX
	TESTQ CX, CX
	JZ done
loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS 64(SI), Y2
	PREFETCHT0 (SI)(R8*8)
	PREFETCHT0 64(SI)(R8*8)
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	ADDQ R8, SI
	ADDQ $96, DI
	DECQ CX
	JNZ loop
done:
	VZEROUPPER
	RET

// func fetch(src *float32, width, ld, rows int)
// Every line of rows of src into the second-level cache.
TEXT ·fetch(SB), NOSPLIT, $0-32
	MOVQ src+0(FP), SI
	MOVQ width+8(FP), BX
	MOVQ ld+16(FP), R8
	MOVQ rows+24(FP), CX
	TESTQ CX, CX
	JLE done
	ADDQ SI, BX
	DECQ BX          // the last byte of a row
row:
	MOVQ SI, DI
line:
	PREFETCHT1 (DI)
	ADDQ $64, DI
	CMPQ DI, BX
	JLT line
	PREFETCHT1 (BX)  // a row may begin within a line
	ADDQ R8, SI
	ADDQ R8, BX
	DECQ CX
	JNZ row
done:
	RET
